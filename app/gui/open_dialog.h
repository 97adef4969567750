// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "core/session/workbench.h"

#include <QDialog>

class QLabel;
class QLineEdit;
class QListWidget;
class QPushButton;

namespace qs::app {

/// One dialog for everything that can be opened: a folder or a file, with a dump beside a model, or something recent.
class OpenDialog : public QDialog {
    Q_OBJECT
public:
    OpenDialog(const session::Workbench& bench, const QStringList& recent, QWidget* parent = nullptr);
    QLineEdit* path() const { return m_path; }
    QLineEdit* dump() const { return m_dump; }
    QListWidget* recent() const { return m_recent; }
    QPushButton* openButton() const { return m_open; }
    QString note() const; ///< What the path is, or why it cannot be opened.

Q_SIGNALS:
    void chosen(const QString& path, const QString& dump);

private:
    void check();
    void take();

    QLineEdit* m_path;
    QLineEdit* m_dump;
    QListWidget* m_recent;
    QLabel* m_note;
    QPushButton* m_open;
};

} // namespace qs::app
