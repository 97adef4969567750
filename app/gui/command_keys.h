// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <QObject>

class QKeyEvent;
class QMainWindow;

namespace qs::app {

/// Lets the commands of a window win over what a field does with the same keys (Ctrl+E: end of line). Text fields keep undo
/// and redo for their text; number fields do not, their edits are steps of the document.
class CommandKeys : public QObject {
    Q_OBJECT
public:
    explicit CommandKeys(QMainWindow* window); ///< Watches the application for as long as the window lives.

protected:
    bool eventFilter(QObject* object, QEvent* event) override;

private:
    bool isCommand(const QKeyEvent& event, bool textField) const;

    QMainWindow* m_window;
};

} // namespace qs::app
