// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <QDir>
#include <QFile>
#include <QImage>
#include <QString>

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace qs::test {

/// Compares a picture with its stored reference: pixels may differ by `tolerance` per channel, and at most `share` of them by
/// more. With QS_UPDATE_SCREENSHOTS=1 the reference is rewritten instead. On failure actual and expected lie in the build
/// folder.
inline QString compareWithReference(
    const QImage& actual, const QString& referenceFile, const QString& failureFolder, int tolerance = 40, double share = 0.02)
{
    if (qEnvironmentVariable("QS_UPDATE_SCREENSHOTS") == QLatin1String("1")) {
        QDir().mkpath(QFileInfo(referenceFile).path());
        return actual.save(referenceFile) ? QString() : QStringLiteral("%1 could not be written").arg(referenceFile);
    }
    const QImage expected(referenceFile);
    QString problem;
    if (expected.isNull()) {
        problem = QStringLiteral("%1 is missing (run with QS_UPDATE_SCREENSHOTS=1)").arg(referenceFile);
    } else if (expected.size() != actual.size()) {
        problem = QStringLiteral("size %1x%2 instead of %3x%4")
                      .arg(actual.width())
                      .arg(actual.height())
                      .arg(expected.width())
                      .arg(expected.height());
    } else {
        qint64 different = 0;
        for (int y = 0; y < actual.height(); ++y) {
            for (int x = 0; x < actual.width(); ++x) {
                const QRgb a = actual.pixel(x, y);
                const QRgb b = expected.pixel(x, y);
                const int worst
                    = std::max({std::abs(qRed(a) - qRed(b)), std::abs(qGreen(a) - qGreen(b)), std::abs(qBlue(a) - qBlue(b))});
                different += worst > tolerance ? 1 : 0;
            }
        }
        const double ratio = static_cast<double>(different) / (static_cast<double>(actual.width()) * actual.height());
        if (ratio > share)
            problem = QStringLiteral("%1 % of the pixels differ by more than %2").arg(ratio * 100, 0, 'f', 2).arg(tolerance);
    }
    if (!problem.isEmpty()) {
        QDir().mkpath(failureFolder);
        const QString name = QFileInfo(referenceFile).completeBaseName();
        actual.save(failureFolder + u'/' + name + QStringLiteral("-actual.png"));
        if (!expected.isNull())
            expected.save(failureFolder + u'/' + name + QStringLiteral("-expected.png"));
        problem += QStringLiteral("; see %1/%2-actual.png").arg(failureFolder, name);
    }
    return problem;
}

} // namespace qs::test
