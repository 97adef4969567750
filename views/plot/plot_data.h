// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <QColor>
#include <QPointF>
#include <QString>
#include <QStringList>

#include <limits>
#include <optional>
#include <vector>

namespace qs::views {

/// What a chart shows, without any chart class: the plot folder alone knows Qt Charts.
struct PlotSeries {
    enum class Kind { Line, Dashed, Points, Bars, Steps };
    QString name;
    Kind kind = Kind::Line;
    int colour = 0; ///< Index into Tokens::series; -1: dim, -2: bad, -3: good, -4: faint.
    std::vector<QPointF>
        points; ///< Bars: x is the category; Steps: x is the left edge of a bin. NaN in y leaves a gap and is counted.
    std::vector<QString> labels; ///< Hover text per point, optional.
    std::vector<int> keys; ///< What a click reports per point, optional (else the point's number).
    QString tag; ///< A letter beside the last point, in the colour of the series, optional.
    double joinWithin = std::numeric_limits<double>::infinity(); ///< Points that are farther apart in x: a gap, no line.
    bool directLabel = false; ///< The name is written in the plot, in the colour of the line.
};

struct PlotAxis {
    QString title; ///< With its unit.
    bool log = false;
    bool percent = false; ///< Values are ratios, labels are percentages.
    bool integer = false;
    std::optional<double> lo, hi;
    QStringList categories; ///< Bars only.
    QString hover = {}; ///< What hover calls the value, where the title is longer than that: "rank".
};

/// A line across the plot with a label: a level, a threshold.
struct PlotMarker {
    double value = 0;
    QString label;
    bool vertical = true;
    int colour = -1;
};

struct PlotData {
    std::vector<PlotSeries> series;
    PlotAxis x, y;
    std::vector<PlotMarker> markers;
    QString empty; ///< What is said instead of a chart without series.
    QString note; ///< One line under the plot: what was reduced or left out.
};

/// "x,series A,series B" with full precision.
QString plotToCsv(const PlotData& data);

} // namespace qs::views
