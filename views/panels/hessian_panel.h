// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "views/panels/panel.h"

namespace qs::views {

class PlotView;
class TableView;

/// The second moment C of the layer's inputs: what GPTQ and SparseGPT work with, and whether it can be trusted.
class HessianPanel : public LayerPanel {
    Q_OBJECT
public:
    explicit HessianPanel(PanelContext context, QWidget* parent = nullptr);
    NumberList* numbers() const { return m_numbers; }
    PlotView* spectrumPlot() const { return m_spectrum; }

protected:
    void refresh(const session::LayerView& view) override;
    void selectionChanged() override;
    bool needsDump() const override { return true; }

private:
    QLabel* m_verdict;
    NumberList* m_numbers;
    Card* m_diagonalCard;
    PlotView* m_diagonal;
    Card* m_spectrumCard;
    PlotView* m_spectrum;
    Card* m_dampingCard;
    PlotView* m_damping;
    Card* m_numberCard;
    std::vector<int> m_order;
};

} // namespace qs::views
