// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/analysis/moments.h"
#include "core/base/error.h"
#include "core/exec/backend.h"
#include "core/exec/job_context.h"

#include <optional>
#include <string>
#include <vector>

namespace qs::analysis {

/// Quantization space utilisation: how well an ellipsoid of data fills the box that a quantizer spans around it.
///
///   r = det(Sigma)^(1/(2d)) / max_j sqrt(Sigma_jj)  in (0, 1]          lost bits per channel = log2(1 / r)
///
/// -2 ln r is split exactly, every part >= 0 (nats), in two ways:
///   (a) channelImbalance (a diagonal scaling removes it) + correlation (needs a rotation)
///   (b) basisImbalance (a rotation removes it) + anisotropy (needs scaling along the eigenvectors)
/// Best reachable by scaling alone: det(Corr)^(1/(2d)); by rotation alone: sqrt(GM(lambda) / AM(lambda)); by both: 1.
///
/// Everything is computed in logarithms. A singular Sigma (fewer samples than channels + 1, or a channel that is a
/// combination of others: a squared Cholesky pivot of the correlation matrix below 1e-12) has r = 0,
/// ceilings 0, infinite lost bits and parts: then read rSub, rShrunk and rateBits.
/// Source   definition: OSTQuant (Hu et al. 2025, arXiv:2501.13987), restated with the true bounding box.
struct Qsur {
    Index dims = 0, samples = 0; ///< samples = 0: unknown (a covariance given as such).
    bool deficient = false; ///< Sigma is singular (see above).
    double r = 0, lostBits = 0;
    double ceilingScaling = 0, ceilingRotation = 0, ceilingBoth = 1;
    double channelImbalance = 0, correlation = 0; ///< Split (a), nats.
    double basisImbalance = 0, anisotropy = 0; ///< Split (b), nats.
    double logDet = 0, trace = 0, maxVariance = 0;
    Index widestChannel = 0; ///< argmax Sigma_jj.

    /// As published, relative to its own maximum: rel_axis = sqrt(GM(lambda) / lambda_1) / (sqrt(d) max_k |q_1k|).
    double published = 0;
    /// lambda_1 / lambda_2 >= 1.05; below, the value depends on an arbitrary eigenvector. False for a singular Sigma, which
    /// makes the value 0 whatever the eigenvectors are (then null in JSON).
    bool publishedStable = false;
    double lambda1 = 0, lambda2 = 0, q1Max = 0;
    double logPublished = 0; ///< ln of the published volume ratio itself (its d-th root is exp(logPublished / d)).
    double logBox = 0; ///< ln of the volume ratio with the true bounding box.
    double logBound = 0; ///< ln of its upper bound (Sigma proportional to I).

    /// With the mean (4.4): k standard deviations per coordinate. A tensor-wide symmetric and asymmetric range; r without the
    /// mean is an upper bound of both, and their ratio is what a shift of every channel would gain.
    double rMeanSymmetric = 0, rMeanAsymmetric = 0;

    /// Rank-deficient readings (4.5).
    std::optional<Index> rank; ///< Eigenvalues above 1e-7 lambda_1; absent where the spectrum was not computed.
    double rankShare = 0; ///< rank / d.
    double rSub = 0; ///< sqrt((rank / d) GM_rank(lambda) / max Sigma_jj).
    double shrinkage = 0; ///< OAS weight rho of (1 - rho) S + rho (tr S / d) I; 0 when samples are unknown.
    double rShrunk = 0, lostBitsShrunk = 0;
    /// Rate form: bits of signal per channel above the noise of a `rateAtBits`-bit grid of range k sd of the widest channel.
    double rateBits = 0;
    double rateStep = 0; ///< The step Delta used.

    /// Sampling bias of (1/d) ln det S under Gaussian data, nats (<= 0): what too few samples alone pretend. Not subtracted
    /// from r.
    std::optional<double> samplingBias; ///< Exact Gaussian expectation; absent when samples <= d + 1 or unknown.
    double rUnbiased = 0; ///< min(1, r exp(-samplingBias / 2)); 0 when absent.
    std::string note; ///< What to know before trusting the numbers; may be empty.
};

struct QsurOptions {
    double k = 6.0; ///< Standard deviations that a range spans on each side (mean-aware and rate forms).
    int rateAtBits = 4;
    bool spectrum = true; ///< Compute eigenvalues (rank, rSub). Without it: Cholesky and the two largest pairs only.
    Index spectrumLimit = 8192;
};

/// Shapes   cov.sigma (d, d), symmetric.   Errors   InvalidArgument for d = 0 or all variances 0; NotFinite; Cancelled.
/// Cost     three Cholesky factorisations and, with the spectrum, one eigenvalue problem.   Threads   pure.
Expected<Qsur> computeQsur(
    const Covariance& cov, Backend& backend, const QsurOptions& options = {}, const JobContext& job = {});

/// (1/d) E ln det S - (1/d) ln det Sigma for a Gaussian sample covariance with divisor T, around the sample mean (or the known
/// one). T > d + 1.
double gaussianLogDetBias(Index dims, Index samples, bool meanKnown = false);
/// ln B_d = (d/2) ln pi - ln Gamma(d/2 + 1): volume of the unit ball.
double logUnitBall(Index dims);

} // namespace qs::analysis
