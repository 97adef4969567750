// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/io/file_checkpoint.h"

namespace qs::io {

constexpr std::uint64_t kMaxSafetensorsHeader = 100'000'000; ///< The format's own limit.

/// Maps a safetensors file, checks its header by every rule of the format and adds its tensors and metadata to `parts`.
///
/// Rules    size >= 8; header <= 100,000,000 bytes and inside the file; UTF-8 JSON object starting with '{'; no key twice;
///          metadata of strings only; byte ranges without gap, overlap or rest; byte count = elements x type.
/// Errors   Io, NotFound; Format naming file, tensor, field and rule. A tensor of an unknown type is kept and listed as
/// Unknown. Source   safetensors 0.8 reference implementation; stricter in that duplicate and unknown keys are refused.
Expected<void> addSafetensorsFile(const std::filesystem::path& path, CheckpointParts& parts);

/// Opens one file, or the shards that an index names.
Expected<CheckpointParts> readSafetensors(const std::filesystem::path& path);
Expected<CheckpointParts> readSafetensorsIndex(const std::filesystem::path& path);

} // namespace qs::io
