// SPDX-License-Identifier: Apache-2.0
#include "core/session/format_number.h"

#include <QLocale>

#include <array>
#include <cmath>

namespace qs::session {

namespace {

/// Thousands are grouped with commas whatever the user's locale: numbers here are copied into scripts and papers.
const QLocale& numberLocale()
{
    static const QLocale locale(QLocale::English, QLocale::UnitedStates);
    return locale;
}

} // namespace

QString numberText(double value, int digits)
{
    if (std::isnan(value))
        return QStringLiteral("–");
    if (std::isinf(value))
        return value > 0 ? QStringLiteral("inf") : QStringLiteral("-inf");
    if (value == 0)
        return QStringLiteral("0");
    // Of the rounded value: 0.9996 has three digits as 1.00.
    const int magnitude = QString::number(value, 'e', digits - 1).section(u'e', 1).toInt();
    if (magnitude < -4 || magnitude >= 9)
        return QString::number(value, 'e', digits - 1);
    const int decimals = std::max(0, digits - 1 - magnitude);
    QString text = numberLocale().toString(value, 'f', decimals);
    return text;
}

QString percentText(double ratio)
{
    if (!std::isfinite(ratio))
        return numberText(ratio);
    return numberText(ratio * 100) + QStringLiteral(" %");
}

QString bytesText(double bytes)
{
    static constexpr std::array<const char*, 5> kUnits{"B", "kB", "MB", "GB", "TB"};
    std::size_t unit = 0;
    while (bytes >= 1000 && unit + 1 < kUnits.size()) {
        bytes /= 1000;
        ++unit;
    }
    return QStringLiteral("%1 %2").arg(numberText(bytes), QLatin1String(kUnits[unit]));
}

QString countText(double count)
{
    if (count >= 1e9)
        return QStringLiteral("%1 B").arg(count / 1e9, 0, 'f', 2);
    if (count >= 1e6)
        return QStringLiteral("%1 M").arg(count / 1e6, 0, 'f', 1);
    return numberLocale().toString(count, 'f', 0);
}

QString integerText(Index value)
{
    return numberLocale().toString(static_cast<qlonglong>(value));
}

} // namespace qs::session
