// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/error.h"
#include "core/quant/uniform_grid.h"
#include "core/reduce/histogram.h"
#include "core/tensor/matrix.h"

#include <optional>
#include <string>
#include <vector>

namespace qs::analysis {

/// Decoded levels of one group's grid, ascending: where the lines of the overlay go.
std::vector<float> gridLevels(const quant::UniformGridOptions& options, quant::ScaleZero sz);

/// Weights in code units, w / s + z, so that the levels of every group fall on the same integers.
struct CodeHistogram {
    reduce::Histogram units; ///< Histogram of w / s + z before rounding.
    std::vector<std::uint64_t> codes; ///< Uses of each code, lowest first.
    int lowestCode = 0;
    double clippedShare = 0; ///< Share of weights outside the grid by more than half a step.
    double entropyBits = 0; ///< Entropy of the codes: what a perfect entropy coder would need per weight.
};
/// Errors   Mismatch when W and the tensor have different shapes; InvalidArgument for bins < 1.
Expected<CodeHistogram> codeHistogram(MatrixView W, const quant::QuantizedTensor& tensor, Index bins);

/// A grid that a weight already lies on: it was quantized before, and a new grid will stack its error on the old one.
struct ExistingGrid {
    int bits = 0; ///< Smallest width whose codes hold all steps of a block.
    Index block = 0; ///< Columns per scale (the largest that fits).
    double share = 0; ///< Share of the examined blocks that fit.
    std::string sentence; ///< "these weights already lie on a 4-bit grid of block 32".
};
/// Looks at up to 256 blocks, evenly spread, of 16, 32, 64, 128, 256 columns and the whole row: do their values sit on offset
/// + k * step with k < 2^bits, up to float16 or bfloat16 rounding of the decoded values? Nothing when fewer than 95 % do for
/// every block size.
/// Cost O(256 * cols log cols).   Threads pure.
std::optional<ExistingGrid> detectExistingGrid(MatrixView W);

} // namespace qs::analysis
