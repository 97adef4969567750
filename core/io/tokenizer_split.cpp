// SPDX-License-Identifier: Apache-2.0
#include "core/io/tokenizer_split.h"

#include "core/io/tokenizer_text.h"

#include <fmt/format.h>
#include <utility>

namespace qs::io::tok {

namespace {

/// The pattern that matches exactly this text.
std::string literal(std::string_view text)
{
    std::string pattern;
    for (const char c : text) {
        if (std::string_view("\\^$.|?*+()[]{}-&#~/ ").find(c) != std::string_view::npos)
            pattern.push_back('\\');
        pattern.push_back(c);
    }
    return pattern;
}

struct Part {
    Words::Span span;
    bool match;
};

/// Alternating parts that cover [begin, end).
void cut(Matcher& matcher, const Words& words, const Words::Span& within, bool invert, std::vector<Part>& parts)
{
    parts.clear();
    matcher.start(words.word(within));
    std::size_t done = 0;
    std::size_t begin = 0;
    std::size_t end = 0;
    const auto add = [&](std::size_t b, std::size_t e, bool match) {
        parts.push_back({{within.begin + b, within.begin + e}, match != invert});
    };
    while (matcher.next(begin, end)) {
        if (done != begin)
            add(done, begin, false);
        add(begin, end, true);
        done = end;
    }
    if (done != within.end - within.begin)
        add(done, within.end - within.begin, false);
}

void keep(std::vector<Words::Span>& target, const Words::Span& span)
{
    if (span.begin != span.end)
        target.push_back(span);
}

void arrange(const std::vector<Part>& parts, Behaviour behaviour, std::vector<Words::Span>& target)
{
    switch (behaviour) {
    case Behaviour::Isolated:
        for (const Part& p : parts)
            keep(target, p.span);
        return;
    case Behaviour::Removed:
        for (const Part& p : parts)
            if (!p.match)
                keep(target, p.span);
        return;
    case Behaviour::Contiguous: // runs of the same kind become one
        for (std::size_t i = 0; i < parts.size();) {
            std::size_t j = i + 1;
            while (j < parts.size() && parts[j].match == parts[i].match)
                ++j;
            keep(target, {parts[i].span.begin, parts[j - 1].span.end});
            i = j;
        }
        return;
    case Behaviour::MergedWithPrevious: // only the first match of a run joins the text before it
        for (std::size_t i = 0; i < parts.size(); ++i) {
            Words::Span span = parts[i].span;
            if (!parts[i].match && i + 1 < parts.size() && parts[i + 1].match)
                span.end = parts[++i].span.end;
            keep(target, span);
        }
        return;
    case Behaviour::MergedWithNext: // only the last match of a run joins the text behind it
        for (std::size_t i = 0; i < parts.size(); ++i) {
            Words::Span span = parts[i].span;
            if (parts[i].match && i + 1 < parts.size() && !parts[i + 1].match)
                span.end = parts[++i].span.end;
            keep(target, span);
        }
        return;
    }
}

Words spellBytes(const Words& words)
{
    Words out;
    out.buffer.reserve(words.buffer.size() + words.buffer.size() / 4);
    out.spans.reserve(words.spans.size());
    for (const Words::Span& s : words.spans) {
        const std::size_t begin = out.buffer.size();
        appendByteAlphabet(out.buffer, words.word(s));
        out.spans.push_back({begin, out.buffer.size()});
    }
    return out;
}

Words prefixed(const Words& words)
{
    Words out;
    out.buffer.reserve(words.buffer.size() + words.spans.size());
    for (const Words::Span& s : words.spans) {
        const std::size_t begin = out.buffer.size();
        const std::string_view word = words.word(s);
        if (!word.starts_with(' '))
            out.buffer.push_back(' ');
        out.buffer.append(word);
        out.spans.push_back({begin, out.buffer.size()});
    }
    return out;
}

} // namespace

Expected<PreTokenizer> PreTokenizer::compile(const std::vector<PreStep>& steps, const std::string& where)
{
    PreTokenizer result;
    for (std::size_t i = 0; i < steps.size(); ++i) {
        const PreStep& s = steps[i];
        Step step;
        std::string pattern;
        step.behaviour = s.behaviour;
        switch (s.kind) {
        case PreStep::Kind::Split:
            pattern = s.patternIsRegex ? s.pattern : literal(s.pattern);
            step.invert = s.invert;
            break;
        case PreStep::Kind::Digits:
            pattern = "\\p{N}";
            step.behaviour = s.individualDigits ? Behaviour::Isolated : Behaviour::Contiguous;
            break;
        case PreStep::Kind::Whitespace: { // the reference uses another regex engine here, whose \w is this set
            constexpr std::string_view kWordSet = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200c}\\x{200d}";
            pattern = fmt::format("[{0}]+|[^{0}\\s]+", kWordSet);
            step.behaviour = Behaviour::Removed;
            step.invert = true;
            break;
        }
        case PreStep::Kind::WhitespaceSplit:
            pattern = "\\s";
            step.behaviour = Behaviour::Removed;
            break;
        case PreStep::Kind::Punctuation: pattern = "[\\p{P}$+<=>^`|~]"; break;
        case PreStep::Kind::ByteLevel:
            if (s.useRegex)
                pattern = kGpt2Pattern;
            step.behaviour = Behaviour::Isolated;
            step.toBytes = true;
            step.addPrefixSpace = s.addPrefixSpace;
            break;
        }
        if (s.kind != PreStep::Kind::ByteLevel || s.useRegex) {
            QS_TRY(regex, Regex::compile(pattern, fmt::format("{}[{}]", where, i)));
            step.regex = std::move(regex);
        }
        result.m_steps.push_back(std::move(step));
    }
    return result;
}

PreTokenizer::Runner::Runner(const PreTokenizer& owner)
    : m_owner(owner)
{
    for (const Step& step : owner.m_steps) {
        m_matchers.emplace_back();
        if (step.regex)
            m_matchers.back().emplace(*step.regex);
    }
}

Words PreTokenizer::Runner::run(std::string_view text)
{
    Words words;
    words.buffer = text;
    keep(words.spans, {0, text.size()});
    std::vector<Part> parts;
    for (std::size_t i = 0; i < m_owner.m_steps.size(); ++i) {
        const Step& step = m_owner.m_steps[i];
        if (step.addPrefixSpace)
            words = prefixed(words);
        if (m_matchers[i]) {
            std::vector<Words::Span> spans;
            for (const Words::Span& s : words.spans) {
                cut(*m_matchers[i], words, s, step.invert, parts);
                arrange(parts, step.behaviour, spans);
            }
            words.spans = std::move(spans);
        }
        if (step.toBytes)
            words = spellBytes(words);
    }
    return words;
}

} // namespace qs::io::tok
