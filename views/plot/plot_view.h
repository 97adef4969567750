// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "views/plot/plot_data.h"

#include <QWidget>

#include <memory>

namespace qs::views {

/// A chart: horizontal grid lines, reduced data (at most four points per pixel), exact values on hover, click selects, double
/// click zooms around the pointer and Esc goes back; arrow keys go from point to point, Enter selects.
class PlotView : public QWidget {
    Q_OBJECT
public:
    explicit PlotView(QWidget* parent = nullptr);
    ~PlotView() override;

    void setData(PlotData data);
    const PlotData& data() const;
    /// Draws a vertical line at the selected x (NaN: none).
    void setSelectedX(double x);
    QString hoverText() const; ///< Of the point under the mouse; empty when there is none.
    /// Where a data point is drawn, in widget coordinates (tests click there).
    QPoint positionOf(std::size_t series, std::size_t point) const;

    QString toCsv() const;
    bool savePng(const QString& file) const;
    bool saveSvg(const QString& file) const;

    QSize sizeHint() const override { return {360, 190}; }
    QSize minimumSizeHint() const override { return {180, 120}; }

Q_SIGNALS:
    void pointClicked(int series, int key);

protected:
    void resizeEvent(QResizeEvent* event) override;
    bool eventFilter(QObject* object, QEvent* event) override;
    void keyPressEvent(QKeyEvent* event) override;
    void focusInEvent(QFocusEvent* event) override;
    void focusOutEvent(QFocusEvent* event) override;

private:
    bool moveCursor(int key); ///< To the next point or series, with its exact value; false without points.
    void clickPoint(int series, int point);
    struct Private;
    std::unique_ptr<Private> d;
};

} // namespace qs::views
