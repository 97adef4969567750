// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/io/file_checkpoint.h"

namespace qs::io {

/// Opens a GGUF file of version 2 or 3; of a split model any part may be given, and all parts are opened.
///
/// Rules    the loader's of ggml: unique non-empty keys; known value types, no nested arrays; `general.alignment` a u32 power
/// of two,
///          multiple of 8; names of 1 to 63 bytes, unique; up to 4 extents >= 0 whose product fits; known type that is not
///          removed; first extent a multiple of the block; offsets equal the running sum of padded sizes; data inside the file.
/// Errors   Io, NotFound; Unsupported for version 1, later versions and big-endian files; Format naming file, key or tensor,
/// and rule. Source   ggml gguf.cpp of 2026-08 (as documented for GGUF v3).
Expected<CheckpointParts> readGguf(const std::filesystem::path& path);

} // namespace qs::io
