// SPDX-License-Identifier: Apache-2.0
#include "core/recipe/runner.h"
#include "core/store/result_cache.h"
#include "plugins/pruning/pruning.h"
#include "plugins/rounding/rounding.h"
#include "plugins/smoothing/smoothing.h"
#include "tiny_model.h"

#include <QTemporaryDir>
#include <cmath>
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
