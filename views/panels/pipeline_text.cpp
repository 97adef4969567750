// SPDX-License-Identifier: GPL-3.0-or-later
#include "views/panels/pipeline_text.h"

#include "core/recipe/storage.h"

#include <cmath>
#include <optional>
#include <set>

namespace qs::views {

namespace {

std::optional<recipe::Pipeline> resolved(const session::Workbench& bench, const recipe::Pipeline& pipeline, Index columns)
{
    auto result = recipe::resolveFor(pipeline, bench.registry(), columns);
    return result ? std::optional(std::move(*result)) : std::nullopt;
}

/// Group of the grid, 0 when it has none or is automatic.
std::int64_t groupOf(const recipe::Pipeline& pipeline)
{
    for (const recipe::StageCall& stage : pipeline[recipe::Slot::Grid]) {
        if (const auto it = stage.parameters.find("group"); it != stage.parameters.end()) {
            const auto* value = std::get_if<std::int64_t>(&it->second);
            return value ? *value : 0;
        }
    }
    return 0;
}

} // namespace

recipe::Pipeline resolvedHere(const session::Workbench& bench, const recipe::Pipeline& pipeline)
{
    const model::LayerSpec* layer = bench.currentLayer();
    if (!layer)
        return pipeline;
    return resolved(bench, pipeline, layer->in).value_or(pipeline);
}

bool isPlain(DType type)
{
    return type == DType::F64 || recipe::denseStorageType(type) == type;
}

QString pipelineName(const session::Workbench& bench, const recipe::Pipeline& pipeline)
{
    return bench.currentLayer() ? bench.label(resolvedHere(bench, pipeline)) : pipelineNameOverModel(bench, pipeline);
}

QString pipelineNameOverModel(const session::Workbench& bench, const recipe::Pipeline& pipeline)
{
    const QString plain = bench.label(pipeline);
    const auto model = bench.model();
    if (!model)
        return plain;
    std::set<Index> widths;
    for (const model::LayerSpec& layer : model->spec().layers) {
        if (model->spec().inBlocks(layer))
            widths.insert(layer.in);
    }
    std::set<std::int64_t> groups;
    std::optional<recipe::Pipeline> one;
    for (const Index width : widths) {
        auto here = resolved(bench, pipeline, width);
        if (!here)
            return plain;
        groups.insert(groupOf(*here));
        one = std::move(here);
    }
    if (!one || groups.empty())
        return plain;
    const QString text = bench.label(*one);
    if (groups.size() == 1 || text == plain)
        return text;
    const QString last = QStringLiteral(" g%1").arg(groupOf(*one));
    return QString(text).replace(last, QStringLiteral(" g%1–%2").arg(*groups.begin()).arg(*groups.rbegin()));
}

ShownError shownError(const recipe::LayerMetrics& m, const recipe::Pipeline& pipeline)
{
    if (!m.hasOutput)
        return {std::pow(10.0, -m.weightSqnrDb / 10), QObject::tr("weight error, not calibrated"),
            QObject::tr("Σ dW² / Σ W², dW = W − Ŵ")};
    const bool inputs = !pipeline[recipe::Slot::ActivationGrid].empty();
    if (inputs && m.outputErrorWA)
        return {*m.outputErrorWA, QObject::tr("error with inputs quantized"),
            QObject::tr("E|Wx − ŴQ(x)|² / E|Wx|² over the raw tokens of the dump")};
    return {m.outputError,
        inputs          ? QObject::tr("error, weights only")
            : m.holdout ? QObject::tr("output error, holdout")
                        : QObject::tr("output error, fit (no holdout)"),
        QObject::tr("tr(dW C dWᵀ) / tr(W C Wᵀ), dW = W − Ŵ, C = Σ x xᵀ / tokens of the %1")
                .arg(m.holdout ? QObject::tr("holdout") : QObject::tr("fit part"))
            + (inputs ? QObject::tr("; the inputs are quantized too, but the dump holds no raw tokens to measure it")
                      : QString())};
}

QString pipelineSummary(const session::Workbench& bench, const recipe::Pipeline& unresolved)
{
    const recipe::Pipeline pipeline = resolvedHere(bench, unresolved);
    QStringList parts;
    auto add = [&parts](const recipe::StageCall& stage, const char* name, const char* label) {
        const auto it = stage.parameters.find(name);
        if (it != stage.parameters.end())
            parts << QStringLiteral("%1%2").arg(
                QString::fromLatin1(label), QString::fromStdString(recipe::formatValue(it->second)));
    };
    for (const recipe::StageCall& stage : pipeline[recipe::Slot::Pruner]) {
        add(stage, "sparsity", "sparsity ");
        add(stage, "pattern", "");
    }
    for (const recipe::StageCall& stage : pipeline[recipe::Slot::Grid]) {
        add(stage, "bits", "bits ");
        add(stage, "group", "group ");
        add(stage, "grid", "");
    }
    return parts.join(QStringLiteral("  "));
}

QString TargetVerdict::word() const
{
    switch (state) {
    case State::Loads: return QObject::tr("yes");
    case State::Refused: return QObject::tr("no");
    case State::Unwritten: return QObject::tr("no export");
    case State::Unknown: break;
    }
    return QObject::tr("unknown");
}

QString TargetVerdict::sentence() const
{
    switch (state) {
    case State::Loads: return QObject::tr("%1 loads it: %2").arg(runtime, why);
    case State::Refused: return QObject::tr("%1 does not load it: %2").arg(runtime, why);
    case State::Unwritten: return QObject::tr("no checkpoint for %1 is written of it: %2").arg(runtime, why);
    case State::Unknown: break;
    }
    return QObject::tr("whether %1 loads it is not known: %2").arg(runtime, why);
}

std::optional<TargetVerdict> targetVerdict(const session::Workbench& bench, const recipe::Pipeline& pipeline)
{
    const auto runner = bench.runner();
    const model::LayerSpec* layer = bench.currentLayer();
    if (!runner || !layer || pipeline.empty())
        return std::nullopt;
    const auto resolvedPipeline = std::make_shared<const recipe::Pipeline>(resolvedHere(bench, pipeline));
    recipe::ExportInput input;
    input.runner = runner;
    input.recipe = bench.state().recipe;
    input.recipe.rules.clear();
    input.assignment.layers.resize(runner->model().spec().layers.size());
    for (const model::LayerIndex index : bench.withPartners({runner->model().spec().find(layer->name)}))
        input.assignment.layers[static_cast<std::size_t>(index)] = resolvedPipeline;
    std::optional<TargetVerdict> best;
    for (const recipe::Exporter* exporter : bench.plugins().exporters().all()) {
        for (const recipe::RuntimeVerdict& said : exporter->runtimes(input)) {
            using State = TargetVerdict::State;
            const State state = said.loads == "yes" ? State::Loads
                : said.loads == "no"                ? State::Refused
                : said.loads == "unwritten"         ? State::Unwritten
                                                    : State::Unknown;
            TargetVerdict verdict{QString::fromStdString(said.runtime), state,
                QString::fromStdString(said.why).section(QStringLiteral("; "), 0, 0), QString::fromStdString(said.why)};
            if (verdict.runtime.compare(QString::fromStdString(input.recipe.target), Qt::CaseInsensitive) == 0
                && (!best || verdict.loads()))
                best = std::move(verdict);
        }
    }
    return best;
}

} // namespace qs::views
