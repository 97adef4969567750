// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/recipe/stage.h"

namespace qs::plugins {

/// Simulated quantization of a layer's input. Dynamic grids are only declared; a static one takes the extrema of the fit part.
///
///   static: lo = min over tokens and channels of x, hi = max; symmetric grids use max(|lo|, |hi|)
///
/// The clip factor acts on this range when the grid is applied.
/// Errors   InvalidArgument at construction for a static grid that is not per tensor, and when a_group does not divide the
///          channels; NotFound "needs calibration" for a static grid without statistics; Unsupported for an asymmetric static
///          grid where extrema are unknown (after a dense transform); NotFinite for extrema that are not finite.
/// Cost     O(channels).
/// Threads  pure.
class ActGrid final : public recipe::ActivationGridStage {
public:
    explicit ActGrid(quant::ActivationGridOptions options)
        : m_options(options)
    {
    }
    Expected<quant::ActivationGridOptions> fit(const recipe::LayerProblem& problem, recipe::StageReport& report) const override;

private:
    quant::ActivationGridOptions m_options; ///< group 0: automatic.
};

/// Declaration and constructor of the stage `act`.
std::unique_ptr<recipe::StageFactory> makeActGrid();

} // namespace qs::plugins
