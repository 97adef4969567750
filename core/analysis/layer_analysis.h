// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/analysis/distribution.h"
#include "core/analysis/hessian.h"
#include "core/analysis/outliers.h"
#include "core/analysis/qsur.h"
#include "core/analysis/sensitivity.h"
#include "core/exec/job_context.h"
#include "core/stats/input_stats.h"

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

namespace qs::analysis {

struct AnalysisOptions {
    OutlierOptions outliers;
    HessianOptions hessian;
    QsurOptions qsur;
    SensitivityOptions sensitivity;
    bool weightQsur = true;
};

/// What is said of a layer's input. Layers that share an input share it: compute it once.
/// Channel statistics, Hessian and QSUR use the whole dump (fit, holdout and sinks).
struct InputAnalysis {
    Index channels = 0, tokens = 0;
    ChannelTable table;
    Outliers outliers;
    std::optional<HessianReport> hessian; ///< Absent without a Gram.
    std::optional<Qsur> qsur; ///< Absent without a Gram, or when no channel varies.
    std::string why; ///< Why something is absent.
};
/// Errors   NotFound without tokens; NotFinite; Cancelled.
Expected<InputAnalysis> analyzeInput(
    const stats::InputStats& stats, Backend& backend, const AnalysisOptions& options = {}, const JobContext& job = {});

/// Everything that is said of a layer.
struct LayerAnalysis {
    Index in = 0, out = 0;
    std::shared_ptr<const InputAnalysis> input; ///< Null without calibration.
    Sensitivity sensitivity; ///< On the holdout where there is one.
    std::optional<Qsur> weightQsur; ///< Rows of W as samples.
    std::optional<ExistingGrid> existingGrid;
};

/// stats may be null (no calibration). `shared` may hold the analysis of the same input made before; it is then used as it is.
/// Shapes   W (out, in); stats of `in` channels.   Errors   Mismatch, NotFinite, Cancelled; they name no layer, the caller
/// knows it.
Expected<LayerAnalysis> analyzeLayer(MatrixView W, const stats::InputStats* stats, Backend& backend,
    const AnalysisOptions& options = {}, const JobContext& job = {}, std::shared_ptr<const InputAnalysis> shared = nullptr);

/// One entry of `layers[]` of `analyze --json`: the contract's keys and more beside them. NaN and Inf are null.
nlohmann::json layerToJson(const std::string& name, const LayerAnalysis& layer);
nlohmann::json qsurToJson(const Qsur& qsur);
nlohmann::json hessianToJson(const HessianReport& hessian, bool withVectors = false); ///< Vectors: diagonal and eigenvalues.
nlohmann::json outliersToJson(const Outliers& outliers);
nlohmann::json channelsToJson(const ChannelTable& table); ///< One array per statistic.

} // namespace qs::analysis
