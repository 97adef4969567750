// SPDX-License-Identifier: GPL-3.0-or-later
#include "arguments.h"
#include "commands.h"
#include "text_table.h"

#include "core/base/atomic_file.h"
#include "core/base/version.h"
#include "core/model/evaluation.h"
#include "core/model/windows.h"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <set>

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
    json["bits_layers"] = size.bitsLayers > 0 ? number(size.bitsLayers) : nlohmann::json(); // of no layer: none
    json["bits_file"] = number(size.bitsFile);
    json["bytes_file"] = static_cast<std::uint64_t>(size.bytesFile);
}

/// Storage of the block layers: "BF16", or "Q4_1 + Q8_0".
struct Storage {
    std::string types;
    bool isFloat = true;
};
Storage storageOf(const model::Model& model)
{
    std::vector<std::string> names;
    Storage storage;
    for (const auto& layer : model.spec().layers) {
        if (!model.spec().inBlocks(layer))
            continue;
        const DType type = layer.dtype;
        storage.isFloat
            = storage.isFloat && (type == DType::F64 || type == DType::F32 || type == DType::F16 || type == DType::BF16);
        if (const std::string name = type == DType::Packed ? "packed integers" : dtypeName(type);
            std::find(names.begin(), names.end(), name) == names.end())
            names.push_back(name);
    }
    storage.types = fmt::format("{}", fmt::join(names, " + "));
    return storage;
}

/// A protocol value: numbers as numbers.
nlohmann::json protocolValue(const std::string& key, const std::string& value)
{
    static const std::set<std::string> kCounts = {"text_tokens", "windows", "seq_len", "tokens_predicted"};
    Index count = 0;
    if (kCounts.contains(key)
        && std::from_chars(value.data(), value.data() + value.size(), count).ptr == value.data() + value.size())
        return count;
    return value;
}

/// Rules of a recipe as one line of canonical text: "PIPELINE", or "PATTERN -> PIPELINE; ...".
std::string canonicalText(const recipe::Recipe& recipe)
{
    if (recipe.rules.size() == 1 && recipe.rules.front().pattern == recipe::kBlockLayers)
        return recipe::formatPipeline(recipe.rules.front().pipeline);
    std::vector<std::string> rules;
    for (const auto& rule : recipe.rules)
        rules.push_back(rule.pattern + " -> " + recipe::formatPipeline(rule.pipeline));
    return fmt::format("{}", fmt::join(rules, "; "));
}

} // namespace

Expected<Outcome> eval(const EvalOptions& options, Context& context)
{
    QS_TRY(registry, context.stages());
    std::vector<recipe::Recipe> recipes;
    for (const auto& given : options.recipes) {
        QS_TRY(recipe, recipeArgument(context, given, *registry));
        recipes.push_back(std::move(recipe));
    }
    QS_TRY(text, readTextFile(options.text, std::size_t{1} << 31));
    QS_TRY(workspace, openWorkspace(context, options.model, options.dump));
    std::shared_ptr<const model::Model> reference = workspace.model;
    if (!options.reference.empty()) {
        QS_TRY(opened, openModelChecked(options.reference));
        reference = opened;
    }

    std::vector<std::unique_ptr<recipe::RecipeReplacements>> replacements;
    std::vector<model::EvalCandidate> candidates;
    if (!options.reference.empty() && options.recipes.empty())
        candidates.push_back({options.model, nullptr, workspace.model});
    for (std::size_t i = 0; i < recipes.size(); ++i) {
        const std::string& given = options.recipes[i];
        QS_TRY(assignment, assignmentOf(context, given, recipes[i], workspace.model->spec(), *registry, !options.dump.empty()));
        replacements.push_back(std::make_unique<recipe::RecipeReplacements>(workspace.runner, assignment));
        // The tensors between the layers are those of an export as well.
        const auto stored = recipe::asStored(workspace.model);
        candidates.push_back({given, replacements.back().get(), stored == reference ? nullptr : stored});
    }
    model::EvalOptions evalOptions;
    evalOptions.seqLen = options.seqLen;
    if (const Index own = workspace.model->spec().context, other = reference->spec().context;
        options.seqLen == 0 && own > 0 && other > 0)
        evalOptions.seqLen = std::min({model::kDefaultWindow, own, other});
    evalOptions.maxTokens = options.maxTokens;
    auto evaluated = model::evaluate(reference, text, candidates, evalOptions, context.backend(), context.job());
    if (!evaluated)
        return inOptions(context, std::move(evaluated).error(), options.text);
    model::EvalReport& report = *evaluated;
    report.protocol["policy"] = "float";
    report.protocol["producer"] = kProducer;
    report.protocol["seed"] = std::to_string(context.job().seed);
    if (workspace.calibration.dump)
        report.protocol["dump"] = workspace.calibration.dump->id();

    Outcome outcome;
    nlohmann::json protocol = nlohmann::json::object();
    for (const auto& [key, value] : report.protocol)
        protocol[key] = protocolValue(key, value);
    protocol["seed"] = context.job().seed;
    nlohmann::json results = nlohmann::json::array();
    const Storage storage = storageOf(*reference);
    const std::string referenceName = (options.reference.empty() ? std::string() : reference->spec().name + ", ")
        + (storage.isFloat ? "float" : "as stored") + (storage.types.empty() ? "" : " (" + storage.types + ")");
    const bool compared = !report.candidates.empty();
    std::vector<std::string> head = {"", "bits (layers)", "bits (file)", "file", "perplexity", "±"};
    if (compared)
        head.insert(head.end(), {storage.isFloat ? "KL to float" : "KL to reference", "±", "KL p99", "top-1"});
    head.emplace_back("seconds");
    TextTable table(head);
    const auto row = [&](const std::string& name, const model::EvalScores& scores, const recipe::RecipeSize& size) {
        std::vector<std::string> cells
            = {name, size.bitsLayers > 0 ? significant(size.bitsLayers, 4) : "-", significant(size.bitsFile, 4),
                bytesText(size.bytesFile), significant(scores.perplexity, 5), significant(scores.perplexitySe, 2)};
        if (compared && scores.hasReference)
            cells.insert(cells.end(),
                {significant(scores.klMean), significant(scores.klSe, 2), significant(scores.klP99),
                    percent(scores.top1Agreement)});
        else if (compared)
            cells.insert(cells.end(), 4, "-");
        cells.push_back(significant(scores.seconds));
        table.add(std::move(cells));
    };
    nlohmann::json referenceJson = scoresJson(report.reference);
    const recipe::RecipeSize referenceSize = recipe::checkpointSize(*reference);
    addSize(referenceJson, referenceSize);
    referenceJson["model"] = options.reference.empty() ? options.model : options.reference;
    referenceJson["model_id"] = reference->id();
    referenceJson["storage"] = storage.types;
    row(referenceName, report.reference, referenceSize);
    for (std::size_t i = 0; i < report.candidates.size(); ++i) {
        nlohmann::json entry = scoresJson(report.candidates[i]);
        std::string name = candidates[i].name;
        recipe::RecipeSize size;
        if (i < replacements.size()) {
            entry["recipe"] = candidates[i].name;
            entry["canonical"] = canonicalText(recipes[i]);
            entry["rules"] = recipe::recipeToJson(recipes[i])["rules"];
            size = replacements[i]->size();
        } else {
            const Storage own = storageOf(*workspace.model);
            name = workspace.model->spec().name + (own.isFloat ? ", float" : ", as stored")
                + (own.types.empty() ? "" : " (" + own.types + ")");
            entry["storage"] = own.types;
            size = recipe::checkpointSize(*workspace.model);
        }
        entry["model"] = options.model;
        entry["model_id"] = workspace.model->id();
        addSize(entry, size);
        row(name, report.candidates[i], size);
        results.push_back(std::move(entry));
    }
    // The first candidate's keys stand at the top as well, so that a script with one recipe needs no index.
    outcome.json = results.empty() ? referenceJson : results.front();
    outcome.json["protocol"] = protocol;
    outcome.json["reference"] = referenceJson;
    outcome.json["recipes"] = results;
    outcome.json["policy"] = "float";
    outcome.json["producer"] = kProducer;
    outcome.json["dump_id"]
        = workspace.calibration.dump ? nlohmann::json(workspace.calibration.dump->id()) : nlohmann::json(nullptr);
    outcome.json["seed"] = context.job().seed;

    std::vector<std::string> pieces;
    for (const auto& [key, value] : report.protocol)
        pieces.push_back(fmt::format("{} {}", key, value));
    outcome.text = table.text() + "\n" + wrapped("protocol:", pieces);
    return outcome;
}

} // namespace qs::cli
