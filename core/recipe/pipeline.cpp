// SPDX-License-Identifier: Apache-2.0
#include "core/recipe/pipeline.h"

#include "core/io/json_text.h"
#include "core/recipe/json_fields.h"
#include "core/recipe/names.h"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace qs::recipe {
namespace {

constexpr const char* kDefaultRounding = "nearest";

bool single(Slot slot)
{
    return slot != Slot::Transform && slot != Slot::Compensator;
}

Expected<Slot> slotFromName(const std::string& name, std::string_view where)
{
    std::vector<std::string> known;
    for (int i = 0; i < kSlotCount; ++i) {
        known.emplace_back(slotName(static_cast<Slot>(i)));
        if (known.back() == name)
            return static_cast<Slot>(i);
    }
    return fail(Errc::Format, fmt::format("there is no slot {}; the slots are {}", io::quoted(name), joinNames(known)),
        std::string(where), didYouMean(name, known));
}

nlohmann::json valueToJson(const ParameterValue& value)
{
    return std::visit([](const auto& v) { return nlohmann::json(v); }, value);
}

Expected<ParameterValue> valueFromJson(const nlohmann::json& json, const std::string& where)
{
    if (json.is_boolean())
        return ParameterValue(json.get<bool>());
    if (json.is_number_unsigned() && json.get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX))
        return fail(Errc::Format, "is too large a number", where);
    if (json.is_number_integer())
        return ParameterValue(json.get<std::int64_t>());
    if (json.is_number_float())
        return ParameterValue(json.get<double>());
    if (json.is_string())
        return ParameterValue(json.get<std::string>());
    return fail(Errc::Format, fmt::format("must be a number, a text or a truth value, not {}", json.type_name()), where);
}

std::string formatCall(const StageCall& call)
{
    std::string text = call.id + "(";
    const char* separator = "";
    for (const auto& [name, value] : call.parameters) { // a map: sorted by name
        text += separator + name + "=" + formatValue(value);
        separator = ", ";
    }
    return text + ")";
}

const StageCall* onlyCall(const Pipeline& pipeline, Slot slot)
{
    return pipeline[slot].empty() ? nullptr : &pipeline[slot].front();
}

Expected<Parameters> resolveCall(const StageCall& call, const StageRegistry& registry)
{
    const StageFactory* factory = registry.stage(call.id);
    if (!factory)
        return fail(
            Errc::NotFound, fmt::format("there is no stage '{}'", call.id), {}, "the plugin that brings it is not loaded");
    return resolve(factory->info().parameters, call.parameters, call.id);
}

} // namespace

bool Pipeline::empty() const
{
    return std::all_of(slots.begin(), slots.end(), [](const auto& slot) { return slot.empty(); });
}

std::string formatPipeline(const Pipeline& pipeline)
{
    std::string text;
    for (std::size_t i = 0; i < pipeline.slots.size(); ++i) {
        if (i > 0)
            text += " | ";
        if (pipeline.slots[i].empty())
            text += "-";
        for (std::size_t k = 0; k < pipeline.slots[i].size(); ++k)
            text += (k > 0 ? " + " : "") + formatCall(pipeline.slots[i][k]);
    }
    return text;
}

nlohmann::json pipelineToJson(const Pipeline& pipeline)
{
    nlohmann::json slots = nlohmann::json::object();
    for (std::size_t i = 0; i < pipeline.slots.size(); ++i) {
        nlohmann::json calls = nlohmann::json::array();
        for (const StageCall& call : pipeline.slots[i]) {
            nlohmann::json parameters = nlohmann::json::object();
            for (const auto& [name, value] : call.parameters)
                parameters[name] = valueToJson(value);
            calls.push_back({{"stage", call.id}, {"parameters", std::move(parameters)}});
        }
        slots[slotName(static_cast<Slot>(i))] = std::move(calls);
    }
    return {{"schema", 1}, {"pipeline", std::move(slots)}};
}

Expected<Pipeline> pipelineFromJson(const nlohmann::json& json, const StageRegistry& registry, std::string_view where)
{
    const std::string place = fieldPlace(where, "pipeline");
    if (json.is_object() && json.contains("rules"))
        return fail(Errc::InvalidArgument, "is a recipe, not a pipeline", std::string(where),
            "a pipeline is one set of stages; give a recipe to eval or export, or open it with a model");
    if (json.is_object() && json.contains("id") && json.contains("pipeline") && json["pipeline"].is_string()) {
        QS_CHECK(checkSchema(json, 1, where));
        auto pipeline = parsePipeline(json["pipeline"].get<std::string>(), registry);
        if (!pipeline) {
            Error failed = std::move(pipeline).error();
            failed.where = failed.where.empty() ? place : place + ", " + failed.where;
            return tl::unexpected(std::move(failed));
        }
        return pipeline;
    }
    QS_CHECK(checkKeys(json, {"schema", "pipeline"}, where));
    QS_CHECK(checkSchema(json, 1, where));
    const auto slots = json.find("pipeline");
    if (slots == json.end() || !slots->is_object())
        return fail(Errc::Format, "must be an object of slots", place);
    Pipeline pipeline;
    for (const auto& [name, calls] : slots->items()) {
        QS_TRY(slot, slotFromName(name, place));
        if (!calls.is_array())
            return fail(Errc::Format, "must be a list of stages", place + "." + name);
        for (std::size_t i = 0; i < calls.size(); ++i) {
            const std::string at = fmt::format("{}.{}[{}]", place, name, i);
            QS_CHECK(checkKeys(calls[i], {"stage", "parameters"}, at));
            QS_TRY(id, textField(calls[i], "stage", at, false));
            StageCall call{id, {}};
            if (const auto parameters = calls[i].find("parameters"); parameters != calls[i].end()) {
                if (!parameters->is_object())
                    return fail(Errc::Format, "must be an object", at + ".parameters");
                for (const auto& [key, value] : parameters->items()) {
                    QS_TRY(read, valueFromJson(value, at + ".parameters." + key));
                    call.parameters.emplace(key, std::move(read));
                }
            }
            const StageFactory* factory = registry.stage(id);
            if (!factory) {
                std::vector<std::string> known;
                for (const StageFactory* stage : registry.stages())
                    if (stage->info().slot == slot)
                        known.push_back(stage->info().id);
                return fail(Errc::InvalidArgument, fmt::format("there is no stage {}", io::quoted(id)), at,
                    didYouMean(
                        id, known, fmt::format("the {} stages are: {}", name, known.empty() ? "none" : joinNames(known))));
            }
            QS_CHECK(resolve(factory->info().parameters, call.parameters, at));
            pipeline[slot].push_back(std::move(call));
        }
    }
    auto complete = completePipeline(std::move(pipeline), registry);
    if (!complete) {
        Error failed = std::move(complete).error();
        failed.where = failed.where.empty() ? place : place + ", " + failed.where;
        return tl::unexpected(std::move(failed));
    }
    return complete;
}

Expected<Pipeline> loadPipeline(std::string_view textOrFile, const StageRegistry& registry)
{
    if (!textOrFile.ends_with(".json"))
        return parsePipeline(textOrFile, registry);
    const std::string path(textOrFile);
    QS_TRY(json, io::readJsonFile(path, std::size_t{1} << 20));
    return pipelineFromJson(json, registry, path);
}

Expected<void> checkPipeline(const Pipeline& pipeline, const StageRegistry& registry)
{
    for (int i = 0; i < kSlotCount; ++i) {
        const auto slot = static_cast<Slot>(i);
        const auto& calls = pipeline[slot];
        if (single(slot) && calls.size() > 1)
            return fail(Errc::InvalidArgument,
                fmt::format("the {} slot takes one stage, not '{}' and '{}'", slotName(slot), calls[0].id, calls[1].id));
        for (const StageCall& call : calls) {
            QS_TRY(parameters, resolveCall(call, registry));
            const StageFactory* factory = registry.stage(call.id);
            if (factory->info().slot != slot)
                return fail(Errc::InvalidArgument,
                    fmt::format("stage '{}' is a {} stage and cannot stand in the {} slot", call.id,
                        slotName(factory->info().slot), slotName(slot)));
            if (auto made = factory->create(parameters); !made) {
                Error failed = std::move(made).error();
                if (!failed.where.starts_with(call.id))
                    failed.where = failed.where.empty() ? call.id : call.id + ": " + failed.where;
                return tl::unexpected(std::move(failed));
            }
        }
    }
    const StageCall* pruner = onlyCall(pipeline, Slot::Pruner);
    const StageCall* grid = onlyCall(pipeline, Slot::Grid);
    const StageCall* rounding = onlyCall(pipeline, Slot::Rounding);
    const StageCall* compensator = onlyCall(pipeline, Slot::Compensator);
    if (grid && !rounding)
        return fail(Errc::InvalidArgument, fmt::format("grid '{}' needs a rounding stage", grid->id), {},
            "put 'nearest' into the rounding slot");
    if (rounding && !grid && !pruner)
        return fail(Errc::InvalidArgument, fmt::format("rounding stage '{}' needs a grid or a pruner", rounding->id), {},
            "put 'int' into the grid slot");
    if (compensator && !grid && !pruner)
        return fail(Errc::InvalidArgument, fmt::format("compensator '{}' needs a grid or a pruner before it", compensator->id));
    return {};
}

Expected<Pipeline> completePipeline(Pipeline pipeline, const StageRegistry& registry)
{
    if (!pipeline[Slot::Grid].empty() && pipeline[Slot::Rounding].empty() && registry.stage(kDefaultRounding))
        pipeline[Slot::Rounding].push_back({kDefaultRounding, {}});
    for (auto& slot : pipeline.slots)
        for (StageCall& call : slot) {
            QS_TRY(parameters, resolveCall(call, registry));
            call.parameters = std::move(parameters);
        }
    QS_CHECK(checkPipeline(pipeline, registry));
    return pipeline;
}

Expected<Pipeline> resolveFor(const Pipeline& pipeline, const StageRegistry& registry, Index cols)
{
    QS_TRY(resolved, completePipeline(pipeline, registry));
    for (StageCall& call : resolved[Slot::Grid]) {
        const StageFactory* factory = registry.stage(call.id);
        QS_TRY(instance, factory->create(call.parameters));
        if (!instance.grid)
            return fail(Errc::Internal, fmt::format("stage '{}' is no grid, though its slot says so", call.id));
        QS_TRY(parameters, instance.grid->resolved(cols));
        QS_TRY(checked, resolve(factory->info().parameters, parameters, call.id));
        call.parameters = std::move(checked);
    }
    return std::move(resolved);
}

std::vector<std::string> pipelineNeeds(const Pipeline& pipeline, const StageRegistry& registry)
{
    std::vector<std::string> needs;
    for (const auto& slot : pipeline.slots)
        for (const StageCall& call : slot)
            if (const StageFactory* stage = registry.stage(call.id))
                needs.insert(needs.end(), stage->info().needs.begin(), stage->info().needs.end());
    std::sort(needs.begin(), needs.end());
    needs.erase(std::unique(needs.begin(), needs.end()), needs.end());
    return needs;
}

} // namespace qs::recipe
