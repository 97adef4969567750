// SPDX-License-Identifier: Apache-2.0
#include "core/recipe/recipe.h"
#include "tiny_model.h"

#include <QTemporaryDir>
#include <nlohmann/json.hpp>

using namespace qs;
using namespace qs::recipe;

class TestRecipe : public QObject {
    Q_OBJECT
private Q_SLOTS:
    void initTestCase()
    {
        test::fill(m_registry);
        QVERIFY(m_dir.isValid());
        QS_REQUIRE(model, test::tinyLlama(m_dir.filePath(QStringLiteral("llama")).toStdString()));
        m_model = model;
    }

    void jsonRoundTrip()
    {
        Recipe recipe;
        recipe.name = "mixed \"bits\"";
        recipe.target = "llama.cpp";
        recipe.calibration = {{"dump", "abc"}, {"tokens", "4096"}};
        recipe.rules = {{std::string(kBlockLayers), pipeline("solver(bits=3)")}, {"down_proj$", pipeline("smooth(a_bits=6)")},
            {"o_proj", {}}};
        const nlohmann::json json = nlohmann::json::parse(recipeToJson(recipe).dump());
        QS_REQUIRE(back, recipeFromJson(json, m_registry, "file"));
        QVERIFY(back == recipe);
        const std::string text = json.dump();
        QVERIFY(text.find("\"calibration\"") < text.find("\"kind\"")
            && text.find("\"kind\"") < text.find("\"rules\"")); // sorted keys
    }

    void loads()
    {
        QS_REQUIRE(fromText, loadRecipe("solver(bits=3)", m_registry));
        QVERIFY(fromText == uniformRecipe(pipeline("solver(bits=3)")));
        const std::string path = m_dir.filePath(QStringLiteral("r.json")).toStdString();
        std::ofstream(path) << pipelineToJson(pipeline("plain(bits=2)")).dump();
        QS_REQUIRE(fromPipeline, loadRecipe(path, m_registry));
        QVERIFY(fromPipeline == uniformRecipe(pipeline("plain(bits=2)")));
        std::ofstream(path) << recipeToJson(fromText).dump(2);
        QS_REQUIRE(fromRecipe, loadRecipe(path, m_registry));
        QVERIFY(fromRecipe == fromText);
        // Methods' names and pipeline documents are read as well.
        nlohmann::json json = recipeToJson(fromText);
        json["rules"] = {{{"pattern", "*"}, {"pipeline", "solver(bits=3)"}},
            {{"pattern", "q_proj"}, {"pipeline", pipelineToJson(pipeline("plain"))}}};
        std::ofstream(path) << json.dump();
        QS_REQUIRE(mixed, loadRecipe(path, m_registry));
        QVERIFY(mixed.rules[0] == fromText.rules[0]);
        QVERIFY(mixed.rules[1].pipeline == pipeline("plain"));
        std::ofstream(path) << "[1]";
        QS_FAILS(Format, "neither a recipe nor a pipeline", loadRecipe(path, m_registry));
        QS_FAILS(NotFound, "no.json", loadRecipe("no.json", m_registry));
        QS_FAILS(InvalidArgument, "there is no method 'solvr'", loadRecipe("solvr", m_registry));
    }

    void refusesBadDocuments_data()
    {
        QTest::addColumn<QString>("patch");
        QTest::addColumn<QString>("message");
        QTest::newRow("key") << "{'rule': []}"
                             << "unknown key 'rule'";
        QTest::newRow("kind") << "{'kind': 'recipe'}"
                              << "field kind: is 'recipe'";
        QTest::newRow("schema") << "{'schema': 2}"
                                << "schema 2 is not known here";
        QTest::newRow("policy") << "{'policy': 'compressed'}"
                                << "only float is";
        QTest::newRow("rules") << "{'rules': {}}"
                               << "field rules: must be a list";
        QTest::newRow("rule key") << "{'rules': [{'pattern': 'a', 'pipeline': 'plain', 'x': 1}]}"
                                  << "rules[0]: unknown key 'x'";
        QTest::newRow("pattern") << "{'rules': [{'pattern': '(', 'pipeline': 'plain'}]}"
                                 << "rules[0], field pattern";
        QTest::newRow("pipeline") << "{'rules': [{'pattern': 'a', 'pipeline': '- | - | gird'}]}"
                                  << "field pipeline, column 9: there is no stage";
        QTest::newRow("pipeline type") << "{'rules': [{'pattern': 'a', 'pipeline': 3}]}"
                                       << "must be a text or an object";
        QTest::newRow("calibration") << "{'calibration': {'tokens': 3}}"
                                     << "calibration.tokens: must be a text";
    }
    void refusesBadDocuments()
    {
        QFETCH(QString, patch);
        QFETCH(QString, message);
        nlohmann::json json = recipeToJson(uniformRecipe(pipeline("plain")));
        json.merge_patch(nlohmann::json::parse(
            patch.replace(QLatin1Char('\''), QLatin1Char('"')).toStdString())); // moc stumbles over raw strings
        const auto result = recipeFromJson(json, m_registry, "file");
        QVERIFY(!result);
        QVERIFY2(result.error().line().find(message.toStdString()) != std::string::npos, result.error().line().c_str());
    }

    void lastMatchWinsAndGroupsResolve()
    {
        Recipe recipe = uniformRecipe(pipeline("plain"));
        recipe.rules.push_back({"down_proj", pipeline("solver(bits=3)")});
        recipe.rules.push_back({"o_proj", {}});
        QS_REQUIRE(assignment, assign(recipe, m_model->spec(), m_registry));
        QCOMPARE(assignment.layers.size(), m_model->spec().layers.size());
        QCOMPARE(formatPipeline(*at(assignment, "q_proj")), std::string("- | - | grid(bits=4, group=16) | nearest() | - | -"));
        QCOMPARE(formatPipeline(*at(assignment, "down_proj")),
            std::string("- | - | grid(bits=3, group=32) | sweep(actorder=none, damp=0.01) | - | -"));
        QVERIFY(!at(assignment, "o_proj"));
    }

    void patternThatMatchesNothing()
    {
        Recipe recipe = uniformRecipe(pipeline("plain"));
        recipe.rules.push_back({"mlp\\.down_prj$", pipeline("plain")});
        QS_FAILS(NotFound, "the pattern 'mlp\\.down_prj$' matches no layer", assign(recipe, m_model->spec(), m_registry));
        QS_FAILS(NotFound, "the nearest layer is 'model.layers.0.mlp.down_proj'", assign(recipe, m_model->spec(), m_registry));
    }

    void splitFusionGroup()
    {
        Recipe recipe = uniformRecipe(pipeline("plain"));
        recipe.rules.push_back({"k_proj", pipeline("plain(bits=8)")});
        const auto result = assign(recipe, m_model->spec(), m_registry);
        QVERIFY(!result);
        QVERIFY(result.error().code == Errc::Mismatch);
        const std::string line = result.error().line();
        for (const char* part : {"fusion group model.layers.0.self_attn.qkv_proj", "q_proj gets 'plain 4 bit g16'",
                 "k_proj gets 'plain 8 bit g16'"})
            QVERIFY2(line.find(part) != std::string::npos, line.c_str());
        recipe.rules.back() = {"k_proj", {}};
        QS_FAILS(Mismatch, "k_proj gets nothing", assign(recipe, m_model->spec(), m_registry));
    }

    void splitSite()
    {
        model::ModelSpec spec = m_model->spec();
        spec.fusionGroups.clear(); // a runtime that fuses nothing still shares the input
        Recipe recipe = uniformRecipe(pipeline("smooth"));
        recipe.rules.push_back({"up_proj", pipeline("plain")});
        QS_FAILS(Mismatch, "the common input of model.layers.0.mlp.gate_proj, model.layers.0.mlp.up_proj",
            assign(recipe, spec, m_registry));
        Recipe plain = uniformRecipe(pipeline("plain"));
        plain.rules.push_back({"up_proj", pipeline("plain(bits=3)")});
        QVERIFY(assign(plain, spec, m_registry)); // without a transform nothing is shared
    }

    void groupThatDoesNotDivide()
    {
        const auto result = assign(uniformRecipe(pipeline("plain(group=24)")), m_model->spec(), m_registry);
        QVERIFY(!result);
        QVERIFY(result.error().code == Errc::InvalidArgument);
        QVERIFY2(result.error().line().find("model.layers.0.self_attn.q_proj") == 0, result.error().line().c_str());
        QVERIFY2(result.error().line().find("24") != std::string::npos
                && result.error().line().find("16 columns") != std::string::npos,
            result.error().line().c_str());
    }

    void blockLayersLeaveTheHeadAlone()
    {
        model::ModelSpec spec;
        spec.family = model::Family::Llama;
        spec.layers.resize(2);
        spec.layers[0] = {.name = "model.layers.0.mlp.down_proj", .block = 0, .in = 32, .out = 16};
        spec.layers[1] = {.name = "lm_head", .block = -1, .in = 16, .out = 24};
        QS_REQUIRE(assignment, assign(uniformRecipe(pipeline("plain")), spec, m_registry));
        QVERIFY(assignment.layers[0] && !assignment.layers[1]);
        spec.family = model::Family::Plain;
        QS_REQUIRE(plain, assign(uniformRecipe(pipeline("plain")), spec, m_registry));
        QVERIFY(plain.layers[0] && plain.layers[1]);
        spec.layers.clear();
        QS_FAILS(NotFound, "the model has no layers", assign(uniformRecipe(pipeline("plain")), spec, m_registry));
    }

private:
    Pipeline pipeline(const std::string& text) const { return parsePipeline(text, m_registry).value(); }
    std::shared_ptr<const Pipeline> at(const Assignment& assignment, const std::string& module) const
    {
        for (std::size_t i = 0; i < assignment.layers.size(); ++i)
            if (m_model->spec().layers[i].name.ends_with(module))
                return assignment.layers[i];
        return nullptr;
    }

    QTemporaryDir m_dir;
    StageRegistry m_registry;
    std::shared_ptr<const model::Model> m_model;
};

QTEST_GUILESS_MAIN(TestRecipe)
#include "tst_recipe.moc"
