// SPDX-License-Identifier: Apache-2.0
#include "core/base/atomic_file.h"
#include "core/model/capture.h"
#include "core/stats/dump.h"

#include <QDir>
#include <QTemporaryDir>
#include <QTest>
#include <cmath>
#include <nlohmann/json.hpp>

using namespace qs;
using namespace qs::model;
namespace fs = std::filesystem;

namespace {

const fs::path kSample = QS_SAMPLE_DIR;
const fs::path kText = kSample / "calibration.txt";

nlohmann::json reference()
{
    const auto text = readTextFile(fs::path(QS_GOLDEN_DIR) / "sample" / "activations.json");
    return text ? nlohmann::json::parse(*text) : nlohmann::json();
}

/// Trace, Frobenius norm and u'Gu with the u of tests/golden/gen/sample_reference.py.
struct GramInvariants {
    double trace = 0, frobenius = 0, quadratic = 0;
};

GramInvariants invariants(const MatrixD& gram)
{
    const auto u = [](Index j) { return static_cast<double>((37 * j + 11) % 101) / 50.0 - 1.0; };
    GramInvariants result;
    for (Index r = 0; r < gram.rows(); ++r) {
        result.trace += gram(r, r);
        for (Index c = 0; c < gram.cols(); ++c) {
            result.frobenius += gram(r, c) * gram(r, c);
            result.quadratic += u(r) * gram(r, c) * u(c);
        }
    }
    result.frobenius = std::sqrt(result.frobenius);
    return result;
}

} // namespace

class TestCapture : public QObject {
    Q_OBJECT
private Q_SLOTS:
    void initTestCase()
    {
        const auto opened = openModel(kSample);
        QVERIFY2(opened, opened ? "" : opened.error().line().c_str());
        m_model = *opened;
    }
    void init() { m_dir = std::make_unique<QTemporaryDir>(); }

    void statisticsEqualTheReference() // tests/golden/gen/sample_reference.py
    {
        const auto golden = reference();
        const auto dump = captured({.samples = 1, .seqLen = golden.at("tokens").get<Index>()});
        QVERIFY(dump);
        QCOMPARE(dump->tokenIds()->front()[5], golden.at("first_ids")[5].get<int>());
        for (const auto& [layer, windows] : golden.at("modules").items()) {
            const auto& expected = windows[0];
            const auto stats = dump->stats(layer);
            QVERIFY2(stats, layer.c_str());
            QVERIFY(!(*stats)->hasHoldout());
            const std::vector<double> largest = (*stats)->absMax();
            QCOMPARE(largest.size(), expected.at("sum_x2").size());
            for (std::size_t c = 0; c < largest.size(); ++c) {
                const double sum = expected.at("sum_x2")[c].get<double>(), most = expected.at("max_abs")[c].get<double>();
                QVERIFY2(std::abs((*stats)->fit.channels.sumsq[c] - sum) <= 1e-4 * sum, layer.c_str());
                QVERIFY2(std::abs(largest[c] - most) <= 1e-4 * most, layer.c_str());
                QVERIFY(std::abs((*stats)->fit.gram(static_cast<Index>(c), static_cast<Index>(c)) - sum) <= 1e-4 * sum);
            }
        }
    }

    void partsEqualTheReference_data()
    {
        QTest::addColumn<quint64>("seed");
        QTest::addColumn<int>("heldOut");
        // Part of the format's promise: the same seed holds out the same windows everywhere.
        QTest::newRow("the first window is held out") << quint64{0} << 0;
        QTest::newRow("the second window is held out") << quint64{3} << 1;
    }
    /// Two windows, one in each part, against tests/golden/gen/sample_reference.py. The Frobenius norm and u'Gu see every
    /// element of the Gram beside the diagonal. Sums that may cancel are held against their Cauchy-Schwarz bound.
    void partsEqualTheReference()
    {
        QFETCH(quint64, seed);
        QFETCH(int, heldOut);
        constexpr double kRelative = 1e-5;
        const auto golden = reference();
        const auto length = golden.at("tokens").get<Index>();
        const auto dump = captured({.samples = 2, .seqLen = length, .seed = seed});
        QVERIFY(dump);
        const auto near
            = [](double value, double expected, double size) { return std::abs(value - expected) <= kRelative * size; };
        for (const auto& [layer, windows] : golden.at("modules").items()) {
            const auto stats = dump->stats(layer);
            QVERIFY2(stats, layer.c_str());
            for (const int window : {0, 1}) {
                const stats::InputPart& part = window == heldOut ? (*stats)->holdout : (*stats)->fit;
                const auto& expected = windows[static_cast<std::size_t>(window)];
                const QByteArray where = QByteArray::fromStdString(layer) + ", window " + QByteArray::number(window);
                QCOMPARE(part.count(), length);
                const auto count = static_cast<double>(length);
                for (std::size_t c = 0; c < part.channels.sum.size(); ++c) {
                    const auto value = [&](const char* name) { return expected.at(name).at(c).get<double>(); };
                    const double second = value("sum_x2"), fourth = value("m4");
                    QVERIFY2(near(part.channels.sum[c], value("sum"), std::sqrt(count * second)), where);
                    QVERIFY2(near(part.channels.sumsq[c], second, second), where);
                    QVERIFY2(near(part.channels.m3[c], value("m3"), std::sqrt(second * fourth)), where);
                    // A relative error of x counts twice as much in x^4 as in x^2.
                    QVERIFY2(near(part.channels.m4[c], fourth, 2.0 * fourth), where);
                }
                const auto& gram = expected.at("gram");
                const auto [trace, frobenius, quadratic] = invariants(part.gram);
                for (const auto& [name, value] :
                    {std::pair("trace", trace), {"frobenius", frobenius}, {"quadratic", quadratic}}) {
                    const auto exact = gram.at(name).get<double>();
                    QVERIFY2(near(value, exact, exact), where + ", " + name + ": " + QByteArray::number(value / exact - 1.0));
                }
            }
        }
    }

    void partsOfADump()
    {
        const auto dump
            = captured({.samples = 10, .seqLen = 32, .keepTokens = 40, .gramLayers = "mlp\\.down_proj$", .seed = 3});
        QVERIFY(dump);
        QCOMPARE(dump->info().modelId, m_model->id());
        QCOMPARE(dump->info().tokens, Index{320});
        QCOMPARE(dump->layers().size(), m_model->spec().layers.size());
        QCOMPARE(dump->inputIds().size(), std::size_t{4} * 6);
        std::vector<stats::LayerWidth> widths;
        for (const LayerSpec& layer : m_model->spec().layers)
            widths.push_back({layer.name, layer.in});
        QVERIFY(stats::checkDumpFits(*dump, m_model->id(), widths));
        for (const LayerSpec& layer : m_model->spec().layers) {
            QCOMPARE(dump->inputOf(layer.name), layer.inputId);
            const auto stats = dump->stats(layer.name);
            QVERIFY(stats);
            QCOMPARE((*stats)->fit.count(), Index{9 * 32});
            QCOMPARE((*stats)->holdout.count(), Index{32});
            QCOMPARE((*stats)->sink.count, Index{9 * stats::kSinkPositions});
            QCOMPARE((*stats)->fit.channels.nonFinite, Index{0});
            QCOMPARE((*stats)->fit.hasGram(), layer.module == "mlp.down_proj");
            QCOMPARE((*stats)->holdout.hasGram(), layer.module == "mlp.down_proj");
            QCOMPARE(dump->hasGram(layer.name), layer.module == "mlp.down_proj");
            QCOMPARE(dump->hasRawTokens(layer.name), layer.module == "mlp.down_proj");
            if (layer.module != "mlp.down_proj")
                continue;
            const auto raw = dump->rawTokens(layer.name);
            QVERIFY(raw);
            QCOMPARE(raw->rows(), Index{40});
            QCOMPARE(raw->cols(), layer.in);
        }
        // the Gram is that of the tokens: its trace is the sum of their squares
        const auto down = *dump->stats("model.layers.2.mlp.down_proj");
        for (std::size_t c = 0; c < down->fit.channels.sumsq.size(); ++c)
            QVERIFY(std::abs(down->fit.gram(static_cast<Index>(c), static_cast<Index>(c)) - down->fit.channels.sumsq[c])
                <= 1e-6 * down->fit.channels.sumsq[c] + 1e-12);
    }

    void sizeIsKnownBefore()
    {
        const auto dump = captured({.samples = 10, .seqLen = 64, .keepTokens = 100});
        QVERIFY(dump);
        const double largest = largestDumpBytes(m_model->spec(), 100);
        const double bytes = static_cast<double>(fs::file_size(dump->path()));
        QVERIFY2(bytes <= largest && bytes >= 0.4 * largest, qPrintable(QStringLiteral("%1 of %2").arg(bytes).arg(largest)));
    }

    void holdoutIsSeededAndLosesNothing()
    {
        const std::string layer = "model.layers.1.mlp.gate_proj";
        const CaptureOptions options{.samples = 20, .seqLen = 16, .seed = 1};
        CaptureOptions other = options, all = options;
        other.seed = 2;
        all.holdoutShare = 0.0;
        const auto a = captured(options), again = captured(options), b = captured(other), whole = captured(all);
        QVERIFY(a && again && b && whole);
        const auto sa = *a->stats(layer), sAgain = *again->stats(layer), sb = *b->stats(layer), sWhole = *whole->stats(layer);
        QCOMPARE(sa->holdout.count(), Index{32}); // two of twenty
        QVERIFY(sa->holdout.channels.sum == sAgain->holdout.channels.sum && sa->fit.channels.m4 == sAgain->fit.channels.m4);
        QVERIFY(std::ranges::equal(sa->fit.gram.values(), sAgain->fit.gram.values()));
        QVERIFY(sa->holdout.channels.sum != sb->holdout.channels.sum);
        QVERIFY(!sWhole->hasHoldout());
        stats::InputPart both = sa->fit;
        both.channels.merge(sa->holdout.channels);
        for (std::size_t c = 0; c < both.channels.sum.size(); ++c)
            QVERIFY(std::abs(both.channels.sumsq[c] - sWhole->fit.channels.sumsq[c]) <= 1e-12 * sWhole->fit.channels.sumsq[c]);
        // no extremum is lost either, the first positions of held-out sequences included
        QCOMPARE(sa->holdoutSink.count, Index{2 * stats::kSinkPositions});
        QCOMPARE(sWhole->holdoutSink.count, Index{0});
        stats::ChannelSums extremes = sWhole->fit.channels;
        extremes.merge(sWhole->sink);
        for (const stats::ChannelSums* part : {&sa->sink, &sa->holdoutSink})
            both.channels.merge(*part);
        QVERIFY(both.channels.max == extremes.max && both.channels.min == extremes.min);
        const MatrixD& expected = sWhole->fit.gram;
        for (Index r = 0; r < expected.rows(); ++r)
            for (Index c = 0; c < expected.cols(); ++c) // float32 products, summed in other tiles
                QVERIFY(std::abs(sa->fit.gram(r, c) + sa->holdout.gram(r, c) - expected(r, c))
                    <= 1e-6 * std::sqrt(expected(r, r) * expected(c, c)));
    }

    void refusals_data()
    {
        QTest::addColumn<int>("samples");
        QTest::addColumn<int>("length");
        QTest::addColumn<QString>("pattern");
        QTest::addColumn<QString>("message");
        QTest::newRow("more than the text holds") << 100000 << 512 << ""
                                                  << "windows of 512 tokens, 100000 were asked for";
        QTest::newRow("beyond the context") << 1 << 513 << ""
                                            << "outside 1..512";
        QTest::newRow("pattern") << 1 << 16 << "("
                                 << "is not a valid expression";
        QTest::newRow("pattern of nothing") << 1 << 16 << "no_such_layer"
                                            << "matches no layer";
        QTest::newRow("negative") << -1 << 16 << ""
                                  << "cannot be negative";
    }
    void refusals()
    {
        QFETCH(int, samples);
        QFETCH(int, length);
        QFETCH(QString, pattern);
        QFETCH(QString, message);
        const auto result = capture(m_model, kText, target(),
            {.samples = samples, .seqLen = length, .gramLayers = pattern.toStdString()}, cpuBackend(), {});
        QVERIFY(!result);
        QCOMPARE(result.error().code, Errc::InvalidArgument);
        QVERIFY2(result.error().line().find(message.toStdString()) != std::string::npos, result.error().line().c_str());
        QVERIFY(QDir(m_dir->path()).isEmpty(QDir::Files | QDir::Hidden));
    }

    void shortOrMissingText()
    {
        const fs::path text = m_dir->filePath("text.txt").toStdString();
        QVERIFY(writeTextFile(text, "Too short."));
        const auto tooShort = capture(m_model, text, target(), {}, cpuBackend(), {});
        QVERIFY(!tooShort && tooShort.error().code == Errc::InvalidArgument);
        QCOMPARE(tooShort.error().where, text.string());
        const auto missing = capture(m_model, m_dir->filePath("no.txt").toStdString(), target(), {}, cpuBackend(), {});
        QVERIFY(!missing && missing.error().code == Errc::NotFound);
        const auto silent = openModel(fs::path(QS_GOLDEN_DIR) / "model" / "llama_gqa");
        QVERIFY(silent);
        const auto noTokenizer = capture(*silent, kText, target(), {}, cpuBackend(), {});
        QVERIFY(!noTokenizer && noTokenizer.error().code == Errc::NotFound);
        QVERIFY(!fs::exists(target()));
    }

    void cancelledLeavesNothing()
    {
        std::stop_source stop;
        JobContext job;
        job.stop = stop.get_token();
        double last = 0.0;
        job.onProgress = [&](double fraction, std::string_view text) {
            QVERIFY(fraction >= last && fraction <= 1.0);
            last = fraction;
            if (text.starts_with("block 3"))
                stop.request_stop();
        };
        const auto result = capture(m_model, kText, target(), {.samples = 4, .seqLen = 64}, cpuBackend(), job);
        QVERIFY(!result);
        QCOMPARE(result.error().code, Errc::Cancelled);
        QVERIFY(last > 0.3 && last < 0.7);
        QVERIFY(QDir(m_dir->path()).isEmpty(QDir::Files | QDir::Hidden));
    }

private:
    fs::path target() const { return m_dir->filePath("dump.h5").toStdString(); }

    std::shared_ptr<const stats::CalibrationDump> captured(const CaptureOptions& options)
    {
        const fs::path path = m_dir->filePath(QString("dump%1.h5").arg(m_count++)).toStdString();
        if (const auto done = capture(m_model, kText, path, options, cpuBackend(), {}); !done) {
            qWarning("%s", done.error().line().c_str());
            return nullptr;
        }
        const auto dump = stats::openDump(path, cpuBackend());
        if (!dump)
            qWarning("%s", dump.error().line().c_str());
        return dump ? *dump : nullptr;
    }

    std::shared_ptr<const Model> m_model;
    std::unique_ptr<QTemporaryDir> m_dir;
    int m_count = 0;
};

QTEST_GUILESS_MAIN(TestCapture)
#include "tst_capture.moc"
