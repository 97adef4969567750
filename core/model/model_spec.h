// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/types.h"
#include "core/tensor/dtype.h"

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace qs::model {

/// Index into ModelSpec::layers; distinct from other numbers by name only where it crosses an interface.
using LayerIndex = int;

enum class Family {
    Llama, ///< RMSNorm, rotary attention with grouped KV heads, gated MLP: llama, mistral, qwen2.
    Plain, ///< Tensors without a config: every 2-D NAME.weight is a layer, nothing can be run.
};

/// Where an equivalent transform may act (table 2.2 of the method notes).
enum class SiteKind {
    AttentionIn, ///< S1: input norm -> q, k, v.
    ValueOut, ///< S2: v -> o.
    MlpIn, ///< S4: post-attention norm -> gate, up.
    UpDown, ///< S5: up -> down.
    Alone, ///< A plain matrix: nothing to fold into.
};

/// What a layer does in its block.
enum class LayerRole { Query, Key, Value, Output, Gate, Up, Down, Other };

struct LayerSpec {
    std::string name; ///< Hugging Face module name: "model.layers.3.mlp.down_proj".
    std::string module; ///< "mlp.down_proj"; the name itself for plain matrices.
    LayerRole role = LayerRole::Other; ///< From the Hugging Face name, also of a plain matrix that carries one.
    int block = -1;
    Index in = 0;
    Index out = 0;
    DType dtype = DType::Unknown; ///< Storage type in the checkpoint.
    std::string weight; ///< Hugging Face tensor name of W (out, in).
    std::string bias; ///< Hugging Face tensor name, or empty.
    std::string inputId; ///< Layers that read the same input share it: the name of the first of them.
    int site = -1; ///< Index into ModelSpec::sites.
    int fusionGroup = -1; ///< Index into ModelSpec::fusionGroups, or -1.
};

struct SiteSpec {
    SiteKind kind = SiteKind::Alone;
    int block = -1;
    std::string inputId;
    std::vector<LayerIndex> consumers;
    std::string producerNorm; ///< Tensor of the norm that absorbs a diagonal transform (S1, S4), or empty.
    LayerIndex producerLayer = -1; ///< Layer whose rows absorb it (S2, S5), or -1.
    bool diagonalFolds = false; ///< A free diagonal transform of the input can be folded into the producer.
    std::string whyNot; ///< The reason where it cannot ("v has 3 heads for 9 query heads: scales would have to be tied").
};

/// Layers that a runtime fuses into one matrix and that therefore need the same scheme.
struct FusionGroup {
    std::string name; ///< "model.layers.3.self_attn.qkv_proj".
    std::vector<LayerIndex> layers;
};

struct RopeSpec {
    double theta = 10000.0;
    Index dims = 0; ///< Rotated dimensions of a head.
    std::string scaling = "none"; ///< none | linear | llama3 | yarn | dynamic.
    double factor = 1.0, lowFreqFactor = 1.0, highFreqFactor = 4.0, originalContext = 0.0, attentionFactor = 0.0,
           betaFast = 32.0, betaSlow = 1.0;
    bool truncate = true; ///< yarn: whole numbers for the ends of the ramp.
    std::string factors; ///< Stored tensor that divides the frequencies (GGUF `rope_freqs.weight`), or empty.
};

struct Problem {
    std::string severity; ///< "error" | "warning" | "info".
    std::string where;
    std::string message;
};

/// What a checkpoint is made of, in Hugging Face terms, explained by config.json or GGUF metadata and checked against its
/// tensors.
struct ModelSpec {
    Family family = Family::Plain;
    std::string modelType; ///< "llama", "mistral", "qwen2"; empty for plain tensors.
    std::string architecture; ///< "LlamaForCausalLM" as the config says; "plain tensors".
    std::string name; ///< Display name: folder, or file without its suffix.
    std::string title; ///< What a GGUF file calls itself (general.name); may be empty.
    Index vocab = 0, hidden = 0, ffn = 0, heads = 0, kvHeads = 0, headDim = 0, blocks = 0, context = 0;
    Index slidingWindow = 0; ///< Keys that a query sees, itself included; 0: full attention.
    std::vector<Index> blockWindows; ///< The same per block, where blocks differ (qwen2); else empty.
    double normEps = 1e-5;
    RopeSpec rope;
    bool tiedEmbeddings = false;
    Index parameters = 0; ///< Elements of all tensors (a tied head counted once).
    std::vector<LayerSpec> layers; ///< In model order: block by block, q k v o gate up down.
    std::vector<SiteSpec> sites;
    std::vector<FusionGroup> fusionGroups;
    std::vector<Problem> problems;

    LayerIndex find(std::string_view layer) const; ///< -1 when there is none.
    Index windowOf(int block) const; ///< Sliding window of one block; 0: full attention.
    /// Why the model cannot be run (plain tensors, or the first problem of severity "error"); empty when it can.
    std::string whyNotRunnable() const;
    /// Layers that a recipe's "*" means: those of the blocks, or all of plain matrices.
    bool inBlocks(const LayerSpec& layer) const { return layer.block >= 0 || family == Family::Plain; }
};

} // namespace qs::model
