// SPDX-License-Identifier: Apache-2.0
#include "core/recipe/json_fields.h"

#include "core/io/json_text.h"
#include "core/recipe/names.h"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <vector>

namespace qs::recipe {

std::string fieldPlace(std::string_view where, std::string_view field)
{
    if (where.empty() || field.empty())
        return std::string(where.empty() ? field : where);
    return fmt::format("{}, field {}", where, field);
}

Expected<void> checkKeys(const nlohmann::json& json, std::initializer_list<const char*> known, std::string_view where)
{
    if (!json.is_object())
        return fail(Errc::Format, fmt::format("must be an object, not {}", json.type_name()), std::string(where));
    const std::vector<std::string> names(known.begin(), known.end());
    for (const auto& [key, value] : json.items())
        if (std::find(names.begin(), names.end(), key) == names.end())
            return fail(Errc::Format, fmt::format("unknown key {}; it takes {}", io::quoted(key), joinNames(names)),
                std::string(where), didYouMean(key, names));
    return {};
}

Expected<void> checkSchema(const nlohmann::json& json, int supported, std::string_view where)
{
    const auto it = json.find("schema");
    if (it == json.end() || !it->is_number_integer())
        return fail(Errc::Format, fmt::format("must be the number {}", supported), fieldPlace(where, "schema"));
    if (it->get<std::int64_t>() != supported)
        return fail(Errc::Unsupported, fmt::format("schema {} is not known here; this version reads {}", it->dump(), supported),
            fieldPlace(where, "schema"), "it was written by another version of Quantscope");
    return {};
}

Expected<std::string> textField(const nlohmann::json& json, const char* key, std::string_view where, bool optional)
{
    const auto it = json.find(key);
    if (it == json.end()) {
        if (optional)
            return std::string();
        return fail(Errc::Format, "is missing", fieldPlace(where, key));
    }
    if (!it->is_string())
        return fail(Errc::Format, fmt::format("must be a text, not {}", it->type_name()), fieldPlace(where, key));
    return it->get<std::string>();
}

} // namespace qs::recipe
