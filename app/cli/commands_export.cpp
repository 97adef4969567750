// SPDX-License-Identifier: GPL-3.0-or-later
#include "arguments.h"
#include "commands.h"
#include "outputs.h"
#include "text_table.h"

#include <algorithm>
#include <filesystem>
#include <fmt/format.h>

namespace qs::cli {
namespace {

nlohmann::json findingsJson(const std::vector<recipe::Finding>& findings)
{
    nlohmann::json list = nlohmann::json::array();
    for (const auto& finding : findings)
        list.push_back(
            {{"id", finding.id}, {"severity", finding.severity}, {"where", finding.where}, {"message", finding.message}});
    return list;
}

/// A recipe is written over a recipe of the same format and over nothing else.
Expected<void> checkRecipeFile(const recipe::ExporterRegistry& exporters, const ExportOptions& options,
    const recipe::StageRegistry& registry, const JobContext& job)
{
    QS_CHECK(checkOutputFile("--out", options.out, OutputKind::Any, {options.model, options.dump}));
    std::error_code code;
    if (!std::filesystem::exists(options.out, code) || std::filesystem::is_empty(options.out, code))
        return {};
    const auto report = exporters.validate(options.out, registry, job);
    const auto broken = [](const recipe::Finding& finding) { return finding.severity == "error"; };
    if (report && report->kind.starts_with(options.format)
        && std::none_of(report->findings.begin(), report->findings.end(), broken))
        return {};
    return fail(Errc::InvalidArgument, "exists and is not a recipe of format " + options.format + ": it is not overwritten",
        "--out " + options.out, "choose another file, or remove this one");
}

/// Of all files that the export is made of, as they lie on the disk.
std::uint64_t writtenBytes(
    const recipe::Exporter& exporter, const recipe::ExportReport& report, const std::filesystem::path& out)
{
    std::uint64_t sum = 0;
    for (const auto& file : report.files) {
        std::error_code code;
        const std::uint64_t bytes = std::filesystem::file_size(exporter.writesFolder() ? out / file : out, code);
        sum += code ? 0 : bytes;
    }
    return sum;
}

} // namespace

std::string exportFormats(Context& context)
{
    const auto registry = context.exporters();
    if (!registry)
        return registry.error().line();
    std::string text = "Formats:\n";
    for (const auto* exporter : (*registry)->all())
        text += fmt::format("  {:20} {}\n", exporter->id(), exporter->description());
    return text;
}

Expected<Outcome> exportModel(const ExportOptions& options, Context& context)
{
    QS_TRY(exporters, context.exporters());
    const recipe::Exporter* exporter = exporters->find(options.format);
    if (!exporter) {
        std::string known;
        for (const auto* each : exporters->all())
            known += (known.empty() ? "" : ", ") + each->id();
        return wrongUsage(
            context, {Errc::InvalidArgument, "'" + options.format + "' is not a format", "--format", "choose one of " + known});
    }
    QS_TRY(registry, context.stages());
    QS_TRY(recipe, recipeArgument(context, options.recipe, *registry));
    if (exporter->writesFolder())
        QS_CHECK(checkOutputFolder("--out", options.out, true));
    else
        QS_CHECK(checkRecipeFile(*exporters, options, *registry, context.job()));
    QS_TRY(workspace, openWorkspace(context, options.model, options.dump));
    recipe::ExportInput input;
    input.recipe = recipe;
    QS_TRY(
        assignment, assignmentOf(context, options.recipe, recipe, workspace.model->spec(), *registry, !options.dump.empty()));
    input.assignment = assignment;
    input.runner = workspace.runner;
    if (workspace.calibration.dump) {
        const auto& dump = *workspace.calibration.dump;
        input.recipe.calibration = {{"dump_id", dump.id()}, {"model_id", dump.info().modelId},
            {"dataset_id", dump.info().datasetId}, {"tokens", std::to_string(dump.info().tokens)},
            {"seq_len", std::to_string(dump.info().seqLen)}, {"policy", dump.info().policy}};
    }

    std::vector<recipe::Finding> findings = exporter->lint(input);
    for (const auto& finding : findings)
        if (finding.severity == "error")
            return fail(Errc::InvalidArgument, finding.message + " [" + finding.id + "]", finding.where,
                "nothing was written; "
                    + (finding.hint.empty() ? std::string("change the recipe, or choose another --format") : finding.hint));
    auto written = exporter->write(input, options.out, context.job());
    if (!written) {
        Error error = std::move(written).error();
        if (error.code == Errc::Io && error.where.find(".tmp-") != std::string::npos)
            error.where = "--out " + options.out; // not a temporary name
        return tl::unexpected(std::move(error));
    }
    const recipe::ExportReport& report = *written;
    const std::uint64_t bytesWritten = writtenBytes(*exporter, report, options.out);

    Outcome outcome;
    nlohmann::json files = nlohmann::json::array();
    for (const auto& file : report.files)
        files.push_back(file.string());
    outcome.json = {{"format", options.format}, {"out", options.out}, {"files", files}, {"verified", report.verified},
        {"findings", findingsJson(report.findings)},
        {"bits_layers", report.size.bitsLayers > 0 ? number(report.size.bitsLayers) : nlohmann::json()},
        {"bits_file", number(report.size.bitsFile)}, {"bytes_file", static_cast<std::uint64_t>(report.size.bytesFile)},
        {"layer_bytes", report.layerBytes}, {"checkpoint_bytes", report.checkpointBytes}, {"bytes", bytesWritten}};
    outcome.text = problemsText(outcome.json["findings"]);
    const std::string size = report.size.bytesFile > 0
        ? fmt::format("tensors {} ({} bits per weight in layers, {} in the file), ", bytesText(report.size.bytesFile),
            report.size.bitsLayers > 0 ? significant(report.size.bitsLayers, 4) : "no", significant(report.size.bitsFile, 4))
        : std::string();
    outcome.text += fmt::format("{}: {}, {}; {}{}\n", options.out, counted(report.files.size(), "file"),
        bytesText(static_cast<double>(bytesWritten)), size,
        report.checkpointBytes > 0 ? (report.verified ? "read back and verified" : "read back: it differs")
                                   : "a recipe, without tensors: read back as text");
    outcome.exitCode = report.hasErrors() ? 1 : 0;
    return outcome;
}

Expected<Outcome> validate(const ValidateOptions& options, Context& context)
{
    QS_TRY(exporters, context.exporters());
    QS_TRY(registry, context.stages());
    QS_TRY(report, exporters->validate(options.path, *registry, context.job()));
    Outcome outcome;
    outcome.json = {{"path", options.path}, {"kind", report.kind}, {"problems", findingsJson(report.findings)},
        {"runtimes", nlohmann::json::object()}};
    for (const auto& verdict : report.runtimes)
        outcome.json["runtimes"][verdict.runtime] = {{"loads", verdict.loads}, {"why", verdict.why}};
    outcome.text = fmt::format("{}: {}\n{}", options.path, report.kind, problemsText(outcome.json["problems"]));
    TextTable table({"runtime", "loads", "why"});
    for (const auto& verdict : report.runtimes)
        table.add({verdict.runtime, verdict.loads, verdict.why});
    outcome.text += "\n" + table.text();
    const bool bad
        = std::any_of(report.findings.begin(), report.findings.end(), [](const auto& f) { return f.severity == "error"; });
    outcome.exitCode = bad ? 1 : 0;
    return outcome;
}

} // namespace qs::cli
