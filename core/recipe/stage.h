// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/error.h"
#include "core/exec/backend.h"
#include "core/exec/job_context.h"
#include "core/model/model_spec.h"
#include "core/quant/uniform_grid.h"
#include "core/recipe/parameters.h"
#include "core/stats/input_stats.h"
#include "core/tensor/matrix.h"

#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

/// Stage interfaces. Bump the number in QS_STAGE_PLUGIN_IID on every change of this file.
namespace qs::recipe {

/// The typed slots of a pipeline, in the order in which they act.
enum class Slot { Transform, Pruner, Grid, Rounding, Compensator, ActivationGrid };
inline constexpr int kSlotCount = 6;
const char* slotName(Slot slot); ///< "transform", "pruner", "grid", "rounding", "compensator", "activation-grid".

/// What one stage decided, for people and for the recipe of the run: damping used, clipped share, chosen ratio ...
struct StageReport {
    std::string stage;
    double seconds = 0;
    std::vector<std::pair<std::string, ParameterValue>> entries;
    std::vector<std::string> notes; ///< Sentences: what was skipped and why, warnings.
};

/// Everything that fitting may look at. Methods see the fit part of the statistics only.
struct FitContext {
    Backend& backend;
    const JobContext& job;
};

/// Statistics of a layer's input as a stage sees them: after the transforms of its site.
struct InputView {
    Index channels = 0;
    Index tokens = 0;
    const MatrixD* secondMoment = nullptr; ///< C (d, d); null without calibration.
    std::vector<double> absMax, meanAbs, l2Norm; ///< Per channel; empty without calibration.
    std::vector<double> mean; ///< Per channel.
    std::vector<double> min,
        max; ///< Per channel, sinks included; empty when unknown (no calibration, or after a dense transform).
    std::vector<double> absMaxNoSinks; ///< absMax without the sink positions; empty when unknown.
    bool available() const { return tokens > 0; }
};

/// One layer that reads a site's input.
struct SiteConsumer {
    std::string layer;
    MatrixView W; ///< (out, in), after earlier transforms.
    /// Rounds a candidate weight with the pipeline's grid and nearest rounding; the yardstick of searches (AWQ). Null without a
    /// grid.
    std::function<Expected<RowMatrix>(MatrixView)> projectNearest;
    model::LayerRole role = model::LayerRole::Other;
};

struct SiteContext {
    const model::SiteSpec& site;
    std::vector<SiteConsumer> consumers;
    InputView input;
    FitContext fit;
    /// The diagonal that is stored in place of d (x'_j = d_j x_j): where a norm takes the transform, its product with d is
    /// rounded to the norm's type. The runner stores that one, so searches score it and reports speak of it. Null: d itself.
    std::function<std::vector<double>(std::vector<double>)> storable;
};

/// An invertible linear map x' = T x on a site's input, with W' = W T^-1, so that W' x' = W x.
class SiteTransform {
public:
    virtual ~SiteTransform() = default;
    virtual RowMatrix toTransformed(MatrixView W) const = 0; ///< W T^-1.
    virtual RowMatrix fromTransformed(MatrixView W) const = 0; ///< W' T: back to W's own input space.
    virtual MatrixD conjugate(MatrixViewD C) const = 0; ///< T C T^T.
    virtual void applyToTokens(MutMatrixView x) const = 0; ///< Rows x := T x.
    virtual void unapplyToTokens(MutMatrixView x) const = 0; ///< Rows x := T^-1 x.
    /// x'_j = x_j * diagonal[j] where T is diagonal: what an exporter folds. Empty otherwise.
    virtual std::vector<double> diagonal() const = 0;
    virtual bool identity() const = 0;
    /// Multiply-adds per token at run time where it cannot be folded.
    virtual double onlineCost() const = 0;
};

/// What is known of a stage before it runs.
struct StageInfo {
    std::string id; ///< "int", "gptq", "awq": unique, lower case; the word in canonical text.
    std::string title; ///< "Uniform integer".
    Slot slot = Slot::Grid;
    std::string family; ///< Plugin that brought it.
    int version = 1; ///< Bumped when results change; part of cache keys.
    std::string citation; ///< "Frantar et al. 2022, arXiv:2210.17323".
    std::vector<std::string> needs; ///< "stats" (channel statistics), "gram", "tokens".
    std::vector<ParameterSpec> parameters;
    bool interactive = false; ///< Fast enough for a live preview while a slider moves.
};

class TransformStage {
public:
    virtual ~TransformStage() = default;
    /// Fits the transform once over all consumers of the site. Returns the identity with a note where the site does not allow
    /// it.
    virtual Expected<std::unique_ptr<SiteTransform>> fit(const SiteContext& site, StageReport& report) const = 0;
};

/// Which weights go. Either a fixed mask, or a rule that a solver applies while it sweeps (SparseGPT).
struct MaskPlan {
    BasicMatrix<std::uint8_t> keep; ///< (rows, cols), 1 = kept; empty when adaptive.
    bool adaptive = false; ///< The solver chooses per block on w^2 / U_jj^2 of the current weights.
    double sparsity = 0;
    int n = 0, m = 0; ///< N:M keeps n of every m consecutive input columns; 0: free.
    Index block = 128; ///< Columns per choice of the adaptive rule.
};

/// One layer's problem as pruners and solvers see it: in the transformed space of its site.
struct LayerProblem {
    std::string layer;
    MatrixView W; ///< (out, in).
    InputView input;
    FitContext fit;
    model::LayerRole role = model::LayerRole::Other; ///< For methods that treat a kind of layer differently.
};

class PrunerStage {
public:
    virtual ~PrunerStage() = default;
    virtual Expected<MaskPlan> plan(const LayerProblem& problem, StageReport& report) const = 0;
};

/// A grid as solvers use it: fitted per group of columns, then asked for the nearest point column by column.
class GridSession {
public:
    virtual ~GridSession() = default;
    virtual Index groupSize() const = 0; ///< Columns per group; the number of columns for a whole row.
    /// Fits all rows of one group to W_group (rows, width); may be called again when the weights changed. `columns` are the
    /// original column numbers (for per-column weights of a range search).
    virtual Expected<void> fitGroup(Index group, MatrixView Wgroup, std::span<const Index> columns) = 0;
    /// Nearest grid points of one column of `group`: values (rows), decoded into `projected`, codes remembered for column
    /// `column`.
    virtual void quantizeColumn(Index group, Index column, std::span<const float> values, std::span<float> projected) = 0;
    /// Hands over what was stored: codes, scales, zeros. groupOf is set when columns were reordered.
    virtual quant::QuantizedTensor finish(std::vector<std::int32_t> groupOf) = 0;
};

class GridStage {
public:
    virtual ~GridStage() = default;
    /// Starts a layer. Errors: InvalidArgument when the group does not divide the columns (names the layer).
    virtual Expected<std::unique_ptr<GridSession>> begin(const LayerProblem& problem, StageReport& report) const = 0;
    /// Round to nearest of a whole matrix, without calibration data beyond what `problem` holds; used by previews and searches.
    virtual Expected<quant::QuantizedTensor> nearest(const LayerProblem& problem) const = 0;
    /// Canonical parameters with automatic values resolved for this width ("group": 64).
    virtual Expected<Parameters> resolved(Index cols) const = 0;
};

struct RoundingResult {
    RowMatrix What; ///< In the transformed space.
    quant::QuantizedTensor quantized; ///< Empty without a grid.
    BasicMatrix<std::uint8_t> keep; ///< Empty without pruning.
};

/// Turns a weight into grid points and zeros. Error feedback inside a sweep belongs here, not to Compensator.
class RoundingStage {
public:
    virtual ~RoundingStage() = default;
    /// grid: null without a Grid stage; mask: null without a Pruner stage.
    /// Errors: Unsupported for an adaptive mask that the solver cannot choose; NotFound when statistics are needed and absent.
    virtual Expected<RoundingResult> solve(
        const LayerProblem& problem, const GridStage* grid, const MaskPlan* mask, StageReport& report) const = 0;
};

/// What follows rounding: low-rank residuals, bias correction.
class CompensatorStage {
public:
    virtual ~CompensatorStage() = default;
    virtual Expected<void> compensate(const LayerProblem& problem, RoundingResult& result, StageReport& report) const = 0;
};

class ActivationGridStage {
public:
    virtual ~ActivationGridStage() = default;
    virtual Expected<quant::ActivationGridOptions> fit(const LayerProblem& problem, StageReport& report) const = 0;
};

/// A constructed stage: exactly one of the pointers is set, matching info().slot.
struct StageInstance {
    std::shared_ptr<const TransformStage> transform;
    std::shared_ptr<const PrunerStage> pruner;
    std::shared_ptr<const GridStage> grid;
    std::shared_ptr<const RoundingStage> rounding;
    std::shared_ptr<const CompensatorStage> compensator;
    std::shared_ptr<const ActivationGridStage> activation;
};

/// Makes stages from resolved parameters. Construction may refuse combinations of values (InvalidArgument).
class StageFactory {
public:
    virtual ~StageFactory() = default;
    virtual const StageInfo& info() const = 0;
    virtual Expected<StageInstance> create(const Parameters& resolved) const = 0;
};

} // namespace qs::recipe
