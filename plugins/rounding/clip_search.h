// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/exec/backend.h"
#include "core/exec/job_context.h"
#include "core/quant/uniform_grid.h"

namespace qs::plugins {

struct ClipResult {
    std::vector<quant::ScaleZero> fitted; ///< One per row.
    std::vector<double> factor; ///< Chosen m / max|w| per row, 1 = not clipped.
    std::vector<double> loss, lossUnclipped; ///< delta^T C_gg delta per row.
};

inline constexpr int kClipGrid = 20; ///< Candidates are spaced by 1 / kClipGrid ...
inline constexpr int kClipSteps = 10; ///< ... and there are this many: 1, 0.95, ..., 0.55.

/// Clipping of each row of one group that leaves the least output error of that group.
///
///   m = (1 - i / 20) max|w|, i = 0..9;   Q fitted to clamp(w, -m, m);   loss = (w - Q(w))^T C_gg (w - Q(w))
///
/// The clamp is symmetric on every grid, as published. i = 0 is a candidate and ties go to it, so the loss is never above the
/// unclipped. The published search measures E (sum over the group of x_j (w_j - w_hat_j))^2 over 512 tokens; with the Gram
/// block it is the same sum over all tokens, without tokens.
/// Shapes   W (rows, g); Cgg (g, g); weights as in UniformGrid::fit.
/// Errors   NotFinite from the grid; Cancelled (polled per candidate and block of rows).
/// Cost     10 products (rows, g) x (g, g) in float64.
/// Threads  rows in parallel.
/// Source   Lin et al. 2023, arXiv:2306.00978, and its public code (weight clipping).
Expected<ClipResult> searchClip(const quant::UniformGrid& grid, MatrixView W, MatrixViewD Cgg, std::span<const float> weights,
    Backend& backend, const JobContext& job);

} // namespace qs::plugins
