// SPDX-License-Identifier: GPL-3.0-or-later
// Menus, texts and the status bar of MainWindow.
#include "app/gui/main_window.h"

#include "app/gui/shortcuts_dialog.h"
#include "app/gui/view_dock.h"
#include "core/base/version.h"
#include "core/exec/parallel.h"
#include "core/session/format_number.h"
#include "views/panels/layers_panel.h"
#include "views/theme/theme.h"
#include "views/widgets/card.h"

#include <QApplication>
#include <QDialog>
#include <QFile>
#include <QFileInfo>
#include <QHBoxLayout>
#include <QHeaderView>
#include <QLabel>
#include <QLineEdit>
#include <QMenuBar>
#include <QMessageBox>
#include <QPushButton>
#include <QStatusBar>
#include <QTableView>
#include <QTimer>
#include <QVBoxLayout>

#include <algorithm>

namespace qs::app {

namespace {

constexpr int kNoticeMilliseconds = 10000;
const auto kDot = QStringLiteral("   ·   ");

/// Resident memory of this process; 0 where the system does not say.
double residentBytes()
{
    QFile file(QStringLiteral("/proc/self/statm"));
    if (!file.open(QIODevice::ReadOnly))
        return 0;
    const QList<QByteArray> fields = file.readAll().split(' ');
    return fields.size() > 1 ? fields[1].toDouble() * 4096 : 0;
}

/// Where the keyboard was in a panel, else the first place that takes it.
void focusInto(QWidget* panel)
{
    if (QWidget* last = panel->focusWidget()) {
        last->setFocus(Qt::ShortcutFocusReason);
        return;
    }
    for (QWidget* next = panel->nextInFocusChain(); next && next != panel; next = next->nextInFocusChain()) {
        if (panel->isAncestorOf(next) && next->isVisible() && next->isEnabled() && (next->focusPolicy() & Qt::TabFocus)) {
            next->setFocus(Qt::ShortcutFocusReason);
            return;
        }
    }
}

QString targetName(const std::string& target)
{
    return target == "vllm" ? QStringLiteral("vLLM") : QString::fromStdString(target);
}

} // namespace

QAction* MainWindow::addCommand(QMenu* menu, const QString& text, const QKeySequence& key, std::function<void()> slot)
{
    QAction* action = menu->addAction(text);
    action->setShortcut(key);
    action->setProperty("command", true);
    connect(action, &QAction::triggered, this, std::move(slot));
    return action;
}

void MainWindow::buildFileMenu()
{
    QMenu* file = menuBar()->addMenu(tr("&File"));
    addCommand(file, tr("&Open…"), QKeySequence::Open, [this] { askOpen(); });
    if (!samplePath().isEmpty())
        addCommand(file, tr("Open the &sample model"), {}, [this] { openPath(samplePath()); });
    m_recent = file->addMenu(tr("Open &recent"));
    connect(m_recent, &QMenu::aboutToShow, this, &MainWindow::fillRecent);
    file->addSeparator();
    addCommand(file, tr("&Calibrate…"), QKeySequence(QStringLiteral("Ctrl+L")), [this] { calibrate(); });
    addCommand(file, tr("E&valuate…"), QKeySequence(QStringLiteral("Ctrl+Shift+E")), [this] { evaluate(); });
    addCommand(file, tr("&Export recipe…"), QKeySequence(QStringLiteral("Ctrl+E")), [this] { exportRecipe(); });
    file->addSeparator();
    addCommand(file, tr("&Save session"), QKeySequence::Save, [this] { saveSession(false); });
    addCommand(file, tr("Save session &as…"), QKeySequence(QStringLiteral("Ctrl+Shift+S")), [this] { saveSession(true); });
    file->addSeparator();
    addCommand(file, tr("&Quit"), QKeySequence(QStringLiteral("Ctrl+Q")), [this] { close(); });
}

void MainWindow::buildViewMenu()
{
    QMenu* view = menuBar()->addMenu(tr("&View"));
    for (ViewDock* each : m_docks)
        view->addAction(each->toggleViewAction());
    // A dock that comes back comes to the front.
    for (ViewDock* each : m_docks) {
        connect(each->toggleViewAction(), &QAction::triggered, each, [this, each](bool shown) {
            if (shown)
                showView(each->name());
        });
    }
    view->addSeparator();
    QMenu* go = view->addMenu(tr("&Go to"));
    QMenu* beside = view->addMenu(tr("Place &beside the current view"));
    int number = 0;
    auto addGo = [&](ViewDock* each) {
        addCommand(go, tr("Go to %1").arg(each->name()), QKeySequence(QStringLiteral("Ctrl+%1").arg(++number)), [this, each] {
            showView(each->name());
            focusInto(each->widget());
        });
    };
    for (ViewDock* each : m_views) {
        addGo(each);
        addCommand(beside, tr("%1 beside").arg(each->name()), QKeySequence(QStringLiteral("Ctrl+Alt+%1").arg(number)),
            [this, each] { placeBeside(each); });
    }
    for (ViewDock* each : {m_layersDock, m_editorDock, m_jobsDock})
        addGo(each);
    addCommand(view, tr("&Next view"), QKeySequence(QStringLiteral("Ctrl+PgDown")), [this] { stepView(1); });
    addCommand(view, tr("&Previous view"), QKeySequence(QStringLiteral("Ctrl+PgUp")), [this] { stepView(-1); });
    addCommand(view, tr("&Float or dock the view"), QKeySequence(QStringLiteral("Ctrl+Shift+F")), [this] {
        if (m_current)
            m_current->setFloating(!m_current->isFloating());
    });
    addCommand(view, tr("&Close the view"), QKeySequence(QStringLiteral("Ctrl+W")), [this] {
        if (m_current)
            m_current->close();
    });
    addCommand(view, tr("&Reset layout"), QKeySequence(QStringLiteral("Ctrl+Shift+R")), [this] { resetLayout(); });
    view->addSeparator();
    m_darkAction = view->addAction(tr("&Dark theme"));
    m_darkAction->setShortcut(QKeySequence(QStringLiteral("Ctrl+D")));
    m_darkAction->setProperty("command", true);
    m_darkAction->setCheckable(true);
    m_darkAction->setChecked(views::Theme::instance().dark());
    connect(m_darkAction, &QAction::triggered, this, &MainWindow::setDark);
}

void MainWindow::buildMenus()
{
    buildFileMenu();
    QMenu* edit = menuBar()->addMenu(tr("&Edit"));
    QAction* undo = m_undo.createUndoAction(this, tr("&Undo"));
    undo->setShortcut(QKeySequence(QStringLiteral("Ctrl+Z")));
    QAction* redo = m_undo.createRedoAction(this, tr("&Redo"));
    redo->setShortcuts({QKeySequence(QStringLiteral("Ctrl+Shift+Z")), QKeySequence(QStringLiteral("Ctrl+Y"))});
    edit->addActions({undo, redo});
    edit->addSeparator();
    addCommand(
        edit, tr("&Search"), QKeySequence(QStringLiteral("Ctrl+K")), [this] { m_search->setFocus(Qt::ShortcutFocusReason); });
    addCommand(edit, tr("&Filter layers"), QKeySequence(QStringLiteral("Ctrl+F")), [this] {
        showView(m_layersDock->name());
        m_layers->filter()->setFocus(Qt::ShortcutFocusReason);
    });
    addCommand(edit, tr("Forget the selected &channel"), {}, [this] { m_bench.selection().selectChannel(-1, this); });
    addCommand(edit, tr("&Cancel all jobs"), QKeySequence(QStringLiteral("Ctrl+.")), [this] { m_bench.jobs().cancelAll(); });

    buildViewMenu();
    QMenu* compare = menuBar()->addMenu(tr("&Compare"));
    addCommand(
        compare, tr("Compare on &all layers"), QKeySequence(QStringLiteral("Ctrl+Return")), [this] { m_bench.compareModel(); });
    m_measure = addCommand(
        compare, tr("&Measure the recipe"), QKeySequence(QStringLiteral("Ctrl+M")), [this] { m_bench.measureAssigned(); });

    QMenu* help = menuBar()->addMenu(tr("&Help"));
    addCommand(help, tr("&Keyboard and mouse"), QKeySequence(QStringLiteral("F1")), [this] { showShortcuts(); });
    addCommand(help, tr("&Plugins"), {}, [this] { showPlugins(); });
    addCommand(help, tr("&About Quantscope"), {}, [this] { about(); });

    auto* clock = new QTimer(this);
    clock->setInterval(2000);
    connect(clock, &QTimer::timeout, this, &MainWindow::updateTexts);
    clock->start();
}

void MainWindow::buildStatus()
{
    m_status = views::makeLabel({});
    m_status->setContentsMargins(8, 0, 8, 0);
    m_status->setSizePolicy(QSizePolicy::Ignored, QSizePolicy::Preferred);
    m_notice = new views::ElidedLabel({}, "dim");
    m_notice->setContentsMargins(8, 0, 8, 0);
    m_notice->hide();
    statusBar()->addWidget(m_status, 1);
    statusBar()->addWidget(m_notice, 1);
    statusBar()->setSizeGripEnabled(false);
    m_noticeClock = new QTimer(this);
    m_noticeClock->setSingleShot(true);
    m_noticeClock->setInterval(kNoticeMilliseconds);
    connect(m_noticeClock, &QTimer::timeout, this, [this] {
        m_notice->hide();
        m_status->show();
    });
    connect(&m_bench.messages(), &session::MessageModel::added, this, &MainWindow::showNotice);
}

void MainWindow::showNotice(const session::Message& message)
{
    using Severity = session::Message::Severity;
    views::setRole(m_notice,
        message.severity == Severity::Error         ? "bad"
            : message.severity == Severity::Warning ? "warning"
                                                    : "dim");
    m_notice->setFullText(QStringLiteral("  ") + message.text);
    m_status->hide();
    m_notice->show();
    m_noticeClock->start();
}

QString MainWindow::noticeText() const
{
    return m_noticeClock->isActive() ? m_notice->fullText().trimmed() : QString();
}

QString MainWindow::statusText() const
{
    return m_status->text();
}

QStringList MainWindow::statusParts()
{
    const auto model = m_bench.model();
    QStringList status;
    status << (threadCount() == 1 ? tr("CPU, 1 core") : tr("CPU, %1 cores").arg(threadCount()));
    if (const double bytes = residentBytes(); bytes > 0)
        status << session::bytesText(bytes);
    if (!model)
        return status;
    const auto assigned = m_bench.assignment();
    const auto layers = assigned
        ? std::count_if(assigned->layers.begin(), assigned->layers.end(), [](const auto& p) { return p != nullptr; })
        : 0;
    if (!assigned)
        status << QString::fromStdString(assigned.error().line());
    else if (layers == 0)
        status << tr("recipe: nothing assigned");
    else if (m_bench.assignedResult().ready())
        status << tr("recipe: %1 layers at %2 bits, file %3")
                      .arg(layers)
                      .arg(QString::number(m_bench.assignedResult().value->size.bitsLayers, 'f', 2),
                          session::bytesText(m_bench.assignedResult().value->size.bytesFile));
    else
        status << tr("recipe: %1 layers").arg(layers);
    status << tr("target %1").arg(targetName(m_bench.state().recipe.target));
    if (const auto& dump = m_bench.dump()) {
        QString text = tr("calibration %1 tokens, %2")
                           .arg(session::integerText(dump->info().tokens), QString::fromStdString(dump->info().policy));
        if (!m_companionUsed.isEmpty() && m_bench.state().dump == m_companionUsed.toStdString())
            text += tr(" (%1, found in the model's folder)").arg(QFileInfo(m_companionUsed).fileName());
        status << text;
    }
    status << (m_bench.document().modified()    ? tr("not saved")
            : m_bench.document().file().empty() ? tr("nothing to save")
                                                : tr("saved"));
    return status;
}

void MainWindow::updateTexts()
{
    const auto model = m_bench.model();
    const bool runs = model && model->spec().family != model::Family::Plain;
    m_calibrate->setEnabled(runs);
    m_export->setEnabled(model != nullptr);
    if (m_measure) // the menus come last
        m_measure->setEnabled(model && !m_bench.state().recipe.rules.empty());
    QStringList info;
    if (model) {
        info << QString::fromStdString(model->spec().name)
             << tr("%1 parameters").arg(session::countText(static_cast<double>(model->spec().parameters)))
             << tr("target %1").arg(targetName(m_bench.state().recipe.target));
        if (const auto& dump = m_bench.dump())
            info << tr("dump %1, %2 tokens")
                        .arg(QString::fromStdString(dump->path().stem().string()), session::integerText(dump->info().tokens));
        else
            info << tr("no dump: calibrate to see what the layers receive");
    } else {
        info << tr("no model");
    }
    m_info->setText(info.join(kDot));
    QString tip;
    if (model) {
        tip = QString::fromStdString(m_bench.state().model.string());
        if (const std::string& title = model->spec().title; !title.empty() && title != model->spec().name)
            tip += tr("\ncalls itself %1").arg(QString::fromStdString(title));
    }
    m_info->setToolTip(tip);
    m_status->setText(statusParts().join(kDot));
    setWindowTitle(model ? QStringLiteral("%1%2 – Quantscope")
                               .arg(QString::fromStdString(model->spec().name),
                                   m_bench.document().modified() ? QStringLiteral(" *") : QString())
                         : QStringLiteral("Quantscope"));
}

void MainWindow::showShortcuts()
{
    auto* dialog = new ShortcutsDialog(menuBar(), this);
    dialog->setAttribute(Qt::WA_DeleteOnClose);
    dialog->open();
}

void MainWindow::about()
{
    QMessageBox::about(this, tr("About Quantscope"),
        tr("<b>Quantscope %1</b><p>Workbench for compressing large language models.</p>"
           "<p>Window: GPL-3.0-or-later (Qt Charts). Core and plugins: Apache-2.0. Font: Inter, OFL-1.1.</p><p>%2</p>")
            .arg(QCoreApplication::applicationVersion(), QString::fromStdString(m_bench.backend().version()).toHtmlEscaped()));
}

void MainWindow::showPlugins()
{
    auto* dialog = new QDialog(this);
    dialog->setAttribute(Qt::WA_DeleteOnClose);
    dialog->setWindowTitle(tr("Plugins"));
    dialog->resize(820, 320);
    auto* layout = new QVBoxLayout(dialog);
    auto* table = new QTableView;
    table->setModel(new session::PluginModel(m_bench.plugins(), table));
    table->verticalHeader()->hide();
    table->setShowGrid(false);
    table->horizontalHeader()->setStretchLastSection(true);
    table->resizeColumnsToContents();
    layout->addWidget(table);
    dialog->open();
}

} // namespace qs::app
