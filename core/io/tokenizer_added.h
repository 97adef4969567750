// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/io/tokenizer_regex.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace qs::io::tok {

/// A token that is cut out of the text before anything else looks at it.
struct AddedToken {
    std::int32_t id = 0;
    std::string content;
    bool singleWord = false; ///< Only where no word character touches it.
    bool lstrip = false; ///< Takes the white space before it.
    bool rstrip = false; ///< Takes the white space behind it.
    bool normalized = false; ///< Looked for after normalisation, in normalised spelling.
    bool special = false;
};

/// A stretch of text: an added token, or text for the model.
struct Piece {
    std::size_t begin;
    std::size_t end;
    std::optional<std::int32_t> id;
};

/// Leftmost-longest search for a set of added tokens, as a byte trie.
///
/// Cost     O(text * longest token); token length is bounded at load.   Threads   immutable.
class AddedMatcher {
public:
    AddedMatcher();
    /// The first of two equal spellings wins; empty ones never match.
    void add(const AddedToken& token, std::string_view spelling);
    bool empty() const { return m_tokens.empty(); }
    /// Covers the text with pieces, in order; none for an empty text.
    std::vector<Piece> split(std::string_view text) const;

private:
    std::optional<std::size_t> longestAt(std::string_view text, std::size_t at, std::size_t& length) const;

    std::vector<AddedToken> m_tokens;
    std::unordered_map<std::uint64_t, std::uint32_t> m_edges; ///< (node << 8 | byte) -> node; node 0 is the root.
    std::vector<std::int32_t> m_final; ///< By node: index into m_tokens, or -1.
    std::vector<bool> m_first; ///< By byte: some token starts with it.
};

} // namespace qs::io::tok
