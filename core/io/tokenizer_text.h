// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace qs::io::tok {

/// One code point and the bytes it takes. An ill-formed sequence gives U+FFFD and the length of its maximal subpart.
struct CodePoint {
    std::uint32_t value = 0;
    std::uint32_t length = 0; ///< Bytes, >= 1 for a non-empty input.
    bool valid = true;
};

/// Decodes the code point at the start of a non-empty text.
/// Source   Unicode 15, table 3-7 (well-formed UTF-8) and section 3.9 (substitution of maximal subparts).
CodePoint codePointAt(std::string_view text);
void appendUtf8(std::string& text, std::uint32_t codePoint);
bool isValidUtf8(std::string_view text);
/// Well-formed copy: every maximal ill-formed subpart becomes one U+FFFD, as Python's errors="replace" and Rust's lossy
/// conversion do.
std::string lossyUtf8(std::string_view bytes);
/// For display: ill-formed bytes are written \xNN.
std::string escapedUtf8(std::string_view bytes);
/// Text of a foreign file for a message: in single quotes, on one line, at most 80 bytes of it.
std::string shown(std::string_view text);
/// Unicode property White_Space.
bool isWhiteSpace(std::uint32_t codePoint);

/// The byte alphabet of byte-level BPE: printable Latin-1 bytes stand for themselves, the other 68 for U+0100 upward.
/// Source   Radford et al. 2019 (GPT-2), released encoder.
const std::array<std::uint32_t, 256>& byteToCodePoint();
constexpr std::uint32_t kByteAlphabetEnd = 0x144; ///< One past the largest code point of the byte alphabet.
int codePointToByte(std::uint32_t codePoint); ///< -1 if the code point is not in the byte alphabet.
/// Appends the bytes in the byte alphabet.
void appendByteAlphabet(std::string& target, std::string_view bytes);

} // namespace qs::io::tok
