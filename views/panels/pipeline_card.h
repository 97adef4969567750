// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "views/panels/panel.h"

class QToolButton;

namespace qs::views {

/// One compared pipeline on the selected layer: coloured edge, headline error, a few numbers. A click makes it the edited one.
class PipelineCard : public QFrame {
    Q_OBJECT
public:
    PipelineCard(std::size_t index, QWidget* parent = nullptr);
    std::size_t index() const { return m_index; }
    void display(const session::Workbench& bench, bool best);
    QString headline() const;

Q_SIGNALS:
    void clicked(int index);
    void removeRequested(int index);

protected:
    void paintEvent(QPaintEvent* event) override;
    void mouseReleaseEvent(QMouseEvent* event) override;
    void keyPressEvent(QKeyEvent* event) override;

private:
    std::size_t m_index;
    bool m_selected = false;
    ElidedLabel* m_name;
    ElidedLabel* m_summary;
    QLabel* m_headline;
    ElidedLabel* m_unit;
    NumberList* m_numbers;
    QToolButton* m_remove;
};

/// "bits 4  group 64  sym-fullrange-mid": what people ask first of a pipeline.
QString pipelineSummary(const recipe::Pipeline& pipeline);

} // namespace qs::views
