// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/types.h"
#include "core/stats/dump.h"

#include <filesystem>
#include <string>
#include <string_view>

namespace qs::stats {

// Names and conventions of act-dump/1 that reader and writer share.
// - `/`: attributes schema, model_id, tokenizer_id, dataset_id, seq_len, n_tokens, policy, seed, created, producer
// - `/tokens`: int32 (samples, seq)
// - `/stats/<input>/fit`: count, non_finite, then sum, sumsq, sumabs, m3, m4, min, max (channels), gram (channels, channels)
// - `/stats/<input>/holdout`: the same
// - `/stats/<input>/sink`: count, min, max, sumsq of the first positions of the fit sequences
// - `/stats/<input>/holdout_sink`: the same of the held-out sequences; our addition, other readers may ignore it
// - `/layers/<layer>`: a group with the attribute input_id
// - `<input>:input`: raw tokens (tokens, channels)
//
// Of a Gram only the 256 x 256 tiles on and below the diagonal are written.
inline constexpr const char* kSchema = "act-dump/1";
inline constexpr const char* kInputSuffix = ":input";
inline constexpr Index kTile = 256;
inline constexpr Index kWidest = 65536; ///< Channels of an input: a Gram of that is 32 GiB.

/// A name as one link: "/" and "%" become "%2F" and "%25", and "." "%2E".
std::string linkName(std::string_view name);
std::string nameOfLink(std::string_view link);

/// Files that need no further check in this process: written by it, or checked before.
void markTrusted(const std::filesystem::path& file);
bool isTrusted(const std::filesystem::path& file);
/// Size and time of change of a file; part of a dump's id.
std::string fileIdentity(const std::filesystem::path& file);

} // namespace qs::stats
