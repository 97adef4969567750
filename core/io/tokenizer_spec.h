// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/error.h"
#include "core/io/tokenizer.h"
#include "core/io/tokenizer_added.h"
#include "core/io/tokenizer_split.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace qs::io::tok {

constexpr std::size_t kMaxTokens = std::size_t{1} << 23;
constexpr std::size_t kMaxMerges = std::size_t{1} << 24;
constexpr std::size_t kMaxAddedTokens = std::size_t{1} << 18;
constexpr std::size_t kMaxTokenBytes = std::size_t{1} << 14;
constexpr std::size_t kMaxAddedTokenBytes = 1024; ///< Bounds the search at every position of a text.

/// Everything that defines a byte-level BPE tokenizer, independent of the file it came from.
struct TokenizerSpec {
    std::string file; ///< For messages.
    std::vector<std::string> tokens; ///< By id, in the byte alphabet; added tokens as they are.
    std::vector<bool> assigned; ///< By id; ids may have holes.
    std::vector<std::pair<std::string, std::string>> merges; ///< Rank = index.
    std::optional<std::int32_t> unknown;
    bool fuseUnknown = false;
    bool byteFallback = false;
    bool ignoreMerges = false;
    bool nfc = false; ///< Unicode normalisation form C before pre-tokenisation.
    std::vector<PreStep> steps; ///< Exactly one ByteLevel.
    std::vector<AddedToken> added; ///< Ids below tokens.size() and assigned.
    std::vector<std::int32_t> prefix; ///< Put before every text.
    std::vector<std::int32_t> suffix;
    std::optional<std::int32_t> bos;

    /// Gives a token its id. Errors: Format for an id out of range or taken, or a token that is too long; names `field`.
    Expected<void> assign(std::int64_t id, std::string token, const std::string& field);
    std::string at(std::string_view field) const { return file + ": " + std::string(field); }
};

/// Compiles and checks a spec: merges name known tokens, patterns compile, ids exist, a ByteLevel step is there.
/// Errors   Format, Unsupported, Mismatch, each naming file and field.
Expected<std::shared_ptr<const Tokenizer>> buildTokenizer(TokenizerSpec spec);

/// The spec of a tokenizer.json (and the BOS named by a tokenizer_config.json beside it).
Expected<TokenizerSpec> readTokenizerJson(const std::filesystem::path& path);
/// The spec of a GGUF checkpoint's metadata.
Expected<TokenizerSpec> readTokenizerGguf(const Checkpoint& checkpoint);

} // namespace qs::io::tok
