// SPDX-License-Identifier: Apache-2.0
#include "core/io/json_text.h"

#include "core/base/atomic_file.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unordered_set>
#include <vector>

namespace qs::io {
namespace {

void appendSafe(std::string& target, std::string_view text, std::size_t limit)
{
    for (const char c : text.substr(0, limit)) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte < 0x20 || byte >= 0x7f)
            target += fmt::format("\\x{:02x}", byte);
        else
            target += c;
    }
    if (text.size() > limit)
        target += "...";
}

} // namespace

std::string quoted(std::string_view text)
{
    std::string result = "'";
    appendSafe(result, text, 80);
    return result + "'";
}

std::string placeOf(const std::filesystem::path& file, std::string_view tensor, std::string_view field)
{
    std::string text = file.string();
    if (!tensor.empty())
        text += ", tensor " + io::quoted(tensor);
    if (!field.empty())
        text += ", field " + std::string(field);
    return text;
}

bool isUtf8(std::string_view text)
{
    try {
        const nlohmann::json value = text;
        [[maybe_unused]] const std::string dumped = value.dump(-1, ' ', false, nlohmann::json::error_handler_t::strict);
        return true;
    } catch (const nlohmann::json::type_error&) {
        return false;
    }
}

std::string jsonReason(std::string_view what)
{
    const auto start = what.find("] ");
    std::string result;
    appendSafe(result, start == std::string_view::npos ? what : what.substr(start + 2), 200);
    return result;
}

Expected<nlohmann::json> parseJson(std::string_view text, const std::string& where, int maxDepth)
{
    struct Refused {
        std::string message;
    };
    std::vector<std::unordered_set<std::string>> keys;
    const auto watch = [&](int depth, nlohmann::json::parse_event_t event, const nlohmann::json& parsed) {
        using Event = nlohmann::json::parse_event_t;
        if (event == Event::object_start || event == Event::array_start) {
            if (depth >= maxDepth)
                throw Refused{fmt::format("is nested deeper than {} levels", maxDepth)};
            keys.emplace_back();
        } else if (event == Event::object_end || event == Event::array_end) {
            keys.pop_back();
        } else if (event == Event::key && !keys.back().insert(parsed.get_ref<const std::string&>()).second) {
            throw Refused{"key " + io::quoted(parsed.get_ref<const std::string&>()) + " occurs twice"};
        }
        return true;
    };
    try {
        return nlohmann::json::parse(text, watch);
    } catch (const nlohmann::json::exception& error) {
        return fail(
            Errc::Format, "is not valid JSON: " + jsonReason(error.what()), where, "the file is damaged; fetch it again");
    } catch (const Refused& refused) {
        return fail(Errc::Format, refused.message, where, "correct the file");
    }
}

Expected<nlohmann::json> readJsonFile(const std::filesystem::path& path, std::size_t limit)
{
    QS_TRY(text, readTextFile(path, limit));
    return parseJson(text, path.string());
}

} // namespace qs::io
