// SPDX-License-Identifier: GPL-3.0-or-later
#include "commands.h"
#include "text_table.h"

#include "core/io/checkpoint.h"

#include <cmath>
#include <fmt/format.h>
#include <limits>

namespace qs::cli {
namespace {

/// Hands What over to the safetensors writer.
io::TensorToWrite tensorOf(std::string name, std::shared_ptr<const RowMatrix> matrix)
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
        text += " (" + std::to_string(total.measured) + " layers)";
    return text;
}

} // namespace

Expected<Outcome> compare(const CompareOptions& options, Context& context)
{
    QS_TRY(registry, context.stages());
    std::vector<recipe::Pipeline> pipelines;
    for (const auto& text : options.pipelines) {
        QS_TRY(pipeline, recipe::loadPipeline(text, *registry));
        QS_CHECK(recipe::checkPipeline(pipeline, *registry));
        if (options.dump.empty())
            for (const auto& need : recipe::pipelineNeeds(pipeline, *registry))
                return fail(Errc::NotFound, "needs calibration (" + need + ")", text,
                    "give --dump DUMP.h5; quantscope-cli capture writes one");
        pipelines.push_back(std::move(pipeline));
    }
    QS_TRY(workspace, openWorkspace(context, options.model, options.dump));
    const auto& spec = workspace.model->spec();
    QS_TRY(layers, selectLayers(spec, options.layers));

    Outcome outcome;
    outcome.json["results"] = nlohmann::json::array();
    outcome.json["policy"] = "float";
    outcome.json["dump"] = options.dump.empty() ? nlohmann::json(nullptr) : nlohmann::json(options.dump);
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
    const double units = static_cast<double>(layers.size() * pipelines.size());
    double done = 0;
    for (const model::LayerIndex index : layers) {
        const auto& layer = spec.layers[static_cast<std::size_t>(index)];
        QS_TRY(W, workspace.model->loadWeight(layer));
        for (std::size_t p = 0; p < pipelines.size(); ++p) {
            QS_CHECK(context.job().poll());
            const JobContext job = context.part(done / units, (done + 1) / units);
            job.progress(0.0, layer.name);
            QS_TRY(compressed, workspace.runner->compress(index, pipelines[p], job));
            QS_TRY(metrics, recipe::measure(*workspace.model, index, W, compressed, workspace.calibration, cpuBackend(), job));
            const double missing = std::numeric_limits<double>::quiet_NaN();
            const double error = metrics.hasOutput ? metrics.outputError : missing;
            nlohmann::json entry = {{"layer", layer.name}, {"pipeline", options.pipelines[p]},
                {"canonical", recipe::formatPipeline(compressed.pipeline)}, {"bits_layers", compressed.bits.perWeight()},
                {"seconds", compressed.seconds}, {"sparsity", compressed.sparsity}, {"holdout", metrics.holdout},
                {"metrics",
                    {{"output_error", number(error)},
                        {"output_error_fit", number(metrics.hasOutput ? metrics.outputErrorFit : missing)},
                        {"output_error_wa", metrics.outputErrorWA ? number(*metrics.outputErrorWA) : nlohmann::json(nullptr)},
                        {"weight_sqnr_db", number(metrics.weightSqnrDb)},
                        {"output_sqnr_db", number(metrics.hasOutput ? metrics.outputSqnrDb : missing)}}}};
            if (!metrics.outputErrorWA)
                entry["output_error_wa_reason"] = metrics.whyNoWA;
            entry["site_layers"] = compressed.siteLayers;
            entry["non_finite"] = metrics.nonFinite;
            entry["seed"] = context.job().seed;
            nlohmann::json reports = nlohmann::json::array();
            for (const auto& report : compressed.reports) {
                nlohmann::json item = {{"stage", report.stage}, {"seconds", report.seconds}, {"notes", report.notes},
                    {"entries", nlohmann::json::object()}};
                for (const auto& [key, value] : report.entries)
                    item["entries"][key] = std::visit([](const auto& v) { return nlohmann::json(v); }, value);
                reports.push_back(std::move(item));
            }
            entry["stages"] = std::move(reports);
            if (metrics.hasOutput && metrics.holdout && metrics.outputErrorFit > 0
                && std::abs(error / metrics.outputErrorFit - 1.0) > 0.2)
                entry["warning"] = "holdout and fit error differ by more than 20 %";
            outcome.json["results"].push_back(std::move(entry));
            std::vector<std::string> row = {layer.name, recipe::pipelineLabel(pipelines[p], *registry),
                significant(compressed.bits.perWeight(), 4), metrics.hasOutput ? percent(error) : "-",
                metrics.hasOutput && metrics.holdout ? percent(metrics.outputErrorFit) : "-"};
            if (activations)
                row.push_back(metrics.outputErrorWA ? percent(*metrics.outputErrorWA) : "-");
            row.push_back(significant(metrics.weightSqnrDb) + " dB");
            row.push_back(metrics.hasOutput ? significant(metrics.outputSqnrDb) + " dB" : "-");
            row.push_back(percent(compressed.sparsity));
            row.push_back(significant(compressed.seconds));
            table.add(std::move(row));
            Total& total = totals[p];
            if (metrics.hasOutput) {
                total.errorSum += error;
                ++total.measured;
            }
            total.bits += compressed.bits.total();
            total.weights += static_cast<double>(compressed.bits.weights);
            total.seconds += compressed.seconds;
            ++total.layers;
            if (!options.saveTensors.empty())
                saved.push_back(
                    tensorOf(layer.name + ".weight" + (pipelines.size() > 1 ? "@" + std::to_string(p) : std::string()),
                        std::make_shared<const RowMatrix>(std::move(compressed.What))));
            done += 1;
        }
    }
    if (!options.saveTensors.empty())
        QS_CHECK(io::writeSafetensors(options.saveTensors, std::move(saved), context.job()));

    outcome.text = table.text();
    if (layers.size() > 1) {
        TextTable summary({"pipeline", "layers", "bits", "mean output error", "seconds"});
        for (std::size_t p = 0; p < pipelines.size(); ++p)
            summary.add({recipe::pipelineLabel(pipelines[p], *registry), std::to_string(totals[p].layers),
                significant(totals[p].bits / std::max(1.0, totals[p].weights), 4), meanError(totals[p]),
                significant(totals[p].seconds)});
        outcome.text += "\n" + summary.text();
    }
    if (options.dump.empty())
        outcome.text += "\nWithout --dump there is no output error: only the weight error is measured.\n";
    return outcome;
}

} // namespace qs::cli
