// SPDX-License-Identifier: Apache-2.0
#include "core/recipe/runner.h"

namespace qs::recipe {

RecipeReplacements::RecipeReplacements(std::shared_ptr<const Runner> runner, Assignment assignment)
    : m_runner(std::move(runner))
    , m_assignment(std::move(assignment))
{
}

Expected<std::optional<model::LayerReplacement>> RecipeReplacements::layer(
    model::LayerIndex index, MatrixView /*original*/, const JobContext& job) const
{
    const bool known = index >= 0 && static_cast<std::size_t>(index) < m_assignment.layers.size();
    if (!known || !m_assignment.layers[static_cast<std::size_t>(index)])
        return std::optional<model::LayerReplacement>();
    QS_TRY(compressed, m_runner->compress(index, m_assignment, job));
    {
        const std::lock_guard lock(m_mutex);
        m_bits.insert_or_assign(index, compressed.bits);
    }
    model::LayerReplacement replacement;
    replacement.weight = std::move(compressed.What);
    if (compressed.activation) {
        // What quantizeInput() needs, without the codes.
        auto kept = std::make_shared<CompressedLayer>();
        kept->inputTransform = compressed.inputTransform;
        kept->activation = compressed.activation;
        replacement.quantizeInput = [kept](MutMatrixView x) { quantizeInput(*kept, x); };
    }
    return std::optional<model::LayerReplacement>(std::move(replacement));
}

quant::BitsCount RecipeReplacements::bits() const
{
    quant::BitsCount total;
    for (const auto& [layer, bits] : layerBits()) {
        total.codes += bits.codes;
        total.scales += bits.scales;
        total.zeros += bits.zeros;
        total.indices += bits.indices;
        total.other += bits.other;
        total.weights += bits.weights;
    }
    return total;
}

std::map<model::LayerIndex, quant::BitsCount> RecipeReplacements::layerBits() const
{
    const std::lock_guard lock(m_mutex);
    return m_bits;
}

RecipeSize recipeSize(const model::Model& model, const std::map<model::LayerIndex, quant::BitsCount>& compressed)
{
    RecipeSize size;
    double layerBits = 0;
    double layerWeights = 0;
    std::map<std::string, bool> replaced; // stored names
    for (const auto& [index, bits] : compressed) {
        layerBits += bits.total();
        layerWeights += static_cast<double>(bits.weights);
        if (const io::TensorInfo* info = model.tensor(model.spec().layers[static_cast<std::size_t>(index)].weight))
            replaced.emplace(info->name, true);
    }
    double fileBits = layerBits;
    double elements = layerWeights;
    for (const io::TensorInfo& tensor : model.checkpoint().tensors()) {
        if (replaced.contains(tensor.name))
            continue;
        fileBits += 8.0 * static_cast<double>(tensor.bytes);
        elements += static_cast<double>(elementCount(tensor.shape).value_or(0));
    }
    size.bitsLayers = layerWeights > 0 ? layerBits / layerWeights : 0.0;
    size.bytesFile = fileBits / 8.0;
    size.bitsFile = elements > 0 ? fileBits / elements : 0.0;
    return size;
}

} // namespace qs::recipe
