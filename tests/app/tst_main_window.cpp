// SPDX-License-Identifier: GPL-3.0-or-later
#include "app/gui/calibrate_dialog.h"
#include "app/gui/export_dialog.h"
#include "app/gui/options.h"
#include "app/gui/start_run.h"
#include "tests/app/window_fixture.h"
#include "views/heatmap/heatmap_view.h"
#include "views/panels/channels_panel.h"
#include "views/panels/compare_panel.h"
#include "views/panels/hessian_panel.h"
#include "views/panels/jobs_panel.h"
#include "views/panels/layer_header.h"
#include "views/panels/parameter_form.h"
#include "views/panels/pipeline_card.h"
#include "views/panels/pipeline_editor.h"
#include "views/panels/qsur_panel.h"
#include "views/plot/plot_view.h"
#include "views/widgets/row_scroll.h"
#include "views/widgets/table_view.h"

#include <QAbstractItemView>
#include <QAction>
#include <QCompleter>
#include <QLabel>
#include <QLineEdit>
#include <QListWidget>
#include <QMenu>
#include <QPushButton>
#include <QScrollArea>
#include <QScrollBar>
#include <QSlider>
#include <QSpinBox>
#include <QToolButton>
#include <QtEndian>

using namespace qs;
using namespace qs::app;
using session::Loadable;

class TestMainWindow : public test::WindowTest {
    Q_OBJECT

private Q_SLOTS:
    void opensOnTheWorstLayer()
    {
        const auto& rows = bench().layers().rows();
        const auto worst
            = std::max_element(rows.begin(), rows.end(), [](const auto& a, const auto& b) { return a.error < b.error; });
        QCOMPARE(bench().selection().state().current, worst->index);
    }

    void anotherModelStartsAtItsWorstLayer()
    {
        // A matrix and nothing else: no layer in common with the sample.
        const QString other = m_folder.path() + QStringLiteral("/other.safetensors");
        QFile file(other);
        QVERIFY(file.open(QIODevice::WriteOnly));
        QByteArray header = R"({"a.weight":{"dtype":"F32","shape":[8,64],"data_offsets":[0,2048]},)"
                            R"("b.weight":{"dtype":"F32","shape":[8,64],"data_offsets":[2048,4096]}})";
        header.resize((header.size() + 7) / 8 * 8, ' ');
        const quint64 length = qToLittleEndian(static_cast<quint64>(header.size()));
        file.write(reinterpret_cast<const char*>(&length), sizeof length);
        file.write(header);
        for (int i = 0; i < 1024; ++i) {
            const auto value = static_cast<float>(i < 512 ? i % 7 : (i == 600 ? 1000 : i % 5));
            file.write(reinterpret_cast<const char*>(&value), sizeof value);
        }
        file.close();
        auto worst = [this] {
            const auto& rows = bench().layers().rows();
            return std::max_element(rows.begin(), rows.end(), [](const auto& a, const auto& b) {
                return a.error < b.error;
            })->index;
        };
        // The session has a layer, the list and the panel stand at their ends.
        QTreeView* tree = m_window->layersPanel()->tree();
        clickLayer(tree->model()
                       ->index(tree->model()->rowCount() - 1, 0)
                       .data(session::LayerTreeModel::NameRole)
                       .toString()
                       .toUtf8()
                       .constData());
        QVERIFY(tree->verticalScrollBar()->value() > 0);
        auto state = bench().document().edit();
        state->selectedLayer = QString::fromStdString(bench().currentLayer()->name);
        bench().document().set(state);
        QTRY_VERIFY_WITH_TIMEOUT(bench().layerView().ready() && bench().jobs().idle(), kLong);
        QScrollBar* bar = m_window->comparePanel()->scrollArea()->verticalScrollBar();
        QTRY_VERIFY(bar->maximum() > 0);
        bar->setValue(bar->maximum());
        const QString sample = QStringLiteral(QS_SAMPLE_DIR "/model.safetensors");
        const model::LayerIndex chosen = bench().selection().state().current;
        // The same layers: the one that was looked at stays, and can be seen.
        auto before = bench().model();
        m_window->openPath(QStringLiteral(QS_SAMPLE_DIR)); // the folder, with its dump
        QTRY_VERIFY_WITH_TIMEOUT(bench().model() != before && bench().ranking().ready() && bench().jobs().idle(), kLong);
        QCOMPARE(bench().selection().state().current, chosen);
        QTRY_VERIFY(tree->viewport()->rect().contains(tree->visualRect(tree->currentIndex()).center()));
        QCOMPARE(bar->value(), 0);
        before = bench().model();
        m_window->openPath(other);
        QTRY_VERIFY_WITH_TIMEOUT(bench().model() != before && bench().ranking().ready() && bench().jobs().idle(), kLong);
        QCOMPARE(bench().selection().state().current, worst());
        before = bench().model();
        m_window->openPath(sample);
        QTRY_VERIFY_WITH_TIMEOUT(bench().model() != before && bench().ranking().ready() && bench().jobs().idle(), kLong);
        QCOMPARE(bench().selection().state().current, worst());
        QCOMPARE(tree->verticalScrollBar()->value(), 0);
        QCOMPARE(tree->currentIndex().row(), 0);
    }

    void saysThatItRanks()
    {
        const QString sample = QStringLiteral(QS_SAMPLE_DIR "/model.safetensors");
        QStringList said;
        bench().selection().set({}, nullptr); // else the layer that was looked at stays
        connect(&bench(), &session::Workbench::rankingChanged, this, [&] {
            if (!bench().ranking().value)
                said << m_window->comparePanel()->stateView()->message();
        });
        m_window->openPath(sample);
        QTRY_VERIFY_WITH_TIMEOUT(!said.isEmpty() && bench().ranking().ready() && bench().jobs().idle(), kLong);
        QCOMPARE(said.first(), QStringLiteral("Ranking %1 layers").arg(bench().model()->spec().layers.size()));
        disconnect(&bench(), &session::Workbench::rankingChanged, this, nullptr);
    }

    void clickSelectsForEveryView()
    {
        clickLayer("model.layers.1.mlp.up_proj");
        QCOMPARE(bench().currentLayer()->name, std::string("model.layers.1.mlp.up_proj"));
        QTRY_VERIFY_WITH_TIMEOUT(bench().layerView().ready(), kLong);
        clickTab(QStringLiteral("Channels"));
        QTRY_VERIFY_WITH_TIMEOUT(m_window->idle(), kLong);
        views::HeatmapView* heatmap = m_window->channelsPanel()->heatmap();
        QTest::mouseClick(heatmap, Qt::LeftButton, {}, heatmap->positionOf(5, 17));
        QTRY_VERIFY(bench().selection().state().channel >= 16
            && bench().selection().state().channel <= 18); // a cell may cover a few channels
        clickTab(QStringLiteral("Hessian"));
        QVERIFY2(m_window->hessianPanel()->stateView()->message().contains(QStringLiteral("Needs activations")),
            qPrintable(m_window->hessianPanel()->stateView()->message()));
    }

    void sliderMovesThePreviewThenTheDocument()
    {
        clickLayer("model.layers.0.mlp.gate_proj");
        QTRY_VERIFY_WITH_TIMEOUT(bench().preview().ready() && bench().jobs().idle(), kLong);
        const double before = bench().preview().value->weightError;
        views::ParameterForm* form = m_window->pipelineEditor()->form("int");
        QVERIFY(form);
        auto* bits = qobject_cast<QSlider*>(form->editor("bits"));
        QVERIFY(bits);
        bits->setFocus();
        QTest::keyClick(bits, Qt::Key_Left);
        QTRY_VERIFY_WITH_TIMEOUT(bench().preview().ready() && bench().preview().value->weightError > 2 * before, kLong);
        QVERIFY(m_window->pipelineEditor()->previewText().contains(QStringLiteral("bits")));
        QVERIFY(m_window->pipelineEditor()->previewText().contains(QStringLiteral("needs a calibration")));
        // The document takes the value once the slider rests, as one undo step.
        QTRY_COMPARE(m_window->undoStack().count(), 1);
        const recipe::StageCall& stage = bench().state().pipelines[0][recipe::Slot::Grid].front();
        QCOMPARE(recipe::intValue(stage.parameters, "bits"), std::int64_t{3});
        QTRY_VERIFY_WITH_TIMEOUT(bench().layerResult(0).ready(), kLong);
        m_window->undoStack().undo();
        QCOMPARE(
            recipe::intValue(bench().state().pipelines[0][recipe::Slot::Grid].front().parameters, "bits"), std::int64_t{4});
        QTRY_COMPARE(bits->value(), 4);
        m_window->undoStack().redo();
        QTRY_COMPARE(bits->value(), 3);
    }

    void anyNumberOfCards()
    {
        QTRY_VERIFY_WITH_TIMEOUT(bench().layerView().ready(), kLong);
        const auto rtn = recipe::parsePipeline("rtn", bench().registry());
        QVERIFY(rtn);
        for (int bits = 2; bits <= 8; ++bits) {
            auto pipeline = recipe::parsePipeline("rtn(bits=" + std::to_string(bits) + ")", bench().registry());
            QVERIFY(pipeline);
            bench().addPipeline(std::move(*pipeline));
        }
        views::ComparePanel* panel = m_window->comparePanel();
        const std::size_t count = bench().state().pipelines.size();
        QCOMPARE(count, std::size_t{10});
        QTRY_COMPARE(panel->cards().size(), count);
        QTRY_VERIFY(panel->cardRow()->horizontalScrollBar()->maximum() > 0);
        QVERIFY(panel->floatCard()->mapTo(panel, QPoint()).x() < panel->cards().front()->mapTo(panel, QPoint()).x());
        QCOMPARE(panel->floatCard()->numbers()->value(QStringLiteral("bits")), QStringLiteral("16.00"));
        QVERIFY(!panel->cards().front()->title().contains(QStringLiteral("auto")));
        QVERIFY(panel->cards().front()->title().contains(QStringLiteral(" g")));
        views::PipelineCard* first = panel->cards().front();
        panel->cardRow()->horizontalScrollBar()->setValue(0);
        QTest::mouseClick(first, Qt::LeftButton, {}, QPoint(first->width() / 2, 40));
        QCOMPARE(bench().selection().state().pipeline, 0);
        panel->cardRow()->horizontalScrollBar()->setValue(panel->cardRow()->horizontalScrollBar()->maximum());
        views::PipelineCard* last = panel->cards().back();
        QTRY_VERIFY2((panel->cardRow()->horizontalScrollBar()->setValue(panel->cardRow()->horizontalScrollBar()->maximum()),
                         !last->visibleRegion().isEmpty()),
            "the last card can be scrolled to");
        QTest::mouseClick(last, Qt::LeftButton, {}, QPoint(last->width() / 2, 40));
        QCOMPARE(bench().selection().state().pipeline, 9);
        QTRY_COMPARE(panel->options()->model()->columnCount(), 11);
        QVERIFY(panel->options()->columnWidth(10) >= 90);
        QVERIFY(panel->floatCard()->isVisible() && first->height() <= panel->cardRow()->height());
        // A card that is added is brought into sight.
        panel->cardRow()->horizontalScrollBar()->setValue(0);
        bench().addPipeline(*rtn);
        QTRY_COMPARE(panel->cards().size(), count + 1);
        QTRY_VERIFY(panel->cards().back()->visibleRegion().boundingRect().width() == panel->cards().back()->width());
        // What the target runtime cannot load is marked, and says why.
        views::PipelineCard* narrow = panel->cards()[4];
        QVERIFY(narrow->title().contains(QStringLiteral("3 bit")));
        QTRY_COMPARE(narrow->numbers()->value(QStringLiteral("vLLM loads it")), QStringLiteral("no"));
        QCOMPARE(narrow->note(), QStringLiteral("3-bit symmetric weights"));
        QTest::mouseClick(narrow, Qt::LeftButton, {}, QPoint(narrow->width() / 2, 40));
        QTRY_COMPARE(
            m_window->pipelineEditor()->targetText(), QStringLiteral("vLLM does not load it: 3-bit symmetric weights"));
        QCOMPARE(panel->cards()[5]->numbers()->value(QStringLiteral("vLLM loads it")), QStringLiteral("yes"));
        QVERIFY(panel->cards()[5]->note().isEmpty());
        QTest::mouseClick(panel->cards()[5], Qt::LeftButton, {}, QPoint(first->width() / 2, 40));
        QTRY_COMPARE(
            m_window->pipelineEditor()->targetText(), QStringLiteral("vLLM loads it: rounds its float16 scales to bfloat16"));
    }

    void previewSaysWhatItMeasures()
    {
        model::CaptureOptions options;
        options.samples = 4;
        options.seqLen = 32;
        bench().calibrate(
            QS_SAMPLE_DIR "/calibration.txt", (m_folder.path() + QStringLiteral("/preview.h5")).toStdString(), options);
        QTRY_VERIFY_WITH_TIMEOUT(bench().dump() && bench().jobs().idle(), kLong);
        QStringList said;
        connect(
            &bench(), &session::Workbench::previewChanged, this, [&] { said << m_window->pipelineEditor()->previewText(); });
        clickLayer("model.layers.2.mlp.gate_proj"); // 384 rows
        QTRY_VERIFY_WITH_TIMEOUT(
            m_window->pipelineEditor()->previewText().contains(QStringLiteral("in full, all 384 rows")), kLong);
        const QString all = said.join(u'\n');
        QVERIFY2(all.contains(QStringLiteral("on 256 seeded rows; the full value follows")), qPrintable(all));
        QVERIFY2(m_window->pipelineEditor()->previewText().startsWith(QStringLiteral("Weight error")), qPrintable(all));
        disconnect(&bench(), &session::Workbench::previewChanged, this, nullptr);
        // One channel is marked in every view that knows channels.
        clickTab(QStringLiteral("Compare"));
        views::PlotView* shares = m_window->comparePanel()->shares();
        QTRY_VERIFY_WITH_TIMEOUT(!shares->data().series.empty(), kLong);
        shares->setFocus();
        QTest::keyClick(shares, Qt::Key_Right);
        QVERIFY(shares->hoverText().contains(QStringLiteral("share of the error")));
        QTest::keyClick(shares, Qt::Key_Return);
        const Index channel = bench().selection().state().channel;
        QCOMPARE(channel, static_cast<Index>(shares->data().series.front().keys.front()));
        QVERIFY(m_window->header()->channelButton()->isVisible());
        QTest::mouseClick(m_window->header()->channelButton(), Qt::LeftButton);
        QCOMPARE(bench().selection().state().channel, Index{-1});
    }

    void pipelinesComeAndGo()
    {
        clickTab(QStringLiteral("Compare"));
        QTRY_VERIFY_WITH_TIMEOUT(bench().layerView().ready(), kLong);
        const std::size_t count = bench().state().pipelines.size();
        QTRY_COMPARE(m_window->comparePanel()->cards().size(), count);
        QMenu* menu = m_window->comparePanel()->addButton()->menu();
        QVERIFY(menu && !menu->actions().isEmpty());
        menu->actions().first()->trigger();
        QTRY_COMPARE(m_window->comparePanel()->cards().size(), count + 1);
        QCOMPARE(bench().selection().state().pipeline, static_cast<int>(count));
        auto* card = m_window->comparePanel()->cards().front();
        QTest::mouseClick(card, Qt::LeftButton, {}, QPoint(card->width() / 2, 40));
        QCOMPARE(bench().selection().state().pipeline, 0);
        QTRY_VERIFY_WITH_TIMEOUT(card->headline().endsWith(u'%'), kLong);
        QTest::mouseClick(m_window->comparePanel()->cards().back()->findChild<QToolButton*>(), Qt::LeftButton);
        QTRY_COMPARE(m_window->comparePanel()->cards().size(), count);
        m_window->undoStack().undo();
        QCOMPARE(bench().state().pipelines.size(), count + 1);
    }

    void assignAndUndo()
    {
        clickLayer("model.layers.2.self_attn.k_proj");
        QTRY_VERIFY_WITH_TIMEOUT(bench().layerView().ready() && m_window->pipelineEditor()->assignButton()->isEnabled(), kLong);
        const auto actions = m_window->findChildren<QAction*>();
        const auto measure = std::find_if(actions.begin(), actions.end(),
            [](const QAction* action) { return action->shortcut() == QKeySequence(QStringLiteral("Ctrl+M")); });
        QVERIFY(measure != actions.end());
        QVERIFY(!(*measure)->isEnabled()); // nothing is assigned yet
        QTest::mouseClick(m_window->pipelineEditor()->assignButton(), Qt::LeftButton);
        QCOMPARE(bench().state().recipe.rules.size(), std::size_t{1});
        QVERIFY((*measure)->isEnabled());
        int assigned = 0;
        for (const session::LayerRow& row : bench().layers().rows())
            assigned += row.pipeline.isEmpty() ? 0 : 1;
        QCOMPARE(assigned, 3); // q, k and v go together
        QTRY_VERIFY_WITH_TIMEOUT(bench().assignedResult().ready(), kLong);
        m_window->undoStack().undo();
        QVERIFY(bench().state().recipe.rules.empty());
        QVERIFY(!(*measure)->isEnabled());
    }

    void filterAndBlocks()
    {
        QLineEdit* filter = m_window->layersPanel()->filter();
        filter->setFocus();
        QTest::keyClicks(filter, QStringLiteral("down_proj"));
        QTreeView* tree = m_window->layersPanel()->tree();
        QCOMPARE(tree->model()->rowCount(), static_cast<int>(bench().model()->spec().blocks));
        filter->clear();
        QTest::mouseClick(m_window->layersPanel()->blocksButton(), Qt::LeftButton);
        QCOMPARE(tree->model()->rowCount(), static_cast<int>(bench().model()->spec().blocks));
        QVERIFY(tree->model()->hasChildren(tree->model()->index(0, 0)));
    }

    void cancelButtonCancels()
    {
        session::JobId id = 0;
        connect(
            &bench().jobs(), &session::JobQueue::added, this, [&](session::JobId job) { id = job; }, Qt::SingleShotConnection);
        model::CaptureOptions options;
        options.samples = 200;
        options.seqLen = 256;
        const QString dump = m_folder.path() + QStringLiteral("/cancelled.h5");
        bench().calibrate(QS_SAMPLE_DIR "/calibration.txt", dump.toStdString(), options);
        QVERIFY(id != 0);
        QToolButton* cancel = m_window->jobsPanel()->cancelButton(id);
        QVERIFY(cancel);
        QTest::mouseClick(cancel, Qt::LeftButton);
        QTRY_VERIFY_WITH_TIMEOUT(bench().jobs().idle(), kLong);
        const session::JobState state = bench().jobs().info(id)->state;
        QVERIFY(state == session::JobState::Cancelled);
        QVERIFY(!QFile::exists(dump));
        QVERIFY(!m_window->jobsPanel()->cancelButton(id));
    }

    void wrongFileGivesOneLineAndKeepsTheModel()
    {
        const auto before = bench().model();
        const QString bad = m_folder.path() + QStringLiteral("/broken.safetensors");
        QFile file(bad);
        QVERIFY(file.open(QIODevice::WriteOnly));
        file.write("\xff\xff\xff\xff\xff\xff\xff\x7f{}");
        file.close();
        const int messages = bench().messages().rowCount();
        m_window->openPath(bad);
        QTRY_VERIFY_WITH_TIMEOUT(bench().jobs().idle(), kLong);
        QCOMPARE(bench().messages().rowCount(), messages + 1);
        QVERIFY(bench().messages().index(0).data().toString().contains(QStringLiteral("broken.safetensors")));
        QCOMPARE(bench().model(), before);
        m_window->openPath(QStringLiteral("/does/not/exist"));
        QCOMPARE(bench().messages().rowCount(), messages + 2);
    }

    void calibrateThenExportWithDialogs()
    {
        m_window->calibrate();
        auto* dialog = m_window->findChild<CalibrateDialog*>();
        QVERIFY(dialog);
        QVERIFY(dialog->text()->text().endsWith(QStringLiteral("calibration.txt")));
        QVERIFY(keepPicture(dialog, QStringLiteral("calibrate-dialog")));
        dialog->close();
        model::CaptureOptions options;
        options.samples = 6;
        options.seqLen = 64;
        bench().calibrate(
            QS_SAMPLE_DIR "/calibration.txt", (m_folder.path() + QStringLiteral("/ok.h5")).toStdString(), options);
        QTRY_VERIFY_WITH_TIMEOUT(bench().dump() && m_window->idle(), kLong);
        clickTab(QStringLiteral("Hessian"));
        QTRY_COMPARE_WITH_TIMEOUT(m_window->hessianPanel()->stateView()->message(), QString(), kLong);
        QVERIFY(!m_window->hessianPanel()->numbers()->value(QStringLiteral("rank")).isEmpty());
        // As many tokens as channels: the covariance is singular, and the sentence gives what can be read all the same.
        clickLayer("model.layers.1.mlp.down_proj");
        clickTab(QStringLiteral("QSUR"));
        const auto* qsur = m_window->qsurPanel();
        QTRY_VERIFY2_WITH_TIMEOUT(
            qsur->verdict()->text().startsWith(QStringLiteral("384 tokens span at most 383 of 384 channels")),
            qPrintable(qsur->verdict()->text()), kLong);
        const QString reading
            = QStringLiteral("of 384 directions that vary r is ") + qsur->numbers()->value(QStringLiteral("r, subspace"));
        QVERIFY2(qsur->verdict()->text().contains(reading), qPrintable(qsur->verdict()->text()));

        QTest::mouseClick(m_window->exportButton(), Qt::LeftButton);
        auto* dialogExport = m_window->findChild<ExportDialog*>();
        QVERIFY(dialogExport);
        QVERIFY(!dialogExport->exportButton()->isEnabled()); // nothing is assigned
        for (QPushButton* button : dialogExport->findChildren<QPushButton*>()) {
            if (button->text().startsWith(QStringLiteral("Assign pipeline")))
                QTest::mouseClick(button, Qt::LeftButton);
        }
        QVERIFY(!bench().state().recipe.rules.empty());
        dialogExport->target()->setText(m_folder.path() + QStringLiteral("/export"));
        for (int i = 0; i < dialogExport->formats()->count(); ++i) {
            if (dialogExport->formats()->item(i)->data(Qt::UserRole).toString() == QLatin1String("compressed-tensors"))
                dialogExport->formats()->setCurrentRow(i);
        }
        QTRY_VERIFY_WITH_TIMEOUT(dialogExport->exportButton()->isEnabled(), kLong);
        QTest::mouseClick(dialogExport->exportButton(), Qt::LeftButton);
        QTRY_VERIFY2_WITH_TIMEOUT(bench().exportReport().state == Loadable<recipe::ExportReport>::State::Ready,
            qPrintable(dialogExport->verdict()), kLong);
        QVERIFY2(dialogExport->verdict().contains(QStringLiteral("verified")), qPrintable(dialogExport->verdict()));
        QTRY_VERIFY2_WITH_TIMEOUT(dialogExport->runtimes().contains(QStringLiteral("vLLM"), Qt::CaseInsensitive),
            qPrintable(dialogExport->runtimes()), kLong);
        QVERIFY(dialogExport->reopenButton()->isVisible());
        QVERIFY(keepPicture(dialogExport, QStringLiteral("export-dialog")));
        dialogExport->close();
    }

    void layerWithoutGramIsNoFailure()
    {
        m_window->openPath(QStringLiteral(QS_SAMPLE_DIR)); // its dump has Grams of some layers only
        QTRY_VERIFY_WITH_TIMEOUT(bench().dump() && bench().ranking().ready() && bench().jobs().idle(), kLong);
        const int messages = bench().messages().rowCount();
        clickTab(QStringLiteral("Hessian"));
        clickLayer("model.layers.1.self_attn.k_proj");
        QTRY_VERIFY_WITH_TIMEOUT(bench().layerView().ready() && bench().jobs().idle(), kLong);
        using State = session::Loadable<session::LayerResult>::State;
        QCOMPARE(bench().layerResult(1).state, State::Failed);
        QCOMPARE(bench().messages().rowCount(), messages);
        views::StateView* state = m_window->hessianPanel()->stateView();
        QTRY_VERIFY2(state->message().contains(QStringLiteral("No Gram matrix")), qPrintable(state->message()));
        QPushButton* button = nullptr;
        for (QPushButton* each : state->findChildren<QPushButton*>())
            if (each->isVisible() && each->text() == QStringLiteral("Calibrate…"))
                button = each;
        QVERIFY(button);
        QTest::mouseClick(button, Qt::LeftButton);
        auto* dialog = m_window->findChild<CalibrateDialog*>();
        QVERIFY(dialog);
        dialog->close();
    }

    void enterRunsTheFirstMatch()
    {
        QTRY_VERIFY_WITH_TIMEOUT(bench().layerView().ready() && bench().jobs().idle(), kLong);
        QTest::keyClick(m_window.get(), Qt::Key_K, Qt::ControlModifier);
        auto* search = m_window->findChild<QLineEdit*>(QStringLiteral("search"));
        QTRY_COMPARE(QApplication::focusWidget(), static_cast<QWidget*>(search));
        auto press = [&](Qt::Key key) { // as the keyboard does it: an open list gets the key first
            QWidget* popup = search->completer()->popup();
            QTest::keyClick(popup->isVisible() ? popup : search, key);
        };
        QTest::keyClicks(search, QStringLiteral("eval"));
        QTRY_VERIFY(search->completer()->popup()->isVisible());
        press(Qt::Key_Return);
        QTRY_VERIFY(m_window->findChild<EvaluateDialog*>());
        QCOMPARE(m_window->findChildren<EvaluateDialog*>().size(), 1);
        QVERIFY(search->text().isEmpty());
        m_window->findChild<EvaluateDialog*>()->close();
        // Down and Enter takes a line of the list, once.
        const std::size_t count = bench().state().pipelines.size();
        search->setFocus();
        QTest::keyClicks(search, QStringLiteral("method: "));
        QTRY_VERIFY(search->completer()->popup()->isVisible());
        press(Qt::Key_Down);
        press(Qt::Key_Return);
        QTRY_COMPARE(bench().state().pipelines.size(), count + 1);
        QTest::qWait(50);
        QCOMPARE(bench().state().pipelines.size(), count + 1);
        search->setFocus();
        QTest::keyClicks(search, QStringLiteral("nosuchthing"));
        press(Qt::Key_Return);
        QVERIFY2(m_window->noticeText().contains(QStringLiteral("nosuchthing")), qPrintable(m_window->noticeText()));
    }

    void themeSwitches()
    {
        m_window->setDark(true);
        QCOMPARE(qApp->palette().color(QPalette::Window), views::kDarkTokens.background);
        m_window->setDark(false);
        QCOMPARE(qApp->palette().color(QPalette::PlaceholderText), views::kLightTokens.dim);
    }

    void sessionThemeIsNotTheUsers()
    {
        const QString file = m_folder.path() + QStringLiteral("/light.qsession");
        auto state = bench().document().edit();
        state->theme = QStringLiteral("light");
        bench().document().set(state);
        QVERIFY(bench().document().save(file.toStdString()));
        m_window->setDark(true);
        m_window->openPath(file); // shows its theme, and the setting stays
        QVERIFY(!views::Theme::instance().dark());
        QVERIFY(QSettings().value(QStringLiteral("dark")).toBool());
        QTRY_VERIFY_WITH_TIMEOUT(bench().ranking().ready() && bench().jobs().idle(), kLong);
        m_window->setDark(true);
        m_window->keepTheme(); // --dark
        m_window->openPath(file);
        QVERIFY(views::Theme::instance().dark());
        QTRY_VERIFY_WITH_TIMEOUT(bench().ranking().ready() && bench().jobs().idle(), kLong);
        m_window->setDark(false);
    }

    void commandLine_data()
    {
        QTest::addColumn<QStringList>("arguments");
        QTest::addColumn<QString>("error");
        QTest::newRow("ok") << QStringList{"model", "--dump", "a.h5", "--dark", "--size", "800x600"} << QString();
        QTest::newRow("unknown") << QStringList{"--nosuch"} << "nosuch";
        QTest::newRow("two models") << QStringList{"a", "b"} << "one MODEL";
        QTest::newRow("no model") << QStringList{"--layer", "a.b"} << "--layer needs a MODEL";
        QTest::newRow("no text") << QStringList{"model", "--max-tokens", "64"} << "--max-tokens needs --evaluate";
        QTest::newRow("two dumps") << QStringList{"a.qsession", "--dump", "a.h5"} << "--dump goes with a model";
        QTest::newRow("size") << QStringList{"--size", "big"} << "--size big";
    }
    void commandLine()
    {
        QFETCH(QStringList, arguments);
        QFETCH(QString, error);
        QString problem;
        bool exit = false;
        const auto options = parseOptions(QStringList{"quantscope"} + arguments, &problem, &exit);
        QCOMPARE(options.has_value(), error.isEmpty());
        QVERIFY2(problem.contains(error), qPrintable(problem));
        if (options) {
            QCOMPARE(options->dump, QStringLiteral("a.h5"));
            QCOMPARE(options->size.value_or(QSize()), QSize(800, 600));
            QVERIFY(options->dark.value_or(false));
        }
    }

    void commandLineSelectsComparesAndEvaluates()
    {
        QString problem;
        bool exit = false;
        auto options = parseOptions(QStringList{"quantscope", "model", "--layer", "model.layers.3.mlp.up_proj", "--compare-all",
                                        "--evaluate", QS_SAMPLE_DIR "/evaluation.txt", "--max-tokens", "512"},
            &problem, &exit);
        QVERIFY2(options, qPrintable(problem));
        {
            const StartRun start(*m_window, *options);
            m_window->openPath(QStringLiteral(QS_SAMPLE_DIR "/model.safetensors"));
            const auto before = bench().model();
            QTRY_VERIFY_WITH_TIMEOUT(bench().model() != before, kLong);
            // At once: the ranking, which selects the worst layer otherwise, is not waited for.
            QTRY_VERIFY(bench().currentLayer());
            QCOMPARE(bench().currentLayer()->name, std::string("model.layers.3.mlp.up_proj"));
            QTRY_VERIFY_WITH_TIMEOUT(bench().evaluation().ready() && bench().jobs().idle(), kLong);
            const Index tokens = bench().evaluation().value->reference.tokens;
            QVERIFY(tokens > 0 && tokens <= 512);
            // A line says that the scores are there; who asked on the command line sees the view from its top,
            views::ComparePanel* panel = m_window->comparePanel();
            QTRY_VERIFY(panel->scrollArea()->verticalScrollBar()->maximum() > 0);
            QCOMPARE(panel->scrollArea()->verticalScrollBar()->value(), 0);
            // who asks in the window sees the scores.
            m_window->evaluate();
            auto* dialog = m_window->findChild<EvaluateDialog*>();
            QVERIFY(dialog);
            dialog->text()->setText(QStringLiteral(QS_SAMPLE_DIR "/evaluation.txt"));
            dialog->tokens()->setValue(512);
            QTest::mouseClick(dialog->startButton(), Qt::LeftButton);
            QTRY_VERIFY_WITH_TIMEOUT(bench().evaluation().ready() && bench().jobs().idle(), kLong);
            QTRY_COMPARE(panel->endToEnd()->visibleRegion().boundingRect().height(), panel->endToEnd()->height());
            QStringList lines;
            for (const session::Message& message : bench().messages().messages())
                lines << message.text;
            QVERIFY2(lines.contains(QStringLiteral("evaluated 1 pipeline on evaluation.txt")), qPrintable(lines.join(u'\n')));
            QVERIFY(bench().modelResult(bench().state().pipelines[0])->ready());
            QCOMPARE(bench().currentLayer()->name, std::string("model.layers.3.mlp.up_proj"));
        }
        options->layer = QStringLiteral("model.layers.99.mlp.up_proj");
        options->compareAll = false;
        options->evaluate.clear();
        const StartRun start(*m_window, *options);
        m_window->openPath(QStringLiteral(QS_SAMPLE_DIR "/model.safetensors"));
        QTRY_VERIFY2_WITH_TIMEOUT(m_window->noticeText().contains(QStringLiteral("model.layers.99.mlp.up_proj")),
            qPrintable(m_window->noticeText()), kLong);
        QTRY_VERIFY_WITH_TIMEOUT(bench().ranking().ready() && bench().jobs().idle(), kLong);
    }
};

QTEST_MAIN(TestMainWindow)
#include "tst_main_window.moc"
