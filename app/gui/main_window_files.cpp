// SPDX-License-Identifier: GPL-3.0-or-later
// What MainWindow does with paths: opened, dropped, remembered.
#include "app/gui/main_window.h"

#include "app/gui/calibrate_dialog.h"
#include "app/gui/open_dialog.h"
#include "core/stats/dump.h"
#include "views/theme/theme.h"
#include "views/undo/edit_command.h"

#include <QCoreApplication>
#include <QDir>
#include <QDragEnterEvent>
#include <QFile>
#include <QFileDialog>
#include <QFileInfo>
#include <QJsonDocument>
#include <QJsonObject>
#include <QLineEdit>
#include <QMenu>
#include <QMessageBox>
#include <QMimeData>
#include <QPushButton>
#include <QSettings>

#include <algorithm>

namespace qs::app {

namespace {

constexpr int kRecentFiles = 8;
constexpr qint64 kLargestJson = 64 << 20; ///< A sharded index of a large model has a few megabytes.

bool isDump(const QString& path)
{
    return path.endsWith(QStringLiteral(".h5"), Qt::CaseInsensitive)
        || path.endsWith(QStringLiteral(".hdf5"), Qt::CaseInsensitive);
}

bool isModelFile(const QString& suffix)
{
    static const QStringList known{QStringLiteral("safetensors"), QStringLiteral("gguf"), QStringLiteral("pt"),
        QStringLiteral("pth"), QStringLiteral("bin")};
    return known.contains(suffix);
}

QStringList localFiles(const QMimeData* data)
{
    QStringList paths;
    for (const QUrl& url : data->urls()) {
        if (url.isLocalFile())
            paths << url.toLocalFile();
    }
    return paths;
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

void MainWindow::complain(const QString& path, const QString& what, const QString& hint)
{
    m_bench.messages().add(Error{Errc::Unsupported, what.toStdString(), path.toStdString(), hint.toStdString()});
}

void MainWindow::openPath(const QString& givenPath, const QString& givenDump)
{
    m_companion.clear();
    // What is remembered must be found from another working directory too.
    const auto absolute
        = [](const QString& file) { return file.isEmpty() ? file : QDir::cleanPath(QDir().absoluteFilePath(file)); };
    const QString path = absolute(givenPath);
    const QString dump = absolute(givenDump);
    const QFileInfo info(path);
    const QString suffix = info.suffix().toLower();
    if (!info.exists()) {
        m_bench.messages().add(Error{Errc::NotFound, "does not exist", path.toStdString(), "check the path"});
    } else if ((info.isDir() || suffix == QLatin1String("qsession") || isModelFile(suffix)) && !mayDiscard()) {
        return;
    } else if (info.isDir()) {
        // A folder that brings exactly one dump may mean it to be used; whether it belongs to the model shows its id.
        const QStringList dumps = QDir(path).entryList({QStringLiteral("*.h5"), QStringLiteral("*.hdf5")}, QDir::Files);
        if (dump.isEmpty() && dumps.size() == 1)
            m_companion = QDir(path).filePath(dumps.first());
        m_bench.openModel(path.toStdString(), dump.toStdString());
    } else if (suffix == QLatin1String("qsession")) {
        m_bench.openSession(path.toStdString());
    } else if (isDump(path)) {
        m_bench.openDump(path.toStdString());
    } else if (suffix == QLatin1String("json")) {
        openJson(path);
    } else if (isModelFile(suffix)) {
        m_bench.openModel(path.toStdString(), dump.toStdString());
    } else if (suffix == QLatin1String("txt") && m_bench.model() && m_bench.model()->spec().family != model::Family::Plain) {
        auto* dialog = new CalibrateDialog(m_bench, this);
        dialog->setAttribute(Qt::WA_DeleteOnClose);
        dialog->text()->setText(path);
        dialog->open();
    } else {
        complain(path, tr("is not a model, a dump, a recipe or a session"),
            tr("models are Hugging Face folders, .safetensors and .gguf files; dumps end in .h5, recipes in .json, sessions in "
               ".qsession"));
    }
}

void MainWindow::openPaths(const QStringList& paths)
{
    QStringList dumps;
    QStringList models;
    QStringList others; // recipes and sessions
    for (const QString& path : paths) {
        const QFileInfo info(path);
        if (isDump(path))
            dumps << path;
        else if (info.isDir() || isModelFile(info.suffix().toLower()))
            models << path;
        else
            others << path;
    }
    if (models.size() > 1) {
        complain(models.at(1), tr("is a second model"), tr("drop one model at a time"));
        return;
    }
    if (dumps.size() > 1) {
        complain(dumps.at(1), tr("is a second dump"), tr("drop one dump at a time"));
        return;
    }
    if (!models.isEmpty())
        openPath(models.first(), dumps.value(0));
    else if (!dumps.isEmpty())
        openPath(dumps.first());
    for (const QString& path : others)
        openPath(path);
}

void MainWindow::openJson(const QString& path)
{
    QFile file(path);
    if (file.size() > kLargestJson || !file.open(QIODevice::ReadOnly)) {
        complain(path, tr("cannot be read as JSON"), tr("check its size and permissions"));
        return;
    }
    QJsonParseError problem{};
    const QJsonObject json = QJsonDocument::fromJson(file.readAll(), &problem).object();
    file.close();
    if (json.contains(QStringLiteral("rules"))) {
        openRecipe(path);
    } else if (json.contains(QStringLiteral("weight_map"))) {
        m_bench.openModel(path.toStdString());
    } else if (json.contains(QStringLiteral("pipeline"))) {
        auto pipeline = recipe::loadPipeline(path.toStdString(), m_bench.registry());
        if (!pipeline) {
            m_bench.messages().add(pipeline.error());
            return;
        }
        views::pushEdit(m_undo, m_bench.document(), tr("add %1").arg(QFileInfo(path).completeBaseName()), {},
            [&] { m_bench.addPipeline(std::move(*pipeline)); });
    } else if (QFileInfo(path).fileName() == QLatin1String("config.json")) {
        openPath(QFileInfo(path).absolutePath());
    } else if (json.isEmpty()) {
        complain(path, problem.error == QJsonParseError::NoError ? tr("holds no JSON object") : problem.errorString(),
            tr("a recipe is a JSON object with rules"));
    } else {
        complain(path, tr("is JSON, but neither a recipe, a pipeline nor the index of a model"),
            tr("a recipe has rules, a pipeline file has a pipeline, an index has a weight_map"));
    }
}

void MainWindow::openRecipe(const QString& path)
{
    auto loaded = recipe::loadRecipe(path.toStdString(), m_bench.registry());
    if (!loaded) {
        m_bench.messages().add(loaded.error());
        return;
    }
    const auto model = m_bench.model();
    if (!model) {
        complain(path, tr("is a recipe, and no model is open"), tr("open its model first"));
        return;
    }
    if (const auto fits = recipe::assign(*loaded, model->spec(), m_bench.registry()); !fits) {
        Error error = fits.error();
        error.where = path.toStdString() + (error.where.empty() ? std::string() : ": " + error.where);
        m_bench.messages().add(error);
        return;
    }
    const auto rules = loaded->rules.size();
    views::pushEdit(m_undo, m_bench.document(), tr("open recipe"), {}, [&] {
        auto state = m_bench.document().edit();
        state->recipe = std::move(*loaded);
        m_bench.document().set(state);
    });
    m_bench.messages().add(session::Message::Severity::Info,
        tr("recipe %1: %2 rules assigned, Ctrl+Z takes it back").arg(QFileInfo(path).fileName()).arg(rules));
}

void MainWindow::lookAtCompanion()
{
    const QString file = std::exchange(m_companion, {});
    const auto model = m_bench.model();
    if (file.isEmpty() || !model)
        return;
    const QString name = QFileInfo(file).fileName();
    session::JobQueue::Spec spec{QStringLiteral("open/companion"), tr("Look at %1").arg(name), session::Lane::View, false};
    m_bench.jobs().submit<std::string>(
        spec, this,
        [path = file.toStdString(), &device = m_bench.backend()](const JobContext&) -> Expected<std::string> {
            QS_TRY(dump, stats::openDump(path, device));
            return dump->info().modelId;
        },
        [this, file, name, model](Expected<std::string> id) {
            if (m_bench.model() != model || m_bench.dump())
                return;
            using Severity = session::Message::Severity;
            if (!id) {
                m_bench.messages().add(Severity::Warning,
                    tr("%1 in the model's folder was not opened: %2").arg(name, QString::fromStdString(id.error().message)));
            } else if (*id != model->id()) {
                m_bench.messages().add(Severity::Info,
                    id->empty()
                        ? tr("%1 in the model's folder names no model: open it yourself if it belongs to this one").arg(name)
                        : tr("%1 in the model's folder was made with another model: not opened").arg(name));
            } else {
                m_companionUsed = file;
                m_bench.openDump(file.toStdString());
                m_bench.messages().add(
                    Severity::Info, tr("opened %1 from the model's folder: it was made with this model").arg(name));
            }
        });
}

void MainWindow::askOpen()
{
    auto* dialog = new OpenDialog(m_bench, QSettings().value(QStringLiteral("recent")).toStringList(), this);
    dialog->setAttribute(Qt::WA_DeleteOnClose);
    connect(dialog, &OpenDialog::chosen, this, &MainWindow::openPath);
    dialog->open();
}

void MainWindow::dragEnterEvent(QDragEnterEvent* event)
{
    if (event->mimeData()->hasUrls() && !localFiles(event->mimeData()).isEmpty())
        event->acceptProposedAction();
}

void MainWindow::dropEvent(QDropEvent* event)
{
    const QStringList paths = localFiles(event->mimeData());
    event->acceptProposedAction();
    openPaths(paths);
}

bool MainWindow::mayDiscard()
{
    // A dump that was opened is not work; pipelines and assignments are.
    if (!m_bench.document().modified() || m_undo.isClean())
        return true;
    QMessageBox question(QMessageBox::NoIcon, tr("Unsaved work"),
        tr("The pipelines and the recipe of this session are not saved."),
        QMessageBox::Save | QMessageBox::Discard | QMessageBox::Cancel, this);
    question.setDefaultButton(QMessageBox::Save);
    switch (question.exec()) {
    case QMessageBox::Save: return saveSession(false);
    case QMessageBox::Discard: return true;
    default: return false;
    }
}

bool MainWindow::mayStop()
{
    const int running = m_bench.unfinishedWork();
    if (running == 0)
        return true;
    QMessageBox question(QMessageBox::NoIcon, tr("Work is running"),
        running == 1 ? tr("One job is running: stop it and quit?")
                     : tr("%1 jobs are running: stop them and quit?").arg(running),
        QMessageBox::Yes | QMessageBox::Cancel, this);
    question.button(QMessageBox::Yes)->setText(tr("Stop and quit"));
    question.setDefaultButton(QMessageBox::Cancel);
    return question.exec() == QMessageBox::Yes;
}

bool MainWindow::saveSession(bool as)
{
    QString file = QString::fromStdString(m_bench.document().file().string());
    if (as || file.isEmpty()) {
        if (file.isEmpty() && m_bench.model())
            file = QDir::home().filePath(QString::fromStdString(m_bench.model()->spec().name) + QStringLiteral(".qsession"));
        file = QFileDialog::getSaveFileName(this, tr("Save session"), file, tr("Session (*.qsession)"));
        if (file.isEmpty())
            return false;
        if (!file.endsWith(QStringLiteral(".qsession")))
            file += QStringLiteral(".qsession");
    }
    auto state = m_bench.document().edit();
    state->theme = views::Theme::instance().dark() ? QStringLiteral("dark") : QStringLiteral("light");
    if (const model::LayerSpec* layer = m_bench.currentLayer())
        state->selectedLayer = QString::fromStdString(layer->name);
    state->selectedPipeline = std::max(m_bench.selection().state().pipeline, 0);
    m_bench.document().set(state);
    if (const auto saved = m_bench.document().save(file.toStdString()); !saved) {
        m_bench.messages().add(saved.error());
        return false;
    }
    m_undo.setClean();
    remember(file);
    return true;
}

void MainWindow::remember(const QString& path)
{
    if (path.isEmpty())
        return;
    QSettings settings;
    QStringList recent = settings.value(QStringLiteral("recent")).toStringList();
    recent.removeAll(path);
    recent.removeIf([](const QString& each) { return QDir::isRelativePath(each); }); // nobody knows relative to what
    recent.prepend(path);
    settings.setValue(QStringLiteral("recent"), recent.mid(0, kRecentFiles));
}

void MainWindow::fillRecent()
{
    m_recent->clear();
    const QStringList recent = QSettings().value(QStringLiteral("recent")).toStringList();
    for (const QString& path : recent)
        m_recent->addAction(path, this, [this, path] { openPath(path); });
    QAction* none = m_recent->addAction(tr("Nothing yet"));
    none->setEnabled(false);
    none->setVisible(recent.isEmpty());
}

} // namespace qs::app
