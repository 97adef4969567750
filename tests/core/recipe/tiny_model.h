// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/io/checkpoint.h"
#include "core/model/model.h"
#include "core/stats/dump.h"
#include "stages.h"

#include <filesystem>
#include <fstream>
#include <map>

namespace qs::test {

inline io::TensorToWrite tensorToWrite(std::string name, Shape shape, const RowMatrix& values, DType dtype = DType::F32)
{
    std::vector<std::byte> bytes;
    for (const float value : values.values()) {
        const std::uint16_t half = dtype == DType::BF16 ? floatToBfloat16(value) : floatToHalf(value);
        const auto raw = dtype == DType::F32 ? std::as_bytes(std::span(&value, 1)) : std::as_bytes(std::span(&half, 1));
        bytes.insert(bytes.end(), raw.begin(), raw.end());
    }
    return {std::move(name), dtype, std::move(shape),
        [bytes](const auto& sink) { return sink(std::span<const std::byte>(bytes)); }};
}

/// Plain matrices NAME.weight.
inline Expected<std::shared_ptr<const model::Model>> plainModel(
    const std::filesystem::path& file, const std::map<std::string, RowMatrix>& weights, DType dtype = DType::F32)
{
    std::vector<io::TensorToWrite> tensors;
    for (const auto& [name, W] : weights)
        tensors.push_back(tensorToWrite(name + ".weight", {W.rows(), W.cols()}, W, dtype));
    QS_CHECK(io::writeSafetensors(file, std::move(tensors), {}));
    return model::openModel(file);
}

/// One Llama block: hidden 16, two heads of 8 for queries and keys alike, ffn 32, vocabulary 24, tied embeddings, random
/// weights.
inline Expected<std::shared_ptr<const model::Model>> tinyLlama(const std::filesystem::path& folder, DType dtype = DType::F32)
{
    std::filesystem::create_directories(folder);
    std::ofstream(folder / "config.json")
        << R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 16,
        "intermediate_size": 32, "num_attention_heads": 2, "num_key_value_heads": 2, "num_hidden_layers": 1, "vocab_size": 24,
        "max_position_embeddings": 32, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true, "hidden_act": "silu"})";
    std::vector<io::TensorToWrite> tensors;
    unsigned seed = 900;
    const auto add = [&](const std::string& name, Index rows, Index cols) {
        RowMatrix W = randomMatrix(++seed, rows, cols);
        for (float& value : W.values())
            value = cols == 1 ? 1.0F + 0.1F * value : 0.2F * value;
        tensors.push_back(tensorToWrite(name, cols == 1 ? Shape{rows} : Shape{rows, cols}, W, dtype));
    };
    add("model.embed_tokens.weight", 24, 16);
    add("model.norm.weight", 16, 1);
    const std::string block = "model.layers.0.";
    add(block + "input_layernorm.weight", 16, 1);
    add(block + "post_attention_layernorm.weight", 16, 1);
    for (const char* name : {"q_proj", "k_proj", "v_proj", "o_proj"})
        add(block + "self_attn." + name + ".weight", 16, 16);
    add(block + "mlp.gate_proj.weight", 32, 16);
    add(block + "mlp.up_proj.weight", 32, 16);
    add(block + "mlp.down_proj.weight", 16, 32);
    QS_CHECK(io::writeSafetensors(folder / "model.safetensors", std::move(tensors), {}));
    return model::openModel(folder);
}

/// A dump in memory: tokens of each layer's input, the last tenth held out.
class MemoryDump final : public stats::CalibrationDump {
public:
    void add(const std::string& layer, RowMatrix tokens)
    {
        auto stats = std::make_shared<stats::InputStats>();
        stats->fit.channels = stats::ChannelSums(tokens.cols());
        stats->holdout.channels = stats::ChannelSums(tokens.cols());
        stats->sink = stats::ChannelSums(tokens.cols());
        const Index fit = tokens.rows() - tokens.rows() / 10;
        std::vector<Index> positions(static_cast<std::size_t>(tokens.rows()), 10);
        stats::accumulate(stats->fit, stats->sink, tokens.view().rowRange(0, fit), {positions.begin(), positions.begin() + fit},
            true, cpuBackend());
        stats::accumulate(stats->holdout, stats->sink, tokens.view().rowRange(fit, tokens.rows() - fit),
            {positions.begin() + fit, positions.end()}, true, cpuBackend());
        m_stats[layer] = std::move(stats);
        m_tokens[layer] = std::move(tokens);
    }
    /// Statistics made by hand, without raw tokens.
    void add(const std::string& layer, stats::InputStats stats)
    {
        m_stats[layer] = std::make_shared<const stats::InputStats>(std::move(stats));
    }
    const std::filesystem::path& path() const override { return m_path; }
    const stats::DumpInfo& info() const override { return m_info; }
    const std::string& id() const override { return m_id; }
    std::vector<std::string> inputIds() const override { return layers(); }
    std::string inputOf(const std::string& layer) const override { return m_stats.contains(layer) ? layer : std::string(); }
    Index widthOf(const std::string& layer) const override
    {
        const auto it = m_stats.find(layer);
        return it == m_stats.end() ? 0 : it->second->channels();
    }
    std::vector<std::string> layers() const override
    {
        std::vector<std::string> names;
        for (const auto& [name, stats] : m_stats)
            names.push_back(name);
        return names;
    }
    bool hasRawTokens(const std::string& layer) const override { return m_tokens.contains(layer); }
    bool hasGram(const std::string& layer) const override
    {
        const auto it = m_stats.find(layer);
        return it != m_stats.end() && it->second->fit.hasGram();
    }
    Expected<std::shared_ptr<const stats::InputStats>> stats(const std::string& layer) const override
    {
        const auto it = m_stats.find(layer);
        if (it == m_stats.end())
            return fail(Errc::NotFound, "the dump does not cover this layer", layer);
        return it->second;
    }
    Expected<RowMatrix> rawTokens(const std::string& layer, Index limit) const override
    {
        const auto it = m_tokens.find(layer);
        if (it == m_tokens.end())
            return fail(Errc::NotFound, "no raw tokens", layer);
        return RowMatrix(it->second.view().rowRange(0, limit > 0 ? std::min(limit, it->second.rows()) : it->second.rows()));
    }
    Expected<std::vector<std::vector<std::int32_t>>> tokenIds() const override { return fail(Errc::NotFound, "no token ids"); }

    void dropTokens() { m_tokens.clear(); }
    void setSeqLen(Index tokens) { m_info.seqLen = tokens; }
    void setId(std::string id) { m_id = std::move(id); }

private:
    std::filesystem::path m_path = "memory";
    stats::DumpInfo m_info;
    std::string m_id = "memory dump";
    std::map<std::string, std::shared_ptr<const stats::InputStats>> m_stats;
    std::map<std::string, RowMatrix> m_tokens;
};

/// Correlated tokens for every layer; layers of one site get the same.
inline std::shared_ptr<MemoryDump> dumpFor(const model::Model& model, Index tokens = 300)
{
    auto dump = std::make_shared<MemoryDump>();
    for (std::size_t i = 0; i < model.spec().layers.size(); ++i) {
        const auto& layer = model.spec().layers[i];
        dump->add(layer.name, correlatedTokens(50 + static_cast<unsigned>(layer.site), tokens, layer.in));
    }
    return dump;
}

} // namespace qs::test
