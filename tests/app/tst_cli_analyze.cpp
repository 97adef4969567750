// SPDX-License-Identifier: GPL-3.0-or-later
// `quantscope-cli analyze` as scripts use it: its JSON, its table and the files of --out.
#include "tests/app/cli_fixture.h"

#include <QSet>
#include <QtEndian>

#include <algorithm>
#include <random>

using qs::test::kSample;
using qs::test::Run;
using qs::test::writeDataset;

namespace {

/// A dataset of a dump's part, flat.
std::vector<double> readDataset(const QString& path, const QString& name)
{
    const hid_t file = H5Fopen(path.toUtf8().constData(), H5F_ACC_RDONLY, H5P_DEFAULT);
    const hid_t set = H5Dopen2(file, name.toUtf8().constData(), H5P_DEFAULT);
    const hid_t space = H5Dget_space(set);
    std::vector<double> values(static_cast<std::size_t>(std::max<hssize_t>(0, H5Sget_simple_extent_npoints(space))));
    if (H5Dread(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()) < 0)
        values.clear();
    H5Sclose(space);
    H5Dclose(set);
    H5Fclose(file);
    return values;
}

std::vector<double> numbersOf(const QJsonValue& array)
{
    std::vector<double> values;
    for (const auto& value : array.toArray())
        values.push_back(value.isDouble() ? value.toDouble() : std::numeric_limits<double>::quiet_NaN());
    return values;
}

QJsonObject readObject(const QString& path)
{
    QFile file(path);
    return file.open(QIODevice::ReadOnly) ? QJsonDocument::fromJson(file.readAll()).object() : QJsonObject();
}

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
            QVERIFY(!layer.contains(QStringLiteral("channel_stats")) && !hessian.contains(QStringLiteral("diagonal")));
        }
    }

    /// The arrays of --vectors and of the files are the dump's sums over fit and holdout, with all digits.
    void analyzeGivesVectors()
    {
        const QString name = QStringLiteral("model.layers.2.self_attn.o_proj"); // alone on its input
        const QString out = at(QStringLiteral("analysis"));
        const Run result = run({QStringLiteral("analyze"), kSample, QStringLiteral("--dump"), dump(),
            QStringLiteral("--layers"), QStringLiteral("layers.2.self_attn"), QStringLiteral("--out"), out,
            QStringLiteral("--vectors"), QStringLiteral("--json")});
        QVERIFY2(result.code == 0, result.err.constData());
        const QJsonArray layers = result.json()[QStringLiteral("layers")].toArray();
        QCOMPARE(layers.size(), 4);
        const QJsonObject layer = layers[3].toObject();
        QCOMPARE(layer[QStringLiteral("name")].toString(), name);
        const auto whole = [&](const char* field) {
            const QString part = QStringLiteral("/stats/") + name + QStringLiteral("/%1/") + QLatin1String(field);
            std::vector<double> sum = readDataset(dump(), part.arg(QStringLiteral("fit")));
            const std::vector<double> held = readDataset(dump(), part.arg(QStringLiteral("holdout")));
            for (std::size_t i = 0; i < std::min(sum.size(), held.size()); ++i)
                sum[i] += held[i];
            return sum;
        };
        const double tokens = whole("count").at(0);
        QCOMPARE(tokens, 1280.0);
        const std::vector<double> gram = whole("gram"), sum = whole("sum"), sumabs = whole("sumabs"), sumsq = whole("sumsq");
        QCOMPARE(gram.size(), std::size_t{128 * 128});
        const QJsonObject channels = layer[QStringLiteral("channel_stats")].toObject();
        for (const char* key : {"abs_max", "abs_max_no_sinks", "min", "max", "mean", "mean_abs", "rms", "std", "kurtosis"})
            QVERIFY2(channels[QLatin1String(key)].toArray().size() == 128, key);
        const auto near = [](double a, double b) { return std::abs(a - b) <= 1e-14 * std::max(1.0, std::abs(b)); };
        const auto mean = numbersOf(channels[QStringLiteral("mean")]),
                   meanAbs = numbersOf(channels[QStringLiteral("mean_abs")]);
        const auto rms = numbersOf(channels[QStringLiteral("rms")]), absMax = numbersOf(channels[QStringLiteral("abs_max")]);
        const auto lowest = numbersOf(channels[QStringLiteral("min")]), highest = numbersOf(channels[QStringLiteral("max")]);
        const QJsonObject hessian = layer[QStringLiteral("hessian")].toObject();
        const auto diagonal = numbersOf(hessian[QStringLiteral("diagonal")]);
        QCOMPARE(diagonal.size(), std::size_t{128});
        for (std::size_t j = 0; j < 128; ++j) {
            QVERIFY(near(mean[j], sum[j] / tokens) && near(meanAbs[j], sumabs[j] / tokens));
            QVERIFY(near(rms[j], std::sqrt(sumsq[j] / tokens)));
            QVERIFY(near(diagonal[j], gram[129 * j] / tokens));
            QVERIFY(absMax[j] == std::max(-lowest[j], highest[j]));
        }
        const auto eigenvalues = numbersOf(hessian[QStringLiteral("eigenvalues")]);
        QCOMPARE(eigenvalues.size(), std::size_t{128});
        QVERIFY(std::is_sorted(eigenvalues.rbegin(), eigenvalues.rend()));
        QCOMPARE(eigenvalues.front(), hessian[QStringLiteral("lambda_max")].toDouble());
        double squares = 0, frobenius = 0; // sum lambda^2 = |C|_F^2, off the diagonal too
        for (const double value : eigenvalues)
            squares += value * value;
        for (std::size_t r = 0; r < 128; ++r) // the dump stores the lower triangle
            for (std::size_t c = 0; c <= r; ++c)
                frobenius += (r == c ? 1.0 : 2.0) * std::pow(gram[128 * r + c] / tokens, 2);
        QVERIFY2(std::abs(squares / frobenius - 1.0) < 1e-10, qPrintable(QString::number(squares / frobenius - 1.0)));

        const Run withoutJson
            = run({QStringLiteral("analyze"), kSample, QStringLiteral("--dump"), dump(), QStringLiteral("--vectors")});
        QCOMPARE(withoutJson.code, 2);
        QVERIFY2(withoutJson.err.contains("--vectors") && withoutJson.err.contains("--json"), withoutJson.err.constData());

        // The files hold the same: an entry of its own for every layer, and the table of its channels.
        const QJsonObject files = layer[QStringLiteral("files")].toObject();
        QCOMPARE(files[QStringLiteral("vectors")].toString(), name + QStringLiteral(".json"));
        const QJsonObject file = readObject(out + u'/' + files[QStringLiteral("vectors")].toString());
        for (const char* key : {"name", "channel_stats", "hessian", "qsur", "holdout"})
            QVERIFY2(file[QLatin1String(key)] == layer[QLatin1String(key)], key);
        QCOMPARE(file[QStringLiteral("dump")], result.json()[QStringLiteral("dump")]);
        QCOMPARE(readObject(out + QStringLiteral("/layers.json")), result.json());
        QFile csv(out + u'/' + files[QStringLiteral("channels")].toString());
        QVERIFY(csv.open(QIODevice::ReadOnly));
        const QList<QByteArray> lines = csv.readAll().trimmed().split('\n');
        QCOMPARE(lines.size(), 129);
        const qsizetype column = lines.first().split(',').indexOf("hessian_diagonal");
        for (qsizetype j = 0; j < 128; ++j) {
            const QList<QByteArray> fields = lines[j + 1].split(',');
            QCOMPARE(fields[0].toInt(), static_cast<int>(j));
            QVERIFY(fields[1].toDouble() == absMax[static_cast<std::size_t>(j)]);
            QVERIFY(fields.at(column).toDouble() == diagonal[static_cast<std::size_t>(j)]);
        }
        QCOMPARE(QDir(out).entryList(QDir::Files).size(), 2 + 2 * 4);

        // Again into the same place: an analysis may be replaced, a file of somebody else's is not, and then nothing is.
        const QStringList again{QStringLiteral("analyze"), kSample, QStringLiteral("--dump"), dump(), QStringLiteral("--out"),
            out, QStringLiteral("--layers")};
        QCOMPARE(run(again + QStringList{QStringLiteral("layers.2.self_attn.o")}).code, 0);
        const QString foreign = out + QStringLiteral("/model.layers.1.self_attn.o_proj.json");
        QVERIFY(QFile::copy(kSample + QStringLiteral("/config.json"), foreign));
        const Run refused = run(again + QStringList{QStringLiteral("layers.[12].self_attn.o")});
        QCOMPARE(refused.code, 1);
        QVERIFY2(refused.err.contains("o_proj.json") && refused.err.contains("it is not overwritten"), refused.err.constData());
        QCOMPARE(readObject(foreign), readObject(kSample + QStringLiteral("/config.json")));
        QCOMPARE(readObject(out + QStringLiteral("/layers.json"))[QStringLiteral("layers")].toArray().size(), 1);
    }

    /// Layers of foreign files may be called anything: their files stay in the folder, apart from each other and from layers.*.
    void layersWithOddNamesGetSafeFiles()
    {
        const QStringList names{QStringLiteral("../up"), QStringLiteral("a/b"), QStringLiteral("a_b"), QStringLiteral("A_B"),
            QStringLiteral("layers"), QStringLiteral("x,\"y\"")};
        const std::vector<float> weights = {-3, -2, -1, 0, 1, 2, 3, -3, -2, -1, 0, 1, 2, 3, -3, -2};
        const auto bytes = static_cast<qint64>(weights.size() * sizeof(float));
        QJsonObject tensors;
        for (qsizetype i = 0; i < names.size(); ++i)
            tensors[names[i] + QStringLiteral(".weight")]
                = QJsonObject{{QStringLiteral("dtype"), QStringLiteral("F32")}, {QStringLiteral("shape"), QJsonArray{2, 8}},
                    {QStringLiteral("data_offsets"), QJsonArray{i * bytes, (i + 1) * bytes}}};
        const QByteArray header = QJsonDocument(tensors).toJson(QJsonDocument::Compact);
        QFile file(at(QStringLiteral("odd.safetensors")));
        QVERIFY(file.open(QIODevice::WriteOnly));
        const quint64 size = qToLittleEndian(static_cast<quint64>(header.size()));
        file.write(reinterpret_cast<const char*>(&size), sizeof size);
        file.write(header);
        for (qsizetype i = 0; i < names.size(); ++i)
            file.write(reinterpret_cast<const char*>(weights.data()), bytes);
        file.close();
        const QString tokens = at(QStringLiteral("odd.h5")), out = at(QStringLiteral("odd/analysis"));
        writeUniform(tokens, "a_b:input", 40, 8, 0);
        {
            const hid_t dump = H5Fopen(tokens.toUtf8().constData(), H5F_ACC_RDWR, H5P_DEFAULT);
            const hid_t create = H5Pcreate(H5P_LINK_CREATE);
            H5Pset_create_intermediate_group(create, 1);
            for (const char* link : {"A_B:input", "layers:input", "x,\"y\":input", "a/b:input"})
                QVERIFY(H5Ocopy(dump, "a_b:input", dump, link, H5P_DEFAULT, create) >= 0);
            H5Pclose(create);
            H5Fclose(dump);
        }
        const Run result = run({QStringLiteral("analyze"), file.fileName(), QStringLiteral("--dump"), tokens,
            QStringLiteral("--out"), out, QStringLiteral("--json")});
        QVERIFY2(result.code == 0, result.err.constData());
        const QJsonArray layers = result.json()[QStringLiteral("layers")].toArray();
        QVERIFY2(layers.size() >= 4, qPrintable(QString::number(layers.size())));
        QSet<QString> seen;
        for (const auto& value : layers) {
            const QString vectors = value[QStringLiteral("files")][QStringLiteral("vectors")].toString();
            QVERIFY2(!vectors.contains(u'/') && !vectors.startsWith(u'.'), qPrintable(vectors));
            seen.insert(vectors.toLower());
            QCOMPARE(readObject(out + u'/' + vectors)[QStringLiteral("name")], value[QStringLiteral("name")]);
        }
        QCOMPARE(seen.size(), layers.size());
        QCOMPARE(QDir(out).entryList(QDir::Files | QDir::Hidden).size(), 2 + 2 * layers.size());
        QCOMPARE(readObject(out + QStringLiteral("/layers.json"))[QStringLiteral("layers")].toArray().size(), layers.size());
        QFile csv(out + QStringLiteral("/layers.csv"));
        QVERIFY(csv.open(QIODevice::ReadOnly));
        QVERIFY(csv.readAll().contains("\n\"x,\"\"y\"\"\",8,40,"));
        QCOMPARE(QDir(at(QStringLiteral("odd"))).entryList(QDir::AllEntries | QDir::NoDotAndDotDot).size(), 1);
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

    void foreignCheckpointsAreKept()
    {
        const QString file = at(QStringLiteral("other.safetensors"));
        QVERIFY(QFile::copy(kSample + QStringLiteral("/model.safetensors"), file));
        QFile(file).setPermissions(QFile::ReadOwner | QFile::WriteOwner);
        const auto size = QFileInfo(file).size();
        const QStringList save{QStringLiteral("compare"), kSample, QStringLiteral("--pipeline"), QStringLiteral("rtn"),
            QStringLiteral("--layers"), QStringLiteral("3.mlp.up"), QStringLiteral("--save-tensors")};
        const Run refused = run(save + QStringList{file});
        QCOMPARE(refused.code, 1);
        QVERIFY2(refused.err.contains("is not a file of an earlier --save-tensors"), refused.err.constData());
        QCOMPARE(QFileInfo(file).size(), size);
        const QString own = at(QStringLiteral("own.safetensors"));
        for (int i = 0; i < 2; ++i)
            QCOMPARE(run(save + QStringList{own}).code, 0);
    }

    void equalFindingsAreOneLine()
    {
        const QString folder = at(QStringLiteral("wrong-size"));
        QVERIFY(QDir().mkpath(folder));
        QFile config(kSample + QStringLiteral("/config.json"));
        QVERIFY(config.open(QIODevice::ReadOnly));
        QJsonObject object = QJsonDocument::fromJson(config.readAll()).object();
        object[QStringLiteral("hidden_size")] = 2 * object[QStringLiteral("hidden_size")].toInt();
        QFile wrong(folder + QStringLiteral("/config.json"));
        QVERIFY(wrong.open(QIODevice::WriteOnly));
        wrong.write(QJsonDocument(object).toJson());
        wrong.close();
        QVERIFY(QFile::link(kSample + QStringLiteral("/model.safetensors"), folder + QStringLiteral("/model.safetensors")));
        const Run text = run({QStringLiteral("inspect"), folder});
        const Run json = run({QStringLiteral("inspect"), folder, QStringLiteral("--json")});
        const auto problems = json.json()[QStringLiteral("problems")].toArray().size();
        QVERIFY2(problems > 40, "one for each tensor");
        const auto lines = text.out.count("\nerror: ");
        QVERIFY2(lines > 0 && lines <= 8, text.out.constData());
        QVERIFY2(text.out.contains("model.layers.0.self_attn.q_proj.weight and "), text.out.constData());
        const Run tokens = run({QStringLiteral("validate"), folder, QStringLiteral("--json")}); // neither has it a tokenizer
        QVERIFY2(tokens.out.contains("there is no tokenizer"), tokens.out.constData());
    }
};

QTEST_GUILESS_MAIN(TestCliAnalyze)
#include "tst_cli_analyze.moc"
