// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/recipe/stage.h"

namespace qs::plugins {

struct IntGridOptions {
    quant::UniformGridOptions grid;
    Index group = quant::kAutoGroup; ///< Columns per scale (see quant::resolveGroup).
    bool clip = false; ///< Search the clipping of every (row, group) on its output error (clip_search.h).
    bool weighted = false; ///< Weight the range search `mse` by diag(C).
};

/// Uniform integer grid with one scale (and zero) per row and group of columns, or for the whole tensor, as a stage.
///
/// nearest() leaves out `clip` and `weighted`: searches over transforms (AWQ) compare candidates without them, as published,
/// and in a space that the problem's statistics do not belong to. Sessions use them, and insist on the second moment.
/// Shapes   W (out, in); scale and zero (out, in / group), all equal for a whole tensor.
/// Errors   InvalidArgument when the group does not divide the columns (names the layer and the groups that do), and from
///          begin() for a clipping search over a whole tensor;
///          NotFinite for NaN or Inf in W; NotFound "needs calibration" from begin().
/// Cost     O(out in); with `clip` ten products (out, g) x (g, g) per group in float64.
/// Threads  const members may be called concurrently; rows in parallel.
/// Source   see quant::UniformGrid.
class IntGrid final : public recipe::GridStage {
public:
    IntGrid(IntGridOptions options, recipe::Parameters parameters);

    Expected<std::unique_ptr<recipe::GridSession>> begin(
        const recipe::LayerProblem& problem, recipe::StageReport& report) const override;
    Expected<quant::QuantizedTensor> nearest(const recipe::LayerProblem& problem) const override;
    Expected<recipe::Parameters> resolved(Index cols) const override;

private:
    IntGridOptions m_options;
    recipe::Parameters m_parameters;
};

/// Declaration and constructor of the stage `int`.
std::unique_ptr<recipe::StageFactory> makeIntGrid();

} // namespace qs::plugins
