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
QAbstractAxis* makeAxis(const PlotAxis& axis, AxisRange range, bool horizontal, int pixels);

} // namespace qs::views
