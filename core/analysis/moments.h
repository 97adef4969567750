// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/error.h"
#include "core/exec/backend.h"
#include "core/stats/input_stats.h"
#include "core/tensor/matrix.h"

#include <vector>

namespace qs::analysis {

/// Centred covariance with divisor T, and the mean: Sigma = gram / T - mu mu^T.
///
/// Float32 tiles under the Gram limit what centring can recover: a channel whose |mean| is more than about 1e3 standard
/// deviations has a variance that is mostly rounding. Negative variances from rounding become 0.
struct Covariance {
    MatrixD sigma; ///< (d, d), both triangles.
    std::vector<double> mean;
    Index samples = 0;
};

/// Fit and holdout together: the whole dump, sinks included. The Gram is empty where either part has none.
stats::InputPart wholeDump(const stats::InputStats& stats);

/// Errors   NotFound without a Gram or tokens; NotFinite.
Expected<Covariance> centredCovariance(const stats::InputPart& part);
/// Rows of W as samples. Error NotFinite (first row and column).
Expected<Covariance> rowCovariance(MatrixView W, Backend& backend);

} // namespace qs::analysis
