// SPDX-License-Identifier: GPL-3.0-or-later
#include "views/plot/plot_axes.h"

#include "core/session/format_number.h"
#include "core/session/metric_table_model.h"
#include "views/widgets/number_text.h"

#include <QBarCategoryAxis>
#include <QCategoryAxis>
#include <QLocale>

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

double onAxis(const PlotAxis& axis, double value)
{
    return axis.log ? std::log10(value) : value;
}

double fromAxis(const PlotAxis& axis, double place)
{
    return axis.log ? std::pow(10.0, place) : place;
}

namespace {

/// With thousands apart, as in the tables.
QString tickText(double value, int decimals)
{
    return QLocale(QLocale::English, QLocale::UnitedStates).toString(value, 'f', decimals);
}

int decimalsOf(double step)
{
    return std::clamp(static_cast<int>(std::ceil(-std::log10(step) - 1e-9)), 0, 8);
}

QString logText(int factor, int exponent)
{
    if (exponent >= -4 && exponent <= 5)
        return tickText(factor * std::pow(10.0, exponent), std::max(0, -exponent));
    return (factor == 1 ? QString() : QStringLiteral("%1 × ").arg(factor)) + powerOfTen(exponent);
}

/// Round numbers inside a range, with labels of the decimals that their step needs.
std::vector<std::pair<double, QString>> linearTicks(AxisRange range, double step, bool percent)
{
    std::vector<std::pair<double, QString>> ticks;
    const double unit = percent ? 100 : 1;
    const auto first = static_cast<long>(std::ceil(range.lo / step - 1e-9));
    const auto last = static_cast<long>(std::floor(range.hi / step + 1e-6));
    for (long i = first; i <= last; ++i) {
        const double v = static_cast<double>(i) * step;
        QString text = std::abs(v * unit) >= 1e6 || step * unit < 1e-4 ? humanText(v * unit)
                                                                       : tickText(v * unit, decimalsOf(step * unit));
        if (percent)
            text += QStringLiteral(" %");
        ticks.emplace_back(v, text);
    }
    return ticks;
}

} // namespace

std::vector<std::pair<double, QString>> logTicks(AxisRange range, int room, bool percent)
{
    room = std::max(room, 2);
    const double slack = 1e-9;
    const int first = static_cast<int>(std::ceil(std::log10(range.lo) - slack));
    const int last = static_cast<int>(std::floor(std::log10(range.hi) + slack));
    const int shift = percent ? 2 : 0;
    const QString unit = percent ? QStringLiteral(" %") : QString();
    std::vector<std::pair<double, QString>> ticks;
    auto fill = [&](std::initializer_list<int> factors) {
        ticks.clear();
        for (int exponent = first - 1; exponent <= last; ++exponent) {
            for (const int factor : factors) {
                const double value = factor * std::pow(10.0, exponent);
                if (value >= range.lo * (1 - slack) && value <= range.hi * (1 + slack))
                    ticks.emplace_back(value, logText(factor, exponent + shift) + unit);
            }
        }
    };
    fill({1});
    if (ticks.size() <= 3) { // a decade or two: 1, 2, 5 between them where there is room
        const auto decades = ticks;
        fill({1, 2, 5});
        if (ticks.size() > static_cast<std::size_t>(room))
            ticks = decades;
        if (ticks.size() < 2)
            ticks = linearTicks(range, niceStep(range.hi - range.lo, room), percent);
        return ticks;
    }
    const int step = (last - first + room) / room;
    if (step > 1) // the same labels whatever the range: multiples of the step
        ticks.erase(std::remove_if(ticks.begin(), ticks.end(),
                        [step](const auto& tick) { return std::lround(std::log10(tick.first)) % step != 0; }),
            ticks.end());
    return ticks;
}

QAbstractAxis* makeAxis(const PlotAxis& axis, AxisRange range, bool horizontal, int pixels)
{
    if (!axis.categories.isEmpty()) {
        auto* categories = new QBarCategoryAxis;
        categories->append(axis.categories);
        categories->setTitleText(axis.title);
        return categories;
    }
    // Ticks on round numbers with labels as people write them: Qt's own axes divide the range evenly, and the logarithmic one
    // writes 1e-05 or nothing at all.
    const int room = std::max(2, pixels / (horizontal ? 62 : 34));
    const double lo = onAxis(axis, range.lo);
    const double hi = onAxis(axis, range.hi);
    auto* labels = new QCategoryAxis;
    labels->setLabelsPosition(QCategoryAxis::AxisLabelsPositionOnValue);
    labels->setRange(lo, hi);
    labels->setStartValue(lo);
    double step = niceStep(range.hi - range.lo, room);
    if (axis.integer)
        step = std::max(step, 1.0);
    auto ticks = axis.log ? logTicks(range, room, axis.percent) : linearTicks(range, step, axis.percent);
    if (ticks.size() < 2 && !axis.integer && !axis.log) // around zero a round step may hit the axis once: one label is no scale
        ticks = linearTicks(range, niceStep(range.hi - range.lo, 2 * room), axis.percent);
    for (const auto& [value, text] : ticks)
        labels->append(text, std::clamp(onAxis(axis, value), lo, hi));
    labels->setTitleText(axis.title);
    return labels;
}

} // namespace qs::views
