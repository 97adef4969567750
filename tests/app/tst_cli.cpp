// SPDX-License-Identifier: GPL-3.0-or-later
// The command line as scripts use it: the built program, run from another folder, on the bundled sample.
#include <QDir>
#include <QFileInfo>
#include <QJsonArray>
#include <QJsonDocument>
#include <QJsonObject>
#include <QProcess>
#include <QTemporaryDir>
#include <QTest>

#include <cmath>
#include <csignal>

namespace {

const QString kSample = QStringLiteral(QS_SAMPLE_DIR);

struct Run {
    int code = -1;
    QByteArray out, err;
    QJsonObject json() const { return QJsonDocument::fromJson(out).object(); }
};

} // namespace

class TestCli : public QObject {
    Q_OBJECT

private:
    QTemporaryDir m_folder;

    Run run(const QStringList& arguments)
    {
        QProcess process;
        process.setWorkingDirectory(m_folder.path());
        process.start(QStringLiteral(QS_CLI), arguments);
        Run result;
        if (!process.waitForFinished(300000))
            return result;
        result.code = process.exitStatus() == QProcess::NormalExit ? process.exitCode() : -2;
        result.out = process.readAllStandardOutput();
        result.err = process.readAllStandardError();
        return result;
    }
    QString at(const QString& name) const { return m_folder.filePath(name); }

    /// A small dump of the sample, made once.
    QString dump()
    {
        const QString path = at(QStringLiteral("dump.h5"));
        if (!QFileInfo::exists(path)) {
            const Run made = run(
                {QStringLiteral("capture"), kSample, QStringLiteral("--text"), kSample + QStringLiteral("/calibration.txt"),
                    QStringLiteral("--out"), path, QStringLiteral("--samples"), QStringLiteral("10"),
                    QStringLiteral("--seq-len"), QStringLiteral("128"), QStringLiteral("--keep-tokens"), QStringLiteral("64")});
            if (made.code != 0)
                qWarning("%s", made.err.constData());
        }
        return path;
    }

private Q_SLOTS:
    void initTestCase()
    {
        QVERIFY(m_folder.isValid());
        QVERIFY2(QFileInfo::exists(kSample + QStringLiteral("/config.json")), "the sample model is part of the repository");
    }

    void inspectKeepsItsContract()
    {
        const Run result = run({QStringLiteral("inspect"), kSample, QStringLiteral("--json")});
        QCOMPARE(result.code, 0);
        const QJsonObject json = result.json();
        QCOMPARE(json[QStringLiteral("architecture")].toString(), QStringLiteral("LlamaForCausalLM"));
        QCOMPARE(json[QStringLiteral("layers")].toArray().size(), 42);
        const QJsonObject first = json[QStringLiteral("layers")].toArray().first().toObject();
        QCOMPARE(first[QStringLiteral("name")].toString(), QStringLiteral("model.layers.0.self_attn.q_proj"));
        QCOMPARE(first[QStringLiteral("in")].toInt(), 128);
        QCOMPARE(first[QStringLiteral("block")].toInt(-1), 0);
        QVERIFY(!first[QStringLiteral("fusion_group")].toString().isEmpty());
        QVERIFY(json[QStringLiteral("problems")].toArray().isEmpty());
        const QJsonObject tensor = json[QStringLiteral("tensors")].toArray().first().toObject();
        for (const char* key : {"name", "shape", "dtype", "bytes"})
            QVERIFY2(tensor.contains(QLatin1String(key)), key);
        QVERIFY2(result.err.isEmpty(), result.err.constData()); // no progress into a pipe
    }

    void methodsDeclareEverything()
    {
        const Run result = run({QStringLiteral("methods"), QStringLiteral("--json")});
        QCOMPARE(result.code, 0);
        QStringList ids;
        for (const auto value : result.json()[QStringLiteral("methods")].toArray()) {
            const QJsonObject method = value.toObject();
            ids += method[QStringLiteral("id")].toString();
            for (const char* key : {"family", "citation", "fidelity", "needs", "parameters"})
                QVERIFY2(method.contains(QLatin1String(key)), key);
            for (const auto each : method[QStringLiteral("parameters")].toArray())
                for (const char* key : {"name", "type", "default", "min", "max", "choices", "unit", "help"})
                    QVERIFY2(each.toObject().contains(QLatin1String(key)), key);
        }
        for (const char* id : {"rtn", "gptq", "awq", "smoothquant", "magnitude", "wanda", "sparsegpt"})
            QVERIFY2(ids.contains(QLatin1String(id)), id);
    }

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

    void compareGivesLayersOuterPipelinesInner()
    {
        const Run result = run({QStringLiteral("compare"), kSample, QStringLiteral("--dump"), dump(),
            QStringLiteral("--pipeline"), QStringLiteral("rtn(bits=3)"), QStringLiteral("--pipeline"),
            QStringLiteral("gptq(bits=3)"), QStringLiteral("--layers"), QStringLiteral("layers.[01].mlp.down_proj"),
            QStringLiteral("--save-tensors"), at(QStringLiteral("what.safetensors")), QStringLiteral("--json")});
        QVERIFY2(result.code == 0, result.err.constData());
        const QJsonArray results = result.json()[QStringLiteral("results")].toArray();
        QCOMPARE(results.size(), 4);
        QCOMPARE(results[0].toObject()[QStringLiteral("layer")], results[1].toObject()[QStringLiteral("layer")]);
        QCOMPARE(results[1].toObject()[QStringLiteral("pipeline")].toString(), QStringLiteral("gptq(bits=3)"));
        for (int i = 0; i < 4; i += 2) {
            const auto error = [&](int at) {
                return results[at]
                    .toObject()[QStringLiteral("metrics")]
                    .toObject()[QStringLiteral("output_error_fit")]
                    .toDouble();
            };
            QVERIFY(error(i + 1) < error(i)); // GPTQ minimises what is measured here
            QVERIFY(results[i].toObject()[QStringLiteral("holdout")].toBool());
            QCOMPARE(results[i].toObject()[QStringLiteral("bits_layers")].toDouble(), 3.0 + 16.0 / 128.0);
        }
        const Run saved = run({QStringLiteral("inspect"), at(QStringLiteral("what.safetensors")), QStringLiteral("--json")});
        QCOMPARE(saved.code, 0);
        QCOMPARE(saved.json()[QStringLiteral("tensors")].toArray().size(), 4);
    }

    void exportReopensWithTheSimulatedPerplexity()
    {
        const QString out = at(QStringLiteral("w4a16"));
        const QStringList common = {QStringLiteral("--text"), kSample + QStringLiteral("/evaluation.txt"),
            QStringLiteral("--max-tokens"), QStringLiteral("4096"), QStringLiteral("--json")};
        const Run simulated = run(QStringList{QStringLiteral("eval"), kSample, QStringLiteral("--dump"), dump(),
                                      QStringLiteral("--recipe"), QStringLiteral("awq(bits=4)")}
            + common);
        QVERIFY2(simulated.code == 0, simulated.err.constData());
        const Run written = run({QStringLiteral("export"), kSample, QStringLiteral("--dump"), dump(),
            QStringLiteral("--recipe"), QStringLiteral("awq(bits=4)"), QStringLiteral("--format"),
            QStringLiteral("compressed-tensors"), QStringLiteral("--out"), out, QStringLiteral("--json")});
        QVERIFY2(written.code == 0, written.err.constData());
        QVERIFY(written.json()[QStringLiteral("verified")].toBool());
        const Run reopened = run(QStringList{QStringLiteral("eval"), out} + common);
        QVERIFY2(reopened.code == 0, reopened.err.constData());
        const double expected = simulated.json()[QStringLiteral("perplexity")].toDouble();
        const double got = reopened.json()[QStringLiteral("perplexity")].toDouble();
        QVERIFY2(std::abs(got / expected - 1.0) < 1e-4, qPrintable(QStringLiteral("%1 and %2").arg(got).arg(expected)));
        for (const char* key : {"perplexity", "perplexity_se", "nll", "tokens", "protocol", "bits_layers", "bits_file",
                 "bytes_file", "kl_mean", "kl_se", "kl_p99", "top1_agreement", "delta_nll", "delta_nll_se"})
            QVERIFY2(simulated.json().contains(QLatin1String(key)), key);
        const Run valid = run({QStringLiteral("validate"), out, QStringLiteral("--json")});
        QCOMPARE(valid.code, 0);
        QCOMPARE(valid.json()[QStringLiteral("runtimes")]
                     .toObject()[QStringLiteral("vLLM")]
                     .toObject()[QStringLiteral("loads")]
                     .toString(),
            QStringLiteral("yes"));
        // The same place twice: nothing is overwritten.
        const Run again = run({QStringLiteral("export"), kSample, QStringLiteral("--recipe"), QStringLiteral("rtn"),
            QStringLiteral("--format"), QStringLiteral("compressed-tensors"), QStringLiteral("--out"), out});
        QCOMPARE(again.code, 1);
    }

    void mistakesGiveOneLine_data()
    {
        QTest::addColumn<QStringList>("arguments");
        QTest::addColumn<int>("code");
        QTest::addColumn<QString>("mentions");
        const QString text = kSample + QStringLiteral("/evaluation.txt");
        QTest::newRow("no such model") << QStringList{QStringLiteral("inspect"), QStringLiteral("nowhere")} << 1
                                       << QStringLiteral("nowhere");
        QTest::newRow("a text as model") << QStringList{QStringLiteral("inspect"), text} << 1
                                         << QStringLiteral("evaluation.txt");
        QTest::newRow("unknown method") << QStringList{QStringLiteral("compare"), kSample, QStringLiteral("--pipeline"),
            QStringLiteral("gptg")} << 1 << QStringLiteral("gptq");
        QTest::newRow("unknown parameter") << QStringList{QStringLiteral("compare"), kSample, QStringLiteral("--pipeline"),
            QStringLiteral("rtn(bit=4)")} << 1
                                           << QStringLiteral("bits");
        QTest::newRow("out of range") << QStringList{QStringLiteral("compare"), kSample, QStringLiteral("--pipeline"),
            QStringLiteral("rtn(bits=99)")}
                                      << 1 << QStringLiteral("99");
        QTest::newRow("group does not divide")
            << QStringList{QStringLiteral("compare"), kSample, QStringLiteral("--pipeline"), QStringLiteral("rtn(group=100)")}
            << 1 << QStringLiteral("100");
        QTest::newRow("needs calibration") << QStringList{QStringLiteral("compare"), kSample, QStringLiteral("--pipeline"),
            QStringLiteral("gptq")} << 1 << QStringLiteral("--dump");
        QTest::newRow("no layer matches") << QStringList{QStringLiteral("compare"), kSample, QStringLiteral("--pipeline"),
            QStringLiteral("rtn"), QStringLiteral("--layers"), QStringLiteral("nope")}
                                          << 1 << QStringLiteral("nope");
        QTest::newRow("bad pattern") << QStringList{QStringLiteral("compare"), kSample, QStringLiteral("--pipeline"),
            QStringLiteral("rtn"), QStringLiteral("--layers"), QStringLiteral("(")}
                                     << 1 << QStringLiteral("(");
        QTest::newRow("unknown format") << QStringList{QStringLiteral("export"), kSample, QStringLiteral("--recipe"),
            QStringLiteral("rtn"), QStringLiteral("--format"), QStringLiteral("x"), QStringLiteral("--out"),
            QStringLiteral("y")} << 1 << QStringLiteral("compressed-tensors");
        QTest::newRow("activation grid in a weight-only export") << QStringList{QStringLiteral("export"), kSample,
            QStringLiteral("--recipe"), QStringLiteral("- | - | int | nearest | - | act"), QStringLiteral("--format"),
            QStringLiteral("compressed-tensors"), QStringLiteral("--out"), QStringLiteral("y")}
                                                                 << 1 << QStringLiteral("activation");
        QTest::newRow("wrong usage") << QStringList{QStringLiteral("compare"), kSample} << 2 << QStringLiteral("--pipeline");
        QTest::newRow("unknown command") << QStringList{QStringLiteral("compres")} << 2 << QStringLiteral("");
    }
    void mistakesGiveOneLine()
    {
        QFETCH(QStringList, arguments);
        QFETCH(int, code);
        QFETCH(QString, mentions);
        const Run result = run(arguments);
        QCOMPARE(result.code, code);
        if (code == 1) {
            QCOMPARE(result.err.trimmed().count('\n'), 0);
            QVERIFY(result.out.isEmpty());
            const Run json = run(arguments + QStringList{QStringLiteral("--json")});
            QCOMPARE(json.code, 1);
            const QJsonObject error = json.json()[QStringLiteral("error")].toObject();
            for (const char* key : {"code", "message", "where", "hint"})
                QVERIFY2(error.contains(QLatin1String(key)), key);
        }
        QVERIFY2(result.err.contains(mentions.toUtf8()) || result.out.contains(mentions.toUtf8()), result.err.constData());
        QVERIFY(!QFileInfo::exists(at(QStringLiteral("y"))));
    }

    /// The dump that the repository carries belongs to the model beside it and holds what its README says.
    void theBundledDumpFitsTheSample()
    {
        const Run result = run({QStringLiteral("compare"), kSample, QStringLiteral("--dump"),
            kSample + QStringLiteral("/dump.h5"), QStringLiteral("--pipeline"), QStringLiteral("gptq(bits=3)"),
            QStringLiteral("--layers"), QStringLiteral("layers\\.3\\."), QStringLiteral("--json")});
        QVERIFY2(result.code == 0, result.err.constData());
        const QJsonArray results = result.json()[QStringLiteral("results")].toArray();
        QCOMPARE(results.size(), 7);
        for (const auto& value : results) {
            const QJsonObject metrics = value.toObject()[QStringLiteral("metrics")].toObject();
            const double error = metrics[QStringLiteral("output_error")].toDouble();
            QVERIFY2(error > 0.001 && error < 0.1, qPrintable(QString::number(error)));
        }
        qint64 bytes = 0;
        for (const QFileInfo& file : QDir(kSample).entryInfoList(QDir::Files))
            bytes += file.size();
        QVERIFY2(bytes < 6000000, qPrintable(QString::number(bytes)));
    }

    void aFullDiskLeavesNothing()
    {
        if (!QFileInfo::exists(QStringLiteral("/dev/full")))
            QSKIP("no /dev/full on this system");
        QProcess process;
        process.setStandardOutputFile(QStringLiteral("/dev/full"));
        process.start(QStringLiteral(QS_CLI), {QStringLiteral("inspect"), kSample});
        QVERIFY(process.waitForFinished(60000));
        QCOMPARE(process.exitCode(), 1);
        QVERIFY(process.readAllStandardError().contains("cannot be written"));
    }

    void interruptCancelsAndLeavesNothing()
    {
        QProcess process;
        process.setWorkingDirectory(m_folder.path());
        process.start(QStringLiteral(QS_CLI),
            {QStringLiteral("capture"), kSample, QStringLiteral("--text"), kSample + QStringLiteral("/calibration.txt"),
                QStringLiteral("--out"), QStringLiteral("cancelled.h5"), QStringLiteral("--seq-len"), QStringLiteral("512")});
        QVERIFY(process.waitForStarted());
        QTest::qWait(700);
        QCOMPARE(process.state(), QProcess::Running);
        ::kill(static_cast<pid_t>(process.processId()), SIGINT);
        QVERIFY(process.waitForFinished(60000));
        QCOMPARE(process.exitCode(), 130);
        QVERIFY(process.readAllStandardError().contains("cancelled"));
        QVERIFY(QDir(m_folder.path()).entryList({QStringLiteral("cancelled*")}).isEmpty());
    }
};

QTEST_GUILESS_MAIN(TestCli)
#include "tst_cli.moc"
