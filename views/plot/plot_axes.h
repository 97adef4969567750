// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "views/plot/plot_data.h"

class QAbstractAxis;

namespace qs::views {

struct AxisRange {
    double lo = 0, hi = 1;
};

/// Extent of the data along an axis, rounded outwards to numbers that people say.
AxisRange rangeOf(const PlotData& data, const PlotAxis& axis, bool horizontal);
/// Step of about `count` ticks: 1, 2 or 5 times a power of ten.
double niceStep(double extent, int count);
/// Where a value lies on its axis: its decimal logarithm on a log axis, else itself.
double onAxis(const PlotAxis& axis, double value);
double fromAxis(const PlotAxis& axis, double place);
/// Values and labels of a log axis: every decade that fits, as people say it (0.01, 1,000, 10⁻⁵), 1, 2 and 5 where there are
/// few decades. `room`: labels that fit.
std::vector<std::pair<double, QString>> logTicks(AxisRange range, int room, bool percent = false);
QAbstractAxis* makeAxis(const PlotAxis& axis, AxisRange range, bool horizontal, int pixels);

} // namespace qs::views
