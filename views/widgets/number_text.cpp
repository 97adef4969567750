// SPDX-License-Identifier: GPL-3.0-or-later
#include "views/widgets/number_text.h"

#include "core/session/format_number.h"

#include <cmath>

namespace qs::views {

namespace {

constexpr double kLargest = 1e6; ///< From here on engineering notation.
constexpr double kSmallest = 1e-4;

QString superscript(int number)
{
    static const QString digits = QStringLiteral("⁰¹²³⁴⁵⁶⁷⁸⁹");
    QString text;
    for (const QChar c : QString::number(std::abs(number)))
        text += digits[c.digitValue()];
    return number < 0 ? QStringLiteral("⁻") + text : text;
}

} // namespace

QString powerOfTen(int exponent)
{
    return QStringLiteral("10") + superscript(exponent);
}

QString humanText(double value)
{
    const double size = std::abs(value);
    // 999,500 and more would be written as a million with three digits.
    if (!std::isfinite(value) || size == 0 || (size < kLargest * 0.9995 && size >= kSmallest))
        return session::numberText(value);
    int exponent = static_cast<int>(std::floor(std::log10(size) / 3)) * 3;
    double mantissa = value / std::pow(10.0, exponent);
    if (std::abs(mantissa) >= 999.5) {
        mantissa /= 1000;
        exponent += 3;
    }
    // To three digits before it is written: 0.9996 would keep a fourth.
    const double unit = std::pow(10.0, std::floor(std::log10(std::abs(mantissa))) - 2);
    mantissa = std::round(mantissa / unit) * unit;
    return QStringLiteral("%1 × %2").arg(session::numberText(mantissa), powerOfTen(exponent));
}

} // namespace qs::views
