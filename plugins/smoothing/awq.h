// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/recipe/stage.h"

namespace qs::plugins {

/// The search's yardstick: tr(dW C dW^T) as metrics::traceLoss has it, with the product in float32.
///
/// Shapes   dW (out, in); C (in, in).   Cost   O(out in^2).   Threads   one library product per 512 rows; sums in row order.
double awqSearchLoss(MatrixView dW, MatrixView C, Backend& backend);

/// Scales of one candidate: s_j = max(a_j^r, 1e-4), with `weightMean` (the duo variant) max(a_j^r / (w_j^(1-r) + 1e-4), 1e-4);
/// then s / sqrt(max s min s). Without weightMean r = 0 gives ones. Shapes: one entry per channel; weightMean may be empty.
std::vector<double> awqScale(const std::vector<double>& meanAbs, const std::vector<double>& weightMean, double ratio);

struct AwqOptions {
    int nGrid = 20; ///< Ratios 0, 1/n, ..., (n-1)/n are tried.
    bool duoScaling = false; ///< Divide by the mean weight as well.
    Index duoGroup = 128; ///< Columns over which weights are normalised for the duo variant; -1: whole row.
};

/// Activation-aware scaling of a site's channels, chosen by a search over one exponent.
///
///   a_j = mean |x_j|,   s = max(a^r, 1e-4),   s := s / sqrt(max s min s)
///   r = argmin over {0, 1/n, ..., (n-1)/n} of  sum over the consumers of  tr(dW C dW^T),   dW = W - Q(W diag s) diag(1/s)
///   duo variant: s = max(a^r / (w^(1-r) + 1e-4), 1e-4), w_j = mean over all rows of |w_ij| / max over its group of |w_i.|
///
/// Q is the pipeline's grid with nearest rounding. r = 0 is the identity (the duo variant gets the identity as an extra
/// candidate). Candidates are scored as they are stored (SiteContext::storable), so the loss of the site is never above that of
/// nearest rounding. The search runs in float32, its winner is
/// checked in float64. The paper measures the output of the whole attention or MLP for some sites; here it is that of the
/// single linear layers.
/// Errors   NotFound "needs calibration"; Cancelled (polled per candidate and consumer); those of the grid.
/// Cost     n products (out, in) x (in, in) per consumer.
/// Threads  see awqSearchLoss.
/// Source   Lin et al. 2023, arXiv:2306.00978, eq. (4) and (5).
class AwqTransform final : public recipe::TransformStage {
public:
    explicit AwqTransform(AwqOptions options)
        : m_options(options)
    {
    }
    Expected<std::unique_ptr<recipe::SiteTransform>> fit(
        const recipe::SiteContext& site, recipe::StageReport& report) const override;

private:
    AwqOptions m_options;
};

/// Declaration and constructor of the stage `awq`.
std::unique_ptr<recipe::StageFactory> makeAwq();

} // namespace qs::plugins
