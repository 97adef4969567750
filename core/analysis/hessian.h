// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/error.h"
#include "core/exec/backend.h"
#include "core/exec/job_context.h"
#include "core/tensor/matrix.h"

#include <optional>
#include <string>
#include <vector>

namespace qs::analysis {

/// The second moment C = sum x x^T / T of a layer's inputs (the layer loss has the Hessian 2 C per output row).
struct HessianReport {
    Index dims = 0, tokens = 0;
    std::vector<double> diagonal; ///< C_jj.
    double trace = 0, lambdaMax = 0;
    std::optional<double> lambdaMin; ///< Of the live channels; absent where the spectrum was not computed.
    std::vector<double> eigenvalues; ///< Of the live channels, descending; empty above HessianOptions::spectrumLimit.
    std::optional<Index> rank; ///< Eigenvalues above 1e-7 of the largest; absent without the spectrum.
    /// lambda_max / lambda_min of C, undamped; absent when C is singular (deficient rank or a dead channel) or its rank
    /// unknown.
    std::optional<double> condition;
    /// The same of the live channels, what solvers work with; absent when these are dependent or their rank unknown. Equal to
    /// `condition` where no channel is dead.
    std::optional<double> conditionLive;
    std::vector<Index> dead; ///< Channels with C_jj = 0. They are set aside: solvers set their weights to 0.
    Index live() const { return dims - static_cast<Index>(dead.size()); }
    double tokensPerChannel = 0;
    double effectiveRank = 0; ///< exp(entropy of lambda / trace); 0 without the spectrum.

    /// What adding lambda = damp * mean(diagonal of the live channels) does to the condition number: the lambda that
    /// linalg::dampedInverseFactor adds.
    struct Damping {
        double damp = 0, lambda = 0, condition = 0;
    };
    std::vector<Damping> damping; ///< Empty without the spectrum.
    std::string verdict; ///< One or two sentences for people: is the matrix usable as it is, what to do.
};

struct HessianOptions {
    std::vector<double> damps = {0.0001, 0.001, 0.01, 0.1};
    Index spectrumLimit = 8192; ///< Above it only diagonal, trace, lambda_max (Lanczos) and dead channels are computed.
    bool spectrum = true;
    double sinkShare = 0; ///< Share of the energy in the first positions of the windows (stats::InputStats), for the verdict.
};

/// Shapes   C (d, d).   Errors   NotFinite; Cancelled.   Cost   4/3 d^3 for the spectrum.
Expected<HessianReport> analyzeHessian(
    MatrixViewD C, Index tokens, Backend& backend, const HessianOptions& options = {}, const JobContext& job = {});

} // namespace qs::analysis
