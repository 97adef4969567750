// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/types.h"

#include <QString>

namespace qs::session {

/// Three significant digits as people read them: "0.0192", "2.31", "134", "12,300", "1.2e-05"; "–" for NaN, "inf".
QString numberText(double value, int digits = 3);
/// A ratio as a percentage: 0.0231 -> "2.31 %".
QString percentText(double ratio);
/// Decimal units: "113 MB", "4.5 GB".
QString bytesText(double bytes);
/// "134.5 M", "1.4 M", "812".
QString countText(double count);
/// "29,184".
QString integerText(Index value);

} // namespace qs::session
