// SPDX-License-Identifier: Apache-2.0
#include "model_files.h"
#include "validate.h"

#include "core/base/atomic_file.h"
#include "core/io/tokenizer.h"
#include "core/recipe/storage.h"

#include <fmt/format.h>
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

/// The rotation in the words of config.json.
Expected<nlohmann::json> ropeScaling(const model::Model& model)
{
    const model::RopeSpec& rope = model.spec().rope;
    const auto refuse = [&](std::string message) {
        return fail(Errc::Unsupported, std::move(message), model.checkpoint().path().string(),
            "export from the Hugging Face checkpoint instead");
    };
    if (!rope.factors.empty())
        return refuse("its rotary frequencies are a table (" + rope.factors + "), which no config.json can state");
    if (rope.dims != model.spec().headDim)
        return refuse(fmt::format("only {} of {} dimensions of a head are rotated, which no config.json of its kind can state",
            rope.dims, model.spec().headDim));
    if (rope.scaling == "none")
        return nlohmann::json();
    const auto context = static_cast<Index>(rope.originalContext);
    if (rope.scaling == "linear")
        return nlohmann::json{{"rope_type", "linear"}, {"factor", rope.factor}};
    if (rope.scaling == "llama3")
        return nlohmann::json{{"rope_type", "llama3"}, {"factor", rope.factor}, {"low_freq_factor", rope.lowFreqFactor},
            {"high_freq_factor", rope.highFreqFactor}, {"original_max_position_embeddings", context}};
    if (rope.scaling == "yarn")
        return nlohmann::json{{"rope_type", "yarn"}, {"factor", rope.factor}, {"original_max_position_embeddings", context},
            {"beta_fast", rope.betaFast}, {"beta_slow", rope.betaSlow}};
    return refuse("rope scaling '" + rope.scaling + "' cannot be written to a config.json");
}

Expected<nlohmann::json> configFromSpec(const model::Model& model)
{
    const auto& spec = model.spec();
    // GGUF calls mistral "llama": the window is what tells them apart.
    const std::string type = spec.modelType == "llama" && spec.slidingWindow > 0 ? "mistral" : spec.modelType;
    const std::map<std::string, std::string> classes
        = {{"llama", "LlamaForCausalLM"}, {"mistral", "MistralForCausalLM"}, {"qwen2", "Qwen2ForCausalLM"}};
    const auto known = classes.find(type);
    if (known == classes.end())
        return fail(Errc::Unsupported, "no config.json can be made for architecture '" + type + "'",
            model.checkpoint().path().string());
    nlohmann::json config = {{"architectures", {known->second}}, {"model_type", type}, {"hidden_size", spec.hidden},
        {"intermediate_size", spec.ffn}, {"num_hidden_layers", spec.blocks}, {"num_attention_heads", spec.heads},
        {"num_key_value_heads", spec.kvHeads}, {"head_dim", spec.headDim}, {"vocab_size", spec.vocab},
        {"max_position_embeddings", spec.context}, {"rms_norm_eps", spec.normEps}, {"rope_theta", spec.rope.theta},
        {"tie_word_embeddings", spec.tiedEmbeddings}, {"hidden_act", "silu"}, {"initializer_range", 0.02}, {"use_cache", true}};
    if (type == "llama") {
        config["attention_bias"] = model.tensor("model.layers.0.self_attn.q_proj.bias") != nullptr;
        config["mlp_bias"] = model.tensor("model.layers.0.mlp.down_proj.bias") != nullptr;
    }
    if (type == "mistral")
        config["sliding_window"] = spec.slidingWindow;
    if (type == "qwen2" && spec.slidingWindow > 0) {
        config["use_sliding_window"] = true;
        config["sliding_window"] = spec.slidingWindow;
        config["max_window_layers"] = 0;
    }
    QS_TRY(scaling, ropeScaling(model));
    if (!scaling.is_null())
        config["rope_scaling"] = scaling;
    return config;
}

/// What GGUF metadata say of the tokens that begin, end and fill a text, under the names of config.json and
/// generation_config.json.
nlohmann::json specialIds(const model::Model& model)
{
    nlohmann::json ids = nlohmann::json::object();
    const auto& meta = model.checkpoint().metadata();
    for (const auto& [key, name] :
        {std::pair{"tokenizer.ggml.bos_token_id", "bos_token_id"}, std::pair{"tokenizer.ggml.eos_token_id", "eos_token_id"},
            std::pair{"tokenizer.ggml.padding_token_id", "pad_token_id"}})
        if (const auto it = meta.find(key); it != meta.end()) {
            if (const auto* id = std::get_if<std::uint64_t>(&it->second))
                ids[name] = *id;
            else if (const auto* sid = std::get_if<std::int64_t>(&it->second))
                ids[name] = *sid;
        }
    return ids;
}

} // namespace

std::string configDifference(const model::ModelSpec& source, const model::ModelSpec& written)
{
    std::string text;
    const auto compare = [&](const char* what, double was, double is) {
        if (was != is && text.empty())
            text = fmt::format("says {} {}, the model has {}", what, is, was);
    };
    compare("hidden_size", static_cast<double>(source.hidden), static_cast<double>(written.hidden));
    compare("intermediate_size", static_cast<double>(source.ffn), static_cast<double>(written.ffn));
    compare("num_hidden_layers", static_cast<double>(source.blocks), static_cast<double>(written.blocks));
    compare("num_attention_heads", static_cast<double>(source.heads), static_cast<double>(written.heads));
    compare("num_key_value_heads", static_cast<double>(source.kvHeads), static_cast<double>(written.kvHeads));
    compare("head_dim", static_cast<double>(source.headDim), static_cast<double>(written.headDim));
    compare("vocab_size", static_cast<double>(source.vocab), static_cast<double>(written.vocab));
    compare("max_position_embeddings", static_cast<double>(source.context), static_cast<double>(written.context));
    compare("rms_norm_eps", source.normEps, written.normEps);
    compare("tie_word_embeddings", source.tiedEmbeddings ? 1 : 0, written.tiedEmbeddings ? 1 : 0);
    for (int block = 0; block < source.blocks && block < written.blocks; ++block)
        compare(
            "a sliding window of", static_cast<double>(source.windowOf(block)), static_cast<double>(written.windowOf(block)));
    const model::RopeSpec &was = source.rope, &is = written.rope;
    compare("rope_theta", was.theta, is.theta);
    compare("rotated dimensions", static_cast<double>(was.dims), static_cast<double>(is.dims));
    if (was.scaling != is.scaling && text.empty())
        text = "says rope scaling '" + is.scaling + "', the model has '" + was.scaling + "'";
    if (was.scaling != "none") {
        compare("rope factor", was.factor, is.factor);
        compare("original_max_position_embeddings", was.originalContext, is.originalContext);
    }
    return text;
}

DType plainType(const model::Model& model)
{
    const io::TensorInfo* embeddings = model.tensor("model.embed_tokens.weight");
    return embeddings ? recipe::denseStorageType(embeddings->dtype) : DType::F16;
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
        config.erase("compression_config");
    } else {
        QS_TRY(made, configFromSpec(model));
        config = std::move(made);
        config.update(specialIds(model));
    }
    config.erase("dtype");
    config["torch_dtype"] = dtype;
    return config;
}

Expected<std::vector<std::string>> writeSideFiles(
    const model::Model& model, const fs::path& folder, std::vector<recipe::Finding>& findings)
{
    std::vector<std::string> written;
    if (isGguf(model)) {
        if (const nlohmann::json ids = specialIds(model); !ids.empty()) {
            QS_CHECK(writeTextFile(folder / "generation_config.json", ids.dump(2) + "\n"));
            written.emplace_back("generation_config.json");
        }
        if (auto done = io::writeTokenizerFiles(model.checkpoint(), folder); !done) {
            if (done.error().code == Errc::Io)
                return tl::unexpected(std::move(done).error());
            findings.push_back(
                {"tokenizer", "warning", done.error().where, "no tokenizer is written: " + done.error().message});
            return written;
        }
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
    lintTokenizer(model, findings);
    return written;
}

} // namespace qs::plugins
