// SPDX-License-Identifier: GPL-3.0-or-later
#include "analysis_files.h"
#include "arguments.h"
#include "commands.h"
#include "outputs.h"
#include "text_table.h"

#include "core/analysis/layer_analysis.h"
#include "core/base/atomic_file.h"
#include "core/base/version.h"

#include <cmath>
#include <filesystem>
#include <fmt/format.h>
#include <map>
#include <optional>
#include <system_error>
#include <utility>

namespace qs::cli {
namespace {

/// The analysis of an input shared by several layers is computed once.
using SharedInputs = std::map<std::string, std::shared_ptr<const analysis::InputAnalysis>>;

constexpr const char* kNotCovered = "the dump does not cover it";
constexpr const char* kLayersJson = "layers.json";
constexpr const char* kLayersCsv = "layers.csv";
constexpr const char* kVectorsEnding = ".json";
constexpr const char* kChannelsEnding = ".channels.csv";

/// Names come from files and need not be UTF-8.
std::string jsonText(const nlohmann::json& document)
{
    return document.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

/// Whether everything that --out would write may be written: what lies there already is of an analysis.
Expected<void> checkOutputs(
    const AnalyzeOptions& options, const std::vector<model::LayerIndex>& layers, const std::vector<std::string>& stems)
{
    const std::filesystem::path folder(options.out);
    std::vector<std::pair<std::string, OutputKind>> files
        = {{kLayersJson, OutputKind::AnalysisJson}, {kLayersCsv, OutputKind::AnalysisCsv}};
    for (const model::LayerIndex index : layers) {
        const std::string& stem = stems[static_cast<std::size_t>(index)];
        files.emplace_back(stem + kVectorsEnding, OutputKind::AnalysisJson);
        files.emplace_back(stem + kChannelsEnding, OutputKind::AnalysisCsv);
    }
    std::error_code code;
    for (const auto& [name, kind] : files)
        if (std::filesystem::exists(std::filesystem::symlink_status(folder / name, code)))
            QS_CHECK(checkOutputFile("--out", (folder / name).string(), kind, {options.model, options.dump}));
    return {};
}

/// The condition of C; where dead channels make C singular, that of the live ones, marked.
std::string conditionCell(const analysis::HessianReport& hessian)
{
    if (hessian.condition)
        return significant(*hessian.condition);
    return hessian.conditionLive ? significant(*hessian.conditionLive) + "†" : "-";
}

/// What the QSUR columns print. Of a singular covariance r is 0 whatever the transform, which tells layers apart by nothing:
/// then the reading of the subspace that varies stands there, with its rank, marked.
struct QsurCells {
    std::string r = "-", lostBits = "-";
};
QsurCells qsurCells(const std::optional<analysis::Qsur>& q)
{
    if (!q)
        return {};
    if (!q->deficient)
        return {significant(q->r), significant(q->lostBits)};
    if (q->rank)
        return {fmt::format("{} in {}/{}*", significant(q->rSub), *q->rank, q->dims), significant(-std::log2(q->rSub)) + "*"};
    return {significant(q->rShrunk) + " shrunk*", significant(q->lostBitsShrunk) + "*"}; // too wide for a spectrum
}

} // namespace

Expected<Outcome> analyze(const AnalyzeOptions& options, Context& context)
{
    QS_CHECK(checkLayersOption(context, options.layers));
    if (options.vectors && !context.json())
        return wrongUsage(context,
            {Errc::InvalidArgument, "adds to the JSON document, which was not asked for", "--vectors",
                "give --json, or --out FOLDER for files of every layer"});
    if (!options.out.empty())
        QS_CHECK(checkOutputFolder("--out", options.out, false));
    QS_TRY(workspace, openWorkspace(context, options.model, options.dump));
    const auto& spec = workspace.model->spec();
    QS_TRY(layers, selectLayers(spec, options.layers));
    std::vector<std::string> stems;
    if (!options.out.empty()) {
        std::vector<std::string> names;
        for (const auto& layer : spec.layers)
            names.push_back(layer.name);
        stems = fileStems(names);
        QS_CHECK(checkOutputs(options, layers, stems));
    }

    Outcome outcome;
    outcome.json["layers"] = nlohmann::json::array();
    outcome.json["skipped"] = nlohmann::json::array();
    outcome.json["producer"] = kProducer;
    outcome.json["seed"] = context.job().seed;
    const auto& info = workspace.calibration.dump->info();
    outcome.json["dump"] = {{"id", workspace.calibration.dump->id()}, {"tokens", info.tokens}, {"seq_len", info.seqLen},
        {"policy", info.policy}, {"dataset_id", info.datasetId}};
    TextTable table({"layer", "channels", "tokens", "|x|>=6", "max/median", "kurtosis", "rank", "condition", "tokens/ch",
        "sensitivity", "QSUR r", "lost bits"});
    std::string csv = layersCsvHead();
    std::string verdicts, warnings;
    bool anyHoldout = false, ofLiveChannels = false, singular = false, tooFewTokens = false;
    Index nonFinite = 0;
    std::size_t withoutGram = 0;
    std::optional<Error> firstFailure;
    SharedInputs shared;
    std::vector<std::pair<model::LayerIndex, analysis::LayerAnalysis>> analysed; // for the files; inputs are shared
    double done = 0;
    for (const model::LayerIndex index : layers) {
        QS_CHECK(context.job().poll());
        const auto& layer = spec.layers[static_cast<std::size_t>(index)];
        const JobContext job
            = context.part(done / static_cast<double>(layers.size()), (done + 1) / static_cast<double>(layers.size()));
        done += 1;
        job.progress(0.0, layer.name);
        if (workspace.calibration.dump->inputOf(layer.name).empty() && !workspace.calibration.dump->hasRawTokens(layer.name)) {
            outcome.json["skipped"].push_back({{"layer", layer.name}, {"reason", kNotCovered}});
            continue;
        }
        QS_TRY(stats, workspace.calibration.dump->stats(layer.name));
        QS_TRY(W, workspace.model->loadWeight(layer));
        auto& input = shared[layer.inputId];
        auto result = analysis::analyzeLayer(W, stats.get(), context.backend(), {}, job, input);
        if (!result) {
            Error error = result.error();
            error.where = layer.name + (error.where.empty() ? std::string() : ", " + error.where);
            if (error.code != Errc::NotFinite)
                return tl::unexpected(std::move(error));
            // The other layers are still worth knowing, but this is no success.
            outcome.json["skipped"].push_back({{"layer", layer.name}, {"reason", error.line()}});
            warnings += "skipped " + error.line() + "\n";
            outcome.exitCode = 1;
            if (!firstFailure)
                firstFailure = std::move(error);
            continue;
        }
        input = result->input;
        nlohmann::json entry = analysis::layerToJson(layer.name, *result);
        const auto& in = *result->input;
        entry["holdout"] = stats->hasHoldout();
        anyHoldout = anyHoldout || stats->hasHoldout();
        if (in.table.nonFinite > 0) {
            nonFinite += in.table.nonFinite;
            warnings += fmt::format("warning: {}: {} of {} activations are NaN or Inf; they count as 0 in every figure\n",
                layer.name, in.table.nonFinite, in.channels * in.tokens);
        }
        const QsurCells qsur = qsurCells(in.qsur);
        singular = singular || (in.qsur && in.qsur->deficient);
        tooFewTokens = tooFewTokens || (in.qsur && in.qsur->deficient && in.tokens <= in.channels);
        const auto optionalNumber
            = [](const std::optional<double>& value) { return value ? significant(*value) : std::string("-"); };
        table.add({layer.name, std::to_string(in.channels), std::to_string(in.tokens), std::to_string(in.outliers.int8Channels),
            significant(in.outliers.maxOverMedian), significant(in.outliers.kurtosis),
            in.hessian && in.hessian->rank ? std::to_string(*in.hessian->rank) : "-",
            in.hessian ? conditionCell(*in.hessian) : "-", in.hessian ? significant(in.hessian->tokensPerChannel) : "-",
            optionalNumber(result->sensitivity.outputError), qsur.r, qsur.lostBits});
        withoutGram += in.hessian ? 0 : 1;
        ofLiveChannels = ofLiveChannels || (in.hessian && !in.hessian->condition && in.hessian->conditionLive);
        if (in.hessian && layers.size() <= 4)
            verdicts += fmt::format("\n{}: {}\n", layer.name, in.hessian->verdict);
        csv += layersCsvLine(layer.name, *result);
        if (!options.out.empty()) {
            const std::string& stem = stems[static_cast<std::size_t>(index)];
            entry["files"] = {{"vectors", stem + kVectorsEnding}, {"channels", stem + kChannelsEnding}};
            analysed.emplace_back(index, *result);
        }
        if (options.vectors)
            addVectors(entry, in);
        outcome.json["layers"].push_back(std::move(entry));
    }
    if (outcome.json["layers"].empty() && firstFailure)
        return tl::unexpected(std::move(*firstFailure));
    if (outcome.json["layers"].empty())
        return fail(Errc::NotFound, "covers none of the layers asked for", options.dump,
            "capture a dump of this model, or choose other layers");
    outcome.json["non_finite"] = nonFinite;
    if (!options.out.empty()) {
        std::error_code code;
        const bool made = std::filesystem::create_directories(options.out, code);
        if (code)
            return fail(
                Errc::Io, "cannot be created: " + code.message(), "--out " + options.out, "check the folder's permissions");
        const std::filesystem::path folder(options.out);
        const auto write = [&]() -> Expected<void> {
            for (std::size_t i = 0; i < analysed.size(); ++i) {
                QS_CHECK(context.job().poll());
                const auto& [index, layer] = analysed[i];
                const std::string& stem = stems[static_cast<std::size_t>(index)];
                nlohmann::json entry = outcome.json["layers"][i];
                addVectors(entry, *layer.input);
                for (const char* key : {"producer", "seed", "dump"})
                    entry[key] = outcome.json[key];
                QS_CHECK(writeTextFile(folder / (stem + kVectorsEnding), jsonText(entry)));
                QS_CHECK(writeTextFile(folder / (stem + kChannelsEnding), channelsCsv(*layer.input)));
            }
            QS_CHECK(writeTextFile(folder / kLayersCsv, csv));
            QS_CHECK(writeTextFile(folder / kLayersJson, jsonText(outcome.json))); // last: it names the others
            return {};
        };
        if (auto written = write(); !written) {
            if (made)
                std::filesystem::remove(folder, code); // where nothing was written into it
            return tl::unexpected(std::move(written).error());
        }
    }
    outcome.text = table.text() + verdicts;
    std::string notes; // what marks in the table mean
    if (withoutGram > 0)
        notes += fmt::format("- {} without a Gram matrix in the dump: capture with them among those of --layers\n",
            counted(withoutGram, "layer"));
    if (ofLiveChannels)
        notes += "† of the live channels, which solvers work with: dead channels make C itself singular\n";
    if (singular)
        notes += fmt::format(
            "* singular covariance: r of all channels is 0 whatever the transform. Shown are r and lost bits of the "
            "directions that vary (RANK/CHANNELS); --json has the shrunk and rate forms beside them{}\n",
            tooFewTokens ? "; capture more tokens than channels to have r itself" : "");
    std::vector<std::string> names;
    for (const auto& skipped : outcome.json["skipped"])
        if (skipped["reason"] == kNotCovered)
            names.push_back(skipped["layer"].get<std::string>());
    if (!names.empty())
        warnings += wrapped("skipped, as the dump does not cover " + std::string(names.size() == 1 ? "it:" : "them:"), names);
    if (!anyHoldout)
        warnings += "no holdout: the dump keeps no sequences apart, so sensitivity is of the tokens that methods see\n";
    warnings += "policy " + info.policy + "; dump " + workspace.calibration.dump->id().substr(0, 12) + "\n";
    outcome.text += "\n" + notes + warnings;
    return outcome;
}

} // namespace qs::cli
