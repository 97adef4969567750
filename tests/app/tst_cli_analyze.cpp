// SPDX-License-Identifier: GPL-3.0-or-later
// `quantscope-cli analyze` as scripts use it: its JSON, its table and the files of --out.
#include "tests/app/cli_fixture.h"

#include <random>

using qs::test::kSample;
using qs::test::Run;
using qs::test::writeDataset;

namespace {

/// Uniform numbers in [-1, 1); the first `dead` channels are 0.
void writeUniform(const QString& path, const char* name, std::size_t tokens, std::size_t channels, std::size_t dead)
{
    std::mt19937 next(7);
    std::vector<float> values(tokens * channels);
    for (std::size_t i = 0; i < values.size(); ++i) {
        const float value = static_cast<float>(next() >> 8) * 0x1p-23F - 1.0F;
        values[i] = i % channels < dead ? 0.0F : value;
    }
    writeDataset(path, name, values, channels);
}

} // namespace

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

    /// Two of 128 channels never fire: C is singular, its live part is not.
    void deadChannelsLeaveNoCondition()
    {
        const QString matrix = at(QStringLiteral("matrix.safetensors")), tokens = at(QStringLiteral("dead.h5"));
        const Run saved = run({QStringLiteral("compare"), kSample, QStringLiteral("--pipeline"), QStringLiteral("rtn(bits=8)"),
            QStringLiteral("--layers"), QStringLiteral("layers.0.self_attn.q_proj"), QStringLiteral("--save-tensors"), matrix});
        QVERIFY2(saved.code == 0, saved.err.constData());
        writeUniform(tokens, "model.layers.0.self_attn.q_proj:input", 600, 128, 2);
        const QStringList analyze{QStringLiteral("analyze"), matrix, QStringLiteral("--dump"), tokens};
        const Run result = run(analyze + QStringList{QStringLiteral("--json")});
        QVERIFY2(result.code == 0, result.err.constData());
        const QJsonObject layer = result.json()[QStringLiteral("layers")].toArray().first().toObject();
        const QJsonObject hessian = layer[QStringLiteral("hessian")].toObject();
        QVERIFY(hessian.contains(QStringLiteral("condition")) && hessian[QStringLiteral("condition")].isNull());
        const double live = hessian[QStringLiteral("condition_live")].toDouble();
        QVERIFY2(live > 1.0 && live < 100.0, qPrintable(QString::number(live)));
        QCOMPARE(hessian[QStringLiteral("rank")].toInt(), 126);
        QCOMPARE(hessian[QStringLiteral("dead_channel_list")].toArray(), (QJsonArray{0, 1}));
        const Run text = run(analyze);
        QVERIFY2(text.out.count("†") == 2 && text.out.contains("† of the live channels"), text.out.constData());

        // The covariance is singular as well: its subspace is read, with its rank, in place of 0 and infinity.
        const QJsonObject qsur = layer[QStringLiteral("qsur")].toObject();
        QVERIFY(qsur[QStringLiteral("deficient")].toBool() && qsur[QStringLiteral("r")].toDouble(1) == 0.0);
        const double subspace = qsur[QStringLiteral("r_subspace")].toDouble();
        QVERIFY(subspace > 0.5 && subspace < 1.0); // uniform channels fill the box of their 126 dimensions well
        const QByteArray reading = ' ' + QByteArray::number(subspace, 'f', 3) + " in 126/128*  ";
        const QByteArray lost = ' ' + QByteArray::number(-std::log2(subspace), 'f', 3) + "*\n";
        QVERIFY2(text.out.contains(reading) && text.out.contains(lost), text.out.constData());
        QVERIFY2(text.out.count("\n* singular covariance") == 1 && !text.out.contains("inf"), text.out.constData());
        QVERIFY(!text.out.contains("capture more tokens than channels")); // there are enough
    }
};

QTEST_GUILESS_MAIN(TestCliAnalyze)
#include "tst_cli_analyze.moc"
