// SPDX-License-Identifier: Apache-2.0
#include "core/io/tokenizer_added.h"

#include "core/io/tokenizer_text.h"

#include <algorithm>
#include <stdexcept>

namespace qs::io::tok {

namespace {

bool isWordCharacter(std::string_view character)
{
    // The reference searches words here with another regex engine than in pre-tokenizers: letter-like, marks, decimal digits,
    // connectors.
    static const Expected<Regex> regex
        = Regex::compile("\\A[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200c}\\x{200d}]", "added_tokens");
    if (!regex)
        throw std::logic_error(regex.error().line());
    Matcher matcher(*regex);
    matcher.start(character);
    std::size_t begin = 0;
    std::size_t end = 0;
    return matcher.next(begin, end);
}

/// Start of the last code point that ends at `end` of well-formed text.
std::size_t previous(std::string_view text, std::size_t end)
{
    std::size_t at = end - 1;
    while (at > 0 && (static_cast<std::uint8_t>(text[at]) & 0xC0U) == 0x80U)
        --at;
    return at;
}

bool standsAlone(std::string_view text, std::size_t begin, std::size_t end)
{
    if (begin > 0) {
        const std::size_t at = previous(text, begin);
        if (isWordCharacter(text.substr(at, begin - at)))
            return false;
    }
    return end == text.size() || !isWordCharacter(text.substr(end, codePointAt(text.substr(end)).length));
}

} // namespace

AddedMatcher::AddedMatcher()
    : m_final(1, -1)
    , m_first(256, false)
{
}

void AddedMatcher::add(const AddedToken& token, std::string_view spelling)
{
    if (spelling.empty())
        return;
    std::uint32_t node = 0;
    for (const char c : spelling) {
        const std::uint64_t key = std::uint64_t{node} << 8 | static_cast<std::uint8_t>(c);
        const auto [edge, isNew] = m_edges.try_emplace(key, static_cast<std::uint32_t>(m_final.size()));
        if (isNew)
            m_final.push_back(-1);
        node = edge->second;
    }
    if (m_final[node] >= 0)
        return;
    m_final[node] = static_cast<std::int32_t>(m_tokens.size());
    m_first[static_cast<std::uint8_t>(spelling.front())] = true;
    m_tokens.push_back(token);
}

std::optional<std::size_t> AddedMatcher::longestAt(std::string_view text, std::size_t at, std::size_t& length) const
{
    std::optional<std::size_t> best;
    std::uint32_t node = 0;
    for (std::size_t i = at; i < text.size(); ++i) {
        const auto edge = m_edges.find(std::uint64_t{node} << 8 | static_cast<std::uint8_t>(text[i]));
        if (edge == m_edges.end())
            break;
        node = edge->second;
        if (m_final[node] >= 0) {
            best = static_cast<std::size_t>(m_final[node]);
            length = i + 1 - at;
        }
    }
    return best;
}

std::vector<Piece> AddedMatcher::split(std::string_view text) const
{
    std::vector<Piece> pieces;
    std::size_t done = 0;
    for (std::size_t at = 0; at < text.size() && !m_tokens.empty();) {
        std::size_t length = 0;
        const auto found = m_first[static_cast<std::uint8_t>(text[at])] ? longestAt(text, at, length) : std::nullopt;
        if (!found) {
            ++at;
            continue;
        }
        const AddedToken& token = m_tokens[*found];
        std::size_t begin = at;
        std::size_t end = at + length;
        at = end;
        if (token.singleWord && !standsAlone(text, begin, end))
            continue;
        if (token.lstrip) {
            while (begin > done) {
                const std::size_t p = previous(text, begin);
                if (p < done || !isWhiteSpace(codePointAt(text.substr(p)).value))
                    break;
                begin = p;
            }
        }
        if (token.rstrip) {
            while (end < text.size()) {
                const CodePoint c = codePointAt(text.substr(end));
                if (!isWhiteSpace(c.value))
                    break;
                end += c.length;
            }
        }
        if (done < begin)
            pieces.push_back({done, begin, std::nullopt});
        pieces.push_back({begin, end, token.id});
        done = end;
    }
    if (done < text.size())
        pieces.push_back({done, text.size(), std::nullopt});
    return pieces;
}

} // namespace qs::io::tok
