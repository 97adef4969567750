// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/recipe/stage.h"

#include <filesystem>

namespace qs::recipe {

/// A published pipeline: canonical text with its citation and an honest statement of fidelity. One JSON file in its plugin's
/// methods/.
struct Method {
    std::string id; ///< "gptq".
    std::string name; ///< "GPTQ".
    std::string family;
    std::string pipeline; ///< Canonical text with the method's own defaults.
    std::string citation, url, equations;
    std::string fidelity; ///< "reproduces" | "approximates".
    std::string fidelityNote; ///< How it approximates, or which parity test proves it.
    std::string summary; ///< One sentence for a student.
    std::vector<std::string> needs;
    int opening = 0; ///< Its place in the comparison that a new session opens with; 0: not there.
};

/// All stages and methods that are there, filled by plugins. Passed around, never global.
///
/// Threads  fill it on one thread, then share it const.
class StageRegistry {
public:
    /// Error InvalidArgument for an id that is taken.
    Expected<void> add(std::unique_ptr<StageFactory> factory);
    Expected<void> add(Method method);
    /// Reads every *.json of a folder as a Method; its pipeline must parse. Errors name the file and field; the other files'
    /// methods are added all the same.
    Expected<void> addMethods(const std::filesystem::path& folder);

    const StageFactory* stage(std::string_view id) const;
    const Method* method(std::string_view id) const;
    std::vector<const StageFactory*> stages() const; ///< By slot, then id.
    const std::vector<Method>& methods() const { return m_methods; }

private:
    std::map<std::string, std::unique_ptr<StageFactory>, std::less<>> m_stages;
    std::vector<Method> m_methods;
};

/// What a stage plugin implements. No Qt type crosses it.
class StagePlugin {
public:
    virtual ~StagePlugin() = default;
    virtual Expected<void> registerStages(StageRegistry& registry) = 0;
};

} // namespace qs::recipe

#define QS_STAGE_PLUGIN_IID "org.quantscope.StagePlugin/2"
