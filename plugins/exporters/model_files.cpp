// SPDX-License-Identifier: Apache-2.0
#include "model_files.h"

#include "core/base/atomic_file.h"
#include "core/io/tokenizer.h"

#include <nlohmann/json.hpp>

namespace qs::plugins {
namespace fs = std::filesystem;
namespace {

fs::path folderOf(const model::Model& model)
{
    const fs::path& path = model.checkpoint().path();
    std::error_code code;
    return fs::is_directory(path, code) ? path : path.parent_path();
}

bool isGguf(const model::Model& model)
{
    return model.checkpoint().format() == "gguf";
}

} // namespace

DType plainType(const model::Model& model)
{
    const io::TensorInfo* embeddings = model.tensor("model.embed_tokens.weight");
    if (embeddings && (embeddings->dtype == DType::F16 || embeddings->dtype == DType::BF16 || embeddings->dtype == DType::F32))
        return embeddings->dtype;
    return DType::F16;
}

std::string torchName(DType type)
{
    switch (type) {
    case DType::F32: return "float32";
    case DType::BF16: return "bfloat16";
    default: return "float16";
    }
}

Expected<nlohmann::json> configOf(const model::Model& model, const std::string& dtype)
{
    nlohmann::json config;
    if (!isGguf(model)) {
        const fs::path file = folderOf(model) / "config.json";
        QS_TRY(text, readTextFile(file));
        config = nlohmann::json::parse(text, nullptr, false);
        if (!config.is_object())
            return fail(Errc::Format, "is not a JSON object", file.string());
        config.erase("quantization_config");
    } else {
        const auto& spec = model.spec();
        const std::string type = spec.modelType.empty() ? "llama" : spec.modelType;
        const std::map<std::string, std::string> classes
            = {{"llama", "LlamaForCausalLM"}, {"mistral", "MistralForCausalLM"}, {"qwen2", "Qwen2ForCausalLM"}};
        const auto known = classes.find(type);
        if (known == classes.end())
            return fail(Errc::Unsupported, "no config.json can be made for architecture '" + type + "'",
                model.checkpoint().path().string());
        config = {{"architectures", {known->second}}, {"model_type", type}, {"hidden_size", spec.hidden},
            {"intermediate_size", spec.ffn}, {"num_hidden_layers", spec.blocks}, {"num_attention_heads", spec.heads},
            {"num_key_value_heads", spec.kvHeads}, {"head_dim", spec.headDim}, {"vocab_size", spec.vocab},
            {"max_position_embeddings", spec.context}, {"rms_norm_eps", spec.normEps}, {"rope_theta", spec.rope.theta},
            {"tie_word_embeddings", spec.tiedEmbeddings}, {"hidden_act", "silu"},
            {"attention_bias", model.tensor("model.layers.0.self_attn.q_proj.bias") != nullptr}, {"mlp_bias", false},
            {"initializer_range", 0.02}, {"use_cache", true}};
        if (spec.slidingWindow > 0)
            config["sliding_window"] = spec.slidingWindow;
        if (spec.rope.scaling == "linear")
            config["rope_scaling"] = {{"rope_type", "linear"}, {"factor", spec.rope.factor}};
        else if (spec.rope.scaling == "llama3")
            config["rope_scaling"] = {{"rope_type", "llama3"}, {"factor", spec.rope.factor},
                {"low_freq_factor", spec.rope.lowFreqFactor}, {"high_freq_factor", spec.rope.highFreqFactor},
                {"original_max_position_embeddings", static_cast<Index>(spec.rope.originalContext)}};
        else if (spec.rope.scaling != "none")
            return fail(Errc::Unsupported, "rope scaling '" + spec.rope.scaling + "' cannot be written to a config.json",
                model.checkpoint().path().string());
        const auto& meta = model.checkpoint().metadata();
        for (const auto& [key, name] :
            {std::pair{"tokenizer.ggml.bos_token_id", "bos_token_id"}, std::pair{"tokenizer.ggml.eos_token_id", "eos_token_id"},
                std::pair{"tokenizer.ggml.padding_token_id", "pad_token_id"}})
            if (const auto it = meta.find(key); it != meta.end()) {
                if (const auto* id = std::get_if<std::uint64_t>(&it->second))
                    config[name] = *id;
                else if (const auto* sid = std::get_if<std::int64_t>(&it->second))
                    config[name] = *sid;
            }
    }
    config.erase("dtype");
    config["torch_dtype"] = dtype;
    return config;
}

Expected<std::vector<std::string>> writeSideFiles(const model::Model& model, const fs::path& folder)
{
    std::vector<std::string> written;
    if (isGguf(model)) {
        QS_CHECK(io::writeTokenizerFiles(model.checkpoint(), folder));
        for (const char* name : {"tokenizer.json", "tokenizer_config.json"})
            written.emplace_back(name);
        return written;
    }
    for (const char* name : {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json",
             "chat_template.jinja", "tokenizer.model", "vocab.json", "merges.txt", "added_tokens.json", "LICENSE"}) {
        const fs::path source = folderOf(model) / name;
        std::error_code code;
        if (!fs::is_regular_file(source, code))
            continue;
        fs::copy_file(source, folder / name, code);
        if (code)
            return fail(Errc::Io, "cannot be copied: " + code.message(), source.string(), "free space on the target's disk");
        written.emplace_back(name);
    }
    return written;
}

} // namespace qs::plugins
