// SPDX-License-Identifier: Apache-2.0
#include "core/model/description.h"

#include <cmath>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>

namespace qs::model {
namespace {

using nlohmann::json;

/// Typed access to one JSON object: the first of several synonyms that is present and not null.
class Fields {
public:
    Fields(const json& object, std::string where)
        : m_object(object)
        , m_where(std::move(where))
    {
    }

    const json* get(std::initializer_list<const char*> names) const
    {
        for (const char* name : names)
            if (const auto found = m_object.find(name); found != m_object.end() && !found->is_null())
                return &*found;
        return nullptr;
    }
    Expected<void> read(Index& target, std::initializer_list<const char*> names, Index least = 1) const
    {
        const json* value = get(names);
        if (!value)
            return {};
        if (!value->is_number_integer()
            || (value->is_number_unsigned() && value->get<std::uint64_t>() > std::uint64_t{kLargestExtent})
            || value->get<Index>() < least || value->get<Index>() > kLargestExtent)
            return fail(Errc::Format, "must be an integer in " + std::to_string(least) + ".." + std::to_string(kLargestExtent),
                at(names));
        target = value->get<Index>();
        return {};
    }
    Expected<void> read(double& target, std::initializer_list<const char*> names, double least, double most) const
    {
        const json* value = get(names);
        if (!value)
            return {};
        if (!value->is_number() || !(value->get<double>() >= least && value->get<double>() <= most))
            return fail(Errc::Format, "must be a number in " + json(least).dump() + ".." + json(most).dump(), at(names));
        target = value->get<double>();
        return {};
    }
    Expected<void> read(bool& target, std::initializer_list<const char*> names) const
    {
        const json* value = get(names);
        if (value && !value->is_boolean())
            return fail(Errc::Format, "must be true or false", at(names));
        if (value)
            target = value->get<bool>();
        return {};
    }
    Expected<void> read(std::string& target, std::initializer_list<const char*> names) const
    {
        const json* value = get(names);
        if (value && !value->is_string())
            return fail(Errc::Format, "must be a string", at(names));
        if (value)
            target = value->get<std::string>();
        return {};
    }

private:
    std::string at(std::initializer_list<const char*> names) const
    {
        std::string used = *names.begin();
        for (const char* name : names)
            if (m_object.contains(name)) {
                used = name;
                break;
            }
        return m_where + ": " + used;
    }
    const json& m_object;
    std::string m_where;
};

/// The object that describes the rotation: `rope_parameters` (flat, or per layer type where all agree) over `rope_scaling`.
Expected<json> ropeObject(const json& root, const std::string& where, ModelSpec& spec)
{
    for (const char* key : {"rope_parameters", "rope_scaling"}) {
        const auto found = root.find(key);
        if (found == root.end() || found->is_null())
            continue;
        if (!found->is_object())
            return fail(Errc::Format, "must be an object", where + ": " + key);
        std::optional<json> common;
        for (const auto& [name, value] : found->items()) {
            if (!value.is_object())
                continue;
            if (common && *common != value)
                spec.problems.push_back(
                    {"error", std::string("config.json: ") + key, "rotation that differs by layer type is not implemented"});
            common = value;
        }
        return common ? *common : *found;
    }
    return json::object();
}

Expected<void> readRope(const json& root, const std::string& where, ModelSpec& spec)
{
    constexpr double kHuge = 1e12;
    RopeSpec& rope = spec.rope;
    QS_CHECK(Fields(root, where).read(rope.theta, {"rope_theta", "rotary_emb_base"}, 1e-3, kHuge));
    QS_TRY(object, ropeObject(root, where, spec));
    const Fields fields(object, where + ": rope_parameters");
    QS_CHECK(fields.read(rope.theta, {"rope_theta"}, 1e-3, kHuge));
    std::string type = "default";
    QS_CHECK(fields.read(type, {"rope_type", "type"}));
    rope.scaling = type == "default" ? "none" : type;
    double partial = 1.0;
    QS_CHECK(fields.read(partial, {"partial_rotary_factor"}, 0.0, 1.0));
    QS_CHECK(Fields(root, where).read(partial, {"partial_rotary_factor"}, 0.0, 1.0));
    rope.dims = static_cast<Index>(std::llround(static_cast<double>(spec.headDim) * partial));
    if (rope.scaling == "none")
        return {};
    if (!fields.get({"factor"}))
        return fail(Errc::Format, "rotary scaling '" + rope.scaling + "' needs a factor", where + ": rope_parameters");
    QS_CHECK(fields.read(rope.factor, {"factor"}, 1e-6, 1e6));
    QS_CHECK(fields.read(rope.lowFreqFactor, {"low_freq_factor"}, 1e-6, 1e6));
    QS_CHECK(fields.read(rope.highFreqFactor, {"high_freq_factor"}, 1e-6, 1e6));
    rope.originalContext = static_cast<double>(spec.context);
    QS_CHECK(fields.read(rope.originalContext, {"original_max_position_embeddings"}, 1.0, kHuge));
    QS_CHECK(fields.read(rope.attentionFactor, {"attention_factor"}, 0.0, 1e6));
    QS_CHECK(fields.read(rope.betaFast, {"beta_fast"}, 1e-6, 1e6));
    QS_CHECK(fields.read(rope.betaSlow, {"beta_slow"}, 1e-6, 1e6));
    QS_CHECK(fields.read(rope.truncate, {"truncate"}));
    if (rope.scaling == "yarn" && (fields.get({"mscale"}) || fields.get({"mscale_all_dim"})))
        spec.problems.push_back({"error", "config.json: rope_parameters", "yarn with mscale is not implemented"});
    if (rope.scaling == "llama3" && rope.highFreqFactor <= rope.lowFreqFactor)
        return fail(Errc::Format, "high_freq_factor must be above low_freq_factor", where + ": rope_parameters");
    return {};
}

/// qwen2: `use_sliding_window` with `max_window_layers`, or transformers 5's explicit `layer_types`.
Expected<void> readWindows(const json& root, const Fields& fields, const std::string& where, ModelSpec& spec)
{
    Index window = spec.modelType == "mistral" && !root.contains("sliding_window") ? 4096 : 0;
    QS_CHECK(fields.read(window, {"sliding_window"}, 0));
    bool used = spec.modelType == "mistral";
    if (spec.modelType == "qwen2")
        QS_CHECK(fields.read(used, {"use_sliding_window"}));
    if (!used || window == 0)
        return {};
    spec.slidingWindow = window;
    const json* types = fields.get({"layer_types"});
    if (types) {
        if (!types->is_array() || types->size() > 100'000)
            return fail(Errc::Format, "must be a list of layer types", where + ": layer_types");
        for (const json& type : *types) {
            if (type != "full_attention" && type != "sliding_attention")
                return fail(
                    Errc::Format, "holds a type other than full_attention and sliding_attention", where + ": layer_types");
            spec.blockWindows.push_back(type == "sliding_attention" ? window : 0);
        }
    } else if (spec.modelType == "qwen2") {
        Index full = 28; // the default of its configuration class
        QS_CHECK(fields.read(full, {"max_window_layers"}, 0));
        for (Index block = 0; block < std::min<Index>(spec.blocks, 100'000); ++block)
            spec.blockWindows.push_back(block >= full ? window : 0);
    }
    return {};
}

void reportUnrunnable(const json& root, const Fields& fields, ModelSpec& spec)
{
    const auto error = [&](const char* field, std::string message) {
        spec.problems.push_back({"error", std::string("config.json: ") + field, std::move(message)});
    };
    if (const json* act = fields.get({"hidden_act", "activation_function"}); act && *act != "silu" && *act != "swish")
        error("hidden_act", "activation " + act->dump() + " is not implemented (only silu)");
    if (const json* quantized = fields.get({"quantization_config"}); quantized) {
        const std::string method
            = (quantized->is_object() ? quantized->value("quant_method", json("unknown")) : *quantized).dump();
        if (method != "\"compressed-tensors\"")
            error("quantization_config", "tensors of method " + method + " are not decoded");
    }
    if (root.value("model_type", json()) == "llama" && root.value("pretraining_tp", json(1)) != 1)
        spec.problems.push_back(
            {"info", "config.json: pretraining_tp", "tensor-parallel slicing is ignored: it changes no result"});
}

} // namespace

Expected<Description> describeConfig(std::string_view text, const std::string& where)
{
    const json root = json::parse(text, nullptr, false);
    if (root.is_discarded() || !root.is_object())
        return fail(Errc::Format, "is not a JSON object", where);
    const Fields fields(root, where);
    Description result;
    result.source = "config.json";
    ModelSpec& spec = result.spec;
    spec.family = Family::Llama;
    QS_CHECK(fields.read(spec.modelType, {"model_type"}));
    if (const json* names = fields.get({"architectures"});
        names && names->is_array() && !names->empty() && names->front().is_string())
        spec.architecture = names->front().get<std::string>();
    if (const json* dtype = fields.get({"dtype", "torch_dtype"}); dtype && dtype->is_string())
        result.dtype = dtype->get<std::string>();
    if (spec.modelType.empty()) {
        for (const auto& [architecture, type] :
            {std::pair{"LlamaForCausalLM", "llama"}, {"MistralForCausalLM", "mistral"}, {"Qwen2ForCausalLM", "qwen2"}})
            if (spec.architecture == architecture)
                spec.modelType = type;
    }
    if (spec.modelType != "llama" && spec.modelType != "mistral" && spec.modelType != "qwen2")
        return fail(Errc::Unsupported,
            "architecture " + (spec.architecture.empty() ? "" : spec.architecture + " ") + "(model_type '" + spec.modelType
                + "') is not one of llama, mistral, qwen2",
            where, "to look at its matrices alone, open a copy of the .safetensors file in a folder without config.json");
    if (spec.architecture.empty())
        spec.architecture = spec.modelType == "llama" ? "LlamaForCausalLM"
            : spec.modelType == "mistral"             ? "MistralForCausalLM"
                                                      : "Qwen2ForCausalLM";

    QS_CHECK(fields.read(spec.blocks, {"num_hidden_layers", "n_layer", "n_layers", "num_layers"}));
    QS_CHECK(fields.read(spec.hidden, {"hidden_size", "n_embd", "n_embed", "d_model", "dim"}));
    QS_CHECK(fields.read(spec.ffn, {"intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size"}));
    QS_CHECK(fields.read(spec.heads, {"num_attention_heads", "n_head", "n_heads", "num_heads"}));
    QS_CHECK(fields.read(spec.kvHeads, {"num_key_value_heads", "num_kv_heads", "n_head_kv"}));
    QS_CHECK(fields.read(spec.headDim, {"head_dim"}));
    QS_CHECK(fields.read(spec.vocab, {"vocab_size"}));
    QS_CHECK(fields.read(spec.context, {"max_position_embeddings", "n_positions", "max_sequence_length"}));
    for (const auto& [value, name] : {std::pair{spec.blocks, "num_hidden_layers"}, {spec.hidden, "hidden_size"},
             {spec.ffn, "intermediate_size"}, {spec.heads, "num_attention_heads"}, {spec.vocab, "vocab_size"}})
        if (value == 0)
            return fail(Errc::Format, "is missing", where + ": " + name, "complete the config.json");
    if (spec.context == 0)
        spec.context = spec.modelType == "llama" ? 2048
            : spec.modelType == "mistral"        ? 4096 * 32
                                                 : 32768; // the classes' defaults
    if (spec.headDim == 0) {
        if (spec.hidden % spec.heads != 0)
            return fail(
                Errc::Format, "does not divide hidden_size, and head_dim is not given", where + ": num_attention_heads");
        spec.headDim = spec.hidden / spec.heads;
    }
    spec.normEps = 1e-6;
    QS_CHECK(fields.read(spec.normEps, {"rms_norm_eps", "layer_norm_epsilon", "norm_eps"}, 0.0, 1.0));
    QS_CHECK(fields.read(spec.tiedEmbeddings, {"tie_word_embeddings"}));
    if (spec.modelType == "llama") {
        bool attention = false;
        QS_CHECK(fields.read(attention, {"attention_bias"}));
        QS_CHECK(fields.read(result.biasMlp, {"mlp_bias"}));
        result.biasQkv = result.biasO = attention;
    }
    result.biasQkv = result.biasQkv || spec.modelType == "qwen2";
    QS_CHECK(readRope(root, where, spec));
    QS_CHECK(readWindows(root, fields, where, spec));
    reportUnrunnable(root, fields, spec);
    return result;
}

} // namespace qs::model
