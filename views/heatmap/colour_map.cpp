// SPDX-License-Identifier: GPL-3.0-or-later
#include "views/heatmap/colour_map.h"

#include <QColor>
#include <QFile>

#include <algorithm>
#include <cmath>

namespace qs::views {

ColourMap::ColourMap(const char* resource)
{
    QFile file(QString::fromLatin1(resource));
    if (file.open(QIODevice::ReadOnly)) {
        const QList<QByteArray> lines = file.readAll().split('\n');
        for (const QByteArray& line : lines) {
            if (line.size() == 7 && line.startsWith('#'))
                m_table.push_back(QColor(QString::fromLatin1(line)).rgb());
        }
    }
    if (m_table.empty()) // a build without resources still draws: grey levels
        m_table = {qRgb(0, 0, 0), qRgb(255, 255, 255)};
}

const ColourMap& ColourMap::viridis()
{
    static const ColourMap map(":/colormaps/viridis.txt");
    return map;
}

const ColourMap& ColourMap::diverging()
{
    static const ColourMap map(":/colormaps/diverging.txt");
    return map;
}

QRgb ColourMap::at(double t) const
{
    const double last = static_cast<double>(m_table.size() - 1);
    return m_table[static_cast<std::size_t>(std::lround(std::clamp(t, 0.0, 1.0) * last))];
}

} // namespace qs::views
