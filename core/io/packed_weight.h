// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/io/checkpoint.h"
#include "core/io/mapped_file.h"

#include <optional>
#include <span>

namespace qs::io {

/// One weight of a compressed-tensors `pack-quantized` checkpoint and the tensors that it is made of.
///
///   weight[o, i] = (code[o, i] - zero[o, g(i)]) * scale[o, g(i)]        in float32, scales widened exactly
///
/// Shapes   codes: I32 (out, ceil(in * bits / 32)); scale: (out, groups), or one value; zero: I32 (ceil(out * bits / 32),
/// groups),
///          packed down the columns; groupIndex: I32 (in), the group of each column.
/// Source   compressed-tensors 0.18.
struct PackedWeight {
    TensorInfo codes;
    TensorInfo scale;
    std::optional<TensorInfo> zero;
    std::optional<TensorInfo> groupIndex;
    Index out = 0;
    Index in = 0;
    Index groups = 1;
    Index groupSize = 0; ///< Columns per group where there is no groupIndex.
    int bits = 0;
    bool perTensor = false; ///< One scale for all.

    std::vector<const TensorInfo*> parts() const;
};

using MappedFiles = std::span<const std::unique_ptr<const MappedFile>>;

/// Decodes rows [row, row + target.rows()). The caller has checked the range.
/// Errors   Io; Format when a column's group index is outside 0..groups - 1.
Expected<void> readPackedRows(const PackedWeight& weight, MappedFiles files, Index row, MutMatrixView target);

struct CheckpointParts;

/// Replaces the parts of packed weights in `parts.tensors` by one tensor NAME.weight each, if the folder's config.json says
/// that the checkpoint is compressed-tensors; leaves everything as it is otherwise. Errors   Format where config and tensors
/// disagree; Unsupported for a compressed-tensors format that cannot be decoded.
Expected<void> foldPackedWeights(CheckpointParts& parts, const std::filesystem::path& folder);

} // namespace qs::io
