// SPDX-License-Identifier: GPL-3.0-or-later
#include "views/plot/plot_view.h"

#include "views/plot/plot_axes.h"
#include "views/plot/plot_private.h"
#include "views/theme/theme.h"

#include <QChart>
#include <QChartView>
#include <QGraphicsLayout>
#include <QKeyEvent>
#include <QLabel>
#include <QMouseEvent>
#include <QSvgGenerator>
#include <QToolTip>
#include <QVBoxLayout>

#include <algorithm>
#include <cmath>
#include <utility>

namespace qs::views {

PlotView::PlotView(QWidget* parent)
    : QWidget(parent)
    , d(std::make_unique<Private>())
{
    d->chart = new QChart;
    d->chart->setMargins(QMargins(0, 8, 12, 0)); // half a label sticks out at the ends of the axes
    d->chart->layout()->setContentsMargins(0, 0, 0, 0);
    d->chart->setBackgroundVisible(false);
    d->chart->setPlotAreaBackgroundVisible(false);
    d->chart->legend()->hide();
    d->view = new QChartView(d->chart, this);
    d->view->setRenderHint(QPainter::Antialiasing);
    d->view->setFrameShape(QFrame::NoFrame);
    // Axes and series are replaced as a whole: a partial repaint leaves parts of the old ones on the screen.
    d->view->setViewportUpdateMode(QGraphicsView::FullViewportUpdate);
    d->view->setBackgroundBrush(Qt::NoBrush);
    d->view->setStyleSheet(QStringLiteral("background: transparent; border: none;"));
    d->view->setRubberBand(QChartView::NoRubberBand);
    d->view->viewport()->setMouseTracking(true);
    d->view->viewport()->installEventFilter(this);
    auto* layout = new QVBoxLayout(this);
    layout->setContentsMargins(0, 0, 0, 0);
    layout->addWidget(d->view);
    d->empty = new QLabel;
    d->empty->setAlignment(Qt::AlignCenter);
    d->empty->setWordWrap(true);
    d->empty->setProperty("role", QByteArray("dim"));
    d->empty->hide();
    layout->addWidget(d->empty);
    setFocusPolicy(Qt::StrongFocus);
    d->view->setFocusPolicy(Qt::NoFocus);
    connect(&Theme::instance(), &Theme::changed, this, [this] { d->rebuild(); });
    connect(d->chart, &QChart::plotAreaChanged, this, [this] { d->decorate(); });
    d->rebuild();
}

PlotView::~PlotView() = default;

void PlotView::setData(PlotData data)
{
    d->data = std::move(data);
    d->zoomX.reset();
    d->cursor = {-1, -1};
    d->hover.clear();
    d->empty->setText(d->data.empty);
    d->empty->setVisible(d->data.series.empty());
    d->view->setVisible(!d->data.series.empty());
    d->rebuild();
}

const PlotData& PlotView::data() const
{
    return d->data;
}

void PlotView::setSelectedX(double x)
{
    d->selectedX = x;
    d->decorate();
}

QString PlotView::hoverText() const
{
    return d->hover;
}

QPoint PlotView::positionOf(std::size_t series, std::size_t point) const
{
    return d->view->mapToParent(d->view->mapFromScene(d->toScene(d->data.series.at(series).points.at(point))));
}

QString PlotView::toCsv() const
{
    return plotToCsv(d->data);
}

bool PlotView::savePng(const QString& file) const
{
    return const_cast<PlotView*>(this)->grab().save(file, "PNG");
}

bool PlotView::saveSvg(const QString& file) const
{
    QSvgGenerator generator;
    generator.setFileName(file);
    generator.setSize(size());
    generator.setViewBox(rect());
    QPainter painter(&generator);
    if (!painter.isActive())
        return false;
    d->view->render(&painter);
    return painter.end();
}

void PlotView::resizeEvent(QResizeEvent* event)
{
    QWidget::resizeEvent(event);
    d->rebuild();
}

bool PlotView::moveCursor(int key)
{
    auto [series, point] = d->cursor;
    const auto seriesCount = static_cast<int>(d->data.series.size());
    auto usable = [this](int s) { return d->data.series[static_cast<std::size_t>(s)].points.size(); };
    if (series < 0) {
        series = 0;
        while (series < seriesCount && usable(series) == 0)
            ++series;
        if (series >= seriesCount)
            return false;
        point = 0;
    } else if (key == Qt::Key_Up || key == Qt::Key_Down) {
        do {
            series = (series + (key == Qt::Key_Down ? 1 : seriesCount - 1)) % seriesCount;
        } while (usable(series) == 0);
    } else {
        point += key == Qt::Key_Right ? 1 : -1;
    }
    point = std::clamp(point, 0, static_cast<int>(usable(series)) - 1);
    d->cursor = {series, point};
    d->hover = d->describe(series, point);
    d->decorate();
    QToolTip::showText(
        mapToGlobal(positionOf(static_cast<std::size_t>(series), static_cast<std::size_t>(point))), d->hover, this);
    return true;
}

void PlotView::clickPoint(int series, int point)
{
    const PlotSeries& hit = d->data.series[static_cast<std::size_t>(series)];
    const auto index = static_cast<std::size_t>(point);
    Q_EMIT pointClicked(series, index < hit.keys.size() ? hit.keys[index] : point);
}

void PlotView::keyPressEvent(QKeyEvent* event)
{
    switch (event->key()) {
    case Qt::Key_Escape:
        if (!d->zoomX)
            break;
        d->zoomX.reset();
        d->rebuild();
        return;
    case Qt::Key_Left:
    case Qt::Key_Right:
    case Qt::Key_Up:
    case Qt::Key_Down:
        if (moveCursor(event->key()))
            return;
        break;
    case Qt::Key_Return:
    case Qt::Key_Enter:
    case Qt::Key_Space:
        if (d->cursor.first < 0)
            break;
        clickPoint(d->cursor.first, d->cursor.second);
        return;
    default: break;
    }
    QWidget::keyPressEvent(event);
}

void PlotView::focusInEvent(QFocusEvent* event)
{
    d->chart->setPlotAreaBackgroundBrush(Qt::NoBrush);
    d->chart->setPlotAreaBackgroundPen(QPen(tokens().accent, 1));
    d->chart->setPlotAreaBackgroundVisible(event->reason() != Qt::MouseFocusReason);
    QWidget::focusInEvent(event);
}

void PlotView::focusOutEvent(QFocusEvent* event)
{
    d->chart->setPlotAreaBackgroundVisible(false);
    if (std::exchange(d->cursor, {-1, -1}).first >= 0)
        d->decorate();
    QWidget::focusOutEvent(event);
}

bool PlotView::eventFilter(QObject* object, QEvent* event)
{
    if (event->type() == QEvent::MouseMove) {
        const auto* mouse = static_cast<QMouseEvent*>(event);
        const auto [series, point] = d->nearest(d->view->mapToParent(mouse->pos()));
        d->hover = series < 0 ? QString() : d->describe(series, point);
        QToolTip::showText(mouse->globalPosition().toPoint(), d->hover, this);
    } else if (event->type() == QEvent::Leave) {
        d->hover.clear();
    } else if (event->type() == QEvent::MouseButtonRelease) {
        const auto* mouse = static_cast<QMouseEvent*>(event);
        const auto [series, point] = d->nearest(d->view->mapToParent(mouse->pos()));
        if (mouse->button() == Qt::LeftButton && series >= 0)
            clickPoint(series, point);
    } else if (event->type() == QEvent::MouseButtonDblClick && d->data.x.categories.isEmpty()) {
        const auto* mouse = static_cast<QMouseEvent*>(event);
        const QPointF scene = d->view->mapToScene(mouse->pos());
        const double at = d->fromScene(scene).x();
        const AxisRange now = d->zoomX.value_or(d->fullX);
        if (d->data.x.log) {
            const double factor = std::pow(now.hi / now.lo, 0.125);
            d->zoomX = AxisRange{std::max(d->fullX.lo, at / factor), std::min(d->fullX.hi, at * factor)};
        } else {
            const double half = (now.hi - now.lo) / 8;
            d->zoomX = AxisRange{std::max(d->fullX.lo, at - half), std::min(d->fullX.hi, at + half)};
        }
        d->rebuild();
        setFocus();
    }
    return QWidget::eventFilter(object, event);
}

} // namespace qs::views
