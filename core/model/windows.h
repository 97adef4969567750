// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/model/engine.h"

#include <string_view>

namespace qs::model {

inline constexpr Index kDefaultWindow = 2048; ///< Tokens, where the context is not shorter.

/// A text as windows of token ids, with the identities that belong into a provenance.
struct TokenizedText {
    Windows windows;
    Index available = 0; ///< Whole windows that the text holds.
    Index tokens = 0; ///< Tokens of the whole text.
    std::string tokenizerId;
    std::string digest; ///< Of the text's bytes.
    bool bos = false; ///< The tokenizer put BOS before the text.
};

/// Tokenizes a text and cuts it into windows of `seqLen` tokens (0: min(kDefaultWindow, context)), at most `maxWindows` (0:
/// all). Errors   NotFound without a tokenizer; Format, with the offset, for a text that is not UTF-8; InvalidArgument for a
/// length beyond the model's context, or a text shorter than one window.
Expected<TokenizedText> tokenizeText(const Model& model, std::string_view text, Index seqLen, Index maxWindows);

} // namespace qs::model
