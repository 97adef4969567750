// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/error.h"
#include "core/io/checkpoint.h"
#include "core/io/tokenizer.h"
#include "core/model/model_spec.h"

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace qs::model {

/// An opened model: spec plus checkpoint, with tensors presented under Hugging Face names and in Hugging Face row order (the
/// permutation of Q and K rows in GGUF files is undone).
///
/// Threads  const members may be called concurrently.
class Model {
public:
    virtual ~Model() = default;
    virtual const ModelSpec& spec() const = 0;
    virtual const io::Checkpoint& checkpoint() const = 0;
    /// Identity: the checkpoint's header digest.
    virtual const std::string& id() const = 0;
    /// The tensor behind a Hugging Face name, or null.
    virtual const io::TensorInfo* tensor(std::string_view hfName) const = 0;
    /// Hugging Face name of a stored tensor ("model.embed_tokens.weight" for "token_embd.weight"); the stored name when it has
    /// none.
    virtual std::string hfName(const io::TensorInfo& tensor) const = 0;
    /// A whole tensor in Hugging Face row order, float32; a vector is one row. NaN and Inf are passed on as they are stored.
    virtual Expected<RowMatrix> load(std::string_view hfName) const = 0;
    virtual Expected<std::string> digest(std::string_view hfName) const = 0;
    /// The model's tokenizer; NotFound when it has none.
    virtual Expected<std::shared_ptr<const io::Tokenizer>> tokenizer() const = 0;

    Expected<RowMatrix> loadWeight(const LayerSpec& layer) const { return load(layer.weight); }
};

/// Opens a Hugging Face folder, a safetensors file or index, or a GGUF file. A config.json beside a single file is used where
/// it describes that file; without one the result is a set of plain tensors. What contradicts the tensors is listed in the
/// spec's problems. Errors   those of openCheckpoint; Unsupported for an architecture that is not of the Llama family (the
/// message names it);
///          Format for a config.json whose folder has no tensors.
Expected<std::shared_ptr<const Model>> openModel(const std::filesystem::path& path);

/// Unsupported, with the reason, for a model that cannot be run: plain tensors, or a config that contradicts the tensors.
Expected<void> requireRunnable(const Model& model);

} // namespace qs::model
