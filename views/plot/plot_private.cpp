// SPDX-License-Identifier: GPL-3.0-or-later
#include "views/plot/plot_private.h"

#include "core/reduce/minmax_pyramid.h"
#include "core/session/format_number.h"
#include "views/theme/theme.h"

#include <QAreaSeries>
#include <QBarCategoryAxis>
#include <QBarSeries>
#include <QBarSet>
#include <QChart>
#include <QChartView>
#include <QGraphicsLineItem>
#include <QGraphicsSimpleTextItem>
#include <QLineSeries>
#include <QScatterSeries>

#include <algorithm>
#include <array>
#include <cmath>

namespace qs::views {

namespace {

constexpr double kLineWidth = 1.6;
constexpr double kTextRow = 14; ///< Pixels between words that would lie on each other.
constexpr double kLoneDot = 6;
constexpr double kTagHeight = 11; ///< Pixels between letters at line ends.
constexpr double kHitDistance = 24; ///< Pixels.

QColor colourOf(int colour)
{
    switch (colour) {
    case -1: return tokens().dim;
    case -2: return tokens().bad;
    case -3: return tokens().good;
    case -4: {
        QColor faint = tokens().dim;
        faint.setAlphaF(0.35F);
        return faint;
    }
    default: return Theme::instance().series(static_cast<std::size_t>(colour));
    }
}

} // namespace

bool PlotView::Private::usable(QPointF p) const
{
    return std::isfinite(p.x()) && std::isfinite(p.y()) && (!data.x.log || p.x() > 0) && (!data.y.log || p.y() > 0);
}

void PlotView::Private::attach(QAbstractSeries* series, QAbstractAxis* x, QAbstractAxis* y)
{
    chart->addSeries(series);
    series->attachAxis(x);
    series->attachAxis(y);
    if (!reference)
        reference = series;
}

void PlotView::Private::addSeries(const PlotSeries& source, QAbstractAxis* x, QAbstractAxis* y)
{
    const QColor colour = colourOf(source.colour);
    switch (source.kind) {
    case PlotSeries::Kind::Bars: {
        auto* set = new QBarSet(source.name);
        for (const QPointF& p : source.points) {
            set->append(std::isfinite(p.y()) ? p.y() : 0.0);
            dropped += std::isfinite(p.y()) ? 0 : 1;
        }
        set->setColor(colour);
        set->setBorderColor(Qt::transparent);
        auto* bars = new QBarSeries;
        bars->setBarWidth(0.6);
        bars->append(set);
        attach(bars, x, y);
        return;
    }
    case PlotSeries::Kind::Steps: {
        auto* upper = new QLineSeries;
        auto* lower = new QLineSeries;
        const double base = data.y.log ? fullY.lo : 0.0;
        const double width = source.points.size() > 1 ? source.points[1].x() - source.points[0].x() : 1.0;
        for (const QPointF& p : source.points) {
            const double value = usable(p) ? p.y() : base;
            for (const double edge : {p.x(), p.x() + width}) {
                upper->append(mapped({edge, value}));
                lower->append(mapped({edge, base}));
            }
        }
        auto* area = new QAreaSeries(upper, lower);
        upper->setParent(area);
        lower->setParent(area);
        QColor fill = colour;
        fill.setAlphaF(0.35F);
        area->setBrush(fill);
        area->setPen(QPen(colour, 1.0));
        attach(area, x, y);
        return;
    }
    case PlotSeries::Kind::Points: {
        auto* points = new QScatterSeries;
        points->setMarkerSize(8);
        points->setColor(colour);
        points->setBorderColor(Qt::transparent);
        for (const QPointF& p : source.points) {
            if (usable(p))
                points->append(mapped(p));
            else
                ++dropped;
        }
        attach(points, x, y);
        return;
    }
    case PlotSeries::Kind::Line:
    case PlotSeries::Kind::Dashed: addLine(source, x, y);
    }
}

void PlotView::Private::addLine(const PlotSeries& source, QAbstractAxis* x, QAbstractAxis* y)
{
    const QColor colour = colourOf(source.colour);
    QPen pen(colour, kLineWidth);
    if (source.kind == PlotSeries::Kind::Dashed) {
        pen = QPen(colour, 1.0);
        pen.setStyle(Qt::DashLine);
    }
    pen.setJoinStyle(Qt::RoundJoin);
    const Index pixels = std::max<Index>(static_cast<Index>(view->width()), 64);
    std::size_t first = 0;
    std::size_t last = source.points.size();
    if (zoomX) {
        auto before = [](const QPointF& p, double v) { return p.x() < v; };
        first = static_cast<std::size_t>(
            std::lower_bound(source.points.begin(), source.points.end(), zoomX->lo, before) - source.points.begin());
        last = static_cast<std::size_t>(
            std::lower_bound(source.points.begin(), source.points.end(), zoomX->hi, before) - source.points.begin());
        first -= first > 0 ? 1 : 0;
        last += last < source.points.size() ? 1 : 0;
    }
    std::vector<QList<QPointF>> pieces(1); // what is not joined: NaN, and blocks that were not measured
    if (static_cast<Index>(last - first) > 4 * pixels) {
        std::vector<float> values;
        values.reserve(last - first);
        for (std::size_t i = first; i < last; ++i)
            values.push_back(
                usable(source.points[i]) ? static_cast<float>(source.points[i].y()) : std::numeric_limits<float>::quiet_NaN());
        const reduce::MinMaxPyramid pyramid(std::move(values));
        const reduce::Decimated reduced = pyramid.decimate(0, pyramid.size(), pixels);
        for (const reduce::PlotPoint& p : reduced.points)
            pieces[0].append(mapped({source.points[first + static_cast<std::size_t>(p.x)].x(), p.y}));
        dropped += reduced.nonFiniteCount;
    } else {
        for (std::size_t i = first; i < last; ++i) {
            const bool gap = !usable(source.points[i])
                || (i > first && source.points[i].x() - source.points[i - 1].x() > source.joinWithin);
            if (gap && !pieces.back().isEmpty())
                pieces.emplace_back();
            if (usable(source.points[i]))
                pieces.back().append(mapped(source.points[i]));
            else
                ++dropped;
        }
    }
    for (const QList<QPointF>& piece : pieces) {
        if (piece.size() == 1) { // a line of one point would not be seen
            auto* dot = new QScatterSeries;
            dot->setMarkerSize(kLoneDot);
            dot->setColor(colour);
            dot->setBorderColor(Qt::transparent);
            dot->append(piece.front());
            attach(dot, x, y);
        } else if (!piece.isEmpty()) {
            auto* line = new QLineSeries;
            line->setPen(pen);
            line->replace(piece);
            attach(line, x, y);
        }
    }
}

void PlotView::Private::rebuild()
{
    const Tokens& t = tokens();
    chart->removeAllSeries();
    const auto axes = chart->axes();
    for (QAbstractAxis* axis : axes) {
        chart->removeAxis(axis);
        delete axis;
    }
    reference = nullptr;
    dropped = 0;
    fullX = rangeOf(data, data.x, true);
    fullY = rangeOf(data, data.y, false);
    QAbstractAxis* x = makeAxis(data.x, zoomX.value_or(fullX), true, view->width());
    QAbstractAxis* y = makeAxis(data.y, fullY, false, view->height());
    for (QAbstractAxis* axis : {x, y}) {
        axis->setLabelsFont(Theme::instance().font(kSmallPx));
        axis->setTitleFont(Theme::instance().font(kSmallPx));
        axis->setLabelsBrush(t.dim);
        axis->setTitleBrush(t.dim);
        axis->setLinePen(QPen(t.line, 1));
        axis->setGridLinePen(QPen(t.line, 1));
        axis->setMinorGridLineVisible(false);
    }
    x->setGridLineVisible(false);
    y->setLineVisible(false);
    chart->addAxis(x, Qt::AlignBottom);
    chart->addAxis(y, Qt::AlignLeft);
    for (const PlotSeries& series : data.series)
        addSeries(series, x, y);
    if (!reference) {
        auto* none = new QLineSeries;
        chart->addSeries(none);
        none->attachAxis(x);
        none->attachAxis(y);
        reference = none;
    }
    decorate();
}

QPointF PlotView::Private::toScene(QPointF value) const
{
    return chart->mapToScene(chart->mapToPosition(mapped(value), reference));
}

QPointF PlotView::Private::fromScene(QPointF scene) const
{
    const QPointF place = chart->mapToValue(chart->mapFromScene(scene), reference);
    return {fromAxis(data.x, place.x()), fromAxis(data.y, place.y())};
}

bool PlotView::Private::visible(QPointF value) const
{
    const AxisRange x = zoomX.value_or(fullX);
    return value.x() >= x.lo && value.x() <= x.hi;
}

void PlotView::Private::decorate()
{
    for (QGraphicsItem* item : decorations)
        delete item;
    decorations.clear();
    selection = nullptr;
    QGraphicsScene* scene = view->scene();
    const QRectF area = chart->mapRectToScene(chart->plotArea());
    if (area.width() < 10 || area.height() < 10)
        return;
    auto line = [&](QPointF a, QPointF b, const QPen& pen) {
        auto* item = scene->addLine(QLineF(a, b), pen);
        item->setZValue(20);
        decorations.push_back(item);
        return item;
    };
    auto text = [&](const QString& label, const QColor& colour) {
        auto* item = scene->addSimpleText(label, Theme::instance().font(kSmallPx));
        item->setBrush(colour);
        item->setZValue(21);
        decorations.push_back(item);
        return item;
    };
    // Words never lie on words: each takes the first of its places that is free.
    std::vector<QRectF> taken;
    auto place = [&](QGraphicsSimpleTextItem* label, const std::vector<QPointF>& places) {
        const QRectF size = label->boundingRect();
        QRectF at(places.front(), size.size());
        for (const QPointF& corner : places) {
            const QRectF candidate(corner, size.size());
            if (std::none_of(taken.begin(), taken.end(), [&](const QRectF& other) { return other.intersects(candidate); })) {
                at = candidate;
                break;
            }
        }
        label->setPos(at.topLeft());
        taken.push_back(at);
    };
    // Names in the colours of their lines, right to left along the top edge: labels at the line ends would lie on other lines.
    double right = area.right();
    for (auto series = data.series.rbegin(); series != data.series.rend(); ++series) {
        if (!series->directLabel || series->points.empty())
            continue;
        auto* label = text(series->name, colourOf(series->colour));
        right -= label->boundingRect().width();
        place(label, {{right, area.top() - 2}});
        right -= 14;
    }
    for (const PlotMarker& marker : data.markers) {
        QPen pen(colourOf(marker.colour), 1);
        pen.setStyle(Qt::DashLine);
        if (marker.vertical) {
            if (!visible({marker.value, 0}) || (data.x.log && marker.value <= 0))
                continue;
            const double x = toScene({marker.value, fullY.hi}).x();
            line({x, area.top()}, {x, area.bottom()}, pen);
            if (!marker.label.isEmpty()) {
                auto* label = text(marker.label, colourOf(marker.colour));
                const double width = label->boundingRect().width();
                std::vector<QPointF> places;
                for (int row = 0; row < 4; ++row) {
                    if (x + 3 + width <= area.right())
                        places.emplace_back(x + 3, area.top() + row * kTextRow);
                    places.emplace_back(x - 3 - width, area.top() + row * kTextRow);
                }
                place(label, places);
            }
        } else {
            if (marker.value < fullY.lo || marker.value > fullY.hi)
                continue;
            const double y = toScene({fullX.lo, marker.value}).y();
            line({area.left(), y}, {area.right(), y}, pen);
            auto* label = text(marker.label, colourOf(marker.colour));
            const QSizeF size = label->boundingRect().size();
            const std::array<double, 2> sides{area.right() - size.width(), area.left() + 4};
            std::vector<QPointF> places; // above the line, else below it, and farther below where words stand there
            for (const double x : sides) {
                places.emplace_back(x, y - size.height());
                places.emplace_back(x, y + 1);
            }
            for (int row = 1; row < 4; ++row)
                for (const double x : sides)
                    places.emplace_back(x, y + 1 + row * kTextRow);
            place(label, places);
        }
    }
    // Letters at the ends of the lines, apart from each other where the lines end together.
    std::vector<std::pair<QPointF, QGraphicsSimpleTextItem*>> tags;
    for (const PlotSeries& series : data.series) {
        if (series.tag.isEmpty() || series.points.empty())
            continue;
        const QPointF last = series.points.back();
        if (!std::isfinite(last.y()) || (data.y.log && last.y() <= 0) || !visible(last))
            continue;
        auto* label = text(series.tag, colourOf(series.colour));
        const QPointF at = toScene(last);
        tags.emplace_back(QPointF(std::min(at.x() + 6, area.right() + 12 - label->boundingRect().width()), at.y()), label);
    }
    std::sort(tags.begin(), tags.end(), [](const auto& a, const auto& b) { return a.first.y() < b.first.y(); });
    for (std::size_t i = 0; i < tags.size(); ++i) {
        for (std::size_t above = 0; above < i; ++above) {
            const QPointF other = tags[above].first;
            if (std::abs(other.x() - tags[i].first.x()) < kTagHeight && tags[i].first.y() < other.y() + kTagHeight)
                tags[i].first.setY(other.y() + kTagHeight);
        }
        tags[i].second->setPos(tags[i].first.x(), tags[i].first.y() - tags[i].second->boundingRect().height() / 2);
    }
    if (std::isfinite(selectedX) && visible({selectedX, 0}) && (!data.x.log || selectedX > 0)) {
        const double x = toScene({selectedX, fullY.hi}).x();
        QColor colour = tokens().accent;
        colour.setAlphaF(0.55F);
        selection = line({x, area.top()}, {x, area.bottom()}, QPen(colour, 2));
    }
    if (cursor.first >= 0) {
        const QPointF at
            = toScene(data.series[static_cast<std::size_t>(cursor.first)].points[static_cast<std::size_t>(cursor.second)]);
        auto* dot = scene->addEllipse(QRectF(at.x() - 5, at.y() - 5, 10, 10), QPen(tokens().accent, 2));
        dot->setZValue(22);
        decorations.push_back(dot);
    }
    QString note = data.note;
    if (dropped > 0)
        note += (data.x.log || data.y.log ? QObject::tr("%1%2 values not drawn: NaN, Inf or not positive on a log axis")
                                          : QObject::tr("%1%2 values not drawn: NaN or Inf"))
                    .arg(note.isEmpty() ? QString() : QStringLiteral("; "))
                    .arg(dropped);
    if (!note.isEmpty()) {
        auto* label = text(note, dropped > 0 ? tokens().bad : tokens().dim);
        const double left = area.right() - label->boundingRect().width();
        std::vector<QPointF> places;
        places.reserve(4);
        for (int row = 0; row < 4; ++row)
            places.emplace_back(left, area.top() + row * kTextRow);
        place(label, places);
    }
}

std::pair<int, int> PlotView::Private::nearest(QPoint position) const
{
    const QPointF scene = view->mapToScene(view->mapFromParent(position));
    const QRectF area = chart->mapRectToScene(chart->plotArea()).adjusted(-6, -6, 6, 6);
    if (!area.contains(scene))
        return {-1, -1};
    std::pair<int, int> best{-1, -1};
    double bestDistance = std::numeric_limits<double>::infinity();
    const QPointF value = fromScene(scene);
    for (std::size_t s = 0; s < data.series.size(); ++s) {
        const PlotSeries& series = data.series[s];
        if (series.points.empty())
            continue;
        std::size_t from = 0;
        std::size_t to = series.points.size();
        const bool sorted = series.kind != PlotSeries::Kind::Points;
        if (sorted) { // x ascends: only the neighbours matter
            double key = value.x();
            if (series.kind == PlotSeries::Kind::Bars)
                key = std::round(value.x());
            const auto it = std::lower_bound(
                series.points.begin(), series.points.end(), key, [](const QPointF& p, double v) { return p.x() < v; });
            const auto at = static_cast<std::size_t>(it - series.points.begin());
            const std::size_t reach
                = std::max<std::size_t>(2, series.points.size() / static_cast<std::size_t>(std::max(view->width(), 64)) + 1);
            from = at > reach ? at - reach : 0;
            to = std::min(series.points.size(), at + reach + 1);
        }
        for (std::size_t i = from; i < to; ++i) {
            if (!std::isfinite(series.points[i].y()) || !visible(series.points[i]))
                continue;
            const QPointF p = toScene(series.points[i]) - scene;
            const double distance
                = series.kind == PlotSeries::Kind::Points ? std::hypot(p.x(), p.y()) : std::abs(p.x()) + 0.1 * std::abs(p.y());
            const double limit = series.kind == PlotSeries::Kind::Points
                ? kHitDistance
                : std::max(kHitDistance, area.width() / static_cast<double>(series.points.size()));
            if (distance < bestDistance && distance < limit) {
                bestDistance = distance;
                best = {static_cast<int>(s), static_cast<int>(i)};
            }
        }
    }
    return best;
}

QString PlotView::Private::describe(int s, int i) const
{
    const PlotSeries& series = data.series[static_cast<std::size_t>(s)];
    const auto point = static_cast<std::size_t>(i);
    const QPointF p = series.points[point];
    auto shown = [](const PlotAxis& axis, double v) {
        if (!axis.categories.isEmpty() && v >= 0 && v < static_cast<double>(axis.categories.size()))
            return axis.categories[static_cast<int>(v)];
        if (axis.percent)
            return session::numberText(v * 100, 4) + QStringLiteral(" %");
        if (axis.integer && std::abs(v) < 1e15 && v == std::round(v))
            return session::integerText(static_cast<Index>(v));
        return session::numberText(v, 5);
    };
    auto name = [](const PlotAxis& axis) { return axis.hover.isEmpty() ? axis.title : axis.hover; };
    QString text = series.name.isEmpty() ? QString() : series.name + QStringLiteral("\n");
    if (point < series.labels.size())
        text += series.labels[point] + QStringLiteral("\n");
    text += QStringLiteral("%1: %2\n%3: %4").arg(name(data.x), shown(data.x, p.x()), name(data.y), shown(data.y, p.y()));
    return text;
}

} // namespace qs::views
