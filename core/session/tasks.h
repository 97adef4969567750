// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/session/results.h"

/// The work of the window's jobs as plain functions: they run on worker threads and know nothing of Qt.
namespace qs::session::tasks {

Expected<OpenedModel> openModel(const std::filesystem::path& path, const JobContext& job);

/// A dump that fits the model. Errors: those of openDump and checkDumpFits.
Expected<std::shared_ptr<const stats::CalibrationDump>> openDump(const std::filesystem::path& path,
    const std::shared_ptr<const model::Model>& model, Backend& backend, const JobContext& job);

/// Condition and QSUR of the input of every layer that the dump covers with a Gram. Cost: one eigen-decomposition per input.
Expected<Spectra> inputSpectra(
    const model::Model& model, const stats::CalibrationDump& dump, Backend& backend, const JobContext& job);

/// 4-bit RTN errors of all layers; a layer that fails keeps its error and does not stop the others. Cost: one pass over the
/// weights.
Expected<Ranking> rankLayers(
    const model::Model& model, const stats::CalibrationDump* dump, Backend& backend, const JobContext& job);

Expected<LayerView> inspectLayer(const model::Model& model, model::LayerIndex layer, const stats::CalibrationDump* dump,
    Backend& backend, const JobContext& job);

/// `view` may be null (numbers only) or of the same layer (details too).
Expected<LayerResult> compareLayer(const recipe::Runner& runner, model::LayerIndex layer, const recipe::Pipeline& pipeline,
    const LayerView* view, Backend& backend, const JobContext& job);

/// One pipeline on all layers of the blocks.
Expected<ModelResult> compareModel(
    const recipe::Runner& runner, const recipe::Pipeline& pipeline, Backend& backend, const JobContext& job);
/// The layers of an assignment.
Expected<ModelResult> measureAssignment(
    const recipe::Runner& runner, const recipe::Assignment& assignment, Backend& backend, const JobContext& job);

struct EvalCandidate {
    std::string name;
    std::string pipelineText;
    recipe::Recipe recipe;
};
Expected<Evaluation> evaluate(const std::shared_ptr<const recipe::Runner>& runner,
    const std::shared_ptr<const model::Model>& model, const std::filesystem::path& text,
    const std::vector<EvalCandidate>& candidates, const model::EvalOptions& options, const JobContext& job);

/// Compresses the layer; weight error in full, output error on kPreviewRows rows chosen by seed 0 (or all rows when `full`).
Expected<Preview> preview(const recipe::Runner& runner, const recipe::Pipeline& pipeline, const LayerView& view, bool full,
    Backend& backend, const JobContext& job);

} // namespace qs::session::tasks
