// SPDX-License-Identifier: GPL-3.0-or-later
#include "views/heatmap/heatmap_view.h"

#include "core/session/format_number.h"
#include "views/heatmap/colour_map.h"
#include "views/theme/theme.h"
#include "views/widgets/number_text.h"

#include <QKeyEvent>
#include <QMouseEvent>
#include <QPainter>
#include <QPainterPath>
#include <QToolTip>

#include <algorithm>
#include <cmath>

namespace qs::views {

using reduce::kTileSize;
using reduce::TileId;

namespace {

constexpr int kLegendHeight = 38; ///< Two lines: the colours, and what a cell is.
constexpr int kAxisHeight = 32; ///< Tick labels and the name.
constexpr int kAxisWidth = 52;
constexpr int kTickDistance = 64; ///< Pixels between labels, at least.
constexpr double kLogDecades = 3; ///< A log colour scale spans a thousandth of the maximum up to it.

/// First elements of about evenly placed ticks at round numbers, inside [lo, hi).
std::vector<Index> ticks(double lo, double hi, int count)
{
    const double raw = (hi - lo) / std::max(count, 1);
    const double power = std::pow(10.0, std::floor(std::log10(std::max(raw, 1.0))));
    const double mantissa = std::max(raw, 1.0) / power;
    const auto step = static_cast<Index>((mantissa <= 1 ? 1 : mantissa <= 2 ? 2 : mantissa <= 5 ? 5 : 10) * power);
    std::vector<Index> result;
    for (Index at = static_cast<Index>(std::ceil(lo / static_cast<double>(step))) * step; static_cast<double>(at) < hi;
         at += step)
        result.push_back(at);
    return result;
}

} // namespace

HeatmapView::HeatmapView(session::JobQueue* jobs, QWidget* parent)
    : QWidget(parent)
    , m_jobs(jobs)
{
    setMouseTracking(true);
    setFocusPolicy(Qt::StrongFocus);
    connect(&Theme::instance(), &Theme::changed, this, [this] { update(); });
}

HeatmapView::~HeatmapView()
{
    dropJobs();
}

QString HeatmapView::tag(const TileId& id) const
{
    return QStringLiteral("tile/%1/%2/%3/%4").arg(reinterpret_cast<quintptr>(this), 0, 16).arg(id.level).arg(id.x).arg(id.y);
}

void HeatmapView::dropJobs()
{
    for (const TileId& id : m_asked)
        m_jobs->cancel(tag(id));
    m_asked.clear();
}

void HeatmapView::setSource(
    std::shared_ptr<const reduce::TileSource> source, reduce::Reduction reduction, Scale scale, Labels labels)
{
    dropJobs();
    m_source = std::move(source);
    m_reduction = reduction;
    m_scale = scale;
    m_labels = std::move(labels);
    m_tiles.clear();
    m_images.clear();
    m_failed.clear();
    m_fixedRange.reset();
    if (m_source)
        m_window = QRectF(0, 0, static_cast<double>(m_source->cols()), static_cast<double>(m_source->rows()));
    update();
}

void HeatmapView::setValueRange(std::optional<std::pair<float, float>> range)
{
    m_fixedRange = range;
    m_images.clear(); // numeric tiles stay: nothing is recomputed
    update();
}

void HeatmapView::setSelectedColumn(Index column)
{
    if (column == m_selectedColumn)
        return;
    m_selectedColumn = column;
    update();
}

void HeatmapView::setSelectedRow(Index row)
{
    if (row == m_selectedRow)
        return;
    m_selectedRow = row;
    update();
}

QRect HeatmapView::plotRect() const
{
    return rect().adjusted(kAxisWidth, 0, 0, -(kLegendHeight + kAxisHeight));
}

int HeatmapView::level() const
{
    const QRect plot = plotRect();
    if (!m_source || plot.width() < 1 || plot.height() < 1)
        return 0;
    const double perPixel = std::max(m_window.width() / plot.width(), m_window.height() / plot.height());
    const int wanted = perPixel <= 1 ? 0 : static_cast<int>(std::ceil(std::log2(perPixel)));
    return std::clamp(wanted, 0, m_source->levels() - 1);
}

QRectF HeatmapView::tileRect(const TileId& id) const
{
    const QRectF plot = plotRect();
    const double sx = plot.width() / m_window.width();
    const double sy = plot.height() / m_window.height();
    const double block = std::ldexp(static_cast<double>(kTileSize), id.level);
    const double x0 = static_cast<double>(id.x) * block;
    const double y0 = static_cast<double>(id.y) * block;
    // The last cells may cover fewer elements than the others but are drawn at their own size.
    const double x1 = std::min(x0 + block, static_cast<double>(m_source->cols()));
    const double y1 = std::min(y0 + block, static_cast<double>(m_source->rows()));
    return QRectF(QPointF(plot.left() + (x0 - m_window.left()) * sx, plot.top() + (y0 - m_window.top()) * sy),
        QPointF(plot.left() + (x1 - m_window.left()) * sx, plot.top() + (y1 - m_window.top()) * sy));
}

std::vector<TileId> HeatmapView::visibleTiles() const
{
    std::vector<TileId> tiles;
    if (!m_source || m_source->rows() == 0 || m_source->cols() == 0)
        return tiles;
    const int k = level();
    const double block = std::ldexp(static_cast<double>(kTileSize), k);
    const auto x1 = std::min<Index>(static_cast<Index>(std::ceil(m_window.right() / block)), m_source->tilesAcross(k));
    const auto y1 = std::min<Index>(static_cast<Index>(std::ceil(m_window.bottom() / block)), m_source->tilesDown(k));
    for (auto y = static_cast<Index>(m_window.top() / block); y < y1; ++y) {
        for (auto x = static_cast<Index>(m_window.left() / block); x < x1; ++x)
            tiles.push_back({k, x, y});
    }
    return tiles;
}

std::pair<float, float> HeatmapView::range() const
{
    if (m_fixedRange)
        return *m_fixedRange;
    float lo = 0;
    float hi = 0;
    bool any = false;
    for (const auto& [id, tile] : m_tiles) {
        lo = any ? std::min(lo, tile.min) : tile.min;
        hi = any ? std::max(hi, tile.max) : tile.max;
        any = true;
    }
    if (m_scale == Scale::Diverging) {
        const float extent = std::max(std::abs(lo), std::abs(hi));
        return {-extent, extent};
    }
    if (m_scale == Scale::Log)
        return {hi * static_cast<float>(std::pow(10.0, -kLogDecades)), hi};
    return {std::min(lo, 0.0F), hi};
}

QImage HeatmapView::colour(const reduce::Tile& tile) const
{
    QImage image(static_cast<int>(tile.width), static_cast<int>(tile.height), QImage::Format_ARGB32_Premultiplied);
    const auto [lo, hi] = m_colouredRange;
    const ColourMap& map = m_scale == Scale::Diverging ? ColourMap::diverging() : ColourMap::viridis();
    const double logLo = lo > 0 ? std::log(lo) : 0;
    const double logSpan = lo > 0 && hi > lo ? std::log(hi) - logLo : 1;
    const double span = hi > lo ? hi - lo : 1;
    for (Index y = 0; y < tile.height; ++y) {
        auto* line = reinterpret_cast<QRgb*>(image.scanLine(static_cast<int>(y)));
        for (Index x = 0; x < tile.width; ++x) {
            const float v = tile.value(x, y);
            if (std::isnan(v))
                line[x] = 0; // the hatch is drawn below
            else if (m_scale == Scale::Log)
                line[x] = map.at(v > 0 && lo > 0 ? (std::log(static_cast<double>(v)) - logLo) / logSpan : 0.0);
            else
                line[x] = map.at((static_cast<double>(v) - lo) / span);
        }
    }
    return image;
}

void HeatmapView::request(const TileId& id)
{
    if (m_asked.contains(id) || m_failed.contains(id))
        return;
    m_asked.insert(id);
    session::JobQueue::Spec spec{tag(id), tr("Heatmap tile"), session::Lane::View, false};
    m_jobs->submit<reduce::Tile>(
        spec, this,
        [source = m_source, id, reduction = m_reduction](const JobContext& job) { return source->tile(id, reduction, job); },
        [this, id, source = m_source](Expected<reduce::Tile> tile) {
            if (source != m_source)
                return;
            m_asked.erase(id);
            if (tile)
                m_tiles.insert_or_assign(id, std::move(*tile));
            else
                m_failed.insert_or_assign(id, QString::fromStdString(tile.error().line()));
            update();
        });
}

const QImage* HeatmapView::image(const TileId& id)
{
    if (const auto it = m_images.find(id); it != m_images.end())
        return &it->second;
    const auto tile = m_tiles.find(id);
    if (tile == m_tiles.end()) {
        request(id);
        return nullptr;
    }
    return &m_images.insert_or_assign(id, colour(tile->second)).first->second;
}

bool HeatmapView::complete() const
{
    const auto tiles = visibleTiles();
    return std::all_of(
        tiles.begin(), tiles.end(), [this](const TileId& id) { return m_tiles.contains(id) || m_failed.contains(id); });
}

std::uint64_t HeatmapView::nonFinite() const
{
    std::uint64_t count = 0;
    for (const TileId& id : visibleTiles()) {
        if (const auto it = m_tiles.find(id); it != m_tiles.end())
            count += it->second.nanCount + it->second.infCount;
    }
    return count;
}

QString HeatmapView::reductionText() const
{
    return QString::fromLatin1(reductionName(m_reduction)).replace(QStringLiteral("|x|"), m_labels.value);
}

QString HeatmapView::legendText() const
{
    const Index side = Index{1} << level();
    QString text = side == 1 ? tr("cell = one value") : tr("cell = %1 of %2 × %2").arg(reductionText()).arg(side);
    if (m_scale == Scale::Log)
        text += tr(", log colours");
    if (const std::uint64_t bad = nonFinite())
        text += tr(", %1 NaN or Inf").arg(bad);
    return text;
}

void HeatmapView::paintEvent(QPaintEvent* /*event*/)
{
    QPainter painter(this);
    painter.setFont(Theme::instance().font(kSmallPx));
    const QRect plot = plotRect();
    if (!m_source || plot.width() < 4 || plot.height() < 4)
        return;
    if (const auto now = range(); now != m_colouredRange) {
        m_colouredRange = now;
        m_images.clear();
    }
    painter.save();
    painter.setClipRect(plot);
    for (const TileId& id : visibleTiles()) {
        const QRectF target = tileRect(id);
        const auto failed = m_failed.find(id);
        if (failed != m_failed.end()) {
            painter.fillRect(target, QBrush(tokens().bad, Qt::DiagCrossPattern));
            continue;
        }
        const QImage* picture = image(id);
        if (!picture) {
            painter.fillRect(target, tokens().raised);
            continue;
        }
        const reduce::Tile& tile = m_tiles.at(id);
        if (tile.nanCount + tile.infCount > 0)
            painter.fillRect(target, tokens().panel);
        painter.drawImage(target, *picture);
        if (!tile.nonFinite.empty()) {
            const double w = target.width() / static_cast<double>(tile.width);
            const double h = target.height() / static_cast<double>(tile.height);
            for (Index y = 0; y < tile.height; ++y) {
                for (Index x = 0; x < tile.width; ++x) {
                    if (tile.bad(x, y) == 0)
                        continue;
                    // At least three pixels, so that a single NaN in a big matrix is seen.
                    QRectF cell(target.left() + static_cast<double>(x) * w, target.top() + static_cast<double>(y) * h,
                        std::max(w, 3.0), std::max(h, 3.0));
                    painter.fillRect(cell, QBrush(tokens().nonFinite, w < 6 || h < 6 ? Qt::SolidPattern : Qt::BDiagPattern));
                }
            }
        }
    }
    const double sx = plot.width() / m_window.width();
    const double sy = plot.height() / m_window.height();
    auto mark = [&painter](const QRectF& cells) { // seen on any colour: a dark line around a light one
        painter.setBrush(Qt::NoBrush);
        painter.setPen(QPen(tokens().background, 3));
        painter.drawRect(cells);
        painter.setPen(QPen(tokens().accent, 1));
        painter.drawRect(cells);
    };
    if (m_selectedColumn >= 0)
        mark({plot.left() + (static_cast<double>(m_selectedColumn) - m_window.left()) * sx - 1, plot.top() - 4.0,
            std::max(sx, 1.0) + 2, plot.height() + 8.0});
    if (m_selectedRow >= 0)
        mark({plot.left() - 4.0, plot.top() + (static_cast<double>(m_selectedRow) - m_window.top()) * sy - 1,
            plot.width() + 8.0, std::max(sy, 1.0) + 2});
    painter.restore();
    if (hasFocus()) {
        painter.setPen(QPen(tokens().accent, 1));
        painter.setBrush(Qt::NoBrush);
        painter.drawRect(plot.adjusted(-1, -1, 0, 0));
    }
    paintAxes(painter, plot);
    paintLegend(painter, QRect(plot.left(), height() - kLegendHeight, plot.width(), kLegendHeight));
}

void HeatmapView::paintAxes(QPainter& painter, const QRect& plot)
{
    painter.setPen(tokens().dim);
    const double sx = plot.width() / m_window.width();
    const double sy = plot.height() / m_window.height();
    for (const Index tick : ticks(m_window.left(), m_window.right(), plot.width() / kTickDistance)) {
        const double x = plot.left() + (static_cast<double>(tick) + 0.5 - m_window.left()) * sx;
        const QString label = session::integerText(tick);
        const double half = painter.fontMetrics().horizontalAdvance(label) / 2.0 + 1;
        const double middle = std::min(x, width() - half); // the last label ends with the widget
        painter.drawText(
            QRectF(middle - half, plot.bottom() + 2, 2 * half, kAxisHeight / 2.0), Qt::AlignHCenter | Qt::AlignVCenter, label);
    }
    painter.drawText(QRect(plot.left(), plot.bottom() + kAxisHeight / 2, plot.width(), kAxisHeight / 2),
        Qt::AlignHCenter | Qt::AlignVCenter, m_labels.columns);
    const int nameWidth = kAxisWidth / 3;
    for (const Index tick : ticks(m_window.top(), m_window.bottom(), 2 * plot.height() / kTickDistance)) {
        const double y = plot.top() + (static_cast<double>(tick) + 0.5 - m_window.top()) * sy;
        painter.drawText(
            QRectF(nameWidth, std::clamp(y - 8, plot.top() - 2.0, plot.bottom() - 13.0), kAxisWidth - nameWidth - 5, 16),
            Qt::AlignRight | Qt::AlignVCenter, session::integerText(tick));
    }
    painter.save();
    painter.translate(nameWidth / 2.0, plot.center().y());
    painter.rotate(-90);
    painter.drawText(QRectF(-plot.height() / 2.0, -nameWidth / 2.0, plot.height(), nameWidth), Qt::AlignCenter, m_labels.rows);
    painter.restore();
}

void HeatmapView::paintLegend(QPainter& painter, const QRect& area)
{
    const QFontMetrics metrics(painter.font());
    const QRect colours(area.left(), area.top(), area.width(), area.height() / 2);
    const QRect words(area.left(), area.top() + area.height() / 2, area.width(), area.height() / 2);
    const auto [lo, hi] = m_colouredRange;
    const QString left = QStringLiteral("%1  %2").arg(m_labels.value, humanText(static_cast<double>(lo)));
    const QString right = humanText(static_cast<double>(hi));
    const int leftWidth = metrics.horizontalAdvance(left) + 8;
    const int barWidth
        = std::clamp(colours.width() - leftWidth - metrics.horizontalAdvance(right) - 12, 20, std::min(180, colours.width()));
    painter.setPen(tokens().dim);
    painter.drawText(colours, Qt::AlignVCenter | Qt::AlignLeft, left);
    const ColourMap& map = m_scale == Scale::Diverging ? ColourMap::diverging() : ColourMap::viridis();
    for (int i = 0; i < barWidth; ++i)
        painter.fillRect(colours.left() + leftWidth + i, colours.center().y() - 4, 1, 9,
            QColor(map.at(static_cast<double>(i) / (barWidth - 1))));
    painter.drawText(colours.adjusted(leftWidth + barWidth + 8, 0, 0, 0), Qt::AlignVCenter | Qt::AlignLeft, right);
    int x = words.left();
    if (nonFinite() > 0) {
        painter.fillRect(QRect(x, words.center().y() - 5, 12, 11), QBrush(tokens().nonFinite, Qt::BDiagPattern));
        painter.setPen(tokens().bad);
        x += 18;
    }
    painter.drawText(words.adjusted(x - words.left(), 0, 0, 0), Qt::AlignVCenter | Qt::AlignLeft,
        metrics.elidedText(legendText(), Qt::ElideRight, words.right() - x));
}

std::optional<std::pair<Index, Index>> HeatmapView::elementAt(QPoint position) const
{
    const QRect plot = plotRect();
    if (!m_source || !plot.contains(position))
        return std::nullopt;
    const double col = m_window.left() + (position.x() - plot.left() + 0.5) * m_window.width() / plot.width();
    const double row = m_window.top() + (position.y() - plot.top() + 0.5) * m_window.height() / plot.height();
    return std::pair(std::clamp<Index>(static_cast<Index>(row), 0, m_source->rows() - 1),
        std::clamp<Index>(static_cast<Index>(col), 0, m_source->cols() - 1));
}

QPoint HeatmapView::positionOf(Index row, Index column) const
{
    const QRect plot = plotRect();
    return QPoint(
        static_cast<int>(plot.left() + (static_cast<double>(column) + 0.5 - m_window.left()) * plot.width() / m_window.width()),
        static_cast<int>(plot.top() + (static_cast<double>(row) + 0.5 - m_window.top()) * plot.height() / m_window.height()));
}

QString HeatmapView::toolTipAt(QPoint position) const
{
    const auto element = elementAt(position);
    if (!element)
        return {};
    const auto [row, col] = *element;
    const int k = level();
    const Index cellRow = row >> k;
    const Index cellCol = col >> k;
    const auto it = m_tiles.find({k, cellCol / kTileSize, cellRow / kTileSize});
    if (it == m_tiles.end())
        return {};
    const Index cx = cellCol % kTileSize;
    const Index cy = cellRow % kTileSize;
    const float value = it->second.value(cx, cy);
    const Index side = Index{1} << k;
    auto span = [&](Index first, Index limit) {
        return side == 1
            ? session::integerText(first)
            : QStringLiteral("%1–%2").arg(session::integerText(first), session::integerText(std::min(first + side, limit) - 1));
    };
    QString text
        = QStringLiteral("%1 %2, %3 %4\n%5 = %6")
              .arg(m_labels.rows, span(cellRow << k, m_source->rows()), m_labels.columns, span(cellCol << k, m_source->cols()),
                  side == 1 ? m_labels.value : reductionText(), session::numberText(value, 5));
    if (const auto bad = it->second.bad(cx, cy))
        text += tr("\n%1 of them NaN or Inf").arg(bad);
    return text;
}

void HeatmapView::mousePressEvent(QMouseEvent* event)
{
    m_pressed = event->pos();
    m_pressedWindow = m_window;
    m_dragging = false;
}

void HeatmapView::mouseMoveEvent(QMouseEvent* event)
{
    if (!m_source)
        return;
    if (event->buttons().testFlag(Qt::LeftButton)) {
        const QPoint moved = event->pos() - m_pressed;
        m_dragging = m_dragging || moved.manhattanLength() > 4;
        const QRect plot = plotRect();
        const double cols = static_cast<double>(m_source->cols());
        const double rows = static_cast<double>(m_source->rows());
        const double x = m_pressedWindow.left() - moved.x() * m_window.width() / plot.width();
        const double y = m_pressedWindow.top() - moved.y() * m_window.height() / plot.height();
        m_window.moveTo(std::clamp(x, 0.0, cols - m_window.width()), std::clamp(y, 0.0, rows - m_window.height()));
        update();
        return;
    }
    QToolTip::showText(event->globalPosition().toPoint(), toolTipAt(event->pos()), this);
}

void HeatmapView::mouseReleaseEvent(QMouseEvent* event)
{
    if (event->button() != Qt::LeftButton || m_dragging)
        return;
    if (const auto element = elementAt(event->pos())) {
        m_cursor = QPoint(static_cast<int>(element->second), static_cast<int>(element->first));
        Q_EMIT cellClicked(element->first, element->second);
    }
}

void HeatmapView::mouseDoubleClickEvent(QMouseEvent* event)
{
    const auto element = elementAt(event->pos());
    if (!element)
        return;
    const double w = std::max(8.0, m_window.width() / 4);
    const double h = std::max(8.0, m_window.height() / 4);
    const double cols = static_cast<double>(m_source->cols());
    const double rows = static_cast<double>(m_source->rows());
    m_window = QRectF(std::clamp(static_cast<double>(element->second) - w / 2, 0.0, std::max(0.0, cols - w)),
        std::clamp(static_cast<double>(element->first) - h / 2, 0.0, std::max(0.0, rows - h)), std::min(w, cols),
        std::min(h, rows));
    setFocus();
    update();
}

void HeatmapView::keyPressEvent(QKeyEvent* event)
{
    if (event->key() == Qt::Key_Escape && m_source) {
        m_window = QRectF(0, 0, static_cast<double>(m_source->cols()), static_cast<double>(m_source->rows()));
        update();
        return;
    }
    const int dx = event->key() == Qt::Key_Left ? -1 : event->key() == Qt::Key_Right ? 1 : 0;
    const int dy = event->key() == Qt::Key_Up ? -1 : event->key() == Qt::Key_Down ? 1 : 0;
    if (m_source && (dx != 0 || dy != 0)) {
        m_cursor.setX(std::clamp<int>(m_cursor.x() + dx, 0, static_cast<int>(m_source->cols()) - 1));
        m_cursor.setY(std::clamp<int>(m_cursor.y() + dy, 0, static_cast<int>(m_source->rows()) - 1));
        Q_EMIT cellClicked(m_cursor.y(), m_cursor.x());
        const QPoint at = positionOf(m_cursor.y(), m_cursor.x());
        QToolTip::showText(mapToGlobal(at), toolTipAt(at), this);
        return;
    }
    QWidget::keyPressEvent(event);
}

void HeatmapView::leaveEvent(QEvent* /*event*/)
{
    QToolTip::hideText();
}

} // namespace qs::views
