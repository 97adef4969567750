// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/model/engine.h"

#include <functional>
#include <string>

namespace qs::model {

/// One linear layer, decoded.
struct Linear {
    LayerIndex index = -1;
    RowMatrix weight; ///< (out, in)
    RowMatrix bias; ///< (1, out), or empty.
    std::function<void(MutMatrixView, Index)> quantizeInput; ///< As LayerReplacement's.
};

/// What one decoder block computes with.
struct BlockWeights {
    RowMatrix attentionNorm, mlpNorm; ///< (1, hidden)
    Linear q, k, v, o, gate, up, down;
};

/// Decodes one block and asks `replacements` (may be null) for each of its layers.
/// Errors   NotFound for a missing layer; NotFinite with tensor and place; Mismatch for a replacement of another shape.
Expected<BlockWeights> loadBlock(const Model& model, int block, const Replacements* replacements, const JobContext& job);

/// Error NotFinite: "holds 3 values that are NaN or Inf, the first at (row, column)".
Expected<void> requireFinite(MatrixView matrix, const std::string& name);
Expected<RowMatrix> loadFinite(const Model& model, const std::string& name);

std::string embeddingName(const Model& model);
std::string finalNormName(const Model& model);

} // namespace qs::model
