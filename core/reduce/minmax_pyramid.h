// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/types.h"

#include <span>
#include <vector>

namespace qs::reduce {

struct PlotPoint {
    double x = 0; ///< Index of the sample.
    double y = 0;
    friend bool operator==(const PlotPoint&, const PlotPoint&) = default;
};

/// What a line chart draws of a long series.
struct Decimated {
    std::vector<PlotPoint> points; ///< Ascending in x; per pixel column at most first, minimum, maximum and last finite sample.
    std::vector<Index>
        nonFinite; ///< x of the first NaN or Inf of each pixel column that has one: drawn as marks, never skipped.
    Index nonFiniteCount = 0; ///< All of them.
};

/// Extrema of a series at dyadic resolutions, so that any zoom costs O(pixels log n).
///
/// A line through the first, minimum, maximum and last sample of every pixel column covers the same pixels as the full line.
/// Threads  immutable after construction.   Source   Jugel et al. 2014, "M4: a visualization-oriented time series data
/// aggregation".
class MinMaxPyramid {
public:
    MinMaxPyramid() = default;
    explicit MinMaxPyramid(std::vector<float> samples);
    explicit MinMaxPyramid(std::span<const double> samples);

    Index size() const { return static_cast<Index>(m_samples.size()); }
    std::span<const float> samples() const { return m_samples; }

    /// Finite extrema of [first, last) with the smallest index that attains each; indices -1 when there is no finite sample.
    struct Extrema {
        Index minIndex = -1, maxIndex = -1;
        float min = 0, max = 0;
        Index nonFinite = 0;
    };
    Extrema extrema(Index first, Index last) const;

    /// At most 4 points per pixel for the samples [first, last) drawn over `pixels` columns; all samples where they are fewer.
    Decimated decimate(Index first, Index last, Index pixels) const;

private:
    void build();
    void fold(Extrema& into, const Extrema& other) const;
    Extrema leaf(Index index) const;

    std::vector<float> m_samples;
    std::vector<std::vector<Extrema>> m_levels; ///< Level k: blocks of kBase * 2^k samples.
};

} // namespace qs::reduce
