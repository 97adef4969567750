// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "core/session/workbench.h"

#include <QDialog>

class QLabel;
class QLineEdit;
class QListWidget;
class QProgressBar;
class QPushButton;
class QUndoStack;

namespace qs::app {

/// Chooses a format, shows what its lints say before any work, writes, and shows what the verification found in the files.
class ExportDialog : public QDialog {
    Q_OBJECT
public:
    ExportDialog(session::Workbench& bench, QUndoStack& undo, QWidget* parent = nullptr);
    QListWidget* formats() const { return m_formats; }
    QListWidget* findings() const { return m_findings; }
    QLineEdit* target() const { return m_target; }
    QPushButton* exportButton() const { return m_export; }
    QPushButton* reopenButton() const { return m_reopen; }
    QString verdict() const;
    QString runtimes() const; ///< What loads the export and what does not, once it was checked.
    void reject() override; ///< A running export is cancelled first.

Q_SIGNALS:
    void openRequested(const QString& path); ///< Open what was written.

private:
    void formatChanged();
    void showLints();
    void showReport();
    void showFindings(const std::vector<recipe::Finding>& findings);
    void askRuntimes(); ///< Which runtimes load what was written.
    std::string format() const;

    session::Workbench& m_bench;
    QUndoStack& m_undo;
    QListWidget* m_formats;
    QLabel* m_description;
    QListWidget* m_findings;
    QLineEdit* m_target;
    QLabel* m_verdict;
    QProgressBar* m_progress;
    QPushButton* m_assignAll;
    QPushButton* m_export;
    QPushButton* m_close;
    QPushButton* m_reopen;
    QLabel* m_runtimes;
    QString m_suggested; ///< The target that the dialog put in; another format replaces it.
    QString m_written;
    bool m_running = false;
};

} // namespace qs::app
