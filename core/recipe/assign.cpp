// SPDX-License-Identifier: Apache-2.0
#include "core/base/pattern.h"
#include "core/recipe/names.h"
#include "core/recipe/recipe.h"

#include <algorithm>
#include <fmt/format.h>

namespace qs::recipe {
namespace {

std::vector<std::string> layerNames(const model::ModelSpec& spec)
{
    std::vector<std::string> names;
    for (const model::LayerSpec& layer : spec.layers)
        names.push_back(layer.name);
    return names;
}

/// A pattern without what is only punctuation of an expression, for finding the layer that was probably meant.
std::string plainText(std::string_view pattern)
{
    std::string text;
    for (const char c : pattern)
        if (c != '\\' && c != '^' && c != '$' && c != '(' && c != ')')
            text += c;
    return text;
}

std::string describe(const std::shared_ptr<const Pipeline>& pipeline, const StageRegistry& registry)
{
    return pipeline ? fmt::format("'{}'", pipelineLabel(*pipeline, registry)) : std::string("nothing");
}

bool samePipeline(const std::shared_ptr<const Pipeline>& a, const std::shared_ptr<const Pipeline>& b)
{
    return a == b || (a && b && *a == *b);
}

bool hasTransform(const std::shared_ptr<const Pipeline>& pipeline)
{
    return pipeline && !(*pipeline)[Slot::Transform].empty();
}

/// All layers of a set get the same, or a Mismatch that names two of them.
Expected<void> checkUniform(const Assignment& assignment, const std::vector<model::LayerIndex>& layers,
    const model::ModelSpec& spec, const StageRegistry& registry, const std::string& what, const std::string& hint)
{
    for (const model::LayerIndex layer : layers) {
        const auto& first = assignment.layers[static_cast<std::size_t>(layers.front())];
        const auto& other = assignment.layers[static_cast<std::size_t>(layer)];
        if (samePipeline(first, other))
            continue;
        return fail(Errc::Mismatch,
            fmt::format("the recipe splits {}: {} gets {}, {} gets {}", what,
                spec.layers[static_cast<std::size_t>(layers.front())].name, describe(first, registry),
                spec.layers[static_cast<std::size_t>(layer)].name, describe(other, registry)),
            spec.layers[static_cast<std::size_t>(layer)].name, hint);
    }
    return {};
}

std::string siteName(const model::SiteSpec& site, const model::ModelSpec& spec)
{
    std::vector<std::string> consumers;
    for (const model::LayerIndex layer : site.consumers)
        consumers.push_back(spec.layers[static_cast<std::size_t>(layer)].name);
    return "the common input of " + joinNames(consumers, 4);
}

/// What to do about a pattern that matches no layer.
std::string whyNoLayer(const std::string& pattern, const model::ModelSpec& spec)
{
    const std::string plain = plainText(pattern);
    if (plain.find("embed") != std::string::npos || plain.find("lm_head") != std::string::npos)
        return "this version compresses the linear layers of the blocks, not embeddings or lm_head";
    const std::string near = nearestName(plain, layerNames(spec));
    return near.empty() ? "the model has no layers" : fmt::format("the nearest layer is '{}'", near);
}

} // namespace

Expected<std::vector<model::LayerIndex>> layersMatching(std::string_view pattern, const model::ModelSpec& spec)
{
    std::vector<model::LayerIndex> matched;
    if (pattern == kBlockLayers) {
        for (std::size_t i = 0; i < spec.layers.size(); ++i)
            if (spec.inBlocks(spec.layers[i]))
                matched.push_back(static_cast<model::LayerIndex>(i));
        return matched;
    }
    QS_TRY(expression, Pattern::compile(pattern));
    for (std::size_t i = 0; i < spec.layers.size(); ++i)
        if (expression.matches(spec.layers[i].name))
            matched.push_back(static_cast<model::LayerIndex>(i));
    return matched;
}

Expected<Assignment> assign(const Recipe& recipe, const model::ModelSpec& spec, const StageRegistry& registry)
{
    std::vector<const RecipeRule*> ruleOf(spec.layers.size(), nullptr);
    for (const RecipeRule& rule : recipe.rules) {
        QS_TRY(matched, layersMatching(rule.pattern, spec));
        if (matched.empty()) {
            return fail(Errc::NotFound, fmt::format("the pattern '{}' matches no layer", rule.pattern), "recipe",
                whyNoLayer(rule.pattern, spec));
        }
        for (const model::LayerIndex layer : matched)
            ruleOf[static_cast<std::size_t>(layer)] = &rule;
    }

    Assignment assignment;
    assignment.layers.resize(spec.layers.size());
    std::map<std::pair<const RecipeRule*, Index>, std::shared_ptr<const Pipeline>> resolved;
    for (std::size_t i = 0; i < spec.layers.size(); ++i) {
        const RecipeRule* rule = ruleOf[i];
        if (!rule || rule->pipeline.empty())
            continue;
        auto& pipeline = resolved[{rule, spec.layers[i].in}];
        if (!pipeline) {
            auto made = resolveFor(rule->pipeline, registry, spec.layers[i].in);
            if (!made) {
                Error failed = std::move(made).error();
                failed.where = spec.layers[i].name + (failed.where.empty() ? "" : ", " + failed.where);
                return tl::unexpected(std::move(failed));
            }
            pipeline = std::make_shared<const Pipeline>(std::move(*made));
        }
        assignment.layers[i] = pipeline;
    }

    for (const model::FusionGroup& group : spec.fusionGroups)
        QS_CHECK(checkUniform(assignment, group.layers, spec, registry, "fusion group " + group.name,
            "runtimes fuse these layers into one matrix: give them one pipeline"));
    for (const model::SiteSpec& site : spec.sites) {
        const bool transformed = std::any_of(site.consumers.begin(), site.consumers.end(),
            [&](model::LayerIndex layer) { return hasTransform(assignment.layers[static_cast<std::size_t>(layer)]); });
        if (transformed)
            QS_CHECK(checkUniform(assignment, site.consumers, spec, registry, siteName(site, spec),
                "a transform acts on the input that these layers share: give them one pipeline"));
    }
    return assignment;
}

} // namespace qs::recipe
