// SPDX-License-Identifier: Apache-2.0
#define PCRE2_CODE_UNIT_WIDTH 8
#include "core/base/pattern.h"

#include <cstdint>
#include <new>
#include <pcre2.h>

namespace qs {
namespace {

constexpr std::size_t kLongest = 4096; // bytes of an expression: names of layers need no more
constexpr std::uint32_t kMatchLimit = 1'000'000;
constexpr std::uint32_t kDepthLimit = 10'000;

} // namespace

Pattern::Pattern(std::shared_ptr<const pcre2_real_code_8> code, std::string expression)
    : m_code(std::move(code))
    , m_expression(std::move(expression))
{
}

Expected<Pattern> Pattern::compile(std::string_view expression)
{
    if (expression.size() > kLongest)
        return fail(Errc::InvalidArgument, "expression is longer than " + std::to_string(kLongest) + " bytes");
    int number = 0;
    PCRE2_SIZE offset = 0;
    pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(expression.data()), expression.size(),
        PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &number, &offset, nullptr);
    if (!code) {
        PCRE2_UCHAR message[256] = {};
        pcre2_get_error_message(number, message, sizeof message);
        return fail(Errc::InvalidArgument,
            "is not a valid expression: " + std::string(reinterpret_cast<const char*>(message)) + " at offset "
                + std::to_string(offset),
            std::string(expression), "PCRE2 syntax; it may match anywhere in a layer's name");
    }
    return Pattern(
        std::shared_ptr<const pcre2_code>(code, [](const pcre2_code* c) { pcre2_code_free(const_cast<pcre2_code*>(c)); }),
        std::string(expression));
}

bool Pattern::matches(std::string_view text) const
{
    const std::unique_ptr<pcre2_match_data, void (*)(pcre2_match_data*)> data(
        pcre2_match_data_create_from_pattern(m_code.get(), nullptr), pcre2_match_data_free);
    const std::unique_ptr<pcre2_match_context, void (*)(pcre2_match_context*)> context(
        pcre2_match_context_create(nullptr), pcre2_match_context_free);
    if (!data || !context)
        throw std::bad_alloc();
    pcre2_set_match_limit(context.get(), kMatchLimit);
    pcre2_set_depth_limit(context.get(), kDepthLimit);
    return pcre2_match(m_code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), 0, 0, data.get(), context.get())
        >= 0;
}

} // namespace qs
