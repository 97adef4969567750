// SPDX-License-Identifier: Apache-2.0
#include "core/recipe/registry.h"
#include "stages.h"

#include <QDir>
#include <QTemporaryDir>
#include <fstream>
#include <nlohmann/json.hpp>

using namespace qs;
using namespace qs::recipe;

namespace {

nlohmann::json good()
{
    return {{"schema", 1}, {"id", "mine"}, {"name", "Mine"}, {"summary", "Does it."}, {"pipeline", "- | - | grid(bits=3)"},
        {"citation", "Somebody 2024"}, {"url", "https://example.org"}, {"equations", "(1)"}, {"fidelity", "approximates"},
        {"fidelity_note", "Not quite."}, {"needs", nlohmann::json::array()}};
}

} // namespace

class TestRegistry : public QObject {
    Q_OBJECT
private Q_SLOTS:
    void readsMethods()
    {
        const QTemporaryDir dir;
        QVERIFY(QDir(dir.path()).mkpath(QStringLiteral("family/methods")));
        const std::string folder = dir.filePath(QStringLiteral("family/methods")).toStdString();
        std::ofstream(folder + "/mine.json") << good().dump();
        std::ofstream(folder + "/notes.txt") << "not a method";
        StageRegistry registry;
        test::fill(registry);
        const auto added = registry.addMethods(folder + "/");
        QVERIFY2(added, added ? "" : added.error().line().c_str());
        const Method* method = registry.method("mine");
        QVERIFY(method);
        QCOMPARE(method->family, std::string("family"));
        QCOMPARE(method->name, std::string("Mine"));
        QCOMPARE(method->pipeline, std::string("- | - | grid(bits=3, group=auto) | nearest() | - | -"));
        QCOMPARE(method->fidelity, std::string("approximates"));
        QCOMPARE(method->fidelityNote, std::string("Not quite."));
        QCOMPARE(method->equations, std::string("(1)"));
        QVERIFY(method->needs.empty());
        QVERIFY(std::is_sorted(
            registry.methods().begin(), registry.methods().end(), [](const auto& a, const auto& b) { return a.id < b.id; }));
    }

    void needsAreCompleted()
    {
        StageRegistry registry;
        test::fill(registry);
        QVERIFY(registry.method("solver")->needs == std::vector<std::string>{"gram"});
        QVERIFY(registry.method("smooth")->needs == std::vector<std::string>{"stats"});
    }

    void refusesBadFiles_data()
    {
        QTest::addColumn<QString>("key");
        QTest::addColumn<QString>("value");
        QTest::addColumn<QString>("message");
        QTest::newRow("unknown key") << "fidelty"
                                     << "\"x\""
                                     << "unknown key 'fidelty'";
        QTest::newRow("fidelity") << "fidelity"
                                  << "\"perfect\""
                                  << "field fidelity: is 'perfect', must be reproduces or approximates";
        QTest::newRow("schema") << "schema"
                                << "9"
                                << "field schema: schema 9";
        QTest::newRow("type") << "name"
                              << "3"
                              << "field name: must be a text";
        QTest::newRow("empty") << "citation"
                               << "\"\""
                               << "field citation: must not be empty";
        QTest::newRow("id") << "id"
                            << "\"My Method\""
                            << "is not a lower-case word";
        QTest::newRow("taken") << "id"
                               << "\"plain\""
                               << "there is already a method 'plain'";
        QTest::newRow("pipeline") << "pipeline"
                                  << "\"- | - | gird\""
                                  << "field pipeline, column 9: there is no stage 'gird'";
        QTest::newRow("needs") << "needs"
                               << "\"gram\""
                               << "field needs: must be a list of texts";
        QTest::newRow("opening") << "opening"
                                 << "0"
                                 << "field opening: must be a place from 1 to 99";
    }
    void refusesBadFiles()
    {
        QFETCH(QString, key);
        QFETCH(QString, value);
        QFETCH(QString, message);
        const QTemporaryDir dir;
        const std::string file = dir.filePath(QStringLiteral("bad.json")).toStdString();
        nlohmann::json json = good();
        json[key.toStdString()] = nlohmann::json::parse(value.toStdString());
        std::ofstream(file) << json.dump();
        StageRegistry registry;
        test::fill(registry);
        const auto added = registry.addMethods(dir.path().toStdString());
        QVERIFY(!added);
        QVERIFY2(added.error().line().find(message.toStdString()) != std::string::npos, added.error().line().c_str());
        QVERIFY2(added.error().where.find("bad.json") != std::string::npos, added.error().line().c_str());
    }

    void missingFieldsAndFoldersAreNamed()
    {
        const QTemporaryDir dir;
        nlohmann::json json = good();
        json.erase("citation");
        std::ofstream(dir.filePath(QStringLiteral("a.json")).toStdString()) << json.dump();
        StageRegistry registry;
        test::fill(registry);
        json["citation"] = "A and B, 2024";
        json["id"] = "whole";
        std::ofstream(dir.filePath(QStringLiteral("b.json")).toStdString()) << json.dump();
        QS_FAILS(Format, "field citation: is missing", registry.addMethods(dir.path().toStdString()));
        QVERIFY(registry.method("whole")); // the other file counts
        QS_FAILS(Io, "nowhere", registry.addMethods(dir.filePath(QStringLiteral("nowhere")).toStdString()));
    }

    void refusesStages()
    {
        StageRegistry registry;
        test::fill(registry);
        const auto create = [](const Parameters&) -> Expected<StageInstance> { return StageInstance{}; };
        StageInfo info;
        info.id = "grid";
        QS_FAILS(InvalidArgument, "there is already a stage 'grid'", registry.add(makeFactory(info, create)));
        info.id = "Grid!";
        QS_FAILS(InvalidArgument, "is not a lower-case word", registry.add(makeFactory(info, create)));
        info.id = "other";
        info.parameters = {{.name = "bits", .type = ParameterType::Int, .defaultValue = std::int64_t{1}, .min = 2, .max = 8}};
        QS_FAILS(InvalidArgument, "bits=1 is not allowed",
            registry.add(makeFactory(info, create))); // a default outside its own range
        QVERIFY(!registry.stage("other"));
    }

    void listsBySlot()
    {
        StageRegistry registry;
        test::fill(registry);
        std::vector<std::string> ids;
        for (const StageFactory* stage : registry.stages())
            ids.push_back(stage->info().id);
        QVERIFY(ids == (std::vector<std::string>{"scale", "mask", "grid", "nearest", "sweep", "shift", "act"}));
        QVERIFY(registry.stage("nope") == nullptr);
        QVERIFY(registry.method("nope") == nullptr);
    }
};

QTEST_GUILESS_MAIN(TestRegistry)
#include "tst_registry.moc"
