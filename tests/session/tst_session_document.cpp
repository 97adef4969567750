// SPDX-License-Identifier: Apache-2.0
#include "core/session/session_document.h"

#include "core/base/atomic_file.h"
#include "plugins/pruning/pruning.h"
#include "plugins/rounding/rounding.h"
#include "plugins/smoothing/smoothing.h"

#include <QSignalSpy>
#include <QTemporaryDir>
#include <QTest>

#include <nlohmann/json.hpp>

using namespace qs;
using namespace qs::session;

class TestSessionDocument : public QObject {
    Q_OBJECT
private Q_SLOTS:
    void editMakesANewState()
    {
        SessionDocument document;
        QSignalSpy changed(&document, &SessionDocument::changed);
        QSignalSpy modified(&document, &SessionDocument::modifiedChanged);
        const auto before = document.state();
        auto next = document.edit();
        next->theme = QStringLiteral("dark");
        document.set(next);
        QCOMPARE(before->theme, QString()); // the old value is untouched
        QVERIFY(document.modified());
        document.set(before); // what an undo does
        QVERIFY(!document.modified());
        QCOMPARE(changed.size(), 2);
        QCOMPARE(modified.size(), 2);
    }

    void savesRelativePathsAndReadsThemBack()
    {
        QTemporaryDir folder;
        const std::filesystem::path root = folder.path().toStdString();
        SessionDocument document;
        auto state = document.edit();
        state->model = root / "models" / "tiny";
        state->dump = root / "dump.h5";
        state->modelId = "0123";
        state->theme = QStringLiteral("dark");
        state->selectedLayer = QStringLiteral("model.layers.0.mlp.down_proj");
        state->selectedPipeline = 2;
        document.set(state);
        const std::filesystem::path file = root / "work.qsession";
        const auto saved = document.save(file);
        QVERIFY2(saved.has_value(), saved ? "" : saved.error().line().c_str());
        QVERIFY(!document.modified());

        const auto text = readTextFile(file);
        QVERIFY(text.has_value());
        const auto json = nlohmann::json::parse(*text);
        QCOMPARE(json.at("schema").get<int>(), 1);
        QCOMPARE(json.at("model").get<std::string>(), std::string("models/tiny"));

        const recipe::StageRegistry registry;
        const auto read = SessionDocument::read(file, registry);
        QVERIFY2(read.has_value(), read ? "" : read.error().line().c_str());
        QCOMPARE(read->model, state->model);
        QCOMPARE(read->dump, state->dump);
        QCOMPARE(read->modelId, state->modelId);
        QCOMPARE(read->theme, state->theme);
        QCOMPARE(read->selectedLayer, state->selectedLayer);
        QCOMPARE(read->selectedPipeline, 2);
    }

    /// Files of every schema stay readable: tests/data keeps one of each, written once and never written anew.
    void opensTheFileOfEverySchema_data()
    {
        QTest::addColumn<QString>("name");
        QTest::newRow("schema 1") << QStringLiteral("session_schema1.qsession");
    }
    void opensTheFileOfEverySchema()
    {
        QFETCH(QString, name);
        recipe::StageRegistry registry;
        QVERIFY(plugins::registerRounding(registry));
        QVERIFY(plugins::registerSmoothing(registry));
        QVERIFY(plugins::registerPruning(registry));
        const std::filesystem::path data = QS_DATA_DIR;
        const auto read = SessionDocument::read(data / name.toStdString(), registry);
        QVERIFY2(read.has_value(), read ? "" : read.error().line().c_str());
        QCOMPARE(read->model, std::filesystem::path(QS_SAMPLE_DIR));
        QCOMPARE(read->dump, std::filesystem::path(QS_SAMPLE_DIR "/dump.h5"));
        QCOMPARE(read->modelId, std::string("f3e0635483c85ef1bdf1c905673aa38b"));
        QCOMPARE(read->theme, QStringLiteral("dark"));
        QCOMPARE(read->selectedLayer, QStringLiteral("model.layers.3.mlp.down_proj"));
        QCOMPARE(read->selectedPipeline, 1);
        QCOMPARE(read->pipelines.size(), std::size_t{3});

        const auto only = [](const recipe::Pipeline& pipeline, recipe::Slot slot) { return pipeline[slot].at(0); };
        const recipe::StageCall automatic = only(read->pipelines[0], recipe::Slot::Grid);
        QCOMPARE(recipe::textValue(automatic.parameters, "group"), std::string("auto"));
        const recipe::StageCall grid = only(read->pipelines[1], recipe::Slot::Grid);
        QCOMPARE(grid.id, std::string("int"));
        QCOMPARE(recipe::intValue(grid.parameters, "bits"), std::int64_t{3});
        QCOMPARE(recipe::intValue(grid.parameters, "group"), std::int64_t{64});
        QCOMPARE(recipe::textValue(grid.parameters, "grid"), std::string("asym-0"));
        QCOMPARE(recipe::textValue(grid.parameters, "range"), std::string("mse"));
        const recipe::StageCall sweep = only(read->pipelines[1], recipe::Slot::Rounding);
        QCOMPARE(sweep.id, std::string("obs"));
        QCOMPARE(recipe::textValue(sweep.parameters, "actorder"), std::string("static"));
        QCOMPARE(recipe::realValue(only(read->pipelines[2], recipe::Slot::Transform).parameters, "alpha"), 0.5);
        QCOMPARE(
            recipe::intValue(only(read->pipelines[2], recipe::Slot::ActivationGrid).parameters, "a_bits"), std::int64_t{8});

        QCOMPARE(read->recipe.name, std::string("mixed"));
        QCOMPARE(read->recipe.target, std::string("vllm"));
        QCOMPARE(read->recipe.calibration.at("tokens"), std::string("2560"));
        QCOMPARE(read->recipe.rules.size(), std::size_t{2});
        QCOMPARE(read->recipe.rules[0].pattern, std::string("mlp\\."));
        QVERIFY(read->recipe.rules[0].pipeline == read->pipelines[1]);
        const recipe::StageCall pruner = only(read->recipe.rules[1].pipeline, recipe::Slot::Pruner);
        QCOMPARE(pruner.id, std::string("sparsegpt"));
        QCOMPARE(recipe::textValue(pruner.parameters, "pattern"), std::string("2:4"));
    }

    void brokenFiles_data()
    {
        QTest::addColumn<QByteArray>("content");
        QTest::addColumn<QString>("message");
        QTest::newRow("not json") << QByteArray("hello") << "no JSON object";
        QTest::newRow("no schema") << QByteArray("{}") << "schema is missing";
        QTest::newRow("future") << QByteArray("{\"schema\": 99}") << "schema 99";
        QTest::newRow("wrong type") << QByteArray("{\"schema\": 1, \"model\": 5}") << "model must be a text";
        QTest::newRow("wrong number") << QByteArray("{\"schema\": 1, \"selected_pipeline\": -1}")
                                      << "selected_pipeline must be";
        QTest::newRow("unknown method") << QByteArray("{\"schema\": 1, \"pipelines\": [\"nosuch\"]}") << "nosuch";
    }
    void brokenFiles()
    {
        QFETCH(QByteArray, content);
        QFETCH(QString, message);
        QTemporaryDir folder;
        const std::filesystem::path file = (folder.path() + QStringLiteral("/x.qsession")).toStdString();
        QVERIFY(writeTextFile(file, content.toStdString()).has_value());
        const recipe::StageRegistry registry;
        const auto read = SessionDocument::read(file, registry);
        QVERIFY(!read);
        QVERIFY2(QString::fromStdString(read.error().line()).contains(message), read.error().line().c_str());
    }
};

QTEST_GUILESS_MAIN(TestSessionDocument)
#include "tst_session_document.moc"
