// SPDX-License-Identifier: GPL-3.0-or-later
#include "arguments.h"

#include "core/base/pattern.h"

namespace qs::cli {
namespace {

bool isFile(const std::string& given)
{
    return given.ends_with(".json");
}

/// An error about a text that was typed: it names the option's value where it names nothing yet.
tl::unexpected<Error> typed(Context& context, Error error, const std::string& given)
{
    if (error.where.find(given) == std::string::npos) // with several of them, which one
        error.where = "'" + given + "'" + (error.where.empty() ? std::string() : ", " + error.where);
    if (error.hint.empty())
        error.hint = "quantscope-cli methods lists methods, stages and parameters";
    return wrongUsage(context, std::move(error));
}

/// Wrong usage where the pipeline needs what only a dump gives.
Expected<void> checkNeeds(
    Context& context, const recipe::Pipeline& pipeline, const std::string& given, const recipe::StageRegistry& registry)
{
    for (const auto& need : recipe::pipelineNeeds(pipeline, registry))
        return wrongUsage(context,
            {Errc::InvalidArgument, "needs calibration (" + need + ")", given,
                "give --dump DUMP.h5; quantscope-cli capture writes one"});
    return {};
}

} // namespace

tl::unexpected<Error> wrongUsage(Context& context, Error error)
{
    context.markWrongUsage();
    return tl::unexpected(std::move(error));
}

Expected<recipe::Pipeline> pipelineArgument(
    Context& context, const std::string& given, const recipe::StageRegistry& registry, bool hasDump)
{
    auto loaded = recipe::loadPipeline(given, registry);
    if (!loaded)
        return isFile(given) ? tl::unexpected(std::move(loaded).error()) : typed(context, std::move(loaded).error(), given);
    recipe::Pipeline pipeline = std::move(*loaded);
    if (auto checked = recipe::checkPipeline(pipeline, registry); !checked)
        return typed(context, std::move(checked).error(), given);
    if (!hasDump)
        QS_CHECK(checkNeeds(context, pipeline, given, registry));
    return pipeline;
}

Expected<recipe::Recipe> recipeArgument(Context& context, const std::string& given, const recipe::StageRegistry& registry)
{
    auto recipe = recipe::loadRecipe(given, registry);
    if (!recipe)
        return isFile(given) ? tl::unexpected(std::move(recipe).error()) : typed(context, std::move(recipe).error(), given);
    return std::move(*recipe);
}

Expected<recipe::Assignment> assignmentOf(Context& context, const std::string& given, const recipe::Recipe& recipe,
    const model::ModelSpec& spec, const recipe::StageRegistry& registry, bool hasDump)
{
    // A shape that contradicts the config would otherwise be told as a recipe that splits a group.
    for (const auto& problem : spec.problems)
        if (problem.severity == "error")
            return fail(Errc::Mismatch, problem.message, problem.where, "correct config.json, or fetch the missing tensors");
    auto assignment = recipe::assign(recipe, spec, registry);
    if (!assignment) {
        Error error = std::move(assignment).error();
        error.where = given + (error.where.empty() || error.where == "recipe" ? std::string() : ", " + error.where);
        return tl::unexpected(std::move(error));
    }
    if (!hasDump)
        for (const auto& pipeline : assignment->layers)
            if (pipeline)
                QS_CHECK(checkNeeds(context, *pipeline, given, registry));
    return std::move(*assignment);
}

Expected<void> checkLayersOption(Context& context, const std::string& pattern)
{
    if (pattern.empty())
        return {};
    if (auto compiled = Pattern::compile(pattern); !compiled) {
        Error error = std::move(compiled).error();
        error.where = "--layers '" + pattern + "'";
        return wrongUsage(context, std::move(error));
    }
    return {};
}

tl::unexpected<Error> inOptions(Context& context, Error error, const std::string& textFile)
{
    if (error.where == "text") {
        error.where = textFile;
        return tl::unexpected(std::move(error));
    }
    if (error.code == Errc::InvalidArgument && (error.where == "sequence length" || error.where == "tokens")) {
        error.where = error.where == "tokens" ? "--max-tokens" : "--seq-len";
        if (error.hint.empty())
            error.hint = "leave it out for the default, or choose another number";
        return wrongUsage(context, std::move(error));
    }
    return tl::unexpected(std::move(error));
}

} // namespace qs::cli
