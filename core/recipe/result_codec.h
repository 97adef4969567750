// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/recipe/runner.h"
#include "core/store/result_cache.h"

namespace qs::recipe {

/// What a result cache keeps of a compressed layer: codes, scales, zeros, the diagonal transform, row factors, mask and
/// reports. What is rebuilt from them and stored only where rebuilding does not give its exact bits. Nothing for a transform
/// that is not diagonal.
std::optional<store::CacheEntry> encodeResult(const CompressedLayer& layer, Backend& backend);
/// The layer again, bit for bit. Shapes W: (rows, cols). Error Format for an entry that does not describe a (rows, cols)
/// result.
Expected<CompressedLayer> decodeResult(
    const store::CacheEntry& entry, const StageRegistry& registry, Index rows, Index cols, Backend& backend);

/// diag(1/outputScale) (stored T): the effective weight of what is stored.
RowMatrix effectiveWeight(MatrixView stored, const SiteTransform* transform, const std::vector<double>& outputScale);

nlohmann::json metricsToJson(const LayerMetrics& metrics);
Expected<LayerMetrics> metricsFromJson(const nlohmann::json& json);

} // namespace qs::recipe
