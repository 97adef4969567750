// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/error.h"
#include "core/exec/job_context.h"
#include "core/tensor/dtype.h"
#include "core/tensor/matrix.h"

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

namespace qs::io {

/// One tensor of a checkpoint as the file's header describes it.
struct TensorInfo {
    std::string name; ///< As stored ("blk.0.attn_q.weight", "model.layers.0.self_attn.q_proj.weight").
    DType dtype = DType::Unknown;
    Shape shape; ///< Outermost first, whatever the file's own order is.
    std::uint64_t bytes = 0; ///< Stored bytes, all parts included (codes, scales, zero points for a packed tensor).
    int file = 0; ///< Index into Checkpoint::files().
    std::uint64_t offset = 0; ///< Absolute offset in that file.
    std::string unknownType; ///< The type as the file spells it, where dtype is Unknown.

    Index rows() const; ///< Product of all extents but the last (1 for a scalar or vector).
    Index cols() const; ///< Last extent (1 for a scalar).
};

/// A metadata value of a GGUF file or of a safetensors `__metadata__` block.
using MetaValue = std::variant<bool, std::int64_t, std::uint64_t, double, std::string, std::vector<std::int64_t>,
    std::vector<double>, std::vector<std::string>, std::vector<bool>>;

/// Read-only access to a checkpoint on disk: headers parsed and checked, data memory-mapped and decoded on demand.
///
/// Errors   every file is hostile until checked: a broken header is a Format error that names the file, field and rule; a file
///          that shrinks under the mapping gives Io at the next read, not a crash.
/// Cost     opening touches headers only.   Threads   const members may be called concurrently.
class Checkpoint {
public:
    virtual ~Checkpoint() = default;

    virtual std::string format() const = 0; ///< "safetensors", "gguf", "compressed-tensors".
    virtual const std::filesystem::path& path() const = 0; ///< What was opened.
    virtual const std::vector<std::filesystem::path>& files() const = 0;
    virtual const std::vector<TensorInfo>& tensors() const = 0; ///< In file order.
    virtual const TensorInfo* find(std::string_view name) const = 0;
    virtual const std::map<std::string, MetaValue>& metadata() const = 0;
    /// Digest of the headers and file sizes: the identity of the model without reading its data.
    virtual const std::string& id() const = 0;

    /// Decodes rows [row, row + target.rows()) of a tensor (seen as rows() x cols()) into float32.
    virtual Expected<void> readRows(const TensorInfo& tensor, Index row, MutMatrixView target) const = 0;
    /// The stored bytes of a plain (not Packed) tensor, copied.
    virtual Expected<std::vector<std::byte>> readRaw(const TensorInfo& tensor) const = 0;
    /// Digest of the stored bytes; computed at the first call, then remembered.
    virtual Expected<std::string> tensorDigest(const TensorInfo& tensor) const = 0;

    /// Whole tensor as float32 (rows() x cols()).
    Expected<RowMatrix> readMatrix(const TensorInfo& tensor) const;
};

/// Opens a safetensors file, a `*.safetensors.index.json`, a Hugging Face folder (its index or single file), or a GGUF file
/// (split files by any of their parts). A folder whose config.json names compressed-tensors `pack-quantized` presents each
/// packed weight as one tensor NAME.weight of dtype Packed that decodes to what the runtime computes, (code - zero) * scale.
Expected<std::shared_ptr<const Checkpoint>> openCheckpoint(const std::filesystem::path& path);

/// What a safetensors file is written from.
struct TensorToWrite {
    std::string name;
    DType dtype = DType::F32; ///< A plain type.
    Shape shape;
    /// Writes the tensor's bytes (little-endian, C order) by calling the sink any number of times; called once, in file order.
    std::function<Expected<void>(const std::function<Expected<void>(std::span<const std::byte>)>&)> produce;
};

/// Writes a safetensors file atomically: temporary name, then rename; nothing is left behind on an error, a full disk or a stop
/// request. Order: dtype size descending, then name; header padded to 8 bytes; `__metadata__ {"format":"pt"}`,
/// with a `producer` where one is given.
Expected<void> writeSafetensors(const std::filesystem::path& target, std::vector<TensorToWrite> tensors, const JobContext& job,
    std::string_view producer = {});

} // namespace qs::io
