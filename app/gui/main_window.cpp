// SPDX-License-Identifier: GPL-3.0-or-later
#include "app/gui/main_window.h"

#include "app/gui/calibrate_dialog.h"
#include "app/gui/export_dialog.h"
#include "views/heatmap/heatmap_view.h"
#include "views/panels/channels_panel.h"
#include "views/panels/compare_panel.h"
#include "views/panels/distribution_panel.h"
#include "views/panels/hessian_panel.h"
#include "views/panels/jobs_panel.h"
#include "views/panels/layer_header.h"
#include "views/panels/layers_panel.h"
#include "views/panels/pipeline_editor.h"
#include "views/panels/qsur_panel.h"
#include "views/theme/theme.h"
#include "views/undo/edit_command.h"

#include <QCloseEvent>
#include <QCompleter>
#include <QDir>
#include <QDragEnterEvent>
#include <QFileDialog>
#include <QFileInfo>
#include <QHBoxLayout>
#include <QLabel>
#include <QLineEdit>
#include <QMimeData>
#include <QPushButton>
#include <QSettings>
#include <QSplitter>
#include <QStackedWidget>
#include <QStatusBar>
#include <QStringListModel>
#include <QTabBar>
#include <QVBoxLayout>

#include <algorithm>
#include <utility>

namespace qs::app {

using namespace qs::views; // NOLINT(google-build-using-namespace): this file only assembles views

MainWindow::MainWindow(QWidget* parent)
    : QMainWindow(parent)
{
    setWindowTitle(QStringLiteral("Quantscope"));
    setAcceptDrops(true);
    m_bench.loadPlugins();

    buildTopBar();
    auto* body = new QWidget;
    auto* bodyLayout = new QVBoxLayout(body);
    bodyLayout->setContentsMargins(0, 0, 0, 0);
    bodyLayout->setSpacing(0);
    m_splitter = new QSplitter(Qt::Horizontal);
    m_splitter->setHandleWidth(1);
    m_splitter->setChildrenCollapsible(false);
    m_layers = new LayersPanel(m_context);
    m_layers->setMinimumWidth(300);
    m_splitter->addWidget(m_layers);
    buildCentre();
    buildRight();
    m_splitter->setStretchFactor(0, 0);
    m_splitter->setStretchFactor(1, 1);
    m_splitter->setStretchFactor(2, 0);
    bodyLayout->addWidget(m_top);
    bodyLayout->addWidget(m_splitter, 1);
    setCentralWidget(body);

    m_status = makeLabel({});
    m_status->setContentsMargins(8, 0, 8, 0);
    statusBar()->addWidget(m_status, 1);
    statusBar()->setSizeGripEnabled(false);
    buildMenus();

    for (auto signal :
        {&session::Workbench::modelChanged, &session::Workbench::dumpChanged, &session::Workbench::assignedChanged})
        connect(&m_bench, signal, this, &MainWindow::updateTexts);
    connect(&m_bench.document(), &session::SessionDocument::modifiedChanged, this, &MainWindow::updateTexts);
    connect(&m_bench.document(), &session::SessionDocument::changed, this, &MainWindow::updateTexts);
    connect(&m_bench, &session::Workbench::modelChanged, this, [this] {
        if (m_bench.opened().ready() && m_bench.model() != m_shown) {
            m_shown = m_bench.model();
            m_undo.clear();
            remember(QString::fromStdString(m_bench.state().model.string()));
        }
        fillSearch();
    });
    connect(&m_bench, &session::Workbench::sessionOpened, this, [this] {
        m_undo.clear();
        if (!m_bench.state().theme.isEmpty())
            setDark(m_bench.state().theme == QLatin1String("dark"));
    });
    updateTexts();
    fillSearch();
    showView(QStringLiteral("Compare"));
    m_layers->filter()->clearFocus();
    m_tabs->setFocus();
}

MainWindow::~MainWindow()
{
    // The panels go first: they use the workbench until their last moment.
    delete takeCentralWidget();
}

void MainWindow::buildTopBar()
{
    m_top = new QFrame;
    m_top->setObjectName(QStringLiteral("topbar"));
    auto* layout = new QHBoxLayout(m_top);
    layout->setContentsMargins(10, 8, 10, 8);
    layout->setSpacing(8);
    auto* open = new QPushButton(tr("Open…"));
    open->setObjectName(QStringLiteral("openButton"));
    m_calibrate = new QPushButton(tr("Calibrate…"));
    m_info = makeLabel({}, "dim");
    m_search = new QLineEdit;
    m_search->setPlaceholderText(tr("Search commands, layers, methods   Ctrl+K"));
    m_search->setAccessibleName(tr("Search commands, layers, methods"));
    m_search->setFixedWidth(320);
    m_search->setMinimumHeight(28);
    m_export = new QPushButton(tr("Export recipe…"));
    m_export->setProperty("role", QByteArray("primary"));
    layout->addWidget(open);
    layout->addWidget(m_calibrate);
    layout->addSpacing(6);
    layout->addWidget(m_info, 1);
    layout->addWidget(m_search);
    layout->addWidget(m_export);
    connect(open, &QPushButton::clicked, this, &MainWindow::askOpen);
    connect(m_calibrate, &QPushButton::clicked, this, &MainWindow::calibrate);
    connect(m_export, &QPushButton::clicked, this, &MainWindow::exportRecipe);
}

void MainWindow::buildCentre()
{
    m_centre = new QWidget;
    auto* layout = new QVBoxLayout(m_centre);
    layout->setContentsMargins(22, 14, 22, 0);
    layout->setSpacing(6);
    layout->addWidget(new LayerHeader(m_context));
    m_tabs = new QTabBar;
    m_tabs->setExpanding(true);
    m_tabs->setDrawBase(false);
    m_tabs->setAccessibleName(tr("Views"));
    m_stack = new QStackedWidget;
    m_channels = new ChannelsPanel(m_context);
    m_distribution = new DistributionPanel(m_context);
    m_hessian = new HessianPanel(m_context);
    m_qsur = new QsurPanel(m_context);
    m_compare = new ComparePanel(m_context);
    m_panels = {m_channels, m_distribution, m_hessian, m_qsur, m_compare};
    for (LayerPanel* panel : m_panels) {
        m_tabs->addTab(panel->name());
        m_stack->addWidget(panel);
        connect(panel, &LayerPanel::calibrateRequested, this, &MainWindow::calibrate);
    }
    connect(m_compare, &ComparePanel::evaluateRequested, this, &MainWindow::evaluate);
    connect(m_tabs, &QTabBar::currentChanged, m_stack, &QStackedWidget::setCurrentIndex);
    layout->addWidget(m_tabs);
    layout->addWidget(m_stack, 1);
    m_splitter->addWidget(m_centre);
}

void MainWindow::buildRight()
{
    auto* right = new QWidget;
    right->setMinimumWidth(300);
    auto* layout = new QVBoxLayout(right);
    layout->setContentsMargins(12, 14, 12, 10);
    layout->setSpacing(12);
    m_editor = new PipelineEditor(m_context);
    m_jobs = new JobsPanel(m_context);
    layout->addWidget(m_editor, 1);
    layout->addWidget(m_jobs, 0);
    m_splitter->addWidget(right);
}

void MainWindow::fillSearch()
{
    QStringList entries;
    for (const QAction* action : findChildren<QAction*>()) {
        if (!action->text().isEmpty() && action->property("command").toBool())
            entries << tr("command: %1").arg(QString(action->text()).remove(u'&'));
    }
    for (const LayerPanel* panel : m_panels)
        entries << tr("view: %1").arg(panel->name());
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

QStringList MainWindow::viewNames() const
{
    QStringList names;
    for (const LayerPanel* panel : m_panels)
        names << panel->name();
    return names;
}

bool MainWindow::showView(const QString& name)
{
    for (int i = 0; i < static_cast<int>(m_panels.size()); ++i) {
        if (m_panels[static_cast<std::size_t>(i)]->name().compare(name, Qt::CaseInsensitive) == 0) {
            m_tabs->setCurrentIndex(i);
            m_stack->setCurrentIndex(i);
            return true;
        }
    }
    return false;
}

bool MainWindow::idle() const
{
    auto& jobs = const_cast<session::Workbench&>(m_bench).jobs();
    if (!jobs.idle())
        return false;
    const auto heatmaps = findChildren<HeatmapView*>();
    return std::all_of(
        heatmaps.begin(), heatmaps.end(), [](const HeatmapView* view) { return !view->isVisible() || view->complete(); });
}

void MainWindow::openPath(const QString& path, const QString& dump)
{
    const QFileInfo info(path);
    const QString suffix = info.suffix().toLower();
    if (!info.exists()) {
        m_bench.messages().add(Error{Errc::NotFound, "does not exist", path.toStdString(), "check the path"});
        return;
    }
    if (suffix == QLatin1String("qsession")) {
        m_bench.openSession(path.toStdString());
        return;
    }
    if (info.isFile() && (suffix == QLatin1String("h5") || suffix == QLatin1String("hdf5"))) {
        m_bench.openDump(path.toStdString());
        return;
    }
    QString companion = dump;
    if (companion.isEmpty() && info.isDir()) {
        // A folder that brings exactly one dump means it to be used; the message list says so when it opens.
        const QStringList dumps = QDir(path).entryList({QStringLiteral("*.h5")}, QDir::Files);
        if (dumps.size() == 1)
            companion = QDir(path).filePath(dumps.first());
    }
    m_bench.openModel(path.toStdString(), companion.toStdString());
}

void MainWindow::askOpen()
{
    const QString folder = QFileDialog::getExistingDirectory(
        this, tr("Open a Hugging Face folder"), QString::fromStdString(m_bench.state().model.string()));
    if (!folder.isEmpty())
        openPath(folder);
}

void MainWindow::askOpenFile()
{
    const QString file = QFileDialog::getOpenFileName(this, tr("Open a model, dump or session"),
        QString::fromStdString(m_bench.state().model.string()),
        tr("Models, dumps, sessions (*.safetensors *.gguf *.json *.h5 *.hdf5 *.qsession);;All files (*)"));
    if (!file.isEmpty())
        openPath(file);
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
    auto* dialog = new EvaluateDialog(m_bench, this);
    dialog->setAttribute(Qt::WA_DeleteOnClose);
    dialog->open();
}

void MainWindow::exportRecipe()
{
    auto* dialog = new ExportDialog(m_bench, m_undo, this);
    dialog->setAttribute(Qt::WA_DeleteOnClose);
    dialog->open();
}

void MainWindow::setDark(bool dark)
{
    if (m_darkAction)
        m_darkAction->setChecked(dark);
    if (Theme::instance().dark() != dark)
        Theme::instance().apply(dark);
    QSettings().setValue(QStringLiteral("dark"), dark);
}

void MainWindow::dragEnterEvent(QDragEnterEvent* event)
{
    if (event->mimeData()->hasUrls() && event->mimeData()->urls().first().isLocalFile())
        event->acceptProposedAction();
}

void MainWindow::dropEvent(QDropEvent* event)
{
    QStringList dumps;
    QString model;
    for (const QUrl& url : event->mimeData()->urls()) {
        const QString path = url.toLocalFile();
        if (path.endsWith(QStringLiteral(".h5"), Qt::CaseInsensitive))
            dumps << path;
        else
            model = path;
    }
    event->acceptProposedAction();
    if (!model.isEmpty())
        openPath(model, dumps.value(0));
    else if (!dumps.isEmpty())
        openPath(dumps.first());
}

void MainWindow::showEvent(QShowEvent* event)
{
    QMainWindow::showEvent(event);
    if (std::exchange(m_placed, true))
        return;
    const int left = std::clamp(width() * 27 / 100, 310, 440);
    const int right = std::clamp(width() * 21 / 100, 300, 350);
    m_splitter->setSizes({left, width() - left - right, right});
}

void MainWindow::closeEvent(QCloseEvent* event)
{
    QSettings settings;
    settings.setValue(QStringLiteral("geometry"), saveGeometry());
    m_bench.jobs().cancelAll();
    event->accept();
}

} // namespace qs::app
