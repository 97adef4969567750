// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/error.h"
#include "core/recipe/recipe.h"

#include <QObject>
#include <QString>

#include <filesystem>
#include <memory>
#include <vector>

namespace qs::session {

/// Everything that a session remembers, as an immutable value. An edit makes a new one; an undo keeps two pointers.
struct SessionState {
    std::filesystem::path model;
    std::filesystem::path dump;
    std::string modelId; ///< Digest of the model that the session was made with; empty before one was open.
    std::vector<recipe::Pipeline> pipelines; ///< Compared side by side: A, B, C ...
    recipe::Recipe recipe; ///< What is assigned and exported.
    QString theme; ///< "light" or "dark".
    QString selectedLayer; ///< Reopened with the session.
    int selectedPipeline = 0; ///< Of `pipelines`; reopened with the session.
};

/// Holds the current state; the only place where it changes.
class SessionDocument : public QObject {
    Q_OBJECT
public:
    using StatePtr = std::shared_ptr<const SessionState>;

    explicit SessionDocument(QObject* parent = nullptr);
    const StatePtr& state() const { return m_state; }
    void set(StatePtr state);
    /// A copy of the current state to edit and set().
    std::shared_ptr<SessionState> edit() const { return std::make_shared<SessionState>(*m_state); }

    bool modified() const { return m_state != m_saved; }
    void markSaved();
    const std::filesystem::path& file() const { return m_file; }

    /// Sorted JSON, schema 1, paths relative to the file. Errors: Io.
    Expected<void> save(const std::filesystem::path& file);
    /// Reads a session file into a state without applying it. Errors: NotFound, Format (names the field).
    static Expected<SessionState> read(const std::filesystem::path& file, const recipe::StageRegistry& registry);
    void setFile(const std::filesystem::path& file) { m_file = file; }

Q_SIGNALS:
    void changed();
    void modifiedChanged(bool modified);

private:
    StatePtr m_state;
    StatePtr m_saved;
    std::filesystem::path m_file;
};

/// Letter of a compared pipeline: A, B, C ...
inline QString pipelineLetter(std::size_t index)
{
    return QString(QChar(u'A' + static_cast<char16_t>(index % 26)));
}

} // namespace qs::session
