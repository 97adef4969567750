// SPDX-License-Identifier: GPL-3.0-or-later
#include "commands.h"

#include <fmt/format.h>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

namespace qs::cli {
namespace {

nlohmann::json valueJson(const recipe::ParameterValue& value)
{
    return std::visit([](const auto& v) { return nlohmann::json(v); }, value);
}

const char* typeName(recipe::ParameterType type)
{
    switch (type) {
    case recipe::ParameterType::Bool: return "bool";
    case recipe::ParameterType::Int: return "int";
    case recipe::ParameterType::Real: return "real";
    case recipe::ParameterType::Choice: return "choice";
    case recipe::ParameterType::Text: return "text";
    }
    return "text";
}

nlohmann::json parameterJson(const recipe::ParameterSpec& spec, const recipe::ParameterValue& defaultValue)
{
    const bool bounded = spec.min != spec.max;
    return {{"name", spec.name}, {"type", typeName(spec.type)}, {"default", valueJson(defaultValue)},
        {"min", bounded ? nlohmann::json(spec.min) : nlohmann::json(nullptr)},
        {"max", bounded ? nlohmann::json(spec.max) : nlohmann::json(nullptr)}, {"choices", spec.choices}, {"unit", spec.unit},
        {"help", spec.help}};
}

/// Parameters of a method: those of its stages, once each, with the values that the method's own pipeline gives them.
nlohmann::json methodParameters(const recipe::Method& method, const recipe::StageRegistry& registry)
{
    nlohmann::json list = nlohmann::json::array();
    const auto pipeline = recipe::parsePipeline(method.pipeline, registry);
    if (!pipeline)
        return list;
    std::map<std::string, bool> seen;
    for (const auto& slot : pipeline->slots)
        for (const auto& call : slot)
            for (const auto& spec : registry.stage(call.id)->info().parameters)
                if (!std::exchange(seen[spec.name], true)) {
                    const auto given = call.parameters.find(spec.name);
                    list.push_back(parameterJson(spec, given == call.parameters.end() ? spec.defaultValue : given->second));
                }
    return list;
}

} // namespace

Expected<Outcome> methods(Context& context)
{
    QS_TRY(registry, context.stages());
    Outcome outcome;
    outcome.json["methods"] = nlohmann::json::array();
    outcome.json["stages"] = nlohmann::json::array();
    std::string& text = outcome.text;
    text += "methods\n";
    for (const auto& method : registry->methods()) {
        const nlohmann::json parameters = methodParameters(method, *registry);
        outcome.json["methods"].push_back({{"id", method.id}, {"name", method.name}, {"family", method.family},
            {"summary", method.summary}, {"pipeline", method.pipeline}, {"citation", method.citation}, {"url", method.url},
            {"equations", method.equations}, {"fidelity", method.fidelity}, {"fidelity_note", method.fidelityNote},
            {"needs", method.needs}, {"parameters", parameters}});
        text += fmt::format("\n  {}: {}\n    {}\n    {} ({})\n    {}\n    pipeline: {}\n", method.id, method.name,
            method.summary, method.citation, method.url,
            method.fidelity + (method.fidelityNote.empty() ? std::string() : ": " + method.fidelityNote), method.pipeline);
    }
    text += "\nstages\n";
    for (const auto* factory : registry->stages()) {
        const recipe::StageInfo& info = factory->info();
        nlohmann::json parameters = nlohmann::json::array();
        text += fmt::format("\n  {}: {} [{}, {}]{}\n", info.id, info.title, recipe::slotName(info.slot), info.family,
            info.citation.empty() ? std::string() : "  " + info.citation);
        for (const auto& spec : info.parameters) {
            parameters.push_back(parameterJson(spec, spec.defaultValue));
            std::string range;
            if (!spec.choices.empty() && spec.type == recipe::ParameterType::Choice)
                range = fmt::format(" ({})", fmt::join(spec.choices, " | "));
            else if (spec.min != spec.max)
                range = fmt::format(" ({} to {}{})", spec.min, spec.max, spec.unit.empty() ? std::string() : " " + spec.unit);
            text += fmt::format("    {} = {}{}  {}\n", spec.name, recipe::formatValue(spec.defaultValue), range, spec.help);
        }
        outcome.json["stages"].push_back(
            {{"id", info.id}, {"title", info.title}, {"slot", recipe::slotName(info.slot)}, {"family", info.family},
                {"version", info.version}, {"citation", info.citation}, {"needs", info.needs}, {"parameters", parameters}});
    }
    return outcome;
}

} // namespace qs::cli
