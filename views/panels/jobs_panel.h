// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "views/panels/panel.h"

#include <QTimer>

#include <map>

class QListView;
class QProgressBar;
class QToolButton;

namespace qs::views {

/// Running jobs with progress, time left and cancel; finished ones leave, failures go to the messages below.
class JobsPanel : public QWidget {
    Q_OBJECT
public:
    explicit JobsPanel(PanelContext context, QWidget* parent = nullptr);
    QToolButton* cancelButton(session::JobId id) const;
    QString remaining(session::JobId id) const; ///< "63 %  ·  41 s left", as shown.
    QListView* messages() const { return m_messages; }

private:
    struct Row {
        QWidget* widget;
        ElidedLabel* text; ///< What runs and where it is; elided.
        QLabel* left; ///< Share done and time left; never elided.
        QProgressBar* bar;
        QToolButton* cancel;
    };
    void refresh(session::JobId id);
    void add(session::JobId id);
    void remove(session::JobId id);

    PanelContext m_context;
    QVBoxLayout* m_list;
    QLabel* m_none;
    std::map<session::JobId, Row> m_rows;
    QListView* m_messages;
    QTimer m_clock; ///< Remaining times go on between reports.
};

} // namespace qs::views
