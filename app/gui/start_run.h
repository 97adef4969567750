// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "app/gui/main_window.h"
#include "app/gui/options.h"

namespace qs::app {

/// What the command line asks for beyond opening: selects the layer as soon as the model is there, compares and evaluates once
/// nothing runs any more and, for a screenshot, waits for the end, grabs the window to a PNG and quits with 0, or 1 when
/// something failed.
///
/// Errors   a layer that the model does not have, like whatever fails later, becomes a message of the window.
/// Threads  owner's thread.
class StartRun : public QObject {
    Q_OBJECT
public:
    StartRun(MainWindow& window, Options options, QObject* parent = nullptr);

private:
    void selectLayer();
    void step();
    void takePicture();

    MainWindow& m_window;
    Options m_options;
    bool m_selected = false; ///< The layer was looked for.
    bool m_started = false; ///< Comparison and evaluation were started.
    int m_quietTicks = 0;
    QTimer* m_clock;
};

} // namespace qs::app
