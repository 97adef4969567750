// SPDX-License-Identifier: Apache-2.0
#include "core/base/atomic_file.h"
#include "core/stats/dump.h"
#include "core/tensor/dtype.h"
#include "tests/core/stats/random_stats.h"

#include <QDir>
#include <QTemporaryDir>
#include <QTest>
#include <cmath>

using namespace qs;
using namespace qs::stats;

Q_DECLARE_METATYPE(std::vector<std::vector<std::int32_t>>)

namespace {

bool equal(const InputPart& a, const InputPart& b)
{
    return a.count() == b.count() && a.channels.nonFinite == b.channels.nonFinite && a.channels.sum == b.channels.sum
        && a.channels.sumsq == b.channels.sumsq && a.channels.sumabs == b.channels.sumabs && a.channels.m3 == b.channels.m3
        && a.channels.m4 == b.channels.m4 && a.channels.min == b.channels.min && a.channels.max == b.channels.max
        && std::ranges::equal(a.gram.values(), b.gram.values());
}

DumpInfo infoOf(const std::string& model)
{
    return {.modelId = model,
        .tokenizerId = "tok",
        .datasetId = "text",
        .seqLen = 10,
        .tokens = 60,
        .seed = 18446744073709551610ULL};
}

} // namespace

class TestDump : public QObject {
    Q_OBJECT
private Q_SLOTS:
    void whatIsWrittenIsRead_data()
    {
        QTest::addColumn<int>("channels"); // below, at and above the side of a tile
        for (const int channels : {1, 7, 256, 300})
            QTest::addRow("%d", channels) << channels;
    }
    void whatIsWrittenIsRead()
    {
        QFETCH(int, channels);
        const QTemporaryDir dir;
        const std::filesystem::path path = dir.filePath("a.h5").toStdString();
        const InputStats stats = test::randomStats(6, 1, channels, 1), second = test::randomStats(2, 0, 5, 50);
        const RowMatrix raw = test::randomTokens(300, channels, 7);
        const auto writer = createDump(path, infoOf("model"));
        QVERIFY2(writer, writer ? "" : writer.error().line().c_str());
        QVERIFY((*writer)->addInput("block.q", {"block.q", "block.k"}, stats));
        QVERIFY((*writer)->addInput("odd/na%me.", {"odd/na%me."}, second));
        QVERIFY((*writer)->addRawTokens("block.q", raw));
        QVERIFY((*writer)->addTokenIds({{1, 2, 3}, {4, 5, -6}}));
        QVERIFY(!(*writer)->addInput("block.q", {}, stats)); // twice
        QVERIFY(!QFile::exists(QString::fromStdString(path.string())));
        QVERIFY((*writer)->commit());
        QCOMPARE(QDir(dir.path()).entryList(QDir::Files), QStringList{"a.h5"});

        const auto dump = openDump(path, cpuBackend());
        QVERIFY2(dump, dump ? "" : dump.error().line().c_str());
        QCOMPARE((*dump)->info().modelId, std::string("model"));
        QCOMPARE((*dump)->info().seed, std::uint64_t{18446744073709551610ULL});
        QCOMPARE((*dump)->info().seqLen, Index{10});
        QCOMPARE((*dump)->info().policy, std::string("float"));
        QVERIFY((*dump)->info().producer.starts_with("quantscope ") && (*dump)->info().created.size() == 20);
        QCOMPARE((*dump)->inputIds(), (std::vector<std::string>{"block.q", "odd/na%me."}));
        QCOMPARE((*dump)->inputOf("block.k"), std::string("block.q"));
        QCOMPARE((*dump)->widthOf("block.k"), Index{channels});
        QVERIFY((*dump)->inputOf("other").empty());
        QCOMPARE((*dump)->layers(), (std::vector<std::string>{"block.k", "block.q", "odd/na%me."}));
        const auto read = (*dump)->stats("block.k");
        QVERIFY2(read, read ? "" : read.error().line().c_str());
        QVERIFY(equal((*read)->fit, stats.fit) && equal((*read)->holdout, stats.holdout));
        QCOMPARE((*read)->sink.count, stats.sink.count);
        QVERIFY((*read)->sink.min == stats.sink.min && (*read)->sink.max == stats.sink.max
            && (*read)->sink.sumsq == stats.sink.sumsq);
        QCOMPARE((*dump)->stats("block.q")->get(), read->get()); // kept while held
        QVERIFY(equal((*(*dump)->stats("odd/na%me."))->fit, second.fit));
        QVERIFY((*dump)->hasRawTokens("block.k") && !(*dump)->hasRawTokens("odd/na%me."));
        const auto tokens = (*dump)->rawTokens("block.k");
        QVERIFY(tokens && std::ranges::equal(tokens->values(), raw.values()));
        QCOMPARE((*dump)->rawTokens("block.q", 11)->rows(), Index{11});
        QCOMPARE(*(*dump)->tokenIds(), (std::vector<std::vector<std::int32_t>>{{1, 2, 3}, {4, 5, -6}}));
        const auto missing = (*dump)->stats("other");
        QVERIFY(!missing && missing.error().code == Errc::NotFound);
        QVERIFY(!(*dump)->rawTokens("odd/na%me."));
    }

    void smallerTypes()
    {
        const QTemporaryDir dir;
        const std::filesystem::path path = dir.filePath("a.h5").toStdString();
        const InputStats stats = test::randomStats(3, 0, 20, 1);
        RowMatrix raw = test::randomTokens(20, 20, 7);
        {
            const auto writer = createDump(path, infoOf("m"), {.gramFloat32 = true, .tokensFloat16 = true});
            QVERIFY(writer && (*writer)->addInput("a", {"a"}, stats) && (*writer)->addRawTokens("a", raw));
            raw(3, 3) = 7e4F;
            const auto refused = (*writer)->addRawTokens("b", raw);
            QVERIFY(!refused && refused.error().line().find("float16") != std::string::npos);
            raw(3, 3) = 0.5F;
            QVERIFY((*writer)->commit());
        }
        const auto dump = openDump(path, cpuBackend());
        QVERIFY(dump);
        const auto read = (*dump)->stats("a");
        for (Index i = 0; i < stats.fit.gram.size(); ++i)
            QCOMPARE((*read)->fit.gram.data()[i], static_cast<double>(static_cast<float>(stats.fit.gram.data()[i])));
        const auto tokens = (*dump)->rawTokens("a");
        for (Index i = 0; i < raw.size(); ++i)
            if (i != 3 * 20 + 3)
                QCOMPARE(tokens->data()[i], halfToFloat(floatToHalf(raw.data()[i])));
    }

    void nothingIsLeftWithoutCommit()
    {
        const QTemporaryDir dir;
        {
            const auto writer = createDump(dir.filePath("a.h5").toStdString(), infoOf("m"));
            QVERIFY(writer && (*writer)->addInput("a", {"a"}, test::randomStats(2, 0, 9, 1)));
        }
        QVERIFY(QDir(dir.path()).isEmpty(QDir::Files | QDir::Hidden));
        const auto nowhere = createDump(dir.filePath("no/such/folder/a.h5").toStdString(), infoOf("m"));
        QVERIFY(!nowhere);
        QCOMPARE(nowhere.error().code, Errc::Io);
        const auto full = createDump("/dev/full/a.h5", infoOf("m"));
        QVERIFY(!full && full.error().code == Errc::Io);
    }

    void mergeOfTwoEqualsAll()
    {
        const QTemporaryDir dir;
        const auto path = [&](const char* name) { return std::filesystem::path(dir.filePath(name).toStdString()); };
        const InputStats first = test::randomStats(6, 1, 30, 1), second = test::randomStats(4, 1, 30, 77);
        InputStats all = first;
        all.merge(second);
        int number = 0;
        for (const auto* stats : {&first, &second}) {
            DumpInfo info = infoOf(number == 0 ? "model" : "");
            info.tokens = 2;
            const auto writer = createDump(path(number == 0 ? "a.h5" : "b.h5"), info);
            QVERIFY(writer && (*writer)->addInput("q", {"q", "k"}, *stats) && (*writer)->addTokenIds({{number, number}}));
            QVERIFY((*writer)->addRawTokens("q", test::randomTokens(3, 30, static_cast<unsigned>(number))));
            if (number == 1)
                QVERIFY((*writer)->addInput("only", {"only"}, first));
            QVERIFY((*writer)->commit());
            ++number;
        }
        const auto a = openDump(path("a.h5"), cpuBackend()), b = openDump(path("b.h5"), cpuBackend());
        QVERIFY(a && b);
        const auto done = mergeDumps(**a, **b, path("c.h5"), {});
        QVERIFY2(done, done ? "" : done.error().line().c_str());
        const auto c = openDump(path("c.h5"), cpuBackend());
        QVERIFY(c);
        QCOMPARE((*c)->info().modelId, std::string("model"));
        QCOMPARE((*c)->info().tokens, Index{4});
        const auto merged = (*c)->stats("k");
        QVERIFY(merged);
        QCOMPARE((*merged)->fit.count(), all.fit.count());
        QCOMPARE((*merged)->holdout.count(), all.holdout.count());
        for (Index i = 0; i < all.fit.gram.size(); ++i)
            QVERIFY(std::abs((*merged)->fit.gram.data()[i] - all.fit.gram.data()[i]) <= 1e-10);
        QVERIFY(equal((*(*c)->stats("only"))->fit, first.fit));
        QCOMPARE(*(*c)->tokenIds(), (std::vector<std::vector<std::int32_t>>{{0, 0}, {1, 1}}));
        QCOMPARE((*c)->rawTokens("k")->rows(), Index{6});

        std::stop_source stop;
        stop.request_stop();
        JobContext cancelled;
        cancelled.stop = stop.get_token();
        const auto stopped = mergeDumps(**a, **b, path("d.h5"), cancelled);
        QVERIFY(!stopped && stopped.error().code == Errc::Cancelled);
        QCOMPARE(QDir(dir.path()).entryList(QDir::Files), (QStringList{"a.h5", "b.h5", "c.h5"}));
    }

    void mergeCountsNoTokenTwice_data()
    {
        using Ids = std::vector<std::vector<std::int32_t>>;
        QTest::addColumn<QString>("dataset");
        QTest::addColumn<QString>("input");
        QTest::addColumn<Ids>("ids"); // the other dump: text "text", input "q", windows {1, 2}, {3, 4}
        QTest::addColumn<QString>("error");
        QTest::addColumn<Ids>("merged");
        QTest::addColumn<qlonglong>("tokens");
        const Ids same{{1, 2}, {3, 4}}, next{{5, 6}, {7, 8}}, partly{{3, 4}, {5, 6}}, longer{{1, 2, 3}}, none;
        QTest::newRow("the same run") << "text"
                                      << "q" << same << "holds nothing that" << none << 0LL;
        QTest::newRow("the same windows of another text") << "more"
                                                          << "q" << same << "shares 2 of its 2 windows with" << none << 0LL;
        QTest::newRow("one window") << "text"
                                    << "q" << partly << "shares 1 of its 2 windows with" << none << 0LL;
        QTest::newRow("one window of a text that holds the other")
            << "more"
            << "q" << partly << "shares 1 of its 2 windows with" << none << 0LL;
        QTest::newRow("other windows of the text") << "text"
                                                   << "q" << next << "" << Ids{{1, 2}, {3, 4}, {5, 6}, {7, 8}} << 8LL;
        QTest::newRow("windows of another length") << "text"
                                                   << "q" << longer << "in other windows" << none << 0LL;
        QTest::newRow("another text in windows of another length") << "more"
                                                                   << "q" << longer << "windows of 3 tokens" << none << 0LL;
        QTest::newRow("windows not known") << "text"
                                           << "q" << none << "is of the same text as" << none << 0LL;
        QTest::newRow("windows not known, merged before") << "a+text"
                                                          << "q" << none << "is of the same text as" << none << 0LL;
        QTest::newRow("windows not known, another text") << "more"
                                                         << "q" << none << "" << same << 8LL;
        QTest::newRow("another input of the same run") << "text"
                                                       << "k" << same << "" << same << 4LL;
        QTest::newRow("another input, windows not known") << "text"
                                                          << "k" << none << "" << same << 4LL;
    }
    void mergeCountsNoTokenTwice()
    {
        using Ids = std::vector<std::vector<std::int32_t>>;
        QFETCH(QString, dataset);
        QFETCH(QString, input);
        QFETCH(Ids, ids);
        QFETCH(QString, error);
        const QTemporaryDir dir;
        const auto path = [&](const char* name) { return std::filesystem::path(dir.filePath(name).toStdString()); };
        const InputStats stats = test::randomStats(4, 1, 8, 1);
        const auto make
            = [&](const char* name, const QString& text, const QString& layer, const Ids& windows, Index tokens = 4) {
                  DumpInfo info = infoOf("model");
                  info.datasetId = text.toStdString();
                  info.tokens = tokens;
                  const auto writer = createDump(path(name), info);
                  if (!writer || !(*writer)->addInput(layer.toStdString(), {layer.toStdString()}, stats)
                      || (!windows.empty() && !(*writer)->addTokenIds(windows)) || !(*writer)->commit())
                      qFatal("cannot write");
                  return *openDump(path(name), cpuBackend());
              };
        const auto a = make("a.h5", "text", "q", {{1, 2}, {3, 4}}),
                   b = make("b.h5", dataset, input, ids, ids.empty() ? 4 : static_cast<Index>(ids.size() * ids.front().size()));
        const auto done = mergeDumps(*a, *b, path("c.h5"), {});
        if (!error.isEmpty()) {
            QVERIFY(!done);
            QCOMPARE(done.error().code, Errc::Mismatch);
            QVERIFY2(done.error().line().find(error.toStdString()) != std::string::npos, done.error().line().c_str());
            QVERIFY(
                done.error().line().find("a.h5") != std::string::npos && done.error().line().find('\n') == std::string::npos);
            QVERIFY(!QFile::exists(dir.filePath("c.h5")));
            return;
        }
        QVERIFY2(done, done ? "" : done.error().line().c_str());
        const auto c = openDump(path("c.h5"), cpuBackend());
        QVERIFY(c);
        QTEST(*(*c)->tokenIds(), "merged");
        QTEST(static_cast<qlonglong>((*c)->info().tokens), "tokens");
        if (input == QStringLiteral("q") && ids.empty()) { // windows are known in part: the texts decide
            const auto again = make("d.h5", dataset, input, {{90, 91}, {92, 93}});
            const auto twice = mergeDumps(**c, *again, path("e.h5"), {});
            QVERIFY(!twice && twice.error().line().find("is of the same text as") != std::string::npos);
        }
    }

    /// Two captures of one run, each with the Gram matrices of other layers, unite to what one capture of both had given.
    void mergeUnitesOneRun()
    {
        const QTemporaryDir dir;
        const InputStats whole[] = {test::randomStats(6, 1, 30, 1), test::randomStats(6, 1, 20, 5)};
        const RowMatrix raw = test::randomTokens(4, 30, 9);
        const auto make = [&](const char* name, int gramOf, std::uint64_t seed, double factor) {
            const std::filesystem::path path = dir.filePath(name).toStdString();
            DumpInfo info = infoOf("model");
            info.tokens = 4;
            info.seed = seed;
            const auto writer = createDump(path, info);
            bool written = static_cast<bool>(writer);
            for (int i = 0; i < 2; ++i) {
                InputStats stats = whole[i];
                if (i != gramOf)
                    stats.fit.gram = stats.holdout.gram = {};
                for (double& value : stats.fit.channels.sumsq)
                    value *= factor;
                written = written && (*writer)->addInput(i == 0 ? "q" : "o", {i == 0 ? "q" : "o"}, stats);
            }
            written = written && (*writer)->addRawTokens("q", raw) && (*writer)->addTokenIds({{1, 2}, {3, 4}});
            if (!written || !(*writer)->commit())
                qFatal("cannot write");
            return *openDump(path, cpuBackend());
        };
        const auto a = make("a.h5", 0, 1, 1), b = make("b.h5", 1, 1, 1 + 1e-9);
        const std::filesystem::path target = dir.filePath("c.h5").toStdString();
        const auto done = mergeDumps(*a, *b, target, {});
        QVERIFY2(done, done ? "" : done.error().line().c_str());
        const auto c = openDump(target, cpuBackend());
        QVERIFY(c);
        QCOMPARE((*c)->info().tokens, Index{4});
        QVERIFY(equal((*(*c)->stats("q"))->fit, whole[0].fit) && equal((*(*c)->stats("q"))->holdout, whole[0].holdout));
        QCOMPARE((*(*c)->stats("o"))->fit.count(), whole[1].fit.count());
        QVERIFY(std::ranges::equal((*(*c)->stats("o"))->fit.gram.values(), whole[1].fit.gram.values()));
        QVERIFY(std::ranges::equal((*c)->rawTokens("q")->values(), raw.values())); // not twice
        QCOMPARE(*(*c)->tokenIds(), (std::vector<std::vector<std::int32_t>>{{1, 2}, {3, 4}}));

        const auto twice = mergeDumps(**c, *b, dir.filePath("d.h5").toStdString(), {});
        QVERIFY(!twice && twice.error().line().find("holds nothing that") != std::string::npos);
        const auto otherSeed = mergeDumps(*a, *make("e.h5", 1, 2, 1), dir.filePath("f.h5").toStdString(), {});
        QVERIFY(!otherSeed && otherSeed.error().line().find("shares 2 of its 2 windows") != std::string::npos);
        const auto otherSums = mergeDumps(*a, *make("g.h5", 1, 1, 1.01), dir.filePath("f.h5").toStdString(), {});
        QVERIFY(!otherSums && otherSums.error().line().find("its sums differ") != std::string::npos);
        QVERIFY(!QFile::exists(dir.filePath("d.h5")) && !QFile::exists(dir.filePath("f.h5")));
    }

    /// Copies and repeated captures have one id; other content or other attributes have another.
    void idIsOfTheContent()
    {
        const QTemporaryDir dir;
        const auto make = [&](const char* name, const char* created, std::uint64_t seed, const char* text = "text") {
            const std::filesystem::path path = dir.filePath(name).toStdString();
            DumpInfo info = infoOf("model");
            info.created = created;
            info.datasetId = text;
            const auto writer = createDump(path, info);
            if (!writer || !(*writer)->addInput("q", {"q"}, test::randomStats(2, 1, 8, seed)) || !(*writer)->commit())
                qFatal("cannot write");
            return *openDump(path, cpuBackend());
        };
        const auto a = make("a.h5", "2026-01-01T00:00:00Z", 1), again = make("b.h5", "2026-01-02T00:00:00Z", 1),
                   other = make("c.h5", "2026-01-01T00:00:00Z", 2), text = make("d.h5", "2026-01-01T00:00:00Z", 1, "another");
        QCOMPARE(a->id().size(), std::size_t{32});
        QCOMPARE(again->id(), a->id());
        QVERIFY(other->id() != a->id());
        QVERIFY(text->id() != a->id());
        QVERIFY(QFile::copy(dir.filePath("a.h5"), dir.filePath("copy.h5")));
        const auto copy = openDump(dir.filePath("copy.h5").toStdString(), cpuBackend());
        QVERIFY(copy);
        QCOMPARE((*copy)->id(), a->id());
        QVERIFY((*copy)->fileVersion() != a->fileVersion());
    }

    void dumpsThatDoNotFit()
    {
        const QTemporaryDir dir;
        const auto make = [&](const char* name, const std::string& model, Index channels) {
            const std::filesystem::path path = dir.filePath(name).toStdString();
            const auto writer = createDump(path, infoOf(model));
            if (!writer || !(*writer)->addInput("q", {"q"}, test::randomStats(2, 0, channels, 1)) || !(*writer)->commit())
                qFatal("cannot write");
            return *openDump(path, cpuBackend());
        };
        const auto a = make("a.h5", "one", 8), other = make("b.h5", "two", 8), wide = make("c.h5", "one", 9),
                   nameless = make("d.h5", "", 8);
        QVERIFY(checkDumpFits(*a, "one", {{"q", 8}, {"not covered", 100}}));
        QVERIFY(checkDumpFits(*a, "", {{"q", 8}}));
        QVERIFY(checkDumpFits(*nameless, "one", {{"q", 8}}));
        for (const auto& result : {checkDumpFits(*a, "two", {{"q", 8}}), checkDumpFits(*a, "one", {{"q", 16}}),
                 checkDumpFits(*a, "one", {{"z", 8}}), mergeDumps(*a, *other, dir.filePath("x.h5").toStdString(), {}),
                 mergeDumps(*a, *wide, dir.filePath("x.h5").toStdString(), {})}) {
            QVERIFY(!result);
            QCOMPARE(result.error().code, Errc::Mismatch);
        }
        QCOMPARE(checkDumpFits(*a, "one", {{"q", 16}}).error().where, std::string("q"));
        QVERIFY(!QFile::exists(dir.filePath("x.h5")));
    }
};

QTEST_GUILESS_MAIN(TestDump)
#include "tst_dump.moc"
