// SPDX-License-Identifier: Apache-2.0
#include "core/io/tokenizer_bpe.h"

#include <algorithm>
#include <fmt/format.h>

namespace qs::io::tok {

namespace {

/// std::push_heap keeps the largest on top: "larger" means lower rank, then further left.
bool later(const BpeModel::Scratch::Candidate& a, const BpeModel::Scratch::Candidate& b)
{
    return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
}

std::uint64_t pairKey(std::int32_t left, std::int32_t right)
{
    return std::uint64_t{static_cast<std::uint32_t>(left)} << 32 | static_cast<std::uint32_t>(right);
}

} // namespace

BpeModel::BpeModel(const std::vector<std::string>& tokens, const std::vector<bool>& assigned, Options options)
    : m_options(options)
{
    m_ids.reserve(tokens.size());
    for (std::size_t id = 0; id < tokens.size(); ++id)
        if (assigned[id])
            m_ids.emplace(tokens[id], static_cast<std::int32_t>(id));
    for (std::uint32_t c = 0; c < kByteAlphabetEnd; ++c) {
        std::string text;
        appendUtf8(text, c);
        m_characters[c] = find(text).value_or(-1);
    }
    for (std::uint32_t b = 0; b < 256; ++b)
        m_fallback[b] = find(fmt::format("<0x{:02X}>", b)).value_or(-1);
}

std::optional<std::int32_t> BpeModel::find(std::string_view token) const
{
    const auto it = m_ids.find(token);
    return it == m_ids.end() ? std::nullopt : std::optional(it->second);
}

void BpeModel::addMerge(std::int32_t left, std::int32_t right, std::int32_t joined, std::int32_t rank)
{
    m_merges.insert_or_assign(pairKey(left, right), Merge{rank, joined});
}

void BpeModel::offer(Scratch& scratch, std::int32_t position) const
{
    const auto& symbols = scratch.symbols;
    const std::int32_t next = symbols[static_cast<std::size_t>(position)].next;
    if (next < 0)
        return;
    const std::int32_t left = symbols[static_cast<std::size_t>(position)].id;
    const std::int32_t right = symbols[static_cast<std::size_t>(next)].id;
    const auto it = m_merges.find(pairKey(left, right));
    if (it == m_merges.end())
        return;
    scratch.heap.push_back({it->second.rank, position, left, right, it->second.joined});
    std::push_heap(scratch.heap.begin(), scratch.heap.end(), later);
}

void BpeModel::characters(std::string_view word, Scratch& scratch) const
{
    auto& symbols = scratch.symbols;
    symbols.clear();
    const auto add = [&](std::int32_t id) {
        const auto n = static_cast<std::int32_t>(symbols.size());
        symbols.push_back({id, n - 1, n + 1});
    };
    bool inUnknown = false;
    while (!word.empty()) {
        const CodePoint c = codePointAt(word);
        const std::string_view character = word.substr(0, c.length);
        word.remove_prefix(c.length);
        const std::int32_t id = c.value < kByteAlphabetEnd ? m_characters[c.value] : find(character).value_or(-1);
        if (id >= 0) {
            add(id);
            inUnknown = false;
            continue;
        }
        const auto fallback = [&](char b) { return m_fallback[static_cast<std::uint8_t>(b)]; };
        if (m_options.byteFallback
            && std::all_of(character.begin(), character.end(), [&](char b) { return fallback(b) >= 0; })) {
            for (const char b : character)
                add(fallback(b));
            inUnknown = false;
        } else if (m_options.unknown) {
            if (!inUnknown || !m_options.fuseUnknown)
                add(*m_options.unknown);
            inUnknown = true;
        }
    }
    if (!symbols.empty())
        symbols.back().next = -1;
}

void BpeModel::encode(std::string_view word, Scratch& scratch, std::vector<std::int32_t>& ids) const
{
    if (m_options.ignoreMerges) {
        if (const auto whole = find(word)) {
            ids.push_back(*whole);
            return;
        }
    }
    characters(word, scratch);
    auto& symbols = scratch.symbols;
    auto& heap = scratch.heap;
    heap.clear();
    for (std::size_t i = 0; i + 1 < symbols.size(); ++i)
        offer(scratch, static_cast<std::int32_t>(i));
    while (!heap.empty()) {
        std::pop_heap(heap.begin(), heap.end(), later);
        const Scratch::Candidate best = heap.back();
        heap.pop_back();
        auto& left = symbols[static_cast<std::size_t>(best.position)];
        // A candidate is stale when one of its two symbols has been joined with something since.
        if (left.id != best.left || left.next < 0 || symbols[static_cast<std::size_t>(left.next)].id != best.right)
            continue;
        auto& right = symbols[static_cast<std::size_t>(left.next)];
        left.id = best.joined;
        left.next = right.next;
        right.id = -1;
        if (left.next >= 0)
            symbols[static_cast<std::size_t>(left.next)].previous = best.position;
        if (left.previous >= 0)
            offer(scratch, left.previous);
        offer(scratch, best.position);
    }
    for (const Scratch::Symbol& s : symbols)
        if (s.id >= 0)
            ids.push_back(s.id);
}

} // namespace qs::io::tok
