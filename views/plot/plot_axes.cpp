// SPDX-License-Identifier: GPL-3.0-or-later
#include "views/plot/plot_axes.h"

#include "core/session/format_number.h"
#include "core/session/metric_table_model.h"

#include <QBarCategoryAxis>
#include <QCategoryAxis>

#include <QLogValueAxis>
#include <QValueAxis>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

namespace qs::views {

QString plotToCsv(const PlotData& data)
{
    std::map<double, std::vector<QString>> rows;
    QString csv = session::csvField(data.x.title);
    for (std::size_t s = 0; s < data.series.size(); ++s) {
        csv += u',' + session::csvField(data.series[s].name.isEmpty() ? data.y.title : data.series[s].name);
        for (const QPointF& p : data.series[s].points) {
            auto& row = rows[p.x()];
            row.resize(data.series.size());
            row[s] = QString::number(p.y(), 'g', 17);
        }
    }
    csv += u'\n';
    for (const auto& [x, row] : rows) {
        const bool category = !data.x.categories.isEmpty() && x >= 0 && x < static_cast<double>(data.x.categories.size());
        csv += category ? session::csvField(data.x.categories[static_cast<int>(x)]) : QString::number(x, 'g', 17);
        for (const QString& cell : row)
            csv += u',' + cell;
        csv += u'\n';
    }
    return csv;
}

double niceStep(double extent, int count)
{
    const double raw = extent / std::max(count, 1);
    if (!(raw > 0) || !std::isfinite(raw))
        return 1;
    const double power = std::pow(10.0, std::floor(std::log10(raw)));
    const double mantissa = raw / power;
    return (mantissa <= 1 ? 1 : mantissa <= 2 ? 2 : mantissa <= 5 ? 5 : 10) * power;
}

AxisRange rangeOf(const PlotData& data, const PlotAxis& axis, bool horizontal)
{
    double lo = std::numeric_limits<double>::infinity();
    double hi = -lo;
    bool zeroBased = false;
    for (const PlotSeries& series : data.series) {
        const bool bars = series.kind == PlotSeries::Kind::Bars || series.kind == PlotSeries::Kind::Steps;
        zeroBased = zeroBased || (!horizontal && bars);
        for (const QPointF& p : series.points) {
            const double v = horizontal ? p.x() : p.y();
            if (!std::isfinite(v) || (axis.log && v <= 0))
                continue;
            lo = std::min(lo, v);
            hi = std::max(hi, v);
        }
    }
    if (lo > hi) {
        lo = axis.log ? 0.1 : 0;
        hi = 1;
    }
    if (axis.log) {
        lo = std::pow(10.0, std::floor(std::log10(lo) + 1e-9));
        hi = std::pow(10.0, std::ceil(std::log10(hi) - 1e-9));
        if (lo >= hi)
            hi = lo * 10;
    } else {
        if (zeroBased || (!horizontal && lo > 0 && lo < 0.6 * hi))
            lo = std::min(lo, 0.0);
        if (lo == hi)
            hi = lo + (lo == 0 ? 1 : std::abs(lo) * 0.1);
        if (!horizontal) {
            const double step = niceStep(hi - lo, 5);
            lo = std::floor(lo / step + 1e-9) * step;
            hi = std::ceil(hi / step - 1e-9) * step;
        }
    }
    AxisRange range{axis.lo.value_or(lo), axis.hi.value_or(hi)};
    if (range.lo >= range.hi)
        range.hi = range.lo + 1;
    return range;
}

QAbstractAxis* makeAxis(const PlotAxis& axis, AxisRange range, bool horizontal, int pixels)
{
    if (!axis.categories.isEmpty()) {
        auto* categories = new QBarCategoryAxis;
        categories->append(axis.categories);
        categories->setTitleText(axis.title);
        return categories;
    }
    if (axis.log) {
        auto* log = new QLogValueAxis;
        log->setBase(10);
        log->setRange(range.lo * (1 - 1e-9), range.hi * (1 + 1e-9)); // else rounding drops the label at an end
        log->setLabelFormat(QStringLiteral("%g"));
        log->setMinorTickCount(0);
        log->setTitleText(axis.title);
        return log;
    }
    // Ticks on round numbers with labels as people write them: Qt's own value axis divides the range evenly instead.
    auto* labels = new QCategoryAxis;
    labels->setLabelsPosition(QCategoryAxis::AxisLabelsPositionOnValue);
    labels->setRange(range.lo, range.hi);
    labels->setStartValue(range.lo);
    double step = niceStep(range.hi - range.lo, std::max(2, pixels / (horizontal ? 62 : 34)));
    if (axis.integer)
        step = std::max(step, 1.0);
    for (double tick = std::ceil(range.lo / step - 1e-9) * step; tick <= range.hi + step * 1e-6; tick += step) {
        const double v = std::abs(tick) < step * 1e-6 ? 0.0 : tick;
        const double shown = axis.percent ? v * 100 : v;
        const double shownStep = axis.percent ? step * 100 : step;
        const int decimals = std::clamp(static_cast<int>(std::ceil(-std::log10(shownStep) - 1e-9)), 0, 8);
        QString text = std::abs(shown) >= 1e6 || (shownStep < 1e-4) ? QString::number(shown, 'g', 3)
                                                                    : QString::number(shown, 'f', decimals);
        if (axis.percent)
            text += QStringLiteral(" %");
        labels->append(text, v);
    }
    labels->setTitleText(axis.title);
    return labels;
}

} // namespace qs::views
