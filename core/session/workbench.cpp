// SPDX-License-Identifier: Apache-2.0
#include "core/session/workbench.h"

#include "core/recipe/storage.h"
#include "core/session/format_number.h"
#include "core/session/tasks.h"

#include <QDir>
#include <QFileInfo>
#include <QStandardPaths>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

namespace qs::session {

namespace {

constexpr std::size_t kRecentViews = 8;

/// Layer for layer the same names and shapes: one is an export or another training of the other.
bool sameLayers(const model::Model& a, const model::Model& b)
{
    return std::ranges::equal(a.spec().layers, b.spec().layers,
        [](const auto& x, const auto& y) { return x.name == y.name && x.in == y.in && x.out == y.out; });
}

} // namespace

Workbench::Workbench(QObject* parent)
    : QObject(parent)
    , m_seen(m_document.state())
    , m_jobsModel(&m_jobs)
{
    connect(&m_selection, &SelectionModel::changed, this, &Workbench::onSelection);
    connect(&m_document, &SessionDocument::changed, this, &Workbench::onDocument);
    connect(&m_jobs, &JobQueue::finished, this, [this](JobId id) {
        const JobInfo* info = m_jobs.info(id);
        // A click in the list is no failure: runComparison() tells what is.
        if (info && info->state == JobState::Failed && !info->tag.startsWith(QStringLiteral("compare/")))
            m_messages.add(Message::Severity::Error, info->title + QStringLiteral(": ") + info->message.simplified());
        else if (info && info->state == JobState::Cancelled && info->listed && !info->withdrawn)
            m_messages.add(Message::Severity::Info, info->title + QStringLiteral(": cancelled"));
    });
}

Workbench::~Workbench() = default;

Backend& Workbench::backend() const
{
    return cpuBackend();
}

void Workbench::loadPlugins(const QStringList& folders)
{
    m_plugins.load(folders);
    for (const QString& line : m_plugins.errors())
        m_messages.add(Message::Severity::Error, line);
    if (m_plugins.stages().stages().empty()) {
        m_messages.add(Message::Severity::Warning,
            QStringLiteral("no method plugins were found in %1 (set QS_PLUGIN_PATH)").arg(folders.join(QStringLiteral(", "))));
    }
    setDefaultPipelines();
}

void Workbench::setDefaultPipelines()
{
    auto state = m_document.edit();
    state->pipelines.clear();
    std::vector<const recipe::Method*> opening;
    for (const recipe::Method& method : registry().methods())
        if (method.opening > 0)
            opening.push_back(&method);
    std::ranges::stable_sort(opening, {}, &recipe::Method::opening);
    for (const recipe::Method* method : opening) {
        if (auto pipeline = recipe::parsePipeline(method->id, registry()))
            state->pipelines.push_back(std::move(*pipeline));
        else
            m_messages.add(pipeline.error());
    }
    const bool clean = !m_document.modified();
    m_document.set(state);
    if (clean)
        m_document.markSaved();
}

const model::LayerSpec* Workbench::layerSpec(model::LayerIndex layer) const
{
    const auto open = model();
    if (!open || layer < 0 || layer >= static_cast<model::LayerIndex>(open->spec().layers.size()))
        return nullptr;
    return &open->spec().layers[static_cast<std::size_t>(layer)];
}

const model::LayerSpec* Workbench::currentLayer() const
{
    return layerSpec(m_selection.state().current);
}

QString Workbench::layerTitle() const
{
    const model::LayerSpec* spec = currentLayer();
    return spec ? shortLayerName(*spec) : QString();
}

void Workbench::openModel(const std::filesystem::path& path, const std::filesystem::path& dumpToOpen)
{
    m_opened.setLoading();
    Q_EMIT modelChanged();
    JobQueue::Spec spec{
        QStringLiteral("open/model"), tr("Open %1").arg(QString::fromStdString(path.filename().string())), Lane::View, true};
    m_jobs.submit<OpenedModel>(
        spec, this, [path](const JobContext& job) { return tasks::openModel(path, job); },
        [this, path, dumpToOpen](Expected<OpenedModel> result) {
            if (result) {
                setModel(std::move(*result), path, dumpToOpen);
                return;
            }
            if (m_opened.value) // what was open stays open
                m_opened.state = Loadable<OpenedModel>::State::Ready;
            else
                m_opened.set(std::move(result));
            Q_EMIT modelChanged();
            if (std::exchange(m_sessionOpening, false))
                followPipelines();
        });
}

void Workbench::setModel(OpenedModel opened, const std::filesystem::path& path, const std::filesystem::path& dumpToOpen)
{
    m_jobs.cancelAll();
    m_sessionOpening = false;
    // A layer of another architecture that has the same name says nothing about this one.
    const bool sameKind = m_opened.value && sameLayers(*m_opened.value->model, *opened.model);
    const model::LayerIndex kept = sameKind ? m_selection.state().current : -1;
    // Whoever hears of what follows must not ask the runner of one model for a layer of another.
    m_selection.set({}, this);
    m_runner.reset();
    m_opened.set(std::move(opened));
    m_dump.reset();
    dropResults();
    m_ranking.clear();
    m_recentViews.clear();

    const auto model = m_opened.value->model;
    auto state = m_document.edit();
    if (state->model == path && state->modelId.empty()) { // a session that never saw its model
        const bool clean = !m_document.modified();
        state->modelId = model->id();
        m_document.set(state);
        if (clean)
            m_document.markSaved();
    } else if (state->model != path || state->modelId != model->id()) {
        if (state->model != path)
            m_document.setFile({}); // the session file belongs to the model before
        else
            m_messages.add(Message::Severity::Warning,
                tr("%1 is no longer the model that the session was made with: its recipe and dump are left out")
                    .arg(QString::fromStdString(path.string())));
        state->model = path;
        state->modelId = model->id();
        state->dump.clear();
        state->recipe = {};
        state->selectedLayer.clear();
        state->selectedPipeline = 0;
        m_document.set(state);
        m_document.markSaved();
    }
    for (const model::Problem& problem : model->spec().problems) {
        const auto severity = problem.severity == "error" ? Message::Severity::Error
            : problem.severity == "warning"               ? Message::Severity::Warning
                                                          : Message::Severity::Info;
        m_messages.add(severity,
            QStringLiteral("%1: %2").arg(QString::fromStdString(problem.where), QString::fromStdString(problem.message)));
    }
    makeRunner();
    m_layers.setRows({});
    refreshRows();
    Q_EMIT modelChanged();
    Q_EMIT dumpChanged();
    const QString wanted = m_document.state()->selectedLayer;
    const model::LayerIndex known = model->spec().find(wanted.toStdString());
    if (known >= 0 || kept >= 0)
        m_selection.selectLayer(known >= 0 ? known : kept, this);
    const int last = static_cast<int>(m_document.state()->pipelines.size()) - 1;
    m_selection.selectPipeline(std::clamp(m_document.state()->selectedPipeline, 0, std::max(last, 0)), this);
    // The recipe is measured once the dump is there; the same model opened again keeps its dump.
    if (const std::filesystem::path dump = dumpToOpen.empty() ? m_document.state()->dump : dumpToOpen; !dump.empty()) {
        openDump(dump);
        return;
    }
    rank();
    if (!m_document.state()->recipe.rules.empty())
        measureAssigned();
}

void Workbench::openDump(const std::filesystem::path& path, std::optional<double> captureSeconds)
{
    const auto open = model();
    if (!open) {
        m_messages.add(Message::Severity::Warning,
            QStringLiteral("open a model before its dump: %1").arg(QString::fromStdString(path.string())));
        return;
    }
    using Dump = std::shared_ptr<const stats::CalibrationDump>;
    JobQueue::Spec spec{QStringLiteral("open/dump"), tr("Open dump %1").arg(QString::fromStdString(path.filename().string())),
        Lane::View, true};
    m_jobs.submit<Dump>(
        spec, this,
        [path, open, &device = backend()](const JobContext& job) { return tasks::openDump(path, open, device, job); },
        [this, path, open, captureSeconds](Expected<Dump> dump) {
            if (model() != open)
                return;
            if (dump) {
                setDump(std::move(*dump), path);
                if (captureSeconds)
                    m_messages.add(Message::Severity::Info,
                        tr("captured %1, %2 tokens, %3")
                            .arg(QString::fromStdString(path.string()), integerText(m_dump->info().tokens),
                                durationText(*captureSeconds)));
                return;
            }
            Q_EMIT dumpChanged();
            if (m_ranking.ready())
                return;
            rank(); // the model came with this dump: go on without
            if (!state().recipe.rules.empty() && !m_dump)
                measureAssigned();
        });
}

void Workbench::setDump(std::shared_ptr<const stats::CalibrationDump> dump, const std::filesystem::path& path)
{
    m_dump = std::move(dump);
    dropResults();
    m_recentViews.clear();
    if (state().dump != path) {
        const bool untouched = !m_document.modified() && m_document.file().empty();
        auto next = m_document.edit();
        next->dump = path;
        next->recipe.calibration["dump_id"] = m_dump->id();
        next->recipe.calibration["model_id"] = m_dump->info().modelId;
        next->recipe.calibration["tokens"] = std::to_string(m_dump->info().tokens);
        m_document.set(next);
        if (untouched) // a dump that was opened is no work that could be lost
            m_document.markSaved();
    }
    makeRunner();
    Q_EMIT dumpChanged();
    rank();
    inspectCurrent();
    if (!state().recipe.rules.empty()) // a session that comes back, or other statistics than before
        measureAssigned();
}

void Workbench::calibrate(
    const std::filesystem::path& text, const std::filesystem::path& target, const model::CaptureOptions& options)
{
    const auto open = model();
    if (!open)
        return;
    const QString size = options.samples > 0 && options.seqLen > 0
        ? QStringLiteral("%1 × %2").arg(options.samples).arg(options.seqLen)
        : tr("all windows");
    JobQueue::Spec spec{QStringLiteral("calibrate"), tr("Calibrate, %1 tokens").arg(size), Lane::Background, true};
    using Clock = std::chrono::steady_clock;
    m_jobs.submit<double>(
        spec, this,
        [open, text, target, options, &device = backend()](const JobContext& job) -> Expected<double> {
            const auto start = Clock::now();
            QS_CHECK(model::capture(open, text, target, options, device, job));
            return std::chrono::duration<double>(Clock::now() - start).count();
        },
        [this, open, target](Expected<double> seconds) {
            if (seconds && model() == open)
                openDump(target, *seconds);
        });
}

std::filesystem::path Workbench::newDumpPath(const std::filesystem::path& text, int samples, int length) const
{
    const QString folder = QStandardPaths::writableLocation(QStandardPaths::AppLocalDataLocation) + QStringLiteral("/dumps");
    QDir().mkpath(folder);
    QString name = model() ? QString::fromStdString(model()->spec().name) : QStringLiteral("model");
    name.replace(u'/', u'_');
    const QString read = text.stem().empty() ? QString() : u'-' + QString::fromStdString(text.stem().string());
    const QString base = QStringLiteral("%1/%2%3-%4-of-%5").arg(folder, name, read).arg(samples).arg(length);
    QString file = base + QStringLiteral(".h5");
    for (int i = 2; QFileInfo::exists(file); ++i)
        file = QStringLiteral("%1-%2.h5").arg(base).arg(i);
    return file.toStdString();
}

void Workbench::quickCalibrate(const std::filesystem::path& text)
{
    const auto open = model();
    if (!open)
        return;
    const Index context = open->spec().context;
    model::CaptureOptions options;
    options.samples = kQuickSamples;
    options.seqLen = context > 0 ? std::min<Index>(kQuickLength, context) : kQuickLength;
    options.keepTokens = kKeptTokens;
    calibrate(text, newDumpPath(text, kQuickSamples, static_cast<int>(options.seqLen)), options);
}

void Workbench::makeRunner()
{
    const auto open = model();
    m_runner
        = open ? std::make_shared<const recipe::Runner>(open, recipe::Calibration{m_dump}, registry(), backend()) : nullptr;
}

void Workbench::dropResults()
{
    m_view.clear();
    m_layerResults.clear();
    m_modelResults.clear();
    m_evaluation.clear();
    m_preview.clear();
    m_assigned.clear();
    m_export.clear();
    m_lints.clear();
    m_spectra.clear();
    for (const char* tag : {"layer/view", "layer/preview", "evaluate", "assigned", "export", "lint", "spectra"})
        m_jobs.cancel(QString::fromLatin1(tag));
    Q_EMIT layerViewChanged();
    Q_EMIT layerResultsChanged();
    Q_EMIT modelResultsChanged();
    Q_EMIT evaluationChanged();
    Q_EMIT assignedChanged();
}

void Workbench::rank()
{
    const auto open = model();
    if (!open || open->spec().layers.empty())
        return;
    const bool first = !m_ranking.value; // without data it is there soon; the dump's numbers take much longer
    if (first && m_ranking.state == Loadable<Ranking>::State::Loading)
        return; // it goes on with the dump
    m_ranking.setLoading();
    Q_EMIT rankingChanged();
    const auto dump = first ? nullptr : m_dump;
    Backend& device = backend();
    JobQueue::Spec spec{
        QStringLiteral("rank"), tr("Rank %1 layers by RTN error").arg(open->spec().layers.size()), Lane::Background, true};
    m_jobs.submit<Ranking>(
        spec, this, [open, dump, &device](const JobContext& job) { return tasks::rankLayers(*open, dump.get(), device, job); },
        [this, open, dump](Expected<Ranking> ranking) {
            if (model() != open || (dump && m_dump != dump))
                return;
            m_ranking.set(std::move(ranking));
            refreshRows();
            const bool goesOn = m_ranking.ready() && m_dump != dump;
            if (m_ranking.ready() && !goesOn) {
                for (std::size_t i = 0; i < m_ranking.value->layers.size(); ++i) {
                    if (const auto& error = m_ranking.value->layers[i].error)
                        m_messages.add(*error);
                }
            }
            Q_EMIT rankingChanged();
            if (goesOn)
                rank();
        });
}

void Workbench::measureSpectra()
{
    using State = Loadable<Spectra>::State;
    const auto open = model();
    const auto dump = m_dump;
    if (!open || !dump || m_spectra.state == State::Loading || m_spectra.state == State::Ready)
        return;
    m_spectra.setLoading();
    Backend& device = backend();
    JobQueue::Spec spec{QStringLiteral("spectra"), tr("Spectra of all inputs"), Lane::Background, true};
    m_jobs.submit<Spectra>(
        spec, this, [open, dump, &device](const JobContext& job) { return tasks::inputSpectra(*open, *dump, device, job); },
        [this, open, dump](Expected<Spectra> spectra) {
            if (model() != open || m_dump != dump)
                return;
            m_spectra.set(std::move(spectra));
            refreshRows();
        });
}

void Workbench::refreshRows()
{
    const auto open = model();
    if (!open) {
        m_layers.setRows({});
        return;
    }
    const auto assigned = assignment();
    const bool withDump = m_dump && m_ranking.value && m_ranking.value->withDump;
    const ModelResult* measured = m_assigned.ready() ? m_assigned.value.get() : nullptr;
    const auto errorOf = [this](const LayerResult& result) {
        if (m_dump) // a layer that the dump lacks has no number that compares with the others
            return result.metrics.hasOutput ? result.metrics.outputError : std::numeric_limits<double>::quiet_NaN();
        return std::pow(10.0, -result.metrics.weightSqnrDb / 10);
    };
    std::vector<const ModelResult*> compared;
    QStringList labels;
    for (const recipe::Pipeline& pipeline : state().pipelines) {
        if (compared.size() == kComparedColumns)
            break;
        const auto* all = modelResult(pipeline);
        compared.push_back(all && all->ready() ? all->value.get() : nullptr);
        labels << label(pipeline);
    }
    m_layers.setCompared(labels, m_dump != nullptr);
    std::vector<LayerRow> rows;
    const auto& layers = open->spec().layers;
    rows.reserve(layers.size());
    for (std::size_t i = 0; i < layers.size(); ++i) {
        const model::LayerSpec& layer = layers[i];
        LayerRow row;
        row.index = static_cast<model::LayerIndex>(i);
        row.name = QString::fromStdString(layer.name);
        row.shortName = shortLayerName(layer);
        row.block = layer.block;
        row.in = layer.in;
        row.out = layer.out;
        row.dtype = QString::fromLatin1(dtypeName(layer.dtype));
        const quant::BitsCount stored = recipe::storedBits(*open, layer);
        row.bytes = stored.total() / 8;
        row.bits = open->tensor(layer.weight) ? stored.perWeight() : std::numeric_limits<double>::quiet_NaN();
        if (assigned && assigned->layers[i]) {
            row.pipeline = label(*assigned->layers[i]);
            row.bits = std::numeric_limits<double>::quiet_NaN();
        }
        const LayerResult* result = nullptr;
        if (measured) {
            const auto it = measured->layers.find(row.index);
            result = it == measured->layers.end() ? nullptr : &it->second;
        }
        if (result)
            row.bits = result->bits.perWeight();
        const RankedLayer* ranked
            = m_ranking.value && i < m_ranking.value->layers.size() ? &m_ranking.value->layers[i] : nullptr;
        if (ranked && ranked->outliers) {
            row.outliers = static_cast<double>(ranked->outliers->int8Channels);
            row.maxOverMedian = ranked->outliers->maxOverMedian;
            row.kurtosis = ranked->outliers->kurtosis;
            row.tokensPerChannel = ranked->tokensPerChannel;
        }
        if (m_spectra.value && i < m_spectra.value->size() && (*m_spectra.value)[i]) {
            const InputSpectrum& spectrum = *(*m_spectra.value)[i];
            row.condition = spectrum.condition;
            row.qsur = spectrum.qsur;
            row.lostBits = spectrum.lostBits;
        }
        for (std::size_t p = 0; p < compared.size(); ++p) {
            if (!compared[p])
                continue;
            if (const auto it = compared[p]->layers.find(row.index); it != compared[p]->layers.end())
                row.compared[p] = errorOf(it->second);
        }
        if (result)
            row.assigned = errorOf(*result);
        if (ranked) {
            row.error
                = withDump ? ranked->sensitivity.value_or(std::numeric_limits<double>::quiet_NaN()) : ranked->rtnWeightError;
            if (ranked->error)
                row.note = QString::fromStdString(ranked->error->line());
            else if (withDump && !ranked->sensitivity)
                row.note = tr("no error: the dump has no Gram of this layer; calibrate again");
        }
        rows.push_back(std::move(row));
    }
    m_layers.setErrorKind(withDump ? ErrorKind::Output : ErrorKind::Weight);
    m_layers.updateRows(std::move(rows));
}

void Workbench::onSelection(const SelectionState& selection)
{
    const model::LayerSpec* spec = currentLayer();
    const bool sameLayer = m_view.value && m_view.value->layer == selection.current
        && (m_view.state == Loadable<LayerView>::State::Ready || m_view.state == Loadable<LayerView>::State::Loading);
    if (!spec) {
        m_view.clear();
        m_jobs.cancel(QStringLiteral("layer/view"));
        Q_EMIT layerViewChanged();
        return;
    }
    if (!sameLayer)
        inspectCurrent();
}

void Workbench::retryLayer()
{
    inspectCurrent();
}

void Workbench::inspectCurrent()
{
    const auto open = model();
    const model::LayerIndex layer = m_selection.state().current;
    if (!open || !currentLayer())
        return;
    const auto known
        = std::find_if(m_recentViews.begin(), m_recentViews.end(), [layer](const auto& view) { return view->layer == layer; });
    if (known != m_recentViews.end()) {
        m_jobs.cancel(QStringLiteral("layer/view"));
        m_view.value = *known;
        m_view.state = Loadable<LayerView>::State::Ready;
        m_preview.clear();
        Q_EMIT layerViewChanged();
        compareCurrent();
        return;
    }
    m_view.clear();
    m_view.setLoading();
    m_preview.clear();
    Q_EMIT layerViewChanged();
    Q_EMIT layerResultsChanged();
    Q_EMIT previewChanged();
    const auto dump = m_dump;
    Backend& device = backend();
    JobQueue::Spec spec{QStringLiteral("layer/view"), tr("Analyse %1").arg(layerTitle()), Lane::View, true};
    m_jobs.submit<LayerView>(
        spec, this,
        [open, layer, dump, &device](
            const JobContext& job) { return tasks::inspectLayer(*open, layer, dump.get(), device, job); },
        [this, open, dump, layer](Expected<LayerView> view) {
            if (model() != open || m_dump != dump || m_selection.state().current != layer)
                return;
            m_view.set(std::move(view));
            if (m_view.ready()) {
                m_recentViews.push_front(m_view.value);
                if (m_recentViews.size() > kRecentViews)
                    m_recentViews.pop_back();
            }
            Q_EMIT layerViewChanged();
            compareCurrent();
        });
}

QString Workbench::label(const recipe::Pipeline& pipeline) const
{
    return QString::fromStdString(recipe::pipelineLabel(pipeline, registry()));
}

Expected<recipe::Assignment> Workbench::assignment() const
{
    const auto open = model();
    if (!open)
        return fail(Errc::NotFound, "no model is open");
    return recipe::assign(state().recipe, open->spec(), registry());
}

} // namespace qs::session
