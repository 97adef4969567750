// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/model/engine.h"

#include <filesystem>
#include <string>

namespace qs::model {

struct CaptureOptions {
    Index samples = 0; ///< Windows; 0: min(128, what the text holds).
    Index seqLen = 0; ///< 0: min(2048, context).
    Index keepTokens = 0; ///< Raw token vectors to keep per layer input (the first T), of the layers of gramLayers.
    std::string gramLayers; ///< PCRE2 pattern (unanchored) of layers whose Gram and raw tokens are collected; empty: all.
    bool gramFloat32 = false;
    double holdoutShare = 0.1; ///< Share of the sequences kept apart; at least one where there are two or more sequences.
    std::uint64_t seed = 0; ///< Chooses which sequences are held out.
};

/// Runs a text through a model and writes an `act-dump/1` file: statistics of every layer input, fit, holdout and sink parts.
/// Errors   NotFound without a tokenizer or text; InvalidArgument for a text shorter than one window; Cancelled (nothing is
/// left behind). Products and Grams go through the backend. Memory   one decoded block, the Grams of its inputs, and the hidden
/// states.
Expected<void> capture(const std::shared_ptr<const Model>& model, const std::filesystem::path& text,
    const std::filesystem::path& target, const CaptureOptions& options, Backend& backend, const JobContext& job);

/// Bytes that the dump of a capture of all layers takes at most: for each distinct input one triangle of a float64 Gram matrix
/// of either part, and the kept tokens in float32. Its packing makes it smaller.
double largestDumpBytes(const ModelSpec& spec, Index keptTokens);

} // namespace qs::model
