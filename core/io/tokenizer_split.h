// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/error.h"
#include "core/io/tokenizer_regex.h"

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace qs::io::tok {

/// What happens to a match and the text beside it.
enum class Behaviour { Isolated, Removed, MergedWithPrevious, MergedWithNext, Contiguous };

/// One pre-tokenizer of a tokenizer file, as written there.
struct PreStep {
    enum class Kind { Split, Digits, Whitespace, WhitespaceSplit, Punctuation, ByteLevel };
    Kind kind = Kind::ByteLevel;
    std::string pattern; ///< Split: an Oniguruma pattern, or literal text.
    bool patternIsRegex = true; ///< Split.
    Behaviour behaviour = Behaviour::Isolated; ///< Split, Punctuation.
    bool invert = false; ///< Split: what lies between the matches counts as match.
    bool individualDigits = false; ///< Digits.
    bool addPrefixSpace = false; ///< ByteLevel.
    bool useRegex = true; ///< ByteLevel: split by the GPT-2 pattern first.
};

/// GPT-2's split pattern (Radford et al. 2019, released encoder).
inline constexpr std::string_view kGpt2Pattern
    = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/// Text cut into words; the words are spans of one buffer.
struct Words {
    struct Span {
        std::size_t begin;
        std::size_t end;
    };
    std::string buffer;
    std::vector<Span> spans;

    std::string_view word(const Span& s) const { return std::string_view(buffer).substr(s.begin, s.end - s.begin); }
};

/// A sequence of pre-tokenizers, compiled.
///
/// Threads  immutable; every thread uses its own Runner.
class PreTokenizer {
public:
    /// Errors   Format or Unsupported for a pattern, naming `where` and the number of the step.
    static Expected<PreTokenizer> compile(const std::vector<PreStep>& steps, const std::string& where);

    /// Match memory for one thread.
    class Runner {
    public:
        explicit Runner(const PreTokenizer& owner);
        /// Cuts well-formed UTF-8. After a ByteLevel step the words are spelled in the byte alphabet. Cost O(text) per step.
        Words run(std::string_view text);

    private:
        const PreTokenizer& m_owner;
        std::vector<std::optional<Matcher>> m_matchers; ///< By step; none where the step has no pattern.
    };

private:
    struct Step {
        std::optional<Regex> regex;
        Behaviour behaviour = Behaviour::Isolated;
        bool invert = false;
        bool toBytes = false;
        bool addPrefixSpace = false;
    };
    std::vector<Step> m_steps;
};

} // namespace qs::io::tok
