// SPDX-License-Identifier: Apache-2.0
#include "plugins/exporters/runtimes.h"

#include "validate.h"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace qs::plugins {
namespace {

template <class T> bool holds(const nlohmann::json& list, const T& value)
{
    return std::any_of(list.begin(), list.end(), [&](const auto& each) { return each == value; });
}

/// Why a runtime does not load it; empty when it does.
std::string refusal(const nlohmann::json& runtime, const CheckpointFacts& facts)
{
    if (!holds(runtime["reads"], facts.format)) {
        const auto advice = runtime["refuses"].find(facts.format);
        return fmt::format(
            "does not read {}{}", facts.format, advice == runtime["refuses"].end() ? "" : "; " + advice->get<std::string>());
    }
    if (facts.format != "compressed-tensors")
        return {};
    for (const int bits : facts.symmetricBits)
        if (!holds(runtime["bits"], bits))
            return fmt::format("{}-bit symmetric weights; {}", bits, runtime["widths"].get<std::string>());
    for (const int bits : facts.asymmetricBits)
        if (!holds(runtime["asymmetric_bits"], bits))
            return fmt::format("{}-bit asymmetric weights; {}", bits, runtime["widths"].get<std::string>());
    if (!runtime["groups"].empty())
        for (const Index group : facts.groups)
            if (!holds(runtime["groups"], group))
                return fmt::format("group size {} has no kernel there", group);
    if (runtime["fused_uniform"].get<bool>() && !facts.fusionUniform)
        return "layers that it fuses (q, k, v or gate, up) have different schemes";
    if (facts.activationOrder && !runtime["activation_order"].get<bool>())
        return "act-order by group (g_idx) was removed from compressed-tensors in 0.19";
    if (facts.sparsityTargets && !runtime["sparsity_config"].get<bool>())
        return "sparsity_config has targets, which it refuses";
    return {};
}

} // namespace

std::vector<recipe::RuntimeVerdict> verdicts(const CheckpointFacts& facts)
{
    static const nlohmann::json table = nlohmann::json::parse(kRuntimesJson);
    std::vector<recipe::RuntimeVerdict> list;
    for (const auto& runtime : table["runtimes"]) {
        recipe::RuntimeVerdict verdict;
        verdict.runtime = runtime["id"].get<std::string>();
        if (facts.broken) {
            verdict.loads = "no";
            verdict.why = "the checkpoint has errors";
        } else if (facts.plain) {
            verdict.loads = "no";
            verdict.why = std::string(facts.format == "gguf" ? "no general.architecture" : "no config.json")
                + ": there is no architecture to build";
        } else if (!facts.uncheckedMethod.empty()) {
            verdict.loads = "unknown";
            verdict.why = "quantization method '" + facts.uncheckedMethod + "' is not checked by this version";
        } else if (const auto unknown = runtime["unknown"].find(facts.format); unknown != runtime["unknown"].end()) {
            verdict.loads = "unknown";
            verdict.why = unknown->get<std::string>();
        } else if (const std::string why = refusal(runtime, facts); !why.empty()) {
            verdict.loads = "no";
            verdict.why = why;
        } else if (!facts.doubt.empty()) {
            verdict.loads = "unknown";
            verdict.why = facts.doubt;
        } else if (runtime["rounds_scales"].get<bool>() && !facts.roundedScales.empty()) {
            verdict.loads = "yes";
            verdict.why = facts.roundedScales;
        } else {
            verdict.loads = "yes";
            verdict.why = facts.format == "compressed-tensors" ? runtime["widths"].get<std::string>() : "reads " + facts.format;
        }
        list.push_back(std::move(verdict));
    }
    return list;
}

} // namespace qs::plugins
