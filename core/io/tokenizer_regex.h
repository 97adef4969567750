// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/error.h"

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace qs::io::tok {

/// A compiled Unicode regular expression of a tokenizer file.
///
/// Tokenizer files are written for Oniguruma's Ruby syntax. compile() rewrites the constructs whose meaning differs in PCRE2:
/// `\s`, `\w`, `\h`, `\b`, `\u0041`, `{n,m}+`, POSIX classes. It refuses those it cannot express (nested sets, `&&`, `(?m)`)
/// instead of matching something else silently.
/// Errors   Format for a pattern that does not compile; Unsupported for a construct above; both name `where`.
/// Threads  immutable; each thread uses its own Matcher.
class Regex {
public:
    static Expected<Regex> compile(std::string_view pattern, const std::string& where);
    /// The PCRE2 spelling of an Oniguruma pattern.
    static Expected<std::string> translate(std::string_view pattern, const std::string& where);

    const void* code() const { return m_code.get(); }

private:
    explicit Regex(std::shared_ptr<void> code);
    std::shared_ptr<void> m_code;
};

/// Successive matches in one subject after another; owns the match memory.
///
/// Errors   throws std::runtime_error when the backtracking limit is hit; patterns that hit it on plain runs do not compile.
class Matcher {
public:
    explicit Matcher(const Regex& regex);
    ~Matcher();
    Matcher(Matcher&&) noexcept;
    Matcher& operator=(Matcher&&) noexcept;

    void start(std::string_view subject); ///< Well-formed UTF-8; must outlive the search.
    /// The next match, left to right. An empty match directly after the previous match is skipped.
    bool next(std::size_t& begin, std::size_t& end);

    struct Data;

private:
    std::unique_ptr<Data> m_data;
    std::string_view m_subject;
    std::size_t m_position = 0;
    std::size_t m_lastEnd = static_cast<std::size_t>(-1);
};

} // namespace qs::io::tok
