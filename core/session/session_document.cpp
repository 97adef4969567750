// SPDX-License-Identifier: Apache-2.0
#include "core/session/session_document.h"

#include "core/base/atomic_file.h"

#include <nlohmann/json.hpp>

#include <limits>

namespace qs::session {

namespace fs = std::filesystem;

namespace {

constexpr int kSchema = 1;

std::string relativeTo(const fs::path& path, const fs::path& folder)
{
    if (path.empty())
        return {};
    std::error_code ignored;
    const fs::path relative = fs::relative(path, folder, ignored);
    return (relative.empty() ? path : relative).generic_string();
}

Expected<std::string> textField(const nlohmann::json& json, const char* field, const std::string& where)
{
    if (!json.contains(field))
        return std::string();
    if (!json.at(field).is_string())
        return fail(Errc::Format, std::string(field) + " must be a text", where);
    return json.at(field).get<std::string>();
}

} // namespace

SessionDocument::SessionDocument(QObject* parent)
    : QObject(parent)
    , m_state(std::make_shared<SessionState>())
    , m_saved(m_state)
{
}

void SessionDocument::set(StatePtr state)
{
    if (state == m_state)
        return;
    const bool before = modified();
    m_state = std::move(state);
    Q_EMIT changed();
    if (before != modified())
        Q_EMIT modifiedChanged(modified());
}

void SessionDocument::markSaved()
{
    const bool before = modified();
    m_saved = m_state;
    if (before)
        Q_EMIT modifiedChanged(false);
}

Expected<void> SessionDocument::save(const fs::path& file)
{
    const fs::path folder = fs::absolute(file).parent_path();
    nlohmann::json json;
    json["schema"] = kSchema;
    json["kind"] = "quantscope session";
    json["model"] = relativeTo(m_state->model, folder);
    json["model_id"] = m_state->modelId;
    json["dump"] = relativeTo(m_state->dump, folder);
    json["theme"] = m_state->theme.toStdString();
    json["selected_layer"] = m_state->selectedLayer.toStdString();
    json["selected_pipeline"] = m_state->selectedPipeline;
    json["recipe"] = recipe::recipeToJson(m_state->recipe);
    json["pipelines"] = nlohmann::json::array();
    for (const recipe::Pipeline& pipeline : m_state->pipelines)
        json["pipelines"].push_back(recipe::formatPipeline(pipeline));
    QS_CHECK(writeTextFile(file, json.dump(2) + "\n"));
    m_file = file;
    markSaved();
    return {};
}

Expected<SessionState> SessionDocument::read(const fs::path& file, const recipe::StageRegistry& registry)
{
    QS_TRY(text, readTextFile(file));
    const std::string where = file.string();
    const nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
    if (!json.is_object())
        return fail(Errc::Format, "is not a session file: no JSON object", where);
    if (!json.contains("schema") || !json.at("schema").is_number_integer())
        return fail(Errc::Format, "schema is missing", where);
    if (json.at("schema").get<int>() != kSchema)
        return fail(Errc::Unsupported, "schema " + json.at("schema").dump() + " is not known to this version", where,
            "update Quantscope");

    SessionState state;
    const fs::path folder = fs::absolute(file).parent_path();
    QS_TRY(model, textField(json, "model", where));
    QS_TRY(dump, textField(json, "dump", where));
    QS_TRY(modelId, textField(json, "model_id", where));
    QS_TRY(theme, textField(json, "theme", where));
    QS_TRY(layer, textField(json, "selected_layer", where));
    if (!model.empty())
        state.model = (folder / model).lexically_normal();
    if (!dump.empty())
        state.dump = (folder / dump).lexically_normal();
    state.modelId = modelId;
    state.theme = QString::fromStdString(theme);
    state.selectedLayer = QString::fromStdString(layer);
    if (const auto selected = json.find("selected_pipeline"); selected != json.end()) {
        if (!selected->is_number_integer() || selected->get<std::int64_t>() < 0
            || selected->get<std::int64_t>() > std::numeric_limits<int>::max())
            return fail(Errc::Format, "selected_pipeline must be a number from 0", where);
        state.selectedPipeline = selected->get<int>();
    }
    if (json.contains("recipe")) {
        QS_TRY(recipe, recipe::recipeFromJson(json.at("recipe"), registry, where + " recipe"));
        state.recipe = std::move(recipe);
    }
    if (json.contains("pipelines")) {
        if (!json.at("pipelines").is_array())
            return fail(Errc::Format, "pipelines must be a list", where);
        for (const nlohmann::json& item : json.at("pipelines")) {
            if (!item.is_string())
                return fail(Errc::Format, "pipelines must hold texts", where);
            QS_TRY(pipeline, recipe::parsePipeline(item.get<std::string>(), registry));
            state.pipelines.push_back(std::move(pipeline));
        }
    }
    return state;
}

} // namespace qs::session
