// SPDX-License-Identifier: Apache-2.0
#include "core/recipe/pipeline.h"

#include <array>
#include <fmt/format.h>

namespace qs::recipe {
namespace {

/// Parameters that the label spells out in words; the others are shown as name=value where they differ from the method's own.
constexpr std::array<std::string_view, 5> kSpelled = {"bits", "group", "sparsity", "pattern", "a_bits"};

bool spelled(std::string_view name)
{
    for (const std::string_view known : kSpelled)
        if (known == name)
            return true;
    return false;
}

bool sameStages(const Pipeline& a, const Pipeline& b)
{
    for (std::size_t i = 0; i < a.slots.size(); ++i) {
        if (a.slots[i].size() != b.slots[i].size())
            return false;
        for (std::size_t k = 0; k < a.slots[i].size(); ++k)
            if (a.slots[i][k].id != b.slots[i][k].id)
                return false;
    }
    return true;
}

/// name=value of every parameter that differs between two pipelines of the same stages; a name shared by stages is listed once.
std::map<std::string, std::string> differences(const Pipeline& pipeline, const Pipeline& base)
{
    std::map<std::string, std::string> list;
    for (std::size_t i = 0; i < pipeline.slots.size(); ++i)
        for (std::size_t k = 0; k < pipeline.slots[i].size(); ++k)
            for (const auto& [name, value] : pipeline.slots[i][k].parameters) {
                const auto& other = base.slots[i][k].parameters;
                if (const auto it = other.find(name); it == other.end() || it->second != value)
                    list.emplace(name, formatValue(value));
            }
    return list;
}

/// Value of a parameter in the first stage that has it, as text.
std::string valueText(const Pipeline& pipeline, const std::string& name)
{
    for (const auto& slot : pipeline.slots)
        for (const StageCall& call : slot)
            if (const auto it = call.parameters.find(name); it != call.parameters.end())
                return formatValue(it->second);
    return {};
}

std::string stageNames(const Pipeline& pipeline)
{
    std::string text;
    for (const auto& slot : pipeline.slots)
        for (const StageCall& call : slot)
            text += (text.empty() ? "" : "+") + call.id;
    return text.empty() ? "float" : text;
}

} // namespace

std::string pipelineLabel(const Pipeline& pipeline, const StageRegistry& registry)
{
    std::string label = stageNames(pipeline);
    std::map<std::string, std::string> extra;
    std::size_t fewest = 0;
    bool found = false;
    for (const Method& method : registry.methods()) {
        const auto base = parseCanonical(method.pipeline, registry);
        if (!base || !sameStages(pipeline, *base))
            continue;
        auto different = differences(pipeline, *base);
        if (found && different.size() >= fewest)
            continue;
        found = true;
        fewest = different.size();
        label = method.id;
        extra = std::move(different);
    }
    if (!pipeline[Slot::Grid].empty()) {
        const std::string bits = valueText(pipeline, "bits");
        const std::string group = valueText(pipeline, "group");
        if (!bits.empty())
            label += fmt::format(" {} bit", bits);
        if (!group.empty() && group != "auto") // each layer resolves "auto" for itself
            label += group == "-1" ? " row" : group == "tensor" ? " tensor" : " g" + group;
    }
    if (!pipeline[Slot::Pruner].empty()) {
        const std::string pattern = valueText(pipeline, "pattern");
        if (!pattern.empty() && pattern != "free")
            label += " " + pattern;
        else if (const auto& parameters = pipeline[Slot::Pruner].front().parameters; parameters.contains("sparsity"))
            label += fmt::format(" {:.4g} %", 100.0 * realValue(parameters, "sparsity"));
    }
    if (const std::string bits = valueText(pipeline, "a_bits"); !bits.empty() && !pipeline[Slot::ActivationGrid].empty())
        label += " a" + bits;
    for (const auto& [name, value] : extra)
        if (!spelled(name))
            label += fmt::format(" {}={}", name, value);
    return label;
}

} // namespace qs::recipe
