// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <QRgb>

#include <vector>

namespace qs::views {

/// A table of colours from resources/colormaps.
class ColourMap {
public:
    static const ColourMap& viridis();
    static const ColourMap& diverging(); ///< Centre at 0.5.
    /// t in 0..1, clamped.
    QRgb at(double t) const;

private:
    explicit ColourMap(const char* resource);
    std::vector<QRgb> m_table;
};

} // namespace qs::views
