// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/recipe/stage.h"

namespace qs::plugins {

/// Keeps a random subset of every row: the baseline that a pruning method has to beat.
///
///   every row loses floor(sparsity * in) weights, those with the lowest hash(seed, row, column)
///
/// Shapes   W (out, in).   Errors   Cancelled.   Cost   O(out in) on average.
/// Threads  rows in parallel; the mask depends on the seed alone, not on the number of threads.
class RandomPruner final : public recipe::PrunerStage {
public:
    RandomPruner(double sparsity, std::uint64_t seed)
        : m_sparsity(sparsity)
        , m_seed(seed)
    {
    }
    Expected<recipe::MaskPlan> plan(const recipe::LayerProblem& problem, recipe::StageReport& report) const override;

private:
    double m_sparsity;
    std::uint64_t m_seed;
};

} // namespace qs::plugins
