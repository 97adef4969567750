// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "views/panels/panel.h"

class QComboBox;

namespace qs::views {

class PlotView;

/// How well the data fills the box that a quantizer spans, and what scaling, rotating or both could reach.
class QsurPanel : public LayerPanel {
    Q_OBJECT
public:
    explicit QsurPanel(PanelContext context, QWidget* parent = nullptr);
    PlotView* bars() const { return m_bars; }
    NumberList* numbers() const { return m_numbers; }
    QLabel* verdict() const { return m_verdict; }

protected:
    void refresh(const session::LayerView& view) override;

private:
    void draw();

    std::shared_ptr<const session::LayerView> m_view;
    QComboBox* m_of;
    bool m_chosen = false; ///< Somebody chose inputs or weights.
    Card* m_barCard;
    PlotView* m_bars;
    Card* m_splitCard;
    PlotView* m_split;
    Card* m_numberCard;
    QLabel* m_verdict;
    NumberList* m_numbers;
};

} // namespace qs::views
