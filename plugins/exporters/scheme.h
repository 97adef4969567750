// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/model/model_spec.h"
#include "core/recipe/exporter.h"
#include "core/recipe/pipeline.h"

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

namespace qs::plugins {

/// How a layer's weight is quantized, in the words of compressed-tensors' QuantizationArgs.
struct WeightScheme {
    int bits = 0;
    bool symmetric = true;
    Index group = 0; ///< 0: one scale per row ("channel").
    bool wholeTensor = false; ///< All rows have the same. A checkpoint holds it once per row, as "channel".
    bool activationOrder = false; ///< actorder "group": columns are permuted and g_idx is stored.
    std::string scaleType; ///< "torch.float16", ...
    friend auto operator<=>(const WeightScheme&, const WeightScheme&) = default;
};

/// Scheme of a resolved pipeline for a layer of `cols` inputs; nothing when it has no integer grid.
/// Errors   Unsupported for a grid that the format cannot express (real zero points), naming it.
Expected<std::optional<WeightScheme>> weightScheme(const recipe::Pipeline& pipeline, Index cols);
nlohmann::json schemeJson(const WeightScheme& scheme);

/// Which layers have which scheme, and which are left alone.
struct SchemeMap {
    std::map<WeightScheme, std::vector<model::LayerIndex>> groups;
    std::vector<model::LayerIndex> ignored;
    bool uniform(const model::ModelSpec& spec) const; ///< Every layer of the blocks has the same scheme.
};
Expected<SchemeMap> schemeMap(const recipe::ExportInput& input);

/// Targets that match exactly these layers: "Linear" when they are all, one pattern per module where all blocks share it, else
/// exact names.
std::vector<std::string> targetsOf(const std::vector<model::LayerIndex>& layers, const model::ModelSpec& spec, bool all);

std::string layersText(std::size_t count); ///< "1 layer", "42 layers".

/// What the model's config and its tensors disagree about: eval and capture refuse such a model, and so does an export.
std::vector<recipe::Finding> lintModel(const model::ModelSpec& spec);

/// Lints that every runtime format shares: group divides, fusion groups uniform, grids expressible, activation grids, bit
/// widths, act-order.
std::vector<recipe::Finding> lintSchemes(const recipe::ExportInput& input);

} // namespace qs::plugins
