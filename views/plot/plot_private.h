// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "core/base/types.h"
#include "views/plot/plot_axes.h"
#include "views/plot/plot_view.h"

#include <limits>

class QAbstractSeries;
class QChart;
class QChartView;
class QGraphicsItem;
class QGraphicsLineItem;
class QLabel;

namespace qs::views {

inline constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

/// What a PlotView draws with Qt Charts.
struct PlotView::Private {
    PlotData data;
    QChart* chart = nullptr; ///< Owned by the chart view.
    QChartView* view = nullptr;
    QLabel* empty = nullptr;
    QGraphicsLineItem* selection = nullptr;
    std::vector<QGraphicsItem*> decorations;
    QAbstractSeries* reference = nullptr; ///< Its axes map values to pixels.
    double selectedX = kNone;
    std::pair<int, int> cursor{-1, -1}; ///< Series and point that the arrow keys have reached.
    std::optional<AxisRange> zoomX;
    AxisRange fullX, fullY;
    QString hover;
    Index dropped = 0; ///< NaN or Inf, and values that a log axis cannot show.

    void rebuild();
    void addSeries(const PlotSeries& series, QAbstractAxis* x, QAbstractAxis* y);
    void addLine(const PlotSeries& series, QAbstractAxis* x, QAbstractAxis* y);
    void attach(QAbstractSeries* series, QAbstractAxis* x, QAbstractAxis* y);
    void decorate();
    bool usable(QPointF value) const; ///< Finite, and positive on a log axis.
    QPointF mapped(QPointF value) const { return {onAxis(data.x, value.x()), onAxis(data.y, value.y())}; }
    QPointF fromScene(QPointF scene) const;
    QPointF toScene(QPointF value) const;
    bool visible(QPointF value) const;
    std::pair<int, int> nearest(QPoint position) const;
    QString describe(int series, int point) const;
};

} // namespace qs::views
