// SPDX-License-Identifier: Apache-2.0
#include "core/io/tokenizer.h"

#include "core/base/digest.h"
#include "core/io/tokenizer_bpe.h"
#include "core/io/tokenizer_spec.h"
#include "core/io/tokenizer_text.h"

#include <algorithm>
#include <fmt/format.h>
#include <functional>
#include <stdexcept>
#include <unicode/unorm2.h>

namespace qs::io {

namespace tok {

namespace {

constexpr std::size_t kCacheWords = 1 << 16;
constexpr std::size_t kCacheWordBytes = 64;

Expected<std::string> toNfc(std::string_view text, const std::string& where)
{
    if (std::all_of(text.begin(), text.end(), [](char c) { return static_cast<std::uint8_t>(c) < 0x80; }))
        return std::string(text);
    UErrorCode status = U_ZERO_ERROR;
    const UNormalizer2* nfc = unorm2_getNFCInstance(&status);
    std::u16string wide;
    wide.reserve(text.size());
    for (std::string_view rest = text; !rest.empty();) {
        const CodePoint c = codePointAt(rest);
        rest.remove_prefix(c.length);
        if (c.value >= 0x10000) {
            wide.push_back(static_cast<char16_t>(0xD7C0 + (c.value >> 10)));
            wide.push_back(static_cast<char16_t>(0xDC00 + (c.value & 0x3FF)));
        } else {
            wide.push_back(static_cast<char16_t>(c.value));
        }
    }
    if (U_FAILURE(status) || wide.size() > (std::size_t{1} << 29))
        return fail(Errc::Unsupported, "text cannot be normalised to NFC", where);
    std::u16string out(wide.size() + 16, u'\0');
    auto n = unorm2_normalize(
        nfc, wide.data(), static_cast<std::int32_t>(wide.size()), out.data(), static_cast<std::int32_t>(out.size()), &status);
    if (status == U_BUFFER_OVERFLOW_ERROR) {
        status = U_ZERO_ERROR;
        out.resize(static_cast<std::size_t>(n));
        n = unorm2_normalize(nfc, wide.data(), static_cast<std::int32_t>(wide.size()), out.data(), n, &status);
    }
    if (U_FAILURE(status))
        return fail(Errc::Unsupported, fmt::format("normalisation to NFC failed: {}", u_errorName(status)), where);
    std::string result;
    result.reserve(text.size());
    for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) {
        std::uint32_t c = out[i];
        if (c >= 0xD800 && c < 0xDC00)
            c = 0x10000 + ((c - 0xD800) << 10) + (static_cast<std::uint32_t>(out[++i]) - 0xDC00);
        appendUtf8(result, c);
    }
    return result;
}

struct TextHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};

/// Ids of words seen in one encode() call.
class WordCache {
public:
    const std::vector<std::int32_t>* find(std::string_view word) const
    {
        const auto it = m_words.find(word);
        return it == m_words.end() ? nullptr : &it->second;
    }
    void add(std::string_view word, std::vector<std::int32_t> ids)
    {
        if (m_words.size() < kCacheWords && word.size() <= kCacheWordBytes)
            m_words.emplace(word, std::move(ids));
    }

private:
    std::unordered_map<std::string, std::vector<std::int32_t>, TextHash, std::equal_to<>> m_words;
};

class ByteLevelBpe final : public Tokenizer {
public:
    /// The model holds views of the spec's tokens, so both live and die here and the object never moves.
    ByteLevelBpe(TokenizerSpec spec, PreTokenizer pre)
        : m_spec(std::move(spec))
        , m_pre(std::move(pre))
        , m_model(
              m_spec.tokens, m_spec.assigned, {m_spec.unknown, m_spec.fuseUnknown, m_spec.byteFallback, m_spec.ignoreMerges})
    {
    }

    Expected<void> finish()
    {
        Digest digest;
        digest.add("byte-level-bpe/1");
        QS_CHECK(addMerges(digest));
        QS_CHECK(addAdded());
        addRules(digest);
        m_id = digest.hex();
        describe();
        return {};
    }

    std::string description() const override { return m_description; }
    const std::string& id() const override { return m_id; }
    Index vocabularySize() const override { return static_cast<Index>(m_spec.tokens.size()); }
    std::optional<std::int32_t> bos() const override { return m_spec.bos; }
    bool addsBos() const override { return m_spec.bos && !m_spec.prefix.empty() && m_spec.prefix.front() == *m_spec.bos; }

    std::vector<std::int32_t> encode(std::string_view utf8) const override
    {
        std::vector<std::int32_t> ids = m_spec.prefix;
        Run run(m_pre);
        if (isValidUtf8(utf8))
            encodeText(utf8, run, ids);
        else
            encodeText(lossyUtf8(utf8), run, ids);
        ids.insert(ids.end(), m_spec.suffix.begin(), m_spec.suffix.end());
        return ids;
    }

    std::string decode(std::span<const std::int32_t> ids) const override
    {
        std::string bytes;
        for (const std::int32_t id : ids)
            appendBytes(id, bytes);
        return isValidUtf8(bytes) ? bytes : lossyUtf8(bytes);
    }

private:
    struct Run {
        explicit Run(const PreTokenizer& pre)
            : cut(pre)
        {
        }
        PreTokenizer::Runner cut;
        WordCache cache;
        BpeModel::Scratch scratch;
    };

    bool known(std::int32_t id) const
    {
        return id >= 0 && static_cast<std::size_t>(id) < m_spec.tokens.size() && m_spec.assigned[static_cast<std::size_t>(id)];
    }

    Expected<void> addMerges(Digest& digest)
    {
        std::string joined;
        for (std::size_t i = 0; i < m_spec.merges.size(); ++i) {
            const auto& [left, right] = m_spec.merges[i];
            joined = left + right;
            const auto l = m_model.find(left);
            const auto r = m_model.find(right);
            const auto j = m_model.find(joined);
            if (!l || !r || !j) {
                const std::string& missing = !l ? left : !r ? right : joined;
                return fail(Errc::Format,
                    fmt::format("merge of {} and {} needs the token {}, which the vocabulary lacks", shown(left), shown(right),
                        shown(missing)),
                    m_spec.at(fmt::format("merges[{}]", i)));
            }
            m_model.addMerge(*l, *r, *j, static_cast<std::int32_t>(i));
            digest.add(std::int64_t{*l}).add(std::int64_t{*r});
        }
        m_spec.merges = {}; // the model has them as ids
        return {};
    }

    Expected<void> addAdded()
    {
        m_isAdded.assign(m_spec.tokens.size(), false);
        for (const AddedToken& token : m_spec.added) {
            m_isAdded[static_cast<std::size_t>(token.id)] = true;
            if (!token.normalized) {
                m_rawAdded.add(token, token.content);
                continue;
            }
            std::string spelling = token.content;
            if (m_spec.nfc) {
                QS_TRY(normal, toNfc(spelling, m_spec.at("added_tokens")));
                spelling = std::move(normal);
            }
            m_normalizedAdded.add(token, spelling);
        }
        if (m_spec.nfc)
            QS_CHECK(toNfc("e\xCC\x81", m_spec.at("normalizer"))); // refused now rather than at the first text
        return {};
    }

    void addRules(Digest& digest) const
    {
        for (std::size_t id = 0; id < m_spec.tokens.size(); ++id)
            if (m_spec.assigned[id])
                digest.add(static_cast<std::int64_t>(id)).add(std::string_view(m_spec.tokens[id]));
        const auto flag = [&](bool value) { digest.add(std::int64_t{value}); };
        const auto list = [&](const std::vector<std::int32_t>& ids) {
            digest.add(static_cast<std::int64_t>(ids.size()));
            for (const std::int32_t id : ids)
                digest.add(std::int64_t{id});
        };
        digest.add(std::int64_t{m_spec.unknown.value_or(-1)});
        for (const bool value : {m_spec.fuseUnknown, m_spec.byteFallback, m_spec.ignoreMerges, m_spec.nfc})
            flag(value);
        for (const PreStep& s : m_spec.steps) {
            digest.add(static_cast<std::int64_t>(s.kind))
                .add(std::string_view(s.pattern))
                .add(static_cast<std::int64_t>(s.behaviour));
            for (const bool value : {s.patternIsRegex, s.invert, s.individualDigits, s.addPrefixSpace, s.useRegex})
                flag(value);
        }
        for (const AddedToken& t : m_spec.added) {
            digest.add(std::int64_t{t.id}).add(std::string_view(t.content));
            for (const bool value : {t.singleWord, t.lstrip, t.rstrip, t.normalized, t.special})
                flag(value);
        }
        list(m_spec.prefix);
        list(m_spec.suffix);
    }

    void describe()
    {
        const auto count = static_cast<std::size_t>(std::count(m_spec.assigned.begin(), m_spec.assigned.end(), true));
        m_description = fmt::format("byte-level BPE, {} tokens", count);
        if (m_spec.byteFallback || m_spec.unknown)
            return;
        std::size_t lost = 0; // bytes 0xC0, 0xC1 and 0xF5 upward never occur in UTF-8
        for (std::uint32_t b = 0; b < 0xF5; ++b)
            if (b != 0xC0 && b != 0xC1 && !m_model.hasByte(static_cast<std::uint8_t>(b)))
                ++lost;
        if (lost > 0)
            m_description
                += fmt::format("; {} of the 243 bytes of UTF-8 have no token and are dropped, as the reference does", lost);
    }

    void appendBytes(std::int32_t id, std::string& bytes) const
    {
        if (!known(id))
            return;
        const std::string& token = m_spec.tokens[static_cast<std::size_t>(id)];
        const std::size_t start = bytes.size();
        std::string_view rest = token;
        while (!rest.empty() && !m_isAdded[static_cast<std::size_t>(id)]) {
            const CodePoint c = codePointAt(rest);
            const int byte = codePointToByte(c.value);
            if (byte < 0)
                break;
            bytes.push_back(static_cast<char>(byte));
            rest.remove_prefix(c.length);
        }
        if (!rest.empty()) { // not spelled in the byte alphabet: the text itself
            bytes.resize(start);
            bytes += token;
        }
    }

    void encodeText(std::string_view text, Run& run, std::vector<std::int32_t>& ids) const
    {
        if (m_rawAdded.empty()) {
            encodePlain(text, run, ids);
            return;
        }
        for (const Piece& piece : m_rawAdded.split(text)) {
            if (piece.id)
                ids.push_back(*piece.id);
            else
                encodePlain(text.substr(piece.begin, piece.end - piece.begin), run, ids);
        }
    }

    void encodePlain(std::string_view text, Run& run, std::vector<std::int32_t>& ids) const
    {
        std::string normal;
        if (m_spec.nfc) {
            auto result = toNfc(text, m_spec.at("normalizer"));
            if (!result)
                throw std::runtime_error(result.error().line());
            normal = std::move(*result);
            text = normal;
        }
        if (m_normalizedAdded.empty()) {
            encodeWords(text, run, ids);
            return;
        }
        for (const Piece& piece : m_normalizedAdded.split(text)) {
            if (piece.id)
                ids.push_back(*piece.id);
            else
                encodeWords(text.substr(piece.begin, piece.end - piece.begin), run, ids);
        }
    }

    void encodeWords(std::string_view text, Run& run, std::vector<std::int32_t>& ids) const
    {
        const Words words = run.cut.run(text);
        for (const Words::Span& span : words.spans) {
            const std::string_view word = words.word(span);
            if (const auto* seen = run.cache.find(word)) {
                ids.insert(ids.end(), seen->begin(), seen->end());
                continue;
            }
            const std::size_t before = ids.size();
            m_model.encode(word, run.scratch, ids);
            run.cache.add(word, {ids.begin() + static_cast<std::ptrdiff_t>(before), ids.end()});
        }
    }

    TokenizerSpec m_spec;
    PreTokenizer m_pre;
    BpeModel m_model;
    AddedMatcher m_rawAdded;
    AddedMatcher m_normalizedAdded;
    std::vector<bool> m_isAdded;
    std::string m_id;
    std::string m_description;
};

} // namespace

Expected<void> TokenizerSpec::assign(std::int64_t id, std::string token, const std::string& field)
{
    if (id < 0 || static_cast<std::uint64_t>(id) >= kMaxTokens)
        return fail(Errc::Format, fmt::format("token id {} is outside 0..{}", id, kMaxTokens - 1), at(field));
    if (token.size() > kMaxTokenBytes)
        return fail(
            Errc::Format, fmt::format("token {} has {} bytes, more than {}", id, token.size(), kMaxTokenBytes), at(field));
    const auto index = static_cast<std::size_t>(id);
    if (index >= tokens.size()) {
        tokens.resize(index + 1);
        assigned.resize(index + 1, false);
    }
    if (assigned[index])
        return fail(
            Errc::Format, fmt::format("id {} is given to both {} and {}", id, shown(tokens[index]), shown(token)), at(field));
    tokens[index] = std::move(token);
    assigned[index] = true;
    return {};
}

Expected<std::shared_ptr<const Tokenizer>> buildTokenizer(TokenizerSpec spec)
{
    const auto byteLevels = std::count_if(
        spec.steps.begin(), spec.steps.end(), [](const PreStep& s) { return s.kind == PreStep::Kind::ByteLevel; });
    if (byteLevels != 1)
        return fail(Errc::Unsupported, fmt::format("{} ByteLevel steps; a byte-level tokenizer has one", byteLevels),
            spec.at("pre_tokenizer"));
    const auto known = [&](std::int32_t id) {
        return id >= 0 && static_cast<std::size_t>(id) < spec.tokens.size() && spec.assigned[static_cast<std::size_t>(id)];
    };
    for (const AddedToken& token : spec.added) {
        if (!known(token.id))
            return fail(
                Errc::Format, fmt::format("token {} has no id {}", shown(token.content), token.id), spec.at("added_tokens"));
        if (token.content.size() > kMaxAddedTokenBytes)
            return fail(Errc::Unsupported,
                fmt::format("token {} has {} bytes, more than {}", token.id, token.content.size(), kMaxAddedTokenBytes),
                spec.at("added_tokens"));
    }
    for (const auto* list : {&spec.prefix, &spec.suffix})
        for (const std::int32_t id : *list)
            if (!known(id))
                return fail(
                    Errc::Format, fmt::format("adds the id {}, which the vocabulary lacks", id), spec.at("post_processor"));
    for (const auto& optional : {spec.bos, spec.unknown})
        if (optional && !known(*optional))
            return fail(Errc::Format, fmt::format("special id {} is outside the vocabulary", *optional), spec.file);
    QS_TRY(pre, PreTokenizer::compile(spec.steps, spec.at("pre_tokenizer")));
    auto tokenizer = std::make_shared<ByteLevelBpe>(std::move(spec), std::move(pre));
    QS_CHECK(tokenizer->finish());
    return std::shared_ptr<const Tokenizer>(std::move(tokenizer));
}

} // namespace tok

Expected<std::shared_ptr<const Tokenizer>> openTokenizerJson(const std::filesystem::path& path)
{
    QS_TRY(spec, tok::readTokenizerJson(path));
    return tok::buildTokenizer(std::move(spec));
}

Expected<std::shared_ptr<const Tokenizer>> openTokenizerGguf(const Checkpoint& checkpoint)
{
    QS_TRY(spec, tok::readTokenizerGguf(checkpoint));
    return tok::buildTokenizer(std::move(spec));
}

} // namespace qs::io
