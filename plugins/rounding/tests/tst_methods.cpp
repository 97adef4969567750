// SPDX-License-Identifier: Apache-2.0
// The method files: they parse, they run, and they say what they are.
#include "core/recipe/pipeline.h"
#include "plugins/pruning/pruning.h"
#include "plugins/rounding/rounding.h"
#include "plugins/rounding/tests/problem.h"
#include "plugins/smoothing/smoothing.h"

using namespace qs;

class MethodsTest : public QObject {
    Q_OBJECT
private Q_SLOTS:
    void initTestCase()
    {
        QVERIFY(plugins::registerRounding(m_registry));
        QVERIFY(plugins::registerSmoothing(m_registry));
        QVERIFY(plugins::registerPruning(m_registry));
        for (const char* family : {"rounding", "smoothing", "pruning"}) {
            const auto added = m_registry.addMethods(std::string(QS_SOURCE_DIR "/plugins/") + family + "/methods");
            QVERIFY2(added, added ? "" : added.error().line().c_str());
        }
    }

    void allAreThere()
    {
        QStringList ids;
        for (const recipe::Method& method : m_registry.methods())
            ids << QString::fromStdString(method.id);
        QCOMPARE(ids.join(' '), QString("awq gptq magnitude rtn smoothquant sparsegpt wanda"));
    }

    void saysWhatItIs_data()
    {
        QTest::addColumn<QString>("id");
        for (const recipe::Method& method : m_registry.methods())
            QTest::addRow("%s", method.id.c_str()) << QString::fromStdString(method.id);
    }
    void saysWhatItIs()
    {
        QFETCH(QString, id);
        const recipe::Method* method = m_registry.method(id.toStdString());
        QVERIFY(!method->citation.empty());
        QVERIFY(method->url.rfind("https://arxiv.org/abs/", 0) == 0);
        QVERIFY(!method->equations.empty());
        QVERIFY(!method->summary.empty());
        QVERIFY(!method->fidelityNote.empty());
        // Statistics are those of the uncompressed model: only what needs none of them reproduces its paper.
        QCOMPARE(method->fidelity == "reproduces", method->needs.empty());
        QS_REQUIRE(pipeline, recipe::parsePipeline(method->id, m_registry));
        QVERIFY(recipe::checkPipeline(pipeline, m_registry));
        QS_REQUIRE(again, recipe::parsePipeline(recipe::formatPipeline(pipeline), m_registry));
        QVERIFY(again == pipeline);
    }

    void sharedParametersReachTheStages()
    {
        QS_REQUIRE(pipeline, recipe::parsePipeline("gptq(bits=3, group=64, damp=0.05, actorder=static)", m_registry));
        QCOMPARE(recipe::intValue(pipeline[recipe::Slot::Grid][0].parameters, "bits"), std::int64_t{3});
        QCOMPARE(recipe::intValue(pipeline[recipe::Slot::Grid][0].parameters, "group"), std::int64_t{64});
        QCOMPARE(recipe::realValue(pipeline[recipe::Slot::Rounding][0].parameters, "damp"), 0.05);
        const auto wrong = recipe::parsePipeline("gptq(sparsity=0.5)", m_registry);
        QVERIFY(!wrong);
        QCOMPARE(wrong.error().code, Errc::InvalidArgument);
    }

    void sharedDefaults()
    {
        QS_REQUIRE(rtn, recipe::parsePipeline("rtn", m_registry));
        const recipe::Parameters& grid = rtn[recipe::Slot::Grid][0].parameters;
        QCOMPARE(recipe::intValue(grid, "bits"), std::int64_t{4});
        QCOMPARE(recipe::formatValue(grid.at("group")), std::string("auto"));
        QCOMPARE(recipe::textValue(grid, "grid"), std::string("sym-fullrange-mid"));
        QCOMPARE(recipe::textValue(grid, "range"), std::string("minmax"));
        QCOMPARE(recipe::textValue(grid, "scale_dtype"), std::string("float16"));
        // rtn, awq and gptq open side by side: the same grid, or the comparison would be one of grids.
        for (const char* id : {"awq", "gptq"}) {
            QS_REQUIRE(pipeline, recipe::parsePipeline(id, m_registry));
            for (const char* name : {"bits", "group", "grid", "range", "scale_dtype"})
                QVERIFY(pipeline[recipe::Slot::Grid][0].parameters.at(name) == grid.at(name));
        }
        QS_REQUIRE(gptq, recipe::parsePipeline("gptq", m_registry));
        QCOMPARE(recipe::realValue(gptq[recipe::Slot::Rounding][0].parameters, "damp"), 0.01);
        QCOMPARE(recipe::textValue(gptq[recipe::Slot::Rounding][0].parameters, "actorder"), std::string("none"));
        QS_REQUIRE(wanda, recipe::parsePipeline("wanda", m_registry));
        QCOMPARE(recipe::realValue(wanda[recipe::Slot::Pruner][0].parameters, "sparsity"), 0.5);
        QCOMPARE(recipe::textValue(wanda[recipe::Slot::Pruner][0].parameters, "pattern"), std::string("free"));
    }

private:
    recipe::StageRegistry m_registry;
};

QTEST_GUILESS_MAIN(MethodsTest)
#include "tst_methods.moc"
