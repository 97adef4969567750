// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/error.h"
#include "core/exec/backend.h"
#include "core/exec/job_context.h"
#include "core/tensor/matrix.h"

#include <optional>
#include <span>
#include <vector>

namespace qs::linalg {

/// Eigenvalues of a symmetric matrix, descending. Errors: NotFinite. Cost: 4/3 d^3, not interruptible (one library call).
Expected<std::vector<double>> spectrum(MatrixViewD A, Backend& backend);

/// Eigenvalues above `relative` times the largest one. Order of the values does not matter.
Index numericalRank(std::span<const double> eigenvalues, double relative = 1e-7);

/// lambda_max / lambda_min; nothing when the rank (at `relative`) is deficient.
std::optional<double> conditionNumber(std::span<const double> eigenvalues, double relative = 1e-7);

/// The two largest eigenvalues of a symmetric positive semidefinite matrix, and the unit eigenvector of the first.
struct TopPairs {
    double lambda1 = 0, lambda2 = 0; ///< lambda2 = 0 for d = 1.
    std::vector<double> q1; ///< The component of largest magnitude is positive.
    double residual = 0; ///< max_i ||A q_i - lambda_i q_i|| / lambda1, of both pairs.
    int steps = 0; ///< Lanczos steps; 0 for the dense solver.
};

/// Dense solver up to `denseLimit` channels, else Lanczos with full reorthogonalisation from a seeded start vector until both
/// residuals are below `tolerance` or 300 steps have been made.
/// Errors   NotFinite; Cancelled (polled per step).   Cost   2 d^2 per step.   Threads   pure; same bits for any thread count.
struct TopPairsOptions {
    Index denseLimit = 256;
    double tolerance = 1e-10;
    int maxSteps = 300;
};
Expected<TopPairs> topPairs(MatrixViewD A, Backend& backend, const JobContext& job = {}, TopPairsOptions options = {});

} // namespace qs::linalg
