// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <QDockWidget>

class QLabel;
class QToolButton;

namespace qs::app {

/// Slim title of a dock: its name, and buttons that float and close it. Without height while the dock's name is on a tab.
class DockTitle : public QWidget {
    Q_OBJECT
public:
    explicit DockTitle(QDockWidget* dock);
    void setCollapsed(bool collapsed);
    bool collapsed() const { return m_collapsed; }
    QToolButton* floatButton() const { return m_float; }
    QToolButton* closeButton() const { return m_close; }
    QSize sizeHint() const override;
    QSize minimumSizeHint() const override;

private:
    QDockWidget* m_dock;
    QLabel* m_name;
    QToolButton* m_float;
    QToolButton* m_close;
    bool m_collapsed = false;
};

/// A dock that knows whether its content can be seen: Qt keeps a dock behind a tab "visible", outside the window.
class ViewDock : public QDockWidget {
    Q_OBJECT
public:
    ViewDock(const QString& name, QWidget* content, QWidget* parent);
    bool onScreen() const { return m_onScreen; }
    DockTitle* title() const { return m_title; }
    const QString& name() const { return m_name; }

Q_SIGNALS:
    void onScreenChanged(bool onScreen);
    void arrangementChanged(); ///< Shown, hidden, floated, moved or put behind a tab.

private:
    QString m_name;
    DockTitle* m_title;
    bool m_onScreen = false;
};

} // namespace qs::app
