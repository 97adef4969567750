// SPDX-License-Identifier: GPL-3.0-or-later
// `quantscope-cli analyze` as scripts use it: its JSON, its table and the files of --out.
#include "tests/app/cli_fixture.h"

using qs::test::kSample;
using qs::test::Run;

class TestCliAnalyze : public qs::test::CliTest {
    Q_OBJECT

private Q_SLOTS:
    void analyzeKeepsItsContract()
    {
        const Run result = run({QStringLiteral("analyze"), kSample, QStringLiteral("--dump"), dump(),
            QStringLiteral("--layers"), QStringLiteral("layers.2"), QStringLiteral("--json")});
        QCOMPARE(result.code, 0);
        const QJsonArray layers = result.json()[QStringLiteral("layers")].toArray();
        QCOMPARE(layers.size(), 7);
        for (const auto value : layers) {
            const QJsonObject layer = value.toObject();
            for (const char* key : {"name", "channels", "tokens", "outliers", "hessian", "sensitivity", "qsur"})
                QVERIFY2(layer.contains(QLatin1String(key)), key);
            QCOMPARE(layer[QStringLiteral("tokens")].toInt(), 1280);
            const QJsonObject hessian = layer[QStringLiteral("hessian")].toObject();
            QVERIFY(hessian[QStringLiteral("lambda_max")].toDouble() <= hessian[QStringLiteral("trace")].toDouble());
            const double r = layer[QStringLiteral("qsur")].toObject()[QStringLiteral("r")].toDouble();
            QVERIFY(r >= 0.0 && r <= 1.0);
        }
    }
};

QTEST_GUILESS_MAIN(TestCliAnalyze)
#include "tst_cli_analyze.moc"
