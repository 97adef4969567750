// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <QString>

namespace qs::views {

/// Three significant digits as people say them: "0.0192", "160", "12,300"; from a million up and below 1e-4 in engineering
/// notation, "1.60 × 10⁶", "45.0 × 10⁻⁶". "–" for NaN.
QString humanText(double value);
QString powerOfTen(int exponent); ///< "10⁻⁵".

} // namespace qs::views
