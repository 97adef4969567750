// SPDX-License-Identifier: Apache-2.0
#include "core/model/block_weights.h"

#include "core/exec/parallel.h"

#include <atomic>
#include <cmath>
#include <fmt/format.h>
#include <iterator>
#include <utility>

namespace qs::model {
namespace {

/// All values of a row are finite exactly when x * 0 is 0 for each: a sum that vectors add quickly.
bool finiteRow(std::span<const float> row)
{
    constexpr std::size_t kParts = 8;
    float part[kParts] = {};
    std::size_t j = 0;
    for (; j + kParts <= row.size(); j += kParts)
        for (std::size_t p = 0; p < kParts; ++p)
            part[p] += row[j + p] * 0.0F;
    for (; j < row.size(); ++j)
        part[0] += row[j] * 0.0F;
    float sum = 0.0F;
    for (const float p : part)
        sum += p;
    return sum == 0.0F;
}

Expected<Linear> loadLinear(const Model& model, LayerIndex index, const Replacements* replacements, const JobContext& job)
{
    const LayerSpec& spec = model.spec().layers[static_cast<std::size_t>(index)];
    QS_CHECK(job.poll());
    Linear linear;
    linear.index = index;
    QS_TRY(weight, loadFinite(model, spec.weight));
    linear.weight = std::move(weight);
    if (!spec.bias.empty()) {
        QS_TRY(bias, loadFinite(model, spec.bias));
        linear.bias = std::move(bias);
    }
    if (!replacements)
        return linear;
    QS_TRY(replacement, replacements->layer(index, linear.weight, job));
    if (!replacement)
        return linear;
    if (!replacement->weight.empty()) {
        if (replacement->weight.rows() != spec.out || replacement->weight.cols() != spec.in)
            return fail(Errc::Mismatch,
                fmt::format("the replacement is {} x {}, the layer {} x {}", replacement->weight.rows(),
                    replacement->weight.cols(), spec.out, spec.in),
                spec.name);
        linear.weight = std::move(replacement->weight);
    }
    linear.quantizeInput = std::move(replacement->quantizeInput);
    return linear;
}

} // namespace

Expected<void> requireFinite(MatrixView matrix, const std::string& name)
{
    std::atomic<bool> finite{true};
    parallelFor(0, matrix.rows(), 64, [&](Index begin, Index end) {
        for (Index r = begin; r < end; ++r)
            if (!finiteRow(matrix.row(r)))
                finite = false;
    });
    if (finite)
        return {};
    Index count = 0, row = 0, col = 0;
    for (Index r = 0; r < matrix.rows(); ++r)
        for (Index c = 0; c < matrix.cols(); ++c)
            if (!std::isfinite(matrix(r, c)) && count++ == 0) {
                row = r;
                col = c;
            }
    return fail(Errc::NotFinite, fmt::format("holds {} values that are NaN or Inf, the first at ({}, {})", count, row, col),
        name, "the checkpoint is damaged: get it again");
}

Expected<RowMatrix> loadFinite(const Model& model, const std::string& name)
{
    QS_TRY(matrix, model.load(name));
    QS_CHECK(requireFinite(matrix, name));
    return std::move(matrix);
}

std::string embeddingName(const Model& model)
{
    const std::string name = "model.embed_tokens.weight";
    return model.tensor(name) ? name : "embed_tokens.weight";
}

std::string finalNormName(const Model& model)
{
    const std::string name = "model.norm.weight";
    return model.tensor(name) ? name : "norm.weight";
}

Expected<BlockWeights> loadBlock(const Model& model, int block, const Replacements* replacements, const JobContext& job)
{
    const ModelSpec& spec = model.spec();
    BlockWeights weights;
    const std::pair<const char*, Linear*> layers[] = {{"self_attn.q_proj", &weights.q}, {"self_attn.k_proj", &weights.k},
        {"self_attn.v_proj", &weights.v}, {"self_attn.o_proj", &weights.o}, {"mlp.gate_proj", &weights.gate},
        {"mlp.up_proj", &weights.up}, {"mlp.down_proj", &weights.down}};
    std::string prefix;
    constexpr double kLayers = std::size(layers);
    int number = 0;
    for (const auto& [module, target] : layers) {
        const JobContext part = job.part(number / kLayers, (number + 1) / kLayers);
        ++number;
        LayerIndex found = -1;
        for (std::size_t i = 0; i < spec.layers.size() && found < 0; ++i)
            if (spec.layers[i].block == block && spec.layers[i].module == module)
                found = static_cast<LayerIndex>(i);
        if (found < 0)
            return fail(Errc::NotFound, fmt::format("block {} has no {}", block, module), model.checkpoint().path().string());
        const std::string& name = spec.layers[static_cast<std::size_t>(found)].name;
        prefix = name.substr(0, name.size() - std::string_view(module).size());
        QS_TRY(linear, loadLinear(model, found, replacements, part));
        *target = std::move(linear);
    }
    QS_TRY(attentionNorm, loadFinite(model, prefix + "input_layernorm.weight"));
    QS_TRY(mlpNorm, loadFinite(model, prefix + "post_attention_layernorm.weight"));
    weights.attentionNorm = std::move(attentionNorm);
    weights.mlpNorm = std::move(mlpNorm);
    return weights;
}

} // namespace qs::model
