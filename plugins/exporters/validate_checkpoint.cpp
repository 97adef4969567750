// SPDX-License-Identifier: Apache-2.0
#include "scheme.h"
#include "validate.h"

#include "core/base/atomic_file.h"
#include "core/base/pattern.h"
#include "core/model/model.h"
#include "core/recipe/storage.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

namespace qs::plugins {
namespace {

namespace fs = std::filesystem;
using recipe::Finding;

const std::set<std::string> kWeightKeys = {"num_bits", "type", "symmetric", "group_size", "strategy", "block_structure",
    "dynamic", "actorder", "scale_dtype", "zp_dtype", "observer", "observer_kwargs"};
const std::set<std::string> kSchemeKeys = {"targets", "weights", "input_activations", "output_activations", "format"};

/// A string field; empty, with a finding, where it is something else.
std::string textField(const nlohmann::json& object, const char* key, const std::string& where, std::vector<Finding>& findings)
{
    const auto found = object.find(key);
    if (found == object.end() || found->is_null())
        return {};
    if (found->is_string())
        return found->get<std::string>();
    findings.push_back({"field-type", "error", where + "." + key, "must be a string"});
    return {};
}

/// Does a target or ignore entry match a layer? Exact name, class name, or `re:` with Python's re.match (anchored at the start
/// only).
class Target {
public:
    static Expected<Target> compile(const std::string& text)
    {
        Target target;
        target.m_text = text;
        if (text.rfind("re:", 0) == 0) {
            QS_TRY(pattern, Pattern::compile("\\A(?:" + text.substr(3) + ")"));
            target.m_pattern = std::make_shared<Pattern>(std::move(pattern));
        }
        return target;
    }
    /// compressed-tensors takes the first match in this order: names and classes before patterns.
    friend bool operator<(const Target& a, const Target& b)
    {
        return std::pair(a.m_pattern != nullptr, a.m_text) < std::pair(b.m_pattern != nullptr, b.m_text);
    }
    bool matches(const std::string& layer) const
    {
        return m_pattern ? m_pattern->matches(layer) : (m_text == layer || m_text == "Linear");
    }
    const std::string& text() const { return m_text; }

private:
    std::string m_text;
    std::shared_ptr<const Pattern> m_pattern;
};

struct Scheme {
    std::string name;
    std::vector<Target> targets;
    int bits = 0;
    bool symmetric = true;
    Index group = 0;
};

class ConfigLint {
public:
    ConfigLint(std::vector<Finding>& findings, CheckpointFacts& facts)
        : m_findings(findings)
        , m_facts(facts)
    {
    }

    void read(const nlohmann::json& config);
    void match(const model::Model& model);

private:
    void add(const char* id, const char* severity, std::string where, std::string message)
    {
        m_findings.push_back({id, severity, std::move(where), std::move(message)});
    }
    std::vector<Target> targets(const nlohmann::json& list, const std::string& where);
    bool formats(const nlohmann::json& config);
    void overlaps(const model::ModelSpec& spec);
    void scheme(const std::string& name, const nlohmann::json& json);

    std::vector<Finding>& m_findings;
    CheckpointFacts& m_facts;
    std::vector<Scheme> m_schemes;
    std::vector<Target> m_ignore;
};

std::vector<Target> ConfigLint::targets(const nlohmann::json& list, const std::string& where)
{
    std::vector<Target> out;
    if (!list.is_array()) {
        add("targets", "error", where, "must be a list of names and patterns");
        return out;
    }
    for (const auto& item : list) {
        if (!item.is_string()) {
            add("targets", "error", where, "holds something that is not a string");
            continue;
        }
        auto target = Target::compile(item.get<std::string>());
        if (target)
            out.push_back(std::move(*target));
        else
            add("targets", "error", where, "'" + item.get<std::string>() + "' is not a pattern: " + target.error().message);
    }
    return out;
}

void ConfigLint::scheme(const std::string& name, const nlohmann::json& json)
{
    const std::string where = "quantization_config.config_groups." + name;
    if (!json.is_object()) {
        add("scheme", "error", where, "must be an object");
        return;
    }
    for (const auto& [key, value] : json.items())
        if (!kSchemeKeys.contains(key))
            add("unknown-key", "error", fmt::format("{}.{}", where, key),
                "is not a key of a scheme; compressed-tensors refuses it");
    Scheme scheme;
    scheme.name = name;
    const auto targetList = json.find("targets");
    scheme.targets = targets(targetList == json.end() ? nlohmann::json() : *targetList, where + ".targets");
    const auto weights = json.find("weights");
    if (weights == json.end() || !weights->is_object()) {
        add("scheme", "error", where + ".weights", "is missing");
        return;
    }
    for (const auto& [key, value] : weights->items())
        if (!kWeightKeys.contains(key))
            add("unknown-key", "error", fmt::format("{}.weights.{}", where, key),
                "is not a key of QuantizationArgs; compressed-tensors refuses it");
    const auto number = [&](const char* key) -> std::optional<Index> { // a whole number that fits, nothing for anything else
        const auto found = weights->find(key);
        if (found == weights->end() || !found->is_number_integer())
            return std::nullopt;
        if (found->is_number_unsigned() && found->get<std::uint64_t>() > std::uint64_t{1} << 32)
            return std::nullopt;
        return found->get<Index>();
    };
    if (const auto bits = number("num_bits"); bits && *bits >= 2 && *bits <= 8)
        scheme.bits = static_cast<int>(*bits);
    else
        add("num-bits", "error", where + ".weights.num_bits", "must be a whole number from 2 to 8");
    if (const auto symmetric = weights->find("symmetric"); symmetric != weights->end()) {
        if (symmetric->is_boolean())
            scheme.symmetric = symmetric->get<bool>();
        else
            add("field-type", "error", where + ".weights.symmetric", "must be true or false");
    }
    const auto group = number("group_size");
    const bool hasGroup = group && *group > 0;
    scheme.group = hasGroup ? *group : 0;
    std::string strategy = textField(*weights, "strategy", where + ".weights", m_findings);
    if (strategy.empty())
        strategy = hasGroup ? "group" : "channel";
    if (const auto order = weights->find("actorder"); order != weights->end() && (*order == "group" || *order == "dynamic")) {
        m_facts.activationOrder = true;
        add("act-order-removed", "warning", where + ".weights.actorder",
            "compressed-tensors 0.19 and later refuse act-order by group; 'static' needs no g_idx");
    }
    if ((strategy == "group") != hasGroup)
        add("strategy-group", "error", where + ".weights", fmt::format("strategy '{}' and group_size do not agree", strategy));
    (scheme.symmetric ? m_facts.symmetricBits : m_facts.asymmetricBits).insert(scheme.bits);
    m_facts.groups.insert(scheme.group);
    if (scheme.bits == 3 || scheme.bits == 5 || scheme.bits == 6 || scheme.bits == 7)
        add("dense-stream-width", "warning", where + ".weights.num_bits",
            fmt::format("{}-bit codes decode correctly only from compressed-tensors 0.18 on", scheme.bits));
    m_schemes.push_back(std::move(scheme));
}

/// Whether every group is pack-quantized, which is what is read here.
bool ConfigLint::formats(const nlohmann::json& config)
{
    const std::string global = textField(config, "format", "quantization_config", m_findings);
    const auto groups = config.find("config_groups");
    std::set<std::string> own;
    if (groups != config.end() && groups->is_object())
        for (const auto& [name, json] : groups->items()) {
            const std::string format
                = json.is_object() ? textField(json, "format", "quantization_config.config_groups." + name, m_findings) : "";
            own.insert(format.empty() ? global : format);
        }
    own.erase("");
    for (const auto& format : own)
        if (format != "pack-quantized") {
            m_facts.uncheckedMethod = "compressed-tensors, " + format;
            add("format", "warning", "quantization_config.format",
                "compressed-tensors format '" + format + "' is not checked by this version");
            return false;
        }
    if (own.size() == 1 && !global.empty() && global != "mixed-precision" && global != *own.begin()) {
        m_facts.doubt = "config.json names two formats, '" + global + "' and '" + *own.begin() + "' in its groups";
        add("format-agrees", "warning", "quantization_config.format",
            "is '" + global + "', but the groups and the tensors are '" + *own.begin() + "'");
    }
    return true;
}

/// Layers that several groups name: which one applies is a matter of order, and runtimes differ in it.
void ConfigLint::overlaps(const model::ModelSpec& spec)
{
    std::map<std::vector<std::string>, std::vector<std::string>> layersOf; // names of groups -> layers
    for (const auto& layer : spec.layers) {
        std::vector<std::string> names;
        for (const auto& scheme : m_schemes)
            if (std::any_of(scheme.targets.begin(), scheme.targets.end(),
                    [&](const Target& target) { return target.matches(layer.name); }))
                names.push_back(scheme.name);
        if (names.size() > 1)
            layersOf[names].push_back(layer.name);
    }
    for (const auto& [names, layers] : layersOf) {
        add("targets-disjoint", "warning", layers.front(),
            fmt::format("{} (this is the first) {} named by {}: only one of them applies", layersText(layers.size()),
                layers.size() == 1 ? "is" : "are", fmt::join(names, " and ")));
        m_facts.doubt
            = fmt::format("{} name the same layers, and which one applies differs between runtimes", fmt::join(names, " and "));
    }
}

void ConfigLint::read(const nlohmann::json& config)
{
    if (!formats(config))
        return;
    const std::string status = textField(config, "quantization_status", "quantization_config", m_findings);
    if (status != "compressed")
        add("status", "warning", "quantization_config.quantization_status",
            "is '" + status + "', on disk it should be 'compressed'");
    const auto groups = config.find("config_groups");
    if (groups == config.end() || !groups->is_object() || groups->empty())
        add("config-groups", "error", "quantization_config.config_groups", "is missing or empty");
    else
        for (const auto& [name, json] : groups->items())
            scheme(name, json);
    if (const auto ignore = config.find("ignore"); ignore != config.end())
        m_ignore = targets(*ignore, "quantization_config.ignore");
    if (const auto sparsity = config.find("sparsity_config"); sparsity != config.end() && sparsity->is_object()
        && sparsity->contains("targets") && !sparsity->at("targets").empty()) {
        m_facts.sparsityTargets = true;
        add("sparsity-targets", "warning", "quantization_config.sparsity_config",
            "has targets: vLLM refuses sparse checkpoints; store zeros densely");
    }
}

void ConfigLint::match(const model::Model& model)
{
    const auto& spec = model.spec();
    std::map<std::string, int> hits;
    std::vector<const Scheme*> schemeOf(spec.layers.size(), nullptr);
    for (std::size_t i = 0; i < spec.layers.size(); ++i) {
        const auto& layer = spec.layers[i];
        bool ignored = false;
        for (const auto& target : m_ignore)
            if (target.matches(layer.name)) {
                ++hits[target.text()];
                ignored = true;
            }
        const Target* first = nullptr;
        for (const auto& scheme : m_schemes)
            for (const auto& target : scheme.targets)
                if (target.matches(layer.name)) {
                    ++hits[target.text()];
                    if (!ignored && (!first || target < *first)) {
                        first = &target;
                        schemeOf[i] = &scheme;
                    }
                }
        const bool packed = layer.dtype == DType::Packed;
        if (schemeOf[i] && !packed)
            add("config-tensors-agree", "error", layer.name,
                "is quantized by config_groups." + schemeOf[i]->name + ", but its tensors are not packed");
        if (!schemeOf[i] && packed)
            add("config-tensors-agree", "error", layer.name, "is packed, but no group of the config covers it");
        if (schemeOf[i] && schemeOf[i]->group && layer.in % schemeOf[i]->group != 0)
            add("group-divides", "error", layer.name,
                fmt::format("group size {} does not divide its {} columns", schemeOf[i]->group, layer.in));
    }
    overlaps(spec);
    for (const auto& scheme : m_schemes)
        for (const auto& target : scheme.targets)
            if (!hits.contains(target.text()))
                add("target-matches", "error", target.text(), "matches no layer of the model");
    for (const auto& target : m_ignore)
        if (!hits.contains(target.text()) && target.text() != "lm_head")
            add("ignore-matches", "warning", target.text(), "in `ignore` matches no layer of the model");
    for (const auto& group : spec.fusionGroups)
        for (const model::LayerIndex index : group.layers) {
            const Scheme* a = schemeOf[static_cast<std::size_t>(group.layers.front())];
            const Scheme* b = schemeOf[static_cast<std::size_t>(index)];
            if (a != b && !(a && b && a->bits == b->bits && a->group == b->group && a->symmetric == b->symmetric)) {
                m_facts.fusionUniform = false;
                add("fusion-uniform", "warning", group.name, "its layers have different schemes; vLLM and SGLang refuse that");
                break;
            }
        }
}

/// What can be said of a checkpoint whose weights are not decoded here: its files are whole, or they are not.
void lintFiles(const fs::path& path, std::vector<Finding>& findings)
{
    const auto opened = io::openCheckpoint(path);
    if (!opened && opened.error().code != Errc::Unsupported)
        findings.push_back(
            {"opens", "error", opened.error().where.empty() ? path.string() : opened.error().where, opened.error().message});
}

} // namespace

Expected<void> lintValues(const model::Model& model, std::vector<Finding>& findings, const JobContext& job)
{
    const auto& layers = model.spec().layers;
    for (std::size_t i = 0; i < layers.size(); ++i) {
        QS_CHECK(job.poll());
        job.progress(static_cast<double>(i) / static_cast<double>(layers.size()), layers[i].name);
        auto W = model.loadWeight(layers[i]);
        if (!W) {
            findings.push_back({"decodes", "error", layers[i].name, W.error().message});
            continue;
        }
        Index bad = 0;
        bool constant = true;
        for (const float value : std::as_const(*W).values()) {
            bad += std::isfinite(value) ? 0 : 1;
            constant = constant && value == std::as_const(*W).values().front();
        }
        if (bad > 0)
            findings.push_back(
                {"finite", "error", layers[i].name, fmt::format("{} of {} weights are NaN or Inf", bad, W->size())});
        if (constant && W->size() > 1)
            findings.push_back({"degenerate", "warning", layers[i].name,
                fmt::format("every weight is {}", std::as_const(*W).values().front())});
    }
    // Norms, embeddings, biases: a NaN there is in every token.
    std::set<std::string> weights;
    for (const auto& layer : layers)
        weights.insert(layer.weight);
    for (const auto& tensor : model.checkpoint().tensors()) {
        QS_CHECK(job.poll());
        const std::string name = model.hfName(tensor);
        if (weights.contains(name) || recipe::travelsRaw(tensor.dtype))
            continue;
        const auto values = model.load(name);
        if (!values)
            continue; // a part of a packed layer, which was decoded as one above
        const auto bad = std::ranges::count_if(values->values(), [](float value) { return !std::isfinite(value); });
        if (bad > 0)
            findings.push_back({"finite", "error", name, fmt::format("{} of {} values are NaN or Inf", bad, values->size())});
    }
    return {};
}

void lintTokenizer(const model::Model& model, std::vector<recipe::Finding>& findings)
{
    const auto tokenizer = model.tokenizer();
    if (tokenizer)
        return;
    const Error& error = tokenizer.error();
    findings.push_back({"tokenizer", "warning", error.where.empty() ? model.checkpoint().path().string() : error.where,
        error.code == Errc::NotFound
            ? std::string("there is no tokenizer: text cannot be served until one lies beside the weights")
            : "the tokenizer cannot be read here: " + error.message});
}

Expected<recipe::ValidationReport> validateCheckpoint(const fs::path& path, const JobContext& job)
{
    recipe::ValidationReport report;
    CheckpointFacts facts;
    facts.format = path.extension() == ".gguf" ? "gguf" : "safetensors";
    std::error_code code;
    nlohmann::json quantization;
    std::string modelType;
    if (fs::is_directory(path, code) && fs::exists(path / "config.json", code)) {
        QS_TRY(text, readTextFile(path / "config.json"));
        const nlohmann::json config = nlohmann::json::parse(text, nullptr, false);
        for (const char* key : {"torch_dtype", "dtype"})
            if (const auto type = config.find(key); config.is_object() && type != config.end() && type->is_string())
                modelType = type->get<std::string>();
        if (!config.is_object())
            report.findings.push_back({"config", "error", (path / "config.json").string(), "is not a JSON object"});
        else if (config.contains("quantization_config"))
            quantization = config["quantization_config"];
    }
    ConfigLint lint(report.findings, facts);
    const std::string method = quantization.is_object()
        ? textField(quantization, "quant_method", "quantization_config", report.findings)
        : std::string();
    if (method == "compressed-tensors") {
        facts.format = "compressed-tensors";
        lint.read(quantization);
    } else if (quantization.is_object()) {
        report.findings.push_back({"quant-method", "warning", "quantization_config.quant_method",
            method.empty() ? std::string("does not name a method: nothing can be checked")
                           : "'" + method + "' is not checked by this version"});
        facts.uncheckedMethod = method.empty() ? "?" : method;
    }
    if (!facts.uncheckedMethod.empty()) {
        lintFiles(path, report.findings);
        report.kind = facts.format + " checkpoint";
        facts.broken = std::any_of(
            report.findings.begin(), report.findings.end(), [](const Finding& f) { return f.severity == "error"; });
        report.runtimes = verdicts(facts);
        return report;
    }
    const auto opened = model::openModel(path);
    if (!opened) {
        const Error& error = opened.error();
        if (error.code == Errc::NotFound || error.code == Errc::Io)
            return tl::unexpected(error);
        report.findings.push_back({"opens", "error", error.where.empty() ? path.string() : error.where, error.message});
    } else {
        if ((*opened)->checkpoint().format() == "gguf")
            facts.format = "gguf";
        facts.plain = (*opened)->spec().family == model::Family::Plain;
        for (const auto& problem : (*opened)->spec().problems)
            report.findings.push_back({"config-tensors-agree", problem.severity, problem.where, problem.message});
        if (facts.format == "compressed-tensors")
            lint.match(**opened);
        QS_CHECK(lintTensors((*opened)->checkpoint(), modelType, facts, report.findings, job));
        QS_CHECK(lintValues(**opened, report.findings, job));
        if (!facts.plain)
            lintTokenizer(**opened, report.findings);
    }
    report.kind = facts.format == "gguf" ? "gguf" : facts.plain ? "tensors without config.json" : facts.format + " checkpoint";
    for (const auto& finding : report.findings)
        facts.broken = facts.broken || finding.severity == "error";
    report.runtimes = verdicts(facts);
    return report;
}

} // namespace qs::plugins
