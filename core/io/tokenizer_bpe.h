// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/io/tokenizer_text.h"

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace qs::io::tok {

/// Byte-pair encoding of one word: start from characters, always join the adjacent pair of lowest rank, leftmost first.
///
/// Characters without a token become the bytes <0xNN> (byteFallback, when all are there), else the unknown token, else nothing.
/// Cost     O(n log n) for a word of n characters.
/// Threads  immutable once filled; every thread uses its own Scratch.
/// Source   Sennrich et al. 2016, arXiv:1508.07909, algorithm 1, applied to bytes as in GPT-2.
class BpeModel {
public:
    struct Options {
        std::optional<std::int32_t> unknown;
        bool fuseUnknown = false; ///< A run of unknown characters gives one token.
        bool byteFallback = false;
        bool ignoreMerges = false; ///< A word that is a token as a whole is taken as it is.
    };
    /// `tokens` by id must outlive the model; ids with assigned[id] == false do not exist.
    BpeModel(const std::vector<std::string>& tokens, const std::vector<bool>& assigned, Options options);

    std::optional<std::int32_t> find(std::string_view token) const;
    /// Rank of the pair; a pair given twice keeps the later rank, as the reference does.
    void addMerge(std::int32_t left, std::int32_t right, std::int32_t joined, std::int32_t rank);
    bool hasByte(std::uint8_t byte) const { return m_characters[byteToCodePoint()[byte]] >= 0; }

    struct Scratch {
        struct Symbol {
            std::int32_t id;
            std::int32_t previous;
            std::int32_t next;
        };
        struct Candidate {
            std::int32_t rank;
            std::int32_t position;
            std::int32_t left;
            std::int32_t right;
            std::int32_t joined;
        };
        std::vector<Symbol> symbols;
        std::vector<Candidate> heap;
    };
    void encode(std::string_view word, Scratch& scratch, std::vector<std::int32_t>& ids) const;

private:
    struct Merge {
        std::int32_t rank;
        std::int32_t joined;
    };
    void offer(Scratch& scratch, std::int32_t position) const;
    void characters(std::string_view word, Scratch& scratch) const;

    Options m_options;
    std::unordered_map<std::string_view, std::int32_t> m_ids;
    std::unordered_map<std::uint64_t, Merge> m_merges; ///< left << 32 | right
    std::array<std::int32_t, kByteAlphabetEnd> m_characters{}; ///< Token of a one-character string, or -1.
    std::array<std::int32_t, 256> m_fallback{}; ///< Token <0xNN>, or -1.
};

} // namespace qs::io::tok
