// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/error.h"
#include "core/exec/backend.h"
#include "core/exec/job_context.h"
#include "core/tensor/matrix.h"

#include <vector>

namespace qs::metrics {

/// Layer loss tr(dW C dW^T) = E|dW x|^2 in float64.
///
/// Shapes   dW (o, d); C (d, d), symmetric.   Units   squared units of the layer's output.
/// Errors   Mismatch when the shapes disagree; Cancelled (polled per tile of 256 rows). NaN or Inf in dW give NaN, never an
/// error.
/// Cost     2 o d^2.   Threads   pure; rows are summed in order, the same bits for the same number of threads.
Expected<double> traceLoss(MatrixView dW, MatrixViewD C, Backend& backend, const JobContext& job = {});

/// tr((W - What) C (W - What)^T) / tr(W C W^T), the product's output_error. 0 when both are 0, infinite when only the
/// denominator is.
/// Shapes   W, What (o, d); C (d, d).   Errors   those of traceLoss.
Expected<double> outputError(MatrixView W, MatrixView What, MatrixViewD C, Backend& backend, const JobContext& job = {});

/// sum (W - What)^2 / sum W^2 in float64; NaN when either holds NaN.
double weightError(MatrixView W, MatrixView What);
/// 10 log10(1 / error): +inf for an exact copy.
double sqnrDb(double relativeError);
/// 10 log10(sum W^2 / sum (W - What)^2).
double weightSqnrDb(MatrixView W, MatrixView What);

/// Where the loss tr(dW C dW^T) comes from. byRow >= 0. byInput_j = sum_r dW_rj (dW C)_rj may be negative (correlated inputs
/// cancel).
/// Both sum to total.
struct ErrorShares {
    std::vector<double> byRow; ///< Per output row.
    std::vector<double> byInput; ///< Per input channel.
    double total = 0;
};
/// Errors and cost of traceLoss.
Expected<ErrorShares> errorShares(MatrixView dW, MatrixViewD C, Backend& backend, const JobContext& job = {});

/// W - What. Errors: Mismatch.
Expected<RowMatrix> difference(MatrixView W, MatrixView What);

} // namespace qs::metrics
