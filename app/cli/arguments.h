// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "context.h"

#include "core/recipe/recipe.h"

namespace qs::cli {

/// P of the command line, checked: text of a pipeline, a pipeline file, or a method's file. A mistake in the text is wrong
/// usage; a broken file is not. Without a dump, a pipeline that needs calibration is wrong usage too.
Expected<recipe::Pipeline> pipelineArgument(
    Context& context, const std::string& given, const recipe::StageRegistry& registry, bool hasDump);

/// R of the command line: a recipe file, or whatever is a P, which then applies to every layer of the blocks.
Expected<recipe::Recipe> recipeArgument(Context& context, const std::string& given, const recipe::StageRegistry& registry);
/// The layers' pipelines. Without a dump, one that needs calibration is wrong usage.
Expected<recipe::Assignment> assignmentOf(Context& context, const std::string& given, const recipe::Recipe& recipe,
    const model::ModelSpec& spec, const recipe::StageRegistry& registry, bool hasDump);

/// Whether the pattern compiles; wrong usage of --layers when it does not.
Expected<void> checkLayersOption(Context& context, const std::string& pattern);

/// An error of the engine told in terms of the command line: lengths and counts name their option and are wrong usage, the text
/// names its file.
tl::unexpected<Error> inOptions(Context& context, Error error, const std::string& textFile);

/// Wrong usage: the same error, and exit code 2.
tl::unexpected<Error> wrongUsage(Context& context, Error error);

} // namespace qs::cli
