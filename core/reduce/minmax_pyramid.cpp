// SPDX-License-Identifier: Apache-2.0
#include "core/reduce/minmax_pyramid.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

namespace qs::reduce {
namespace {

constexpr Index kBase = 16; ///< Samples per block of the finest level.

} // namespace

MinMaxPyramid::MinMaxPyramid(std::vector<float> samples)
    : m_samples(std::move(samples))
{
    build();
}

MinMaxPyramid::MinMaxPyramid(std::span<const double> samples)
{
    m_samples.reserve(samples.size());
    for (const double value : samples)
        m_samples.push_back(static_cast<float>(value));
    build();
}

MinMaxPyramid::Extrema MinMaxPyramid::leaf(Index index) const
{
    const float value = m_samples[static_cast<std::size_t>(index)];
    Extrema e;
    if (std::isfinite(value)) {
        e.minIndex = e.maxIndex = index;
        e.min = e.max = value;
    } else {
        e.nonFinite = 1;
    }
    return e;
}

void MinMaxPyramid::fold(Extrema& into, const Extrema& other) const
{
    into.nonFinite += other.nonFinite;
    if (other.minIndex < 0)
        return;
    if (into.minIndex < 0 || other.min < into.min) {
        into.min = other.min;
        into.minIndex = other.minIndex;
    }
    if (into.maxIndex < 0 || other.max > into.max) {
        into.max = other.max;
        into.maxIndex = other.maxIndex;
    }
}

void MinMaxPyramid::build()
{
    const Index n = size();
    if (n == 0)
        return;
    std::vector<Extrema> level(static_cast<std::size_t>((n + kBase - 1) / kBase));
    for (Index i = 0; i < n; ++i)
        fold(level[static_cast<std::size_t>(i / kBase)], leaf(i));
    m_levels.push_back(std::move(level));
    while (m_levels.back().size() > 1) {
        const std::vector<Extrema>& fine = m_levels.back();
        std::vector<Extrema> coarse((fine.size() + 1) / 2);
        for (std::size_t i = 0; i < fine.size(); ++i)
            fold(coarse[i / 2], fine[i]);
        m_levels.push_back(std::move(coarse));
    }
}

MinMaxPyramid::Extrema MinMaxPyramid::extrema(Index first, Index last) const
{
    Extrema result;
    Index i = std::max<Index>(0, first);
    const Index end = std::min(size(), last);
    while (i < end) {
        // The largest block that starts at i and ends before `end`.
        Index width = kBase;
        std::size_t level = 0;
        if (i % kBase != 0 || i + kBase > end) {
            fold(result, leaf(i));
            ++i;
            continue;
        }
        while (level + 1 < m_levels.size() && i % (2 * width) == 0 && i + 2 * width <= end) {
            width *= 2;
            ++level;
        }
        fold(result, m_levels[level][static_cast<std::size_t>(i / width)]);
        i += width;
    }
    return result;
}

Decimated MinMaxPyramid::decimate(Index first, Index last, Index pixels) const
{
    Decimated result;
    first = std::max<Index>(0, first);
    last = std::min(size(), last);
    if (first >= last || pixels < 1)
        return result;
    const Index count = last - first;
    const auto at = [this](Index i) {
        return PlotPoint{static_cast<double>(i), static_cast<double>(m_samples[static_cast<std::size_t>(i)])};
    };
    const Index columns = std::min(count, pixels);
    for (Index column = 0; column < columns; ++column) {
        const Index begin = first + count * column / columns;
        const Index end = first + count * (column + 1) / columns;
        const Extrema e = extrema(begin, end);
        result.nonFiniteCount += e.nonFinite;
        if (e.nonFinite > 0) {
            Index bad = begin;
            while (std::isfinite(m_samples[static_cast<std::size_t>(bad)]))
                ++bad;
            result.nonFinite.push_back(bad);
        }
        if (e.minIndex < 0)
            continue;
        Index head = begin;
        while (!std::isfinite(m_samples[static_cast<std::size_t>(head)]))
            ++head;
        Index tail = end - 1;
        while (!std::isfinite(m_samples[static_cast<std::size_t>(tail)]))
            --tail;
        std::array<Index, 4> picked{head, e.minIndex, e.maxIndex, tail};
        std::sort(picked.begin(), picked.end());
        Index previous = -1;
        for (const Index i : picked)
            if (std::exchange(previous, i) != i)
                result.points.push_back(at(i));
    }
    return result;
}

} // namespace qs::reduce
