// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/io/checkpoint.h"
#include "core/recipe/exporter.h"

#include <cstddef>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace qs::plugins {

/// Writes tensors into one safetensors file, or into several with an index when they exceed the shard size.
class ShardWriter {
public:
    ShardWriter(std::filesystem::path folder, std::uint64_t shardBytes, const JobContext& job);

    /// A tensor whose bytes are in memory.
    Expected<void> add(std::string name, DType dtype, Shape shape, std::vector<std::byte> bytes);
    /// A tensor that is produced when its shard is written.
    Expected<void> add(io::TensorToWrite tensor);
    /// Writes the last shard and the index. Returns file names relative to the folder.
    Expected<std::vector<std::string>> finish();
    std::uint64_t totalBytes() const { return m_total; } ///< Of the tensors added, without headers.

private:
    Expected<void> flush();

    std::filesystem::path m_folder;
    std::uint64_t m_limit;
    const JobContext& m_job;
    std::vector<io::TensorToWrite> m_pending;
    std::uint64_t m_pendingBytes = 0;
    std::uint64_t m_total = 0;
    std::vector<std::vector<std::string>> m_shards; ///< Tensor names of the shards already written.
};

/// Runs `fill` on a temporary folder and puts it in place when it succeeds and no stop was asked for. Errors name places in the
/// target, never in the temporary folder.
Expected<recipe::ExportReport> writeFolder(const std::filesystem::path& target, const JobContext& job,
    const std::function<Expected<recipe::ExportReport>(const std::filesystem::path&)>& fill);

/// The error that refuses an export for a finding of severity "error".
Error refusal(const recipe::Finding& finding);

/// The first finding of severity "error", or null.
const recipe::Finding* firstError(const std::vector<recipe::Finding>& findings);

} // namespace qs::plugins
