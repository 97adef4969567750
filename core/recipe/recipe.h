// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/model/model_spec.h"
#include "core/recipe/pipeline.h"

namespace qs::recipe {

/// The pattern (not a valid PCRE2 expression) that means every layer of the blocks: not embeddings, not `lm_head`. In a model
/// without a config it means every layer.
inline constexpr std::string_view kBlockLayers = "*";

/// One rule: layers whose name matches the pattern (PCRE2, unanchored, or kBlockLayers) get the pipeline. The last matching
/// rule wins; an empty pipeline keeps a layer as it is.
struct RecipeRule {
    std::string pattern;
    Pipeline pipeline;
    friend bool operator==(const RecipeRule&, const RecipeRule&) = default;
};

/// The whole-model document that is edited, compared and exported.
struct Recipe {
    std::string name;
    std::vector<RecipeRule> rules;
    std::string policy = "float";
    std::map<std::string, std::string> calibration; ///< Dump id, model id, tokens: what it was made with.
    std::string target = "vllm";
    friend bool operator==(const Recipe&, const Recipe&) = default;
};

/// `{"schema": 1, "kind": "quantscope-recipe", "name", "policy", "target", "calibration": {...}, "rules": [{"pattern",
/// "pipeline"}]}`; the pipeline of a rule is canonical text (a method's name works too) or a pipeline document. Errors   Format
/// with file and field for unknown keys ("producer" and "model_id" of an exported recipe are known, and not part of it), wrong
/// types, an invalid pattern or pipeline; Unsupported for another schema or policy.
Expected<Recipe> recipeFromJson(const nlohmann::json& json, const StageRegistry& registry, std::string_view where);
nlohmann::json recipeToJson(const Recipe& recipe);
/// R on the command line: a recipe file, a pipeline file, or the text of one pipeline, which then applies to every layer of the
/// blocks.
Expected<Recipe> loadRecipe(std::string_view textOrFile, const StageRegistry& registry);
Recipe uniformRecipe(const Pipeline& pipeline);
/// Layers that a pattern means, in model order. Error InvalidArgument for an expression that PCRE2 does not compile.
Expected<std::vector<model::LayerIndex>> layersMatching(std::string_view pattern, const model::ModelSpec& spec);

/// What a recipe means for a model.
struct Assignment {
    /// Pipeline of each layer, null where the layer stays as it is; automatic values resolved.
    std::vector<std::shared_ptr<const Pipeline>> layers;
};
/// Errors   NotFound for a pattern that matches no layer (names it, and the nearest layer name); Mismatch for a fusion group or
/// a site
///          whose layers get different pipelines (names group and layers); those of resolveFor, with the layer's name. A site
///          matters where one of its layers has a transform: that is fitted and folded for all of them.
Expected<Assignment> assign(const Recipe& recipe, const model::ModelSpec& spec, const StageRegistry& registry);

} // namespace qs::recipe
