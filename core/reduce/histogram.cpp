// SPDX-License-Identifier: Apache-2.0
#include "core/reduce/histogram.h"

#include "core/exec/parallel.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace qs::reduce {
namespace {

struct Moments {
    std::uint64_t count = 0, nan = 0, positiveInf = 0, negativeInf = 0;
    double min = std::numeric_limits<double>::infinity(), max = -std::numeric_limits<double>::infinity();
    double sum = 0;
};

Index grainOf(MatrixView values)
{
    return std::max<Index>(1, 65536 / std::max<Index>(1, values.cols()));
}

Moments scan(MatrixView values, Index begin, Index end)
{
    Moments m;
    for (Index r = begin; r < end; ++r)
        for (const float f : values.row(r)) {
            if (std::isnan(f)) {
                ++m.nan;
            } else if (std::isinf(f)) {
                ++(f > 0 ? m.positiveInf : m.negativeInf);
            } else {
                const double v = f;
                ++m.count;
                m.min = std::min(m.min, v);
                m.max = std::max(m.max, v);
                m.sum += v;
            }
        }
    return m;
}

struct Part {
    std::vector<std::uint64_t> counts;
    std::uint64_t below = 0, above = 0;
    double m2 = 0, m4 = 0;
};

} // namespace

std::uint64_t Histogram::finite() const
{
    return std::accumulate(counts.begin(), counts.end(), below + above);
}

Histogram histogram(MatrixView values, Index bins, std::optional<std::pair<double, double>> range)
{
    Histogram result;
    bins = std::max<Index>(1, bins);
    result.counts.assign(static_cast<std::size_t>(bins), 0);
    const Index grain = grainOf(values);
    const auto chunks = static_cast<std::size_t>((values.rows() + grain - 1) / grain);

    std::vector<Moments> moments(chunks);
    parallelFor(0, values.rows(), grain,
        [&](Index begin, Index end) { moments[static_cast<std::size_t>(begin / grain)] = scan(values, begin, end); });
    Moments all;
    for (const Moments& m : moments) {
        all.count += m.count;
        all.sum += m.sum;
        all.min = std::min(all.min, m.min);
        all.max = std::max(all.max, m.max);
        result.nan += m.nan;
        result.positiveInf += m.positiveInf;
        result.negativeInf += m.negativeInf;
    }
    if (all.count > 0) {
        result.min = all.min;
        result.max = all.max;
        result.mean = all.sum / static_cast<double>(all.count);
    }
    result.lo = range ? range->first : result.min;
    result.hi = range ? range->second : result.max;
    if (!(result.hi > result.lo)) {
        result.lo -= 0.5;
        result.hi = result.lo + 1.0;
    }
    if (all.count == 0)
        return result;

    const double perUnit = static_cast<double>(bins) / (result.hi - result.lo);
    std::vector<Part> parts(chunks);
    parallelFor(0, values.rows(), grain, [&](Index begin, Index end) {
        Part& part = parts[static_cast<std::size_t>(begin / grain)];
        part.counts.assign(static_cast<std::size_t>(bins), 0);
        for (Index r = begin; r < end; ++r)
            for (const float f : values.row(r)) {
                if (!std::isfinite(f))
                    continue;
                const double v = f;
                const double centred = v - result.mean;
                const double square = centred * centred;
                part.m2 += square;
                part.m4 += square * square;
                if (v < result.lo)
                    ++part.below;
                else if (v > result.hi)
                    ++part.above;
                else
                    ++part.counts[static_cast<std::size_t>(
                        std::min<Index>(bins - 1, static_cast<Index>((v - result.lo) * perUnit)))];
            }
    });
    double m2 = 0, m4 = 0;
    for (const Part& part : parts) {
        for (std::size_t i = 0; i < part.counts.size(); ++i)
            result.counts[i] += part.counts[i];
        result.below += part.below;
        result.above += part.above;
        m2 += part.m2;
        m4 += part.m4;
    }
    const auto n = static_cast<double>(all.count);
    result.variance = m2 / n;
    if (result.variance > 0.0)
        result.kurtosis = (m4 / n) / (result.variance * result.variance);
    return result;
}

Histogram histogram(std::span<const float> values, Index bins, std::optional<std::pair<double, double>> range)
{
    return histogram(MatrixView(values.data(), values.empty() ? 0 : 1, static_cast<Index>(values.size())), bins, range);
}

} // namespace qs::reduce
