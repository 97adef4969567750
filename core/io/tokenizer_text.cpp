// SPDX-License-Identifier: Apache-2.0
#include "core/io/tokenizer_text.h"

#include <fmt/format.h>

namespace qs::io::tok {

namespace {

struct ByteAlphabet {
    std::array<std::uint32_t, 256> toCodePoint{};
    std::array<int, kByteAlphabetEnd> toByte{};
    std::array<std::array<char, 2>, 256> utf8{};
    std::array<std::uint8_t, 256> utf8Length{};

    ByteAlphabet()
    {
        toByte.fill(-1);
        std::uint32_t next = 0x100;
        for (std::uint32_t b = 0; b < 256; ++b) {
            const bool printable = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
            const std::uint32_t c = printable ? b : next++;
            toCodePoint[b] = c;
            toByte[c] = static_cast<int>(b);
            std::string text;
            appendUtf8(text, c);
            utf8Length[b] = static_cast<std::uint8_t>(text.size());
            for (std::size_t i = 0; i < text.size(); ++i)
                utf8[b][i] = text[i];
        }
    }
};

const ByteAlphabet& alphabet()
{
    static const ByteAlphabet instance;
    return instance;
}

} // namespace

CodePoint codePointAt(std::string_view text)
{
    const auto at = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
    const std::uint8_t lead = at(0);
    if (lead < 0x80)
        return {lead, 1, true};
    std::uint32_t trailing = 0;
    std::uint8_t low = 0x80;
    std::uint8_t high = 0xBF;
    std::uint32_t value = 0;
    if (lead >= 0xC2 && lead <= 0xDF) {
        trailing = 1;
        value = lead & 0x1FU;
    } else if (lead >= 0xE0 && lead <= 0xEF) {
        trailing = 2;
        value = lead & 0x0FU;
        if (lead == 0xE0)
            low = 0xA0;
        else if (lead == 0xED)
            high = 0x9F;
    } else if (lead >= 0xF0 && lead <= 0xF4) {
        trailing = 3;
        value = lead & 0x07U;
        if (lead == 0xF0)
            low = 0x90;
        else if (lead == 0xF4)
            high = 0x8F;
    } else {
        return {0xFFFD, 1, false};
    }
    for (std::uint32_t i = 1; i <= trailing; ++i) {
        if (i >= text.size() || at(i) < low || at(i) > high)
            return {0xFFFD, i, false};
        value = value << 6 | (at(i) & 0x3FU);
        low = 0x80;
        high = 0xBF;
    }
    return {value, trailing + 1, true};
}

void appendUtf8(std::string& text, std::uint32_t codePoint)
{
    const auto put = [&](std::uint32_t byte) { text.push_back(static_cast<char>(byte)); };
    if (codePoint < 0x80) {
        put(codePoint);
    } else if (codePoint < 0x800) {
        put(0xC0 | codePoint >> 6);
        put(0x80 | (codePoint & 0x3F));
    } else if (codePoint < 0x10000) {
        put(0xE0 | codePoint >> 12);
        put(0x80 | (codePoint >> 6 & 0x3F));
        put(0x80 | (codePoint & 0x3F));
    } else {
        put(0xF0 | codePoint >> 18);
        put(0x80 | (codePoint >> 12 & 0x3F));
        put(0x80 | (codePoint >> 6 & 0x3F));
        put(0x80 | (codePoint & 0x3F));
    }
}

bool isValidUtf8(std::string_view text)
{
    while (!text.empty()) {
        const CodePoint c = codePointAt(text);
        if (!c.valid)
            return false;
        text.remove_prefix(c.length);
    }
    return true;
}

std::string lossyUtf8(std::string_view bytes)
{
    std::string text;
    text.reserve(bytes.size());
    while (!bytes.empty()) {
        const CodePoint c = codePointAt(bytes);
        if (c.valid)
            text.append(bytes.substr(0, c.length));
        else
            appendUtf8(text, 0xFFFD);
        bytes.remove_prefix(c.length);
    }
    return text;
}

std::string escapedUtf8(std::string_view bytes)
{
    std::string text;
    while (!bytes.empty()) {
        const CodePoint c = codePointAt(bytes);
        if (c.valid)
            text.append(bytes.substr(0, c.length));
        else
            for (std::uint32_t i = 0; i < c.length; ++i)
                text += fmt::format("\\x{:02X}", static_cast<std::uint8_t>(bytes[i]));
        bytes.remove_prefix(c.length);
    }
    return text;
}

std::string shown(std::string_view text)
{
    constexpr std::size_t kLimit = 80;
    std::string cut(text.substr(0, kLimit));
    if (text.size() > kLimit) // not in the middle of a character
        while (!cut.empty() && (static_cast<std::uint8_t>(text[cut.size()]) & 0xC0U) == 0x80U)
            cut.pop_back();
    std::string result = "'";
    for (const char c : escapedUtf8(cut)) {
        if (static_cast<std::uint8_t>(c) < 0x20 || c == 0x7F)
            result += fmt::format("\\x{:02X}", static_cast<std::uint8_t>(c));
        else
            result.push_back(c);
    }
    return result + (text.size() > kLimit ? "...'" : "'");
}

bool isWhiteSpace(std::uint32_t c)
{
    return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A)
        || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

const std::array<std::uint32_t, 256>& byteToCodePoint()
{
    return alphabet().toCodePoint;
}

int codePointToByte(std::uint32_t codePoint)
{
    return codePoint < kByteAlphabetEnd ? alphabet().toByte[codePoint] : -1;
}

void appendByteAlphabet(std::string& target, std::string_view bytes)
{
    const ByteAlphabet& a = alphabet();
    for (const char c : bytes) {
        const auto b = static_cast<std::uint8_t>(c);
        target.append(a.utf8[b].data(), a.utf8Length[b]);
    }
}

} // namespace qs::io::tok
