// SPDX-License-Identifier: GPL-3.0-or-later
#include "app/gui/calibrate_dialog.h"
#include "app/gui/export_dialog.h"
#include "app/gui/open_dialog.h"
#include "app/gui/shortcuts_dialog.h"
#include "tests/app/window_fixture.h"
#include "views/panels/compare_panel.h"
#include "views/panels/distribution_panel.h"
#include "views/panels/parameter_form.h"
#include "views/panels/pipeline_editor.h"
#include "views/plot/plot_view.h"

#include <QAbstractItemView>
#include <QComboBox>
#include <QCompleter>
#include <QDragEnterEvent>
#include <QHeaderView>
#include <QLineEdit>
#include <QMenu>
#include <QMessageBox>
#include <QMimeData>
#include <QPointer>
#include <QPushButton>
#include <QScreen>
#include <QScrollBar>
#include <QSpinBox>
#include <QTableWidget>
#include <QTimer>
#include <QToolButton>
#include <QtEndian>

using namespace qs;
using namespace qs::app;

class TestWindowDocks : public test::WindowTest {
    Q_OBJECT
    /// What a file manager sends.
    bool drop(const QStringList& files)
    {
        QMimeData data;
        QList<QUrl> urls;
        for (const QString& file : files)
            urls << QUrl::fromLocalFile(file);
        data.setUrls(urls);
        QDragEnterEvent enter(QPoint(400, 300), Qt::CopyAction, &data, Qt::LeftButton, {});
        QApplication::sendEvent(m_window.get(), &enter);
        if (!enter.isAccepted())
            return false;
        QDropEvent event(QPointF(400, 300), Qt::CopyAction, &data, Qt::LeftButton, {});
        QApplication::sendEvent(m_window.get(), &event);
        return event.isAccepted();
    }
    QString writeFile(const QString& name, const QByteArray& content)
    {
        const QString path = m_folder.path() + u'/' + name;
        QFile file(path);
        return file.open(QIODevice::WriteOnly) && file.write(content) == content.size() ? path : QString();
    }
    /// A folder with the sample model and a dump; with another model id when the header is padded.
    QString sampleFolder(const QString& name, bool padHeader, const QByteArray& dump)
    {
        const QString folder = m_folder.path() + u'/' + name;
        QDir().mkpath(folder);
        for (const char* file : {"config.json", "tokenizer.json", "tokenizer_config.json"})
            QFile::copy(QStringLiteral(QS_SAMPLE_DIR "/") + QLatin1String(file), folder + u'/' + QLatin1String(file));
        QFile model(QStringLiteral(QS_SAMPLE_DIR "/model.safetensors"));
        if (!model.open(QIODevice::ReadOnly))
            return {};
        QByteArray bytes = model.readAll();
        if (padHeader) {
            auto length = qFromLittleEndian<quint64>(bytes.constData());
            bytes.insert(static_cast<qsizetype>(8 + length), QByteArray(8, ' '));
            length += 8;
            qToLittleEndian(length, bytes.data());
        }
        const bool ok = !writeFile(name + QStringLiteral("/model.safetensors"), bytes).isEmpty()
            && !writeFile(name + QStringLiteral("/calibration.h5"), dump).isEmpty();
        return ok ? folder : QString();
    }
    /// Answers the next message box.
    static void answer(QMessageBox::StandardButton button)
    {
        QTimer::singleShot(100, qApp, [button] {
            auto* box = qobject_cast<QMessageBox*>(QApplication::activeModalWidget());
            QVERIFY(box);
            QTest::mouseClick(box->button(button), Qt::LeftButton);
        });
    }

private Q_SLOTS:
    void viewsStandSideBySide()
    {
        ViewDock* channels = m_window->dock(QStringLiteral("Channels"));
        ViewDock* compare = m_window->dock(QStringLiteral("Compare"));
        QTRY_VERIFY(compare->onScreen());
        QVERIFY(!channels->onScreen());
        QVERIFY(compare->title()->collapsed()); // the tab says the name
        QTest::keyClick(m_window.get(), Qt::Key_1, Qt::ControlModifier | Qt::AltModifier);
        QTRY_VERIFY(channels->onScreen() && compare->onScreen());
        QTRY_VERIFY(channels->geometry().left() > compare->geometry().right());
        QTRY_VERIFY(!channels->title()->collapsed());
        // Closed by its button, opened again by the View menu.
        QTest::mouseClick(channels->title()->closeButton(), Qt::LeftButton);
        QVERIFY(channels->isHidden());
        QVERIFY(!channels->toggleViewAction()->isChecked());
        channels->toggleViewAction()->trigger();
        QTRY_VERIFY(channels->onScreen());
        // Back into the tabs with the rest.
        QTest::keyClick(m_window.get(), Qt::Key_R, Qt::ControlModifier | Qt::ShiftModifier);
        QTRY_VERIFY(m_window->tabBarOf(channels) && m_window->tabBarOf(channels) == m_window->tabBarOf(compare));
        QTRY_VERIFY(compare->onScreen() && !channels->onScreen());
    }

    void tabKeyStopsOnlyAtWhatShows()
    {
        QLineEdit* filter = m_window->layersPanel()->filter();
        filter->setFocus();
        QTRY_COMPARE(QApplication::focusWidget(), static_cast<QWidget*>(filter));
        QStringList docks;
        for (const auto key : {Qt::Key_Tab, Qt::Key_Backtab}) {
            for (int i = 0; i < 40; ++i) {
                QTest::keyClick(QApplication::focusWidget(), key);
                const QWidget* focus = QApplication::focusWidget();
                QVERIFY(focus);
                QVERIFY2(!focus->visibleRegion().isEmpty(), focus->metaObject()->className());
                for (const char* name : {"Layers", "Compare", "Pipeline", "Jobs", "Channels"})
                    if (m_window->dock(QLatin1String(name))->isAncestorOf(focus))
                        docks << QLatin1String(name);
            }
        }
        QVERIFY(!docks.contains(QStringLiteral("Channels")));
        for (const char* name : {"Layers", "Compare", "Pipeline"})
            QVERIFY2(docks.contains(QLatin1String(name)), name);
        // A view that goes behind a tab does not keep the keyboard.
        QTest::keyClick(m_window.get(), Qt::Key_2, Qt::ControlModifier);
        ViewDock* distribution = m_window->dock(QStringLiteral("Distribution"));
        QTRY_VERIFY(distribution->isAncestorOf(QApplication::focusWidget()));
        QTest::keyClick(m_window.get(), Qt::Key_PageDown, Qt::ControlModifier);
        QTRY_VERIFY(!distribution->onScreen());
        QTRY_VERIFY(!distribution->isAncestorOf(QApplication::focusWidget()));
        QVERIFY(!QApplication::focusWidget()->visibleRegion().isEmpty());
    }

    void treeSortsByAMetricThatIsAskedFor()
    {
        m_window->openPath(QStringLiteral(QS_SAMPLE_DIR)); // with the dump beside it
        QTRY_VERIFY_WITH_TIMEOUT(bench().dump() && bench().ranking().ready() && bench().jobs().idle(), kLong);
        QTreeView* tree = m_window->layersPanel()->tree();
        const auto choose = [&](const QString& title) {
            Q_EMIT tree->header()->customContextMenuRequested({10, 5});
            QPointer<QMenu> menu = m_window->layersPanel()->findChild<QMenu*>(QStringLiteral("columnMenu"));
            QVERIFY(menu);
            QTRY_VERIFY(menu->isVisible());
            for (QAction* action : menu->actions())
                if (action->text() == title)
                    QTest::mouseClick(menu, Qt::LeftButton, {}, menu->actionGeometry(action).center());
            QTRY_VERIFY(!menu || !menu->isVisible());
        };
        using session::LayerTreeModel;
        QVERIFY(tree->isColumnHidden(LayerTreeModel::Condition));
        choose(QStringLiteral("Condition"));
        QVERIFY(!tree->isColumnHidden(LayerTreeModel::Condition));
        QTRY_VERIFY_WITH_TIMEOUT(bench().jobs().idle(), kLong);
        const auto* model = tree->model();
        const auto at
            = [&](int row, int column) { return model->index(row, column).data(LayerTreeModel::SortRole).toDouble(); };
        QTRY_VERIFY(at(0, LayerTreeModel::Condition) > at(1, LayerTreeModel::Condition)
            || std::isinf(at(0, LayerTreeModel::Condition)));
        choose(QStringLiteral("B, %"));
        QTRY_VERIFY_WITH_TIMEOUT(bench().jobs().idle(), kLong);
        const int column = LayerTreeModel::FirstCompared + 1;
        QTRY_VERIFY(at(0, column) > 0);
        QVERIFY(at(0, column) >= at(1, column));
        // The bundled dump has Grams of some layers only: those are measured, the rest are told apart.
        const auto& result = *bench().modelResult(bench().state().pipelines[1])->value;
        QVERIFY(result.skipped > 0);
        QCOMPARE(static_cast<std::size_t>(result.skipped) + result.layers.size(), bench().model()->spec().layers.size());
        QVERIFY(std::isnan(at(model->rowCount() - 1, column)));
        QCOMPARE(at(0, column),
            bench()
                .modelResult(bench().state().pipelines[1])
                ->value->layers.at(model->index(0, 0).data(LayerTreeModel::LayerRole).toInt())
                .metrics.outputError);
    }

    void docksFloatAndCloseByTheirTabs()
    {
        ViewDock* qsur = m_window->dock(QStringLiteral("QSUR"));
        QTRY_VERIFY(m_window->tabBarOf(qsur));
        QTabBar* tabs = m_window->tabBarOf(qsur);
        for (int i = 0; i < tabs->count(); ++i) {
            if (tabs->tabText(i) == qsur->name()) {
                QTest::mouseDClick(tabs, Qt::LeftButton, {}, tabs->tabRect(i).center());
                break;
            }
        }
        QTRY_VERIFY(qsur->isFloating());
        QTRY_VERIFY(!qsur->title()->collapsed());
        QTest::mouseClick(qsur->title()->floatButton(), Qt::LeftButton);
        QTRY_VERIFY(!qsur->isFloating());
        ViewDock* hessian = m_window->dock(QStringLiteral("Hessian"));
        QTRY_VERIFY(m_window->tabBarOf(hessian));
        clickTabOf(m_window->tabBarOf(hessian), hessian->name(), Qt::MiddleButton);
        QTRY_VERIFY(hessian->isHidden());
        QVERIFY(m_window->showView(QStringLiteral("hessian")));
        QTRY_VERIFY(hessian->onScreen());
        QVERIFY(!m_window->showView(QStringLiteral("nonsense")));
    }

    void hiddenViewsComputeNothing()
    {
        QTRY_VERIFY(m_window->dock(QStringLiteral("Compare"))->onScreen());
        QTRY_VERIFY_WITH_TIMEOUT(bench().jobs().idle(), kLong);
        const int distribution = m_window->distributionPanel()->refreshes();
        const int compare = m_window->comparePanel()->refreshes();
        clickLayer("model.layers.4.self_attn.q_proj");
        QTRY_VERIFY_WITH_TIMEOUT(bench().layerView().ready() && bench().jobs().idle(), kLong);
        QTRY_VERIFY(m_window->comparePanel()->refreshes() > compare);
        QCOMPARE(m_window->distributionPanel()->refreshes(), distribution);
        clickTab(QStringLiteral("Distribution"));
        QTRY_VERIFY(m_window->distributionPanel()->refreshes() > distribution);
        // A closed editor asks for no preview.
        ViewDock* editor = m_window->dock(QStringLiteral("Pipeline"));
        QTest::mouseClick(editor->title()->closeButton(), Qt::LeftButton);
        clickLayer("model.layers.4.self_attn.v_proj");
        QTRY_VERIFY_WITH_TIMEOUT(bench().layerView().ready() && bench().jobs().idle(), kLong);
        QVERIFY(!bench().preview().value);
        editor->toggleViewAction()->trigger();
        QTRY_VERIFY_WITH_TIMEOUT(bench().preview().ready(), kLong);
    }

    void layoutComesBack()
    {
        QVERIFY(!m_window->restoreLayout()); // nothing was kept yet; from now on it is
        QTest::keyClick(m_window.get(), Qt::Key_2, Qt::ControlModifier | Qt::AltModifier);
        QTRY_VERIFY(m_window->dock(QStringLiteral("Distribution"))->onScreen());
        QTest::mouseClick(m_window->dock(QStringLiteral("Jobs"))->title()->closeButton(), Qt::LeftButton);
        QVERIFY(m_window->close());
        m_window = std::make_unique<MainWindow>();
        QVERIFY(!m_window->dock(QStringLiteral("Jobs"))->isHidden());
        QVERIFY(m_window->restoreLayout());
        m_window->show();
        QVERIFY(QTest::qWaitForWindowExposed(m_window.get()));
        QTRY_VERIFY(m_window->dock(QStringLiteral("Distribution"))->onScreen());
        QTRY_VERIFY(m_window->dock(QStringLiteral("Compare"))->onScreen());
        QVERIFY(m_window->dock(QStringLiteral("Jobs"))->isHidden());
        m_window->resetLayout();
        QTRY_VERIFY(!m_window->dock(QStringLiteral("Jobs"))->isHidden());
        QTRY_VERIFY(!m_window->dock(QStringLiteral("Distribution"))->onScreen());
    }

    void layoutOfALargerWindowLeavesTheViewsTheirRoom()
    {
        m_window->restoreLayout(); // from now on it is kept
        m_window->resize(1700, 900);
        m_window->resetLayout();
        QTRY_VERIFY(m_window->dock(QStringLiteral("Layers"))->width() > 400);
        QVERIFY(m_window->close());
        m_window = std::make_unique<MainWindow>();
        m_window->place(QSize(1180, 780));
        m_window->show();
        QVERIFY(QTest::qWaitForWindowExposed(m_window.get()));
        QTRY_VERIFY2(m_window->dock(QStringLiteral("Compare"))->width() > 1180 * 45 / 100,
            qPrintable(QString::number(m_window->dock(QStringLiteral("Compare"))->width())));
    }

    void windowFitsTheScreen()
    {
        const QRect screen = m_window->screen()->availableGeometry();
        m_window->setMinimumSize(1, 1); // the screen of the tests is smaller than any real one
        m_window->place({});
        QVERIFY2(m_window->width() <= screen.width() && m_window->height() <= screen.height(),
            qPrintable(QStringLiteral("%1 x %2").arg(m_window->width()).arg(m_window->height())));
        const QSize needed = MainWindow::kWantedSize;
        QCOMPARE(m_window->isMaximized(), screen.width() < needed.width() || screen.height() < needed.height() + 32);
        // A size that was asked for counts, also when another one was kept.
        QVERIFY(m_window->close());
        m_window = std::make_unique<MainWindow>();
        m_window->place(QSize(1280, 775));
        QVERIFY(!m_window->isMaximized());
        QCOMPARE(m_window->size(), QSize(1280, 775));
    }

    void listKeepsItsOrderAndShowsItsTitles()
    {
        using session::LayerTreeModel;
        QTreeView* tree = m_window->layersPanel()->tree();
        const auto order = [tree] {
            QStringList names;
            for (int row = 0; row < tree->model()->rowCount(); ++row)
                names << tree->model()->index(row, 0).data(LayerTreeModel::NameRole).toString();
            return names;
        };
        const QStringList before = order();
        QVERIFY(tree->isColumnHidden(LayerTreeModel::Assigned));
        clickLayer("model.layers.2.self_attn.k_proj");
        QPushButton* assign = m_window->pipelineEditor()->assignButton();
        QTRY_VERIFY_WITH_TIMEOUT(bench().layerView().ready() && assign->isEnabled(), kLong);
        QCOMPARE(assign->text(), QStringLiteral("Assign to 1 + 2 fused layers"));
        QVERIFY(assign->toolTip().contains(QStringLiteral("also model.layers.2.self_attn.q_proj")));
        QTest::mouseClick(assign, Qt::LeftButton);
        QTRY_VERIFY_WITH_TIMEOUT(bench().assignedResult().ready() && bench().jobs().idle(), kLong);
        QCOMPARE(order(), before);
        QVERIFY(!tree->isColumnHidden(LayerTreeModel::Assigned));
        QHeaderView* header = tree->header();
        const QFontMetrics metrics(views::Theme::instance().font(views::kSmallPx));
        for (const int width : {1660, 1280}) {
            m_window->resize(width, 800);
            for (int column = 0; column < LayerTreeModel::ColumnCount; ++column) {
                const QString title = tree->model()->headerData(column, Qt::Horizontal).toString();
                if (!header->isSectionHidden(column))
                    QTRY_VERIFY2(header->sectionSize(column) >= metrics.horizontalAdvance(title) + 12, qPrintable(title));
            }
            QTRY_VERIFY2(header->sectionSize(LayerTreeModel::Layer) >= 90, qPrintable(QString::number(width)));
        }
        // Another order brings the selected layer back into sight.
        clickLayer(before.last().toUtf8().constData());
        tree->sortByColumn(LayerTreeModel::Error, Qt::AscendingOrder);
        QTRY_VERIFY(tree->viewport()->rect().contains(tree->visualRect(tree->currentIndex()).center()));
        QCOMPARE(tree->currentIndex().data(LayerTreeModel::NameRole).toString(), before.last());
    }

    void sortingByAClickShowsTheFirstRows()
    {
        using session::LayerTreeModel;
        QTreeView* tree = m_window->layersPanel()->tree();
        QTRY_VERIFY(tree->verticalScrollBar()->maximum() > 0);
        clickLayer("model.layers.5.mlp.down_proj");
        QHeaderView* header = tree->header();
        for (int i = 0; i < 2; ++i) {
            tree->verticalScrollBar()->setValue(tree->verticalScrollBar()->maximum());
            const int x
                = header->sectionViewportPosition(LayerTreeModel::Error) + header->sectionSize(LayerTreeModel::Error) / 2;
            QTest::mouseClick(header->viewport(), Qt::LeftButton, {}, QPoint(x, header->height() / 2));
            QTRY_COMPARE(tree->verticalScrollBar()->value(), 0);
        }
    }

    void commandsWinOverNumberFields()
    {
        QTRY_VERIFY_WITH_TIMEOUT(bench().layerView().ready() && bench().jobs().idle(), kLong);
        views::ParameterForm* form = m_window->pipelineEditor()->form("int");
        QVERIFY(form);
        QLineEdit* number = form->findChild<QLineEdit*>();
        QVERIFY(number);
        number->setFocus();
        QTRY_COMPARE(QApplication::focusWidget(), static_cast<QWidget*>(number));
        const bool dark = views::Theme::instance().dark();
        QTest::keyClick(number, Qt::Key_D, Qt::ControlModifier);
        QCOMPARE(views::Theme::instance().dark(), !dark);
        QTest::keyClick(number, Qt::Key_D, Qt::ControlModifier);
        QTest::keyClick(number, Qt::Key_E, Qt::ControlModifier);
        auto* dialog = m_window->findChild<ExportDialog*>();
        QVERIFY(dialog);
        dialog->close();
        // Text keeps its own undo; Esc gives a search up.
        auto* search = m_window->findChild<QLineEdit*>(QStringLiteral("search"));
        search->setFocus();
        QTest::keyClicks(search, QStringLiteral("spa"));
        QTest::keyClick(search, Qt::Key_Z, Qt::ControlModifier);
        QVERIFY(search->text().size() < 3);
        QTest::keyClicks(search, QStringLiteral("sparse"));
        QWidget* popup = search->completer()->popup();
        QTest::keyClick(popup->isVisible() ? popup : search, Qt::Key_Escape);
        QCOMPARE(search->text(), QString());
        QVERIFY(!popup->isVisible());
    }

    void distributionShowsInputs()
    {
        clickTab(QStringLiteral("Distribution"));
        views::DistributionPanel* panel = m_window->distributionPanel();
        QTRY_VERIFY_WITH_TIMEOUT(!panel->plot()->data().series.empty(), kLong);
        QVERIFY(panel->plot()->data().x.title.startsWith(QStringLiteral("weight")));
        panel->what()->setFocus();
        QTest::keyClick(panel->what(), Qt::Key_Down);
        QTRY_VERIFY(panel->plot()->data().empty.contains(QStringLiteral("No calibration yet")));
        QVERIFY(panel->calibrateButton()->isVisible());
        model::CaptureOptions options;
        options.samples = 4;
        options.seqLen = 32;
        options.keepTokens = 16;
        bench().calibrate(
            QS_SAMPLE_DIR "/calibration.txt", (m_folder.path() + QStringLiteral("/inputs.h5")).toStdString(), options);
        QTRY_VERIFY_WITH_TIMEOUT(bench().dump() && bench().jobs().idle(), kLong);
        QTRY_COMPARE(panel->plot()->data().series.size(), std::size_t{1}); // rtn has no activation grid
        QVERIFY(!panel->calibrateButton()->isVisible());
        QVERIFY(!panel->numbers()->value(QStringLiteral("kurtosis, one mean")).isEmpty());
        auto pipeline = recipe::parsePipeline("- | - | int(bits=8) | nearest | - | act(a_bits=4)", bench().registry());
        QVERIFY(pipeline);
        bench().addPipeline(std::move(*pipeline)); // and selects it
        QTRY_COMPARE_WITH_TIMEOUT(panel->plot()->data().series.size(), std::size_t{2}, kLong);
        QCOMPARE(panel->plot()->data().markers.size(), std::size_t{16});
        QCOMPARE(panel->numbers()->value(QStringLiteral("clipped")), QStringLiteral("0 %"));
        QTRY_VERIFY_WITH_TIMEOUT(m_window->idle(), kLong);
        QVERIFY(keepPicture(m_window.get(), QStringLiteral("distribution-inputs")));
    }

    void dumpNameFollowsTheNumbers()
    {
        m_window->calibrate();
        auto* dialog = m_window->findChild<CalibrateDialog*>();
        QVERIFY(dialog);
        QVERIFY2(dialog->target()->text().contains(QStringLiteral("-32-of-")), qPrintable(dialog->target()->text()));
        dialog->samples()->setValue(8);
        dialog->length()->setValue(64);
        QVERIFY2(dialog->target()->text().contains(QStringLiteral("-8-of-64")), qPrintable(dialog->target()->text()));
        dialog->text()->setText(QStringLiteral("/somewhere/my notes.txt"));
        QVERIFY2(dialog->target()->text().contains(QStringLiteral("-my notes-8-of-64")), qPrintable(dialog->target()->text()));
        dialog->target()->setText(QStringLiteral("/tmp/mine.h5")); // what people choose stays
        dialog->samples()->setValue(9);
        QCOMPARE(dialog->target()->text(), QStringLiteral("/tmp/mine.h5"));
        dialog->close();
    }

    void dropsOpenWhatTheyAre()
    {
        const auto before = bench().model();
        const int messages = bench().messages().rowCount();
        const QString recipe = writeFile(QStringLiteral("recipe.json"),
            R"json({"schema": 1, "kind": "quantscope-recipe", "rules": [{"pattern": "mlp", "pipeline": "rtn(bits=3)"}]})json");
        QVERIFY(drop({recipe}));
        QCOMPARE(bench().state().recipe.rules.size(), std::size_t{1});
        QVERIFY2(m_window->noticeText().contains(QStringLiteral("recipe.json")), qPrintable(m_window->noticeText()));
        m_window->undoStack().undo();
        QVERIFY(bench().state().recipe.rules.empty());

        const QString pipeline = writeFile(QStringLiteral("pipeline.json"),
            R"json({"schema": 1, "pipeline": {"grid": [{"stage": "int", "parameters": {"bits": 5}}]}})json");
        const std::size_t count = bench().state().pipelines.size();
        QVERIFY(drop({pipeline}));
        QCOMPARE(bench().state().pipelines.size(), count + 1);
        m_window->undoStack().undo();

        // Wrong files: one clear line each, and nothing is lost.
        const auto state = bench().document().state();
        int lines = bench().messages().rowCount();
        QVERIFY(lines > messages);
        for (const auto& [name, content] :
            {std::pair("letter.odt", "PK"), std::pair("other.json", R"json({"answer": 42})json"),
                std::pair("broken.json", "{\"rules\": ["),
                std::pair("nomatch.json",
                    R"json({"schema": 1, "kind": "quantscope-recipe", "rules": [{"pattern": "nosuchlayer", "pipeline": "rtn"}]})json")}) {
            QVERIFY(drop({writeFile(QLatin1String(name), content)}));
            QCOMPARE(bench().messages().rowCount(), ++lines);
            QVERIFY2(m_window->noticeText().contains(QLatin1String(name)), qPrintable(m_window->noticeText()));
            QVERIFY(!m_window->noticeText().contains(u'\n'));
        }
        QVERIFY(drop({QStringLiteral(QS_SAMPLE_DIR), QStringLiteral(QS_SAMPLE_DIR "/model.safetensors")}));
        QCOMPARE(bench().messages().rowCount(), ++lines);
        QCOMPARE(bench().model(), before);
        QCOMPARE(bench().document().state(), state);
    }

    void dumpOfTheFolderIsOpenedWhenItIsOfThisModel()
    {
        model::CaptureOptions options;
        options.samples = 4;
        options.seqLen = 32;
        const QString file = m_folder.path() + QStringLiteral("/own.h5");
        bench().calibrate(QS_SAMPLE_DIR "/calibration.txt", file.toStdString(), options);
        QTRY_VERIFY_WITH_TIMEOUT(bench().dump() && bench().jobs().idle(), kLong);
        QFile dump(file);
        QVERIFY(dump.open(QIODevice::ReadOnly));
        const QByteArray bytes = dump.readAll();

        m_window->openPath(sampleFolder(QStringLiteral("same"), false, bytes));
        QTRY_VERIFY_WITH_TIMEOUT(bench().dump() && bench().dump()->path().filename() == "calibration.h5", kLong);
        QTRY_VERIFY2(
            m_window->statusText().contains(QStringLiteral("found in the model's folder")), qPrintable(m_window->statusText()));
        QTRY_VERIFY_WITH_TIMEOUT(bench().jobs().idle(), kLong);

        m_window->openPath(sampleFolder(QStringLiteral("another"), true, bytes));
        QTRY_VERIFY2_WITH_TIMEOUT(
            m_window->noticeText().contains(QStringLiteral("another model")), qPrintable(m_window->noticeText()), kLong);
        QTRY_VERIFY_WITH_TIMEOUT(bench().jobs().idle(), kLong);
        QVERIFY(!bench().dump());
        QVERIFY(!m_window->statusText().contains(QStringLiteral("calibration.h5")));
    }

    void recentFilesAreAbsolute()
    {
        const QString before = QDir::currentPath();
        QSettings().setValue(QStringLiteral("recent"), QStringList{QStringLiteral("sample")});
        QVERIFY(QDir::setCurrent(QStringLiteral(QS_SAMPLE_DIR "/..")));
        const auto model = bench().model();
        m_window->openPath(QDir(QStringLiteral(QS_SAMPLE_DIR)).dirName());
        QVERIFY(QDir::setCurrent(before));
        QTRY_VERIFY_WITH_TIMEOUT(bench().model() != model && bench().ranking().ready() && bench().jobs().idle(), kLong);
        const QStringList recent = QSettings().value(QStringLiteral("recent")).toStringList();
        QCOMPARE(recent, QStringList{QDir::cleanPath(QStringLiteral(QS_SAMPLE_DIR))});
    }

    void methodsMenuStartsWithAMethod()
    {
        QMenu* menu = nullptr;
        for (const QToolButton* button : m_window->pipelineEditor()->findChildren<QToolButton*>())
            if (button->accessibleName() == QStringLiteral("Methods"))
                menu = button->menu();
        QVERIFY(menu);
        menu->popup(QPoint(100, 100));
        QTRY_VERIFY(menu->isVisible());
        QVERIFY(menu->actions().first()->isSeparator());
        QVERIFY(menu->actionGeometry(menu->actions().first()).isEmpty());
        QVERIFY(keepPicture(menu, QStringLiteral("methods-menu")));
        menu->close();
    }

    void unsavedWorkIsAskedFor()
    {
        QTRY_VERIFY_WITH_TIMEOUT(bench().layerView().ready(), kLong);
        m_window->comparePanel()->addButton()->menu()->actions().first()->trigger();
        QVERIFY(bench().document().modified());
        answer(QMessageBox::Cancel);
        QVERIFY(!m_window->close());
        QVERIFY(m_window->isVisible());
        const auto before = bench().model();
        answer(QMessageBox::Cancel);
        m_window->openPath(QStringLiteral(QS_SAMPLE_DIR));
        QVERIFY(bench().jobs().idle() || bench().model() == before);
        QCOMPARE(bench().model(), before);
        answer(QMessageBox::Discard);
        QVERIFY(m_window->close());
    }

    void runningWorkIsAskedFor()
    {
        QTRY_VERIFY_WITH_TIMEOUT(bench().layerView().ready() && bench().jobs().idle(), kLong);
        model::CaptureOptions options;
        options.samples = 200;
        options.seqLen = 256;
        const QString dump = m_folder.path() + QStringLiteral("/never.h5");
        bench().calibrate(QS_SAMPLE_DIR "/calibration.txt", dump.toStdString(), options);
        QCOMPARE(bench().unfinishedWork(), 1);
        answer(QMessageBox::Cancel);
        QVERIFY(!m_window->close());
        QVERIFY(m_window->isVisible());
        QCOMPARE(bench().unfinishedWork(), 1);
        answer(QMessageBox::Yes);
        QVERIFY(m_window->close());
        QTRY_VERIFY_WITH_TIMEOUT(bench().jobs().idle(), kLong);
        QVERIFY(!QFile::exists(dump));
    }

    void keyboardReachesEverything()
    {
        QTest::keyClick(m_window.get(), Qt::Key_F1);
        auto* keys = m_window->findChild<ShortcutsDialog*>();
        QVERIFY(keys);
        QStringList rows;
        for (int i = 0; i < keys->table()->rowCount(); ++i)
            rows << keys->table()->item(i, 0)->text() + u'\t' + keys->table()->item(i, 1)->text();
        const QString all = rows.join(u'\n');
        for (const char* row : {"Open…\tCtrl+O", "Go to Compare\tCtrl+5", "Reset layout\tCtrl+Shift+R", "Undo\tCtrl+Z"})
            QVERIFY2(all.contains(QString::fromUtf8(row)), row);
        QVERIFY(keepPicture(keys, QStringLiteral("shortcuts-dialog")));
        keys->close();
        // No two commands share a key.
        QSet<QString> used;
        for (const QAction* action : m_window->findChildren<QAction*>()) {
            for (const QKeySequence& key : action->shortcuts()) {
                if (action->property("command").toBool()) {
                    QVERIFY2(!used.contains(key.toString()), qPrintable(key.toString()));
                    used.insert(key.toString());
                }
            }
        }
        ViewDock* first = m_window->currentView();
        QTest::keyClick(m_window.get(), Qt::Key_PageDown, Qt::ControlModifier);
        QTRY_VERIFY(m_window->currentView() != first && m_window->currentView()->onScreen());
        QTest::keyClick(m_window.get(), Qt::Key_6, Qt::ControlModifier);
        QTRY_VERIFY(m_window->dock(QStringLiteral("Layers"))->isAncestorOf(QApplication::focusWidget()));
    }

    void openDialogExplainsBeforeItOpens()
    {
        QTest::keyClick(m_window.get(), Qt::Key_O, Qt::ControlModifier);
        auto* dialog = m_window->findChild<OpenDialog*>();
        QVERIFY(dialog);
        QVERIFY(!dialog->openButton()->isEnabled());
        QTest::keyClicks(dialog->path(), QStringLiteral("/no/such/place"));
        QVERIFY(dialog->note().contains(QStringLiteral("no such")));
        QVERIFY(!dialog->openButton()->isEnabled());
        dialog->path()->setText(QStringLiteral(QS_SAMPLE_DIR));
        QVERIFY(dialog->openButton()->isEnabled());
        QVERIFY(dialog->note().contains(QStringLiteral("Hugging Face")));
        QVERIFY(keepPicture(dialog, QStringLiteral("open-dialog")));
        const auto before = bench().model();
        QTest::mouseClick(dialog->openButton(), Qt::LeftButton);
        QTRY_VERIFY_WITH_TIMEOUT(bench().model() != before, kLong);
    }
};

QTEST_MAIN(TestWindowDocks)
#include "tst_window_docks.moc"
