// SPDX-License-Identifier: Apache-2.0
#include "scheme.h"

#include "core/quant/uniform_grid.h"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <set>

namespace qs::plugins {
namespace {

using recipe::Finding;
using recipe::Slot;

const recipe::StageCall* gridCall(const recipe::Pipeline& pipeline)
{
    for (const auto& call : pipeline[Slot::Grid])
        if (call.id == "int")
            return &call;
    return nullptr;
}

std::string escapeForRegex(const std::string& text)
{
    std::string out;
    for (const char c : text) {
        if (c == '.')
            out += "\\";
        out += c;
    }
    return out;
}

} // namespace

Expected<std::optional<WeightScheme>> weightScheme(const recipe::Pipeline& pipeline, Index cols)
{
    if (pipeline[Slot::Grid].empty())
        return std::optional<WeightScheme>();
    const recipe::StageCall* call = gridCall(pipeline);
    if (!call)
        return fail(
            Errc::Unsupported, "grid '" + pipeline[Slot::Grid].front().id + "' cannot be written as integers with scales");
    WeightScheme scheme;
    scheme.bits = static_cast<int>(recipe::intValue(call->parameters, "bits"));
    const auto id = quant::gridFromName(recipe::textValue(call->parameters, "grid"));
    if (!id || *id == quant::GridId::AsymRealZero)
        return fail(Errc::Unsupported,
            "grid '" + recipe::textValue(call->parameters, "grid") + "' has real zero points, which no runtime loads");
    scheme.symmetric = !recipe::storesZeroPoints(*id);
    const Index asked = recipe::groupValue(call->parameters, "group");
    QS_TRY(group, quant::resolveGroup(asked, cols));
    scheme.group = group == cols ? 0 : group;
    scheme.wholeTensor = asked == quant::kWholeTensor;
    for (const auto& stage : pipeline[Slot::Rounding])
        if (const auto order = stage.parameters.find("actorder"); order != stage.parameters.end())
            scheme.activationOrder = scheme.group != 0 && std::get<std::string>(order->second) == "group";
    scheme.scaleType = "torch." + recipe::textValue(call->parameters, "scale_dtype");
    return std::optional<WeightScheme>(scheme);
}

nlohmann::json schemeJson(const WeightScheme& scheme)
{
    nlohmann::json json = {{"num_bits", scheme.bits}, {"type", "int"}, {"symmetric", scheme.symmetric},
        {"strategy", scheme.group ? "group" : "channel"}, {"dynamic", false}, {"actorder", nullptr},
        {"observer", "memoryless_minmax"}, {"observer_kwargs", nlohmann::json::object()}, {"block_structure", nullptr},
        {"scale_dtype", scheme.scaleType},
        {"group_size", scheme.group ? nlohmann::json(scheme.group) : nlohmann::json(nullptr)},
        {"zp_dtype", scheme.symmetric ? nlohmann::json(nullptr) : nlohmann::json("torch.int8")}};
    if (scheme.activationOrder)
        json["actorder"] = "group";
    return json;
}

bool SchemeMap::uniform(const model::ModelSpec& spec) const
{
    return groups.size() == 1 && ignored.empty() && groups.begin()->second.size() == spec.layers.size();
}

Expected<SchemeMap> schemeMap(const recipe::ExportInput& input)
{
    const auto& spec = input.runner->model().spec();
    SchemeMap map;
    for (std::size_t i = 0; i < spec.layers.size(); ++i) {
        const auto index = static_cast<model::LayerIndex>(i);
        std::optional<WeightScheme> scheme;
        if (input.assignment.layers[i]) {
            auto found = weightScheme(*input.assignment.layers[i], spec.layers[i].in);
            if (!found) {
                Error error = found.error();
                error.where = spec.layers[i].name;
                return tl::unexpected(std::move(error));
            }
            scheme = *found;
        }
        if (scheme)
            map.groups[*scheme].push_back(index);
        else
            map.ignored.push_back(index);
    }
    return map;
}

std::vector<std::string> targetsOf(const std::vector<model::LayerIndex>& layers, const model::ModelSpec& spec, bool all)
{
    if (all)
        return {"Linear"};
    const std::set<model::LayerIndex> wanted(layers.begin(), layers.end());
    std::map<std::string, std::vector<model::LayerIndex>> byModule;
    for (std::size_t i = 0; i < spec.layers.size(); ++i)
        byModule[spec.layers[i].module].push_back(static_cast<model::LayerIndex>(i));
    std::vector<std::string> targets;
    std::set<model::LayerIndex> covered;
    for (const auto& [module, members] : byModule)
        if (spec.family == model::Family::Llama && members.size() > 1
            && std::all_of(members.begin(), members.end(), [&](model::LayerIndex i) { return wanted.contains(i); })) {
            targets.push_back("re:.*\\." + escapeForRegex(module) + "$");
            covered.insert(members.begin(), members.end());
        }
    for (const model::LayerIndex index : layers)
        if (!covered.contains(index))
            targets.push_back(spec.layers[static_cast<std::size_t>(index)].name);
    return targets;
}

std::string layersText(std::size_t count)
{
    return fmt::format("{} layer{}", count, count == 1 ? "" : "s");
}

std::vector<Finding> lintModel(const model::ModelSpec& spec)
{
    std::vector<Finding> findings;
    for (const auto& problem : spec.problems)
        if (problem.severity == "error")
            findings.push_back({"config-tensors-agree", "error", problem.where, problem.message,
                "correct config.json, or fetch the missing tensors"});
    return findings;
}

std::vector<Finding> lintSchemes(const recipe::ExportInput& input)
{
    const auto& spec = input.runner->model().spec();
    std::vector<Finding> findings;
    std::set<int> oddWidths;
    bool pruned = false;
    bool ordered = false;
    std::vector<std::optional<WeightScheme>> schemes(spec.layers.size());
    for (std::size_t i = 0; i < spec.layers.size(); ++i) {
        const auto& pipeline = input.assignment.layers[i];
        if (!pipeline)
            continue;
        auto scheme = weightScheme(*pipeline, spec.layers[i].in);
        if (!scheme) {
            const bool group = scheme.error().code == Errc::InvalidArgument;
            findings.push_back(
                {group ? "group-divides" : "grid-expressible", "error", spec.layers[i].name, scheme.error().message});
            continue;
        }
        schemes[i] = *scheme;
        if (*scheme && (*scheme)->bits != 4 && (*scheme)->bits != 8)
            oddWidths.insert((*scheme)->bits);
        ordered = ordered || (*scheme && (*scheme)->activationOrder);
        pruned = pruned || !(*pipeline)[Slot::Pruner].empty();
        if (!(*pipeline)[Slot::ActivationGrid].empty())
            findings.push_back({"activation-grid", "error", spec.layers[i].name,
                "quantizes activations, but pack-quantized checkpoints hold weights only; drop the activation grid or export "
                "the recipe instead"});
        if (!(*pipeline)[Slot::Compensator].empty())
            findings.push_back(
                {"compensator", "error", spec.layers[i].name, "has a compensation stage, which this format does not store"});
    }
    for (const auto& group : spec.fusionGroups) {
        for (const model::LayerIndex index : group.layers)
            if (schemes[static_cast<std::size_t>(index)] != schemes[static_cast<std::size_t>(group.layers.front())])
                findings.push_back({"fusion-uniform", "error", group.name,
                    fmt::format("{} and {} have different schemes; vLLM fuses them into one matrix",
                        spec.layers[static_cast<std::size_t>(group.layers.front())].name,
                        spec.layers[static_cast<std::size_t>(index)].name)});
    }
    for (const int bits : oddWidths) {
        const bool fillsWords = 32 % bits == 0; // the same bits in either layout
        findings.push_back({fillsWords ? "runtime-width" : "dense-stream-width", "warning", "bits",
            fmt::format("{}-bit codes{}", bits,
                fillsWords ? ": vLLM loads 4 and 8 bits only without an extra kernel"
                           : " use the dense stream of compressed-tensors 0.18 and later; older readers decode them wrongly, "
                             "and vLLM loads 4 and 8 bits only without an extra kernel")});
    }
    if (ordered)
        findings.push_back({"act-order-removed", "warning", "actorder",
            "act-order by group was removed in compressed-tensors 0.19 and llm-compressor 0.14, which refuse it; "
            "actorder=static "
            "loads everywhere"});
    if (pruned)
        findings.push_back(
            {"sparsity-dense", "info", "sparsity", "zeros are stored densely: no runtime loads sparse checkpoints any more"});
    if (std::none_of(schemes.begin(), schemes.end(), [](const auto& s) { return s.has_value(); }))
        findings.push_back(
            {"nothing-quantized", "warning", "recipe", "no layer is quantized: the checkpoint is written dense"});
    return findings;
}

} // namespace qs::plugins
