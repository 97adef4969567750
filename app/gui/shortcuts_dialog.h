// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <QDialog>

class QMenuBar;
class QTableWidget;

namespace qs::app {

/// Every command of the menus with its keys, and the gestures that charts, tables and docks share.
class ShortcutsDialog : public QDialog {
    Q_OBJECT
public:
    explicit ShortcutsDialog(const QMenuBar* menus, QWidget* parent = nullptr);
    QTableWidget* table() const { return m_table; }

private:
    void addSection(const QString& title);
    void addRow(const QString& what, const QString& keys);

    QTableWidget* m_table;
};

} // namespace qs::app
