// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/io/checkpoint.h"
#include "core/model/model.h"
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
    std::string doubt; ///< Why no "yes" can be said although nothing is refused; empty otherwise.
    std::string roundedScales; ///< What vLLM does to scales of another type than the model's; empty where that is nothing.
};
/// Looks the facts up in the runtime table (runtimes.json).
std::vector<recipe::RuntimeVerdict> verdicts(const CheckpointFacts& facts);
/// The same for a compressed-tensors checkpoint that is not written yet. What its lints refuse nothing loads.
std::vector<recipe::RuntimeVerdict> verdictsBefore(const recipe::ExportInput& input, const std::vector<recipe::Finding>& lints);

Expected<recipe::ValidationReport> validateCheckpoint(const std::filesystem::path& path, const JobContext& job);
/// NaN and Inf in any tensor and constant weights, found by decoding everything once.
Expected<void> lintValues(const model::Model& model, std::vector<recipe::Finding>& findings, const JobContext& job);
/// A warning where the model has no tokenizer, or none that can be read.
void lintTokenizer(const model::Model& model, std::vector<recipe::Finding>& findings);
/// Lints of the tensors as they lie in the safetensors files: metadata, and scales (finite, above 0, of the model's type).
/// `modelType`: what config.json names, or empty.
Expected<void> lintTensors(const io::Checkpoint& checkpoint, const std::string& modelType, CheckpointFacts& facts,
    std::vector<recipe::Finding>& findings, const JobContext& job);
Expected<recipe::ValidationReport> validateLlmCompressor(const std::filesystem::path& path);
Expected<recipe::ValidationReport> validateQuantscope(const std::filesystem::path& path, const recipe::StageRegistry& stages);

} // namespace qs::plugins
