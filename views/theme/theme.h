// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "views/theme/tokens.h"

#include <QFont>
#include <QObject>
#include <QString>

namespace qs::views {

/// Fonts, palette and the one style sheet of the application.
class Theme : public QObject {
    Q_OBJECT
public:
    static Theme& instance();

    /// Loads the bundled font, sets Fusion, palette and style sheet. Call again to switch.
    void apply(bool dark);
    bool dark() const { return m_dark; }
    const Tokens& tokens() const { return m_dark ? kDarkTokens : kLightTokens; }
    QColor series(std::size_t index) const { return tokens().series[index % tokens().series.size()]; }
    QFont font(int pixels, bool semibold = false) const;
    QFont monospace(int pixels = kBodyPx) const;

Q_SIGNALS:
    void changed(); ///< Charts and heatmaps take their colours again.

private:
    Theme() = default;
    bool m_dark = false;
    bool m_fontsLoaded = false;
};

inline const Tokens& tokens()
{
    return Theme::instance().tokens();
}

} // namespace qs::views
