// SPDX-License-Identifier: Apache-2.0
#include "core/recipe/registry.h"

#include "core/io/json_text.h"
#include "core/recipe/json_fields.h"
#include "core/recipe/names.h"
#include "core/recipe/pipeline.h"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <system_error>

namespace qs::recipe {
namespace {

bool isId(std::string_view text)
{
    const auto allowed
        = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.'; };
    return !text.empty() && text.front() >= 'a' && text.front() <= 'z' && std::all_of(text.begin(), text.end(), allowed);
}

Expected<void> checkId(std::string_view id, std::string_view kind)
{
    if (isId(id))
        return {};
    return fail(Errc::InvalidArgument, fmt::format("{} id {} is not a lower-case word of a-z 0-9 _ - .", kind, io::quoted(id)));
}

Expected<Method> methodFromJson(const nlohmann::json& json, const std::string& file)
{
    QS_CHECK(checkKeys(json,
        {"schema", "id", "name", "summary", "pipeline", "citation", "url", "equations", "fidelity", "fidelity_note", "needs",
            "opening"},
        file));
    QS_CHECK(checkSchema(json, 1, file));
    Method method;
    const std::pair<const char*, std::string*> texts[] = {{"id", &method.id}, {"name", &method.name},
        {"summary", &method.summary}, {"pipeline", &method.pipeline}, {"citation", &method.citation}, {"url", &method.url},
        {"equations", &method.equations}, {"fidelity", &method.fidelity}, {"fidelity_note", &method.fidelityNote}};
    for (const auto& [key, target] : texts) {
        const std::string_view name = key;
        const bool optional = name == "url" || name == "equations";
        QS_TRY(text, textField(json, key, file, optional));
        *target = std::move(text);
        if (target->empty() && !optional)
            return fail(Errc::Format, "must not be empty", fieldPlace(file, key));
    }
    if (const auto it = json.find("needs"); it != json.end()) {
        if (!it->is_array())
            return fail(Errc::Format, "must be a list of texts", fieldPlace(file, "needs"));
        for (const nlohmann::json& need : *it) {
            if (!need.is_string())
                return fail(Errc::Format, "must be a list of texts", fieldPlace(file, "needs"));
            method.needs.push_back(need.get<std::string>());
        }
    }
    if (const auto it = json.find("opening"); it != json.end()) {
        if (!it->is_number_integer() || *it < 1 || *it > 99)
            return fail(Errc::Format, "must be a place from 1 to 99", fieldPlace(file, "opening"));
        method.opening = it->get<int>();
    }
    if (method.fidelity != "reproduces" && method.fidelity != "approximates")
        return fail(Errc::Format, fmt::format("is {}, must be reproduces or approximates", io::quoted(method.fidelity)),
            fieldPlace(file, "fidelity"));
    return method;
}

} // namespace

const char* slotName(Slot slot)
{
    switch (slot) {
    case Slot::Transform: return "transform";
    case Slot::Pruner: return "pruner";
    case Slot::Grid: return "grid";
    case Slot::Rounding: return "rounding";
    case Slot::Compensator: return "compensator";
    case Slot::ActivationGrid: return "activation-grid";
    }
    return "transform";
}

Expected<void> StageRegistry::add(std::unique_ptr<StageFactory> factory)
{
    const StageInfo& info = factory->info();
    QS_CHECK(checkId(info.id, "stage"));
    if (m_stages.contains(info.id))
        return fail(Errc::InvalidArgument, fmt::format("there is already a stage '{}'", info.id), info.family);
    // Defaults that break their own declaration would only show when somebody uses the stage.
    QS_CHECK(resolve(info.parameters, {}, info.id));
    std::string id = info.id;
    m_stages.emplace(std::move(id), std::move(factory));
    return {};
}

Expected<void> StageRegistry::add(Method method)
{
    QS_CHECK(checkId(method.id, "method"));
    if (this->method(method.id))
        return fail(Errc::InvalidArgument, fmt::format("there is already a method '{}'", method.id), method.family);
    QS_TRY(pipeline, parseCanonical(method.pipeline, *this));
    method.pipeline = formatPipeline(pipeline);
    for (std::string& need : pipelineNeeds(pipeline, *this))
        if (std::find(method.needs.begin(), method.needs.end(), need) == method.needs.end())
            method.needs.push_back(std::move(need));
    const auto place = std::lower_bound(
        m_methods.begin(), m_methods.end(), method.id, [](const Method& m, const std::string& id) { return m.id < id; });
    m_methods.insert(place, std::move(method));
    return {};
}

Expected<void> StageRegistry::addMethods(const std::filesystem::path& folder)
{
    std::error_code error;
    std::vector<std::filesystem::path> files;
    for (auto it = std::filesystem::directory_iterator(folder, error); !error && it != std::filesystem::directory_iterator();
         it.increment(error))
        if (it->path().extension() == ".json")
            files.push_back(it->path());
    if (error)
        return fail(Errc::Io, "cannot list the folder: " + error.message(), folder.string());
    std::sort(files.begin(), files.end()); // the order in which the system lists files is not ours
    const std::filesystem::path whole = std::filesystem::absolute(folder, error).lexically_normal();
    const std::filesystem::path methodsFolder
        = whole.has_filename() ? whole : whole.parent_path(); // "x/methods/" ends in an empty name
    const auto addFile = [&](const std::filesystem::path& file) -> Expected<void> {
        QS_TRY(json, io::readJsonFile(file, std::size_t{1} << 20));
        QS_TRY(method, methodFromJson(json, file.string()));
        method.family = methodsFolder.parent_path().filename().string();
        if (auto added = add(std::move(method)); !added) {
            Error failed = std::move(added).error();
            failed.where
                = fieldPlace(file.string(), failed.where.rfind("column", 0) == 0 ? "pipeline, " + failed.where : failed.where);
            return tl::unexpected(std::move(failed));
        }
        return {};
    };
    Expected<void> first;
    for (const std::filesystem::path& file : files)
        if (auto added = addFile(file); !added && first)
            first = std::move(added);
    return first;
}

const StageFactory* StageRegistry::stage(std::string_view id) const
{
    const auto it = m_stages.find(id);
    return it == m_stages.end() ? nullptr : it->second.get();
}

const Method* StageRegistry::method(std::string_view id) const
{
    const auto it = std::find_if(m_methods.begin(), m_methods.end(), [&](const Method& m) { return m.id == id; });
    return it == m_methods.end() ? nullptr : &*it;
}

std::vector<const StageFactory*> StageRegistry::stages() const
{
    std::vector<const StageFactory*> list;
    for (const auto& [id, factory] : m_stages)
        list.push_back(factory.get());
    std::stable_sort(
        list.begin(), list.end(), [](const StageFactory* a, const StageFactory* b) { return a->info().slot < b->info().slot; });
    return list;
}

} // namespace qs::recipe
