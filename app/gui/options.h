// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <QSize>
#include <QString>
#include <QStringList>

#include <optional>

namespace qs::app {

/// Command line of the window.
struct Options {
    QString model;
    QString dump;
    QString sessionFile;
    std::optional<bool> dark; ///< Nothing: as it was last time.
    QString screenshot; ///< Write this PNG when everything is idle, then quit.
    QString view; ///< View to open and raise: Channels, Distribution, Hessian, QSUR, Compare.
    QString layer; ///< Layer to select when the model is open.
    QString calibrate; ///< Run a quick calibration on this text after opening.
    bool compareAll = false; ///< Compare on all layers when nothing runs any more.
    QString evaluate; ///< Evaluate on this text then.
    int maxTokens = 8192;
    std::optional<QSize> size; ///< Nothing: as it was last time, at most the screen.
};

/// Parses arguments; on wrong usage `error` gets one line and nothing is returned. Prints help or version itself and sets
/// `exit`.
std::optional<Options> parseOptions(const QStringList& arguments, QString* error, bool* exit);

} // namespace qs::app
