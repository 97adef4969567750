// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "core/base/error.h"
#include "core/session/results.h"

#include <QStackedWidget>

class QLabel;
class QProgressBar;
class QPushButton;

namespace qs::views {

/// Shows content, or why there is none and the button that helps: empty, loading, failed, cancelled.
class StateView : public QStackedWidget {
    Q_OBJECT
public:
    explicit StateView(QWidget* content, QWidget* parent = nullptr);

    void showContent();
    void showEmpty(const QString& what, const QString& why, const QString& button = {});
    void showLoading(const QString& what);
    void showError(const Error& error, const QString& button);
    void showCancelled(const QString& what, const QString& button);
    /// Follows a Loadable; `empty` texts are used while nothing was asked for. A value that is still there stays while loading.
    template <class T>
    bool follow(const session::Loadable<T>& loadable, const QString& loading, const QString& emptyWhat, const QString& emptyWhy,
        const QString& emptyButton = {})
    {
        using State = typename session::Loadable<T>::State;
        switch (loadable.state) {
        case State::Ready: showContent(); return true;
        case State::Loading:
            if (loadable.value) {
                showContent();
                return true;
            }
            showLoading(loading);
            return false;
        case State::Failed: showError(loadable.error, tr("Try again")); return false;
        case State::Cancelled: showCancelled(loading, tr("Try again")); return false;
        case State::Empty: break;
        }
        showEmpty(emptyWhat, emptyWhy, emptyButton);
        return false;
    }
    QString message() const; ///< What the state page says; empty when the content shows.

Q_SIGNALS:
    void helpClicked();

private:
    void showPage(const QString& what, const QString& why, const QString& button, bool busy, const char* role);

    QWidget* m_content;
    QWidget* m_page;
    QLabel* m_what;
    QLabel* m_why;
    QProgressBar* m_busy;
    QPushButton* m_button;
};

} // namespace qs::views
