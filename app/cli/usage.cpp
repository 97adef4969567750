// SPDX-License-Identifier: GPL-3.0-or-later
#include "usage.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <fmt/format.h>
#include <limits>

namespace qs::cli {
namespace {

template <class T> bool readsAs(const std::string& text, T& value)
{
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
    return code == std::errc() && end == text.data() + text.size();
}

/// Text before the first ':' or blank: the parser's messages start with the option's name.
std::string firstWord(const std::string& text)
{
    return text.substr(0, text.find_first_of(": "));
}

std::string afterColon(const std::string& text)
{
    const auto at = text.find(": ");
    return at == std::string::npos ? text : text.substr(at + 2);
}

} // namespace

CLI::Validator wholeNumber(Index least)
{
    return CLI::Validator(
        [least](const std::string& text) {
            Index value = 0;
            return readsAs(text, value) && value >= least
                ? std::string()
                : fmt::format("must be a whole number of {} or more, not '{}'", least, text);
        },
        "", "whole number");
}

CLI::Validator notEmpty()
{
    return CLI::Validator(
        [](const std::string& text) { return text.empty() ? std::string("is empty") : std::string(); }, "", "not empty");
}

CLI::Validator seedNumber()
{
    return CLI::Validator(
        [](const std::string& text) {
            std::uint64_t value = 0;
            return readsAs(text, value)
                ? std::string()
                : fmt::format("must be a whole number of 0 to {}, not '{}'", std::numeric_limits<std::uint64_t>::max(), text);
        },
        "", "seed");
}

std::string unknownCommand(const std::vector<std::string>& arguments, const std::vector<std::string>& commands)
{
    const auto first = std::find_if(
        arguments.begin(), arguments.end(), [](const std::string& argument) { return argument.rfind('-', 0) != 0; });
    if (first == arguments.end() || std::find(commands.begin(), commands.end(), *first) != commands.end())
        return {};
    return *first;
}

Error usageError(const CLI::ParseError& error, const std::string& command, const std::vector<std::string>& commands)
{
    const std::string what = error.what();
    Error result{Errc::InvalidArgument, what, firstWord(what),
        fmt::format("see quantscope-cli {}--help", command.empty() ? std::string() : command + " ")};
    if (command.empty() && error.get_exit_code() == static_cast<int>(CLI::ExitCodes::RequiredError)) {
        result.where = "COMMAND";
        result.message = fmt::format("a command is required ({})", fmt::join(commands, ", "));
        return result;
    }
    switch (static_cast<CLI::ExitCodes>(error.get_exit_code())) {
    case CLI::ExitCodes::ExtrasError:
        result.where = afterColon(what);
        result.message = "'" + result.where + "' was not expected";
        break;
    case CLI::ExitCodes::ArgumentMismatch: result.message = result.where + " needs another number of values"; break;
    case CLI::ExitCodes::ValidationError: result.message = result.where + " " + afterColon(what); break;
    default: break;
    }
    if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::ArgumentMismatch)
        && what.find("missing") != std::string::npos)
        result.message = result.where + " needs a value";
    std::replace(result.message.begin(), result.message.end(), '\n', ' ');
    return result;
}

} // namespace qs::cli
