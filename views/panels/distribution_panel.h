// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "views/panels/panel.h"

namespace qs::views {

class PlotView;

/// The weights before and after the selected pipeline, with the levels of its grid and what is clipped.
class DistributionPanel : public LayerPanel {
    Q_OBJECT
public:
    explicit DistributionPanel(PanelContext context, QWidget* parent = nullptr);
    PlotView* plot() const { return m_weights; }
    NumberList* numbers() const { return m_numbers; }

protected:
    void refresh(const session::LayerView& view) override;

private:
    void draw();

    Card* m_weightCard;
    PlotView* m_weights;
    Card* m_codeCard;
    PlotView* m_codes;
    Card* m_errorCard;
    PlotView* m_error;
    Card* m_numberCard;
    NumberList* m_numbers;
};

} // namespace qs::views
