// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/error.h"

#include <memory>
#include <string>
#include <string_view>

struct pcre2_real_code_8;

namespace qs {

/// A compiled PCRE2 expression (UTF, unanchored), for choosing layers by name.
///
/// Errors   compile(): InvalidArgument with PCRE2's message and the position in the expression.
/// Cost     matching is bounded by PCRE2's match and depth limits: an expression that would backtrack for ever does not match.
/// Threads  const members may be called concurrently.
/// Source   PCRE2 by Philip Hazel and others, BSD.
class Pattern {
public:
    static Expected<Pattern> compile(std::string_view expression);
    /// Whether the expression matches anywhere in `text`. Text that is not UTF-8 does not match.
    bool matches(std::string_view text) const;
    const std::string& expression() const { return m_expression; }

private:
    Pattern(std::shared_ptr<const pcre2_real_code_8> code, std::string expression);
    std::shared_ptr<const pcre2_real_code_8> m_code;
    std::string m_expression;
};

} // namespace qs
