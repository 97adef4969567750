// SPDX-License-Identifier: Apache-2.0
#include "core/model/tensor_names.h"

#include <array>
#include <charconv>
#include <optional>
#include <utility>

namespace qs::model {
namespace {

constexpr std::array<std::pair<std::string_view, std::string_view>, 9> kBlockParts{{
    {"attn_norm", "input_layernorm"},
    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},
    {"attn_v", "self_attn.v_proj"},
    {"attn_output", "self_attn.o_proj"},
    {"ffn_norm", "post_attention_layernorm"},
    {"ffn_gate", "mlp.gate_proj"},
    {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
}};
constexpr std::array<std::pair<std::string_view, std::string_view>, 3> kOtherParts{{
    {"token_embd", "model.embed_tokens"},
    {"output_norm", "model.norm"},
    {"output", "lm_head"},
}};

/// "12.rest" -> 12 and "rest"; nothing unless it is a plain number below a million.
std::optional<std::pair<int, std::string_view>> splitBlock(std::string_view text)
{
    int number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || end == text.data() + text.size() || *end != '.' || number < 0 || number > 999'999
        || (*text.data() == '0' && end != text.data() + 1))
        return std::nullopt;
    return std::pair{number, text.substr(static_cast<std::size_t>(end - text.data()) + 1)};
}

std::string fromGguf(std::string_view stored)
{
    const auto dot = stored.rfind('.');
    if (dot == std::string_view::npos)
        return std::string(stored);
    std::string_view stem = stored.substr(0, dot);
    const std::string_view suffix = stored.substr(dot); // ".weight" or ".bias"
    if (stem.starts_with("blk.")) {
        if (const auto split = splitBlock(stem.substr(4)))
            for (const auto& [part, hf] : kBlockParts)
                if (split->second == part)
                    return "model.layers." + std::to_string(split->first) + "." + std::string(hf) + std::string(suffix);
    }
    for (const auto& [part, hf] : kOtherParts)
        if (stem == part)
            return std::string(hf) + std::string(suffix);
    return std::string(stored);
}

} // namespace

TensorNames::TensorNames(const io::Checkpoint& checkpoint, bool gguf)
{
    if (!gguf && !checkpoint.find("model.embed_tokens.weight") && checkpoint.find("embed_tokens.weight"))
        m_prefix.clear();
    const std::string blockPrefix = m_prefix + "layers.";
    for (const io::TensorInfo& tensor : checkpoint.tensors()) {
        std::string name = gguf ? fromGguf(tensor.name) : tensor.name;
        if (std::string_view(name).starts_with(blockPrefix))
            if (const auto split = splitBlock(std::string_view(name).substr(blockPrefix.size())))
                m_blocks.insert(split->first);
        m_byName.emplace(name, &tensor);
        m_hfName.emplace(tensor.name, std::move(name));
    }
}

const io::TensorInfo* TensorNames::find(std::string_view hfName) const
{
    const auto found = m_byName.find(hfName);
    return found == m_byName.end() ? nullptr : found->second;
}

const std::string& TensorNames::hfName(const io::TensorInfo& tensor) const
{
    const auto found = m_hfName.find(tensor.name);
    return found == m_hfName.end() ? tensor.name : found->second;
}

} // namespace qs::model
