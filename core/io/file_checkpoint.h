// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/digest.h"
#include "core/io/checkpoint.h"
#include "core/io/mapped_file.h"
#include "core/io/packed_weight.h"

#include <mutex>
#include <string_view>
#include <unordered_map>

namespace qs::io {

/// Limits that no real checkpoint comes near and that keep a hostile header from exhausting memory.
constexpr std::size_t kMaxTensors = 1'000'000;
constexpr std::size_t kMaxNameBytes = 1024;
constexpr std::size_t kMaxRank = 16;
constexpr std::size_t kMaxFiles = 4096;

/// What the parser of a format has found; every tensor has been checked to lie inside its file.
struct CheckpointParts {
    std::string format;
    std::filesystem::path path;
    std::vector<std::unique_ptr<const MappedFile>> files;
    std::vector<std::uint64_t> headerBytes; ///< Of each file: what counts for the identity.
    std::vector<TensorInfo> tensors;
    std::map<std::string, MetaValue> metadata;
    std::unordered_map<std::string, PackedWeight> packed; ///< By the name of a tensor of dtype Packed.
    std::string identity; ///< Anything else that decides what the tensors mean.
};

/// A checkpoint whose tensors are byte ranges of mapped files.
class FileCheckpoint final : public Checkpoint {
public:
    static Expected<std::shared_ptr<const Checkpoint>> create(CheckpointParts parts);

    std::string format() const override { return m_parts.format; }
    const std::filesystem::path& path() const override { return m_parts.path; }
    const std::vector<std::filesystem::path>& files() const override { return m_paths; }
    const std::vector<TensorInfo>& tensors() const override { return m_parts.tensors; }
    const TensorInfo* find(std::string_view name) const override;
    const std::map<std::string, MetaValue>& metadata() const override { return m_parts.metadata; }
    const std::string& id() const override { return m_id; }
    Expected<void> readRows(const TensorInfo& tensor, Index row, MutMatrixView target) const override;
    Expected<std::vector<std::byte>> readRaw(const TensorInfo& tensor) const override;
    Expected<std::string> tensorDigest(const TensorInfo& tensor) const override;

private:
    explicit FileCheckpoint(CheckpointParts parts);
    Expected<void> index();
    Expected<void> computeId();
    const MappedFile& file(const TensorInfo& tensor) const { return *m_parts.files[static_cast<std::size_t>(tensor.file)]; }
    Expected<const TensorInfo*> own(const TensorInfo& tensor) const;
    Expected<void> readPlain(const TensorInfo& tensor, Index row, MutMatrixView target) const;

    CheckpointParts m_parts;
    std::vector<std::filesystem::path> m_paths;
    std::unordered_map<std::string_view, const TensorInfo*> m_byName;
    std::string m_id;
    mutable std::mutex m_mutex;
    mutable std::unordered_map<std::string_view, std::string> m_digests; // guarded by m_mutex
};

/// Runs body over chunks in parallel and returns the error of the first chunk that has one.
Expected<void> parallelTry(Index begin, Index end, Index grain, const std::function<Expected<void>(Index, Index)>& body);

/// Adds a byte range of a file to a digest.
Expected<void> addBytes(Digest& digest, const MappedFile& file, std::uint64_t offset, std::uint64_t size);

} // namespace qs::io
