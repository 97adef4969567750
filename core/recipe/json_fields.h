// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/error.h"

#include <initializer_list>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace qs::recipe {

// Strict reading of our own JSON documents: unknown keys and wrong types are Format errors that name file and field.

/// "FILE, field NAME", or the one that is not empty.
std::string fieldPlace(std::string_view where, std::string_view field);
/// An object that holds none but these keys.
Expected<void> checkKeys(const nlohmann::json& json, std::initializer_list<const char*> known, std::string_view where);
/// `"schema": supported`. Error Unsupported for a newer one.
Expected<void> checkSchema(const nlohmann::json& json, int supported, std::string_view where);
/// A text; empty when it is absent and `optional`.
Expected<std::string> textField(const nlohmann::json& json, const char* key, std::string_view where, bool optional);

} // namespace qs::recipe
