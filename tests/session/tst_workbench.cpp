// SPDX-License-Identifier: Apache-2.0
#include "core/session/tasks.h"
#include "core/session/workbench.h"

#include <QAbstractItemModelTester>
#include <QSignalSpy>
#include <QTemporaryDir>
#include <QTest>

#include <cmath>

using namespace qs;
using namespace qs::session;

namespace {

constexpr int kLong = 60000; ///< Milliseconds: sanitizers are slow.
const QString kPlugins = QStringLiteral(QS_BINARY_DIR "/plugins");

recipe::Pipeline parse(const Workbench& bench, const char* text)
{
    auto pipeline = recipe::parsePipeline(text, bench.registry());
    if (!pipeline)
        qFatal("%s", pipeline.error().line().c_str());
    return *pipeline;
}

} // namespace

class TestWorkbench : public QObject {
    Q_OBJECT

    static void open(Workbench& bench)
    {
        bench.loadPlugins({kPlugins});
        bench.openModel(QS_SAMPLE_DIR);
        QTRY_VERIFY_WITH_TIMEOUT(bench.ranking().ready(), kLong);
    }

private Q_SLOTS:
    void opensAndRanksWithoutData()
    {
        Workbench bench;
        QAbstractItemModelTester tester(&bench.layers());
        open(bench);
        QVERIFY(bench.model());
        QCOMPARE(bench.layers().rows().size(), bench.model()->spec().layers.size());
        QCOMPARE(bench.layers().errorKind(), ErrorKind::Weight);
        for (const LayerRow& row : bench.layers().rows()) {
            QVERIFY2(row.error > 0 && row.error < 1, qPrintable(row.name)); // 4 bits keep most of the energy
            QCOMPARE(row.bits, 16.0); // bfloat16
        }
    }

    void ranksWithoutDataBeforeTheDump()
    {
        QTemporaryDir folder;
        const std::filesystem::path dump = (folder.path() + QStringLiteral("/small.h5")).toStdString();
        Workbench bench;
        open(bench);
        model::CaptureOptions options;
        options.samples = 4;
        options.seqLen = 32;
        bench.calibrate(QS_SAMPLE_DIR "/calibration.txt", dump, options);
        QTRY_VERIFY_WITH_TIMEOUT(bench.dump() && bench.ranking().ready() && bench.jobs().idle(), kLong);
        QVERIFY(bench.ranking().value->withDump);
        QList<bool> seen; // with the dump?
        connect(&bench, &Workbench::rankingChanged, &bench, [&] {
            if (bench.ranking().ready())
                seen << bench.ranking().value->withDump;
        });
        bench.openModel(QS_SAMPLE_DIR, dump);
        QTRY_VERIFY_WITH_TIMEOUT(seen.size() == 2 && bench.jobs().idle(), kLong);
        QCOMPARE(seen, (QList<bool>{false, true}));
        QVERIFY(bench.ranking().ready());
    }

    /// A dump that covers some layers is not worse than none: what it is too small for is left out, with a word.
    void partialDumpStillEvaluates()
    {
        Workbench bench;
        open(bench);
        bench.openDump(QS_SAMPLE_DIR "/dump.h5");
        QTRY_VERIFY_WITH_TIMEOUT(bench.dump() && bench.ranking().ready() && bench.jobs().idle(), kLong);
        QVERIFY(bench.dump()->hasGram("model.layers.3.mlp.down_proj"));
        QVERIFY(!bench.dump()->hasGram("model.layers.0.self_attn.o_proj"));
        QVERIFY(bench.state().pipelines.size() > 1);
        model::EvalOptions options;
        options.seqLen = 64;
        options.maxTokens = 256;
        bench.evaluate(QS_SAMPLE_DIR "/evaluation.txt", options);
        QTRY_VERIFY_WITH_TIMEOUT(
            bench.jobs().idle() && bench.evaluation().state != Loadable<Evaluation>::State::Loading, kLong);
        QVERIFY2(bench.evaluation().ready(), bench.evaluation().error.line().c_str());
        QCOMPARE(bench.evaluation().value->candidates.size(), std::size_t{1});
        QVERIFY(bench.evaluation().value->candidates[0].name.find("rtn") != std::string::npos);
        QStringList left;
        for (const Message& message : bench.messages().messages())
            if (message.text.startsWith(QStringLiteral("left out of the evaluation: ")))
                left << message.text;
        QVERIFY2(
            left.join(u'\n').contains(QStringLiteral("needs the second moments of 42 layers, and the dump holds those of ")),
            qPrintable(left.join(u'\n')));
        QCOMPARE(left.size(), static_cast<qsizetype>(bench.state().pipelines.size()) - 1);
    }

    void wrongFileIsOneLine_data()
    {
        QTest::addColumn<QString>("path");
        QTest::newRow("missing") << "/does/not/exist.gguf";
        QTest::newRow("not a model") << QStringLiteral(QS_SAMPLE_DIR "/calibration.txt");
    }
    void wrongFileIsOneLine()
    {
        QFETCH(QString, path);
        Workbench bench;
        bench.openModel(path.toStdString());
        QTRY_VERIFY(bench.jobs().idle());
        QCOMPARE(bench.opened().state, Loadable<OpenedModel>::State::Failed);
        QCOMPARE(bench.messages().rowCount(), 1);
        const QString line = bench.messages().index(0).data().toString();
        QVERIFY2(!line.contains(u'\n') && line.contains(path.section(u'/', -1)), qPrintable(line));
    }

    void selectionBringsAnalysisAndComparison()
    {
        Workbench bench;
        open(bench);
        bench.selection().selectLayer(0, nullptr);
        QTRY_VERIFY_WITH_TIMEOUT(bench.layerView().ready() && bench.jobs().idle(), kLong);
        QCOMPARE(bench.layerView().value->W->cols(), bench.currentLayer()->in);
        // rtn needs no data; gptq and awq say that they do.
        QStringList opening; // as the files of the methods say
        for (const recipe::Pipeline& pipeline : bench.state().pipelines)
            opening << bench.label(pipeline).section(u' ', 0, 0);
        QCOMPARE(opening, (QStringList{QStringLiteral("rtn"), QStringLiteral("awq"), QStringLiteral("gptq")}));
        const auto rtn = bench.layerResult(0);
        QVERIFY2(rtn.ready(), rtn.error.line().c_str());
        QVERIFY(!rtn.value->metrics.hasOutput);
        QVERIFY(rtn.value->distribution);
        using State = Loadable<LayerResult>::State;
        QVERIFY(bench.layerResult(1).state == State::Failed || bench.layerResult(2).state == State::Failed);
        // The dependable part of the wiring: bits grow, error shrinks.
        bench.setPipeline(0, parse(bench, "rtn(bits=8)"));
        QTRY_VERIFY_WITH_TIMEOUT(bench.layerResult(0).ready(), kLong);
        QVERIFY(bench.layerResult(0).value->metrics.weightSqnrDb > rtn.value->metrics.weightSqnrDb + 20);
        QVERIFY(bench.layerResult(0).value->bits.perWeight() > rtn.value->bits.perWeight() + 3.5);
    }

    void previewAnswersInFullAndOnRows()
    {
        Workbench bench;
        open(bench);
        bench.selection().selectLayer(0, nullptr);
        QTRY_VERIFY_WITH_TIMEOUT(bench.layerView().ready(), kLong);
        bench.requestPreview(parse(bench, "rtn(bits=3)"));
        bench.requestPreview(parse(bench, "rtn(bits=2)")); // newest wins
        QTRY_VERIFY_WITH_TIMEOUT(bench.preview().ready() && bench.jobs().idle(), kLong);
        QVERIFY(QString::fromStdString(bench.preview().value->pipelineText).contains(QStringLiteral("bits=2")));
        QVERIFY(bench.preview().value->weightError > 0);
        QVERIFY(!bench.preview().value->outputError); // no dump yet
    }

    void assignTakesFusionPartnersAlong()
    {
        Workbench bench;
        open(bench);
        const auto& spec = bench.model()->spec();
        const model::LayerIndex q = spec.find("model.layers.1.self_attn.q_proj");
        QVERIFY(q >= 0);
        const recipe::Pipeline rtn = parse(bench, "rtn(bits=4)");
        const auto before = bench.document().state();
        bench.assign({q}, &rtn);
        auto assigned = bench.assignment();
        QVERIFY2(assigned.has_value(), assigned ? "" : assigned.error().line().c_str());
        for (const char* name : {"q_proj", "k_proj", "v_proj"})
            QVERIFY2(
                assigned->layers[static_cast<std::size_t>(spec.find(std::string("model.layers.1.self_attn.") + name))], name);
        QVERIFY(!assigned->layers[static_cast<std::size_t>(spec.find("model.layers.0.self_attn.q_proj"))]);
        QTRY_VERIFY_WITH_TIMEOUT(bench.assignedResult().ready(), kLong);
        QCOMPARE(bench.assignedResult().value->layers.size(), std::size_t{3});
        // The list keeps its numbers; those of the recipe stand beside them.
        QCOMPARE(bench.layers().errorKind(), ErrorKind::Weight);
        for (const LayerRow& row : bench.layers().rows()) {
            QVERIFY2(row.error > 0, qPrintable(row.name));
            QVERIFY2(std::isnan(row.assigned) == row.pipeline.isEmpty(), qPrintable(row.name));
        }
        // Another pipeline for one more layer keeps the first rule; taking it away leaves nothing.
        const recipe::Pipeline rtn8 = parse(bench, "rtn(bits=8)");
        bench.assign({spec.find("model.layers.1.mlp.down_proj")}, &rtn8);
        QCOMPARE(bench.state().recipe.rules.size(), std::size_t{2});
        bench.assign({q}, nullptr);
        QCOMPARE(bench.state().recipe.rules.size(), std::size_t{1});
        bench.document().set(before);
        QVERIFY(bench.state().recipe.rules.empty());
        QVERIFY(std::isnan(bench.layers().rows()[static_cast<std::size_t>(q)].assigned));
    }

    void calibrateCompareEvaluateExport()
    {
        QTemporaryDir folder;
        Workbench bench;
        open(bench);
        model::CaptureOptions capture;
        capture.samples = 6;
        capture.seqLen = 64;
        capture.keepTokens = 32;
        const std::filesystem::path dump = (folder.path() + QStringLiteral("/dump.h5")).toStdString();
        bench.calibrate(QS_SAMPLE_DIR "/calibration.txt", dump, capture);
        QTRY_VERIFY2_WITH_TIMEOUT(bench.dump() && bench.ranking().ready() && bench.jobs().idle(), "calibration", kLong);
        QCOMPARE(bench.layers().errorKind(), ErrorKind::Output);
        bench.selection().selectLayer(bench.model()->spec().find("model.layers.2.mlp.down_proj"), nullptr);
        QTRY_VERIFY_WITH_TIMEOUT(bench.layerView().ready() && bench.jobs().idle(), kLong);
        QVERIFY(bench.layerView().value->analysis.input);
        QVERIFY(bench.layerView().value->rawTokens);
        QCOMPARE(bench.layerView().value->inputs->finite(),
            static_cast<std::uint64_t>(bench.layerView().value->rawTokens->rows() * bench.currentLayer()->in));
        QVERIFY(!bench.document().modified()); // a dump is no work that could be lost
        const QString last = bench.messages().index(0).data().toString();
        QVERIFY2(last.startsWith(QStringLiteral("captured ")) && last.contains(QStringLiteral("dump.h5, 384 tokens, ")),
            qPrintable(last));
        for (std::size_t i = 0; i < bench.state().pipelines.size(); ++i) {
            const auto result = bench.layerResult(i);
            QVERIFY2(result.ready(), result.error.line().c_str());
            QVERIFY(result.value->metrics.hasOutput);
            QVERIFY(result.value->shares);
        }
        // A static range that is cut to a tenth clips; one per token from the data does not.
        bench.addPipeline(
            parse(bench, "- | - | int(bits=8) | nearest | - | act(a_granularity=tensor, a_dynamic=false, a_clip=0.1)"));
        bench.addPipeline(parse(bench, "- | - | int(bits=8) | nearest | - | act(a_bits=4)"));
        const std::size_t count = bench.state().pipelines.size();
        QTRY_VERIFY_WITH_TIMEOUT(bench.jobs().idle(), kLong);
        const auto cut = bench.layerResult(count - 2).value->inputs;
        const auto token = bench.layerResult(count - 1).value->inputs;
        QVERIFY(cut && token);
        QCOMPARE(cut->ranges, Index{1});
        QVERIFY(cut->clippedShare > 0 && cut->after.max < cut->before.max);
        QCOMPARE(cut->levels.size(), std::size_t{256});
        QCOMPARE(token->ranges, bench.layerView().value->rawTokens->rows());
        QCOMPARE(token->clippedShare, 0.0);
        QCOMPARE(token->levels.size(), std::size_t{16});
        QVERIFY(!bench.layerResult(0).value->inputs); // no activation grid
        bench.removePipeline(count - 1);
        bench.removePipeline(count - 2);
        bench.compareModel();
        QTRY_VERIFY_WITH_TIMEOUT(bench.jobs().idle(), kLong);
        const auto* whole = bench.modelResult(bench.state().pipelines[0]);
        QVERIFY(whole && whole->ready());
        QCOMPARE(whole->value->layers.size(), bench.model()->spec().layers.size());
        bench.measureSpectra();
        QTRY_VERIFY_WITH_TIMEOUT(bench.jobs().idle(), kLong);
        for (const LayerRow& row : bench.layers().rows()) {
            const auto view = tasks::inspectLayer(*bench.model(), row.index, bench.dump().get(), bench.backend(), {});
            QVERIFY2(view.has_value(), qPrintable(row.name));
            const auto& input = *view->analysis.input;
            QCOMPARE(row.qsur, input.qsur->r);
            QCOMPARE(row.lostBits, input.qsur->lostBits);
            QCOMPARE(row.condition, input.hessian->conditionLive.value_or(std::numeric_limits<double>::infinity()));
            QCOMPARE(row.kurtosis, input.outliers.kurtosis);
            QCOMPARE(row.maxOverMedian, input.outliers.maxOverMedian);
            QCOMPARE(row.tokensPerChannel, input.hessian->tokensPerChannel);
            QCOMPARE(row.compared[0], whole->value->layers.at(row.index).metrics.outputError);
            if (row.index == 2)
                break; // more say nothing new
        }

        model::EvalOptions options;
        options.seqLen = 64;
        options.maxTokens = 256;
        bench.evaluate(QS_SAMPLE_DIR "/evaluation.txt", options);
        QTRY_VERIFY2_WITH_TIMEOUT(bench.evaluation().ready(), bench.evaluation().error.line().c_str(), kLong);
        QCOMPARE(bench.evaluation().value->candidates.size(), bench.state().pipelines.size());
        const QString said = QStringLiteral("evaluated %1 pipelines on ").arg(bench.state().pipelines.size());
        QVERIFY(std::ranges::any_of(
            bench.messages().messages(), [&](const Message& message) { return message.text.startsWith(said); }));
        QVERIFY(bench.evaluation().value->candidates[0].scores.klMean > 0);

        const auto exporters = bench.plugins().exporters().all();
        QVERIFY(!exporters.empty());
        std::vector<model::LayerIndex> all(bench.model()->spec().layers.size());
        for (std::size_t i = 0; i < all.size(); ++i)
            all[i] = static_cast<model::LayerIndex>(i);
        const recipe::Pipeline rtn = bench.state().pipelines[0];
        bench.assign(all, &rtn);
        const std::filesystem::path target = (folder.path() + QStringLiteral("/export")).toStdString();
        bench.exportRecipe("compressed-tensors", target);
        QTRY_VERIFY_WITH_TIMEOUT(bench.exportReport().state != Loadable<recipe::ExportReport>::State::Loading, kLong);
        QVERIFY2(bench.exportReport().ready(), bench.exportReport().error.line().c_str());
        QVERIFY(bench.exportReport().value->verified);
    }

    void cancelledCalibrationLeavesNothing()
    {
        QTemporaryDir folder;
        Workbench bench;
        open(bench);
        model::CaptureOptions capture;
        capture.samples = 64;
        capture.seqLen = 256;
        const QString dump = folder.path() + QStringLiteral("/dump.h5");
        bench.calibrate(QS_SAMPLE_DIR "/calibration.txt", dump.toStdString(), capture);
        bench.jobs().cancel(QStringLiteral("calibrate"));
        QTRY_VERIFY_WITH_TIMEOUT(bench.jobs().idle(), kLong);
        QVERIFY(!bench.dump());
        QVERIFY(QDir(folder.path()).isEmpty());
    }

    void sessionMeasuresItsRecipeWithItsDump()
    {
        QTemporaryDir folder;
        const std::filesystem::path file = (folder.path() + QStringLiteral("/a.qsession")).toStdString();
        const std::filesystem::path dump = (folder.path() + QStringLiteral("/dump.h5")).toStdString();
        Workbench bench;
        open(bench);
        model::CaptureOptions capture;
        capture.samples = 4;
        capture.seqLen = 32;
        bench.calibrate(QS_SAMPLE_DIR "/calibration.txt", dump, capture);
        QTRY_VERIFY_WITH_TIMEOUT(bench.dump() && bench.jobs().idle(), kLong);
        const recipe::Pipeline awq = parse(bench, "awq");
        bench.assign({bench.model()->spec().find("model.layers.2.mlp.gate_proj")}, &awq);
        auto state = bench.document().edit();
        state->selectedPipeline = 2;
        bench.document().set(state);
        QVERIFY(bench.document().save(file).has_value());

        // The same model is open, without the dump: nothing may be measured with that.
        Workbench again;
        open(again);
        again.openSession(file);
        QTRY_VERIFY_WITH_TIMEOUT(again.dump() && again.assignedResult().ready() && again.jobs().idle(), kLong);
        QCOMPARE(again.selection().state().pipeline, 2);
        for (const Message& message : again.messages().messages())
            QVERIFY2(message.severity != Message::Severity::Error, qPrintable(message.text));
        QCOMPARE(again.assignedResult().value->layers.size(), std::size_t{2}); // gate and up
        // Opened again without a word about the dump it is still there.
        again.openModel(std::filesystem::path(again.state().model));
        QTRY_VERIFY_WITH_TIMEOUT(again.dump() && again.assignedResult().ready() && again.jobs().idle(), kLong);
        QVERIFY(!again.document().modified());
    }

    void sessionOfAnotherModelSaysSo()
    {
        QTemporaryDir folder;
        const std::filesystem::path file = (folder.path() + QStringLiteral("/a.qsession")).toStdString();
        for (const char* id : {"", "0123"}) {
            Workbench writer;
            writer.loadPlugins({kPlugins});
            auto state = writer.document().edit();
            state->model = QS_SAMPLE_DIR;
            state->modelId = id;
            state->recipe = recipe::uniformRecipe(parse(writer, "rtn(bits=3)"));
            state->selectedPipeline = 1;
            writer.document().set(state);
            QVERIFY(writer.document().save(file).has_value());
            Workbench bench;
            bench.loadPlugins({kPlugins});
            bench.openSession(file);
            QTRY_VERIFY_WITH_TIMEOUT(bench.ranking().ready() && bench.jobs().idle(), kLong);
            const bool unknown = *id == '\0'; // nothing to disagree with
            QCOMPARE(bench.state().recipe.rules.size(), std::size_t(unknown ? 1 : 0));
            QCOMPARE(bench.selection().state().pipeline, unknown ? 1 : 0);
            QCOMPARE(bench.messages().rowCount(), unknown ? 0 : 1);
            QVERIFY(!bench.document().modified());
        }
    }

    void sessionReopensExactly()
    {
        QTemporaryDir folder;
        const std::filesystem::path file = (folder.path() + QStringLiteral("/a.qsession")).toStdString();
        SessionDocument::StatePtr saved;
        {
            Workbench bench;
            open(bench);
            const recipe::Pipeline rtn = parse(bench, "rtn(bits=3, group=32)");
            bench.addPipeline(rtn);
            bench.assign({0}, &rtn);
            QVERIFY(bench.document().save(file).has_value());
            saved = bench.document().state();
        }
        Workbench bench;
        bench.loadPlugins({kPlugins});
        bench.openSession(file);
        QTRY_VERIFY_WITH_TIMEOUT(bench.ranking().ready() && bench.jobs().idle(), kLong);
        QCOMPARE(bench.state().pipelines.size(), saved->pipelines.size());
        QVERIFY(bench.state().pipelines == saved->pipelines);
        QCOMPARE(bench.state().recipe.rules.size(), saved->recipe.rules.size());
        QVERIFY(!bench.document().modified());
    }
};

QTEST_GUILESS_MAIN(TestWorkbench)
#include "tst_workbench.moc"
