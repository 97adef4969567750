// SPDX-License-Identifier: Apache-2.0
#include "core/analysis/moments.h"

#include "core/exec/parallel.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <limits>

namespace qs::analysis {
namespace {

constexpr Index kGrain = 32;

/// Sigma = S / T - mu mu^T in place; variances that are only rounding become exactly 0, with their row and column.
void centre(MatrixD& S, double samples, const std::vector<double>& mean)
{
    const Index d = S.rows();
    constexpr double kRounding = 8.0 * std::numeric_limits<double>::epsilon();
    std::vector<char> constant(static_cast<std::size_t>(d));
    for (Index j = 0; j < d; ++j) {
        const double second = S(j, j) / samples;
        const double mu = mean[static_cast<std::size_t>(j)];
        constant[static_cast<std::size_t>(j)] = second - mu * mu <= kRounding * second;
    }
    parallelFor(0, d, kGrain, [&](Index begin, Index end) {
        for (Index r = begin; r < end; ++r)
            for (Index c = 0; c < d; ++c) {
                const bool none = constant[static_cast<std::size_t>(r)] || constant[static_cast<std::size_t>(c)];
                S(r, c)
                    = none ? 0.0 : S(r, c) / samples - mean[static_cast<std::size_t>(r)] * mean[static_cast<std::size_t>(c)];
            }
    });
}

} // namespace

stats::InputPart wholeDump(const stats::InputStats& stats)
{
    stats::InputPart whole = stats.fit;
    if (!stats.hasHoldout())
        return whole;
    whole.channels.merge(stats.holdout.channels);
    if (!stats.fit.hasGram() || !stats.holdout.hasGram()) {
        whole.gram = MatrixD();
        return whole;
    }
    parallelFor(0, whole.gram.rows(), kGrain, [&](Index begin, Index end) {
        for (Index r = begin; r < end; ++r)
            for (Index c = 0; c < whole.gram.cols(); ++c)
                whole.gram(r, c) += stats.holdout.gram(r, c);
    });
    return whole;
}

Expected<Covariance> centredCovariance(const stats::InputPart& part)
{
    if (!part.hasGram() || part.count() < 1)
        return fail(Errc::NotFound, "the statistics hold no Gram matrix", {}, "capture again with Grams for this layer");
    const Index d = part.gram.rows();
    if (part.gram.cols() != d || part.channels.channels() != d)
        return fail(Errc::Mismatch,
            fmt::format("a Gram of {} x {} and sums of {} channels", d, part.gram.cols(), part.channels.channels()));
    for (const double value : part.gram.values())
        if (!std::isfinite(value))
            return fail(Errc::NotFinite, "the Gram matrix holds NaN or Inf");
    Covariance cov;
    cov.samples = part.count();
    const auto samples = static_cast<double>(cov.samples);
    for (const double sum : part.channels.sum)
        cov.mean.push_back(sum / samples);
    cov.sigma = part.gram;
    centre(cov.sigma, samples, cov.mean);
    return cov;
}

Expected<Covariance> rowCovariance(MatrixView W, Backend& backend)
{
    if (W.empty())
        return fail(Errc::InvalidArgument, "an empty weight has no covariance");
    const Index d = W.cols();
    Covariance cov;
    cov.samples = W.rows();
    cov.mean.assign(static_cast<std::size_t>(d), 0.0);
    for (Index r = 0; r < W.rows(); ++r)
        for (Index c = 0; c < d; ++c) {
            if (!std::isfinite(W(r, c)))
                return fail(Errc::NotFinite, fmt::format("NaN or Inf at ({}, {}) of the weight", r, c));
            cov.mean[static_cast<std::size_t>(c)] += static_cast<double>(W(r, c));
        }
    for (double& mu : cov.mean)
        mu /= static_cast<double>(W.rows());

    // Centred before the product, so that nothing cancels; tiles of rows keep the float64 copy small.
    constexpr Index kTile = 512;
    cov.sigma = MatrixD(d, d);
    MatrixD tile(std::min(kTile, W.rows()), d);
    for (Index first = 0; first < W.rows(); first += kTile) {
        const Index rows = std::min(kTile, W.rows() - first);
        for (Index r = 0; r < rows; ++r)
            for (Index c = 0; c < d; ++c)
                tile(r, c) = static_cast<double>(W(first + r, c)) - cov.mean[static_cast<std::size_t>(c)];
        const MatrixViewD part = tile.view().rowRange(0, rows);
        backend.gemmD(true, false, 1.0 / static_cast<double>(W.rows()), part, part, 1.0, cov.sigma.mut());
    }
    for (Index r = 0; r < d; ++r) // exact symmetry, whatever the product's blocking was
        for (Index c = 0; c < r; ++c)
            cov.sigma(c, r) = cov.sigma(r, c);
    return cov;
}

} // namespace qs::analysis
