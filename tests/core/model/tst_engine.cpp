// SPDX-License-Identifier: Apache-2.0
#include "tests/core/model/golden_model.h"

#include <QTest>
#include <cstdlib>
#include <cstring>
#include <map>

using namespace qs;
using namespace qs::model;

namespace {

/// Sums of every layer input, to be compared with those of hooks in the reference.
class SumObserver final : public InputObserver {
public:
    bool wants(const std::string& inputId) const override { return inputId != skipped; }
    Expected<void> observe(const std::string& inputId, Index window, MatrixView x) override
    {
        order.push_back(window);
        auto& [sum, sumsq] = sums[inputId];
        sum.resize(static_cast<std::size_t>(x.cols()));
        sumsq.resize(sum.size());
        for (Index t = 0; t < x.rows(); ++t)
            for (std::size_t c = 0; c < sum.size(); ++c) {
                sum[c] += static_cast<double>(x.row(t)[c]);
                sumsq[c] += static_cast<double>(x.row(t)[c]) * static_cast<double>(x.row(t)[c]);
            }
        return {};
    }
    Expected<void> blockDone(int block, const JobContext&) override
    {
        blocks.push_back(block);
        return {};
    }
    std::map<std::string, std::pair<std::vector<double>, std::vector<double>>> sums;
    std::vector<Index> order;
    std::vector<int> blocks;
    std::string skipped;
};

/// Replaces one layer.
class OneReplaced final : public Replacements {
public:
    OneReplaced(LayerIndex which, std::function<LayerReplacement(MatrixView)> make)
        : m_which(which)
        , m_make(std::move(make))
    {
    }
    Expected<std::optional<LayerReplacement>> layer(LayerIndex index, MatrixView original, const JobContext&) const override
    {
        if (index != m_which)
            return std::nullopt;
        return m_make(original);
    }

private:
    LayerIndex m_which;
    std::function<LayerReplacement(MatrixView)> m_make;
};

} // namespace

class TestEngine : public QObject {
    Q_OBJECT
private Q_SLOTS:
    void logitsEqualTheReference_data()
    {
        QTest::addColumn<QString>("model");
        QTest::addColumn<QString>("golden");
        for (const char* name : {"llama_gqa", "llama_bias", "llama_yarn", "mistral_window", "qwen2_bias"})
            QTest::newRow(name) << name << name;
        QTest::newRow("llama_gguf") << "llama_gguf/model.gguf"
                                    << "llama_gqa";
    }
    void logitsEqualTheReference()
    {
        QFETCH(QString, model);
        QFETCH(QString, golden);
        const auto opened = openModel(test::goldenModel(model.toStdString()));
        QVERIFY2(opened, opened ? "" : opened.error().line().c_str());
        for (const Problem& problem : (*opened)->spec().problems)
            QVERIFY2(problem.severity == "info", (problem.where + ": " + problem.message).c_str());
        const auto reference = test::readGolden(test::goldenModel(golden.toStdString()) / "logits.json");
        QVERIFY(reference);
        const auto logits = test::logitsOf(*opened, reference->windows);
        QVERIFY2(logits, logits ? "" : logits.error().line().c_str());
        QCOMPARE(static_cast<std::size_t>(logits->size()), reference->logits.size());
        const double error = test::relativeError(logits->values(), reference->logits);
        qInfo("relative error %.2e", error);
        QVERIFY2(error < 5e-6, qPrintable(QString::number(error))); // the contract is 1e-3; float32 gives about 1e-6
    }

    void observersSeeTheInputsOfTheReference()
    {
        const auto model = openModel(test::goldenModel("llama_gqa"));
        QVERIFY(model);
        const auto golden = test::readGolden(test::goldenModel("llama_gqa") / "logits.json");
        QVERIFY(golden);
        SumObserver observer;
        observer.skipped = "model.layers.1.mlp.gate_proj";
        QVERIFY(test::logitsOf(*model, golden->windows, nullptr, &observer));
        QCOMPARE(observer.blocks, (std::vector<int>{0, 1}));
        QCOMPARE(observer.sums.size(), std::size_t{7}); // four inputs a block, one of them unwanted
        for (const LayerSpec& layer : (*model)->spec().layers) {
            if (layer.inputId == observer.skipped)
                continue;
            const auto& expected = golden->root.at("inputs").at(layer.name);
            const auto& [sum, sumsq] = observer.sums.at(layer.inputId);
            for (std::size_t c = 0; c < sum.size(); ++c) {
                QVERIFY2(std::abs(sum[c] - expected.at("sum")[c].get<double>()) < 1e-4, layer.name.c_str());
                const double square = expected.at("sumsq")[c].get<double>();
                QVERIFY2(std::abs(sumsq[c] - square) <= 1e-5 * square, layer.name.c_str());
            }
        }
        for (std::size_t i = 0; i + 1 < observer.order.size(); i += 2)
            QVERIFY(observer.order[i] == 0 && observer.order[i + 1] == 1);
    }

    void replacementsAreUsed()
    {
        const auto model = openModel(test::goldenModel("qwen2_bias"));
        const auto golden = test::readGolden(test::goldenModel("qwen2_bias") / "logits.json");
        QVERIFY(model && golden);
        const auto plain = test::logitsOf(*model, golden->windows);
        const LayerIndex down = (*model)->spec().find("model.layers.1.mlp.down_proj");
        QVERIFY(down >= 0);
        const OneReplaced same(down, [](MatrixView w) { return LayerReplacement{RowMatrix(w), {}}; });
        const OneReplaced doubled(down, [](MatrixView w) {
            RowMatrix twice(w);
            for (float& value : twice.values())
                value *= 2.0F;
            return LayerReplacement{std::move(twice), {}};
        });
        const OneReplaced doubledInput(down, [](MatrixView) {
            return LayerReplacement{{}, [](MutMatrixView x, Index) {
                                        for (Index t = 0; t < x.rows(); ++t)
                                            for (float& value : x.row(t))
                                                value *= 2.0F;
                                    }};
        });
        const auto a = test::logitsOf(*model, golden->windows, &same);
        const auto b = test::logitsOf(*model, golden->windows, &doubled);
        const auto c = test::logitsOf(*model, golden->windows, &doubledInput);
        QVERIFY(plain && a && b && c);
        QVERIFY(std::ranges::equal(plain->values(), a->values()));
        QVERIFY(!std::ranges::equal(plain->values(), b->values()));
        QVERIFY(std::ranges::equal(b->values(), c->values())); // times two is exact on either side

        const OneReplaced wrong(down, [](MatrixView) { return LayerReplacement{RowMatrix(3, 3), {}}; });
        const auto refused = test::logitsOf(*model, golden->windows, &wrong);
        QVERIFY(!refused);
        QCOMPARE(refused.error().code, Errc::Mismatch);
        QCOMPARE(refused.error().where, std::string("model.layers.1.mlp.down_proj"));
    }

    void refusesWhatCannotRun()
    {
        const auto model = openModel(test::goldenModel("llama_gqa"));
        QVERIFY(model);
        const Engine engine(*model, cpuBackend());
        Windows windows{4, {{1, 2, 3, 64}}};
        const auto outside = engine.run(windows, nullptr, nullptr, {});
        QVERIFY(!outside);
        QCOMPARE(outside.error().code, Errc::Mismatch);
        windows.ids = {{1, 2, 3, 4}};
        JobContext job;
        std::stop_source stop;
        job.stop = stop.get_token();
        int steps = 0;
        job.onProgress = [&](double, std::string_view) {
            if (++steps == 1)
                stop.request_stop();
        };
        const auto cancelled = engine.run(windows, nullptr, nullptr, job);
        QVERIFY(!cancelled);
        QCOMPARE(cancelled.error().code, Errc::Cancelled);
        QCOMPARE(steps, 1); // the second block did not run
    }

    void cutsWindows()
    {
        const std::vector<std::int32_t> ids{0, 1, 2, 3, 4, 5, 6};
        const Windows all = cutWindows(ids, 3);
        QCOMPARE(all.ids, (std::vector<std::vector<std::int32_t>>{{0, 1, 2}, {3, 4, 5}}));
        QCOMPARE(all.tokens(), Index{6});
        QCOMPARE(cutWindows(ids, 2, 1).count(), Index{1});
        QCOMPARE(cutWindows(ids, 8).count(), Index{0});
    }

    void sampleEqualsTheReference() // tests/golden/gen/sample_reference.py
    {
        nlohmann::json golden;
        std::shared_ptr<const Model> model;
        if (!open("sample", QS_SAMPLE_DIR, golden, model))
            QSKIP("the sample model or its recorded reference is not in this tree");
        for (const auto& window : golden.at("windows")) {
            std::vector<std::pair<Index, double>> wanted; // flat index and value
            for (const auto& entry : window.at("logits")) {
                const QByteArray bytes = QByteArray::fromBase64(entry.at("float32le_base64").get<std::string>().c_str());
                QCOMPARE(static_cast<Index>(bytes.size()), model->spec().vocab * Index{4});
                for (Index v = 0; v < model->spec().vocab; ++v) {
                    float value = 0;
                    std::memcpy(&value, bytes.constData() + 4 * v, 4);
                    wanted.emplace_back(
                        entry.at("position").get<Index>() * model->spec().vocab + v, static_cast<double>(value));
                }
            }
            compare(model, window, wanted);
        }
    }
    void smolLm2EqualsTheReference() // tests/golden/gen/smollm2_reference.py
    {
        const char* path = std::getenv("QS_SMOLLM2");
        nlohmann::json golden;
        std::shared_ptr<const Model> model;
        if (!path || !open("smollm2", path, golden, model))
            QSKIP("QS_SMOLLM2 does not name the GGUF file, or its recorded reference is not in this tree");
        std::vector<std::pair<Index, double>> wanted;
        for (const auto& entry : golden.at("top"))
            for (std::size_t i = 0; i < entry.at("ids").size(); ++i)
                wanted.emplace_back(entry.at("position").get<Index>() * model->spec().vocab + entry.at("ids")[i].get<Index>(),
                    entry.at("logits")[i].get<double>());
        compare(model, golden, wanted);
    }

private:
    static bool open(
        const std::string& name, const std::filesystem::path& path, nlohmann::json& golden, std::shared_ptr<const Model>& model)
    {
        const auto text = readTextFile(std::filesystem::path(QS_GOLDEN_DIR) / name / "logits.json");
        if (!text || !std::filesystem::exists(path)
            || (std::filesystem::is_directory(path) && !std::filesystem::exists(path / "config.json")))
            return false;
        golden = nlohmann::json::parse(*text);
        auto opened = openModel(path);
        if (!opened)
            qWarning("%s", opened.error().line().c_str());
        else
            model = *opened;
        return opened.has_value();
    }

    /// Logits at some places, and the NLL of every predicted position, of one window.
    static void compare(const std::shared_ptr<const Model>& model, const nlohmann::json& window,
        const std::vector<std::pair<Index, double>>& wanted)
    {
        const auto ids = window.at("ids").get<std::vector<std::int32_t>>();
        const auto logits = test::logitsOf(model, Windows{static_cast<Index>(ids.size()), {ids}});
        QVERIFY2(logits, logits ? "" : logits.error().line().c_str());
        double worst = 0, largest = 0;
        for (const auto& [index, value] : wanted) {
            worst = std::max(worst, std::abs(static_cast<double>(logits->values()[static_cast<std::size_t>(index)]) - value));
            largest = std::max(largest, std::abs(value));
        }
        qInfo("logits: relative error %.2e", worst / largest);
        QVERIFY(worst / largest < 1e-4); // the contract is 1e-3
        const auto nll = window.at("nll").get<std::vector<double>>();
        QCOMPARE(nll.size(), ids.size() - 1);
        double worstNll = 0;
        for (std::size_t t = 0; t < nll.size(); ++t) {
            const auto row = logits->row(static_cast<Index>(t));
            const double top = static_cast<double>(*std::max_element(row.begin(), row.end()));
            double sum = 0;
            for (const float value : row)
                sum += std::exp(static_cast<double>(value) - top);
            const double ours = top + std::log(sum) - static_cast<double>(row[static_cast<std::size_t>(ids[t + 1])]);
            worstNll = std::max(worstNll, std::abs(ours - nll[t]));
        }
        qInfo("nll: largest difference %.2e", worstNll);
        QVERIFY(worstNll < 1e-3);
    }
};

QTEST_GUILESS_MAIN(TestEngine)
#include "tst_engine.moc"
