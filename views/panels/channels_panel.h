// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "views/panels/panel.h"

class QComboBox;
class QToolButton;

namespace qs::views {

class HeatmapView;
class PlotView;
class TableView;

/// What each input channel of the layer carries: extremes, heatmap of tokens (or of |W| where no tokens are stored), outlier
/// table.
class ChannelsPanel : public LayerPanel {
    Q_OBJECT
public:
    explicit ChannelsPanel(PanelContext context, QWidget* parent = nullptr);
    PlotView* plot() const { return m_plot; }
    HeatmapView* heatmap() const { return m_heatmap; }
    TableView* table() const { return m_table; }

protected:
    void refresh(const session::LayerView& view) override;
    void selectionChanged() override;

private:
    void drawChart();
    void fillTable(const session::LayerView& view);

    std::shared_ptr<const session::LayerView> m_view;
    std::vector<int> m_order; ///< Channel of each place in the chart.
    Card* m_chartCard;
    PlotView* m_plot;
    QComboBox* m_what;
    QToolButton* m_sorted;
    QToolButton* m_log;
    Card* m_heatCard;
    HeatmapView* m_heatmap;
    Card* m_tableCard;
    TableView* m_table;
};

} // namespace qs::views
