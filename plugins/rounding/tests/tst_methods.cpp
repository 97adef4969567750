// SPDX-License-Identifier: Apache-2.0
// The method files: they parse, they run, and they say what they are.
#include "core/recipe/pipeline.h"
#include "plugins/pruning/pruning.h"
#include "plugins/rounding/rounding.h"
#include "plugins/rounding/tests/problem.h"
#include "plugins/smoothing/smoothing.h"

#include <optional>

using namespace qs;
using qs::test::Problem;

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

    void zeroCompressionIsTheIdentity_data()
    {
        QTest::addColumn<QString>("text");
        QTest::addColumn<int>("grid");
        // Grids of which a group of levels gives back its own scale. The ends of sym-fullrange-mid lie half a step outside its
        // levels, so minmax never does there; with a frozen scale T01 holds for it too.
        const quant::GridId grids[] = {quant::GridId::SymRestricted, quant::GridId::SymNegAnchored, quant::GridId::SymShifted,
            quant::GridId::Asym0, quant::GridId::AsymFree, quant::GridId::AsymRealZero};
        for (const recipe::Method& method : m_registry.methods()) {
            const QString id = QString::fromStdString(method.id);
            if (id == "rtn" || id == "gptq") { // as many levels as there are different weights
                for (const quant::GridId grid : grids)
                    QTest::addRow("%s %s", method.id.c_str(), quant::gridName(grid))
                        << QString("%1(bits=4, group=16, grid=%2)").arg(id, quant::gridName(grid)) << static_cast<int>(grid);
            } else if (id == "awq" || id == "smoothquant") { // weights of 16 bits and more: no grid
                QTest::addRow("%s", method.id.c_str())
                    << QString("%1() | - | - | - | - | -").arg(id == "awq" ? "awq" : "smooth") << -1;
            } else { // no sparsity; a method that has no such parameter needs a row of its own
                QTest::addRow("%s", method.id.c_str()) << QString("%1(sparsity=0)").arg(id) << -1;
            }
        }
    }
    /// Pruning test matrix, item 1: a method that is told to compress nothing gives W back, whatever the input's moment is.
    void zeroCompressionIsTheIdentity()
    {
        QFETCH(QString, text);
        QFETCH(int, grid);
        Problem problem(900, 12, 64, 200);
        if (grid >= 0)
            problem.W = levels(static_cast<quant::GridId>(grid), 12, 64);
        QS_REQUIRE(pipeline, recipe::parsePipeline(text.toStdString(), m_registry));
        QS_REQUIRE(What, compress(pipeline, problem));
        if (!pipeline[recipe::Slot::Transform].empty()) {
            for (std::size_t i = 0; i < What.values().size(); ++i)
                QVERIFY(std::fabs(What.values()[i] - problem.W.values()[i]) <= 1e-6F * std::fabs(problem.W.values()[i]));
        } else {
            QVERIFY(test::sameBits(What, problem.W));
        }
    }

private:
    /// 2^-5 times the steps of a 4-bit grid, both ends of the range in every group of 16.
    static RowMatrix levels(quant::GridId grid, Index rows, Index cols)
    {
        const bool symmetric = quant::isSymmetric(grid);
        const int low = grid == quant::GridId::SymNegAnchored ? -8 : symmetric ? -7 : -5;
        const int high = symmetric ? 7 : 10;
        const float shift = grid == quant::GridId::AsymRealZero ? 0.25F : 0.0F;
        RowMatrix W(rows, cols);
        for (Index r = 0; r < rows; ++r)
            for (Index c = 0; c < cols; ++c) {
                const auto drawn = static_cast<int>(test::mix(static_cast<std::uint64_t>(r * cols + c)) % 64);
                const int step = c % 16 == 3 ? low : c % 16 == 11 ? high : low + drawn % (high - low + 1);
                W(r, c) = 0x1p-5F * (static_cast<float>(step) - shift);
            }
        return W;
    }

    /// The slots of a pipeline one after the other on one layer that is a site of its own.
    Expected<RowMatrix> compress(const recipe::Pipeline& pipeline, const Problem& problem) const
    {
        const auto stage = [&](recipe::Slot slot) -> Expected<recipe::StageInstance> {
            if (pipeline[slot].empty())
                return recipe::StageInstance{};
            const recipe::StageCall& call = pipeline[slot].front();
            return m_registry.stage(call.id)->create(call.parameters);
        };
        QS_TRY(transform, stage(recipe::Slot::Transform));
        QS_TRY(pruner, stage(recipe::Slot::Pruner));
        QS_TRY(grid, stage(recipe::Slot::Grid));
        QS_TRY(rounding, stage(recipe::Slot::Rounding));
        recipe::StageReport report;
        recipe::LayerProblem layer = problem.layer();
        if (transform.transform) {
            model::SiteSpec spec;
            spec.kind = model::SiteKind::Alone;
            recipe::SiteContext site{spec, {}, layer.input, layer.fit, {}};
            recipe::SiteConsumer consumer;
            consumer.layer = layer.layer;
            consumer.W = layer.W;
            site.consumers.push_back(std::move(consumer));
            QS_TRY(fitted, transform.transform->fit(site, report));
            return fitted->fromTransformed(fitted->toTransformed(layer.W));
        }
        std::optional<recipe::MaskPlan> mask;
        if (pruner.pruner) {
            QS_TRY(plan, pruner.pruner->plan(layer, report));
            mask = std::move(plan);
        }
        if (rounding.rounding) {
            QS_TRY(solved, rounding.rounding->solve(layer, grid.grid.get(), mask ? &*mask : nullptr, report));
            return std::move(solved.What);
        }
        RowMatrix What(layer.W);
        for (std::size_t i = 0; mask && i < What.values().size(); ++i)
            What.values()[i] *= static_cast<float>(mask->keep.values()[i]);
        return What;
    }

    recipe::StageRegistry m_registry;
};

QTEST_GUILESS_MAIN(MethodsTest)
#include "tst_methods.moc"
