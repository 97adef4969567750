// SPDX-License-Identifier: GPL-3.0-or-later
#include "arguments.h"

#include "core/base/pattern.h"
#include "core/io/json_text.h"

namespace qs::cli {
namespace {

constexpr std::size_t kLargestFile = std::size_t{16} << 20;

bool isFile(const std::string& given)
{
    return given.ends_with(".json");
}

/// The pipeline text of a method's file (`{"id": ..., "pipeline": "..."}`), or empty.
std::string methodText(const nlohmann::json& json)
{
    const bool method = json.is_object() && json.contains("id") && json.contains("pipeline") && json["pipeline"].is_string();
    return method ? json["pipeline"].get<std::string>() : std::string();
}

tl::unexpected<Error> inFile(Error error, const std::string& file)
{
    error.where = file + ", field pipeline" + (error.where.empty() ? std::string() : ", " + error.where);
    return tl::unexpected(std::move(error));
}

/// An error about a text that was typed: it names the option's value where it names nothing yet.
tl::unexpected<Error> typed(Context& context, Error error, const std::string& given)
{
    if (error.where.empty())
        error.where = "'" + given + "'";
    if (error.hint.empty())
        error.hint = "quantscope-cli methods lists methods, stages and parameters";
    return wrongUsage(context, std::move(error));
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
    recipe::Pipeline pipeline;
    if (isFile(given)) {
        QS_TRY(json, io::readJsonFile(given, kLargestFile));
        if (json.is_object() && json.contains("rules"))
            return fail(Errc::InvalidArgument, "is a recipe, not a pipeline", given,
                "give it to eval or export with --recipe; --pipeline takes one pipeline");
        auto loaded = methodText(json).empty() ? recipe::pipelineFromJson(json, registry, given)
                                               : recipe::parsePipeline(methodText(json), registry);
        if (!loaded)
            return methodText(json).empty() ? tl::unexpected(std::move(loaded).error())
                                            : inFile(std::move(loaded).error(), given);
        pipeline = std::move(*loaded);
    } else {
        auto parsed = recipe::parsePipeline(given, registry);
        if (!parsed)
            return typed(context, std::move(parsed).error(), given);
        pipeline = std::move(*parsed);
    }
    if (auto checked = recipe::checkPipeline(pipeline, registry); !checked)
        return typed(context, std::move(checked).error(), given);
    if (!hasDump)
        for (const auto& need : recipe::pipelineNeeds(pipeline, registry))
            return wrongUsage(context,
                {Errc::InvalidArgument, "needs calibration (" + need + ")", given,
                    "give --dump DUMP.h5; quantscope-cli capture writes one"});
    return pipeline;
}

Expected<recipe::Recipe> recipeArgument(Context& context, const std::string& given, const recipe::StageRegistry& registry)
{
    if (isFile(given)) {
        QS_TRY(json, io::readJsonFile(given, kLargestFile));
        if (json.is_object() && json.contains("rules"))
            return recipe::recipeFromJson(json, registry, given);
        if (const std::string text = methodText(json); !text.empty()) {
            auto pipeline = recipe::parsePipeline(text, registry);
            if (!pipeline)
                return inFile(std::move(pipeline).error(), given);
            return recipe::uniformRecipe(*pipeline);
        }
        return recipe::loadRecipe(given, registry);
    }
    auto recipe = recipe::loadRecipe(given, registry);
    if (!recipe)
        return typed(context, std::move(recipe).error(), given);
    return std::move(*recipe);
}

Expected<recipe::Assignment> assignmentOf(Context& context, const std::string& given, const recipe::Recipe& recipe,
    const model::ModelSpec& spec, const recipe::StageRegistry& registry, bool hasDump)
{
    auto assignment = recipe::assign(recipe, spec, registry);
    if (!assignment) {
        Error error = std::move(assignment).error();
        error.where = given + (error.where.empty() || error.where == "recipe" ? std::string() : ", " + error.where);
        return tl::unexpected(std::move(error));
    }
    if (!hasDump)
        for (const auto& pipeline : assignment->layers)
            if (pipeline)
                for (const auto& need : recipe::pipelineNeeds(*pipeline, registry))
                    return wrongUsage(context,
                        {Errc::InvalidArgument, "needs calibration (" + need + ")", given,
                            "give --dump DUMP.h5; quantscope-cli capture writes one"});
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
