// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/model/engine.h"

#include <limits>
#include <map>
#include <string>
#include <vector>

namespace qs::model {

struct EvalOptions {
    Index seqLen = 0; ///< 0: min(2048, context).
    Index maxTokens = 0; ///< Tokens of text used at most (0: all); rounded down to whole windows.
};

/// Scores of one candidate on a text. Windows do not overlap, each predicts seqLen - 1 tokens, the tail is dropped.
///   perplexity = exp(nll), perplexity_se = ppl * sd(token nll) / sqrt(n); KL = sum p ln(p / q), p the reference, per predicted
///   token. kl_p99 = the ceil(0.99 n)-th smallest of the n tokens' KL (nearest rank, no interpolation).
struct EvalScores {
    double perplexity = 0, perplexitySe = 0, nll = 0;
    Index tokens = 0; ///< Predicted tokens.
    bool hasReference = false;
    double klMean = 0, klSe = 0, klP99 = 0, top1Agreement = 0;
    double deltaNll = 0, deltaNllSe = 0; ///< Candidate minus reference; the standard error is paired over windows.
    double seconds = 0;
};

struct EvalCandidate {
    std::string name;
    const Replacements* replacements = nullptr; ///< Null: the model as it is stored.
    std::shared_ptr<const Model> model; ///< Null: the model under evaluation. A second model needs the same vocabulary.
};

struct EvalReport {
    EvalScores reference; ///< The float model (hasReference is false).
    std::vector<EvalScores> candidates;
    std::map<std::string, std::string> protocol; ///< text digest, windows, seq_len, bos, join, kl direction, ...
};

/// Perplexity of the model and, for every candidate, its scores against the model. Final hidden states of both are kept and the
/// logits are computed tile by tile, so memory does not grow with the vocabulary. The protocol names the backend.
Expected<EvalReport> evaluate(const std::shared_ptr<const Model>& model, std::string_view text,
    const std::vector<EvalCandidate>& candidates, const EvalOptions& options, Backend& backend, const JobContext& job);

} // namespace qs::model
