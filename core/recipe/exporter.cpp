// SPDX-License-Identifier: Apache-2.0
#include "core/recipe/exporter.h"

#include <algorithm>

namespace qs::recipe {

bool ExportReport::hasErrors() const
{
    return std::any_of(findings.begin(), findings.end(), [](const Finding& f) { return f.severity == "error"; });
}

Expected<void> ExporterRegistry::add(std::unique_ptr<Exporter> exporter)
{
    std::string id = exporter->id();
    if (m_exporters.contains(id))
        return fail(Errc::InvalidArgument, "an exporter with this id is already registered", id);
    m_exporters.emplace(std::move(id), std::move(exporter));
    return {};
}

const Exporter* ExporterRegistry::find(std::string_view id) const
{
    const auto it = m_exporters.find(id);
    return it == m_exporters.end() ? nullptr : it->second.get();
}

std::vector<const Exporter*> ExporterRegistry::all() const
{
    std::vector<const Exporter*> list;
    for (const auto& [id, exporter] : m_exporters)
        list.push_back(exporter.get());
    return list;
}

void ExporterRegistry::add(std::unique_ptr<Validator> validator)
{
    m_validators.push_back(std::move(validator));
}

Expected<ValidationReport> ExporterRegistry::validate(
    const std::filesystem::path& path, const StageRegistry& stages, const JobContext& job) const
{
    std::error_code code;
    if (!std::filesystem::exists(path, code))
        return fail(Errc::NotFound, "does not exist", path.string(), "check the path");
    for (const auto& validator : m_validators)
        if (validator->accepts(path))
            return validator->validate(path, stages, job);
    return fail(Errc::Unsupported, "is neither a checkpoint nor a recipe that can be checked", path.string(),
        "give a model folder, a .safetensors or .gguf file, a recipe .json or .yaml");
}

} // namespace qs::recipe
