// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "views/panels/panel.h"

class QToolButton;

namespace qs::views {

/// What everything is compared with: the selected layer and the model as they are stored.
class FloatCard : public QFrame {
    Q_OBJECT
public:
    explicit FloatCard(QWidget* parent = nullptr);
    void display(const session::Workbench& bench);
    NumberList* numbers() const { return m_numbers; }

private:
    QLabel* m_title;
    ElidedLabel* m_summary;
    QLabel* m_headline;
    NumberList* m_numbers;
};

/// One compared pipeline on the selected layer: coloured edge, headline error, a few numbers. A click makes it the edited one.
class PipelineCard : public QFrame {
    Q_OBJECT
public:
    PipelineCard(std::size_t index, QWidget* parent = nullptr);
    std::size_t index() const { return m_index; }
    void display(const session::Workbench& bench, bool best);
    QString headline() const;
    QString title() const { return m_title; } ///< "A  gptq 4 bit g128".
    NumberList* numbers() const { return m_numbers; }
    QString note() const { return m_note->text(); } ///< What the numbers alone would not say.

Q_SIGNALS:
    void clicked(int index);
    void removeRequested(int index);

protected:
    void paintEvent(QPaintEvent* event) override;
    void resizeEvent(QResizeEvent* event) override;
    void mouseReleaseEvent(QMouseEvent* event) override;
    void keyPressEvent(QKeyEvent* event) override;

private:
    void showTitle();

    std::size_t m_index;
    bool m_selected = false;
    QString m_title, m_options;
    ElidedLabel* m_name;
    ElidedLabel* m_summary;
    QLabel* m_headline;
    ElidedLabel* m_unit;
    NumberList* m_numbers;
    QLabel* m_note;
    QToolButton* m_remove;
};

} // namespace qs::views
