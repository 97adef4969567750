// SPDX-License-Identifier: Apache-2.0
#include "core/recipe/recipe.h"

#include "core/base/pattern.h"
#include "core/io/json_text.h"
#include "core/recipe/json_fields.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace qs::recipe {
namespace {

constexpr const char* kKind = "quantscope-recipe";

/// The same error, told as one about a field of a file.
tl::unexpected<Error> inField(Error error, std::string_view where, std::string_view field)
{
    error.where = fieldPlace(where, field) + (error.where.empty() ? "" : ", " + error.where);
    return tl::unexpected(std::move(error));
}

Expected<RecipeRule> ruleFromJson(const nlohmann::json& json, const StageRegistry& registry, const std::string& where)
{
    QS_CHECK(checkKeys(json, {"pattern", "pipeline"}, where));
    QS_TRY(pattern, textField(json, "pattern", where, false));
    if (pattern != kBlockLayers)
        if (auto compiled = Pattern::compile(pattern); !compiled)
            return inField(std::move(compiled).error(), where, "pattern");
    const auto it = json.find("pipeline");
    if (it == json.end())
        return fail(Errc::Format, "is missing", fieldPlace(where, "pipeline"));
    if (it->is_object()) {
        QS_TRY(pipeline, pipelineFromJson(*it, registry, fieldPlace(where, "pipeline")));
        return RecipeRule{std::move(pattern), std::move(pipeline)};
    }
    if (!it->is_string())
        return fail(
            Errc::Format, fmt::format("must be a text or an object, not {}", it->type_name()), fieldPlace(where, "pipeline"));
    auto pipeline = parsePipeline(it->get<std::string>(), registry);
    if (!pipeline)
        return inField(std::move(pipeline).error(), where, "pipeline");
    return RecipeRule{std::move(pattern), std::move(*pipeline)};
}

} // namespace

Expected<Recipe> recipeFromJson(const nlohmann::json& json, const StageRegistry& registry, std::string_view where)
{
    QS_CHECK(
        checkKeys(json, {"schema", "kind", "name", "policy", "target", "calibration", "rules", "producer", "model_id"}, where));
    QS_CHECK(checkSchema(json, 1, where));
    QS_TRY(kind, textField(json, "kind", where, false));
    if (kind != kKind)
        return fail(Errc::Format, fmt::format("is {}, must be {}", io::quoted(kind), kKind), fieldPlace(where, "kind"));
    Recipe recipe;
    QS_TRY(name, textField(json, "name", where, true));
    QS_TRY(policy, textField(json, "policy", where, true));
    QS_TRY(target, textField(json, "target", where, true));
    recipe.name = std::move(name);
    if (!policy.empty())
        recipe.policy = std::move(policy);
    if (!target.empty())
        recipe.target = std::move(target);
    if (recipe.policy != "float")
        return fail(Errc::Unsupported,
            fmt::format("calibration policy {} is not available; only float is", io::quoted(recipe.policy)),
            fieldPlace(where, "policy"));
    if (const auto calibration = json.find("calibration"); calibration != json.end()) {
        if (!calibration->is_object())
            return fail(Errc::Format, "must be an object of texts", fieldPlace(where, "calibration"));
        for (const auto& [key, value] : calibration->items()) {
            if (!value.is_string())
                return fail(Errc::Format, "must be a text", fieldPlace(where, "calibration." + key));
            recipe.calibration.emplace(key, value.get<std::string>());
        }
    }
    const auto rules = json.find("rules");
    if (rules == json.end() || !rules->is_array())
        return fail(Errc::Format, "must be a list of rules", fieldPlace(where, "rules"));
    for (std::size_t i = 0; i < rules->size(); ++i) {
        QS_TRY(rule, ruleFromJson((*rules)[i], registry, fieldPlace(where, fmt::format("rules[{}]", i))));
        recipe.rules.push_back(std::move(rule));
    }
    return recipe;
}

nlohmann::json recipeToJson(const Recipe& recipe)
{
    nlohmann::json rules = nlohmann::json::array();
    for (const RecipeRule& rule : recipe.rules)
        rules.push_back({{"pattern", rule.pattern}, {"pipeline", formatPipeline(rule.pipeline)}});
    nlohmann::json calibration = nlohmann::json::object();
    for (const auto& [key, value] : recipe.calibration)
        calibration[key] = value;
    return {{"schema", 1}, {"kind", kKind}, {"name", recipe.name}, {"policy", recipe.policy}, {"target", recipe.target},
        {"calibration", std::move(calibration)}, {"rules", std::move(rules)}};
}

Expected<Recipe> loadRecipe(std::string_view textOrFile, const StageRegistry& registry)
{
    if (!textOrFile.ends_with(".json")) {
        QS_TRY(pipeline, parsePipeline(textOrFile, registry));
        return uniformRecipe(pipeline);
    }
    const std::string path(textOrFile);
    QS_TRY(json, io::readJsonFile(path, std::size_t{16} << 20));
    if (!json.is_object())
        return fail(Errc::Format, "is neither a recipe nor a pipeline", path);
    if (json.contains("pipeline") && !json.contains("kind")) {
        QS_TRY(pipeline, pipelineFromJson(json, registry, path));
        return uniformRecipe(pipeline);
    }
    return recipeFromJson(json, registry, path);
}

Recipe uniformRecipe(const Pipeline& pipeline)
{
    Recipe recipe;
    recipe.rules.push_back({std::string(kBlockLayers), pipeline});
    return recipe;
}

} // namespace qs::recipe
