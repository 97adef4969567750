// SPDX-License-Identifier: Apache-2.0
#include "core/analysis/outliers.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <limits>

namespace qs::analysis {
namespace {

std::size_t at(Index index)
{
    return static_cast<std::size_t>(index);
}

/// Central second and fourth moments from raw ones, E x .. E x^4.
struct Central {
    double m2, m4;
};
Central central(double e1, double e2, double e3, double e4)
{
    const double m2 = e2 - e1 * e1;
    const double m4 = e4 - 4.0 * e1 * e3 + 6.0 * e1 * e1 * e2 - 3.0 * e1 * e1 * e1 * e1;
    constexpr double kRounding = 64.0 * std::numeric_limits<double>::epsilon();
    const bool constant = m2 <= kRounding * e2;
    return {constant ? 0.0 : m2, constant ? 0.0 : std::max(0.0, m4)};
}

/// Sums of the whole dump without its Gram.
stats::ChannelSums allTokens(const stats::InputStats& stats)
{
    stats::ChannelSums sums = stats.fit.channels;
    if (stats.hasHoldout())
        sums.merge(stats.holdout.channels);
    return sums;
}

double largest(double lo, double hi)
{
    return std::max({-lo, hi, 0.0}); // -inf, the extremum of nothing, drops out
}

std::string reasonOf(const OutlierChannel& channel, const OutlierOptions& options, double typicalMeanAbs)
{
    std::string reason;
    const auto add = [&reason](const std::string& text) { reason += (reason.empty() ? "" : "; ") + text; };
    if (channel.overMedian > options.overMedian)
        add(fmt::format("max |x| is {:.3g} x the median channel's", channel.overMedian));
    if (channel.int8)
        add(fmt::format("max |x| >= {:g} (LLM.int8)", options.int8Threshold));
    if (channel.absMax > 100.0 && channel.absMax > 1000.0 * typicalMeanAbs)
        add("massive activation: a few tokens carry it");
    else if (channel.std > 0.0 && channel.kurtosis > 50.0)
        add(fmt::format("rare spikes (kurtosis {:.3g})", channel.kurtosis));
    if (channel.std > 0.0 && std::fabs(channel.mean) > 3.0 * channel.std)
        add(fmt::format("mean is {:.2g} sd from 0 (a shift removes it)", std::fabs(channel.mean) / channel.std));
    return reason;
}

} // namespace

double median(std::vector<double> values)
{
    if (values.empty())
        return 0.0;
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    if (values.size() % 2 == 1)
        return *middle;
    return (*std::max_element(values.begin(), middle) + *middle) / 2.0;
}

Expected<ChannelTable> channelTable(const stats::InputStats& stats)
{
    const Index d = stats.channels();
    if (stats.fit.count() < 1 || d < 1)
        return fail(Errc::NotFound, "the statistics hold no tokens", {}, "capture again, with a longer text");
    if (stats.hasHoldout() && stats.holdout.channels.channels() != d)
        return fail(Errc::Mismatch, fmt::format("fit has {} channels, holdout {}", d, stats.holdout.channels.channels()));
    const stats::ChannelSums sums = allTokens(stats);
    stats::ChannelSums sinks(d);
    for (const stats::ChannelSums* part : {&stats.sink, &stats.holdoutSink})
        if (part->channels() == d && part->count > 0)
            sinks.merge(*part);
    const auto n = static_cast<double>(sums.count);
    ChannelTable table;
    table.tokens = sums.count;
    table.nonFinite = sums.nonFinite;
    for (Index j = 0; j < d; ++j) {
        const double lo = std::min(sums.min[at(j)], sinks.min[at(j)]);
        const double hi = std::max(sums.max[at(j)], sinks.max[at(j)]);
        table.min.push_back(lo);
        table.max.push_back(hi);
        table.absMax.push_back(largest(lo, hi));
        table.absMaxNoSinks.push_back(largest(sums.min[at(j)], sums.max[at(j)]));
        const double mean = sums.sum[at(j)] / n;
        const Central m = central(mean, sums.sumsq[at(j)] / n, sums.m3[at(j)] / n, sums.m4[at(j)] / n);
        table.mean.push_back(mean);
        table.meanAbs.push_back(sums.sumabs[at(j)] / n);
        table.rms.push_back(std::sqrt(sums.sumsq[at(j)] / n));
        table.std.push_back(std::sqrt(m.m2));
        table.kurtosis.push_back(m.m2 > 0.0 ? m.m4 / (m.m2 * m.m2) : 0.0);
    }
    return table;
}

Expected<Outliers> findOutliers(const stats::InputStats& stats, const OutlierOptions& options)
{
    QS_TRY(table, channelTable(stats));
    const Index d = table.channels();
    Outliers result;
    const double typical = median(table.absMax);
    const double typicalMeanAbs = median(table.meanAbs);
    const double most = *std::max_element(table.absMax.begin(), table.absMax.end());
    const double mostNoSinks = *std::max_element(table.absMaxNoSinks.begin(), table.absMaxNoSinks.end());
    const auto ratio = [](double a, double b) {
        return b > 0.0 ? a / b : a > 0.0 ? std::numeric_limits<double>::infinity() : 1.0;
    };
    result.maxOverMedian = ratio(most, typical);
    result.sinkRatio = ratio(most, mostNoSinks);
    result.sinkEnergy = stats::InputStats::sinkShare(stats.fit, stats.sink);
    result.sinkEnergyHoldout = stats::InputStats::sinkShare(stats.holdout, stats.holdoutSink);

    // Pooled moments: each channel around its own mean, and everything around the one mean.
    const stats::ChannelSums sums = allTokens(stats);
    const auto n = static_cast<double>(sums.count);
    double m2 = 0, m4 = 0, e1 = 0, e2 = 0, e3 = 0, e4 = 0;
    for (Index j = 0; j < d; ++j) {
        const Central m = central(sums.sum[at(j)] / n, sums.sumsq[at(j)] / n, sums.m3[at(j)] / n, sums.m4[at(j)] / n);
        m2 += m.m2;
        m4 += m.m4;
        e1 += sums.sum[at(j)];
        e2 += sums.sumsq[at(j)];
        e3 += sums.m3[at(j)];
        e4 += sums.m4[at(j)];
    }
    const auto channels = static_cast<double>(d);
    const double all = n * channels;
    result.kurtosis = m2 > 0.0 ? (m4 / channels) / ((m2 / channels) * (m2 / channels)) : 0.0;
    const Central overall = central(e1 / all, e2 / all, e3 / all, e4 / all);
    result.kurtosisOverall = overall.m2 > 0.0 ? overall.m4 / (overall.m2 * overall.m2) : 0.0;

    for (Index j = 0; j < d; ++j) {
        OutlierChannel channel;
        channel.channel = j;
        channel.absMax = table.absMax[at(j)];
        channel.overMedian = ratio(channel.absMax, typical);
        channel.mean = table.mean[at(j)];
        channel.std = table.std[at(j)];
        channel.kurtosis = table.kurtosis[at(j)];
        channel.int8 = channel.absMax >= options.int8Threshold;
        const bool massive = channel.absMax > 100.0 && channel.absMax > 1000.0 * typicalMeanAbs;
        result.int8Channels += channel.int8 ? 1 : 0;
        result.massiveChannels += massive ? 1 : 0;
        if (!channel.int8 && !massive && !(channel.overMedian > options.overMedian))
            continue;
        channel.reason = reasonOf(channel, options, typicalMeanAbs);
        result.table.push_back(std::move(channel));
    }
    std::stable_sort(result.table.begin(), result.table.end(),
        [](const OutlierChannel& a, const OutlierChannel& b) { return a.absMax > b.absMax; });
    if (static_cast<Index>(result.table.size()) > options.tableSize)
        result.table.resize(at(std::max<Index>(0, options.tableSize)));
    return result;
}

} // namespace qs::analysis
