// SPDX-License-Identifier: GPL-3.0-or-later
// The command line as scripts use it: the built program, run from another folder, on the bundled sample.
#include "tests/app/cli_fixture.h"

#include <QtEndian>

#include <cmath>
#include <csignal>

using qs::test::kSample;
using qs::test::Run;
using qs::test::writeTokens;

class TestCli : public qs::test::CliTest {
    Q_OBJECT

private:
    /// A recipe file with one rule.
    QString recipeFor(const QString& pattern)
    {
        QFile file(at(QStringLiteral("recipe-") + pattern + QStringLiteral(".json")));
        if (!file.open(QIODevice::WriteOnly))
            return {};
        file.write(QStringLiteral(R"({"schema":1,"kind":"quantscope-recipe","rules":[{"pattern":"%1","pipeline":"rtn"}]})")
                       .arg(pattern)
                       .toUtf8());
        return file.fileName();
    }

    /// The sample with a NaN in one tensor; empty where it could not be made.
    QString sampleWithNan(const QString& name, const QString& tensor)
    {
        const QString folder = at(name);
        bool made = QDir().mkpath(folder);
        for (const char* file : {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"})
            made = made && QFile::copy(kSample + u'/' + QLatin1String(file), folder + u'/' + QLatin1String(file));
        QFile file(folder + QStringLiteral("/model.safetensors"));
        made = made && file.setPermissions(QFile::ReadOwner | QFile::WriteOwner) && file.open(QIODevice::ReadWrite);
        const qint64 header = made ? static_cast<qint64>(qFromLittleEndian<quint64>(file.read(8).constData())) : 0;
        const QJsonObject tensors = QJsonDocument::fromJson(file.read(header)).object();
        const QJsonArray place = tensors[tensor].toObject()[QStringLiteral("data_offsets")].toArray();
        made = made && place.size() == 2 && file.seek(8 + header + place[0].toInteger() + 20)
            && file.write("\xc0\x7f", 2) == 2; // a bfloat16 NaN
        return made ? folder : QString();
    }

private Q_SLOTS:
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
        QCOMPARE(written.json().keys().join(u' '),
            QStringLiteral("bits_file bits_layers bytes bytes_file checkpoint_bytes files findings format layer_bytes out "
                           "verified"));
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
        const QStringList compare{QStringLiteral("compare"), kSample, QStringLiteral("--pipeline")};
        const QStringList capture{QStringLiteral("capture"), kSample, QStringLiteral("--out"), QStringLiteral("y")};
        const QStringList exporting{QStringLiteral("export"), kSample, QStringLiteral("--out"), QStringLiteral("y")};
        const auto row = [](const char* name, const QStringList& arguments, int code, const QString& mentions) {
            QTest::newRow(name) << arguments << code << mentions;
        };
        const auto words = [](const char* line) { return QString::fromUtf8(line).split(QLatin1Char(' ')); };
        row("no such model", words("inspect nowhere"), 1, QStringLiteral("nowhere"));
        row("a text as model", {QStringLiteral("inspect"), text}, 1, QStringLiteral("evaluation.txt"));
        row("no layer matches", compare + words("rtn --layers nope"), 1, QStringLiteral("nope"));
        row("group does not divide", compare + words("rtn(group=100)"), 1, QStringLiteral("100"));
        row("activation grid in a weight-only export",
            exporting + words("--format compressed-tensors --recipe")
                + QStringList{QStringLiteral("- | - | int | nearest | - | act")},
            1, QStringLiteral("activation"));
        row("text that is not there", capture + words("--text nowhere.txt"), 1, QStringLiteral("nowhere.txt"));
        // What is wrong with the command line itself.
        row("unknown method", compare + words("gptg"), 2, QStringLiteral("gptq"));
        row("unknown parameter", compare + words("rtn(bit=4)"), 2, QStringLiteral("bits"));
        row("out of range", compare + words("rtn(bits=99)"), 2, QStringLiteral("99"));
        row("which of two pipelines", compare + words("rtn --pipeline gptq(bits=99)"), 2, QStringLiteral("'gptq(bits=99)'"));
        row("a parameter that is named once", compare + words("sparsegpt(pattern=5:4)"), 2,
            QStringLiteral("'sparsegpt(pattern=5:4)', sparsegpt: pattern"));
        row("the model as target",
            compare + words("rtn --save-tensors") + QStringList{kSample + QStringLiteral("/model.safetensors")}, 1,
            QStringLiteral("is a file of the model's folder: it is not overwritten"));
        row("needs calibration", compare + words("gptq"), 2, QStringLiteral("--dump"));
        row("bad pattern", compare + words("rtn --layers ("), 2, QStringLiteral("--layers"));
        row("unknown format", exporting + words("--recipe rtn --format x"), 2, QStringLiteral("compressed-tensors"));
        row("no pipeline", words("compare") + QStringList{kSample}, 2, QStringLiteral("--pipeline is required"));
        row("no model", words("eval --text x"), 2, QStringLiteral("MODEL is required (see quantscope-cli eval --help)"));
        row("no text", capture, 2, QStringLiteral("--text"));
        row("unknown option", words("inspect x --colour"), 2, QStringLiteral("'--colour' was not expected"));
        row("negative count", capture + words("--text x --samples -3"), 2,
            QStringLiteral("--samples must be a whole number of 1 or more, not '-3'"));
        row("no samples", capture + words("--text x --samples 0"), 2, QStringLiteral("1 or more, not '0'"));
        row("embeddings",
            exporting + words("--format compressed-tensors --recipe") + QStringList{recipeFor(QStringLiteral("embed_tokens"))},
            1, QStringLiteral("not embeddings or lm_head"));
        row("negative seed", words("inspect x --seed -1"), 2, QStringLiteral("--seed must be a whole number"));
        row("no threads", words("inspect x --threads 0"), 2, QStringLiteral("--threads"));
        row("windows beyond the context",
            {QStringLiteral("eval"), kSample, QStringLiteral("--text"), text, QStringLiteral("--seq-len"),
                QStringLiteral("4096")},
            2, QStringLiteral("--seq-len"));
        row("unknown command", words("rank x"), 2, QStringLiteral("no command 'rank' (inspect, capture,"));
        row("help of an unknown command", words("rank --help"), 2, QStringLiteral("no command 'rank'"));
        row("no command", {}, 2, QStringLiteral("inspect"));
        row("an unset variable", compare + words("rtn --dump") + QStringList{QString()}, 2, QStringLiteral("--dump is empty"));
        row("merge and text", capture + words("--merge a.h5 b.h5 --text x"), 2, QStringLiteral("--text"));
        row("merge of one dump with itself", capture + words("--merge a.h5 a.h5"), 2, QStringLiteral("a.h5"));
    }
    void mistakesGiveOneLine()
    {
        QFETCH(QStringList, arguments);
        QFETCH(int, code);
        QFETCH(QString, mentions);
        const Run result = run(arguments);
        QCOMPARE(result.code, code);
        QCOMPARE(result.err.trimmed().count('\n'), 0);
        QVERIFY(result.out.isEmpty());
        QVERIFY2(result.err.contains(mentions.toUtf8()), result.err.constData());
        const Run json = run(arguments + QStringList{QStringLiteral("--json")});
        QCOMPARE(json.code, code);
        const QJsonObject error = json.json()[QStringLiteral("error")].toObject();
        for (const char* key : {"code", "message", "where", "hint"})
            QVERIFY2(error[QLatin1String(key)].isString(), key);
        QVERIFY(!error[QStringLiteral("where")].toString().isEmpty());
        QVERIFY(!QFileInfo::exists(at(QStringLiteral("y"))));
    }

    void jsonMayStandBeforeTheCommand()
    {
        const Run result = run({QStringLiteral("--json"), QStringLiteral("inspect"), kSample});
        QCOMPARE(result.code, 0);
        QVERIFY(result.json().contains(QStringLiteral("layers")));
    }

    void inspectReadsLikeAnOverview()
    {
        const Run result = run({QStringLiteral("inspect"), kSample});
        QCOMPARE(result.code, 0);
        QVERIFY(result.out.contains("no disagreements between config and tensors"));
        QVERIFY(result.out.contains("self_attn.q_proj + self_attn.k_proj + self_attn.v_proj (in 6 blocks)"));
    }

    void evalNamesWhatIsStored()
    {
        const QStringList tail{QStringLiteral("--text"), kSample + QStringLiteral("/evaluation.txt"),
            QStringLiteral("--max-tokens"), QStringLiteral("1024")};
        const Run text
            = run(QStringList{QStringLiteral("eval"), kSample, QStringLiteral("--recipe"), QStringLiteral("rtn")} + tail);
        QVERIFY2(text.code == 0, text.err.constData());
        QVERIFY2(text.out.contains("float (BF16)") && text.out.contains("KL to float"), text.out.constData());
        QVERIFY(text.out.contains("policy float"));
        for (const QByteArray& line : text.out.mid(text.out.indexOf("protocol:")).split('\n'))
            QVERIFY2(QString::fromUtf8(line).size() <= 100, line.constData());

        const QJsonObject json = run(QStringList{QStringLiteral("eval"), kSample, QStringLiteral("--recipe"),
                                         QStringLiteral("rtn(bits=3)"), QStringLiteral("--json")}
            + tail)
                                     .json();
        QCOMPARE(json[QStringLiteral("reference")].toObject()[QStringLiteral("bits_layers")].toDouble(), 16.0);
        const QJsonObject protocol = json[QStringLiteral("protocol")].toObject();
        QCOMPARE(protocol[QStringLiteral("policy")].toString(), QStringLiteral("float"));
        QCOMPARE(protocol[QStringLiteral("seq_len")].toInt(), 512); // a number
        QVERIFY(protocol[QStringLiteral("kl_p99")].toString().startsWith(QStringLiteral("nearest rank")));
        QVERIFY(protocol[QStringLiteral("producer")].toString().startsWith(QStringLiteral("quantscope")));
        QVERIFY(json[QStringLiteral("canonical")].toString().contains(QStringLiteral("bits=3")));

        const QString out = at(QStringLiteral("stored"));
        const Run written = run({QStringLiteral("export"), kSample, QStringLiteral("--recipe"), QStringLiteral("rtn"),
            QStringLiteral("--format"), QStringLiteral("compressed-tensors"), QStringLiteral("--out"), out});
        QVERIFY2(written.code == 0, written.err.constData());
        double onDisk = 0; // of everything that the summary counts
        for (const QFileInfo& file : QDir(out).entryInfoList(QDir::Files))
            onDisk += static_cast<double>(file.size());
        QVERIFY2(
            written.out.contains(QByteArrayLiteral(" files, ") + QByteArray::number(onDisk / 1e6, 'f', 2) + " MB; tensors "),
            written.out.constData());
        const QJsonObject reopened = run(QStringList{QStringLiteral("eval"), out, QStringLiteral("--json")} + tail).json();
        QCOMPARE(reopened[QStringLiteral("bits_layers")].toDouble(), 4.0 + 16.0 / 128.0);
        QVERIFY(reopened[QStringLiteral("bits_file")].toDouble() > 4.0);
        const Run against = run(QStringList{QStringLiteral("eval"), kSample, QStringLiteral("--reference"), out} + tail);
        QVERIFY2(against.code == 0, against.err.constData());
        QVERIFY2(against.out.contains("KL to reference") && against.out.contains("stored, as stored"), against.out.constData());
    }

    void textMustBeUtf8()
    {
        QFile file(at(QStringLiteral("latin1.txt")));
        QVERIFY(file.open(QIODevice::WriteOnly));
        file.write(QByteArray(5000, 'a') + "\xe9t\xe9 " + QByteArray(5000, 'b'));
        file.close();
        for (const char* command : {"capture", "eval"}) {
            QStringList arguments{QLatin1String(command), kSample, QStringLiteral("--text"), file.fileName()};
            if (qstrcmp(command, "capture") == 0)
                arguments += {QStringLiteral("--out"), at(QStringLiteral("latin1.h5"))};
            const Run result = run(arguments);
            QCOMPARE(result.code, 1);
            QVERIFY2(result.err.contains("latin1.txt") && result.err.contains("byte 5000"), result.err.constData());
        }
        QVERIFY(!QFileInfo::exists(at(QStringLiteral("latin1.h5"))));
    }

    void outputsAreCheckedBeforeTheWork_data()
    {
        QTest::addColumn<QString>("out");
        QTest::addColumn<QString>("mentions");
        QTest::newRow("a folder") << QStringLiteral(".") << QStringLiteral("folder");
        QTest::newRow("no such folder") << QStringLiteral("nowhere/x.h5") << QStringLiteral("does not exist");
        QTest::newRow("another kind of file") << QStringLiteral("notes.md") << QStringLiteral("is not a dump");
    }
    void outputsAreCheckedBeforeTheWork()
    {
        QFETCH(QString, out);
        QFETCH(QString, mentions);
        QFile notes(at(QStringLiteral("notes.md")));
        QVERIFY(notes.open(QIODevice::WriteOnly) && notes.write("keep me") == 7);
        notes.close();
        const Run result = run({QStringLiteral("capture"), kSample, QStringLiteral("--text"),
            kSample + QStringLiteral("/calibration.txt"), QStringLiteral("--out"), out});
        QCOMPARE(result.code, 1);
        QVERIFY2(result.err.contains(mentions.toUtf8()) && result.err.contains("--out"), result.err.constData());
        QCOMPARE(notes.size(), 7);
        // Tensors are not written over it either, and a recipe is not.
        if (out == QStringLiteral("notes.md")) {
            QCOMPARE(run({QStringLiteral("compare"), kSample, QStringLiteral("--pipeline"), QStringLiteral("rtn"),
                             QStringLiteral("--save-tensors"), out})
                         .code,
                1);
            QCOMPARE(run({QStringLiteral("export"), kSample, QStringLiteral("--recipe"), QStringLiteral("rtn"),
                             QStringLiteral("--format"), QStringLiteral("quantscope"), QStringLiteral("--out"), out})
                         .code,
                1);
            QCOMPARE(notes.size(), 7);
        }
    }

    void aMethodFileIsAPipelineAndARecipeIsNot()
    {
        const QString method = QStringLiteral(QS_SOURCE_DIR) + QStringLiteral("/plugins/rounding/methods/rtn.json");
        const QStringList layer{QStringLiteral("--layers"), QStringLiteral("layers.0.mlp.up_proj"), QStringLiteral("--json")};
        const Run result = run(QStringList{QStringLiteral("compare"), kSample, QStringLiteral("--pipeline"), method} + layer);
        QVERIFY2(result.code == 0, result.err.constData());
        QCOMPARE(result.json()[QStringLiteral("results")].toArray().size(), 1);
        QFile file(at(QStringLiteral("recipe.json")));
        QVERIFY(file.open(QIODevice::WriteOnly));
        file.write(R"({"schema": 1, "kind": "quantscope-recipe", "rules": [{"pattern": "*", "pipeline": "rtn"}]})");
        file.close();
        const Run refused = run({QStringLiteral("compare"), kSample, QStringLiteral("--pipeline"), file.fileName()});
        QCOMPARE(refused.code, 1);
        QVERIFY2(refused.err.contains("is a recipe") && refused.err.contains("eval or export"), refused.err.constData());
    }

    /// The layer is named with its count, the others are measured all the same, and the exit code tells.
    void nanOutsideTheLayers_data()
    {
        QTest::addColumn<QString>("tensor");
        QTest::newRow("norm") << QStringLiteral("model.layers.2.input_layernorm.weight");
        QTest::newRow("embeddings") << QStringLiteral("model.embed_tokens.weight");
    }
    void nanOutsideTheLayers()
    {
        QFETCH(QString, tensor);
        const QString folder = sampleWithNan(QStringLiteral("nan-") + QLatin1String(QTest::currentDataTag()), tensor);
        QVERIFY(!folder.isEmpty());
        const QString out = at(QStringLiteral("nan-export"));
        const Run written = run({QStringLiteral("export"), folder, QStringLiteral("--recipe"), QStringLiteral("rtn"),
            QStringLiteral("--format"), QStringLiteral("compressed-tensors"), QStringLiteral("--out"), out});
        QCOMPARE(written.code, 1);
        QVERIFY2(written.err.contains(tensor.toUtf8()) && written.err.contains("NaN") && written.err.count('\n') == 1,
            written.err.constData());
        QVERIFY(!QFile::exists(out));
        const Run recipe = run({QStringLiteral("export"), folder, QStringLiteral("--recipe"), QStringLiteral("rtn(bits=4)"),
            QStringLiteral("--format"), QStringLiteral("llm-compressor"), QStringLiteral("--out"),
            at(QStringLiteral("nan-recipe-") + QLatin1String(QTest::currentDataTag()))});
        QVERIFY2(recipe.out.contains("warning: " + tensor.toUtf8()) && recipe.out.contains("NaN"), recipe.out.constData());
        const Run checked = run({QStringLiteral("validate"), folder, QStringLiteral("--json")});
        QCOMPARE(checked.code, 1);
        const QJsonArray findings = checked.json()[QStringLiteral("problems")].toArray();
        QCOMPARE(findings.size(), 1);
        QCOMPARE(findings[0].toObject()[QStringLiteral("where")].toString(), tensor);
    }

    void nanInOneLayer()
    {
        const QString folder = sampleWithNan(QStringLiteral("nan-model"), QStringLiteral("model.layers.2.mlp.up_proj.weight"));
        QVERIFY(!folder.isEmpty());
        const QStringList layers{QStringLiteral("--layers"), QStringLiteral("layers.2.mlp"), QStringLiteral("--json")};
        const Run compared
            = run(QStringList{QStringLiteral("compare"), folder, QStringLiteral("--pipeline"), QStringLiteral("rtn")} + layers);
        QCOMPARE(compared.code, 1);
        QCOMPARE(compared.json()[QStringLiteral("results")].toArray().size(), 2);
        const QJsonArray skipped = compared.json()[QStringLiteral("skipped")].toArray();
        QCOMPARE(skipped.size(), 1);
        QVERIFY(skipped[0].toObject()[QStringLiteral("layer")].toString().endsWith(QStringLiteral("2.mlp.up_proj")));
        QVERIFY(skipped[0].toObject()[QStringLiteral("reason")].toString().contains(QStringLiteral("NaN")));
        const Run only = run({QStringLiteral("compare"), folder, QStringLiteral("--pipeline"), QStringLiteral("rtn"),
            QStringLiteral("--layers"), QStringLiteral("layers.2.mlp.up")});
        QCOMPARE(only.code, 1);
        QVERIFY(only.err.contains("NaN") && only.err.trimmed().count('\n') == 0);
        // The calibration was measured before the model was damaged: its id still fits.
        const Run captured
            = run({QStringLiteral("capture"), folder, QStringLiteral("--text"), kSample + QStringLiteral("/calibration.txt"),
                QStringLiteral("--samples"), QStringLiteral("1"), QStringLiteral("--out"), at(QStringLiteral("nan.h5"))});
        QCOMPARE(captured.code, 1);
        QVERIFY2(captured.err.contains("layers.2.mlp.up_proj") && captured.err.contains("NaN"), captured.err.constData());
        const Run analyzed
            = run(QStringList{QStringLiteral("analyze"), folder, QStringLiteral("--dump"), kSample + QStringLiteral("/dump.h5")}
                + layers);
        QCOMPARE(analyzed.code, 1);
        QCOMPARE(analyzed.json()[QStringLiteral("layers")].toArray().size(), 2);
        QVERIFY(
            analyzed.json()[QStringLiteral("skipped")].toArray()[0].toObject()[QStringLiteral("reason")].toString().contains(
                QStringLiteral("NaN")));
    }

    /// Plain matrices with a dump of one of them, which holds a NaN: the other is skipped and the NaN is told.
    void matricesFromAnywhere()
    {
        const Run saved = run({QStringLiteral("compare"), kSample, QStringLiteral("--pipeline"), QStringLiteral("rtn(bits=8)"),
            QStringLiteral("--layers"), QStringLiteral("layers.0.(self_attn.q|mlp.down)_proj"),
            QStringLiteral("--save-tensors"), at(QStringLiteral("matrices.safetensors"))});
        QVERIFY2(saved.code == 0, saved.err.constData());
        writeTokens(at(QStringLiteral("tokens.h5")), "model.layers.0.self_attn.q_proj:input", 300, 128);
        const QStringList compare{QStringLiteral("compare"), at(QStringLiteral("matrices.safetensors")),
            QStringLiteral("--dump"), at(QStringLiteral("tokens.h5")), QStringLiteral("--pipeline"), QStringLiteral("gptq")};
        const Run text = run(compare);
        QVERIFY2(text.code == 0, text.err.constData());
        QVERIFY2(text.out.contains("skipped model.layers.0.mlp.down_proj"), text.out.constData());
        QVERIFY2(text.out.contains("2 activations of the dump are NaN or Inf"), text.out.constData());
        QVERIFY(text.out.contains("no holdout"));
        const QJsonObject json = run(compare + QStringList{QStringLiteral("--json")}).json();
        QCOMPARE(json[QStringLiteral("results")].toArray().size(), 1);
        QCOMPARE(json[QStringLiteral("skipped")].toArray().size(), 1);
        QCOMPARE(json[QStringLiteral("results")].toArray().first().toObject()[QStringLiteral("non_finite")].toInt(), 2);
        const Run analyzed = run({QStringLiteral("analyze"), at(QStringLiteral("matrices.safetensors")),
            QStringLiteral("--dump"), at(QStringLiteral("tokens.h5"))});
        QVERIFY2(analyzed.out.contains("2 of 38400 activations are NaN or Inf"), analyzed.out.constData());
    }

    /// Few calibration tokens: methods fit them better than the holdout, and the table says so.
    void aWideGapToTheHoldoutIsMarked()
    {
        const QString few = at(QStringLiteral("few.h5"));
        const Run made
            = run({QStringLiteral("capture"), kSample, QStringLiteral("--text"), kSample + QStringLiteral("/calibration.txt"),
                QStringLiteral("--out"), few, QStringLiteral("--samples"), QStringLiteral("2"), QStringLiteral("--seq-len"),
                QStringLiteral("64"), QStringLiteral("--layers"), QStringLiteral("layers.0.mlp.down_proj")});
        QVERIFY2(made.code == 0, made.err.constData());
        const Run text = run({QStringLiteral("compare"), kSample, QStringLiteral("--dump"), few, QStringLiteral("--pipeline"),
            QStringLiteral("gptq(bits=3)"), QStringLiteral("--layers"), QStringLiteral("layers.0.mlp.down_proj")});
        QVERIFY2(text.code == 0, text.err.constData());
        QVERIFY2(text.out.contains("%*") && text.out.contains("* holdout and fit error differ"), text.out.constData());
        const Run analyzed = run({QStringLiteral("analyze"), kSample, QStringLiteral("--dump"), few, QStringLiteral("--layers"),
            QStringLiteral("layers.0.mlp.down_proj")});
        QVERIFY2(analyzed.out.contains("/384*") && analyzed.out.contains("; capture more tokens than channels"),
            analyzed.out.constData());
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
        // Where a figure is missing it is said why.
        const Run compared = run({QStringLiteral("compare"), kSample, QStringLiteral("--dump"),
            kSample + QStringLiteral("/dump.h5"), QStringLiteral("--pipeline"), QStringLiteral("rtn"),
            QStringLiteral("--layers"), QStringLiteral("layers.1.self_attn.k"), QStringLiteral("--json")});
        QVERIFY(compared.json()[QStringLiteral("results")]
                    .toArray()[0]
                    .toObject()[QStringLiteral("output_error_reason")]
                    .toString()
                    .contains(QStringLiteral("no Gram matrix")));
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

    /// A limit on the size of files stands for the full disk: the write fails in the middle in the same way.
    void aDumpThatDoesNotFitLeavesNothing()
    {
        QProcess process;
        process.setWorkingDirectory(m_folder.path());
        process.start(QStringLiteral("/bin/sh"),
            {QStringLiteral("-c"), QStringLiteral("trap '' XFSZ; ulimit -f 400; exec \"$@\""), QStringLiteral("sh"),
                QStringLiteral(QS_CLI), QStringLiteral("capture"), kSample, QStringLiteral("--text"),
                kSample + QStringLiteral("/calibration.txt"), QStringLiteral("--out"), QStringLiteral("limited.h5"),
                QStringLiteral("--samples"), QStringLiteral("2"), QStringLiteral("--seq-len"), QStringLiteral("64")});
        QVERIFY(process.waitForFinished(120000));
        const QByteArray err = process.readAllStandardError();
        QCOMPARE(process.exitStatus(), QProcess::NormalExit);
        QCOMPARE(process.exitCode(), 1);
        QVERIFY2(err.contains("limited.h5: cannot be written: File too large"), err.constData());
        QVERIFY2(!err.contains(".tmp-") && !err.contains("errno"), err.constData());
        QVERIFY(QDir(m_folder.path()).entryList({QStringLiteral("limited*")}).isEmpty());
    }

    void theTourLeavesAReport()
    {
        QProcess process;
        process.setWorkingDirectory(m_folder.path());
        process.start(
            QStringLiteral(QS_SOURCE_DIR) + QStringLiteral("/scripts/headless-tour"), {QStringLiteral(QS_CLI), kSample});
        QVERIFY(process.waitForFinished(300000));
        QVERIFY2(process.exitCode() == 0, process.readAllStandardError().constData());
        const QStringList folders = QDir(m_folder.path()).entryList({QStringLiteral("quantscope-report-*")}, QDir::Dirs);
        QCOMPARE(folders.size(), 1);
        QVERIFY(process.readAllStandardOutput().contains("The report is in " + at(folders.first()).toUtf8()));
        QFile report(at(folders.first() + QStringLiteral("/report.md")));
        QVERIFY(report.open(QIODevice::ReadOnly));
        const QByteArray text = report.readAll();
        for (const char* part : {"gptq 3 bit", "gptq(bits=4,scale_dtype=bfloat16)", "as stored (packed integers)", "vLLM"})
            QVERIFY2(text.contains(part), part);
    }

    void interruptCancelsAndLeavesNothing_data()
    {
        QTest::addColumn<int>("signal");
        QTest::newRow("Ctrl-C") << SIGINT;
        QTest::newRow("kill") << SIGTERM;
        QTest::newRow("terminal closed") << SIGHUP;
    }
    void interruptCancelsAndLeavesNothing()
    {
        QFETCH(int, signal);
        QProcess process;
        process.setWorkingDirectory(m_folder.path());
        process.start(QStringLiteral(QS_CLI),
            {QStringLiteral("capture"), kSample, QStringLiteral("--text"), kSample + QStringLiteral("/calibration.txt"),
                QStringLiteral("--out"), QStringLiteral("cancelled.h5"), QStringLiteral("--seq-len"), QStringLiteral("512")});
        QVERIFY(process.waitForStarted());
        QTest::qWait(700);
        QCOMPARE(process.state(), QProcess::Running);
        ::kill(static_cast<pid_t>(process.processId()), signal);
        QTest::qWait(5);
        ::kill(static_cast<pid_t>(process.processId()), signal); // as `timeout` does: to the process and to its group
        QVERIFY(process.waitForFinished(60000));
        QCOMPARE(process.exitCode(), 130);
        QVERIFY(process.readAllStandardError().contains("cancelled"));
        QVERIFY(QDir(m_folder.path()).entryList({QStringLiteral("cancelled*")}).isEmpty());
    }

    /// A limit on the size of files is told like a full disk.
    void fileSizeLimitLeavesNothing()
    {
        QProcess process;
        process.setWorkingDirectory(m_folder.path());
        process.start(QStringLiteral("bash"),
            {QStringLiteral("-c"), QStringLiteral("ulimit -f 400; exec \"$0\" \"$@\""), QStringLiteral(QS_CLI),
                QStringLiteral("export"), kSample, QStringLiteral("--recipe"), QStringLiteral("rtn"),
                QStringLiteral("--format"), QStringLiteral("compressed-tensors"), QStringLiteral("--out"),
                QStringLiteral("limited")});
        QVERIFY(process.waitForFinished(120000));
        QCOMPARE(process.exitStatus(), QProcess::NormalExit);
        QCOMPARE(process.exitCode(), 1);
        QCOMPARE(process.readAllStandardError().count('\n'), 1);
        QVERIFY(QDir(m_folder.path()).entryList({QStringLiteral("limited*")}).isEmpty());
    }
};

QTEST_GUILESS_MAIN(TestCli)
#include "tst_cli.moc"
