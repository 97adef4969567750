// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "views/panels/panel.h"

class QHBoxLayout;
class QPushButton;
class QToolButton;

namespace qs::views {

class PipelineCard;
class PlotView;
class TableView;

/// Pipelines side by side on the selected layer and over the model: metrics, options that differ, error by block, size against
/// quality, where the error comes from, end-to-end scores with their protocol.
class ComparePanel : public LayerPanel {
    Q_OBJECT
public:
    explicit ComparePanel(PanelContext context, QWidget* parent = nullptr);
    const std::vector<PipelineCard*>& cards() const { return m_cards; }
    TableView* options() const { return m_options; }
    TableView* endToEnd() const { return m_scores; }
    QPushButton* compareAllButton() const { return m_compareAll; }
    QToolButton* addButton() const { return m_add; }

Q_SIGNALS:
    void evaluateRequested(); ///< Needs a text: the window asks for it.

protected:
    void refresh(const session::LayerView& view) override;
    void selectionChanged() override;

private:
    void drawCards();
    void drawBlocks();
    void drawPareto();
    void drawShares();
    void fillOptions();
    void fillScores();
    void fillAddMenu();

    std::vector<PipelineCard*> m_cards;
    QHBoxLayout* m_cardRow;
    QToolButton* m_add;
    QPushButton* m_compareAll;
    Card* m_blockCard;
    PlotView* m_blocks;
    Card* m_paretoCard;
    PlotView* m_pareto;
    Card* m_shareCard;
    PlotView* m_shares;
    Card* m_optionCard;
    TableView* m_options;
    Card* m_scoreCard;
    TableView* m_scores;
    QPushButton* m_evaluate;
};

} // namespace qs::views
