// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/recipe/stage.h"

namespace qs::plugins {

/// How many weights go: a share, or N kept of every M consecutive input columns.
struct SparsityPattern {
    double sparsity = 0.5; ///< Share that goes; (M - N) / M with an N:M pattern.
    int n = 0, m = 0; ///< 0: free.
    bool nm() const { return m > 0; }
};

/// Reads the parameters `sparsity` and `pattern` (free, or N:M with 1 <= N <= M <= 128).
/// Error   InvalidArgument naming the stage and what is allowed.
Expected<SparsityPattern> readPattern(const recipe::Parameters& parameters, const std::string& stage);
/// Error InvalidArgument, naming the layer, when M does not divide the columns.
Expected<void> checkPattern(const SparsityPattern& pattern, Index cols, const std::string& layer);

/// Entries of `total` that go: floor(sparsity * total), where a product that is an integer up to rounding counts as one.
Index prunedCount(double sparsity, Index total);

/// Score of a weight: |w_ij| * columnFactor[j]; the factors are 1 when the list is empty.
struct Scores {
    MatrixView W;
    std::vector<double> columnFactor;
    double operator()(Index row, Index col) const;
};

/// Masks with an exact count: the lowest scores go, ties by row, then column.
/// Shapes   result as W, 1 = kept.
/// Cost     linear on average.
/// Threads  rows in parallel; same bits for any number of threads.
BasicMatrix<std::uint8_t> lowestOfMatrix(const Scores& scores, double sparsity); ///< One comparison over the whole matrix.
BasicMatrix<std::uint8_t> lowestOfRows(const Scores& scores, double sparsity); ///< The same count in every row.
BasicMatrix<std::uint8_t> lowestOfGroups(const Scores& scores, int n, int m); ///< Keeps n of every m consecutive columns.

/// Declarations of `sparsity` and `pattern`, shared by the pruners.
std::vector<recipe::ParameterSpec> patternParameters();

} // namespace qs::plugins
