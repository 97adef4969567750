// SPDX-License-Identifier: Apache-2.0
#include "core/recipe/parameters.h"

#include "core/quant/uniform_grid.h"
#include "core/recipe/names.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <fmt/format.h>
#include <limits>
#include <stdexcept>
#include <system_error>

namespace qs::recipe {
namespace {

constexpr std::string_view kAuto = "auto";

bool contains(const std::vector<std::string>& list, std::string_view word)
{
    return std::find(list.begin(), list.end(), word) != list.end();
}

std::string number(double value)
{
    std::array<char, 64> buffer{};
    const auto [end, error] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
    if (error != std::errc{})
        throw std::logic_error("a double does not fit 64 characters");
    return {buffer.data(), end};
}

template <class T> bool readNumber(std::string_view text, T& value)
{
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc{} && end == text.data() + text.size();
}

/// An Int that may be automatic: intValue() reads "auto" as 0, so that 0 is not a value of its own.
bool takesAuto(const ParameterSpec& spec)
{
    return spec.type == ParameterType::Int && contains(spec.choices, kAuto);
}

/// "a whole number from 2 to 8", "-1, a number of columns from 1 to 4096, or auto".
std::string allowedText(const ParameterSpec& spec)
{
    if (takesAuto(spec) && spec.min == -1)
        return fmt::format("-1, a number{} from 1 to {}, or {}", spec.unit.empty() ? "" : " of " + spec.unit, number(spec.max),
            joinNames(spec.choices));
    std::string text;
    switch (spec.type) {
    case ParameterType::Bool: return "true or false";
    case ParameterType::Choice: return "one of " + joinNames(spec.choices);
    case ParameterType::Text: return "a text";
    case ParameterType::Int: text = "a whole number"; break;
    case ParameterType::Real: text = "a number"; break;
    }
    if (spec.min != spec.max)
        text += fmt::format(" from {} to {}", number(spec.min), number(spec.max));
    if (spec.type == ParameterType::Int && !spec.choices.empty())
        text += ", or " + joinNames(spec.choices);
    return text;
}

std::string place(std::string_view where, const ParameterSpec& spec)
{
    return where.empty() ? spec.name : fmt::format("{}: {}", where, spec.name);
}

tl::unexpected<Error> notAllowed(const ParameterSpec& spec, std::string_view value, std::string_view where)
{
    std::string hint;
    if (spec.type == ParameterType::Choice)
        hint = didYouMean(value, spec.choices);
    return fail(Errc::InvalidArgument, fmt::format("{}={} is not allowed: it takes {}", spec.name, value, allowedText(spec)),
        place(where, spec), std::move(hint));
}

/// The value in the form that the declaration asks for: whole doubles become Int, Int becomes Real.
Expected<ParameterValue> convert(const ParameterSpec& spec, const ParameterValue& value, std::string_view where)
{
    switch (spec.type) {
    case ParameterType::Bool:
        if (std::holds_alternative<bool>(value))
            return value;
        break;
    case ParameterType::Choice:
        if (const auto* text = std::get_if<std::string>(&value); text && contains(spec.choices, *text))
            return value;
        break;
    case ParameterType::Text:
        if (std::holds_alternative<std::string>(value))
            return value;
        break;
    case ParameterType::Real: {
        double real = 0;
        if (const auto* asReal = std::get_if<double>(&value))
            real = *asReal;
        else if (const auto* asInt = std::get_if<std::int64_t>(&value))
            real = static_cast<double>(*asInt);
        else
            break;
        if (!std::isfinite(real) || (spec.min != spec.max && (real < spec.min || real > spec.max)))
            break;
        return ParameterValue(real);
    }
    case ParameterType::Int: {
        std::int64_t whole = 0;
        if (const auto* asInt = std::get_if<std::int64_t>(&value)) {
            whole = *asInt;
        } else if (const auto* asReal = std::get_if<double>(&value)) {
            if (!(std::abs(*asReal) <= 9007199254740992.0) || std::trunc(*asReal) != *asReal)
                break;
            whole = static_cast<std::int64_t>(*asReal);
        } else if (const auto* text = std::get_if<std::string>(&value); text && contains(spec.choices, *text)) {
            return value;
        } else {
            break;
        }
        if (whole == 0 && takesAuto(spec))
            break;
        if (spec.min != spec.max && (static_cast<double>(whole) < spec.min || static_cast<double>(whole) > spec.max))
            break;
        return ParameterValue(whole);
    }
    }
    return notAllowed(spec, formatValue(value), where);
}

bool bareCharacter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == ':'
        || c == '-' || c == '+' || c == '/';
}

} // namespace

Expected<Parameters> resolve(const std::vector<ParameterSpec>& specs, const Parameters& given, std::string_view where)
{
    Parameters resolved;
    for (const ParameterSpec& spec : specs) {
        const auto it = given.find(spec.name);
        QS_TRY(value, convert(spec, it == given.end() ? spec.defaultValue : it->second, where));
        resolved.emplace(spec.name, std::move(value));
    }
    for (const auto& [name, value] : given) {
        if (resolved.contains(name))
            continue;
        std::vector<std::string> known;
        known.reserve(specs.size());
        for (const ParameterSpec& spec : specs)
            known.push_back(spec.name);
        return fail(Errc::InvalidArgument,
            fmt::format("there is no parameter '{}': it takes {}", name, known.empty() ? "none" : joinNames(known)),
            std::string(where), didYouMean(name, known));
    }
    return resolved;
}

std::string formatValue(const ParameterValue& value)
{
    if (const auto* flag = std::get_if<bool>(&value))
        return *flag ? "true" : "false";
    if (const auto* whole = std::get_if<std::int64_t>(&value))
        return std::to_string(*whole);
    if (const auto* real = std::get_if<double>(&value))
        return number(*real);
    const std::string& text = std::get<std::string>(value);
    if (!text.empty() && std::all_of(text.begin(), text.end(), bareCharacter))
        return text;
    std::string quoted = "\"";
    for (const char c : text) {
        if (c == '\n') {
            quoted += "\\n";
            continue;
        }
        if (c == '"' || c == '\\')
            quoted += '\\';
        quoted += c;
    }
    return quoted + '"';
}

Expected<ParameterValue> parseValue(const ParameterSpec& spec, std::string_view text)
{
    switch (spec.type) {
    case ParameterType::Bool:
        if (text == "true" || text == "false")
            return ParameterValue(text == "true");
        break;
    case ParameterType::Choice:
    case ParameterType::Text: return convert(spec, std::string(text), {});
    case ParameterType::Int:
        if (std::int64_t whole = 0; readNumber(text, whole))
            return convert(spec, whole, {});
        if (contains(spec.choices, text))
            return ParameterValue(std::string(text));
        break;
    case ParameterType::Real:
        if (double real = 0; readNumber(text, real))
            return convert(spec, real, {});
        break;
    }
    return notAllowed(spec, text, {});
}

namespace {

template <class T> const T& valueOf(const Parameters& p, const std::string& name)
{
    const auto it = p.find(name);
    const T* value = it == p.end() ? nullptr : std::get_if<T>(&it->second);
    if (!value)
        throw std::logic_error("parameter '" + name + "' is not declared with the type that it is read as");
    return *value;
}

} // namespace

std::int64_t intValue(const Parameters& p, const std::string& name)
{
    if (const auto it = p.find(name); it != p.end())
        if (const auto* text = std::get_if<std::string>(&it->second); text && *text == kAuto)
            return 0;
    return valueOf<std::int64_t>(p, name);
}

Index groupValue(const Parameters& p, const std::string& name)
{
    if (const auto it = p.find(name); it != p.end())
        if (const auto* text = std::get_if<std::string>(&it->second); text && *text == "tensor")
            return quant::kWholeTensor;
    return static_cast<Index>(intValue(p, name));
}

double realValue(const Parameters& p, const std::string& name)
{
    return valueOf<double>(p, name);
}

bool boolValue(const Parameters& p, const std::string& name)
{
    return valueOf<bool>(p, name);
}

const std::string& textValue(const Parameters& p, const std::string& name)
{
    return valueOf<std::string>(p, name);
}

} // namespace qs::recipe
