// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/error.h"
#include "core/io/checkpoint.h"
#include "core/model/model_spec.h"

#include <string>
#include <string_view>

namespace qs::model {

/// No extent of a real model comes near it, and products of two stay far from overflow.
inline constexpr Index kLargestExtent = Index{1} << 31;

/// What config.json or GGUF metadata say about a model, before its tensors are looked at. 0 where they say nothing.
struct Description {
    ModelSpec spec; ///< Hyperparameters and problems; no layers yet.
    std::string source; ///< "config.json" or "metadata", for messages.
    bool biasFromTensors = false; ///< GGUF: a bias is used wherever it is stored.
    bool biasQkv = false, biasO = false, biasMlp = false; ///< Else: which layers have one.
    bool tiedKnown = true; ///< GGUF: embeddings are tied when there is no output tensor.
    std::string dtype; ///< config.json: "bfloat16", ...; what transformers loads the model as.
    bool permutedQk = false; ///< Rows of Q and K are stored for interleaved rotation (GGUF architecture "llama").
};

/// Reads the text of a config.json.
/// Errors   Format for text that is not JSON, or a field of the wrong type or out of range (named); Unsupported for another
/// architecture. Source   `formats.md` 1.4 (synonyms, `rope_parameters` and `dtype` of transformers 5).
Expected<Description> describeConfig(std::string_view json, const std::string& where);

/// Reads GGUF metadata. Errors as describeConfig; NotFound without `general.architecture`.
Expected<Description> describeGguf(const io::Checkpoint& checkpoint);

} // namespace qs::model
