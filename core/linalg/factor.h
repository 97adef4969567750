// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/error.h"
#include "core/exec/backend.h"
#include "core/exec/job_context.h"
#include "core/tensor/matrix.h"

#include <vector>

namespace qs::linalg {

/// Factor of the inverse of a damped second moment.
struct DampedFactor {
    MatrixD U; ///< Upper triangular, U^T U = (C + lambda I)^-1 with the dead channels' diagonal set to 1.
    double lambda = 0; ///< What was added to the diagonal.
    double damp = 0; ///< lambda as a share of the mean diagonal of the live channels.
    int escalations = 0; ///< How often the damping was raised tenfold before the factorisation succeeded.
    std::vector<Index> dead; ///< Channels with C_jj = 0, ascending. Solvers set their weights to 0.
};

/// Damped inverse factor that OBS-type solvers sweep with (methods block B3).
///
///   C_jj := 1 for dead channels,  lambda = damp * mean(C_jj over live channels),  U^T U = (C + lambda I)^-1
///
/// The index-reversed matrix is factored, J (C + lambda I) J = L L^T, and its triangle inverted: U = J L^-1 J. The inverse
/// itself is never formed. The published code averages after it has set dead diagonals to 1; here they do not count, so that
/// scaling C scales lambda. A failed factorisation multiplies the damping by 10 (starting at 1e-6 where damp = 0) and tries
/// again.
/// Shapes   C (d, d), symmetric; its lower triangle is read.
/// Errors   InvalidArgument when C is not square or damp is negative or not finite; NotFinite when C holds NaN or Inf, has a
/// negative diagonal, or cannot be factored even with lambda = 1e6 times the mean.
/// Cost     one Cholesky and one triangular inversion, 2/3 d^3, per try; three d x d matrices.   Threads   pure.
/// Source   Frantar et al. 2022, arXiv:2210.17323, step 3 (Cholesky reformulation).
Expected<DampedFactor> dampedInverseFactor(MatrixViewD C, double damp, Backend& backend, const JobContext& job = {});

/// ln det A of a symmetric positive definite matrix, by Cholesky after scaling to unit diagonal. `smallestPivot` takes the
/// smallest squared pivot of the scaled matrix: what is left of a channel's variance (as a share) once those before it are
/// known. Errors   NotFinite when A is not numerically positive definite.   Cost   d^3 / 3.
Expected<double> logDeterminant(MatrixViewD A, Backend& backend, double* smallestPivot = nullptr);

} // namespace qs::linalg
