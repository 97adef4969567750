// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "views/panels/panel.h"

class QHBoxLayout;
class QPushButton;
class QToolButton;

namespace qs::views {

class FloatCard;
class PipelineCard;
class PlotView;
class RowScroll;
class TableView;

/// Pipelines side by side on the selected layer and over the model: metrics, options that differ, error by block, size against
/// quality, where the error comes from, end-to-end scores with their protocol. Any number of them, float first.
class ComparePanel : public LayerPanel {
    Q_OBJECT
public:
    explicit ComparePanel(PanelContext context, QWidget* parent = nullptr);
    const std::vector<PipelineCard*>& cards() const { return m_cards; }
    FloatCard* floatCard() const { return m_float; }
    RowScroll* cardRow() const { return m_row; }
    PlotView* blocks() const { return m_blocks; }
    PlotView* pareto() const { return m_pareto; }
    PlotView* shares() const { return m_shares; }
    TableView* options() const { return m_options; }
    TableView* endToEnd() const { return m_scores; }
    QString protocol() const { return m_protocol->text(); }
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
    void markChannel();
    void fillOptions();
    void fillScores();
    void fillAddMenu();
    QString nameOf(std::size_t pipeline) const; ///< "A rtn 4 bit g128".

    std::vector<PipelineCard*> m_cards;
    FloatCard* m_float;
    std::size_t m_visibleCard = 0; ///< The selected one, scrolled to when it changes.
    QHBoxLayout* m_cardRow;
    RowScroll* m_row;
    QToolButton* m_add;
    QPushButton* m_compareAll;
    Card* m_blockCard;
    PlotView* m_blocks;
    Card* m_paretoCard;
    PlotView* m_pareto;
    Card* m_shareCard;
    PlotView* m_shares;
    std::size_t m_sharesOf = 0; ///< Pipeline whose shares are drawn.
    std::vector<int> m_shareOrder; ///< Channels of the bars.
    Card* m_optionCard;
    QLabel* m_same;
    TableView* m_options;
    Card* m_scoreCard;
    TableView* m_scores;
    QLabel* m_protocol;
    QPushButton* m_evaluate;
};

} // namespace qs::views
