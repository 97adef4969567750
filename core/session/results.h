// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/analysis/layer_analysis.h"
#include "core/metrics/error_metrics.h"
#include "core/model/evaluation.h"
#include "core/model/model.h"
#include "core/recipe/exporter.h"
#include "core/recipe/runner.h"
#include "core/reduce/histogram.h"
#include "core/stats/dump.h"

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

/// What jobs hand to the views: plain values, no Qt.
namespace qs::session {

/// A value that a job is making. Views draw every state.
template <class T> struct Loadable {
    enum class State { Empty, Loading, Ready, Failed, Cancelled };
    State state = State::Empty;
    std::shared_ptr<const T> value; ///< May hold the previous value while Loading.
    Error error;

    bool ready() const { return state == State::Ready; }
    void setLoading() { state = State::Loading; }
    void set(Expected<T> result)
    {
        if (result) {
            state = State::Ready;
            value = std::make_shared<const T>(std::move(*result));
            error = {};
            return;
        }
        state = result.error().code == Errc::Cancelled ? State::Cancelled : State::Failed;
        error = std::move(result.error());
    }
    void clear() { *this = {}; }
};

struct OpenedModel {
    std::shared_ptr<const model::Model> model;
    double fileBytes = 0; ///< Stored bytes of all tensors.
};

/// Screening numbers of every layer, cheap enough to have at once.
struct RankedLayer {
    double rtnWeightError = 0; ///< sum dW^2 / sum W^2, 4-bit RTN (asym-0, automatic group).
    std::optional<double> sensitivity; ///< Output error of the same; needs a dump.
    std::optional<analysis::Outliers> outliers; ///< Of the inputs; needs a dump.
    double tokensPerChannel = 0; ///< 0 without calibration.
    std::optional<Error> error; ///< Why this layer has no numbers (NaN in W, ...).
};
struct Ranking {
    std::vector<RankedLayer> layers; ///< By LayerIndex.
    bool withDump = false;
};

/// What the spectrum of a layer's input says; costs an eigen-decomposition per input, so it is computed when asked for.
struct InputSpectrum {
    double condition = 0; ///< Of the live channels; infinite where these are dependent.
    double qsur = 0, lostBits = 0; ///< NaN where no volume is defined.
};
using Spectra = std::vector<std::optional<InputSpectrum>>; ///< By LayerIndex; nothing for layers without calibration.

/// What the analysis views show of one layer.
struct LayerView {
    model::LayerIndex layer = -1;
    std::shared_ptr<const RowMatrix> W;
    std::shared_ptr<const MatrixD> C; ///< Second moment of the evaluation part; null without a Gram.
    bool holdout = false;
    analysis::LayerAnalysis analysis;
    reduce::Histogram weights; ///< Of W.
    std::vector<double> weightColumnMax; ///< max_r |W_rj| per input channel.
    std::shared_ptr<const RowMatrix> rawTokens; ///< (tokens, in); null when the dump has none.
    std::shared_ptr<const reduce::Histogram> inputs; ///< Of rawTokens; null without.
};

/// Before and after of one compressed layer, with the grid in code units.
struct DistributionResult {
    reduce::Histogram before, after, error; ///< W, What and W - What; before and after share their bins.
    std::optional<analysis::CodeHistogram> codes;
    std::vector<float> levels; ///< Levels of the group whose range is the median of all groups.
    Index levelsRow = 0, levelsGroup = 0;
};

/// The layer's raw tokens on the activation grid of a pipeline, in the space that the grid sees.
struct InputDistribution {
    reduce::Histogram before, after, error; ///< x, x rounded, and their difference; before and after share their bins.
    bool transformed = false; ///< x is T x: the pipeline's transform comes before the grid.
    std::vector<float> levels; ///< Levels of the range whose scale is the median of all.
    Index ranges = 0; ///< How many ranges (tokens or groups of them) have a scale of their own; 1: one for all.
    double clippedShare = 0; ///< Share of finite inputs outside their grid by more than half a step.
};

/// One pipeline on one layer.
struct LayerResult {
    model::LayerIndex layer = -1;
    std::string pipelineText; ///< Canonical, resolved.
    recipe::LayerMetrics metrics;
    quant::BitsCount bits;
    double sparsity = 0;
    double seconds = 0;
    std::vector<recipe::StageReport> reports;
    std::vector<std::string> siteLayers;
    // Only where details were asked for (the selected layer):
    std::shared_ptr<const RowMatrix> What;
    std::shared_ptr<const DistributionResult> distribution;
    std::shared_ptr<const InputDistribution> inputs; ///< Null without an activation grid or raw tokens.
    std::shared_ptr<const metrics::ErrorShares> shares;
};

/// One pipeline on every layer of the blocks.
struct ModelResult {
    std::string pipelineText;
    std::map<model::LayerIndex, LayerResult> layers;
    Index skipped = 0; ///< Layers that were left out because the dump has no statistics for them.
    std::string whySkipped; ///< The last of them.
    recipe::RecipeSize size; ///< bitsLayers: of the measured layers. The file's only when none was left out.
};

/// End-to-end scores of several candidates on one text.
struct Evaluation {
    struct Candidate {
        std::string name;
        std::string pipelineText; ///< Empty for the assigned recipe.
        model::EvalScores scores;
        recipe::RecipeSize size; ///< Of the checkpoint that an export writes.
    };
    model::EvalScores reference;
    recipe::RecipeSize referenceSize; ///< Of the model as it lies on disk.
    std::vector<Candidate> candidates;
    std::map<std::string, std::string> protocol;
};

/// Live preview of the edited pipeline.
struct Preview {
    model::LayerIndex layer = -1;
    std::string pipelineText;
    double weightError = 0; ///< In full.
    std::optional<double> outputError; ///< On `rows` seeded rows, or in full.
    Index rows = 0;
    bool full = false;
    double bits = 0;
    double sparsity = 0;
    double milliseconds = 0;
};
inline constexpr Index kPreviewRows = 256;

} // namespace qs::session
