// SPDX-License-Identifier: GPL-3.0-or-later
#include "commands.h"
#include "text_table.h"

#include "core/base/atomic_file.h"
#include "core/model/evaluation.h"

#include <fmt/format.h>

namespace qs::cli {
namespace {

nlohmann::json scoresJson(const model::EvalScores& scores)
{
    nlohmann::json json = {{"perplexity", number(scores.perplexity)}, {"perplexity_se", number(scores.perplexitySe)},
        {"nll", number(scores.nll)}, {"tokens", scores.tokens}, {"seconds", scores.seconds}};
    if (scores.hasReference) {
        json["kl_mean"] = number(scores.klMean);
        json["kl_se"] = number(scores.klSe);
        json["kl_p99"] = number(scores.klP99);
        json["top1_agreement"] = number(scores.top1Agreement);
        json["delta_nll"] = number(scores.deltaNll);
        json["delta_nll_se"] = number(scores.deltaNllSe);
    }
    return json;
}

void addSize(nlohmann::json& json, const recipe::RecipeSize& size)
{
    json["bits_layers"] = number(size.bitsLayers);
    json["bits_file"] = number(size.bitsFile);
    json["bytes_file"] = number(size.bytesFile);
}

} // namespace

Expected<Outcome> eval(const EvalOptions& options, Context& context)
{
    QS_TRY(text, readTextFile(options.text, std::size_t{1} << 31));
    QS_TRY(workspace, openWorkspace(context, options.model, options.dump));
    QS_TRY(registry, context.stages());
    std::shared_ptr<const model::Model> reference = workspace.model;
    if (!options.reference.empty()) {
        QS_TRY(opened, openModelChecked(options.reference));
        reference = opened;
    }

    std::vector<std::unique_ptr<recipe::RecipeReplacements>> replacements;
    std::vector<model::EvalCandidate> candidates;
    if (!options.reference.empty() && options.recipes.empty())
        candidates.push_back({options.model, nullptr, workspace.model});
    for (const auto& given : options.recipes) {
        QS_TRY(recipe, recipe::loadRecipe(given, *registry));
        QS_TRY(assignment, recipe::assign(recipe, workspace.model->spec(), *registry));
        for (const auto& pipeline : assignment.layers)
            if (pipeline && options.dump.empty())
                for (const auto& need : recipe::pipelineNeeds(*pipeline, *registry))
                    return fail(Errc::NotFound, "needs calibration (" + need + ")", given,
                        "give --dump DUMP.h5; quantscope-cli capture writes one");
        replacements.push_back(std::make_unique<recipe::RecipeReplacements>(workspace.runner, assignment));
        candidates.push_back({given, replacements.back().get(), options.reference.empty() ? nullptr : workspace.model});
    }
    model::EvalOptions evalOptions;
    evalOptions.seqLen = options.seqLen;
    evalOptions.maxTokens = options.maxTokens;
    QS_TRY(report, model::evaluate(reference, text, candidates, evalOptions, context.job()));

    Outcome outcome;
    nlohmann::json protocol = nlohmann::json::object();
    for (const auto& [key, value] : report.protocol)
        protocol[key] = value;
    nlohmann::json results = nlohmann::json::array();
    TextTable table(
        {"", "bits (layers)", "bits (file)", "file", "perplexity", "±", "KL to float", "±", "KL p99", "top-1", "seconds"});
    const auto row = [&](const std::string& name, const model::EvalScores& scores, const recipe::RecipeSize& size) {
        table.add({name, significant(size.bitsLayers, 4), significant(size.bitsFile, 4), bytesText(size.bytesFile),
            significant(scores.perplexity, 5), significant(scores.perplexitySe, 2),
            scores.hasReference ? significant(scores.klMean) : "-", scores.hasReference ? significant(scores.klSe, 2) : "-",
            scores.hasReference ? significant(scores.klP99) : "-", scores.hasReference ? percent(scores.top1Agreement) : "-",
            significant(scores.seconds)});
    };
    nlohmann::json referenceJson = scoresJson(report.reference);
    const recipe::RecipeSize referenceSize = recipe::recipeSize(*reference, {});
    addSize(referenceJson, referenceSize);
    row(options.reference.empty() ? "float" : "reference", report.reference, referenceSize);
    for (std::size_t i = 0; i < report.candidates.size(); ++i) {
        nlohmann::json entry = scoresJson(report.candidates[i]);
        entry["recipe"] = candidates[i].name;
        const recipe::RecipeSize size = i < replacements.size()
            ? recipe::recipeSize(*workspace.model, replacements[i]->layerBits())
            : recipe::recipeSize(*workspace.model, {});
        addSize(entry, size);
        row(candidates[i].name, report.candidates[i], size);
        results.push_back(std::move(entry));
    }
    // The first candidate's keys stand at the top as well, so that a script with one recipe needs no index.
    outcome.json = results.empty() ? referenceJson : results.front();
    outcome.json["protocol"] = protocol;
    outcome.json["reference"] = referenceJson;
    outcome.json["recipes"] = results;
    outcome.json["seed"] = context.job().seed;

    outcome.text = table.text() + "\nprotocol:";
    for (const auto& [key, value] : report.protocol)
        outcome.text += fmt::format(" {}={};", key, value);
    outcome.text.back() = '\n';
    return outcome;
}

} // namespace qs::cli
