// SPDX-License-Identifier: Apache-2.0
#include "validate.h"

#include "core/base/atomic_file.h"

#include <algorithm>
#include <fmt/format.h>
#include <map>
#include <nlohmann/json.hpp>
#include <yaml-cpp/yaml.h>

namespace qs::plugins {
namespace {

using recipe::Finding;

/// Arguments of the modifiers that recipes of this kind use; every other one is refused by llm-compressor (its models forbid
/// extras).
const std::map<std::string, std::set<std::string>>& modifierArguments()
{
    static const std::set<std::string> base = {"index", "group", "start", "end", "update"};
    static const std::set<std::string> quantization = {"config_groups", "scheme", "targets", "ignore", "kv_cache_scheme",
        "weight_observer", "input_observer", "output_observer", "observer", "bypass_divisibility_checks"};
    static const auto with = [](std::set<std::string> a, const std::set<std::string>& b) {
        a.insert(b.begin(), b.end());
        a.insert(base.begin(), base.end());
        return a;
    };
    static const std::map<std::string, std::set<std::string>> table = {
        {"QuantizationModifier", with({}, quantization)},
        {"GPTQModifier", with({"block_size", "dampening_frac", "actorder", "offload_hessians"}, quantization)},
        {"AWQModifier", with({"mappings", "offload_device", "duo_scaling", "n_grid"}, {})},
        {"SmoothQuantModifier", with({"smoothing_strength", "mappings", "ignore", "num_calibration_steps", "algorithm"}, {})},
        {"SparseGPTModifier",
            with({"sparsity", "sparsity_profile", "owl_m", "owl_lmbda", "mask_structure", "targets", "ignore", "block_size",
                     "dampening_frac", "preserve_sparsity_mask", "offload_hessians"},
                {})},
        {"WandaPruningModifier",
            with({"sparsity", "sparsity_profile", "owl_m", "owl_lmbda", "mask_structure", "targets", "ignore"}, {})},
        {"MagnitudePruningModifier",
            with({"targets", "init_sparsity", "final_sparsity", "update_scheduler", "scheduler_args", "mask_structure",
                     "leave_enabled", "apply_globally"},
                {})},
    };
    return table;
}

/// A mapping's key as text: lists and mappings can be keys of YAML, and are shown as such.
std::string keyText(const YAML::Node& key)
{
    return key.IsScalar() ? key.Scalar() : std::string("(a key that is not text)");
}

void lintModifier(
    const std::string& name, const YAML::Node& arguments, const std::string& where, std::vector<Finding>& findings)
{
    if (arguments.IsNull()) {
        findings.push_back(
            {"modifier-arguments", "error", where, "has no arguments: write {} (llm-compressor fails on an empty value)"});
        return;
    }
    const auto known = modifierArguments().find(name);
    if (known == modifierArguments().end()) {
        findings.push_back(
            {"modifier-known", "warning", where, "'" + name + "' is not in the table of modifiers that this version checks"});
        return;
    }
    if (name == "MagnitudePruningModifier")
        findings.push_back({"modifier-trains", "warning", where,
            "acts only while llm-compressor trains: a one-shot run leaves the model as it is"});
    if (!arguments.IsMap()) {
        findings.push_back({"modifier-arguments", "error", where, "must be a mapping of arguments"});
        return;
    }
    for (const auto& argument : arguments) {
        const std::string key = keyText(argument.first);
        if (!known->second.contains(key))
            findings.push_back(
                {"modifier-arguments", "error", fmt::format("{}.{}", where, key), "is not an argument of " + name});
        // PyYAML reads an unquoted 2:4 as the base-60 integer 124; yaml-cpp marks quoted scalars with the tag "!".
        if (key == "mask_structure" && argument.second.IsScalar() && argument.second.Tag() != "!"
            && argument.second.Scalar().find(':') != std::string::npos)
            findings.push_back({"mask-quoted", "error", where + ".mask_structure",
                "must be quoted: YAML 1.1 reads " + argument.second.Scalar() + " as a number"});
    }
    if (arguments["scheme"] && arguments["config_groups"])
        findings.push_back({"scheme-xor", "error", where, "has both scheme and config_groups"});
}

} // namespace

Expected<recipe::ValidationReport> validateLlmCompressor(const std::filesystem::path& path)
{
    QS_TRY(text, readTextFile(path));
    recipe::ValidationReport report;
    report.kind = "llm-compressor recipe";
    YAML::Node root;
    try {
        root = YAML::Load(text);
    } catch (const YAML::Exception& exception) { // yaml-cpp reports broken files this way
        report.findings.push_back({"yaml", "error", path.string(), exception.what()});
    }
    std::size_t modifiers = 0;
    bool smoothing = false;
    bool quantizing = false;
    if (root.IsMap()) {
        for (const auto& stage : root) {
            const std::string stageName = keyText(stage.first);
            if (!stageName.ends_with("_stage") || !stage.second.IsMap()) {
                report.findings.push_back(
                    {"key-ignored", "warning", stageName, "does not end in _stage: llm-compressor skips it silently"});
                continue;
            }
            for (const auto& group : stage.second) {
                const std::string groupName = keyText(group.first);
                const std::string where = fmt::format("{}.{}", stageName, groupName);
                if (!groupName.ends_with("_modifiers") || !group.second.IsMap()) {
                    report.findings.push_back(
                        {"key-ignored", "warning", where, "does not end in _modifiers: llm-compressor skips it silently"});
                    continue;
                }
                for (const auto& modifier : group.second) {
                    ++modifiers;
                    const std::string name = keyText(modifier.first);
                    smoothing = smoothing || name == "AWQModifier" || name == "SmoothQuantModifier";
                    quantizing = quantizing || name == "QuantizationModifier" || name == "GPTQModifier";
                    lintModifier(name, modifier.second, fmt::format("{}.{}", where, name), report.findings);
                }
            }
        }
    } else if (report.findings.empty()) {
        report.findings.push_back({"yaml", "error", path.string(), "is not a mapping of stages"});
    }
    if (modifiers == 0)
        report.findings.push_back(
            {"recipe-non-empty", "error", path.string(), "has no modifier: llm-compressor would accept it and do nothing"});
    if (smoothing && !quantizing)
        report.findings.push_back({"awq-followed", "error", path.string(),
            "smooths but never quantizes: AWQModifier must be followed by a quantizing modifier"});
    const bool broken
        = std::any_of(report.findings.begin(), report.findings.end(), [](const Finding& f) { return f.severity == "error"; });
    const std::string why = fmt::format("{} modifier{}, argument names of 0.11 to 0.14", modifiers, modifiers == 1 ? "" : "s");
    report.runtimes.push_back({"llm-compressor", broken ? "no" : "yes", broken ? "the recipe has errors" : why});
    return report;
}

Expected<recipe::ValidationReport> validateQuantscope(const std::filesystem::path& path, const recipe::StageRegistry& stages)
{
    recipe::ValidationReport report;
    report.kind = "quantscope recipe";
    const auto recipe = recipe::loadRecipe(path.string(), stages);
    if (!recipe) {
        if (recipe.error().code == Errc::Io || recipe.error().code == Errc::NotFound)
            return tl::unexpected(recipe.error());
        report.findings.push_back(
            {"recipe", "error", recipe.error().where.empty() ? path.string() : recipe.error().where, recipe.error().message});
    } else {
        if (recipe->rules.empty())
            report.findings.push_back(
                {"recipe-non-empty", "warning", path.string(), "has no rule: every layer stays as it is"});
        report.findings.push_back({"rules", "info", path.string(),
            fmt::format("{} rule{}, target {}", recipe->rules.size(), recipe->rules.size() == 1 ? "" : "s", recipe->target)});
    }
    const bool broken = !recipe.has_value();
    report.runtimes.push_back({"quantscope", broken ? "no" : "unknown",
        broken ? "the recipe has errors"
               : "it is well-formed; its patterns and fusion groups are checked against a model, by eval and export"});
    return report;
}

} // namespace qs::plugins
