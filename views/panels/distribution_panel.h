// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "views/panels/panel.h"

class QComboBox;
class QPushButton;

namespace qs::views {

class PlotView;

/// The weights before and after the selected pipeline, with the levels of its grid and what is clipped; or the layer's inputs,
/// as the raw tokens of the dump have them, with the activation grid.
class DistributionPanel : public LayerPanel {
    Q_OBJECT
public:
    explicit DistributionPanel(PanelContext context, QWidget* parent = nullptr);
    PlotView* plot() const { return m_weights; }
    NumberList* numbers() const { return m_numbers; }
    QComboBox* what() const { return m_what; }
    QPushButton* calibrateButton() const { return m_calibrate; }

protected:
    void refresh(const session::LayerView& view) override;

private:
    /// The selected pipeline and what it did to the current layer.
    struct Chosen {
        std::size_t pipeline = 0;
        session::Loadable<session::LayerResult> result;
        bool known = false; ///< There is such a pipeline.
        QString name;
    };
    Chosen chosen() const;
    void draw();
    void drawWeights(const session::LayerView& view);
    void drawInputs(const session::LayerView& view);

    QComboBox* m_what;
    QPushButton* m_calibrate; ///< Where the inputs need a dump with raw tokens.
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
