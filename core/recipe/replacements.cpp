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
    if (!known)
        return std::optional<model::LayerReplacement>();
    const bool own = m_assignment.layers[static_cast<std::size_t>(index)] != nullptr;
    if (!own && !takesRowFactors(m_runner->model().spec(), m_assignment, index))
        return std::optional<model::LayerReplacement>();
    QS_TRY(compressed, m_runner->compress(index, m_assignment, job));
    if (own) {
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
        replacement.quantizeInput
            = [kept, runner = m_runner](MutMatrixView x, Index window) { quantizeInput(*kept, x, window, runner->backend()); };
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

RecipeSize RecipeReplacements::size() const
{
    return recipeSize(m_runner->model(), m_assignment, layerBits());
}

} // namespace qs::recipe
