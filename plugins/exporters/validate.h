// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/recipe/exporter.h"

#include <set>

namespace qs::plugins {

/// What decides whether a runtime loads a checkpoint.
struct CheckpointFacts {
    std::string format; ///< "compressed-tensors", "safetensors", "gguf".
    std::set<int> symmetricBits, asymmetricBits;
    std::set<Index> groups; ///< 0: one scale per row.
    bool fusionUniform = true;
    bool sparsityTargets = false;
    bool activationOrder = false; ///< Columns are grouped by g_idx.
    bool broken = false; ///< A finding of severity error.
    bool plain = false; ///< Tensors without a config: nothing says what to build of them.
    std::string uncheckedMethod; ///< quant_method of a format that is not checked here; empty otherwise.
};
/// Looks the facts up in the runtime table (runtimes.json).
std::vector<recipe::RuntimeVerdict> verdicts(const CheckpointFacts& facts);

Expected<recipe::ValidationReport> validateCheckpoint(const std::filesystem::path& path, const JobContext& job);
Expected<recipe::ValidationReport> validateLlmCompressor(const std::filesystem::path& path);
Expected<recipe::ValidationReport> validateQuantscope(const std::filesystem::path& path, const recipe::StageRegistry& stages);

} // namespace qs::plugins
