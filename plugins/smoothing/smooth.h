// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/recipe/stage.h"

namespace qs::plugins {

/// SmoothQuant's factors.
///
///   s_j = max(x_j, 1e-5)^alpha / max(w_j, 1e-5)^(1 - alpha), at least 1e-5
///
/// x_j: largest |x| of channel j, w_j: largest |w| of column j. Shapes: one value per channel. Threads: pure.
/// Source   Xiao et al. 2022, arXiv:2211.10438, eq. (4); the floors are those of its public code.
std::vector<double> smoothScales(const std::vector<double>& inputMax, const std::vector<double>& weightMax, double alpha);

/// Moves the difficulty of outlier channels from a site's input into its consumers' weights.
///
/// w_j is taken over all consumers of the site; scales are rounded to what is stored (SiteContext::storable). Acts where a norm
/// produces the input (q, k, v and gate, up) and on plain matrices, as the paper does; elsewhere it is the identity with a
/// note. Errors   NotFound "needs calibration", or when sinks are to be left out and the calibration does not keep them apart;
///          NotFinite for extrema that are not finite.
/// Cost     one pass over the weights.
/// Threads  pure.
/// Source   as smoothScales.
class SmoothTransform final : public recipe::TransformStage {
public:
    SmoothTransform(double alpha, bool includeSinks)
        : m_alpha(alpha)
        , m_includeSinks(includeSinks)
    {
    }
    Expected<std::unique_ptr<recipe::SiteTransform>> fit(
        const recipe::SiteContext& site, recipe::StageReport& report) const override;

private:
    double m_alpha;
    bool m_includeSinks;
};

/// Declaration and constructor of the stage `smooth`.
std::unique_ptr<recipe::StageFactory> makeSmooth();

} // namespace qs::plugins
