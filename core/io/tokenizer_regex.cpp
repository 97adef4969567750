// SPDX-License-Identifier: Apache-2.0
#include "core/io/tokenizer_regex.h"

#include "core/io/tokenizer_text.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>
#include <fmt/format.h>
#include <new>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

namespace qs::io::tok {

namespace {

constexpr std::size_t kMaxPattern = 1 << 16;
constexpr std::uint32_t kMatchLimit = 10'000'000;

// Oniguruma's sets, spelled for PCRE2: its own \s has U+180E in addition, its own \w lacks marks.
constexpr std::string_view kSpace = "\\t-\\r\\x{85}\\p{Z}";
constexpr std::string_view kWord = "\\p{Alphabetic}\\p{M}\\p{N}\\p{Pc}";
constexpr std::string_view kHex = "0-9a-fA-F";

class Translator {
public:
    Translator(std::string_view pattern, const std::string& where)
        : m_in(pattern)
        , m_where(where)
    {
    }

    Expected<std::string> run()
    {
        while (m_at < m_in.size())
            QS_CHECK(item());
        return std::move(m_out);
    }

private:
    tl::unexpected<Error> refuse(std::string_view what) const
    {
        return fail(Errc::Unsupported, fmt::format("regular expression {}: {} is not handled", shown(m_in), what), m_where);
    }
    tl::unexpected<Error> broken(std::string_view what) const
    {
        return fail(Errc::Format, fmt::format("regular expression {}: {}", shown(m_in), what), m_where);
    }
    char peek(std::size_t ahead = 0) const { return m_at + ahead < m_in.size() ? m_in[m_at + ahead] : '\0'; }
    void copyCodePoint()
    {
        const std::uint32_t n = codePointAt(m_in.substr(m_at)).length;
        m_out.append(m_in.substr(m_at, n));
        m_at += n;
    }
    void emit(std::string_view text) { m_out.append(text); }
    void emitSet(std::string_view set, bool negated) { m_out.append(negated ? "[^" : "[").append(set).append("]"); }

    Expected<void> item()
    {
        switch (peek()) {
        case '\\': m_atom = m_out.size(); return escape();
        case '[': m_atom = m_out.size(); return set();
        case '(': return open();
        case ')':
            if (!m_groups.empty()) {
                m_atom = m_groups.back();
                m_groups.pop_back();
            }
            copyCodePoint();
            return {};
        case '{': return interval();
        case '*':
        case '+':
        case '?':
        case '|':
        case '^':
        case '$': copyCodePoint(); return {};
        default:
            m_atom = m_out.size();
            copyCodePoint();
            return {};
        }
    }

    Expected<void> open()
    {
        if (peek(1) == '*')
            return refuse("a verb (*...)");
        if (peek(1) == '?') {
            std::size_t n = 2;
            while (std::string_view("imxs-").find(peek(n)) != std::string_view::npos && peek(n) != '\0')
                ++n;
            const std::string_view options = m_in.substr(m_at + 2, n - 2);
            if (n > 2 && (peek(n) == ':' || peek(n) == ')')) {
                if (options.find_first_of("ms") != std::string_view::npos)
                    return refuse("option m or s");
                if (peek(n) == ')') { // its scope differs from PCRE2's unless it stands first
                    if (!m_out.empty())
                        return refuse("an option that does not stand first");
                    emit(m_in.substr(m_at, n + 1));
                    m_at += n + 1;
                    return {};
                }
            } else if (peek(2) == '#' || peek(2) == '~' || peek(2) == '(') {
                return refuse(fmt::format("(?{}", peek(2)));
            }
            m_groups.push_back(m_out.size());
            emit(m_in.substr(m_at, n));
            m_at += n;
            return {};
        }
        m_groups.push_back(m_out.size());
        copyCodePoint();
        return {};
    }

    Expected<void> interval()
    {
        std::size_t n = 1;
        std::string low;
        std::string high;
        bool comma = false;
        while (peek(n) >= '0' && peek(n) <= '9')
            low.push_back(peek(n++));
        if (peek(n) == ',') {
            comma = true;
            ++n;
            while (peek(n) >= '0' && peek(n) <= '9')
                high.push_back(peek(n++));
        }
        if (peek(n) != '}' || (low.empty() && high.empty())) { // a literal brace
            m_atom = m_out.size();
            emit("\\{");
            ++m_at;
            return {};
        }
        m_at += n + 1;
        emit(comma ? fmt::format("{{{},{}}}", low.empty() ? "0" : low, high) : fmt::format("{{{}}}", low));
        // After an interval `+` repeats it (and `?` after {n} makes it optional); in PCRE2 they would change how it matches.
        if (peek() == '+' || (peek() == '?' && !comma)) {
            m_out.insert(m_atom, "(?:");
            emit(")");
            copyCodePoint();
        }
        return {};
    }

    Expected<void> unicodeEscape()
    {
        const std::string_view digits = m_in.substr(std::min(m_at + 2, m_in.size())).substr(0, 4);
        if (digits.size() != 4 || digits.find_first_not_of("0123456789abcdefABCDEF") != std::string_view::npos)
            return broken("\\u needs four hexadecimal digits");
        emit(fmt::format("\\x{{{}}}", digits));
        m_at += 6;
        return {};
    }

    /// Escapes that are the same inside and outside a set.
    Expected<void> commonEscape()
    {
        const char c = peek(1);
        if (c == 'Q' || c == 'E' || c == 'C')
            return refuse(fmt::format("\\{}", c));
        if (c == 'u')
            return unicodeEscape();
        if (c == 'x' && peek(2) != '{') {
            if (peek(2) >= '8')
                return refuse("\\x80 and above (a raw byte)");
            emit("\\x");
            m_at += 2;
            return {};
        }
        emit("\\");
        ++m_at;
        if ((c == 'p' || c == 'P' || c == 'x' || c == 'k' || c == 'g') && (peek(1) == '{' || peek(1) == '<')) {
            const std::size_t close = m_in.find(peek(1) == '{' ? '}' : '>', m_at);
            if (close == std::string_view::npos)
                return broken("a name without its end");
            emit(m_in.substr(m_at, close + 1 - m_at));
            m_at = close + 1;
            return {};
        }
        copyCodePoint();
        return {};
    }

    Expected<void> escape()
    {
        if (m_at + 1 >= m_in.size())
            return broken("ends in a backslash");
        std::string replacement;
        const auto boundary = [](std::string_view a, std::string_view b) {
            return fmt::format("(?:(?<=[{0}])(?{1}[{0}])|(?<![{0}])(?{2}[{0}]))", kWord, a, b);
        };
        switch (peek(1)) {
        case 's': emitSet(kSpace, false); break;
        case 'S': emitSet(kSpace, true); break;
        case 'w': emitSet(kWord, false); break;
        case 'W': emitSet(kWord, true); break;
        case 'h': emitSet(kHex, false); break;
        case 'H': emitSet(kHex, true); break;
        case 'b': emit(boundary("!", "=")); break;
        case 'B': emit(boundary("=", "!")); break;
        case 'v': emit("\\x{0b}"); break;
        default: return commonEscape();
        }
        m_at += 2;
        return {};
    }

    Expected<void> posixClass()
    {
        const std::size_t close = m_in.find(":]", m_at + 2);
        if (close == std::string_view::npos)
            return refuse("a set inside a set");
        const std::string_view name = m_in.substr(m_at + 2, close - m_at - 2);
        static constexpr std::array<std::pair<std::string_view, std::string_view>, 8> kNames{{{"alpha", "\\p{Alphabetic}"},
            {"digit", "\\p{Nd}"}, {"alnum", "\\p{Alphabetic}\\p{Nd}"}, {"upper", "\\p{Uppercase}"}, {"lower", "\\p{Lowercase}"},
            {"space", kSpace}, {"punct", "\\p{P}\\p{S}"}, {"word", kWord}}};
        for (const auto& [known, spelled] : kNames)
            if (known == name) {
                emit(spelled);
                m_at = close + 2;
                return {};
            }
        return refuse(fmt::format("[:{}:]", name));
    }

    Expected<void> set()
    {
        copyCodePoint();
        if (peek() == '^')
            copyCodePoint();
        if (peek() == ']') {
            emit("\\]");
            ++m_at;
        }
        while (m_at < m_in.size() && peek() != ']') {
            if (peek() == '[') {
                if (peek(1) != ':')
                    return refuse("a set inside a set");
                QS_CHECK(posixClass());
            } else if (peek() == '&' && peek(1) == '&') {
                return refuse("an intersection &&");
            } else if (peek() == '\\') {
                if (m_at + 1 >= m_in.size())
                    return broken("ends in a backslash");
                QS_CHECK(setEscape());
            } else {
                copyCodePoint();
            }
        }
        if (m_at >= m_in.size())
            return broken("a set without its end");
        copyCodePoint();
        return {};
    }

    Expected<void> setEscape()
    {
        switch (peek(1)) {
        case 's': emit(kSpace); break;
        case 'S': emit("\\S\\x{180e}"); break;
        case 'w': emit(kWord); break;
        case 'h': emit(kHex); break;
        case 'v': emit("\\x{0b}"); break;
        case 'W':
        case 'H': return refuse(fmt::format("\\{} in a set", peek(1)));
        default: return commonEscape();
        }
        m_at += 2;
        return {};
    }

    std::string_view m_in;
    const std::string& m_where;
    std::string m_out;
    std::size_t m_at = 0;
    std::size_t m_atom = 0; ///< Where the last repeatable item starts in m_out.
    std::vector<std::size_t> m_groups;
};

std::string pcreMessage(int code)
{
    std::array<PCRE2_UCHAR, 256> text{};
    pcre2_get_error_message(code, text.data(), text.size());
    return reinterpret_cast<const char*>(text.data());
}

} // namespace

struct Matcher::Data {
    const pcre2_code* code = nullptr;
    pcre2_match_data* match = nullptr;
    pcre2_match_context* context = nullptr;

    explicit Data(const pcre2_code* c)
        : code(c)
        , match(pcre2_match_data_create(1, nullptr))
        , context(pcre2_match_context_create(nullptr))
    {
        if (match == nullptr || context == nullptr)
            throw std::bad_alloc();
        pcre2_set_match_limit(context, kMatchLimit);
    }
    Data(const Data&) = delete;
    Data& operator=(const Data&) = delete;
    ~Data()
    {
        pcre2_match_data_free(match);
        pcre2_match_context_free(context);
    }

    int run(std::string_view subject, std::size_t from) const
    {
        const auto* text = reinterpret_cast<PCRE2_SPTR>(subject.data());
        int rc = pcre2_match(code, text, subject.size(), from, PCRE2_NO_UTF_CHECK, match, context);
        if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
            rc = pcre2_match(code, text, subject.size(), from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, match, context);
        return rc;
    }
};

Regex::Regex(std::shared_ptr<void> code)
    : m_code(std::move(code))
{
}

Expected<std::string> Regex::translate(std::string_view pattern, const std::string& where)
{
    return Translator(pattern, where).run();
}

Expected<Regex> Regex::compile(std::string_view pattern, const std::string& where)
{
    if (pattern.size() > kMaxPattern)
        return fail(
            Errc::Format, fmt::format("regular expression of {} bytes, more than {}", pattern.size(), kMaxPattern), where);
    QS_TRY(spelled, translate(pattern, where));
    const std::unique_ptr<pcre2_compile_context, decltype(&pcre2_compile_context_free)> context(
        pcre2_compile_context_create(nullptr), pcre2_compile_context_free);
    if (!context)
        throw std::bad_alloc();
    pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
    int error = 0;
    PCRE2_SIZE offset = 0;
    // Oniguruma's ^ and $ always match at lines.
    pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(spelled.data()), spelled.size(),
        PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error, &offset, context.get());
    if (code == nullptr)
        return fail(Errc::Format, fmt::format("regular expression {}: {}", shown(pattern), pcreMessage(error)), where);
    Regex regex(std::shared_ptr<void>(code, [](void* c) { pcre2_code_free(static_cast<pcre2_code*>(c)); }));
    pcre2_jit_compile(code, PCRE2_JIT_COMPLETE); // without it (hardened kernels) the interpreter gives the same matches

    // A pattern that backtracks without end on a plain run would do so on any document.
    const Matcher::Data probe(code);
    for (const std::string_view unit : {"a", "A", " ", "1", "\n", "'", "-", "aA1 "}) {
        std::string subject;
        while (subject.size() < 1000)
            subject += unit;
        for (const std::string_view tail : {"", "!", "b"}) {
            const int rc = probe.run(subject + std::string(tail), 0);
            if (rc < 0 && rc != PCRE2_ERROR_NOMATCH)
                return fail(Errc::Format, fmt::format("regular expression {}: {}", shown(pattern), pcreMessage(rc)), where);
        }
    }
    return regex;
}

Matcher::Matcher(const Regex& regex)
    : m_data(std::make_unique<Data>(static_cast<const pcre2_code*>(regex.code())))
{
}

Matcher::~Matcher() = default;
Matcher::Matcher(Matcher&&) noexcept = default;
Matcher& Matcher::operator=(Matcher&&) noexcept = default;

void Matcher::start(std::string_view subject)
{
    m_subject = subject;
    m_position = 0;
    m_lastEnd = static_cast<std::size_t>(-1);
}

bool Matcher::next(std::size_t& begin, std::size_t& end)
{
    while (m_position <= m_subject.size()) {
        const int rc = m_data->run(m_subject, m_position);
        if (rc == PCRE2_ERROR_NOMATCH) {
            m_position = m_subject.size() + 1;
            return false;
        }
        if (rc < 0)
            throw std::runtime_error("tokenizer regular expression: " + pcreMessage(rc));
        const PCRE2_SIZE* span = pcre2_get_ovector_pointer(m_data->match);
        if (span[1] < span[0] || span[0] < m_position)
            throw std::runtime_error("tokenizer regular expression: \\K moved a match backwards");
        if (span[0] == span[1] && span[1] == m_lastEnd) {
            m_position = span[1] + (span[1] < m_subject.size() ? codePointAt(m_subject.substr(span[1])).length : 1);
            continue;
        }
        begin = span[0];
        end = span[1];
        m_position = end;
        m_lastEnd = end;
        return true;
    }
    return false;
}

} // namespace qs::io::tok
