// SPDX-License-Identifier: GPL-3.0-or-later
#include "context.h"

#include "core/base/pattern.h"
#include "core/exec/backend.h"

#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <fmt/format.h>
#include <thread>
#include <unistd.h>

namespace qs::cli {
namespace {

/// Ctrl-C may only touch this flag; a watcher thread turns it into a stop request.
volatile std::sig_atomic_t interrupted = 0;
constexpr int kTicksToSecond = 50; ///< Of the watcher: one second.

extern "C" void onInterrupt(int)
{
    interrupted = 1;
}

void maskInterrupts(int how)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    pthread_sigmask(how, &set, nullptr);
}

std::int64_t milliseconds()
{
    return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

} // namespace

/// Takes SIGINT, SIGTERM and SIGHUP on a thread of its own; every other thread keeps them blocked. oneDNN's float32 kernels use
/// the stack pointer as a general register that points into the heap, so a handler that ran on one of its threads would write
/// over the heap (oneDNN issue 4845, mended in 3.11.2).
struct InterruptWatcher {
    explicit InterruptWatcher(const std::stop_source& stop)
        : thread([stop](const std::stop_token& end) {
            maskInterrupts(SIG_UNBLOCK);
            int seen = 0;
            while (!end.stop_requested()) {
                if (interrupted) {
                    stop.request_stop();
                    // A second Ctrl-C ends the program the usual way, but `timeout` sends the first one twice.
                    if (++seen == kTicksToSecond)
                        std::signal(SIGINT, SIG_DFL);
                }
                std::this_thread::sleep_for(std::chrono::milliseconds(20));
            }
        })
    {
    }
    std::jthread thread;
};

Context::Context(bool json, std::uint64_t seed)
    : m_json(json)
    , m_terminal(::isatty(STDERR_FILENO) == 1)
    , m_started(milliseconds())
{
    std::signal(SIGINT, onInterrupt);
    std::signal(SIGTERM, onInterrupt);
    std::signal(SIGHUP, onInterrupt);
    std::signal(SIGXFSZ, SIG_IGN); // a file that grows beyond its limit is then a write error like any other
    maskInterrupts(SIG_BLOCK); // before the first product starts threads, which inherit the mask
    m_watcher = std::make_unique<InterruptWatcher>(m_stop);
    m_job.stop = m_stop.get_token();
    m_job.seed = seed;
    if (m_terminal)
        m_job.onProgress = [this](double fraction, std::string_view text) { showProgress(fraction, text); };
}

Context::~Context()
{
    clearProgress();
}

void Context::showProgress(double fraction, std::string_view text)
{
    const std::lock_guard lock(m_mutex);
    const std::int64_t now = milliseconds();
    if (now - m_lastShown < 50 && fraction < 1.0)
        return;
    m_lastShown = now;
    const double seconds = static_cast<double>(now - m_started) / 1000.0;
    std::string eta;
    if (fraction > 0.02 && seconds > 1.0)
        eta = fmt::format(", {:.0f} s left", seconds * (1.0 - fraction) / fraction);
    fmt::print(stderr, "\r\033[K{:3.0f} %  {}{}", 100.0 * fraction, text, eta);
    std::fflush(stderr);
    m_lineOpen = true;
}

void Context::clearProgress()
{
    const std::lock_guard lock(m_mutex);
    if (m_lineOpen)
        fmt::print(stderr, "\r\033[K");
    m_lineOpen = false;
}

Expected<const session::PluginManager*> Context::plugins()
{
    if (!m_plugins) {
        m_plugins = std::make_unique<session::PluginManager>();
        m_plugins->load();
        for (const QString& error : m_plugins->errors())
            fmt::print(stderr, "quantscope-cli: warning: {}\n", error.toStdString());
    }
    if (m_plugins->stages().stages().empty())
        return fail(Errc::NotFound, "no method plugin was found",
            session::PluginManager::defaultFolders().join(QStringLiteral(", ")).toStdString(),
            "run the program from its build or installation folder, or set QS_PLUGIN_PATH");
    return m_plugins.get();
}

Expected<const recipe::StageRegistry*> Context::stages()
{
    QS_TRY(manager, plugins());
    return &manager->stages();
}

Expected<const recipe::ExporterRegistry*> Context::exporters()
{
    QS_TRY(manager, plugins());
    return &manager->exporters();
}

Backend& Context::backend() const
{
    return cpuBackend();
}

Expected<std::shared_ptr<const model::Model>> openModelChecked(const std::string& path)
{
    return model::openModel(path);
}

Expected<void> checkFits(const stats::CalibrationDump& dump, const model::Model& model)
{
    std::vector<stats::LayerWidth> widths;
    for (const auto& layer : model.spec().layers)
        widths.push_back({layer.name, layer.in});
    return stats::checkDumpFits(dump, model.id(), widths);
}

Expected<Workspace> openWorkspace(Context& context, const std::string& modelPath, const std::string& dumpPath)
{
    Workspace workspace;
    QS_TRY(opened, openModelChecked(modelPath));
    workspace.model = opened;
    if (!dumpPath.empty()) {
        QS_TRY(dump, stats::openDump(dumpPath, context.backend()));
        QS_CHECK(checkFits(*dump, *opened));
        workspace.calibration.dump = dump;
    }
    QS_TRY(registry, context.stages());
    workspace.runner = std::make_shared<recipe::Runner>(workspace.model, workspace.calibration, *registry, context.backend());
    workspace.runner->setCache(store::ResultCache::openDefault());
    return workspace;
}

Expected<std::vector<model::LayerIndex>> selectLayers(const model::ModelSpec& spec, const std::string& pattern)
{
    std::vector<model::LayerIndex> selected;
    if (pattern.empty()) {
        for (std::size_t i = 0; i < spec.layers.size(); ++i)
            selected.push_back(static_cast<model::LayerIndex>(i));
    } else {
        QS_TRY(compiled, Pattern::compile(pattern));
        for (std::size_t i = 0; i < spec.layers.size(); ++i)
            if (compiled.matches(spec.layers[i].name))
                selected.push_back(static_cast<model::LayerIndex>(i));
    }
    if (selected.empty())
        return fail(Errc::NotFound, spec.layers.empty() ? "the model has no layers" : "no layer matches '" + pattern + "'",
            "--layers",
            spec.layers.empty() ? "give a model with 2-D weights" : "layers are named like " + spec.layers.front().name);
    return selected;
}

nlohmann::json number(double value)
{
    return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json(nullptr);
}

} // namespace qs::cli
