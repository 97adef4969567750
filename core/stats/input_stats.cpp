// SPDX-License-Identifier: Apache-2.0
#include "core/stats/input_stats.h"

#include "core/exec/parallel.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <stdexcept>

namespace qs::stats {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

void add(std::vector<double>& target, const std::vector<double>& other)
{
    for (std::size_t c = 0; c < target.size(); ++c)
        target[c] += other[c];
}

void addParts(InputPart& part, const InputPart& other)
{
    const bool gram = (part.hasGram() || part.count() == 0) && (other.hasGram() || other.count() == 0);
    part.channels.merge(other.channels);
    if (!gram) {
        part.gram = MatrixD(); // the Gram of some of the tokens would pass for that of all
        return;
    }
    if (!other.hasGram())
        return;
    if (!part.hasGram()) {
        part.gram = other.gram;
        return;
    }
    parallelFor(0, part.gram.rows(), 64, [&](Index begin, Index end) {
        for (Index r = begin; r < end; ++r)
            for (Index c = 0; c < part.gram.cols(); ++c)
                part.gram(r, c) += other.gram(r, c);
    });
}

} // namespace

ChannelSums::ChannelSums(Index channels)
{
    const auto n = static_cast<std::size_t>(channels);
    for (auto* values : {&sum, &sumsq, &sumabs, &m3, &m4})
        values->assign(n, 0.0);
    min.assign(n, kInfinity);
    max.assign(n, -kInfinity);
}

void ChannelSums::merge(const ChannelSums& other)
{
    if (other.channels() == 0)
        return;
    if (channels() == 0) {
        *this = other;
        return;
    }
    if (channels() != other.channels())
        throw std::invalid_argument("statistics of different widths cannot be merged");
    count += other.count;
    nonFinite += other.nonFinite;
    add(sum, other.sum);
    add(sumsq, other.sumsq);
    add(sumabs, other.sumabs);
    add(m3, other.m3);
    add(m4, other.m4);
    for (std::size_t c = 0; c < min.size(); ++c) {
        min[c] = std::min(min[c], other.min[c]);
        max[c] = std::max(max[c], other.max[c]);
    }
}

void InputStats::merge(const InputStats& other)
{
    addParts(fit, other.fit);
    addParts(holdout, other.holdout);
    sink.merge(other.sink);
    holdoutSink.merge(other.holdoutSink);
}

double InputStats::sinkShare(const InputPart& part, const ChannelSums& sinks)
{
    const std::vector<double>& all = part.channels.sumsq;
    const double energy = std::accumulate(all.begin(), all.end(), 0.0);
    const double first = std::accumulate(sinks.sumsq.begin(), sinks.sumsq.end(), 0.0);
    return energy > 0.0 && sinks.count > 0 ? std::min(1.0, first / energy) : 0.0;
}

Expected<MatrixD> InputStats::secondMoment(const InputPart& part)
{
    if (part.count() == 0)
        return fail(Errc::NotFound, "the statistics hold no tokens");
    if (!part.hasGram())
        return fail(Errc::NotFound, "the statistics hold no Gram matrix", {},
            "capture again with this layer among those whose Gram is collected");
    MatrixD result(part.gram);
    const double scale = 1.0 / static_cast<double>(part.count());
    parallelFor(0, result.rows(), 64, [&](Index begin, Index end) {
        for (Index r = begin; r < end; ++r)
            for (double& value : result.row(r))
                value *= scale;
    });
    return result;
}

std::vector<double> InputStats::absMax(bool sinks) const
{
    std::vector<double> result(static_cast<std::size_t>(channels()), 0.0);
    const auto widen = [&](const ChannelSums& sums) {
        for (std::size_t c = 0; c < std::min(result.size(), sums.min.size()); ++c)
            if (sums.min[c] <= sums.max[c]) // some token was seen
                result[c] = std::max({result[c], std::abs(sums.min[c]), std::abs(sums.max[c])});
    };
    widen(fit.channels);
    if (sinks)
        widen(sink);
    return result;
}

std::vector<double> InputStats::meanAbs() const
{
    std::vector<double> result = fit.channels.sumabs;
    for (double& value : result)
        value /= static_cast<double>(std::max<Index>(1, fit.count()));
    return result;
}

std::vector<double> InputStats::l2Norm() const
{
    std::vector<double> result = fit.channels.sumsq;
    for (double& value : result)
        value = std::sqrt(value);
    return result;
}

} // namespace qs::stats
