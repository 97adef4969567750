// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "views/panels/panel.h"

class QToolButton;

namespace qs::views {

/// Name of the current layer and one line that says in words what is wrong with it.
class LayerHeader : public QWidget {
    Q_OBJECT
public:
    explicit LayerHeader(PanelContext context, QWidget* parent = nullptr);
    QString sentence() const { return m_sentence->fullText(); }
    QToolButton* channelButton() const { return m_channel; } ///< "channel 42 ×": selected in every view, a click forgets it.

private:
    void refresh();

    PanelContext m_context;
    ElidedLabel* m_title;
    QToolButton* m_channel;
    ElidedLabel* m_sentence;
};

} // namespace qs::views
