// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/error.h"
#include "core/base/types.h"

#include <cstdint>
#include <span>
#include <vector>

namespace qs::quant {

/// Along which dimension of a (rows, cols) matrix of codes the bit stream runs.
enum class PackAxis {
    Columns, ///< Dimension 1: one stream per row; words are (rows, packedWords(cols, bits)).
    Rows, ///< Dimension 0: one stream per column; words are (packedWords(rows, bits), cols).
};

/// Words that `count` codes take: ceil(count * bits / 32).
Index packedWords(Index count, int bits);

/// Packs codes into a dense little-endian bit stream, cut into 32-bit words.
///
///   element i of a stream occupies its bits [i * bits, (i + 1) * bits), least significant bit first; tail bits are zero.
///
/// Shapes   codes: rows * cols, row-major, each below 2^bits. Result: see PackAxis, row-major.
/// Errors   InvalidArgument for bits outside 1..8, sizes that disagree, or a code that does not fit (it is named).
/// Cost     linear.   Threads   pure; several threads are used.
/// Source   compressed-tensors 0.18 pack_to_int32.
Expected<std::vector<std::uint32_t>> packBits(
    std::span<const std::uint8_t> codes, Index rows, Index cols, int bits, PackAxis axis);

/// The inverse of packBits(). Errors: InvalidArgument for bits outside 1..8 or sizes that disagree. Tail bits are ignored.
Expected<std::vector<std::uint8_t>> unpackBits(
    std::span<const std::uint32_t> words, Index rows, Index cols, int bits, PackAxis axis);

/// One stream: codes [first, first + count) of `words` into `target`. No checks beyond assertions.
void unpackStream(std::span<const std::uint32_t> words, Index first, Index count, int bits, std::uint8_t* target);

} // namespace qs::quant
