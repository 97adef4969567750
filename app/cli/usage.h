// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "core/base/error.h"
#include "core/base/types.h"

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace qs::cli {

/// A whole number of at least `least`, told in words when it is not.
CLI::Validator wholeNumber(Index least);
CLI::Validator notEmpty();
/// The seed: a whole number of 0 to 2^64 - 1.
CLI::Validator seedNumber();

/// The first argument that is neither an option nor one of the commands, where a command must stand; empty when there is none.
std::string unknownCommand(const std::vector<std::string>& arguments, const std::vector<std::string>& commands);

/// What the parser refused, in words: message, the option or argument that it is about, and where the options are listed.
/// `command` is empty before one was given.
Error usageError(const CLI::ParseError& error, const std::string& command, const std::vector<std::string>& commands);

} // namespace qs::cli
