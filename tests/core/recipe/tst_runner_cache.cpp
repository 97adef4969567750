// SPDX-License-Identifier: Apache-2.0
#include "core/recipe/result_codec.h"
#include "core/recipe/runner.h"
#include "core/store/result_cache.h"
#include "tiny_model.h"

#include <QTemporaryDir>
#include <nlohmann/json.hpp>
#include <set>

using namespace qs;
using namespace qs::recipe;
namespace fs = std::filesystem;

namespace {

template <class T> bool sameValues(const BasicMatrix<T>& a, const BasicMatrix<T>& b)
{
    return a.rows() == b.rows() && a.cols() == b.cols()
        && (a.empty() || std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.size()) * sizeof(T)) == 0);
}

std::vector<fs::path> entries(const fs::path& folder)
{
    std::vector<fs::path> files;
    for (const auto& entry : fs::recursive_directory_iterator(folder))
        if (entry.is_regular_file())
            files.push_back(entry.path());
    return files;
}

} // namespace

class TestRunnerCache : public QObject {
    Q_OBJECT
private Q_SLOTS:
    void initTestCase()
    {
        test::fill(m_registry);
        QVERIFY(m_dir.isValid());
        QS_REQUIRE(llama, test::tinyLlama(m_dir.filePath(QStringLiteral("llama")).toStdString()));
        m_model = llama;
        m_dump = test::dumpFor(*m_model);
    }

    void restoredEqualsComputed_data()
    {
        QTest::addColumn<QString>("text");
        QTest::newRow("nearest") << "plain";
        QTest::newRow("8 bit") << "plain(bits=8)";
        QTest::newRow("solver, ordered groups") << "solver(actorder=group, group=16)";
        QTest::newRow("transform and activations") << "smooth(bits=3, a_bits=6)";
        QTest::newRow("transform only") << "scale(alpha=1)";
        QTest::newRow("sparse") << "sparse(sparsity=0.3)";
        QTest::newRow("sparse and quantized") << "scale | mask | grid | sweep";
        QTest::newRow("compensated") << "- | - | grid | nearest | shift(add=0.01)";
    }
    void restoredEqualsComputed()
    {
        QFETCH(QString, text);
        const QTemporaryDir folder;
        const Pipeline pipeline = parsePipeline(text.toStdString(), m_registry).value();
        QS_REQUIRE(assignment, assign(uniformRecipe(pipeline), m_model->spec(), m_registry));
        Runner first(m_model, {m_dump}, m_registry, cpuBackend());
        first.setCache(cacheAt(folder));
        Runner second(m_model, {m_dump}, m_registry, cpuBackend());
        second.setCache(cacheAt(folder));
        const Runner none(m_model, {m_dump}, m_registry, cpuBackend());
        for (const char* name : {"v_proj", "down_proj"}) {
            const model::LayerIndex at = index(name);
            QS_REQUIRE(computed, first.compress(at, assignment, {}));
            QS_REQUIRE(plain, none.compress(at, assignment, {}));
            const int fits = test::TestTransform::fits;
            const int solves = test::TestSweep::solves;
            QS_REQUIRE(restored, second.compress(at, assignment, {}));
            QCOMPARE(int(test::TestTransform::fits), fits); // nothing ran again
            QCOMPARE(int(test::TestSweep::solves), solves);
            QVERIFY(!computed.fromCache && restored.fromCache && !plain.fromCache);
            QVERIFY(!computed.cacheKey.empty() && computed.cacheKey == restored.cacheKey && plain.cacheKey.empty());
            QVERIFY(sameValues(computed.What, plain.What));
            QVERIFY(sameValues(restored.What, computed.What));
            QVERIFY(sameValues(restored.stored, computed.stored));
            QVERIFY(restored.layer == computed.layer && restored.pipeline == computed.pipeline);
            QVERIFY(sameValues(restored.quantized.codes, computed.quantized.codes));
            QVERIFY(sameValues(restored.quantized.scale, computed.quantized.scale));
            QVERIFY(sameValues(restored.quantized.zero, computed.quantized.zero));
            QVERIFY(restored.quantized.groupOf == computed.quantized.groupOf);
            QCOMPARE(restored.quantized.group, computed.quantized.group);
            QVERIFY(restored.quantized.grid.grid == computed.quantized.grid.grid
                && restored.quantized.grid.bits == computed.quantized.grid.bits);
            QVERIFY(sameValues(restored.keep, computed.keep));
            QVERIFY(restored.outputScale == computed.outputScale);
            QCOMPARE(restored.inputTransform != nullptr, computed.inputTransform != nullptr);
            if (computed.inputTransform)
                QVERIFY(restored.inputTransform->diagonal() == computed.inputTransform->diagonal());
            QCOMPARE(restored.activation.has_value(), computed.activation.has_value());
            QVERIFY(restored.siteLayers == computed.siteLayers);
            QCOMPARE(restored.bits.total(), computed.bits.total());
            QCOMPARE(restored.bits.weights, computed.bits.weights);
            QCOMPARE(restored.sparsity, computed.sparsity);
            QCOMPARE(restored.seconds, computed.seconds);
            QCOMPARE(restored.reports.size(), computed.reports.size());
            for (std::size_t i = 0; i < restored.reports.size(); ++i) {
                QVERIFY(restored.reports[i].entries == computed.reports[i].entries);
                QVERIFY(restored.reports[i].notes == computed.reports[i].notes);
            }
            QS_REQUIRE(a, first.measure(at, computed, {}));
            QS_REQUIRE(b, second.measure(at, restored, {})); // from the cache
            QS_REQUIRE(c, none.measure(at, plain, {}));
            for (const LayerMetrics* m : {&b, &c}) {
                QVERIFY(m->outputError == a.outputError && m->outputErrorFit == a.outputErrorFit);
                QVERIFY(m->outputErrorWA == a.outputErrorWA && m->weightSqnrDb == a.weightSqnrDb);
                QVERIFY(m->holdout == a.holdout && m->hasOutput == a.hasOutput && m->outputSqnrDb == a.outputSqnrDb);
            }
        }
    }

    void everythingThatMattersIsInTheKey()
    {
        const QTemporaryDir folder;
        Runner runner(m_model, {m_dump}, m_registry, cpuBackend());
        runner.setCache(cacheAt(folder));
        const auto key = [&](const Runner& r, const std::string& text, std::uint64_t seed, const char* layer) {
            JobContext job;
            job.seed = seed;
            return r.compress(index(layer), parsePipeline(text, m_registry).value(), job).value().cacheKey;
        };
        std::set<std::string> keys;
        keys.insert(key(runner, "solver", 0, "up_proj"));
        keys.insert(key(runner, "solver", 1, "up_proj"));
        keys.insert(key(runner, "solver(damp=0.02)", 0, "up_proj"));
        keys.insert(key(runner, "plain", 0, "up_proj"));
        keys.insert(key(runner, "solver", 0, "gate_proj"));
        auto other = test::dumpFor(*m_model, 200);
        other->setId("another dump");
        Runner moved(m_model, {other}, m_registry, cpuBackend());
        moved.setCache(runner.cache());
        keys.insert(key(moved, "solver", 0, "up_proj"));
        Runner bare(m_model, {}, m_registry, cpuBackend());
        bare.setCache(runner.cache());
        keys.insert(key(bare, "plain", 0, "up_proj"));
        // The same pipeline, but with a transform folded in from behind.
        QS_REQUIRE(assignment,
            assign(uniformRecipe(parsePipeline("scale | - | grid", m_registry).value()), m_model->spec(), m_registry));
        keys.insert(key(runner, "scale | - | grid", 0, "up_proj"));
        keys.insert(runner.compress(index("up_proj"), assignment, {}).value().cacheKey);
        QCOMPARE(keys.size(), std::size_t{9});
        QCOMPARE(key(runner, "solver(group=auto)", 0, "up_proj"), key(runner, "solver(group=16)", 0, "up_proj")); // resolved
    }

    void brokenEntriesAreComputedAgain()
    {
        const QTemporaryDir folder;
        Runner runner(m_model, {m_dump}, m_registry, cpuBackend());
        runner.setCache(cacheAt(folder));
        const Pipeline pipeline = parsePipeline("solver", m_registry).value();
        QS_REQUIRE(computed, runner.compress(0, pipeline, {}));
        const auto files = entries(folder.path().toStdString());
        QCOMPARE(files.size(), std::size_t{1});
        {
            std::fstream file(files.front(), std::ios::in | std::ios::out | std::ios::binary);
            file.seekp(static_cast<std::streamoff>(fs::file_size(files.front()) / 2));
            file.put('\x5a');
        }
        QS_REQUIRE(again, runner.compress(0, pipeline, {}));
        QVERIFY(!again.fromCache);
        QVERIFY(sameValues(again.What, computed.What));
        QS_REQUIRE(restored, runner.compress(0, pipeline, {}));
        QVERIFY(restored.fromCache);
    }

    /// A sound file whose content does not describe the layer.
    void strangeEntriesAreRefused_data()
    {
        QTest::addColumn<QString>("patch");
        QTest::addColumn<QString>("section");
        QTest::newRow("not JSON") << ""
                                  << "";
        QTest::newRow("rows") << R"({"rows": 3})"
                              << "";
        QTest::newRow("missing") << R"({"bits": null})"
                                 << "";
        QTest::newRow("groups") << R"({"quantized": {"groups": 5}})"
                                << "";
        QTest::newRow("grid") << R"({"quantized": {"grid": "round"}})"
                              << "";
        QTest::newRow("number") << R"({"sparsity": "1.0x"})"
                                << "";
        QTest::newRow("stage") << R"({"pipeline": {"pipeline": {"grid": [{"stage": "nope"}]}}})"
                               << "";
        QTest::newRow("codes") << "{}"
                               << "codes";
        QTest::newRow("scale") << "{}"
                               << "scale";
    }
    void strangeEntriesAreRefused()
    {
        QFETCH(QString, patch);
        QFETCH(QString, section);
        const Runner runner(m_model, {m_dump}, m_registry, cpuBackend());
        QS_REQUIRE(layer, runner.compress(0, parsePipeline("solver", m_registry).value(), {}));
        auto entry = encodeResult(layer, cpuBackend());
        QVERIFY(entry);
        QVERIFY(decodeResult(*entry, m_registry, 16, 16, cpuBackend()));
        auto json = nlohmann::json::parse(entry->json);
        if (patch.isEmpty()) {
            entry->json = "{";
        } else {
            json.merge_patch(nlohmann::json::parse(patch.toStdString()));
            entry->json = json.dump();
        }
        for (auto& part : entry->sections)
            if (part.name == section.toStdString())
                part.bytes.pop_back();
        QVERIFY(!decodeResult(*entry, m_registry, 16, 16, cpuBackend()));
    }

    void nonFiniteReportsSurvive()
    {
        CompressedLayer layer;
        layer.layer = "x";
        layer.What = RowMatrix(2, 2);
        layer.pipeline = parsePipeline("- | mask", m_registry).value();
        layer.reports = {{"mask", 0.25,
            {{"inf", std::numeric_limits<double>::infinity()}, {"text", std::string("a")}, {"n", std::int64_t{-3}},
                {"b", true}},
            {"note"}}};
        const auto entry = encodeResult(layer, cpuBackend());
        QVERIFY(entry);
        QS_REQUIRE(back, decodeResult(*entry, m_registry, 2, 2, cpuBackend()));
        QVERIFY(back.reports.front().entries == layer.reports.front().entries);
        QVERIFY(back.reports.front().notes == layer.reports.front().notes);
        LayerMetrics metrics;
        metrics.outputSqnrDb = std::numeric_limits<double>::infinity();
        metrics.outputError = 0.1;
        metrics.sinkShare = 0.75;
        QS_REQUIRE(read, metricsFromJson(metricsToJson(metrics)));
        QVERIFY(std::isinf(read.outputSqnrDb) && read.outputError == 0.1 && read.sinkShare == 0.75 && !read.outputErrorWA);
    }

private:
    std::shared_ptr<store::ResultCache> cacheAt(const QTemporaryDir& folder) const
    {
        return store::ResultCache::open(folder.path().toStdString()).value();
    }
    model::LayerIndex index(const std::string& module) const
    {
        for (std::size_t i = 0; i < m_model->spec().layers.size(); ++i)
            if (m_model->spec().layers[i].name.ends_with(module))
                return static_cast<model::LayerIndex>(i);
        return -1;
    }

    QTemporaryDir m_dir;
    StageRegistry m_registry;
    std::shared_ptr<const model::Model> m_model;
    std::shared_ptr<test::MemoryDump> m_dump;
};

QTEST_GUILESS_MAIN(TestRunnerCache)
#include "tst_runner_cache.moc"
