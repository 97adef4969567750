// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/recipe/registry.h"

#include <array>

namespace qs::recipe {

/// One stage with explicit parameter values (only those that were given; defaults come from the declaration).
struct StageCall {
    std::string id;
    Parameters parameters;
    friend bool operator==(const StageCall&, const StageCall&) = default;
};

/// Stages in six typed slots. Grid, Pruner, Rounding and ActivationGrid hold at most one.
///
/// Canonical text: the six slots in order, separated by " | ", an empty slot is "-", several stages of a slot are joined by " +
/// ", parameters are sorted by name and all resolved: `awq(n_grid=20) | - | int(bits=4, group=128, ...) | nearest() | - | -`.
/// parse(format(p)) == p for every resolved p.
struct Pipeline {
    std::array<std::vector<StageCall>, kSlotCount> slots;

    const std::vector<StageCall>& operator[](Slot slot) const { return slots[static_cast<std::size_t>(slot)]; }
    std::vector<StageCall>& operator[](Slot slot) { return slots[static_cast<std::size_t>(slot)]; }
    bool empty() const;
    friend bool operator==(const Pipeline&, const Pipeline&) = default;
};

/// Reads a method name, `name(key=value, ...)`, or canonical text (fewer than six slots allowed: the rest is empty). Parameters
/// given to a method go to every stage of its pipeline that declares the name. Values and names are checked; every parameter is
/// filled in. Errors   InvalidArgument with the position, the name and the nearest known name.
Expected<Pipeline> parsePipeline(std::string_view text, const StageRegistry& registry);
/// The same for canonical text only: method names are not looked up.
Expected<Pipeline> parseCanonical(std::string_view text, const StageRegistry& registry);
/// The same from JSON `{"schema": 1, "pipeline": {"transform": [{"stage": ..., "parameters": {...}}], ...}}`, or from a
/// method's file, whose "pipeline" is canonical text. Errors   Format or InvalidArgument with file and field; InvalidArgument
/// for a recipe.
Expected<Pipeline> pipelineFromJson(const nlohmann::json& json, const StageRegistry& registry, std::string_view where);
nlohmann::json pipelineToJson(const Pipeline& pipeline);
/// Text of P on the command line: a path if it ends in `.json`, else parsePipeline.
Expected<Pipeline> loadPipeline(std::string_view textOrFile, const StageRegistry& registry);
/// Canonical text.
std::string formatPipeline(const Pipeline& pipeline);
/// Short label for people: "gptq 4 bit g128", the method's name when the pipeline is one, else the stage ids.
std::string pipelineLabel(const Pipeline& pipeline, const StageRegistry& registry);

/// Rules between stages: each in its own slot, at most one per single slot, a grid needs a rounding stage, rounding and
/// compensation need a grid or a pruner, and every stage accepts its combination of values. Errors name the stages. (Whether a
/// solver can choose an adaptive mask is known when the mask is: the solver says so.)
Expected<void> checkPipeline(const Pipeline& pipeline, const StageRegistry& registry);
/// Fills in every parameter, puts in `nearest` where a grid has no rounding stage, and checks the result.
Expected<Pipeline> completePipeline(Pipeline pipeline, const StageRegistry& registry);
/// Resolves automatic values ("group=auto") for a width.
Expected<Pipeline> resolveFor(const Pipeline& pipeline, const StageRegistry& registry, Index cols);
/// Union of what its stages need: "stats", "gram", "tokens".
std::vector<std::string> pipelineNeeds(const Pipeline& pipeline, const StageRegistry& registry);
/// Names of all parameters that its stages declare, sorted: what a method call may set.
std::vector<std::string> pipelineParameters(const Pipeline& pipeline, const StageRegistry& registry);

} // namespace qs::recipe
