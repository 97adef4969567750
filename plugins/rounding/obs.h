// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/recipe/obs_sweep.h"

namespace qs::plugins {

/// OBS sweep as a rounding stage: GPTQ with a grid, SparseGPT's update with a mask, both at once with both.
///
/// The arithmetic is recipe::obsSweep(). With nothing to do (no grid, nothing pruned) W comes back bit for bit.
/// Errors   those of recipe::obsSweep().
class ObsRounding final : public recipe::RoundingStage {
public:
    explicit ObsRounding(recipe::SweepOptions options)
        : m_options(options)
    {
    }
    Expected<recipe::RoundingResult> solve(const recipe::LayerProblem& problem, const recipe::GridStage* grid,
        const recipe::MaskPlan* mask, recipe::StageReport& report) const override;

private:
    recipe::SweepOptions m_options;
};

/// Declaration and constructor of the stage `obs`.
std::unique_ptr<recipe::StageFactory> makeObs();

} // namespace qs::plugins
