// SPDX-License-Identifier: Apache-2.0
#include "core/model/engine.h"
#include "core/recipe/runner.h"
#include "core/store/result_cache.h"
#include "plugins/pruning/pruning.h"
#include "plugins/rounding/rounding.h"
#include "plugins/smoothing/smoothing.h"
#include "tiny_model.h"

#include <QTemporaryDir>
#include <cmath>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

using namespace qs;
using namespace qs::recipe;

/// Every method of the plugin families through the recipe layer, on every layer of a tiny model.
class TestPluginPipelines : public QObject {
    Q_OBJECT
private Q_SLOTS:
    void initTestCase()
    {
        QVERIFY(plugins::registerRounding(m_registry));
        QVERIFY(plugins::registerSmoothing(m_registry));
        QVERIFY(plugins::registerPruning(m_registry));
        for (const char* family : {"rounding", "smoothing", "pruning"}) {
            const auto added = m_registry.addMethods(std::filesystem::path(QS_SOURCE_DIR) / "plugins" / family / "methods");
            QVERIFY2(added, added ? "" : added.error().line().c_str());
        }
        QVERIFY(m_dir.isValid());
        QS_REQUIRE(model, test::tinyLlama(m_dir.filePath(QStringLiteral("llama")).toStdString(), DType::BF16));
        m_model = model;
        m_dump = test::dumpFor(*m_model);
    }

    void methods_data()
    {
        QTest::addColumn<QString>("id");
        QVERIFY(m_registry.methods().size() >= 7);
        for (const Method& method : m_registry.methods())
            QTest::newRow(method.id.c_str()) << QString::fromStdString(method.id);
    }
    void methods()
    {
        QFETCH(QString, id);
        QS_REQUIRE(recipe, loadRecipe(id.toStdString(), m_registry));
        const Pipeline& pipeline = recipe.rules.front().pipeline;
        QS_REQUIRE(again, parseCanonical(formatPipeline(pipeline), m_registry));
        QVERIFY(again == pipeline);
        QS_REQUIRE(json, pipelineFromJson(pipelineToJson(pipeline), m_registry, "json"));
        QVERIFY(json == pipeline);
        QVERIFY(pipelineLabel(pipeline, m_registry).rfind(id.toStdString(), 0) == 0);

        QS_REQUIRE(assignment, assign(recipe, m_model->spec(), m_registry));
        const QTemporaryDir folder;
        Runner runner(m_model, {m_dump}, m_registry, cpuBackend());
        runner.setCache(store::ResultCache::open(folder.path().toStdString()).value());
        for (std::size_t i = 0; i < m_model->spec().layers.size(); ++i) {
            const auto index = static_cast<model::LayerIndex>(i);
            QS_REQUIRE(layer, runner.compress(index, assignment, {}));
            QS_REQUIRE(metrics, runner.measure(index, layer, {}));
            QVERIFY(metrics.hasOutput && metrics.nonFinite == 0);
            QVERIFY2(metrics.outputError > 0.0 && metrics.outputError < 1.0, qPrintable(QString::number(metrics.outputError)));
            QVERIFY(metrics.outputErrorWA && std::isfinite(*metrics.outputErrorWA));
            if (!pipeline[Slot::Pruner].empty())
                QVERIFY(std::abs(layer.sparsity - 0.5) < 0.01);
            if (!pipeline[Slot::Grid].empty())
                QVERIFY(layer.bits.perWeight() > 4.0 && layer.bits.perWeight() < 10.0);
            QS_REQUIRE(restored, runner.compress(index, assignment, {}));
            QVERIFY(restored.fromCache);
            QVERIFY(std::memcmp(
                        restored.What.data(), layer.What.data(), static_cast<std::size_t>(layer.What.size()) * sizeof(float))
                == 0);
        }
    }

    void windowsDoNotInfluenceEachOther_data()
    {
        QTest::addColumn<QString>("grid");
        for (const char* grid : {"a_granularity=tensor", "a_granularity=token", "a_granularity=token-group, a_group=4",
                 "a_granularity=tensor, a_dynamic=false"})
            QTest::newRow(grid) << QString::fromLatin1(grid);
    }
    /// What the engine computes for a window is the same alone and beside others.
    void windowsDoNotInfluenceEachOther()
    {
        QFETCH(QString, grid);
        const auto runner = std::make_shared<Runner>(m_model, Calibration{m_dump}, m_registry, cpuBackend());
        QS_REQUIRE(recipe, loadRecipe("- | - | - | - | - | act(a_bits=3, " + grid.toStdString() + ")", m_registry));
        QS_REQUIRE(assignment, assign(recipe, m_model->spec(), m_registry));
        const RecipeReplacements replacements(runner, assignment);
        const model::Engine engine(m_model, cpuBackend());
        const auto vocab = static_cast<std::int32_t>(m_model->spec().vocab);
        model::Windows all;
        all.length = 6;
        for (std::int32_t w = 0; w < 3; ++w) {
            all.ids.emplace_back();
            for (std::int32_t t = 0; t < 6; ++t)
                all.ids.back().push_back((7 * w * w + 5 * t + w * t) % vocab);
        }
        QS_REQUIRE(together, engine.run(all, &replacements, nullptr, {}));
        QS_REQUIRE(exact, engine.run(all, nullptr, nullptr, {}));
        QVERIFY(!std::ranges::equal(together.values(), exact.values()));
        for (Index w = 0; w < 3; ++w) {
            model::Windows one;
            one.length = all.length;
            one.ids = {all.ids[static_cast<std::size_t>(w)]};
            QS_REQUIRE(alone, engine.run(one, &replacements, nullptr, {}));
            for (Index t = 0; t < all.length; ++t)
                for (Index c = 0; c < alone.cols(); ++c)
                    QVERIFY(std::abs(alone(t, c) - together(w * all.length + t, c)) <= 1e-5F);
        }
    }

    /// By hand: a dynamic per-tensor range is that of a window of the capture, of all tokens where windows are not known.
    void tensorsAreWindowsOfTheCapture()
    {
        const model::LayerSpec& spec = m_model->spec().layers.front();
        const RowMatrix W = m_model->loadWeight(spec).value();
        const Pipeline pipeline = parsePipeline("- | - | - | - | - | act(a_bits=4, a_granularity=tensor)", m_registry).value();
        for (const Index window : {Index{0}, Index{70}}) {
            const auto dump = test::dumpFor(*m_model);
            dump->setSeqLen(window);
            const RowMatrix x = dump->rawTokens(spec.name, 0).value();
            double error = 0, power = 0;
            for (Index t = 0; t < x.rows(); ++t) {
                const Index first = window > 0 ? t / window * window : 0;
                const Index last = window > 0 ? std::min(first + window, x.rows()) : x.rows();
                float most = 0;
                for (Index i = first; i < last; ++i)
                    for (const float v : x.row(i))
                        most = std::max(most, std::abs(v));
                const float scale = most / 7;
                for (Index r = 0; r < W.rows(); ++r) {
                    double y = 0, difference = 0;
                    for (Index c = 0; c < x.cols(); ++c) {
                        const double w = static_cast<double>(W(r, c));
                        const float q = scale * std::nearbyint(x(t, c) / scale);
                        y += w * static_cast<double>(x(t, c));
                        difference += w * (static_cast<double>(x(t, c)) - static_cast<double>(q));
                    }
                    error += difference * difference;
                    power += y * y;
                }
            }
            const Runner runner(m_model, {dump}, m_registry, cpuBackend());
            QS_REQUIRE(layer, runner.compress(0, pipeline, {}));
            QS_REQUIRE(metrics, runner.measure(0, layer, {}));
            QVERIFY(metrics.outputErrorWA);
            QVERIFY2(std::abs(*metrics.outputErrorWA * power / error - 1) < 1e-4,
                qPrintable(QString::number(*metrics.outputErrorWA * power / error)));
        }
    }

    /// AWQ's losses are those of the scales that a bfloat16 norm stores, and never above those of nearest rounding.
    void awqReportsWhatIsStored()
    {
        const Runner runner(m_model, {m_dump}, m_registry, cpuBackend());
        const auto lossOf = [&](const model::SiteSpec& site, const Pipeline& pipeline, StageReport* report) {
            double loss = 0;
            for (const model::LayerIndex index : site.consumers) {
                const model::LayerSpec& spec = m_model->spec().layers[static_cast<std::size_t>(index)];
                const CompressedLayer layer = runner.compress(index, pipeline, {}).value();
                if (report)
                    *report = layer.reports.front();
                const RowMatrix W = m_model->loadWeight(spec).value();
                const MatrixD C = stats::InputStats::secondMoment(m_dump->stats(spec.name).value()->fit).value();
                for (Index r = 0; r < W.rows(); ++r)
                    for (Index i = 0; i < W.cols(); ++i)
                        for (Index j = 0; j < W.cols(); ++j)
                            loss += (static_cast<double>(W(r, i)) - static_cast<double>(layer.What(r, i))) * C(i, j)
                                * (static_cast<double>(W(r, j)) - static_cast<double>(layer.What(r, j)));
            }
            return loss;
        };
        const auto entry = [](const StageReport& report, const char* name) {
            const auto it
                = std::find_if(report.entries.begin(), report.entries.end(), [&](const auto& e) { return e.first == name; });
            return it == report.entries.end() ? -1.0 : std::get<double>(it->second);
        };
        int scaled = 0;
        for (const char* bits : {"2", "3", "4"})
            for (const model::SiteSpec& site : m_model->spec().sites) {
                StageReport report;
                const double nearest = lossOf(
                    site, parsePipeline(fmt::format("- | - | int(bits={}) | nearest", bits), m_registry).value(), nullptr);
                const double stored = lossOf(
                    site, parsePipeline(fmt::format("awq | - | int(bits={}) | nearest", bits), m_registry).value(), &report);
                QCOMPARE(report.stage, std::string("awq"));
                QVERIFY2(stored <= nearest * (1.0 + 1e-9), qPrintable(QString("%1 > %2").arg(stored).arg(nearest)));
                QVERIFY(std::abs(entry(report, "loss_nearest") - nearest) <= 1e-6 * nearest);
                QVERIFY2(std::abs(entry(report, "loss") - stored) <= 1e-6 * stored,
                    qPrintable(QString("reported %1, stored %2").arg(entry(report, "loss")).arg(stored)));
                scaled += entry(report, "ratio") > 0.0 && !site.producerNorm.empty() ? 1 : 0;
            }
        QVERIFY(scaled >= 3); // else nothing was rounded
    }

    void smoothReportsWhatIsStored()
    {
        const Runner runner(m_model, {m_dump}, m_registry, cpuBackend());
        const Pipeline pipeline = parsePipeline("smooth() | - | int(bits=8) | nearest()", m_registry).value();
        const CompressedLayer layer = runner.compress(0, pipeline, {}).value();
        const std::vector<double> d = layer.inputTransform->diagonal();
        const auto [low, high] = std::minmax_element(d.begin(), d.end());
        for (const auto& [name, value] : layer.reports.front().entries) {
            if (name == "scale_min")
                QCOMPARE(std::get<double>(value), 1.0 / *high);
            if (name == "scale_max")
                QCOMPARE(std::get<double>(value), 1.0 / *low);
        }
        QCOMPARE(layer.reports.front().entries.size(), std::size_t{2});
    }

    /// The clipping search is told what a layer is, by the model's description.
    void clippingSparesQueriesAndKeys()
    {
        const Runner runner(m_model, {m_dump}, m_registry, cpuBackend());
        const Pipeline pipeline = parsePipeline("- | - | int(bits=3, clip=awq) | nearest()", m_registry).value();
        for (std::size_t i = 0; i < m_model->spec().layers.size(); ++i) {
            const std::string& module = m_model->spec().layers[i].module;
            QS_REQUIRE(layer, runner.compress(static_cast<model::LayerIndex>(i), pipeline, {}));
            QCOMPARE(layer.reports.front().notes.size() == 1, module == "self_attn.q_proj" || module == "self_attn.k_proj");
        }
    }

    /// More bits, less error; and what a method adds to plain rounding helps on the statistics that it saw (median over
    /// layers).
    void ordersAreSane()
    {
        const Runner runner(m_model, {m_dump}, m_registry, cpuBackend());
        const auto errors = [&](const std::string& text) {
            std::vector<double> list;
            const Pipeline pipeline = parsePipeline(text, m_registry).value();
            for (std::size_t i = 0; i < m_model->spec().layers.size(); ++i) {
                const auto index = static_cast<model::LayerIndex>(i);
                const CompressedLayer layer = runner.compress(index, pipeline, {}).value();
                list.push_back(runner.measure(index, layer, {}).value().outputErrorFit);
            }
            std::sort(list.begin(), list.end());
            return list[list.size() / 2];
        };
        const double rtn = errors("rtn(bits=3)");
        QVERIFY(errors("rtn(bits=4)") < rtn);
        QVERIFY(errors("rtn(bits=8)") < errors("rtn(bits=4)"));
        QVERIFY(errors("gptq(bits=3)") < rtn);
        QVERIFY(errors("awq(bits=3)") < rtn);
        QVERIFY(errors("sparsegpt") < errors("wanda"));
        QVERIFY(errors("wanda") < errors("magnitude"));
    }

private:
    QTemporaryDir m_dir;
    StageRegistry m_registry;
    std::shared_ptr<const model::Model> m_model;
    std::shared_ptr<test::MemoryDump> m_dump;
};

QTEST_GUILESS_MAIN(TestPluginPipelines)
#include "tst_plugin_pipelines.moc"
