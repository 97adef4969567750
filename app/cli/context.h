// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "core/exec/job_context.h"
#include "core/model/model.h"
#include "core/recipe/exporter.h"
#include "core/recipe/runner.h"
#include "core/session/plugin_manager.h"
#include "core/store/result_cache.h"

#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace qs::cli {

/// What a command hands back: the JSON document of `--json` and the text for people.
struct Outcome {
    nlohmann::json json;
    std::string text;
    int exitCode = 0; ///< 0, or 1 for a command that ran but whose answer is no (validate with errors).
};

struct InterruptWatcher;

/// What every command works with: plugins, the job with progress on a terminal, and Ctrl-C.
class Context {
public:
    Context(bool json, std::uint64_t seed);
    ~Context();
    Context(const Context&) = delete;
    Context& operator=(const Context&) = delete;

    /// Stages, methods and exporters, loaded on first use. Error NotFound when no plugin folder has any.
    Expected<const session::PluginManager*> plugins();
    Expected<const recipe::StageRegistry*> stages();
    Expected<const recipe::ExporterRegistry*> exporters();
    const JobContext& job() const { return m_job; }
    /// The device that all commands compute on.
    Backend& backend() const;
    bool json() const { return m_json; }
    /// Progress of one part of the work, with a label; ends with a cleared line.
    JobContext part(double lo, double hi) const { return m_job.part(lo, hi); }
    void clearProgress();
    /// The failure that follows is one of the command line itself: exit code 2.
    void markWrongUsage() { m_wrongUsage = true; }
    bool wrongUsage() const { return m_wrongUsage; }

private:
    void showProgress(double fraction, std::string_view text);

    bool m_json;
    bool m_terminal;
    bool m_wrongUsage = false;
    std::stop_source m_stop;
    JobContext m_job;
    std::unique_ptr<session::PluginManager> m_plugins;
    std::int64_t m_lastShown = 0;
    std::int64_t m_started = 0;
    bool m_lineOpen = false;
    std::mutex m_mutex;
    std::unique_ptr<InterruptWatcher> m_watcher; // last: stops before what it uses goes
};

/// A model, its dump where one is given (checked to fit), and a runner over both.
struct Workspace {
    std::shared_ptr<const model::Model> model;
    recipe::Calibration calibration;
    std::shared_ptr<recipe::Runner> runner;
};
Expected<std::shared_ptr<const model::Model>> openModelChecked(const std::string& path);
/// Error Mismatch where a dump is of another model.
Expected<void> checkFits(const stats::CalibrationDump& dump, const model::Model& model);
Expected<Workspace> openWorkspace(Context& context, const std::string& model, const std::string& dump);

/// Layers whose name matches the unanchored PCRE2 pattern (all for an empty one). Error NotFound when none does.
Expected<std::vector<model::LayerIndex>> selectLayers(const model::ModelSpec& spec, const std::string& pattern);

/// A number for JSON: NaN and Inf become null.
nlohmann::json number(double value);

} // namespace qs::cli
