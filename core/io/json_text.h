// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/error.h"

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace qs::io {

/// Text of a foreign file made safe for a message: in single quotes, control characters as \xNN, cut after 80 bytes.
std::string quoted(std::string_view text);

/// "FILE, tensor 'NAME', field FIELD"; empty parts are left out.
std::string placeOf(const std::filesystem::path& file, std::string_view tensor = {}, std::string_view field = {});

bool isUtf8(std::string_view text);

/// The useful part of a parser's message, without control characters.
std::string jsonReason(std::string_view what);

/// Parses a JSON document of a foreign file.
/// Errors   Format: not UTF-8, not JSON, nested deeper than maxDepth, or a key that occurs twice in one object.
Expected<nlohmann::json> parseJson(std::string_view text, const std::string& where, int maxDepth = 64);

/// Reads and parses a JSON file of at most `limit` bytes.
Expected<nlohmann::json> readJsonFile(const std::filesystem::path& path, std::size_t limit = std::size_t{64} << 20);

} // namespace qs::io
