// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/tensor/matrix.h"

#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace qs::reduce {

/// Counts of values in equal bins over [lo, hi]. Nothing is skipped: every value is in exactly one of counts, below, above,
/// nan, positiveInf, negativeInf. A bin holds [lo + i w, lo + (i + 1) w), the last one its upper edge too.
struct Histogram {
    double lo = 0, hi = 0;
    std::vector<std::uint64_t> counts;
    std::uint64_t below = 0, above = 0; ///< Finite values outside [lo, hi].
    std::uint64_t nan = 0, positiveInf = 0, negativeInf = 0;
    double min = 0, max = 0, mean = 0; ///< Of the finite values; 0 without any.
    double variance = 0; ///< Divisor n.
    double kurtosis = 0; ///< m4 / m2^2 (a Gaussian has 3); 0 when the variance is 0.

    std::uint64_t nonFinite() const { return nan + positiveInf + negativeInf; }
    std::uint64_t finite() const;
    double binWidth() const { return counts.empty() ? 0.0 : (hi - lo) / static_cast<double>(counts.size()); }
};

/// Histogram with `bins` >= 1 bins over `range`, or over the finite extrema. Equal extrema are widened by half a unit on both
/// sides.
/// Threads   pure; same result for any thread count.
Histogram histogram(MatrixView values, Index bins, std::optional<std::pair<double, double>> range = {});
Histogram histogram(std::span<const float> values, Index bins, std::optional<std::pair<double, double>> range = {});

} // namespace qs::reduce
