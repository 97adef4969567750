// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/error.h"
#include "core/exec/backend.h"
#include "core/tensor/matrix.h"

#include <limits>
#include <vector>

namespace qs::stats {

/// Raw per-channel sums of a stream of token vectors x (one entry per channel). Mergeable by addition (min and max by
/// comparison).
///
///   sum = sum x, sumsq = sum x^2, sumabs = sum |x|, m3 = sum x^3, m4 = sum x^4, over `count` tokens, in float64.
struct ChannelSums {
    Index count = 0;
    std::vector<double> sum, sumsq, sumabs, m3, m4;
    std::vector<double> min, max; ///< +inf / -inf while no token was seen.
    Index nonFinite = 0; ///< Values that were NaN or Inf; counted, and left out of the sums.

    explicit ChannelSums(Index channels = 0);
    Index channels() const { return static_cast<Index>(sum.size()); }
    void merge(const ChannelSums& other);
};

/// Statistics of one part (fit or holdout) of a layer input.
///
/// The additive sums and the Gram cover every position. `min` and `max` leave out the sink positions (the first kSinkPositions
/// of each sequence), which InputStats::sink keeps, because an extremum cannot be taken out again while a sum can be
/// subtracted.
struct InputPart {
    ChannelSums channels;
    MatrixD gram; ///< sum x x^T, (d, d), both triangles; empty when it was not collected.

    Index count() const { return channels.count; }
    bool hasGram() const { return !gram.empty(); }
};

inline constexpr Index kSinkPositions = 4;
/// Share of the energy in the sink positions above which second moments and output errors speak of them.
inline constexpr double kMostlySinks = 0.5;

/// Everything known about one layer input. Methods see `fit` only; errors are reported on `holdout` where there is one.
struct InputStats {
    InputPart fit;
    InputPart holdout; ///< count() == 0 when the dump has no holdout.
    ChannelSums sink; ///< First positions of the fit sequences. Only count, min, max and sumsq are kept.
    ChannelSums holdoutSink; ///< The same of the holdout sequences: analysis shows them, methods never see them.

    Index channels() const { return fit.channels.channels(); }
    bool hasHoldout() const { return holdout.count() > 0; }
    /// The part that errors are measured on: holdout, or fit where there is none.
    const InputPart& evaluation() const { return hasHoldout() ? holdout : fit; }
    void merge(const InputStats& other);

    /// Share of the energy, sum x^2 over all channels and tokens, that lies in the first kSinkPositions of each sequence. 0
    /// where positions are not known.
    static double sinkShare(const InputPart& part, const ChannelSums& sinks);
    /// C = gram / count of a part: the uncentred second moment. Error NotFound without a Gram or tokens.
    static Expected<MatrixD> secondMoment(const InputPart& part);
    /// max |x| per channel of the fit part; with `sinks`, of the sink positions too.
    std::vector<double> absMax(bool sinks = true) const;
    /// mean |x| per channel of the fit part.
    std::vector<double> meanAbs() const;
    /// sqrt(sum x^2) per channel of the fit part (the norm that Wanda uses).
    std::vector<double> l2Norm() const;
};

/// Adds token vectors to statistics. Shapes: x (tokens, channels); positions: index of each token within its sequence, or empty
/// where that is not known (then no token counts as a sink). Gram products go through the backend; everything else is
/// accumulated per channel in float64, in token order, with the same bits for any number of threads and any vector width. NaN
/// and Inf are counted and enter sums and Gram as 0. Statistics of 0 channels take the width of x; another width is a bug
/// (std::invalid_argument). Cost     Gram: tokens * channels^2 multiply-adds; the rest about 1 ns a value.   Threads   parallel
/// inside.
void accumulate(
    InputPart& part, ChannelSums& sink, MatrixView x, const std::vector<Index>& positions, bool gram, Backend& backend);

} // namespace qs::stats
