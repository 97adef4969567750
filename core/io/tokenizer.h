// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/error.h"
#include "core/io/checkpoint.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace qs::io {

/// Turns text into token ids and back.
///
/// Ill-formed UTF-8 is read as U+FFFD, one per maximal subpart, as the reference's lossy conversion does.
/// Errors   encode() throws std::runtime_error if a pattern of the file exceeds the backtracking limit on this text; a pattern
///          that does so on plain runs of one character is refused when the file is opened.
/// Cost     encode O(n log n) in the longest word, else linear.
/// Threads  const members may be called concurrently.
class Tokenizer {
public:
    virtual ~Tokenizer() = default;
    virtual std::string description() const = 0; ///< "byte-level BPE, 49152 tokens".
    virtual const std::string& id() const = 0; ///< Digest of vocabulary, merges and rules.
    virtual Index vocabularySize() const = 0; ///< Largest id + 1, added tokens included.
    /// Ids of the text with special tokens recognised, and BOS/EOS added exactly where the reference tokenizer's default does.
    virtual std::vector<std::int32_t> encode(std::string_view utf8) const = 0;
    /// Text with special tokens included; unknown ids give nothing.
    virtual std::string decode(std::span<const std::int32_t> ids) const = 0;
    virtual std::optional<std::int32_t> bos() const = 0;
    virtual bool addsBos() const = 0;
};

/// Reads tokenizer.json, or the one in a folder; the BOS token is the one that a tokenizer_config.json beside it names.
/// Handled  byte-level BPE; pre-tokenizers ByteLevel, Split, Digits, Punctuation, Whitespace, WhitespaceSplit, Sequence;
///          normalizer NFC; post-processors ByteLevel, TemplateProcessing, RobertaProcessing,
///          BertProcessing, Sequence.
/// Errors   NotFound, Io; Format or Unsupported naming file and field; Mismatch if tokenizer_config.json names an unknown
///          token.
/// Source   Hugging Face tokenizers 0.23, by its behaviour.
Expected<std::shared_ptr<const Tokenizer>> openTokenizerJson(const std::filesystem::path& path);
/// Reads tokenizer.ggml.* metadata of a GGUF checkpoint: model gpt2; pre smollm, starcoder, refact, gpt-2, phi-2, llama-bpe
/// (llama3, llama-v3), qwen2 (deepseek-r1-qwen), default. BOS and EOS are added as add_bos_token and add_eos_token say.
/// Errors   Format or Unsupported naming file and key.
Expected<std::shared_ptr<const Tokenizer>> openTokenizerGguf(const Checkpoint& checkpoint);
/// Writes the files that transformers loads (tokenizer.json, tokenizer_config.json) for a tokenizer in GGUF metadata into a
/// folder, which is made if needed. They give the same ids and the same Tokenizer::id().
/// Errors   those of openTokenizerGguf; Io.
Expected<void> writeTokenizerFiles(const Checkpoint& ggufCheckpoint, const std::filesystem::path& folder);

} // namespace qs::io
