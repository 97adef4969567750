// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/error.h"
#include "core/stats/input_stats.h"

#include <string>
#include <vector>

namespace qs::analysis {

/// Statistics of one layer input per channel, over every token of the dump (fit, holdout and sink positions).
///
/// `absMaxNoSinks` leaves out the first positions of each sequence, where some models put their largest values. Percentiles
/// cannot be had from sums; they need raw tokens.
struct ChannelTable {
    Index tokens = 0;
    Index nonFinite = 0; ///< NaN or Inf values in the dump.
    std::vector<double> absMax, absMaxNoSinks, min, max; ///< min and max with the sinks.
    std::vector<double> mean, meanAbs, rms;
    std::vector<double> std; ///< Divisor T.
    std::vector<double> kurtosis; ///< m4 / m2^2 of the centred values; 0 for a constant channel.

    Index channels() const { return static_cast<Index>(absMax.size()); }
};
/// Error NotFound without tokens; Mismatch when fit and holdout disagree in width.
Expected<ChannelTable> channelTable(const stats::InputStats& stats);

/// Why a channel is in the outlier table.
struct OutlierChannel {
    Index channel = 0;
    double absMax = 0, overMedian = 0; ///< max |x| and its ratio to the median channel's.
    double mean = 0, std = 0, kurtosis = 0;
    bool int8 = false; ///< max |x| >= 6, the LLM.int8() criterion.
    std::string reason; ///< "max |x| is 23 x the median channel; mean is 5.1 sd from 0 (a shift removes it)".
};

/// Outlier criteria of a layer input.
struct Outliers {
    Index int8Channels = 0; ///< Channels with max |x| >= int8Threshold.
    double maxOverMedian = 0; ///< Largest channel max |x| over the median of all channels; infinite when the median is 0.
    double kurtosis = 0; ///< m4 / m2^2 with m_k = mean over all channels and tokens of (x_j - mean_j)^k. A Gaussian has 3.
    double kurtosisOverall = 0; ///< The same around the one mean of all values.
    double sinkRatio = 0; ///< Largest |x| over its value without the sink positions; 1 when sinks do not matter.
    double sinkEnergy = 0; ///< Share of sum x^2 in the first positions of the fit sequences; 0 where positions are not known.
    double sinkEnergyHoldout = 0; ///< The same of the holdout.
    Index massiveChannels = 0; ///< Channels with max |x| > 100 and > 1000 x the median mean|x|.
    std::vector<OutlierChannel> table; ///< Channels that meet a criterion, largest overMedian first.
};
struct OutlierOptions {
    double int8Threshold = 6.0; ///< Dettmers et al. 2022. It depends on the model's scale; overMedian does not.
    double overMedian = 5.0; ///< Channels above this ratio enter the table.
    Index tableSize = 32;
};
/// Cost O(channels log channels).
Expected<Outliers> findOutliers(const stats::InputStats& stats, const OutlierOptions& options = {});

/// Median with the mean of the two middle values for an even count. 0 for no values.
double median(std::vector<double> values);

} // namespace qs::analysis
