// SPDX-License-Identifier: Apache-2.0
#include "core/quant/packing.h"

#include "core/exec/parallel.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <fmt/format.h>
#include <type_traits>
#include <utility>

namespace qs::quant {
namespace {

Expected<void> checkBits(int bits)
{
    if (bits < 1 || bits > 8)
        return fail(Errc::InvalidArgument, fmt::format("codes of {} bits cannot be packed", bits), "bits", "use 1 to 8");
    return {};
}

Expected<void> checkSize(const char* what, std::size_t got, Index rows, Index cols)
{
    if (rows < 0 || cols < 0 || got != static_cast<std::size_t>(rows) * static_cast<std::size_t>(cols))
        return fail(Errc::InvalidArgument, fmt::format("{} {} do not fill {} x {}", got, what, rows, cols));
    return {};
}

void packStream(const std::uint8_t* codes, Index count, int bits, std::uint32_t* words)
{
    std::uint64_t pending = 0;
    int held = 0;
    for (Index i = 0; i < count; ++i) {
        pending |= static_cast<std::uint64_t>(codes[i]) << held;
        held += bits;
        if (held >= 32) {
            *words++ = static_cast<std::uint32_t>(pending);
            pending >>= 32;
            held -= 32;
        }
    }
    if (held > 0)
        *words = static_cast<std::uint32_t>(pending);
}

/// 32 codes fill kBits words exactly: every shift below is a constant.
template <int kBits> void unpack32(const std::uint32_t* words, std::uint8_t* target)
{
    [&]<std::size_t... kIndex>(std::index_sequence<kIndex...>)
    {
        const auto code = [&](auto index) {
            constexpr int kBit = static_cast<int>(index) * kBits;
            std::uint32_t value = words[kBit / 32] >> (kBit % 32);
            if constexpr (kBit % 32 + kBits > 32)
                value |= words[kBit / 32 + 1] << (32 - kBit % 32);
            return static_cast<std::uint8_t>(value & ((1U << kBits) - 1U));
        };
        ((target[kIndex] = code(std::integral_constant<std::size_t, kIndex>{})), ...);
    }
    (std::make_index_sequence<32>{});
}

using Unpack32 = void (*)(const std::uint32_t*, std::uint8_t*);
constexpr std::array<Unpack32, 9> kUnpack32
    = {nullptr, unpack32<1>, unpack32<2>, unpack32<3>, unpack32<4>, unpack32<5>, unpack32<6>, unpack32<7>, unpack32<8>};

/// (rows, cols) to (cols, rows), in tiles that stay in cache.
template <class T> std::vector<T> transposed(std::span<const T> source, Index rows, Index cols)
{
    constexpr Index kTile = 64;
    std::vector<T> target(source.size());
    const Index tiles = (cols + kTile - 1) / kTile;
    parallelFor(0, tiles, 1, [&](Index begin, Index end) {
        for (Index tile = begin; tile < end; ++tile)
            for (Index r0 = 0; r0 < rows; r0 += kTile)
                for (Index c = tile * kTile; c < std::min(cols, (tile + 1) * kTile); ++c)
                    for (Index r = r0; r < std::min(rows, r0 + kTile); ++r)
                        target[static_cast<std::size_t>(c * rows + r)] = source[static_cast<std::size_t>(r * cols + c)];
    });
    return target;
}

} // namespace

Index packedWords(Index count, int bits)
{
    // count / 32 first: count * bits may overflow.
    return count / 32 * bits + (count % 32 * bits + 31) / 32;
}

void unpackStream(std::span<const std::uint32_t> words, Index first, Index count, int bits, std::uint8_t* target)
{
    assert(bits >= 1 && bits <= 8 && first >= 0 && packedWords(first + count, bits) <= static_cast<Index>(words.size()));
    const std::uint32_t mask = (1U << bits) - 1U;
    Index i = 0;
    if (first % 32 == 0) {
        const std::uint32_t* word = words.data() + first / 32 * bits;
        for (; i + 32 <= count; i += 32, word += bits)
            kUnpack32[static_cast<std::size_t>(bits)](word, target + i);
    }
    for (; i < count; ++i) {
        const auto bit = static_cast<std::uint64_t>(first + i) * static_cast<std::uint64_t>(bits);
        const std::size_t word = static_cast<std::size_t>(bit / 32);
        const unsigned shift = bit % 32;
        std::uint64_t value = words[word];
        if (shift + static_cast<unsigned>(bits) > 32)
            value |= static_cast<std::uint64_t>(words[word + 1]) << 32;
        target[i] = static_cast<std::uint8_t>(value >> shift & mask);
    }
}

Expected<std::vector<std::uint32_t>> packBits(
    std::span<const std::uint8_t> codes, Index rows, Index cols, int bits, PackAxis axis)
{
    QS_CHECK(checkBits(bits));
    QS_CHECK(checkSize("codes", codes.size(), rows, cols));
    const auto limit = static_cast<unsigned>(1U << bits);
    const auto bad = std::find_if(codes.begin(), codes.end(), [&](std::uint8_t code) { return code >= limit; });
    if (bad != codes.end()) {
        const Index at = bad - codes.begin();
        return fail(Errc::InvalidArgument,
            fmt::format("code {} at ({}, {}) does not fit into {} bits", *bad, at / cols, at % cols, bits));
    }
    if (axis == PackAxis::Rows) {
        // Pack the transposed codes along their rows, then turn the words back.
        const auto turned = transposed(codes, rows, cols);
        QS_TRY(words, packBits(turned, cols, rows, bits, PackAxis::Columns));
        return transposed(std::span<const std::uint32_t>(words), cols, packedWords(rows, bits));
    }
    const Index perRow = packedWords(cols, bits);
    std::vector<std::uint32_t> words(static_cast<std::size_t>(rows * perRow));
    parallelFor(0, rows, rowGrain(cols), [&](Index begin, Index end) {
        for (Index r = begin; r < end; ++r)
            packStream(codes.data() + r * cols, cols, bits, words.data() + r * perRow);
    });
    return words;
}

Expected<std::vector<std::uint8_t>> unpackBits(
    std::span<const std::uint32_t> words, Index rows, Index cols, int bits, PackAxis axis)
{
    QS_CHECK(checkBits(bits));
    if (rows < 0 || cols < 0)
        return fail(Errc::InvalidArgument, fmt::format("{} x {} is not a shape", rows, cols));
    if (axis == PackAxis::Rows) {
        const Index perColumn = packedWords(rows, bits);
        QS_CHECK(checkSize("words", words.size(), perColumn, cols));
        const auto turned = transposed(words, perColumn, cols);
        QS_TRY(codes, unpackBits(turned, cols, rows, bits, PackAxis::Columns));
        return transposed(std::span<const std::uint8_t>(codes), cols, rows);
    }
    const Index perRow = packedWords(cols, bits);
    QS_CHECK(checkSize("words", words.size(), rows, perRow));
    std::vector<std::uint8_t> codes(static_cast<std::size_t>(rows * cols));
    parallelFor(0, rows, rowGrain(cols), [&](Index begin, Index end) {
        for (Index r = begin; r < end; ++r)
            unpackStream(words.subspan(static_cast<std::size_t>(r * perRow), static_cast<std::size_t>(perRow)), 0, cols, bits,
                codes.data() + r * cols);
    });
    return codes;
}

} // namespace qs::quant
