// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "plugins/pruning/masks.h"

namespace qs::plugins {

/// Keeps the weights of largest magnitude, compared over the whole matrix (N:M: within each group of a row).
///
///   score_ij = |w_ij|
///
/// Errors   InvalidArgument when M does not divide the columns.
/// Cost     O(out in).
/// Threads  same bits for any number of threads.
/// Source   Han et al. 2015, arXiv:1506.02626; compared over a matrix as in the public code of Wanda.
class MagnitudePruner final : public recipe::PrunerStage {
public:
    explicit MagnitudePruner(SparsityPattern pattern)
        : m_pattern(pattern)
    {
    }
    Expected<recipe::MaskPlan> plan(const recipe::LayerProblem& problem, recipe::StageReport& report) const override;

private:
    SparsityPattern m_pattern;
};

/// Keeps, in every output row, the weights of largest magnitude times input norm.
///
///   score_ij = |w_ij| |X_j|_2
///
/// Every row loses the same number of weights. Scaling a row of W, or all of X, leaves the mask as it is.
/// Errors   NotFound "needs calibration"; NotFinite for norms that are not finite; InvalidArgument when M does not divide the
///          columns.
/// Cost     O(out in).
/// Threads  same bits for any number of threads.
/// Source   Sun et al. 2023, arXiv:2306.11695, eq. (1).
class WandaPruner final : public recipe::PrunerStage {
public:
    explicit WandaPruner(SparsityPattern pattern)
        : m_pattern(pattern)
    {
    }
    Expected<recipe::MaskPlan> plan(const recipe::LayerProblem& problem, recipe::StageReport& report) const override;

private:
    SparsityPattern m_pattern;
};

/// Leaves the choice to a sweep that updates the remaining weights (rounding stage `obs`).
///
///   per block of 128 columns, the share `sparsity` of its entries with the least w^2 / U_jj^2 goes
///
/// Errors   InvalidArgument when M does not divide the columns or the block.
/// Cost     none here.
/// Source   Frantar and Alistarh 2023, arXiv:2301.00774, algorithm 1.
class SparseGptPruner final : public recipe::PrunerStage {
public:
    explicit SparseGptPruner(SparsityPattern pattern)
        : m_pattern(pattern)
    {
    }
    Expected<recipe::MaskPlan> plan(const recipe::LayerProblem& problem, recipe::StageReport& report) const override;

private:
    SparsityPattern m_pattern;
};

std::unique_ptr<recipe::StageFactory> makeMagnitude();
std::unique_ptr<recipe::StageFactory> makeWanda();
std::unique_ptr<recipe::StageFactory> makeSparseGpt();

} // namespace qs::plugins
