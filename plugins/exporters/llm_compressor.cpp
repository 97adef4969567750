// SPDX-License-Identifier: Apache-2.0
#include "checkpoint_files.h"
#include "exporters.h"
#include "model_files.h"
#include "scheme.h"
#include "validate.h"

#include "core/base/atomic_file.h"
#include "core/base/version.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <set>
#include <yaml-cpp/yaml.h>

namespace qs::plugins {
namespace {

using recipe::ExportInput;
using recipe::ExportReport;
using recipe::Finding;
using recipe::Slot;

const recipe::StageCall* only(const recipe::Pipeline& pipeline, Slot slot)
{
    return pipeline[slot].empty() ? nullptr : &pipeline[slot].front();
}

/// One entry of config_groups: what llm-compressor can be told about a grid.
struct ConfigGroup {
    recipe::Parameters grid; ///< Empty for a pipeline without one.
    std::optional<WeightScheme> scheme;
    std::vector<model::LayerIndex> layers;
};

/// Layers that one set of modifiers compresses: they differ in their grids at most, so that one GPTQModifier calibrates all of
/// them in one pass. A group as wide as a layer is one scale per row there, so that even one pipeline can mean two schemes.
struct Group {
    recipe::Pipeline pipeline; ///< Of the first layer.
    std::vector<ConfigGroup> configs;
    std::vector<model::LayerIndex> layers;
};

bool sameButForTheGrid(const recipe::Pipeline& a, const recipe::Pipeline& b)
{
    for (std::size_t slot = 0; slot < a.slots.size(); ++slot)
        if (static_cast<Slot>(slot) == Slot::Grid ? a.slots[slot].empty() != b.slots[slot].empty()
                                                  : a.slots[slot] != b.slots[slot])
            return false;
    return true;
}

std::vector<Group> groupsOf(const ExportInput& input)
{
    std::vector<Group> groups;
    for (std::size_t i = 0; i < input.assignment.layers.size(); ++i) {
        const auto& pipeline = input.assignment.layers[i];
        if (!pipeline)
            continue;
        auto group = std::find_if(
            groups.begin(), groups.end(), [&](const Group& g) { return sameButForTheGrid(g.pipeline, *pipeline); });
        if (group == groups.end())
            group = groups.insert(groups.end(), Group{*pipeline, {}, {}});
        group->layers.push_back(static_cast<model::LayerIndex>(i));
        // What no scheme can say is refused by the lint, which asks again.
        const auto scheme = weightScheme(*pipeline, input.runner->model().spec().layers[i].in).value_or(std::nullopt);
        auto grid = only(*pipeline, Slot::Grid) ? only(*pipeline, Slot::Grid)->parameters : recipe::Parameters();
        grid.erase("group"); // the scheme holds it, or that it is the whole row
        auto config = std::find_if(group->configs.begin(), group->configs.end(),
            [&](const ConfigGroup& c) { return c.grid == grid && c.scheme == scheme; });
        if (config == group->configs.end())
            config = group->configs.insert(group->configs.end(), ConfigGroup{std::move(grid), scheme, {}});
        config->layers.push_back(static_cast<model::LayerIndex>(i));
    }
    return groups;
}

/// Every text is double-quoted: `2:4` unquoted is the integer 124 in YAML 1.1.
void text(YAML::Emitter& out, const std::string& key, const std::string& value)
{
    out << YAML::Key << key << YAML::Value << YAML::DoubleQuoted << value;
}

/// The shortest text that reads back as this number. An exponent needs a point before it: YAML 1.1 takes 1e-05 for a word.
void real(YAML::Emitter& out, const std::string& key, double value)
{
    std::string digits = fmt::format("{}", value);
    if (const auto e = digits.find('e'); e != std::string::npos && digits.find('.') == std::string::npos)
        digits.insert(e, ".0");
    else if (digits.find_first_not_of("-0123456789") == std::string::npos)
        digits += ".0";
    out << YAML::Key << key << YAML::Value << digits;
}

void list(YAML::Emitter& out, const std::string& key, const std::vector<std::string>& values)
{
    out << YAML::Key << key << YAML::Value << YAML::Flow << YAML::BeginSeq;
    for (const auto& value : values)
        out << YAML::DoubleQuoted << value;
    out << YAML::EndSeq;
}

/// "Linear" means the head as well: unless it is one of the group's layers it is named as left alone. A pruner would else put
/// zeros into tied embeddings. Quantizers know it by its name; pruners call it "lm_head." and need a pattern.
void ignoreHead(
    YAML::Emitter& out, const char* head, const std::vector<model::LayerIndex>& layers, const model::ModelSpec& spec)
{
    for (const model::LayerIndex layer : layers)
        if (spec.layers[static_cast<std::size_t>(layer)].block < 0)
            return;
    list(out, "ignore", {head});
}

/// range=mse as the observer that makes the same search. It leaves off where `patience` steps bring nothing, which is never
/// here; the number of its steps is the truncated product of the first two.
void observer(YAML::Emitter& out, const recipe::Parameters& grid)
{
    const double steps = static_cast<double>(recipe::intValue(grid, "mse_steps"));
    double shrink = recipe::realValue(grid, "mse_shrink");
    const double tried = std::max(1.0, std::ceil(shrink * steps));
    if (std::trunc(shrink * steps) != tried)
        shrink = (tried + 0.5) / steps;
    text(out, "observer", "memoryless_mse");
    out << YAML::Key << "observer_kwargs" << YAML::Value << YAML::BeginMap;
    real(out, "maxshrink", shrink);
    real(out, "grid", steps);
    out << YAML::Key << "patience" << YAML::Value << recipe::intValue(grid, "mse_steps");
    real(out, "norm", recipe::realValue(grid, "mse_norm"));
    out << YAML::EndMap;
}

bool searchesRange(const recipe::Parameters& grid)
{
    return recipe::textValue(grid, "range") == "mse" && !recipe::boolValue(grid, "mse_weighted");
}

/// llm-compressor rounds scales to scale_dtype and then to the model's type: only float32 holds what the first has rounded, and
/// with a 16-bit model a wider scale_dtype makes it fail.
bool writesScaleType(const WeightScheme& scheme, const std::string& modelType)
{
    return modelType == "float32" && scheme.scaleType != "torch.float32";
}

void weights(YAML::Emitter& out, const ConfigGroup& config, const std::string& order, const std::string& modelType)
{
    const WeightScheme& scheme = *config.scheme;
    out << YAML::Key << "weights" << YAML::Value << YAML::BeginMap;
    out << YAML::Key << "num_bits" << YAML::Value << scheme.bits;
    text(out, "type", "int");
    out << YAML::Key << "symmetric" << YAML::Value << scheme.symmetric;
    text(out, "strategy", scheme.group ? "group" : scheme.wholeTensor ? "tensor" : "channel");
    if (scheme.group)
        out << YAML::Key << "group_size" << YAML::Value << scheme.group;
    if (writesScaleType(scheme, modelType))
        text(out, "scale_dtype", scheme.scaleType);
    if (searchesRange(config.grid))
        observer(out, config.grid);
    if (scheme.group && order != "none")
        text(out, "actorder", order);
    out << YAML::EndMap;
}

void activations(YAML::Emitter& out, const recipe::StageCall& call)
{
    out << YAML::Key << "input_activations" << YAML::Value << YAML::BeginMap;
    out << YAML::Key << "num_bits" << YAML::Value << recipe::intValue(call.parameters, "a_bits");
    text(out, "type", "int");
    out << YAML::Key << "symmetric" << YAML::Value << (recipe::textValue(call.parameters, "a_grid").rfind("sym", 0) == 0);
    text(out, "strategy", recipe::textValue(call.parameters, "a_granularity"));
    out << YAML::Key << "dynamic" << YAML::Value << recipe::boolValue(call.parameters, "a_dynamic");
    out << YAML::EndMap;
}

/// What is lost of a grid on its way into a recipe. One sentence for all layers that share it.
void lintGrid(const ExportInput& input, const ConfigGroup& config, std::vector<Finding>& findings)
{
    const model::LayerSpec& first = input.runner->model().spec().layers[static_cast<std::size_t>(config.layers.front())];
    const auto pipeline = input.assignment.layers[static_cast<std::size_t>(config.layers.front())];
    const auto add = [&](const char* id, const std::string& message) {
        findings.push_back({id, "warning", first.name,
            config.layers.size() == 1 ? message : layersText(config.layers.size()) + " (this is the first): " + message});
    };
    if (const auto scheme = weightScheme(*pipeline, first.in); !scheme) {
        findings.push_back({"grid-expressible", "error", first.name, scheme.error().message});
        return;
    }
    if (!config.scheme)
        return;
    if (const std::string id = recipe::textValue(config.grid, "grid"); id != "sym-fullrange-mid" && id != "asym-0")
        add("grid-convention",
            "llm-compressor rounds with sym-fullrange-mid or asym-0, not with " + id + ": its result will differ");
    if (recipe::textValue(config.grid, "clip") != "none")
        add("clip-not-expressible", "the clip search has no counterpart; llm-compressor's AWQ only scales");
    if (config.scheme->wholeTensor && (*pipeline)[Slot::ActivationGrid].empty())
        add("runtime-strategy",
            "vLLM loads weight-only integers with a scale per row or group, not with one per tensor; group=-1 loads");
    const std::string type = torchName(plainType(input.runner->model()));
    if (const std::string range = recipe::textValue(config.grid, "range"); range != "minmax") {
        if (!searchesRange(config.grid))
            add("range-not-expressible",
                range == "mse"
                    ? std::string("no observer weights its search by the inputs as mse_weighted does: the recipe uses "
                                  "extrema, its result will differ")
                    : "no observer takes a " + range + ": the recipe uses extrema, its result will differ");
        else if (type != "float32")
            add("range-precision",
                "llm-compressor searches range=mse in the model's " + type
                    + ": many scales will differ; with the model loaded in float32 they are the same");
    }
    if (config.scheme->scaleType != "torch." + type && !writesScaleType(*config.scheme, type))
        add("scale-dtype-not-expressible",
            "llm-compressor keeps scales in the model's " + type + ", not in " + config.scheme->scaleType.substr(6)
                + ": scale_dtype=" + type + " is what it will compute");
}

/// A smoothing modifier takes no targets: layers that are quantized without it, or with other options, are scaled alike.
void lintSmoothing(const std::vector<Group>& groups, const model::ModelSpec& spec, std::vector<Finding>& findings)
{
    std::set<std::string> seen;
    for (const Group& group : groups) {
        const auto* transform = only(group.pipeline, Slot::Transform);
        if (!transform || !seen.insert(transform->id).second)
            continue;
        std::size_t others = 0;
        for (const Group& other : groups) {
            const auto* its = only(other.pipeline, Slot::Transform);
            if (!other.pipeline[Slot::Grid].empty() && !(its && *its == *transform))
                others += other.layers.size();
        }
        if (others > 0)
            findings.push_back(
                {"smoothing-everywhere", "warning", spec.layers[static_cast<std::size_t>(group.layers.front())].name,
                    fmt::format(
                        "llm-compressor cannot limit {} to these layers: with the same options it will also scale {} that {} "
                        "quantized without it or with others; export a checkpoint to keep them apart",
                        transform->id == "awq" ? "AWQ" : "SmoothQuant", layersText(others), others == 1 ? "is" : "are")});
    }
}

class LlmCompressorExporter final : public recipe::Exporter {
public:
    std::string id() const override { return "llm-compressor"; }
    std::string title() const override { return "llm-compressor recipe (YAML)"; }
    std::string description() const override
    {
        return "recipe.yaml with modifiers for llm-compressor 0.11 and later, and a oneshot run sheet";
    }
    bool writesFolder() const override { return true; }

    std::vector<Finding> lint(const ExportInput& input) const override
    {
        const auto& spec = input.runner->model().spec();
        std::vector<Finding> findings = lintModel(spec);
        const std::vector<Group> groups = groupsOf(input);
        if (groups.empty())
            findings.push_back({"recipe-non-empty", "error", "recipe",
                "no layer is compressed: llm-compressor would accept the empty recipe without a word"});
        for (const auto& group : groups) {
            const std::string& first = spec.layers[static_cast<std::size_t>(group.layers.front())].name;
            for (const auto& slot : group.pipeline.slots)
                for (const auto& call : slot)
                    if (call.id == "magnitude")
                        findings.push_back({"stage-translates", "error", first,
                            "llm-compressor prunes by magnitude only while it trains; a one-shot run would leave the model as "
                            "it is: export a checkpoint instead"});
                    else if (!kKnown.contains(call.id))
                        findings.push_back({"stage-translates", "error", first,
                            "stage '" + call.id + "' has no counterpart in llm-compressor"});
            for (const auto& config : group.configs)
                lintGrid(input, config, findings);
        }
        lintSmoothing(groups, spec, findings);
        for (Finding finding : lintSchemes(input)) {
            if (finding.id == "act-order-removed")
                finding.severity = "error"; // the recipe would not even parse
            if (finding.id == "fusion-uniform" || finding.id == "dense-stream-width" || finding.id == "runtime-width"
                || finding.id == "act-order-removed")
                findings.push_back(std::move(finding));
        }
        return findings;
    }

    Expected<ExportReport> write(
        const ExportInput& input, const std::filesystem::path& target, const JobContext& job) const override
    {
        return writeFolder(target, job, [&](const std::filesystem::path& folder) { return fill(input, folder, job); });
    }

private:
    Expected<ExportReport> fill(const ExportInput& input, const std::filesystem::path& folder, const JobContext& job) const;
    static const std::set<std::string> kKnown;
    static Expected<std::string> yaml(const ExportInput& input);
};

const std::set<std::string> LlmCompressorExporter::kKnown
    = {"int", "nearest", "obs", "awq", "smooth", "wanda", "sparsegpt", "act"};

Expected<std::string> LlmCompressorExporter::yaml(const ExportInput& input)
{
    const auto& spec = input.runner->model().spec();
    const std::vector<Group> groups = groupsOf(input);
    YAML::Emitter out;
    out << YAML::Comment(std::string("written by ") + kProducer) << YAML::Newline;
    out << YAML::BeginMap << YAML::Key << "compression_stage" << YAML::Value << YAML::BeginMap;
    const std::string modelType = torchName(plainType(input.runner->model()));
    int number = 0;
    std::set<std::string> awqWritten;
    for (const auto& group : groups) {
        const auto& pipeline = group.pipeline;
        const bool all = group.layers.size() == spec.layers.size();
        const auto targets = targetsOf(group.layers, spec, all);
        const std::string suffix = groups.size() > 1 ? fmt::format("_{}", number) : std::string();
        ++number;
        if (const auto* transform = only(pipeline, Slot::Transform); transform && awqWritten.insert(transform->id).second) {
            out << YAML::Key << "smoothing" + suffix + "_modifiers" << YAML::Value << YAML::BeginMap;
            out << YAML::Key << (transform->id == "awq" ? "AWQModifier" : "SmoothQuantModifier") << YAML::Value
                << YAML::BeginMap;
            if (transform->id == "awq") {
                out << YAML::Key << "duo_scaling" << YAML::Value << recipe::boolValue(transform->parameters, "duo_scaling");
                out << YAML::Key << "n_grid" << YAML::Value << recipe::intValue(transform->parameters, "n_grid");
            } else {
                real(out, "smoothing_strength", recipe::realValue(transform->parameters, "alpha"));
            }
            out << YAML::EndMap << YAML::EndMap;
        }
        if (const auto* pruner = only(pipeline, Slot::Pruner)) {
            const std::string pattern = recipe::textValue(pruner->parameters, "pattern");
            const double sparsity = recipe::realValue(pruner->parameters, "sparsity");
            out << YAML::Key << "pruning" + suffix + "_modifiers" << YAML::Value << YAML::BeginMap;
            const bool solved = pruner->id == "sparsegpt";
            out << YAML::Key << (solved ? "SparseGPTModifier" : "WandaPruningModifier") << YAML::Value << YAML::BeginMap;
            real(out, "sparsity", sparsity);
            text(out, "mask_structure", pattern == "free" ? "0:0" : pattern);
            if (const auto* solver = only(pipeline, Slot::Rounding); solved && solver && solver->id == "obs")
                real(out, "dampening_frac", recipe::realValue(solver->parameters, "damp"));
            list(out, "targets", targets);
            ignoreHead(out, "re:.*lm_head", group.layers, spec);
            out << YAML::EndMap << YAML::EndMap;
        }
        if (!pipeline[Slot::Grid].empty()) {
            const auto* solver = only(pipeline, Slot::Rounding);
            const bool gptq = solver && solver->id == "obs";
            const std::string order = gptq ? recipe::textValue(solver->parameters, "actorder") : "none";
            out << YAML::Key << "quantization" + suffix + "_modifiers" << YAML::Value << YAML::BeginMap;
            out << YAML::Key << (gptq ? "GPTQModifier" : "QuantizationModifier") << YAML::Value << YAML::BeginMap;
            list(out, "targets", targets);
            ignoreHead(out, "lm_head", group.layers, spec);
            out << YAML::Key << "config_groups" << YAML::Value << YAML::BeginMap;
            for (std::size_t c = 0; c < group.configs.size(); ++c) {
                const ConfigGroup& config = group.configs[c];
                if (!config.scheme)
                    return fail(Errc::Unsupported, "its grid has no scheme",
                        spec.layers[static_cast<std::size_t>(config.layers.front())].name);
                out << YAML::Key << fmt::format("group_{}", c) << YAML::Value << YAML::BeginMap;
                list(out, "targets", targetsOf(config.layers, spec, all && group.configs.size() == 1));
                weights(out, config, order, modelType);
                if (const auto* act = only(pipeline, Slot::ActivationGrid))
                    activations(out, *act);
                out << YAML::EndMap;
            }
            out << YAML::EndMap;
            if (gptq) {
                real(out, "dampening_frac", recipe::realValue(solver->parameters, "damp"));
                out << YAML::Key << "block_size" << YAML::Value << recipe::intValue(solver->parameters, "block");
                if (order == "none")
                    out << YAML::Key << "actorder" << YAML::Value << YAML::Null;
            }
            out << YAML::EndMap << YAML::EndMap;
        }
    }
    out << YAML::EndMap << YAML::EndMap;
    return std::string(out.c_str()) + "\n";
}

std::string runSheet(const ExportInput& input)
{
    const auto& calibration = input.recipe.calibration;
    const auto value = [&](const char* key, const char* otherwise) {
        const auto it = calibration.find(key);
        return it == calibration.end() ? std::string(otherwise) : it->second;
    };
    const std::string length = value("seq_len", "512");
    const double tokens = std::atof(value("tokens", "16384").c_str());
    const double samples = std::max(1.0, tokens / std::max(1.0, std::atof(length.c_str())));
    return fmt::format(R"(# How to run recipe.yaml

Written by {}. Quantscope calibrated on {} windows of {} tokens (data set id {}, policy {}).

```python
from llmcompressor import oneshot

oneshot(
    model="MODEL",                     # folder or hub id of the uncompressed model
    dataset="DATASET",                 # the same text as the calibration above
    recipe="recipe.yaml",
    num_calibration_samples={:.0f},
    max_seq_length={},
    output_dir="compressed",
)
```
)",
        kProducer, samples, length, value("dataset_id", "unknown"), input.recipe.policy, samples, length);
}

Expected<ExportReport> LlmCompressorExporter::fill(
    const ExportInput& input, const std::filesystem::path& folder, const JobContext& job) const
{
    ExportReport report;
    report.findings = lint(input);
    if (const Finding* error = firstError(report.findings))
        return tl::unexpected(refusal(*error));
    // The other program would find out after hours, or not at all.
    std::vector<Finding> values;
    QS_CHECK(lintValues(input.runner->model(), values, job));
    for (Finding& finding : values)
        if (finding.id == "finite") {
            finding.severity = "warning";
            report.findings.push_back(std::move(finding));
        }
    QS_TRY(document, yaml(input));
    QS_CHECK(writeTextFile(folder / "recipe.yaml", document));
    QS_CHECK(writeTextFile(folder / "RUN.md", runSheet(input)));
    // Read back as the consumer does: keys that do not end in _modifiers would be skipped silently.
    std::size_t modifiers = 0;
    const YAML::Node root = YAML::LoadFile((folder / "recipe.yaml").string());
    for (const auto& stage : root)
        for (const auto& group : stage.second)
            if (group.first.as<std::string>().ends_with("_modifiers"))
                modifiers += group.second.size();
    if (modifiers == 0)
        return fail(Errc::Internal, "the recipe that was written has no modifier", "recipe.yaml", "report this as a bug");
    report.findings.push_back(
        {"recipe-non-empty", "info", "recipe.yaml", fmt::format("{} modifier{}", modifiers, modifiers == 1 ? "" : "s")});
    report.verified = true;
    report.files = {"recipe.yaml", "RUN.md"};
    return report;
}

} // namespace

std::unique_ptr<recipe::Exporter> makeLlmCompressorExporter()
{
    return std::make_unique<LlmCompressorExporter>();
}

} // namespace qs::plugins
