// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/stats/input_stats.h"

#include <algorithm>

namespace qs::test {

/// Adds one token to sums in float64, element by element: a reference that shares nothing with the product's accumulators.
inline void addToken(stats::InputPart& part, std::span<const float> x, bool extrema)
{
    stats::ChannelSums& s = part.channels;
    ++s.count;
    for (std::size_t j = 0; j < x.size(); ++j) {
        const double v = x[j];
        s.sum[j] += v;
        s.sumabs[j] += v < 0 ? -v : v;
        s.sumsq[j] += v * v;
        s.m3[j] += v * v * v;
        s.m4[j] += v * v * v * v;
        if (extrema) {
            s.min[j] = std::min(s.min[j], v);
            s.max[j] = std::max(s.max[j], v);
        }
        for (std::size_t k = 0; k < x.size(); ++k)
            part.gram(static_cast<Index>(j), static_cast<Index>(k)) += v * static_cast<double>(x[k]);
    }
}

/// Statistics of tokens in sequences of `sequence`; the last `holdout` tokens are the holdout.
inline stats::InputStats statsOf(MatrixView x, Index sequence, Index holdout)
{
    const Index d = x.cols();
    stats::InputStats result;
    result.fit.channels = stats::ChannelSums(d);
    result.holdout.channels = stats::ChannelSums(d);
    result.sink = stats::ChannelSums(d);
    result.fit.gram = MatrixD(d, d);
    if (holdout > 0)
        result.holdout.gram = MatrixD(d, d);
    for (Index t = 0; t < x.rows(); ++t) {
        const bool sink = t % sequence < stats::kSinkPositions;
        addToken(t < x.rows() - holdout ? result.fit : result.holdout, x.row(t), !sink);
        if (!sink)
            continue;
        ++result.sink.count;
        for (Index j = 0; j < d; ++j) {
            const double v = x(t, j);
            const auto i = static_cast<std::size_t>(j);
            result.sink.min[i] = std::min(result.sink.min[i], v);
            result.sink.max[i] = std::max(result.sink.max[i], v);
            result.sink.sumsq[i] += v * v;
        }
    }
    return result;
}

} // namespace qs::test
