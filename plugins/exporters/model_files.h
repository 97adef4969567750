// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/model/model.h"
#include "core/recipe/exporter.h"

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace qs::plugins {

/// config.json of a model: the folder's own, or made from the spec of a GGUF file. `dtype` ("float16") is what plain tensors
/// are stored as.
Expected<nlohmann::json> configOf(const model::Model& model, const std::string& dtype);

/// Copies the tokenizer's and generation files beside a Hugging Face checkpoint, or writes them from GGUF metadata.
/// Returns the names of the files written; a GGUF tokenizer that cannot be written is a warning. Errors: Io.
Expected<std::vector<std::string>> writeSideFiles(
    const model::Model& model, const std::filesystem::path& folder, std::vector<recipe::Finding>& findings);

/// What a model read back from an export computes differently from the one it was made of, in words; empty when nothing.
std::string configDifference(const model::ModelSpec& source, const model::ModelSpec& written);

/// The type that a config.json names: that of the stored embeddings.
DType plainType(const model::Model& model);
std::string torchName(DType type); ///< "float16", "bfloat16", "float32".

} // namespace qs::plugins
