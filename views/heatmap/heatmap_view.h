// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "core/reduce/tile_source.h"
#include "core/session/job_queue.h"

#include <QHash>
#include <QImage>
#include <QWidget>

#include <map>
#include <memory>
#include <optional>
#include <set>

namespace qs::views {

/// A matrix as image tiles. Numbers are computed in the background and cached; colours are a second cache, so that a new colour
/// range recomputes nothing. A cell covers whole blocks of elements and the legend names the reduction; NaN and Inf are hatched
/// and counted. Hover gives the value, click selects, double click zooms, dragging pans, Esc goes back; the
/// arrow keys move the selected cell.
class HeatmapView : public QWidget {
    Q_OBJECT
public:
    enum class Scale { Linear, Log, Diverging };

    HeatmapView(session::JobQueue* jobs, QWidget* parent = nullptr);
    ~HeatmapView() override;

    struct Labels {
        QString rows, columns; ///< "token", "input channel".
        QString value; ///< "|x|".
    };
    /// Null clears.
    void setSource(std::shared_ptr<const reduce::TileSource> source, reduce::Reduction reduction, Scale scale, Labels labels);
    void setValueRange(std::optional<std::pair<float, float>> range); ///< Nothing: what the tiles hold.
    void setSelectedColumn(Index column);
    void setSelectedRow(Index row);
    bool complete() const; ///< Every visible tile is there.
    QString legendText() const;
    std::uint64_t nonFinite() const; ///< In the tiles that are shown.
    QPoint positionOf(Index row, Index column) const; ///< Centre of an element, for tests.
    QString toolTipAt(QPoint position) const;

    QSize sizeHint() const override { return {360, 220}; }
    QSize minimumSizeHint() const override { return {180, 140}; }

Q_SIGNALS:
    void cellClicked(qlonglong row, qlonglong column);

protected:
    void paintEvent(QPaintEvent* event) override;
    void mousePressEvent(QMouseEvent* event) override;
    void mouseMoveEvent(QMouseEvent* event) override;
    void mouseReleaseEvent(QMouseEvent* event) override;
    void mouseDoubleClickEvent(QMouseEvent* event) override;
    void keyPressEvent(QKeyEvent* event) override;
    void leaveEvent(QEvent* event) override;

private:
    QRect plotRect() const;
    int level() const; ///< So that a cell is never smaller than a pixel.
    QRectF tileRect(const reduce::TileId& id) const;
    std::vector<reduce::TileId> visibleTiles() const;
    const QImage* image(const reduce::TileId& id); ///< Coloured cache, then numeric cache; else asks for it.
    void request(const reduce::TileId& id);
    QImage colour(const reduce::Tile& tile) const;
    std::pair<float, float> range() const;
    QString tag(const reduce::TileId& id) const;
    QString reductionText() const; ///< "max |W|": the reduction of what is shown.
    void dropJobs();
    void paintAxes(QPainter& painter, const QRect& plot);
    void paintLegend(QPainter& painter, const QRect& area);
    std::optional<std::pair<Index, Index>> elementAt(QPoint position) const;

    session::JobQueue* m_jobs;
    std::shared_ptr<const reduce::TileSource> m_source;
    reduce::Reduction m_reduction = reduce::Reduction::AbsMax;
    Scale m_scale = Scale::Linear;
    Labels m_labels;
    QRectF m_window; ///< Visible elements: columns and rows.
    std::optional<std::pair<float, float>> m_fixedRange;
    mutable std::pair<float, float> m_colouredRange{0, 0};
    std::map<reduce::TileId, reduce::Tile> m_tiles;
    std::map<reduce::TileId, QImage> m_images;
    std::set<reduce::TileId> m_asked;
    std::map<reduce::TileId, QString> m_failed; ///< Asked once only.
    Index m_selectedColumn = -1;
    Index m_selectedRow = -1;
    QPoint m_cursor; ///< Where the arrow keys start: column, row.
    QPoint m_pressed;
    QRectF m_pressedWindow;
    bool m_dragging = false;
};

} // namespace qs::views
