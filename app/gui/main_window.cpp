// SPDX-License-Identifier: GPL-3.0-or-later
#include "app/gui/main_window.h"

#include "app/gui/calibrate_dialog.h"
#include "app/gui/command_keys.h"
#include "app/gui/export_dialog.h"
#include "app/gui/view_dock.h"
#include "views/heatmap/heatmap_view.h"
#include "views/panels/compare_panel.h"
#include "views/panels/layers_panel.h"
#include "views/theme/theme.h"
#include "views/undo/edit_command.h"

#include <QAbstractItemView>
#include <QAction>
#include <QApplication>
#include <QCloseEvent>
#include <QCompleter>
#include <QHBoxLayout>
#include <QLabel>
#include <QLineEdit>
#include <QPushButton>
#include <QSettings>
#include <QTabBar>
#include <QTimer>
#include <QToolBar>

#include <algorithm>
#include <utility>

namespace qs::app {

using namespace qs::views; // NOLINT(google-build-using-namespace): this file only assembles views

namespace {
constexpr int kMostOfSides = 55; ///< Per cent of the width that the docks at the sides may take together.
}

MainWindow::MainWindow(QWidget* parent)
    : QMainWindow(parent)
{
    setWindowTitle(QStringLiteral("Quantscope"));
    setAcceptDrops(true);
    m_bench.loadPlugins();

    buildTopBar();
    buildViews();
    buildStatus();
    buildMenus();
    new CommandKeys(this);

    for (auto signal :
        {&session::Workbench::modelChanged, &session::Workbench::dumpChanged, &session::Workbench::assignedChanged})
        connect(&m_bench, signal, this, &MainWindow::updateTexts);
    connect(&m_bench.document(), &session::SessionDocument::modifiedChanged, this, &MainWindow::updateTexts);
    connect(&m_bench.document(), &session::SessionDocument::changed, this, &MainWindow::updateTexts);
    connect(&m_bench, &session::Workbench::modelChanged, this, [this] {
        if (m_bench.opened().ready() && m_bench.model() != m_shown) {
            m_shown = m_bench.model();
            m_undo.clear();
            m_companionUsed.clear();
            remember(QString::fromStdString(m_bench.state().model.string()));
            lookAtCompanion();
        }
        fillSearch();
    });
    connect(&m_bench, &session::Workbench::sessionOpened, this, [this] {
        m_undo.clear();
        if (!m_bench.state().theme.isEmpty() && !m_themeFixed)
            showDark(m_bench.state().theme == QLatin1String("dark"));
    });
    updateTexts();
    fillSearch();
    m_layers->filter()->clearFocus();
}

MainWindow::~MainWindow()
{
    // ~QWidget moves the focus when nothing of this class is left.
    disconnect(qApp, nullptr, this, nullptr);
    // The panels go first: they use the workbench until their last moment.
    for (ViewDock* each : std::exchange(m_docks, {}))
        delete each;
    delete takeCentralWidget();
}

void MainWindow::buildTopBar()
{
    auto* top = new QFrame;
    top->setObjectName(QStringLiteral("topbar"));
    auto* layout = new QHBoxLayout(top);
    layout->setContentsMargins(10, 8, 10, 8);
    layout->setSpacing(8);
    m_open = new QPushButton(tr("Open…"));
    m_open->setObjectName(QStringLiteral("openButton"));
    m_open->setToolTip(tr("A model, a dump, a recipe or a session; they can also be dropped on the window (Ctrl+O)"));
    m_calibrate = new QPushButton(tr("Calibrate…"));
    m_calibrate->setToolTip(tr("Run a text through the model and keep statistics of what every layer receives (Ctrl+L)"));
    m_info = makeLabel({}, "dim");
    m_info->setMinimumWidth(0);
    m_info->setSizePolicy(QSizePolicy::Ignored, QSizePolicy::Preferred);
    m_search = new QLineEdit;
    m_search->setObjectName(QStringLiteral("search"));
    m_search->setPlaceholderText(tr("Search commands, layers, methods   Ctrl+K"));
    m_search->setAccessibleName(tr("Search commands, layers, methods"));
    m_search->setMaximumWidth(320);
    m_search->setMinimumWidth(180);
    m_search->setMinimumHeight(28);
    m_search->setAcceptDrops(false); // files dropped on it are for the window
    auto* clear = new QAction(m_search);
    clear->setShortcut(Qt::Key_Escape);
    clear->setShortcutContext(Qt::WidgetShortcut);
    connect(clear, &QAction::triggered, this, [this] { // also while the list of results is open
        if (m_search->completer())
            m_search->completer()->popup()->hide();
        m_search->clear();
    });
    m_search->addAction(clear);
    connect(m_search, &QLineEdit::returnPressed, this, &MainWindow::runFirstMatch);
    m_export = new QPushButton(tr("Export recipe…"));
    m_export->setProperty("role", QByteArray("primary"));
    m_export->setToolTip(tr("Check the recipe for a format, write it, read it back and verify it (Ctrl+E)"));
    layout->addWidget(m_open);
    layout->addWidget(m_calibrate);
    layout->addSpacing(6);
    layout->addWidget(m_info, 3);
    layout->addWidget(m_search, 2);
    layout->addWidget(m_export);
    auto* bar = new QToolBar(tr("Top bar"));
    bar->setObjectName(QStringLiteral("topBar"));
    bar->setMovable(false);
    bar->setContextMenuPolicy(Qt::PreventContextMenu);
    bar->addWidget(top);
    bar->toggleViewAction()->setEnabled(false);
    addToolBar(Qt::TopToolBarArea, bar);
    connect(m_open, &QPushButton::clicked, this, &MainWindow::askOpen);
    connect(m_calibrate, &QPushButton::clicked, this, &MainWindow::calibrate);
    connect(m_export, &QPushButton::clicked, this, &MainWindow::exportRecipe);
}

void MainWindow::fillSearch()
{
    QStringList entries;
    for (const QAction* action : findChildren<QAction*>()) {
        if (!action->text().isEmpty() && action->property("command").toBool())
            entries << tr("command: %1").arg(QString(action->text()).remove(u'&'));
    }
    for (const ViewDock* each : m_docks)
        entries << tr("view: %1").arg(each->name());
    for (const recipe::Method& method : m_bench.registry().methods())
        entries << tr("method: %1").arg(QString::fromStdString(method.id));
    if (const auto model = m_bench.model()) {
        for (const model::LayerSpec& layer : model->spec().layers)
            entries << QString::fromStdString(layer.name);
    }
    auto* completer = new QCompleter(entries, m_search);
    completer->setFilterMode(Qt::MatchContains);
    completer->setCaseSensitivity(Qt::CaseInsensitive);
    completer->setMaxVisibleItems(14);
    m_search->setCompleter(completer);
    connect(completer, qOverload<const QString&>(&QCompleter::activated), this, &MainWindow::runSearch, Qt::QueuedConnection);
}

void MainWindow::runFirstMatch()
{
    QCompleter* completer = m_search->completer();
    const QString text = m_search->text();
    if (!completer || text.isEmpty() || completer->popup()->currentIndex().isValid()) // the list's own choice runs by itself
        return;
    completer->popup()->hide();
    completer->setCompletionPrefix(text);
    if (completer->completionCount() > 0) {
        completer->setCurrentRow(0);
        runSearch(completer->currentCompletion());
    } else {
        m_bench.messages().add(
            session::Message::Severity::Info, tr("no command, view, method or layer has “%1” in its name").arg(text));
    }
}

void MainWindow::runSearch(const QString& text)
{
    m_search->clear();
    const QString value = text.section(QStringLiteral(": "), 1);
    if (text.startsWith(tr("command: %1").arg(QString()))) {
        for (QAction* action : findChildren<QAction*>()) {
            if (action->property("command").toBool() && QString(action->text()).remove(u'&') == value) {
                action->trigger();
                return;
            }
        }
    } else if (text.startsWith(tr("view: %1").arg(QString()))) {
        showView(value);
    } else if (text.startsWith(tr("method: %1").arg(QString()))) {
        if (auto pipeline = recipe::parsePipeline(value.toStdString(), m_bench.registry()))
            pushEdit(
                m_undo, m_bench.document(), tr("add %1").arg(value), {}, [&] { m_bench.addPipeline(std::move(*pipeline)); });
    } else if (const auto model = m_bench.model()) {
        const model::LayerIndex layer = model->spec().find(text.toStdString());
        if (layer >= 0)
            m_bench.selection().selectLayer(layer, this);
    }
}

bool MainWindow::idle() const
{
    auto& jobs = const_cast<session::Workbench&>(m_bench).jobs();
    if (!jobs.idle())
        return false;
    const auto heatmaps = findChildren<HeatmapView*>();
    return std::all_of(heatmaps.begin(), heatmaps.end(),
        [](const HeatmapView* view) { return view->visibleRegion().isEmpty() || view->complete(); });
}

void MainWindow::calibrate()
{
    if (!m_bench.model())
        return;
    auto* dialog = new CalibrateDialog(m_bench, this);
    dialog->setAttribute(Qt::WA_DeleteOnClose);
    dialog->open();
}

void MainWindow::evaluate()
{
    if (!m_bench.model())
        return;
    auto* dialog = new EvaluateDialog(m_bench, this);
    connect(dialog, &QDialog::accepted, this, [this] { m_awaitsScores = true; });
    dialog->setAttribute(Qt::WA_DeleteOnClose);
    dialog->open();
}

void MainWindow::exportRecipe()
{
    if (!m_bench.model())
        return;
    auto* dialog = new ExportDialog(m_bench, m_undo, this);
    connect(dialog, &ExportDialog::openRequested, this, [this](const QString& path) { openPath(path); });
    dialog->setAttribute(Qt::WA_DeleteOnClose);
    dialog->open();
}

void MainWindow::showDark(bool dark)
{
    if (m_darkAction)
        m_darkAction->setChecked(dark);
    if (Theme::instance().dark() != dark)
        Theme::instance().apply(dark);
}

void MainWindow::setDark(bool dark)
{
    showDark(dark);
    QSettings().setValue(QStringLiteral("dark"), dark);
}

void MainWindow::showEvent(QShowEvent* event)
{
    QMainWindow::showEvent(event);
    if (!std::exchange(m_placed, true))
        setDockSizes();
    // A layout of a larger window leaves the views too little room in this one.
    QTimer::singleShot(0, this, [this] {
        int sides = 0;
        for (const ViewDock* dock : {m_layersDock, m_editorDock})
            sides += dock->isVisible() && !dock->isFloating() ? dock->width() : 0;
        if (100 * sides > kMostOfSides * width())
            setDockSizes();
    });
    if (m_raiseOnShow.isEmpty())
        return;
    QTimer::singleShot(0, this, [this] {
        showView(std::exchange(m_raiseOnShow, {}));
        if (QTabBar* tabs = m_current ? tabBarOf(m_current) : nullptr)
            tabs->setFocus();
    });
}

void MainWindow::closeEvent(QCloseEvent* event)
{
    if (!mayDiscard() || !mayStop()) {
        event->ignore();
        return;
    }
    if (m_keepLayout)
        saveLayout();
    m_bench.jobs().cancelAll();
    event->accept();
}

} // namespace qs::app
