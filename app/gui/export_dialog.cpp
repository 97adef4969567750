// SPDX-License-Identifier: GPL-3.0-or-later
#include "app/gui/export_dialog.h"

#include "core/session/format_number.h"
#include "views/theme/theme.h"
#include "views/undo/edit_command.h"
#include "views/widgets/card.h"

#include <QDialogButtonBox>
#include <QDir>
#include <QFileDialog>
#include <QHBoxLayout>
#include <QLineEdit>
#include <QListWidget>
#include <QProgressBar>
#include <QPushButton>
#include <QVBoxLayout>

#include <algorithm>
#include <map>

namespace qs::app {

namespace {
constexpr std::size_t kMostLines = 3; ///< Of one finding; more become one line.
}

namespace {

QString verdictText(const recipe::ExportReport& report)
{
    if (report.hasErrors())
        return ExportDialog::tr("Written, but what was read back differs from the simulation: see the checks.");
    if (report.checkpointBytes == 0) {
        QStringList files;
        for (const auto& file : report.files)
            files << QString::fromStdString(file.string());
        return ExportDialog::tr("Written and read back: %1. A recipe holds no tensors: the program that runs it computes them.")
            .arg(files.join(QStringLiteral(", ")));
    }
    return ExportDialog::tr(
        "Written and verified: every tensor read back equals the simulation. %1 files, %2, %3 bits per weight in "
        "the compressed layers.")
        .arg(report.files.size())
        .arg(session::bytesText(report.size.bytesFile), QString::number(report.size.bitsLayers, 'f', 2));
}

} // namespace

ExportDialog::ExportDialog(session::Workbench& bench, QUndoStack& undo, QWidget* parent)
    : QDialog(parent)
    , m_bench(bench)
    , m_undo(undo)
    , m_formats(new QListWidget)
    , m_description(views::makeLabel({}, "dim"))
    , m_findings(new QListWidget)
    , m_target(new QLineEdit)
    , m_verdict(views::makeLabel({}))
    , m_progress(new QProgressBar)
    , m_assignAll(new QPushButton)
    , m_export(new QPushButton(tr("Export")))
    , m_close(new QPushButton(tr("Close")))
    , m_reopen(new QPushButton(tr("Open the export")))
    , m_runtimes(views::makeLabel({}, "dim"))
{
    setWindowTitle(tr("Export"));
    resize(860, 520);
    auto* layout = new QVBoxLayout(this);
    layout->setSpacing(views::kCardGap);
    auto* columns = new QHBoxLayout;
    auto* left = new QVBoxLayout;
    left->addWidget(views::makeLabel(tr("FORMAT"), "slot"));
    left->addWidget(m_formats, 1);
    m_formats->setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
    auto* right = new QVBoxLayout;
    right->addWidget(views::makeLabel(tr("CHECKS"), "slot"));
    m_description->setWordWrap(true);
    right->addWidget(m_description);
    m_findings->setWordWrap(true);
    m_findings->setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
    m_findings->setResizeMode(QListView::Adjust);
    right->addWidget(m_findings, 1);
    columns->addLayout(left, 2);
    columns->addLayout(right, 5);
    layout->addLayout(columns, 1);

    auto* targetRow = new QHBoxLayout;
    auto* browse = new QPushButton(tr("Browse…"));
    targetRow->addWidget(views::makeLabel(tr("Write to")));
    targetRow->addWidget(m_target, 1);
    targetRow->addWidget(browse);
    layout->addLayout(targetRow);
    m_verdict->setWordWrap(true);
    layout->addWidget(m_verdict);
    m_runtimes->setWordWrap(true);
    m_runtimes->hide();
    layout->addWidget(m_runtimes);
    m_progress->setRange(0, 1000);
    m_progress->setTextVisible(false);
    m_progress->hide();
    layout->addWidget(m_progress);
    auto* bottom = new QHBoxLayout;
    bottom->addWidget(m_assignAll);
    bottom->addStretch(1);
    m_reopen->setToolTip(tr("Open what was written, to see that it is what was simulated"));
    m_reopen->hide();
    for (QPushButton* button : {m_assignAll, m_close, m_reopen, browse})
        button->setAutoDefault(false);
    bottom->addWidget(m_reopen);
    m_export->setProperty("role", QByteArray("primary"));
    m_export->setDefault(true);
    bottom->addWidget(m_close);
    bottom->addWidget(m_export);
    layout->addLayout(bottom);

    for (const recipe::Exporter* exporter : m_bench.plugins().exporters().all()) {
        auto* item = new QListWidgetItem(QString::fromStdString(exporter->title()), m_formats);
        item->setData(Qt::UserRole, QString::fromStdString(exporter->id()));
    }
    m_formats->setFixedWidth(std::max(200, m_formats->sizeHintForColumn(0) + 2 * views::kCardPadding)); // no name is cut
    connect(m_reopen, &QPushButton::clicked, this, [this] {
        const QString path = m_written;
        accept();
        Q_EMIT openRequested(path);
    });
    connect(m_close, &QPushButton::clicked, this, &ExportDialog::reject);
    connect(browse, &QPushButton::clicked, this, [this] {
        const QString path = QFileDialog::getSaveFileName(this, tr("Write to"), m_target->text());
        if (!path.isEmpty())
            m_target->setText(path);
    });
    connect(m_target, &QLineEdit::textChanged, this, &ExportDialog::showLints);
    connect(m_formats, &QListWidget::currentRowChanged, this, &ExportDialog::formatChanged);
    connect(m_assignAll, &QPushButton::clicked, this, [this] {
        const auto model = m_bench.model();
        const auto pipeline = static_cast<std::size_t>(std::max(m_bench.selection().state().pipeline, 0));
        if (!model || pipeline >= m_bench.state().pipelines.size())
            return;
        std::vector<model::LayerIndex> layers;
        for (std::size_t i = 0; i < model->spec().layers.size(); ++i) {
            if (model->spec().layers[i].block >= 0)
                layers.push_back(static_cast<model::LayerIndex>(i));
        }
        const recipe::Pipeline copy = m_bench.state().pipelines[pipeline];
        views::pushEdit(m_undo, m_bench.document(), tr("assign to all"), {}, [&] { m_bench.assign(layers, &copy); });
        formatChanged();
    });
    connect(m_export, &QPushButton::clicked, this, [this] {
        m_running = true;
        m_written = m_target->text();
        m_bench.exportRecipe(format(), m_target->text().toStdString());
    });
    connect(&m_bench, &session::Workbench::lintsChanged, this, &ExportDialog::showLints);
    connect(&m_bench, &session::Workbench::exportChanged, this, &ExportDialog::showReport);
    connect(&m_bench.jobs(), &session::JobQueue::changed, this, [this](session::JobId id) {
        const session::JobInfo* info = m_bench.jobs().info(id);
        if (info && info->tag == QLatin1String("export"))
            m_progress->setValue(static_cast<int>(info->fraction * 1000));
    });
    if (m_formats->count() > 0)
        m_formats->setCurrentRow(0);
    else
        m_verdict->setText(tr("No exporter plugin was found (set QS_PLUGIN_PATH)."));
    formatChanged();
}

std::string ExportDialog::format() const
{
    const QListWidgetItem* item = m_formats->currentItem();
    return item ? item->data(Qt::UserRole).toString().toStdString() : std::string();
}

QString ExportDialog::verdict() const
{
    return m_verdict->text();
}

void ExportDialog::formatChanged()
{
    const recipe::Exporter* exporter = m_bench.plugins().exporters().find(format());
    const auto pipeline = static_cast<std::size_t>(std::max(m_bench.selection().state().pipeline, 0));
    const bool empty = m_bench.state().recipe.rules.empty();
    m_assignAll->setVisible(empty && pipeline < m_bench.state().pipelines.size());
    if (pipeline < m_bench.state().pipelines.size())
        m_assignAll->setText(tr("Assign pipeline %1 to all layers").arg(session::pipelineLetter(pipeline)));
    if (!exporter) {
        m_export->setEnabled(false);
        return;
    }
    m_description->setText(QString::fromStdString(exporter->description()));
    m_target->setPlaceholderText(exporter->writesFolder() ? tr("a new folder") : tr("a new file"));
    if (m_target->text().isEmpty() || m_target->text() == m_suggested) {
        const auto model = m_bench.model();
        const QString name = model ? QString::fromStdString(model->spec().name) : QStringLiteral("model");
        const QString id = QString::fromStdString(exporter->id());
        const QString suffix = exporter->writesFolder()     ? QString()
            : id.contains(QStringLiteral("llm-compressor")) ? QStringLiteral(".yaml")
                                                            : QStringLiteral(".json");
        m_suggested = QDir::home().filePath(name + u'-' + id + suffix);
        m_target->setText(m_suggested);
    }
    if (empty) {
        m_findings->clear();
        m_verdict->setText(tr("Nothing is assigned yet: the recipe is empty. Assign pipelines to layers first."));
        m_export->setEnabled(false);
        return;
    }
    m_verdict->clear();
    m_bench.lintExport(exporter->id());
}

void ExportDialog::showFindings(const std::vector<recipe::Finding>& findings)
{
    m_findings->clear();
    // The same finding on many layers is one line.
    std::map<std::string, std::vector<const recipe::Finding*>> same;
    for (const recipe::Finding& finding : findings)
        same[finding.id + finding.severity].push_back(&finding);
    for (const recipe::Finding& finding : findings) {
        const auto& group = same[finding.id + finding.severity];
        const bool many = group.size() > kMostLines;
        if (many && group.front() != &finding)
            continue;
        const bool error = finding.severity == "error";
        const bool warning = finding.severity == "warning";
        QStringList places;
        for (const recipe::Finding* each : group)
            places << QString::fromStdString(each->where);
        const QString where = many  ? tr("%1 places, first %2: ").arg(group.size()).arg(places.front())
            : finding.where.empty() ? QString()
                                    : QString::fromStdString(finding.where) + QStringLiteral(": ");
        auto* item = new QListWidgetItem(QStringLiteral("%1  %2%3")
                                             .arg(error        ? QStringLiteral("✕")
                                                     : warning ? QStringLiteral("!")
                                                               : QStringLiteral("✓"),
                                                 where, QString::fromStdString(finding.message)),
            m_findings);
        item->setToolTip(many ? places.join(u'\n') : QString::fromStdString(finding.id));
        item->setForeground(error ? views::tokens().bad : warning ? views::tokens().warning : views::tokens().text);
    }
    if (findings.empty())
        new QListWidgetItem(tr("✓  nothing to report"), m_findings);
}

void ExportDialog::showLints()
{
    if (m_running || m_bench.state().recipe.rules.empty())
        return;
    using State = session::Loadable<std::vector<recipe::Finding>>::State;
    const auto& lints = m_bench.lints();
    bool errors = true;
    if (lints.state == State::Ready) {
        showFindings(*lints.value);
        errors = std::any_of(
            lints.value->begin(), lints.value->end(), [](const recipe::Finding& f) { return f.severity == "error"; });
        m_verdict->setText(
            errors ? tr("This format cannot hold the recipe; see the checks.") : tr("The recipe can be written."));
    } else if (lints.state == State::Failed) {
        m_verdict->setText(QString::fromStdString(lints.error.line()));
    }
    views::setRole(m_verdict, errors && lints.state != State::Loading ? "bad" : ""); // not that of the last export
    m_runtimes->hide();
    m_export->setEnabled(!errors && !m_target->text().isEmpty());
}

void ExportDialog::showReport()
{
    using State = session::Loadable<recipe::ExportReport>::State;
    const auto& report = m_bench.exportReport();
    m_running = report.state == State::Loading;
    m_progress->setVisible(m_running);
    m_export->setEnabled(!m_running);
    m_close->setText(m_running ? tr("Cancel") : tr("Close"));
    m_reopen->setVisible(report.state == State::Ready && report.value->checkpointBytes > 0);
    m_runtimes->hide();
    switch (report.state) {
    case State::Loading: m_verdict->setText(tr("Writing, then reading back …")); break;
    case State::Ready:
        showFindings(report.value->findings);
        m_verdict->setText(verdictText(*report.value));
        askRuntimes();
        break;
    case State::Failed: m_verdict->setText(QString::fromStdString(report.error.line())); break;
    case State::Cancelled: m_verdict->setText(tr("Cancelled; nothing was left behind.")); break;
    case State::Empty: break;
    }
    views::setRole(m_verdict,
        report.state == State::Ready && report.value->verified ? "good"
            : report.state == State::Failed                    ? "bad"
                                                               : "");
}

QString ExportDialog::runtimes() const
{
    return m_runtimes->isHidden() ? QString() : m_runtimes->text();
}

void ExportDialog::askRuntimes()
{
    session::JobQueue::Spec spec{QStringLiteral("export/runtimes"), tr("Check the runtimes"), session::Lane::View, false};
    m_bench.jobs().submit<recipe::ValidationReport>(
        spec, this,
        [path = m_written.toStdString(), &plugins = m_bench.plugins()](
            const JobContext& job) { return plugins.exporters().validate(path, plugins.stages(), job); },
        [this](Expected<recipe::ValidationReport> report) {
            QStringList lines;
            if (report) {
                for (const recipe::RuntimeVerdict& verdict : report->runtimes)
                    lines << QStringLiteral("%1: %2%3")
                                 .arg(QString::fromStdString(verdict.runtime), QString::fromStdString(verdict.loads),
                                     verdict.why.empty() ? QString()
                                                         : QStringLiteral(", ") + QString::fromStdString(verdict.why));
            }
            m_runtimes->setText(tr("Who loads it: %1").arg(lines.join(QStringLiteral("; "))));
            m_runtimes->setVisible(!lines.isEmpty());
        });
}

void ExportDialog::reject()
{
    if (m_running) {
        m_bench.jobs().cancel(QStringLiteral("export"));
        return;
    }
    QDialog::reject();
}

} // namespace qs::app
