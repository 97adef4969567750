// SPDX-License-Identifier: GPL-3.0-or-later
#include "arguments.h"
#include "commands.h"
#include "outputs.h"
#include "text_table.h"

#include "core/base/memory.h"
#include "core/base/version.h"
#include "core/io/checkpoint.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <limits>
#include <set>

namespace qs::cli {
namespace {

/// Hands What over to the safetensors writer.
io::TensorToWrite tensorOf(std::string name, const std::shared_ptr<const RowMatrix>& matrix)
{
    io::TensorToWrite tensor;
    tensor.name = std::move(name);
    tensor.dtype = DType::F32;
    tensor.shape = {matrix->rows(), matrix->cols()};
    tensor.produce = [matrix](const auto& sink) { return sink(std::as_bytes(matrix->values())); };
    return tensor;
}

struct Total {
    double errorSum = 0, bits = 0, weights = 0, seconds = 0;
    Index layers = 0, measured = 0; // measured: those whose input has a Gram matrix
};

std::string meanError(const Total& total)
{
    if (total.measured == 0)
        return "-";
    std::string text = percent(total.errorSum / static_cast<double>(total.measured));
    if (total.measured < total.layers)
        text += " (" + counted(static_cast<std::size_t>(total.measured), "layer") + ")";
    return text;
}

constexpr const char* kNoGram
    = "the dump holds no Gram matrix of the layer's input; capture it with the layer among those of --layers";
constexpr double kWideGap = 0.2; // between holdout and fit error: more means that the methods fitted the sample

bool wideGap(const recipe::LayerMetrics& metrics)
{
    return metrics.hasOutput && metrics.holdout && metrics.outputErrorFit > 0
        && std::abs(metrics.outputError / metrics.outputErrorFit - 1.0) > kWideGap;
}

/// Time of the stages themselves: without the decoding of the weight and the reading of the statistics.
double solverSeconds(const recipe::CompressedLayer& compressed)
{
    double seconds = 0;
    for (const auto& report : compressed.reports)
        seconds += report.seconds;
    return seconds;
}

nlohmann::json stagesJson(const std::vector<recipe::StageReport>& reports)
{
    nlohmann::json list = nlohmann::json::array();
    for (const auto& report : reports) {
        nlohmann::json item = {{"stage", report.stage}, {"seconds", report.seconds}, {"notes", report.notes},
            {"entries", nlohmann::json::object()}};
        for (const auto& [key, value] : report.entries)
            item["entries"][key] = std::visit([](const auto& v) { return nlohmann::json(v); }, value);
        list.push_back(std::move(item));
    }
    return list;
}

nlohmann::json resultJson(const recipe::CompressedLayer& compressed, const recipe::LayerMetrics& metrics, bool hasDump)
{
    const double missing = std::numeric_limits<double>::quiet_NaN();
    nlohmann::json entry = {{"layer", compressed.layer}, {"canonical", recipe::formatPipeline(compressed.pipeline)},
        {"bits_layers", compressed.bits.perWeight()}, {"seconds", solverSeconds(compressed)}, {"cached", compressed.fromCache},
        {"sparsity", compressed.sparsity}, {"holdout", metrics.holdout},
        {"metrics",
            {{"output_error", number(metrics.hasOutput ? metrics.outputError : missing)},
                {"output_error_fit", number(metrics.hasOutput ? metrics.outputErrorFit : missing)},
                {"output_error_wa", metrics.outputErrorWA ? number(*metrics.outputErrorWA) : nlohmann::json(nullptr)},
                {"weight_sqnr_db", number(metrics.weightSqnrDb)},
                {"output_sqnr_db", number(metrics.hasOutput ? metrics.outputSqnrDb : missing)}}},
        {"site_layers", compressed.siteLayers}, {"stages", stagesJson(compressed.reports)}};
    if (!metrics.outputErrorWA)
        entry["output_error_wa_reason"] = metrics.whyNoWA;
    if (metrics.hasOutput)
        entry["sink_share"] = number(metrics.sinkShare);
    else
        entry["output_error_reason"] = hasDump ? kNoGram : "there is no dump";
    if (wideGap(metrics))
        entry["warning"] = "holdout and fit error differ by more than 20 %";
    return entry;
}

/// A layer that cannot be measured with what was given, while others can: the dump lacks it, its weights or activations hold
/// NaN or Inf, or a plain matrix has a shape that the pipeline cannot take. Everything else ends the comparison.
bool maySkip(const Error& error, const model::ModelSpec& spec)
{
    return error.code == Errc::NotFound || error.code == Errc::NotFinite
        || (spec.family == model::Family::Plain
            && (error.code == Errc::InvalidArgument || error.code == Errc::Mismatch || error.code == Errc::Unsupported));
}

/// Layers that were left out of one pipeline for the same reason.
struct Skipped {
    std::string pipeline, reason;
    std::vector<std::string> layers;

    std::string text() const
    {
        const std::string what = layers.size() == 1 ? layers.front() : counted(layers.size(), "layer");
        const std::string title = fmt::format("skipped {} with {}: {}", what, pipeline, reason);
        return layers.size() == 1 ? title + "\n" : title + "\n" + wrapped(" ", layers);
    }
};

void addSkipped(std::vector<Skipped>& list, const std::string& pipeline, const Error& error, const std::string& layer)
{
    const std::string reason = error.hint.empty() ? error.message : error.message + " (" + error.hint + ")";
    const auto known = std::find_if(
        list.begin(), list.end(), [&](const Skipped& each) { return each.pipeline == pipeline && each.reason == reason; });
    if (known == list.end())
        list.push_back({pipeline, reason, {layer}});
    else
        known->layers.push_back(layer);
}

/// " of 16384 tokens", or nothing for a foreign dump, which does not say.
std::string tokensText(Index tokens)
{
    return tokens > 0 ? fmt::format(" of {} tokens", tokens) : std::string();
}

/// NaN and Inf among the calibration activations of a layer's input.
Index nonFiniteInputs(const recipe::Calibration& calibration, const std::string& layer)
{
    if (!calibration.dump || calibration.dump->inputOf(layer).empty())
        return 0;
    const auto stats = calibration.dump->stats(layer);
    return stats ? (*stats)->fit.channels.nonFinite + (*stats)->holdout.channels.nonFinite : 0;
}

} // namespace

Expected<Outcome> compare(const CompareOptions& options, Context& context)
{
    QS_CHECK(checkLayersOption(context, options.layers));
    QS_TRY(registry, context.stages());
    std::vector<recipe::Pipeline> pipelines;
    for (const auto& text : options.pipelines) {
        QS_TRY(pipeline, pipelineArgument(context, text, *registry, !options.dump.empty()));
        pipelines.push_back(std::move(pipeline));
    }
    if (!options.saveTensors.empty())
        QS_CHECK(
            checkOutputFile("--save-tensors", options.saveTensors, OutputKind::Safetensors, {options.model, options.dump}));
    QS_TRY(workspace, openWorkspace(context, options.model, options.dump));
    const auto& spec = workspace.model->spec();
    QS_TRY(layers, selectLayers(spec, options.layers));

    Outcome outcome;
    outcome.json["results"] = nlohmann::json::array();
    outcome.json["skipped"] = nlohmann::json::array();
    outcome.json["policy"] = "float";
    outcome.json["producer"] = kProducer;
    outcome.json["seed"] = context.job().seed;
    outcome.json["model_id"] = workspace.model->id();
    outcome.json["dump"] = options.dump.empty() ? nlohmann::json(nullptr) : nlohmann::json(options.dump);
    outcome.json["dump_id"] = options.dump.empty() ? nlohmann::json(nullptr) : nlohmann::json(workspace.calibration.dump->id());
    const bool activations = std::any_of(pipelines.begin(), pipelines.end(),
        [](const recipe::Pipeline& pipeline) { return !pipeline[recipe::Slot::ActivationGrid].empty(); });
    std::vector<std::string> head = {"layer", "pipeline", "bits", "output error", "fit"};
    if (activations)
        head.emplace_back("W+A");
    for (const char* name : {"weight SQNR", "output SQNR", "sparsity", "seconds"})
        head.emplace_back(name);
    TextTable table(head);
    std::vector<Total> totals(pipelines.size());
    std::vector<io::TensorToWrite> saved;
    std::set<std::string> warnings;
    std::vector<Skipped> skipped;
    std::optional<Error> firstSkipped;
    bool gap = false, noHoldout = false, cached = false;
    int unmeasured = 0;
    const double units = static_cast<double>(layers.size() * pipelines.size());
    double done = 0;
    for (const model::LayerIndex index : layers) {
        const auto& layer = spec.layers[static_cast<std::size_t>(index)];
        const Index badInputs = nonFiniteInputs(workspace.calibration, layer.name);
        if (badInputs > 0)
            warnings.insert(
                fmt::format("warning: {}: {} activations of the dump are NaN or Inf; they count as 0 in every figure",
                    layer.name, badInputs));
        for (std::size_t p = 0; p < pipelines.size(); ++p) {
            QS_CHECK(context.job().poll());
            const JobContext job = context.part(done / units, (done + 1) / units);
            done += 1;
            job.progress(0.0, layer.name);
            releaseFreeMemory();
            auto compressed = workspace.runner->compress(index, pipelines[p], job);
            if (!compressed) {
                Error error = std::move(compressed).error();
                if (!maySkip(error, spec))
                    return tl::unexpected(std::move(error));
                if (!firstSkipped)
                    firstSkipped = error;
                outcome.json["skipped"].push_back(
                    {{"layer", layer.name}, {"pipeline", options.pipelines[p]}, {"reason", error.line()}});
                if (error.code == Errc::NotFinite)
                    outcome.exitCode = 1; // the rest is measured, but this is no success
                addSkipped(skipped, recipe::pipelineLabel(pipelines[p], *registry), error, layer.name);
                continue;
            }
            QS_TRY(metrics, workspace.runner->measure(index, *compressed, job));
            nlohmann::json entry = resultJson(*compressed, metrics, !options.dump.empty());
            entry["pipeline"] = options.pipelines[p];
            entry["seed"] = context.job().seed;
            entry["non_finite"] = badInputs + metrics.nonFinite;
            entry["non_finite_activations"] = badInputs;
            entry["non_finite_weights"] = metrics.nonFinite;
            outcome.json["results"].push_back(std::move(entry));
            if (metrics.nonFinite > 0)
                warnings.insert(fmt::format("warning: {}, {}: {} weights of the result are NaN or Inf", layer.name,
                    recipe::pipelineLabel(pipelines[p], *registry), metrics.nonFinite));

            gap = gap || wideGap(metrics);
            if (metrics.hasOutput && metrics.sinkShare > stats::kMostlySinks)
                warnings.insert(fmt::format("{}: {:.0f} % of the input's energy is in the first {} positions of each window: "
                                            "its output error speaks of them",
                    layer.name, 100 * metrics.sinkShare, stats::kSinkPositions));
            unmeasured += !metrics.hasOutput && !options.dump.empty() ? 1 : 0;
            noHoldout = noHoldout || (metrics.hasOutput && !metrics.holdout);
            cached = cached || compressed->fromCache;
            std::vector<std::string> row
                = {layer.name, recipe::pipelineLabel(pipelines[p], *registry), significant(compressed->bits.perWeight(), 4),
                    metrics.hasOutput ? percent(metrics.outputError) + (wideGap(metrics) ? "*" : " ") : "-",
                    metrics.hasOutput && metrics.holdout ? percent(metrics.outputErrorFit) : "-"};
            if (activations)
                row.push_back(metrics.outputErrorWA ? percent(*metrics.outputErrorWA) : "-");
            row.push_back(significant(metrics.weightSqnrDb) + " dB");
            row.push_back(metrics.hasOutput ? significant(metrics.outputSqnrDb) + " dB" : "-");
            row.push_back(pipelines[p][recipe::Slot::Pruner].empty() ? "-" : percent(compressed->sparsity));
            row.push_back(significant(solverSeconds(*compressed)) + (compressed->fromCache ? " (cached)" : ""));
            table.add(std::move(row));
            Total& total = totals[p];
            if (metrics.hasOutput) {
                total.errorSum += metrics.outputError;
                ++total.measured;
            }
            total.bits += compressed->bits.total();
            total.weights += static_cast<double>(compressed->bits.weights);
            total.seconds += solverSeconds(*compressed);
            ++total.layers;
            if (!options.saveTensors.empty())
                saved.push_back(
                    tensorOf(layer.name + ".weight" + (pipelines.size() > 1 ? "@" + std::to_string(p) : std::string()),
                        std::make_shared<const RowMatrix>(std::move(compressed->What))));
        }
    }
    if (outcome.json["results"].empty())
        return tl::unexpected(*firstSkipped);
    if (!options.saveTensors.empty())
        QS_CHECK(io::writeSafetensors(options.saveTensors, std::move(saved), context.job(), kProducer));

    outcome.text = table.text();
    if (layers.size() > 1) {
        TextTable summary({"pipeline", "layers", "bits", "mean output error", "seconds"});
        for (std::size_t p = 0; p < pipelines.size(); ++p)
            summary.add({recipe::pipelineLabel(pipelines[p], *registry), std::to_string(totals[p].layers),
                significant(totals[p].bits / std::max(1.0, totals[p].weights), 4), meanError(totals[p]),
                significant(totals[p].seconds)});
        outcome.text += "\n" + summary.text();
    }
    std::vector<std::string> notes(warnings.begin(), warnings.end());
    if (gap)
        notes.emplace_back("* holdout and fit error differ by more than 20 %: calibrate on more text");
    if (unmeasured > 0)
        notes.push_back(
            fmt::format("-: {} without an output error: {}", counted(static_cast<std::size_t>(unmeasured), "result"), kNoGram));
    if (noHoldout)
        notes.emplace_back(
            "no holdout: the dump keeps no sequences apart, so the output error is of the tokens that methods saw");
    if (options.dump.empty())
        notes.emplace_back("no dump: only the weight error is measured (--dump gives the output error)");
    else
        notes.push_back(fmt::format("policy float; dump {}{}; seconds are of the stages, without loading{}",
            workspace.calibration.dump->id().substr(0, 12), tokensText(workspace.calibration.dump->info().tokens),
            cached ? "; (cached): of the run that was kept" : ""));
    outcome.text += "\n";
    for (const auto& each : skipped)
        outcome.text += each.text();
    for (const auto& note : notes)
        outcome.text += note + "\n";
    return outcome;
}

} // namespace qs::cli
