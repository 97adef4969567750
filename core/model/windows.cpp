// SPDX-License-Identifier: Apache-2.0
#include "core/model/windows.h"

#include "core/base/digest.h"
#include "core/io/tokenizer_text.h"

#include <algorithm>
#include <fmt/format.h>

namespace qs::model {

namespace {

/// Offset of the first byte that is not well-formed UTF-8; the text's size when there is none.
std::size_t firstBadByte(std::string_view text)
{
    std::size_t at = 0;
    while (at < text.size()) {
        if (static_cast<unsigned char>(text[at]) < 0x80) {
            ++at;
            continue;
        }
        const io::tok::CodePoint point = io::tok::codePointAt(text.substr(at));
        if (!point.valid)
            return at;
        at += point.length;
    }
    return at;
}

} // namespace

Expected<TokenizedText> tokenizeText(const Model& model, std::string_view text, Index seqLen, Index maxWindows)
{
    const Index context = model.spec().context;
    QS_CHECK(requireRunnable(model));
    if (seqLen < 0 || seqLen > context)
        return fail(Errc::InvalidArgument, fmt::format("{} tokens is outside 1..{}, the model's context", seqLen, context),
            "sequence length");
    const Index length = seqLen > 0 ? seqLen : std::min(kDefaultWindow, context);
    if (const std::size_t at = firstBadByte(text); at < text.size())
        return fail(Errc::Format,
            fmt::format("is not UTF-8: byte {} is 0x{:02x}, which no character has there", at,
                static_cast<unsigned>(static_cast<unsigned char>(text[at]))),
            "text", "give a plain UTF-8 text, for instance converted with iconv");
    QS_TRY(tokenizer, model.tokenizer());
    const std::vector<std::int32_t> ids = tokenizer->encode(text);
    TokenizedText result;
    result.available = static_cast<Index>(ids.size()) / length;
    result.tokens = static_cast<Index>(ids.size());
    result.tokenizerId = tokenizer->id();
    result.bos = tokenizer->addsBos();
    Digest digest;
    digest.add(text);
    result.digest = digest.hex();
    if (result.available < 1)
        return fail(Errc::InvalidArgument, fmt::format("holds {} tokens, less than one window of {}", ids.size(), length),
            "text", "use a longer text or a shorter sequence length");
    result.windows = cutWindows(ids, length, maxWindows);
    return result;
}

} // namespace qs::model
