// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/recipe/stage.h"

namespace qs::plugins {

/// Round to nearest: every weight goes to its nearest grid point, pruned weights to exactly 0, nothing is compensated.
///
///   w_hat = keep ? grid(w) : 0;  the grid is fitted on the kept weights, with zeros in place of the others.
///
/// Without a grid: w_hat = keep ? w : 0; without either W itself, bit for bit.
/// Shapes   W and mask (out, in).
/// Errors   Unsupported for an adaptive mask; InvalidArgument for a mask of another shape, or a grid that cannot store a
///          pruned zero exactly; those of the grid; Cancelled (polled per group of columns).
/// Cost     O(out in).
/// Threads  rows in parallel.
/// Source   Jacob et al. 2018, arXiv:1712.05877, eq. (1).
class NearestRounding final : public recipe::RoundingStage {
public:
    Expected<recipe::RoundingResult> solve(const recipe::LayerProblem& problem, const recipe::GridStage* grid,
        const recipe::MaskPlan* mask, recipe::StageReport& report) const override;
};

/// Declaration and constructor of the stage `nearest`.
std::unique_ptr<recipe::StageFactory> makeNearest();

} // namespace qs::plugins
