// SPDX-License-Identifier: GPL-3.0-or-later
// Menus, texts and settings of MainWindow.
#include "app/gui/main_window.h"

#include "core/base/version.h"
#include "core/exec/parallel.h"
#include "core/session/format_number.h"
#include "views/panels/layers_panel.h"
#include "views/theme/theme.h"
#include "views/widgets/card.h"

#include <QApplication>
#include <QDialog>
#include <QDir>
#include <QFile>
#include <QFileDialog>
#include <QHeaderView>
#include <QLabel>
#include <QLineEdit>
#include <QMenuBar>
#include <QMessageBox>
#include <QPushButton>
#include <QSettings>
#include <QTabBar>
#include <QTableView>
#include <QTimer>
#include <QVBoxLayout>

#include <algorithm>

namespace qs::app {

namespace {

constexpr int kRecentFiles = 8;

/// Resident memory of this process; 0 where the system does not say.
double residentBytes()
{
    QFile file(QStringLiteral("/proc/self/statm"));
    if (!file.open(QIODevice::ReadOnly))
        return 0;
    const QList<QByteArray> fields = file.readAll().split(' ');
    return fields.size() > 1 ? fields[1].toDouble() * 4096 : 0;
}

} // namespace

QString MainWindow::samplePath()
{
    const QDir program(QCoreApplication::applicationDirPath());
    const QStringList places{program.filePath(QStringLiteral("../share/quantscope/sample")), QStringLiteral(QS_BUILD_SAMPLE)};
    for (const QString& place : places) {
        if (QFile::exists(place + QStringLiteral("/config.json")))
            return QDir(place).canonicalPath();
    }
    return {};
}

void MainWindow::buildMenus()
{
    auto add = [this](QMenu* menu, const QString& text, const QKeySequence& key, auto slot) {
        QAction* action = menu->addAction(text);
        action->setShortcut(key);
        action->setProperty("command", true);
        connect(action, &QAction::triggered, this, slot);
        return action;
    };
    QMenu* file = menuBar()->addMenu(tr("&File"));
    add(file, tr("&Open folder…"), QKeySequence::Open, [this] { askOpen(); });
    add(file, tr("Open &file…"), QKeySequence(QStringLiteral("Ctrl+Shift+O")), [this] { askOpenFile(); });
    if (!samplePath().isEmpty())
        add(file, tr("Open the &sample model"), {}, [this] { openPath(samplePath()); });
    m_recent = file->addMenu(tr("Open &recent"));
    connect(m_recent, &QMenu::aboutToShow, this, &MainWindow::fillRecent);
    file->addSeparator();
    add(file, tr("&Calibrate…"), QKeySequence(QStringLiteral("Ctrl+L")), [this] { calibrate(); });
    add(file, tr("E&valuate…"), QKeySequence(QStringLiteral("Ctrl+Shift+E")), [this] { evaluate(); });
    add(file, tr("&Export recipe…"), QKeySequence(QStringLiteral("Ctrl+E")), [this] { exportRecipe(); });
    file->addSeparator();
    add(file, tr("&Save session"), QKeySequence::Save, [this] { saveSession(false); });
    add(file, tr("Save session &as…"), QKeySequence::SaveAs, [this] { saveSession(true); });
    file->addSeparator();
    add(file, tr("&Quit"), QKeySequence::Quit, [this] { close(); });

    QMenu* edit = menuBar()->addMenu(tr("&Edit"));
    for (QAction* action : {m_undo.createUndoAction(this, tr("&Undo")), m_undo.createRedoAction(this, tr("&Redo"))})
        edit->addAction(action);
    edit->actions().at(0)->setShortcut(QKeySequence::Undo);
    edit->actions().at(1)->setShortcut(QKeySequence::Redo);
    edit->addSeparator();
    add(edit, tr("&Search"), QKeySequence(QStringLiteral("Ctrl+K")), [this] { m_search->setFocus(Qt::ShortcutFocusReason); });
    add(edit, tr("&Filter layers"), QKeySequence::Find, [this] { m_layers->filter()->setFocus(Qt::ShortcutFocusReason); });
    add(edit, tr("&Cancel all jobs"), QKeySequence(QStringLiteral("Ctrl+.")), [this] { m_bench.jobs().cancelAll(); });

    QMenu* view = menuBar()->addMenu(tr("&View"));
    for (int i = 0; i < static_cast<int>(m_panels.size()); ++i) {
        add(view, m_panels[static_cast<std::size_t>(i)]->name(), QKeySequence(QStringLiteral("Ctrl+%1").arg(i + 1)),
            [this, i] { m_tabs->setCurrentIndex(i); });
    }
    view->addSeparator();
    m_darkAction = add(view, tr("&Dark theme"), QKeySequence(QStringLiteral("Ctrl+D")), [this](bool on) { setDark(on); });
    m_darkAction->setCheckable(true);
    m_darkAction->setChecked(views::Theme::instance().dark());

    QMenu* compare = menuBar()->addMenu(tr("&Compare"));
    add(compare, tr("Compare on &all layers"), QKeySequence(QStringLiteral("Ctrl+Return")), [this] { m_bench.compareModel(); });
    add(compare, tr("&Measure the recipe"), {}, [this] { m_bench.measureAssigned(); });

    QMenu* help = menuBar()->addMenu(tr("&Help"));
    add(help, tr("&Plugins"), {}, [this] { showPlugins(); });
    add(help, tr("&About Quantscope"), QKeySequence(QStringLiteral("F1")), [this] { about(); });

    auto* clock = new QTimer(this);
    clock->setInterval(2000);
    connect(clock, &QTimer::timeout, this, &MainWindow::updateTexts);
    clock->start();
}

void MainWindow::updateTexts()
{
    const auto model = m_bench.model();
    const bool runs = model && model->spec().family != model::Family::Plain;
    m_calibrate->setEnabled(runs);
    m_export->setEnabled(model != nullptr);
    QStringList info;
    if (model) {
        info << QString::fromStdString(model->spec().name)
             << tr("%1 parameters").arg(session::countText(static_cast<double>(model->spec().parameters)));
        info << tr("target %1")
                    .arg(QString::fromStdString(m_bench.state().recipe.target) == QLatin1String("vllm")
                            ? QStringLiteral("vLLM")
                            : QString::fromStdString(m_bench.state().recipe.target));
        if (const auto& dump = m_bench.dump()) {
            const stats::DumpInfo& details = dump->info();
            info << tr("dump %1, %2 tokens")
                        .arg(QString::fromStdString(dump->path().stem().string()), session::integerText(details.tokens));
        } else {
            info << tr("no dump: calibrate to see what the layers receive");
        }
    } else {
        info << tr("no model");
    }
    m_info->setText(info.join(QStringLiteral("   ·   ")));

    QStringList status;
    status << (threadCount() == 1 ? tr("CPU, 1 core") : tr("CPU, %1 cores").arg(threadCount()));
    if (const double bytes = residentBytes(); bytes > 0)
        status << session::bytesText(bytes);
    if (model) {
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
        status << tr("target %1")
                      .arg(QString::fromStdString(m_bench.state().recipe.target) == QLatin1String("vllm")
                              ? QStringLiteral("vLLM")
                              : QString::fromStdString(m_bench.state().recipe.target));
        if (const auto& dump = m_bench.dump())
            status << tr("calibration %1 tokens, %2")
                          .arg(session::integerText(dump->info().tokens), QString::fromStdString(dump->info().policy));
        status << (m_bench.document().modified() ? tr("not saved") : tr("saved"));
    }
    m_status->setText(status.join(QStringLiteral("   ·   ")));
    setWindowTitle(model ? QStringLiteral("%1%2 – Quantscope")
                               .arg(QString::fromStdString(model->spec().name),
                                   m_bench.document().modified() ? QStringLiteral(" *") : QString())
                         : QStringLiteral("Quantscope"));
}

void MainWindow::saveSession(bool as)
{
    QString file = QString::fromStdString(m_bench.document().file().string());
    if (as || file.isEmpty()) {
        file = QFileDialog::getSaveFileName(this, tr("Save session"), file, tr("Session (*.qsession)"));
        if (file.isEmpty())
            return;
        if (!file.endsWith(QStringLiteral(".qsession")))
            file += QStringLiteral(".qsession");
    }
    auto state = m_bench.document().edit();
    state->theme = views::Theme::instance().dark() ? QStringLiteral("dark") : QStringLiteral("light");
    if (const model::LayerSpec* layer = m_bench.currentLayer())
        state->selectedLayer = QString::fromStdString(layer->name);
    m_bench.document().set(state);
    if (const auto saved = m_bench.document().save(file.toStdString()); !saved)
        m_bench.messages().add(saved.error());
    else
        remember(file);
}

void MainWindow::remember(const QString& path)
{
    if (path.isEmpty())
        return;
    QSettings settings;
    QStringList recent = settings.value(QStringLiteral("recent")).toStringList();
    recent.removeAll(path);
    recent.prepend(path);
    settings.setValue(QStringLiteral("recent"), recent.mid(0, kRecentFiles));
}

void MainWindow::fillRecent()
{
    m_recent->clear();
    const QStringList recent = QSettings().value(QStringLiteral("recent")).toStringList();
    for (const QString& path : recent)
        m_recent->addAction(path, this, [this, path] { openPath(path); });
    m_recent->addAction(tr("Nothing yet"))->setVisible(recent.isEmpty());
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
