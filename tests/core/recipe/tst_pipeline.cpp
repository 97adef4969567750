// SPDX-License-Identifier: Apache-2.0
#include "core/recipe/names.h"
#include "core/recipe/pipeline.h"
#include "stages.h"

#include <QTemporaryDir>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

using namespace qs;
using namespace qs::recipe;

namespace {

/// A random value that the declaration allows.
ParameterValue randomValue(const ParameterSpec& spec, std::mt19937_64& random)
{
    switch (spec.type) {
    case ParameterType::Bool: return (random() & 1) != 0;
    case ParameterType::Choice: return spec.choices[random() % spec.choices.size()];
    case ParameterType::Text: {
        const std::string alphabet = "ab:- \"\\\n|+,()=\xc3\xa9";
        std::string text;
        for (std::size_t n = random() % 6; n > 0; --n) {
            const std::size_t i = random() % (alphabet.size() - 1);
            text += i + 2 >= alphabet.size() ? alphabet.substr(alphabet.size() - 2)
                                             : alphabet.substr(i, 1); // whole UTF-8 characters
        }
        return text;
    }
    case ParameterType::Int: {
        if (!spec.choices.empty() && random() % 3 == 0)
            return spec.choices[random() % spec.choices.size()];
        if (spec.min == spec.max)
            return static_cast<std::int64_t>(random());
        const auto span = static_cast<std::uint64_t>(spec.max - spec.min) + 1;
        const auto value = static_cast<std::int64_t>(spec.min) + static_cast<std::int64_t>(random() % span);
        return value == 0 && !spec.choices.empty() ? ParameterValue(spec.choices.front()) : ParameterValue(value);
    }
    case ParameterType::Real: {
        const double u = static_cast<double>(random() >> 11) / 9007199254740992.0;
        return spec.min == spec.max ? (u - 0.5) * std::exp2(static_cast<double>(random() % 200) - 100.0)
                                    : spec.min + u * (spec.max - spec.min);
    }
    }
    return false;
}

StageCall randomCall(const StageFactory& stage, std::mt19937_64& random)
{
    StageCall call{stage.info().id, {}};
    for (const ParameterSpec& spec : stage.info().parameters)
        call.parameters[spec.name] = randomValue(spec, random);
    return call;
}

} // namespace

class TestPipeline : public QObject {
    Q_OBJECT
private Q_SLOTS:
    void initTestCase() { test::fill(m_registry); }

    void canonicalText()
    {
        QS_REQUIRE(p, parsePipeline("  scale( alpha = 0.25 )|-|grid(group=64,bits=3) | sweep", m_registry));
        QCOMPARE(formatPipeline(p),
            std::string("scale(alpha=0.25, seed=0) | - | grid(bits=3, group=64) | sweep(actorder=none, damp=0.01) | - | -"));
        QCOMPARE(p[Slot::Transform].size(), std::size_t{1});
        QVERIFY(p[Slot::Pruner].empty());
    }

    void emptyPipelineKeepsALayer()
    {
        QS_REQUIRE(p, parsePipeline("-", m_registry));
        QVERIFY(p.empty());
        QCOMPARE(formatPipeline(p), std::string("- | - | - | - | - | -"));
        QCOMPARE(pipelineLabel(p, m_registry), std::string("float"));
    }

    void severalStagesOfASlot()
    {
        QS_REQUIRE(p, parsePipeline("scale(alpha=1) + scale | - | grid", m_registry));
        QCOMPARE(p[Slot::Transform].size(), std::size_t{2});
        QCOMPARE(realValue(p[Slot::Transform][1].parameters, "alpha"), 0.5);
        QCOMPARE(p[Slot::Rounding].front().id, std::string("nearest")); // put in for the grid
    }

    /// parse(format(p)) == p and fromJson(toJson(p)) == p for random pipelines of all stages with random values.
    void roundTrips()
    {
        std::mt19937_64 random(2024);
        int made = 0;
        for (int round = 0; round < 3000; ++round) {
            Pipeline pipeline;
            for (int i = 0; i < kSlotCount; ++i) {
                std::vector<const StageFactory*> fitting;
                for (const StageFactory* stage : m_registry.stages())
                    if (stage->info().slot == static_cast<Slot>(i))
                        fitting.push_back(stage);
                const bool many = static_cast<Slot>(i) == Slot::Transform || static_cast<Slot>(i) == Slot::Compensator;
                for (std::size_t n = random() % (many ? 4 : 2); n > 0; --n)
                    pipeline.slots[static_cast<std::size_t>(i)].push_back(
                        randomCall(*fitting[random() % fitting.size()], random));
            }
            if (!checkPipeline(pipeline, m_registry))
                continue; // a combination that the rules refuse
            if (!pipeline[Slot::Grid].empty() && pipeline[Slot::Rounding].empty())
                QFAIL("a grid without rounding was accepted");
            ++made;
            const std::string text = formatPipeline(pipeline);
            QS_REQUIRE(back, parseCanonical(text, m_registry));
            QVERIFY2(back == pipeline, text.c_str());
            QCOMPARE(formatPipeline(back), text);
            const nlohmann::json json = nlohmann::json::parse(pipelineToJson(pipeline).dump());
            QS_REQUIRE(again, pipelineFromJson(json, m_registry, "json"));
            QVERIFY2(again == pipeline, json.dump().c_str());
        }
        QVERIFY(made > 1000);
    }

    void methodsTakeParametersOfTheirStages()
    {
        QS_REQUIRE(plain, parsePipeline("plain", m_registry));
        QCOMPARE(formatPipeline(plain), std::string("- | - | grid(bits=4, group=auto) | nearest() | - | -"));
        QS_REQUIRE(solver, parsePipeline("solver(bits=3, damp=0.1, group=32)", m_registry));
        QCOMPARE(
            formatPipeline(solver), std::string("- | - | grid(bits=3, group=32) | sweep(actorder=none, damp=0.1) | - | -"));
        QS_REQUIRE(smooth, parsePipeline("smooth(a_bits=6, alpha=1)", m_registry));
        QCOMPARE(formatPipeline(smooth),
            std::string("scale(alpha=1, seed=0) | - | grid(bits=4, group=auto) | nearest() | - | act(a_bits=6)"));
        QS_FAILS(InvalidArgument, "method 'plain' has no parameter 'damp': it takes bits, group",
            parsePipeline("plain(damp=1)", m_registry));
        QS_FAILS(InvalidArgument, "did you mean 'damp'?", parsePipeline("solver(dmap=1)", m_registry));
    }

    /// A name that several stages declare goes to all of them.
    void sharedNamesGoEverywhere()
    {
        StageRegistry registry;
        test::fill(registry);
        Method method;
        method.id = "both";
        method.pipeline = "- | - | grid | nearest | shift";
        method.fidelity = "reproduces";
        QVERIFY(registry.add(method));
        QS_REQUIRE(p, parsePipeline("both(bits=5)", registry));
        QCOMPARE(intValue(p[Slot::Grid].front().parameters, "bits"), std::int64_t{5});
        QCOMPARE(intValue(p[Slot::Compensator].front().parameters, "bits"), std::int64_t{5});
    }

    void errors_data()
    {
        QTest::addColumn<QString>("text");
        QTest::addColumn<QString>("message");
        QTest::newRow("unknown method") << "solvr"
                                        << "column 1: there is no method 'solvr' (did you mean 'solver'?)";
        QTest::newRow("unknown stage") << "- | - | gird(bits=4)"
                                       << "column 9: there is no stage 'gird' (did you mean 'grid'?)";
        QTest::newRow("nothing near") << "- | - | zzzzzzzz"
                                      << "the grid stages are: grid";
        QTest::newRow("wrong slot") << "grid"
                                    << "stage 'grid' belongs into slot 3 (grid), not into slot 1 (transform)";
        QTest::newRow("method inside") << "- | - | plain"
                                       << "'plain' is a method, not a stage";
        QTest::newRow("value") << "- | - | grid(bits=12)"
                               << "column 19: bits=12 is not allowed: it takes a whole number from 2 to 8";
        QTest::newRow("name") << "- | - | grid(bit=2)"
                              << "column 14: stage 'grid' has no parameter 'bit': it takes bits, group (did you mean 'bits'?)";
        QTest::newRow("twice") << "plain(bits=3, bits=4)"
                               << "column 15: parameter 'bits' is given twice";
        QTest::newRow("no value") << "plain(bits=)"
                                  << "column 12: the value of parameter 'bits' is missing";
        QTest::newRow("no equals") << "plain(bits)"
                                   << "column 11: '=' is missing";
        QTest::newRow("open") << "plain(bits=3"
                              << "column 13: ')' is missing";
        QTest::newRow("quote") << "- | mask(pattern=\"2:4) | - | -"
                               << "column 18: the quoted value of parameter 'pattern' does not end";
        QTest::newRow("escape") << "- | mask(pattern=\"a\\t\")"
                                << "backslash";
        QTest::newRow("utf-8") << QString::fromLatin1("- | mask(pattern=\"\xff\")") << "";
        QTest::newRow("empty text") << ""
                                    << "column 1: expected a stage or method name";
        QTest::newRow("empty slot") << "scale | | grid"
                                    << "column 9: expected a stage or method name, or '-'";
        QTest::newRow("too many") << "-|-|-|-|-|-|-"
                                  << "column 13: a pipeline has 6 slots";
        QTest::newRow("junk") << "plain; rm"
                              << "column 6: unexpected ';";
        QTest::newRow("two grids") << "- | - | grid + grid"
                                   << "the grid slot takes one stage, not 'grid' and 'grid'";
        QTest::newRow("rounding alone") << "- | - | - | sweep"
                                        << "rounding stage 'sweep' needs a grid or a pruner";
        QTest::newRow("compensator alone") << "- | - | - | - | shift"
                                           << "compensator 'shift' needs a grid or a pruner";
        QTest::newRow("construction") << "solver(damp=7)"
                                      << "damp=7 is refused by construction";
    }
    void errors()
    {
        QFETCH(QString, text);
        QFETCH(QString, message);
        if (QByteArray(QTest::currentDataTag()) == "utf-8") {
            QS_FAILS(InvalidArgument, "is not UTF-8", parsePipeline("- | mask(pattern=\"\xff\")", m_registry));
            return;
        }
        QS_FAILS(InvalidArgument, message.toStdString(), parsePipeline(text.toStdString(), m_registry));
    }

    void badJson_data()
    {
        QTest::addColumn<QString>("text");
        QTest::addColumn<QString>("message");
        QTest::newRow("list") << "[]"
                              << "must be an object";
        QTest::newRow("schema") << R"({"pipeline": {}})"
                                << "field schema: must be the number 1";
        QTest::newRow("newer") << R"({"schema": 2, "pipeline": {}})"
                               << "schema 2 is not known here";
        QTest::newRow("key") << R"({"schema": 1, "pipelin": {}})"
                             << "unknown key 'pipelin'";
        QTest::newRow("slot") << R"({"schema": 1, "pipeline": {"grids": []}})"
                              << "did you mean 'grid'?";
        QTest::newRow("type") << R"({"schema": 1, "pipeline": {"grid": {}}})"
                              << "pipeline.grid: must be a list";
        QTest::newRow("stage") << R"({"schema": 1, "pipeline": {"grid": [{"stage": "gird"}]}})"
                               << "pipeline.grid[0]: there is no stage 'gird'";
        QTest::newRow("value") << R"({"schema": 1, "pipeline": {"grid": [{"stage": "grid", "parameters": {"bits": 1}}]}})"
                               << "pipeline.grid[0]: bits";
        QTest::newRow("value type") << R"({"schema": 1, "pipeline": {"grid": [{"stage": "grid", "parameters": {"bits": []}}]}})"
                                    << "pipeline.grid[0].parameters.bits";
        QTest::newRow("rules") << R"({"schema": 1, "pipeline": {"rounding": [{"stage": "sweep"}]}})"
                               << "needs a grid or a pruner";
    }
    void badJson()
    {
        QFETCH(QString, text);
        QFETCH(QString, message);
        const auto result = pipelineFromJson(nlohmann::json::parse(text.toStdString()), m_registry, "file");
        QVERIFY(!result);
        QVERIFY2(result.error().line().find(message.toStdString()) != std::string::npos, result.error().line().c_str());
        QVERIFY2(result.error().where.rfind("file", 0) == 0, result.error().line().c_str());
    }

    void loadsFiles()
    {
        const QTemporaryDir dir;
        const std::string path = dir.filePath(QStringLiteral("p.json")).toStdString();
        QS_REQUIRE(p, parsePipeline("smooth(bits=3)", m_registry));
        std::ofstream(path) << pipelineToJson(p).dump(1);
        QS_REQUIRE(loaded, loadPipeline(path, m_registry));
        QVERIFY(loaded == p);
        QS_FAILS(
            NotFound, "missing.json", loadPipeline(dir.filePath(QStringLiteral("missing.json")).toStdString(), m_registry));
        std::ofstream(path) << "{\"schema\": 1, \"schema\": 1, \"pipeline\": {}}";
        QS_FAILS(Format, "occurs twice", loadPipeline(path, m_registry));
    }

    void automaticGroupsResolve()
    {
        QS_REQUIRE(p, parsePipeline("plain", m_registry));
        QS_REQUIRE(wide, resolveFor(p, m_registry, 576));
        QCOMPARE(formatPipeline(wide), std::string("- | - | grid(bits=4, group=64) | nearest() | - | -"));
        QS_REQUIRE(again, resolveFor(wide, m_registry, 576));
        QVERIFY(again == wide);
        QS_REQUIRE(fixed, parsePipeline("plain(group=128)", m_registry));
        QS_FAILS(InvalidArgument, "128", resolveFor(fixed, m_registry, 576));
    }

    void labels_data()
    {
        QTest::addColumn<QString>("text");
        QTest::addColumn<QString>("label");
        QTest::newRow("method") << "solver(bits=3, group=128)"
                                << "solver 3 bit g128";
        QTest::newRow("auto") << "plain"
                              << "plain 4 bit";
        QTest::newRow("row") << "plain(group=-1)"
                             << "plain 4 bit row";
        QTest::newRow("option") << "solver(damp=0.5, group=64)"
                                << "solver 4 bit g64 damp=0.5";
        QTest::newRow("mask") << "sparse(sparsity=0.6)"
                              << "sparse 60 %";
        QTest::newRow("pattern") << "sparse(pattern=2:4)"
                                 << "sparse 2:4";
        QTest::newRow("activations") << "smooth(group=32)"
                                     << "smooth 4 bit g32 a8";
        QTest::newRow("stages") << "scale | - | grid(group=16) | sweep"
                                << "scale+grid+sweep 4 bit g16";
    }
    void labels()
    {
        QFETCH(QString, text);
        QFETCH(QString, label);
        QS_REQUIRE(p, parsePipeline(text.toStdString(), m_registry));
        QCOMPARE(QString::fromStdString(pipelineLabel(p, m_registry)), label);
    }

    void needsAreTheUnion()
    {
        QS_REQUIRE(p, parsePipeline("scale | - | grid | sweep", m_registry));
        QVERIFY(pipelineNeeds(p, m_registry) == (std::vector<std::string>{"gram", "stats"}));
        QVERIFY(pipelineParameters(p, m_registry)
            == (std::vector<std::string>{"actorder", "alpha", "bits", "damp", "group", "seed"}));
    }

    void hostileTextsEndInErrors()
    {
        std::mt19937_64 random(5);
        const std::string alphabet = "grid()=,|+-\"\\ 4a\n\x80";
        for (int i = 0; i < 20000; ++i) {
            std::string text;
            for (std::size_t n = random() % 24; n > 0; --n)
                text += alphabet[random() % alphabet.size()];
            const auto parsed = parsePipeline(text, m_registry);
            if (parsed)
                QVERIFY(*parseCanonical(formatPipeline(*parsed), m_registry) == *parsed);
            else
                QVERIFY(!parsed.error().message.empty());
        }
    }

    void editDistances()
    {
        QCOMPARE(editDistance("kitten", "sitting"), 3);
        QCOMPARE(editDistance("dmap", "damp"), 1); // a swap is one slip
        QCOMPARE(editDistance("", "abc"), 3);
        QCOMPARE(nearestName("gptk", {"rtn", "gptq", "awq"}, 1), std::string("gptq"));
        QCOMPARE(nearestName("zzzz", {"rtn"}, 1), std::string());
    }

private:
    StageRegistry m_registry;
};

QTEST_GUILESS_MAIN(TestPipeline)
#include "tst_pipeline.moc"
