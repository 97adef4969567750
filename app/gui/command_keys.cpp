// SPDX-License-Identifier: GPL-3.0-or-later
#include "app/gui/command_keys.h"

#include <QAbstractSpinBox>
#include <QAction>
#include <QApplication>
#include <QComboBox>
#include <QKeyEvent>
#include <QLineEdit>
#include <QMainWindow>
#include <QPlainTextEdit>

namespace qs::app {

namespace {

bool isTextField(const QWidget* widget)
{
    if (qobject_cast<const QPlainTextEdit*>(widget))
        return true;
    const auto* edit = qobject_cast<const QLineEdit*>(widget);
    return edit && !edit->validator() && !qobject_cast<const QAbstractSpinBox*>(edit->parentWidget());
}

/// Floating docks are windows of their own.
bool belongsTo(const QWidget* widget, const QMainWindow* window)
{
    const QWidget* top = widget->window();
    return top == window || (top->parentWidget() == window && (top->windowType() == Qt::Tool || top->inherits("QDockWidget")));
}

} // namespace

CommandKeys::CommandKeys(QMainWindow* window)
    : QObject(window)
    , m_window(window)
{
    qApp->installEventFilter(this);
}

bool CommandKeys::eventFilter(QObject* object, QEvent* event)
{
    if (event->type() != QEvent::ShortcutOverride)
        return false;
    const auto* widget = qobject_cast<const QWidget*>(object);
    if (!widget || QApplication::activeModalWidget() || QApplication::activePopupWidget() || !belongsTo(widget, m_window)
        || !isCommand(*static_cast<const QKeyEvent*>(event), isTextField(widget)))
        return false;
    event->ignore(); // not accepted: the shortcut is looked for
    return true;
}

bool CommandKeys::isCommand(const QKeyEvent& event, bool textField) const
{
    if (!(event.modifiers() & Qt::ControlModifier))
        return false;
    if (textField && (event.matches(QKeySequence::Undo) || event.matches(QKeySequence::Redo)))
        return false;
    const QKeySequence pressed(event.keyCombination());
    for (const QAction* action : m_window->findChildren<QAction*>()) {
        if (action->isEnabled() && action->shortcutContext() == Qt::WindowShortcut && action->shortcuts().contains(pressed))
            return true;
    }
    return false;
}

} // namespace qs::app
