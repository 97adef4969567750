// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/error.h"
#include "core/base/types.h"

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace qs::recipe {

enum class ParameterType { Bool, Int, Real, Choice, Text };
using ParameterValue = std::variant<bool, std::int64_t, double, std::string>;

/// Declaration of one parameter of a stage: the single source of forms, command-line options, JSON validation and
/// documentation.
struct ParameterSpec {
    std::string name; ///< "bits"; shared names mean the same in every stage.
    ParameterType type = ParameterType::Int;
    ParameterValue defaultValue;
    double min = 0, max = 0; ///< Inclusive, for Int and Real; min == max means unbounded.
    std::vector<std::string> choices; ///< Choice: the allowed texts. Int: texts accepted beside numbers ("auto").
    std::string unit; ///< "bits", "columns", ...; may be empty.
    std::string help; ///< One sentence.
    bool logarithmic = false; ///< A slider should be logarithmic.
    bool advanced = false; ///< Folded away in the form.
};

/// Values of a stage's parameters; defaults are filled in by resolve(). An Int whose declaration accepts "auto" holds that text
/// until a width resolves it; intValue() reads it as 0, which resolve() and parseValue() therefore refuse.
using Parameters = std::map<std::string, ParameterValue>;

/// Checks names, types and ranges against the declaration and fills in defaults. A whole number is taken for a Real, 4.0 for an
/// Int. Errors   InvalidArgument naming the parameter, its value and what is allowed.
Expected<Parameters> resolve(const std::vector<ParameterSpec>& specs, const Parameters& given, std::string_view where);

/// Canonical text of a value: shortest decimal that reads back as the same double, true/false, bare words where unambiguous,
/// else text in double quotes with \\, \" and \n escaped.
std::string formatValue(const ParameterValue& value);
/// Reads a value (quotes already taken off) as the type that the declaration asks for, whatever the locale.
/// Errors   InvalidArgument naming the parameter, its value and what is allowed.
Expected<ParameterValue> parseValue(const ParameterSpec& spec, std::string_view text);

/// Values of resolved parameters. Asking for a name or type that the stage does not declare is a bug: std::logic_error.
std::int64_t intValue(const Parameters& p, const std::string& name);
/// Columns per scale, as quant::resolveGroup() takes them: "tensor" is quant::kWholeTensor.
Index groupValue(const Parameters& p, const std::string& name);
double realValue(const Parameters& p, const std::string& name);
bool boolValue(const Parameters& p, const std::string& name);
const std::string& textValue(const Parameters& p, const std::string& name);

} // namespace qs::recipe
