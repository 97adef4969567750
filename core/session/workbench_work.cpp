// SPDX-License-Identifier: Apache-2.0
// The part of Workbench that compares, evaluates, previews, exports and edits the document.
#include "core/session/workbench.h"

#include "core/session/tasks.h"

#include <QRegularExpression>

#include <algorithm>
#include <fmt/format.h>
#include <set>

namespace qs::session {

namespace {

constexpr std::size_t kLayerResults = 64; ///< Detailed results hold a weight each: what the last few layers need.

std::string patternOf(const std::vector<std::string>& names)
{
    QStringList escaped;
    for (const std::string& name : names)
        escaped << QRegularExpression::escape(QString::fromStdString(name));
    // PCRE2 reads an escaped underscore or letter differently from a plain one; only dots need it in layer names.
    QString joined = escaped.join(u'|');
    return (QStringLiteral("^(?:") + joined + QStringLiteral(")$")).toStdString();
}

} // namespace

Workbench::CachedResult* Workbench::cached(model::LayerIndex layer, const std::string& text)
{
    const auto it = std::find_if(m_layerResults.begin(), m_layerResults.end(),
        [&](const CachedResult& entry) { return entry.layer == layer && entry.text == text; });
    return it == m_layerResults.end() ? nullptr : &*it;
}

const Workbench::CachedResult* Workbench::cached(model::LayerIndex layer, const std::string& text) const
{
    return const_cast<Workbench*>(this)->cached(layer, text);
}

Loadable<LayerResult> Workbench::layerResult(std::size_t pipeline) const
{
    if (pipeline >= state().pipelines.size())
        return {};
    const CachedResult* entry = cached(m_selection.state().current, recipe::formatPipeline(state().pipelines[pipeline]));
    return entry ? entry->result : Loadable<LayerResult>();
}

const Loadable<ModelResult>* Workbench::modelResult(const recipe::Pipeline& pipeline) const
{
    const auto it = m_modelResults.find(recipe::formatPipeline(pipeline));
    return it == m_modelResults.end() ? nullptr : &it->second;
}

static Error needsCalibration(const QString& what)
{
    return {Errc::NotFound, "needs a calibration", what.toStdString(), "calibrate with a text, or load a dump"};
}

std::optional<Error> Workbench::missing(const recipe::Pipeline& pipeline) const
{
    if (m_dump || recipe::pipelineNeeds(pipeline, registry()).empty())
        return std::nullopt;
    return needsCalibration(label(pipeline));
}

std::optional<Error> Workbench::missingFor(const recipe::Recipe& recipe, const QString& name) const
{
    const auto assigned = model() ? recipe::assign(recipe, model()->spec(), registry()) : tl::unexpected(Error{});
    if (!assigned)
        return std::nullopt; // whoever runs the recipe says why
    int layers = 0, covered = 0;
    for (std::size_t i = 0; i < assigned->layers.size(); ++i) {
        const auto& pipeline = assigned->layers[i];
        const auto needs = pipeline ? recipe::pipelineNeeds(*pipeline, registry()) : std::vector<std::string>{};
        if (needs.empty())
            continue;
        const std::string& layer = model()->spec().layers[i].name;
        const bool gram = std::find(needs.begin(), needs.end(), "gram") != needs.end();
        ++layers;
        covered += m_dump && (gram ? m_dump->hasGram(layer) : m_dump->widthOf(layer) > 0) ? 1 : 0;
    }
    if (covered == layers)
        return std::nullopt;
    if (!m_dump)
        return needsCalibration(name);
    return Error{Errc::NotFound,
        fmt::format("needs the second moments of {} layers, and the dump holds those of {}", layers, covered),
        name.toStdString(), "calibrate all layers with a text"};
}

void Workbench::compareCurrent()
{
    if (!m_view.ready())
        return;
    for (const recipe::Pipeline& pipeline : state().pipelines)
        runComparison(pipeline);
    Q_EMIT layerResultsChanged();
}

void Workbench::runComparison(const recipe::Pipeline& pipeline)
{
    const model::LayerIndex layer = m_selection.state().current;
    const std::string text = recipe::formatPipeline(pipeline);
    using State = Loadable<LayerResult>::State;
    if (const CachedResult* known = cached(layer, text); known && known->result.state != State::Cancelled)
        return;
    if (CachedResult* entry = cached(layer, text)) {
        entry->result.setLoading();
    } else {
        m_layerResults.push_front({layer, text, {}});
        m_layerResults.front().result.setLoading();
        while (m_layerResults.size() > kLayerResults)
            m_layerResults.pop_back();
    }
    if (auto error = missing(pipeline)) {
        cached(layer, text)->result.set(tl::unexpected(std::move(*error)));
        return;
    }
    const auto runner = m_runner;
    const auto view = m_view.value;
    Backend& device = backend();
    const QString title = tr("%1 on %2").arg(label(pipeline), layerTitle());
    JobQueue::Spec spec{QStringLiteral("compare/%1/%2").arg(layer).arg(QString::fromStdString(text)), title, Lane::View, true};
    m_jobs.submit<LayerResult>(
        spec, this,
        [runner, layer, pipeline, view, &device](
            const JobContext& job) { return tasks::compareLayer(*runner, layer, pipeline, view.get(), device, job); },
        [this, runner, layer, text, title](Expected<LayerResult> result) {
            if (m_runner != runner)
                return;
            // That the dump lacks this layer's statistics stands on the card; nobody has to be told at every click.
            if (!result && result.error().code != Errc::NotFound && result.error().code != Errc::Cancelled)
                m_messages.add(Message::Severity::Error,
                    title + QStringLiteral(": ") + QString::fromStdString(result.error().line()).simplified());
            if (CachedResult* entry = cached(layer, text))
                entry->result.set(std::move(result));
            if (layer == m_selection.state().current)
                Q_EMIT layerResultsChanged();
        });
}

void Workbench::compareModel()
{
    if (!m_runner)
        return;
    using State = Loadable<ModelResult>::State;
    for (const recipe::Pipeline& pipeline : state().pipelines) {
        const std::string text = recipe::formatPipeline(pipeline);
        Loadable<ModelResult>& entry = m_modelResults[text];
        if (entry.state == State::Loading || entry.state == State::Ready)
            continue;
        if (auto error = missing(pipeline)) {
            entry.set(tl::unexpected(std::move(*error)));
            continue;
        }
        entry.setLoading();
        const auto runner = m_runner;
        Backend& device = backend();
        JobQueue::Spec spec{QStringLiteral("compare-model/") + QString::fromStdString(text),
            tr("%1 on all layers").arg(label(pipeline)), Lane::Background, true};
        m_jobs.submit<ModelResult>(
            spec, this,
            [runner, pipeline, &device](const JobContext& job) { return tasks::compareModel(*runner, pipeline, device, job); },
            [this, runner, text](Expected<ModelResult> result) {
                if (m_runner != runner)
                    return;
                m_modelResults[text].set(std::move(result));
                refreshRows();
                Q_EMIT modelResultsChanged();
            });
    }
    Q_EMIT modelResultsChanged();
}

void Workbench::evaluate(const std::filesystem::path& text, const model::EvalOptions& options)
{
    if (!m_runner)
        return;
    std::vector<tasks::EvalCandidate> candidates;
    for (std::size_t i = 0; i < state().pipelines.size(); ++i) {
        const recipe::Pipeline& pipeline = state().pipelines[i];
        candidates.push_back({pipelineLetter(i).toStdString() + " " + label(pipeline).toStdString(),
            recipe::formatPipeline(pipeline), recipe::uniformRecipe(pipeline)});
    }
    if (!state().recipe.rules.empty())
        candidates.push_back({"recipe", {}, state().recipe});
    // What the dump is too small for does not keep the others from running.
    std::erase_if(candidates, [this](const tasks::EvalCandidate& candidate) {
        const auto error = missingFor(candidate.recipe, QString::fromStdString(candidate.name));
        if (error)
            m_messages.add(
                Message::Severity::Warning, tr("left out of the evaluation: %1").arg(QString::fromStdString(error->line())));
        return error.has_value();
    });
    m_evaluation.setLoading();
    Q_EMIT evaluationChanged();
    const auto runner = m_runner;
    const auto open = model();
    JobQueue::Spec spec{QStringLiteral("evaluate"),
        tr("Perplexity and KL on %1").arg(QString::fromStdString(text.filename().string())), Lane::Background, true};
    m_jobs.submit<Evaluation>(
        spec, this,
        [runner, open, text, candidates, options](
            const JobContext& job) { return tasks::evaluate(runner, open, text, candidates, options, job); },
        [this, runner, name = QString::fromStdString(text.filename().string())](Expected<Evaluation> result) {
            if (m_runner != runner)
                return;
            m_evaluation.set(std::move(result));
            if (m_evaluation.ready()) {
                const auto& done = m_evaluation.value->candidates;
                const bool recipe = !done.empty() && done.back().pipelineText.empty();
                const auto pipelines = done.size() - (recipe ? 1 : 0);
                const QString what = pipelines == 1 ? tr("1 pipeline") : tr("%1 pipelines").arg(pipelines);
                m_messages.add(Message::Severity::Info,
                    tr("evaluated %1%2 on %3").arg(what, recipe ? tr(" and the recipe") : QString(), name));
            }
            Q_EMIT evaluationChanged();
        });
}

int Workbench::unfinishedWork() const
{
    int count = 0;
    for (const char* tag : {"calibrate", "evaluate", "export"})
        count += m_jobs.isRunning(QString::fromLatin1(tag)) ? 1 : 0;
    return count + static_cast<int>(std::count_if(m_modelResults.begin(), m_modelResults.end(), [](const auto& entry) {
        return entry.second.state == Loadable<ModelResult>::State::Loading;
    }));
}

void Workbench::measureAssigned()
{
    auto assigned = assignment();
    if (!assigned) {
        m_messages.add(assigned.error());
        return;
    }
    m_assigned.setLoading();
    Q_EMIT assignedChanged();
    const auto runner = m_runner;
    Backend& device = backend();
    JobQueue::Spec spec{QStringLiteral("assigned"), tr("Measure the recipe"), Lane::Background, true};
    m_jobs.submit<ModelResult>(
        spec, this,
        [runner, assigned = std::move(*assigned), &device](
            const JobContext& job) { return tasks::measureAssignment(*runner, assigned, device, job); },
        [this, runner](Expected<ModelResult> result) {
            if (m_runner != runner)
                return;
            m_assigned.set(std::move(result));
            refreshRows();
            Q_EMIT assignedChanged();
        });
}

void Workbench::requestPreview(const recipe::Pipeline& pipeline)
{
    if (!m_runner || !m_view.ready())
        return;
    if (auto error = missing(pipeline)) {
        m_jobs.cancel(QStringLiteral("layer/preview"));
        m_preview.set(tl::unexpected(std::move(*error)));
        Q_EMIT previewChanged();
        return;
    }
    m_preview.setLoading();
    Q_EMIT previewChanged();
    const auto runner = m_runner;
    const auto view = m_view.value;
    Backend& device = backend();
    auto done = [this, runner, view](Expected<Preview> result) {
        if (m_runner != runner || m_view.value != view)
            return;
        m_preview.set(std::move(result));
        Q_EMIT previewChanged();
    };
    JobQueue::Spec spec{QStringLiteral("layer/preview"), tr("Preview"), Lane::Interactive, false};
    m_jobs.submit<Preview>(
        spec, this,
        [runner, view, pipeline, &device](
            const JobContext& job) { return tasks::preview(*runner, pipeline, *view, false, device, job); },
        [this, done, runner, view, pipeline, &device](Expected<Preview> quick) {
            const bool wantsFull = quick && quick->outputError && !quick->full;
            done(std::move(quick));
            if (!wantsFull)
                return;
            // The value over all rows follows; a newer preview replaces it.
            JobQueue::Spec full{QStringLiteral("layer/preview"), tr("Preview, all rows"), Lane::Interactive, false};
            m_jobs.submit<Preview>(
                full, this,
                [runner, view, pipeline, &device](
                    const JobContext& job) { return tasks::preview(*runner, pipeline, *view, true, device, job); },
                done);
        });
}

void Workbench::lintExport(const std::string& format)
{
    const recipe::Exporter* exporter = m_plugins.exporters().find(format);
    auto assigned = assignment();
    if (!exporter || !assigned || !m_runner) {
        m_lints.set(tl::unexpected(!assigned ? assigned.error() : Error{Errc::NotFound, "no such export format", format, {}}));
        Q_EMIT lintsChanged();
        return;
    }
    m_lints.setLoading();
    Q_EMIT lintsChanged();
    recipe::ExportInput input{m_runner, state().recipe, std::move(*assigned)};
    JobQueue::Spec spec{QStringLiteral("lint"), tr("Check the export"), Lane::Interactive, false};
    using Findings = std::vector<recipe::Finding>;
    m_jobs.submit<Findings>(
        spec, this, [exporter, input](const JobContext&) -> Expected<Findings> { return exporter->lint(input); },
        [this](Expected<Findings> result) {
            m_lints.set(std::move(result));
            Q_EMIT lintsChanged();
        });
}

void Workbench::exportRecipe(const std::string& format, const std::filesystem::path& target)
{
    const recipe::Exporter* exporter = m_plugins.exporters().find(format);
    auto assigned = assignment();
    if (!exporter || !assigned || !m_runner) {
        m_export.set(tl::unexpected(!assigned ? assigned.error() : Error{Errc::NotFound, "no such export format", format, {}}));
        Q_EMIT exportChanged();
        return;
    }
    m_export.clear();
    m_export.setLoading();
    Q_EMIT exportChanged();
    recipe::ExportInput input{m_runner, state().recipe, std::move(*assigned)};
    JobQueue::Spec spec{
        QStringLiteral("export"), tr("Export %1").arg(QString::fromStdString(exporter->title())), Lane::Background, true};
    m_jobs.submit<recipe::ExportReport>(
        spec, this, [exporter, input, target](const JobContext& job) { return exporter->write(input, target, job); },
        [this, target](Expected<recipe::ExportReport> result) {
            m_export.set(std::move(result));
            if (m_export.ready()) {
                m_messages.add(m_export.value->verified ? Message::Severity::Info : Message::Severity::Warning,
                    m_export.value->verified ? tr("exported to %1 and verified").arg(QString::fromStdString(target.string()))
                                             : tr("exported to %1, not verified").arg(QString::fromStdString(target.string())));
            }
            Q_EMIT exportChanged();
        });
}

void Workbench::setPipeline(std::size_t index, recipe::Pipeline pipeline)
{
    if (index >= state().pipelines.size() || state().pipelines[index] == pipeline)
        return;
    auto next = m_document.edit();
    next->pipelines[index] = std::move(pipeline);
    m_document.set(next);
}

void Workbench::addPipeline(recipe::Pipeline pipeline)
{
    auto next = m_document.edit();
    next->pipelines.push_back(std::move(pipeline));
    m_document.set(next);
    m_selection.selectPipeline(static_cast<int>(state().pipelines.size()) - 1, this);
}

void Workbench::removePipeline(std::size_t index)
{
    if (index >= state().pipelines.size())
        return;
    auto next = m_document.edit();
    next->pipelines.erase(next->pipelines.begin() + static_cast<std::ptrdiff_t>(index));
    const int last = static_cast<int>(next->pipelines.size()) - 1;
    m_document.set(next);
    if (m_selection.state().pipeline > last)
        m_selection.selectPipeline(std::max(last, 0), this);
}

std::vector<model::LayerIndex> Workbench::withPartners(const std::vector<model::LayerIndex>& layers) const
{
    const auto open = model();
    if (!open)
        return {};
    const model::ModelSpec& spec = open->spec();
    std::set<model::LayerIndex> all(layers.begin(), layers.end());
    for (const model::LayerIndex layer : layers) {
        const model::LayerSpec* info = layerSpec(layer);
        if (!info)
            continue;
        if (info->fusionGroup >= 0) {
            const auto& partners = spec.fusionGroups[static_cast<std::size_t>(info->fusionGroup)].layers;
            all.insert(partners.begin(), partners.end());
        }
        if (info->site >= 0) {
            const auto& partners = spec.sites[static_cast<std::size_t>(info->site)].consumers;
            all.insert(partners.begin(), partners.end());
        }
    }
    return {all.begin(), all.end()};
}

void Workbench::assign(const std::vector<model::LayerIndex>& layers, const recipe::Pipeline* pipeline)
{
    const auto open = model();
    if (!open || layers.empty())
        return;
    const std::vector<model::LayerIndex> targets = withPartners(layers);
    auto next = m_document.edit();
    // Rules of one pipeline are kept together, so that the recipe stays readable after many edits: which pipeline each layer
    // has now ...
    std::vector<std::pair<recipe::Pipeline, std::vector<std::string>>> groups;
    auto put = [&groups](const recipe::Pipeline& wanted, const std::string& name) {
        const auto it = std::find_if(groups.begin(), groups.end(), [&](const auto& group) { return group.first == wanted; });
        if (it != groups.end())
            it->second.push_back(name);
        else
            groups.push_back({wanted, {name}});
    };
    const auto& specs = open->spec().layers;
    for (std::size_t i = 0; i < specs.size(); ++i) {
        if (std::binary_search(targets.begin(), targets.end(), static_cast<model::LayerIndex>(i))) {
            if (pipeline && !pipeline->empty())
                put(*pipeline, specs[i].name);
            continue;
        }
        const recipe::RecipeRule* winner = nullptr;
        for (const recipe::RecipeRule& rule : next->recipe.rules) {
            const QRegularExpression pattern(QString::fromStdString(rule.pattern));
            if (pattern.match(QString::fromStdString(specs[i].name)).hasMatch())
                winner = &rule;
        }
        if (winner && !winner->pipeline.empty())
            put(winner->pipeline, specs[i].name);
    }
    // ... and one rule for each.
    next->recipe.rules.clear();
    for (auto& [wanted, names] : groups)
        next->recipe.rules.push_back({patternOf(names), wanted});
    m_document.set(next);
}

void Workbench::onDocument()
{
    const auto before = std::exchange(m_seen, m_document.state());
    const SessionState& now = *m_seen;
    const bool rulesChanged = before->recipe.rules.size() != now.recipe.rules.size()
        || !std::equal(before->recipe.rules.begin(), before->recipe.rules.end(), now.recipe.rules.begin(),
            [](const auto& a, const auto& b) { return a.pattern == b.pattern && a.pipeline == b.pipeline; });
    if (rulesChanged) {
        m_jobs.cancel(QStringLiteral("assigned"));
        m_assigned.clear();
        refreshRows();
        Q_EMIT assignedChanged();
        if (!now.recipe.rules.empty() && m_runner && !m_sessionOpening)
            measureAssigned();
    }
    if (before->pipelines != now.pipelines) {
        for (const recipe::Pipeline& old : before->pipelines) {
            if (std::find(now.pipelines.begin(), now.pipelines.end(), old) != now.pipelines.end())
                continue;
            const QString text = QString::fromStdString(recipe::formatPipeline(old));
            m_jobs.cancel(QStringLiteral("compare/%1/%2").arg(m_selection.state().current).arg(text));
            m_jobs.cancel(QStringLiteral("compare-model/") + text);
        }
        const int last = std::max(static_cast<int>(now.pipelines.size()) - 1, 0);
        if (m_selection.state().pipeline > last)
            m_selection.selectPipeline(last, this);
        if (!m_sessionOpening)
            followPipelines();
    }
}

void Workbench::followPipelines()
{
    compareCurrent();
    refreshRows();
    Q_EMIT modelResultsChanged();
    Q_EMIT evaluationChanged();
}

void Workbench::openSession(const std::filesystem::path& file)
{
    auto read = SessionDocument::read(file, registry());
    if (!read) {
        m_messages.add(read.error());
        return;
    }
    auto next = std::make_shared<SessionState>(std::move(*read));
    const std::filesystem::path modelPath = next->model;
    const std::filesystem::path dumpPath = next->dump;
    m_sessionOpening = !modelPath.empty();
    m_document.set(next);
    m_document.setFile(file);
    m_document.markSaved();
    Q_EMIT sessionOpened();
    if (m_sessionOpening)
        openModel(modelPath, dumpPath);
}

} // namespace qs::session
