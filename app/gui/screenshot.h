// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "app/gui/main_window.h"
#include "app/gui/options.h"

namespace qs::app {

/// Waits until the window is idle, does what the options ask for, grabs the window to a PNG and quits with 0, or 1 when
/// something failed.
class ScreenshotRun : public QObject {
    Q_OBJECT
public:
    ScreenshotRun(MainWindow& window, Options options, QObject* parent = nullptr);

private:
    void step();

    MainWindow& m_window;
    Options m_options;
    int m_stage = 0;
    int m_quietTicks = 0;
};

} // namespace qs::app
