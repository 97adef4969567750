// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/model/engine.h"
#include "core/model/model.h"
#include "core/recipe/recipe.h"
#include "core/recipe/storage.h"
#include "core/stats/dump.h"

#include <mutex>

namespace qs::store {
class ResultCache;
}

namespace qs::recipe {

/// A compressed layer: what was computed, in the form that metrics, simulation and exports need.
struct CompressedLayer {
    std::string layer;
    Pipeline pipeline; ///< Resolved.
    RowMatrix What; ///< Effective weight in W's own input and output space.
    /// Without a grid: the weight as it is stored, in the stored (transformed) space. Empty where that is What itself.
    RowMatrix stored;
    quant::QuantizedTensor quantized; ///< Codes in the stored (transformed) space; empty without a grid.
    BasicMatrix<std::uint8_t> keep; ///< Pruning mask; empty without one.
    std::shared_ptr<const SiteTransform> inputTransform; ///< Of its site, or null.
    /// Row factors s folded in from a site behind it (v for o, up for down), or empty. The stored weight approximates
    /// diag(s) W T^-1, a bias is stored as s * b, and What = diag(1/s) (stored T): still W's own output space. s is the
    /// diagonal of the transform of the site behind.
    std::vector<double> outputScale;
    std::optional<quant::ActivationGridOptions> activation;
    quant::BitsCount bits;
    double sparsity = 0; ///< Share of zeros in What.
    std::vector<std::string> siteLayers; ///< Consumers that the transform was fitted over.
    std::vector<StageReport> reports;
    double seconds = 0; ///< Of the computation, also where the result was taken from the cache.
    std::string cacheKey; ///< Digest of everything that it was computed from; empty without a cache and for an untouched layer.
    bool fromCache = false;
    bool untouched() const { return pipeline.empty(); }
};

/// The input statistics behind a model's layers, or none.
struct Calibration {
    std::shared_ptr<const stats::CalibrationDump> dump; ///< Null: methods that need statistics fail with NotFound.
};

struct LayerMetrics;
struct SiteFit;
struct StageSet;

/// Compresses one layer with one pipeline, its site's transform fitted over all consumers of the site.
///
/// W T^-1 (rows times outputScale under an assignment) -> pruner -> rounding on the grid -> compensators -> back to W's space.
/// Statistics are of the fit part, conjugated with the transform: C' = T C T^T. After a transform that is not diagonal the
/// channels' extrema are not known and absMax and meanAbs are empty. With a grid What is exactly what the codes decode to (plus
/// compensators); without one the weight is rounded to its storage type. A transform that a norm takes is one that the stored
/// norm can take without rounding. An empty pipeline leaves the layer as it is: What = W, but for the rounding of rows that
/// take factors. Errors   NotFound "needs calibration" naming stage and
/// layer; NotFinite for NaN or Inf in W (first row and column); Mismatch for an
///          assignment that gives the consumers of a site different transforms; Unsupported for an adaptive mask without a
///          rounding stage; stage errors.
/// Cost     decode of the site's weights plus the stages.   Threads   const members may be called concurrently; stages
/// parallelise inside.
class Runner {
public:
    Runner(std::shared_ptr<const model::Model> model, Calibration calibration, const StageRegistry& registry, Backend& backend);
    ~Runner();

    Expected<CompressedLayer> compress(model::LayerIndex layer, const Pipeline& pipeline, const JobContext& job) const;
    /// The same under a whole assignment: transforms of sites behind the layer are folded into its rows before it is rounded.
    Expected<CompressedLayer> compress(model::LayerIndex layer, const Assignment& assignment, const JobContext& job) const;

    /// Metrics of a result of this runner, from the cache where they are there.
    Expected<LayerMetrics> measure(model::LayerIndex layer, const CompressedLayer& compressed, const JobContext& job) const;

    /// Results are looked up and kept there from now on; null: computed always. Not while compress() runs.
    void setCache(std::shared_ptr<store::ResultCache> cache) { m_cache = std::move(cache); }
    const std::shared_ptr<store::ResultCache>& cache() const { return m_cache; }

    const model::Model& model() const { return *m_model; }
    const std::shared_ptr<const model::Model>& sharedModel() const { return m_model; }
    const Calibration& calibration() const { return m_calibration; }
    const StageRegistry& registry() const { return m_registry; }
    Backend& backend() const { return m_backend; }

private:
    struct SiteCache;
    struct Task;
    Expected<Task> prepare(model::LayerIndex layer, const Pipeline& pipeline, const Assignment* assignment) const;
    Expected<std::string> keyOf(const Task& task, const JobContext& job) const;
    Expected<std::shared_ptr<const SiteFit>> siteFit(
        const model::SiteSpec& site, const Pipeline& pipeline, const JobContext& job) const;
    Expected<CompressedLayer> run(const Task& task, const JobContext& job) const;
    Expected<void> solve(const Pipeline& pipeline, const StageSet& stages, const LayerProblem& problem,
        const model::LayerSpec& spec, CompressedLayer& result) const;

    std::shared_ptr<const model::Model> m_model;
    Calibration m_calibration;
    const StageRegistry& m_registry;
    Backend& m_backend;
    std::shared_ptr<store::ResultCache> m_cache;
    std::unique_ptr<SiteCache> m_sites; ///< Fitted transforms of the last few (site, pipeline) pairs; internally locked.
};

inline constexpr Index kMostRawTokens = 32768;

/// Metrics of one pipeline on one layer (product words: output_error and so on).
struct LayerMetrics {
    double outputError = 0; ///< tr(dW C dW^T) / tr(W C W^T), C of the holdout (of all tokens without one).
    double outputErrorFit = 0; ///< The same with C of the fit part.
    std::optional<double> outputErrorWA; ///< E|Wx - What Q(x)|^2 / E|Wx|^2 over raw tokens.
    std::string whyNoWA; ///< The reason where it is absent.
    Index tokensWA = 0; ///< Raw tokens that outputErrorWA is over: all, or the first kMostRawTokens of a larger dump.
    double weightSqnrDb = 0; ///< 10 log10(sum W^2 / sum dW^2).
    double outputSqnrDb = 0; ///< -10 log10(outputError).
    /// Share of the energy of what outputError is over (holdout, or fit) in the first stats::kSinkPositions of the windows:
    /// near 1 the error speaks of them alone. 0 where positions are not known.
    double sinkShare = 0;
    bool holdout = false;
    bool hasOutput = false; ///< False without statistics: only weightSqnrDb is valid.
    Index nonFinite = 0; ///< NaN or Inf among What.
};
Expected<LayerMetrics> measure(const model::Model& model, model::LayerIndex layer, MatrixView W,
    const CompressedLayer& compressed, const Calibration& calibration, Backend& backend, const JobContext& job);

/// Simulates the quantization of a layer's input in place, x (tokens, in) in W's own input space: x := T^-1 Q(T x). x holds
/// windows of `window` tokens (0: one); a dynamic per-tensor range is that of a window. Nothing without an activation grid.
void quantizeInput(const CompressedLayer& compressed, MutMatrixView x, Index window, Backend& backend);

/// Feeds the engine with compressed layers of an assignment, computed when they are reached. Run the engine on asStored() of
/// the model, so that the tensors between the layers are those of the export as well.
class RecipeReplacements : public model::Replacements {
public:
    RecipeReplacements(std::shared_ptr<const Runner> runner, Assignment assignment);
    Expected<std::optional<model::LayerReplacement>> layer(
        model::LayerIndex index, MatrixView original, const JobContext& job) const override;
    /// Bits and weights of the layers computed so far, added up and by layer. Layers without a pipeline are left out.
    quant::BitsCount bits() const;
    std::map<model::LayerIndex, quant::BitsCount> layerBits() const;
    /// Size of the export, once all layers were computed.
    RecipeSize size() const;

private:
    std::shared_ptr<const Runner> m_runner;
    Assignment m_assignment;
    mutable std::mutex m_mutex;
    mutable std::map<model::LayerIndex, quant::BitsCount> m_bits;
};

} // namespace qs::recipe
