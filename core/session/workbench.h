// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/exec/backend.h"
#include "core/model/capture.h"
#include "core/session/job_queue.h"
#include "core/session/jobs_model.h"
#include "core/session/layer_tree_model.h"
#include "core/session/message_model.h"
#include "core/session/plugin_manager.h"
#include "core/session/results.h"
#include "core/session/selection_model.h"
#include "core/session/session_document.h"

#include <QObject>

#include <array>
#include <deque>

namespace qs::session {

/// The services behind a window: model, dump, registries, document, selection, jobs and their results.
///
/// Views ask it for work and listen to its signals; they never touch core functions that take long. Results that belong to an
/// older model, dump or pipeline are dropped. Threads  owner's thread only; jobs get shared pointers to immutable inputs.
class Workbench : public QObject {
    Q_OBJECT
public:
    explicit Workbench(QObject* parent = nullptr);
    ~Workbench() override;

    /// Loads plugins; failures become messages.
    void loadPlugins(const QStringList& folders = PluginManager::defaultFolders());

    const PluginManager& plugins() const { return m_plugins; }
    const recipe::StageRegistry& registry() const { return m_plugins.stages(); }
    SessionDocument& document() { return m_document; }
    const SessionState& state() const { return *m_document.state(); }
    SelectionModel& selection() { return m_selection; }
    LayerTreeModel& layers() { return m_layers; }
    MessageModel& messages() { return m_messages; }
    JobQueue& jobs() { return m_jobs; }
    JobsModel& jobsModel() { return m_jobsModel; }
    Backend& backend() const;

    // Inputs
    void openModel(const std::filesystem::path& path, const std::filesystem::path& dumpToOpen = {});
    void openDump(const std::filesystem::path& path) { openDump(path, {}); }
    void calibrate(
        const std::filesystem::path& text, const std::filesystem::path& target, const model::CaptureOptions& options);
    /// 32 windows of 512 tokens (or of the context), raw tokens kept, into the user's data folder.
    void quickCalibrate(const std::filesystem::path& text);
    static constexpr int kQuickSamples = 32;
    static constexpr int kQuickLength = 512;
    static constexpr int kKeptTokens = 256;
    /// A free file name for a dump of the open model in the user's data folder, which is made.
    std::filesystem::path newDumpPath(const std::filesystem::path& text, int samples, int length) const;
    void openSession(const std::filesystem::path& file);
    const Loadable<OpenedModel>& opened() const { return m_opened; }
    /// The open model; while another one is being opened, still the one before.
    std::shared_ptr<const model::Model> model() const { return m_opened.value ? m_opened.value->model : nullptr; }
    const std::shared_ptr<const stats::CalibrationDump>& dump() const { return m_dump; }
    std::shared_ptr<const recipe::Runner> runner() const { return m_runner; }
    const model::LayerSpec* currentLayer() const;
    const model::LayerSpec* layerSpec(model::LayerIndex layer) const;

    // Results
    const Loadable<Ranking>& ranking() const { return m_ranking; }
    const Loadable<LayerView>& layerView() const { return m_view; } ///< Of the current layer.
    /// Of the current layer and a compared pipeline.
    Loadable<LayerResult> layerResult(std::size_t pipeline) const;
    const Loadable<ModelResult>* modelResult(const recipe::Pipeline& pipeline) const; ///< Null when never asked for.
    const Loadable<Evaluation>& evaluation() const { return m_evaluation; }
    const Loadable<Preview>& preview() const { return m_preview; }
    const Loadable<ModelResult>& assignedResult() const { return m_assigned; }
    const Loadable<recipe::ExportReport>& exportReport() const { return m_export; }
    const Loadable<std::vector<recipe::Finding>>& lints() const { return m_lints; }

    // Work
    void compareModel(); ///< Every compared pipeline over all layers that have no result yet.
    void evaluate(const std::filesystem::path& text, const model::EvalOptions& options);
    void measureAssigned(); ///< Errors and size of the assigned recipe.
    void measureSpectra(); ///< Condition and QSUR of every layer's input, for the tree; nothing without a dump or when known.
    void requestPreview(const recipe::Pipeline& pipeline);
    void lintExport(const std::string& format);
    void exportRecipe(const std::string& format, const std::filesystem::path& target);
    /// How many captures, comparisons over all layers, evaluations and exports are not done: what somebody asked for and would
    /// have to wait for again. What starts by itself with a model or a layer does not count.
    int unfinishedWork() const;
    void retryLayer(); ///< Analyses the current layer again after a failure or a cancel.

    // Document edits (each makes one new state; undo commands wrap them)
    void setPipeline(std::size_t index, recipe::Pipeline pipeline);
    void addPipeline(recipe::Pipeline pipeline);
    void removePipeline(std::size_t index);
    /// Layers that must change together: the selection, its fusion groups and the consumers of its sites.
    std::vector<model::LayerIndex> withPartners(const std::vector<model::LayerIndex>& layers) const;
    /// Assigns a pipeline (null: keep as stored) to layers and their partners.
    void assign(const std::vector<model::LayerIndex>& layers, const recipe::Pipeline* pipeline);
    QString label(const recipe::Pipeline& pipeline) const;
    /// Pipeline of every layer under the recipe, or the error of the recipe.
    Expected<recipe::Assignment> assignment() const;

Q_SIGNALS:
    void modelChanged(); ///< State of opened().
    void dumpChanged();
    void rankingChanged();
    void layerViewChanged();
    void layerResultsChanged();
    void modelResultsChanged();
    void evaluationChanged();
    void previewChanged();
    void assignedChanged();
    void exportChanged();
    void lintsChanged();
    void sessionOpened(); ///< A session file was applied.

private:
    struct CachedResult {
        model::LayerIndex layer;
        std::string text;
        Loadable<LayerResult> result;
    };
    void setModel(OpenedModel opened, const std::filesystem::path& path, const std::filesystem::path& dumpToOpen);
    /// `captureSeconds`: it was just made, which becomes a message.
    void openDump(const std::filesystem::path& path, std::optional<double> captureSeconds);
    void setDump(std::shared_ptr<const stats::CalibrationDump> dump, const std::filesystem::path& path);
    void makeRunner();
    void dropResults();
    void rank(); ///< Without data first, then with the dump.
    void refreshRows();
    void onSelection(const SelectionState& state);
    void onDocument();
    void followPipelines(); ///< Brings rows and comparisons to the pipelines of the document.
    void inspectCurrent();
    void compareCurrent();
    void runComparison(const recipe::Pipeline& pipeline);
    void setDefaultPipelines();
    /// Why a pipeline cannot run now: it needs statistics and there is no dump. Nothing when it can.
    std::optional<Error> missing(const recipe::Pipeline& pipeline) const;
    /// The same for a recipe, layer by layer: a dump may cover some layers only.
    std::optional<Error> missingFor(const recipe::Recipe& recipe, const QString& name) const;
    CachedResult* cached(model::LayerIndex layer, const std::string& text);
    const CachedResult* cached(model::LayerIndex layer, const std::string& text) const;
    QString layerTitle() const;

    // Declared before the queue: its workers use them until it has joined.
    PluginManager m_plugins;
    SessionDocument m_document;
    SelectionModel m_selection;
    LayerTreeModel m_layers;
    MessageModel m_messages;

    bool m_sessionOpening = false; ///< Its model is on the way: nothing is measured with the one before.
    Loadable<OpenedModel> m_opened;
    std::shared_ptr<const stats::CalibrationDump> m_dump;
    std::shared_ptr<const recipe::Runner> m_runner;
    Loadable<Ranking> m_ranking;
    Loadable<Spectra> m_spectra;
    Loadable<LayerView> m_view;
    std::deque<std::shared_ptr<const LayerView>> m_recentViews;
    std::deque<CachedResult> m_layerResults;
    std::map<std::string, Loadable<ModelResult>> m_modelResults; ///< By canonical text.
    Loadable<Evaluation> m_evaluation;
    Loadable<Preview> m_preview;
    Loadable<ModelResult> m_assigned;
    Loadable<recipe::ExportReport> m_export;
    Loadable<std::vector<recipe::Finding>> m_lints;
    SessionDocument::StatePtr m_seen; ///< The state that onDocument last worked through.

    JobQueue m_jobs;
    JobsModel m_jobsModel;
};

} // namespace qs::session
