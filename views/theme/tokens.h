// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <QColor>

#include <array>

namespace qs::views {

/// Every colour of the window. No other file holds a colour literal (heatmap colour maps are data in resources/colormaps).
struct Tokens {
    QColor background, panel, raised, line, text, dim, accent, onAccent, good, warning, bad;
    std::array<QColor, 8> series; ///< A pipeline keeps its colour in every view; after eight they come again.
    QColor nonFinite; ///< Hatch of NaN and Inf.
};

inline const Tokens kLightTokens{QColor(0xf6f7f9), QColor(0xffffff), QColor(0xf0f2f5), QColor(0xdfe3e8), QColor(0x1d2433),
    QColor(0x667085), QColor(0x2f6feb), QColor(0xffffff), QColor(0x1a7f5a), QColor(0xb7791f), QColor(0xc0392b),
    {QColor(0x2f6feb), QColor(0xd9822b), QColor(0x1a7f5a), QColor(0x8e5bd0), QColor(0x0e8a9c), QColor(0xb83a6b),
        QColor(0x73801a), QColor(0x8a5a3b)},
    QColor(0xd100d1)};

inline const Tokens kDarkTokens{QColor(0x14171d), QColor(0x1b1f27), QColor(0x232833), QColor(0x303746), QColor(0xe6e9ef),
    QColor(0x93a0b4), QColor(0x6ea0ff), QColor(0x14171d), QColor(0x4fc08d), QColor(0xe0a94a), QColor(0xef6f6c),
    {QColor(0x6ea0ff), QColor(0xf0a24e), QColor(0x4fc08d), QColor(0xb794f4), QColor(0x4cc4d6), QColor(0xf08bb0),
        QColor(0xb9c65a), QColor(0xcba07c)},
    QColor(0xff4dff)};

// Sizes in device-independent pixels.
inline constexpr int kBodyPx = 13;
inline constexpr int kSmallPx = 11;
inline constexpr int kTitlePx = 17;
inline constexpr int kHeadlinePx = 20;
inline constexpr int kGrid = 4;
inline constexpr int kCardPadding = 12;
inline constexpr int kCardGap = 10;
inline constexpr int kRadius = 8;
inline constexpr int kRowHeight = 25;

} // namespace qs::views
