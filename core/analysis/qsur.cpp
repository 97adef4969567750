// SPDX-License-Identifier: Apache-2.0
#include "core/analysis/qsur.h"

#include "core/exec/parallel.h"
#include "core/linalg/factor.h"
#include "core/linalg/spectrum.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <limits>
#include <numbers>
#include <unsupported/Eigen/SpecialFunctions>

namespace qs::analysis {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kSmallestPivot = 1e-12;
constexpr double kLog2E = std::numbers::log2e;

/// ln det(factor A + shift I) by Cholesky.
Expected<double> shiftedLogDet(MatrixViewD A, double factor, double shift, Backend& backend)
{
    MatrixD work(A);
    parallelFor(0, work.rows(), 64, [&](Index begin, Index end) {
        for (Index r = begin; r < end; ++r) {
            for (double& value : work.row(r))
                value *= factor;
            work(r, r) += shift;
        }
    });
    return linalg::logDeterminant(work, backend);
}

void fillDeficient(Qsur& q)
{
    q.deficient = true;
    q.logDet = q.logBox = q.logPublished = -kInf;
    q.lostBits = q.correlation = q.anisotropy = kInf;
}

void fillRegular(Qsur& q, double logDet, double lnMax, double meanLnDiagonal, double lnMeanDiagonal)
{
    const auto d = static_cast<double>(q.dims);
    const double lnGeometric = logDet / d; // of the eigenvalues
    q.logDet = logDet;
    q.r = std::min(1.0, std::exp(0.5 * (lnGeometric - lnMax)));
    q.lostBits = std::max(0.0, 0.5 * (lnMax - lnGeometric) * kLog2E);
    q.correlation = std::max(0.0, meanLnDiagonal - lnGeometric);
    q.anisotropy = std::max(0.0, lnMeanDiagonal - lnGeometric);
    q.ceilingScaling = std::exp(-0.5 * q.correlation);
    q.ceilingRotation = std::exp(-0.5 * q.anisotropy);
    q.logBox = logUnitBall(q.dims) + 0.5 * logDet - d * (std::numbers::ln2 + 0.5 * lnMax);
    const double lnAxis = 0.5 * std::log(q.lambda1) + std::log(q.q1Max);
    q.publishedStable = q.lambda1 >= 1.05 * q.lambda2;
    q.published = std::exp(0.5 * lnGeometric - lnAxis - 0.5 * std::log(d));
    q.logPublished = logUnitBall(q.dims) + 0.5 * logDet - d * (std::numbers::ln2 + lnAxis);
}

void fillMeanAware(Qsur& q, const Covariance& cov, double k)
{
    if (q.deficient || std::ssize(cov.mean) != q.dims)
        return;
    double symmetric = 0, top = -kInf, bottom = kInf;
    for (Index j = 0; j < q.dims; ++j) {
        const double mu = cov.mean[static_cast<std::size_t>(j)], reach = k * std::sqrt(std::max(0.0, cov.sigma(j, j)));
        symmetric = std::max(symmetric, std::fabs(mu) + reach);
        top = std::max(top, mu + reach);
        bottom = std::min(bottom, mu - reach);
    }
    const double root = k * std::exp(0.5 * q.logDet / static_cast<double>(q.dims));
    q.rMeanSymmetric = std::min(q.r, root / symmetric);
    q.rMeanAsymmetric = std::min(q.r, root / (0.5 * (top - bottom)));
}

/// Weight of the identity target: Chen, Wiesel, Eldar, Hero 2010, "Shrinkage algorithms for MMSE covariance estimation", eq.
/// (23).
double oasWeight(double d, double n, double trace, double traceOfSquare)
{
    const double numerator = (1.0 - 2.0 / d) * traceOfSquare + trace * trace;
    const double denominator = (n + 1.0 - 2.0 / d) * (traceOfSquare - trace * trace / d);
    return denominator > 0.0 ? std::clamp(numerator / denominator, 0.0, 1.0) : 1.0;
}

std::string noteOf(const Qsur& q)
{
    std::string note;
    const auto add = [&note](const std::string& text) { note += (note.empty() ? "" : " ") + text; };
    if (q.deficient)
        add(q.samples > 0 && q.samples <= q.dims
                ? fmt::format("{} samples span at most {} of {} channels, so r is 0 whatever the transform: read the subspace, "
                              "shrunk or rate "
                              "form.",
                    q.samples, q.samples - 1, q.dims)
                : std::string(
                    "The covariance is singular, so r is 0 whatever the transform: read the subspace, shrunk or rate form."));
    else if (q.samples > 0 && q.samples < 2 * q.dims)
        add(fmt::format(
            "Only {:.2g} samples per channel: r is biased low.", static_cast<double>(q.samples) / static_cast<double>(q.dims)));
    if (!q.deficient && q.rank && *q.rank < q.dims)
        add(fmt::format("{} of {} directions carry less than 1e-7 of the largest: r depends on what float32 leaves of them.",
            q.dims - *q.rank, q.dims));
    if (!q.deficient && !q.publishedStable)
        add("The two largest eigenvalues nearly agree: the published value depends on an arbitrary eigenvector.");
    return note;
}

} // namespace

double logUnitBall(Index dims)
{
    const double half = 0.5 * static_cast<double>(dims);
    return half * std::log(std::numbers::pi) - std::lgamma(half + 1.0);
}

double gaussianLogDetBias(Index dims, Index samples, bool meanKnown)
{
    const auto n = static_cast<double>(samples);
    const double freedom = meanKnown ? n : n - 1.0;
    double sum = 0;
    for (Index i = 1; i <= dims; ++i)
        sum += Eigen::numext::digamma(0.5 * (freedom - static_cast<double>(i) + 1.0)) + std::log(2.0 / n);
    return sum / static_cast<double>(dims);
}

Expected<Qsur> computeQsur(const Covariance& cov, Backend& backend, const QsurOptions& options, const JobContext& job)
{
    const MatrixD& sigma = cov.sigma;
    const Index d = sigma.rows();
    if (d < 1 || sigma.cols() != d)
        return fail(Errc::InvalidArgument, fmt::format("a {} x {} matrix is not a covariance", sigma.rows(), sigma.cols()));
    Qsur q;
    q.dims = d;
    q.samples = cov.samples;
    const auto dims = static_cast<double>(d);
    double sumLn = 0;
    for (Index j = 0; j < d; ++j) {
        const double variance = sigma(j, j);
        if (!std::isfinite(variance))
            return fail(Errc::NotFinite, fmt::format("the covariance holds NaN or Inf at ({}, {})", j, j));
        q.trace += variance;
        if (variance > q.maxVariance) {
            q.maxVariance = variance;
            q.widestChannel = j;
        }
        sumLn += variance > 0.0 ? std::log(variance) : -kInf;
    }
    if (!(q.maxVariance > 0.0))
        return fail(Errc::InvalidArgument, "no channel varies, so there is no space to utilise");
    const double lnMax = std::log(q.maxVariance), lnMean = std::log(q.trace / dims);
    q.channelImbalance = std::max(0.0, lnMax - sumLn / dims);
    q.basisImbalance = std::max(0.0, lnMax - lnMean);
    q.logBound = logUnitBall(d) - dims * std::numbers::ln2;

    QS_CHECK(job.poll());
    QS_TRY(top, linalg::topPairs(sigma, backend, job.part(0.0, 0.3)));
    q.lambda1 = top.lambda1;
    q.lambda2 = std::max(0.0, top.lambda2);
    for (const double component : top.q1)
        q.q1Max = std::max(q.q1Max, std::fabs(component));

    QS_CHECK(job.poll());
    const bool tooFew = q.samples > 0 && q.samples <= d;
    const bool constant = !std::isfinite(sumLn);
    double pivot = 0;
    Expected<double> logDet
        = tooFew || constant ? fail(Errc::NotFinite, "singular") : linalg::logDeterminant(sigma, backend, &pivot);
    // A pivot below what float64 sums resolve is rounding noise: the channel is a combination of others.
    if (logDet && pivot > kSmallestPivot)
        fillRegular(q, *logDet, lnMax, sumLn / dims, lnMean);
    else
        fillDeficient(q);
    fillMeanAware(q, cov, options.k);

    QS_CHECK(job.poll());
    std::vector<double> eigenvalues;
    if (options.spectrum && d <= options.spectrumLimit) {
        QS_TRY(values, linalg::spectrum(sigma, backend));
        eigenvalues = std::move(values);
        q.rank = linalg::numericalRank(eigenvalues);
        q.rankShare = static_cast<double>(*q.rank) / dims;
        double logs = 0;
        for (Index i = 0; i < *q.rank; ++i)
            logs += std::log(eigenvalues[static_cast<std::size_t>(i)]);
        q.rSub = std::sqrt(q.rankShare * std::exp(logs / static_cast<double>(*q.rank)) / q.maxVariance);
    }
    QS_CHECK(job.poll());

    /// ln det(factor Sigma + shift I), shift > 0.
    const auto regularised = [&](double factor, double shift) -> Expected<double> {
        if (eigenvalues.empty())
            return shiftedLogDet(sigma, factor, shift, backend);
        double logs = 0;
        for (const double value : eigenvalues)
            logs += std::log(factor * std::max(0.0, value) + shift);
        return logs;
    };
    if (q.samples > 0) {
        double square = 0;
        for (Index r = 0; r < d; ++r)
            for (Index c = 0; c < d; ++c)
                square += sigma(r, c) * sigma(r, c);
        q.shrinkage = oasWeight(dims, static_cast<double>(q.samples), q.trace, square);
        const double shift = q.shrinkage * q.trace / dims;
        QS_TRY(shrunk, regularised(1.0 - q.shrinkage, shift));
        const double lnWidest = std::log((1.0 - q.shrinkage) * q.maxVariance + shift);
        q.rShrunk = std::min(1.0, std::exp(0.5 * (shrunk / dims - lnWidest)));
        q.lostBitsShrunk = -std::log2(q.rShrunk);
    }
    q.rateStep = 2.0 * options.k * std::sqrt(q.maxVariance) / std::exp2(options.rateAtBits);
    QS_TRY(rate, regularised(12.0 / (q.rateStep * q.rateStep), 1.0));
    q.rateBits = 0.5 * rate * kLog2E / dims;

    if (q.samples > d + 1) {
        q.samplingBias = gaussianLogDetBias(d, q.samples);
        q.rUnbiased = std::min(1.0, q.r * std::exp(-0.5 * *q.samplingBias));
    }
    q.note = noteOf(q);
    return q;
}

} // namespace qs::analysis
