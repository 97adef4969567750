// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "core/session/workbench.h"

#include <QDialog>

class QLabel;
class QLineEdit;
class QPushButton;
class QSpinBox;

namespace qs::app {

/// Asks for a text and how much of it to run through the model. The quick default is 32 windows of 512 tokens.
class CalibrateDialog : public QDialog {
    Q_OBJECT
public:
    explicit CalibrateDialog(session::Workbench& bench, QWidget* parent = nullptr);
    QLineEdit* text() const { return m_text; }
    QSpinBox* samples() const { return m_samples; }
    QSpinBox* length() const { return m_length; }
    QLineEdit* target() const { return m_target; }

private:
    void check();
    void suggestTarget();
    void start();

    session::Workbench& m_bench;
    QLineEdit* m_text;
    QSpinBox* m_samples;
    QSpinBox* m_length;
    QSpinBox* m_keep;
    QLineEdit* m_target;
    QString m_suggested; ///< The file name that the dialog put into m_target.
    QLabel* m_note;
    QPushButton* m_start;
};

/// Asks for a text to evaluate the compared pipelines on.
class EvaluateDialog : public QDialog {
    Q_OBJECT
public:
    explicit EvaluateDialog(session::Workbench& bench, QWidget* parent = nullptr);
    QLineEdit* text() const { return m_text; }
    QSpinBox* tokens() const { return m_tokens; }
    QPushButton* startButton() const { return m_start; }

private:
    session::Workbench& m_bench;
    QLineEdit* m_text;
    QSpinBox* m_length;
    QSpinBox* m_tokens;
    QPushButton* m_start = nullptr;
};

} // namespace qs::app
