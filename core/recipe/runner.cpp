// SPDX-License-Identifier: Apache-2.0
#include "core/recipe/runner.h"

#include "core/base/digest.h"
#include "core/base/version.h"
#include "core/exec/parallel.h"
#include "core/io/json_text.h"
#include "core/recipe/result_codec.h"
#include "core/recipe/site_fit.h"
#include "core/store/result_cache.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace qs::recipe {
namespace {

constexpr std::size_t kKeptInputs = 2; // second moments are large: 128 MB at 4096 channels
constexpr std::size_t kKeptFits = 256; // diagonals are small

using Clock = std::chrono::steady_clock;

double secondsSince(Clock::time_point start)
{
    return std::chrono::duration<double>(Clock::now() - start).count();
}

/// What a site's fit depends on within a pipeline: transforms, and the grid that searches round with.
std::string fitText(const Pipeline& pipeline)
{
    Pipeline part;
    part[Slot::Transform] = pipeline[Slot::Transform];
    part[Slot::Grid] = pipeline[Slot::Grid];
    return formatPipeline(part);
}

/// NotFound where a stage needs statistics that are not there.
Expected<void> checkNeeds(
    const Pipeline& pipeline, const StageRegistry& registry, const InputView& input, const std::string& layer)
{
    for (const auto& slot : pipeline.slots)
        for (const StageCall& call : slot)
            for (const std::string& need : registry.stage(call.id)->info().needs) {
                const bool there = need == "gram" ? input.secondMoment != nullptr : input.available();
                if (!there)
                    return fail(Errc::NotFound,
                        fmt::format("stage '{}' needs calibration: there {} of this layer's input", call.id,
                            need == "gram" && input.available() ? "is no Gram matrix" : "are no statistics"),
                        layer, "capture or load a dump that covers the layer");
            }
    return {};
}

void scaleRows(RowMatrix& W, const std::vector<double>& s)
{
    parallelFor(0, W.rows(), 64, [&](Index begin, Index end) {
        for (Index r = begin; r < end; ++r)
            for (float& value : W.row(r))
                value = static_cast<float>(static_cast<double>(value) * s[static_cast<std::size_t>(r)]);
    });
}

/// Rounds a weight without a grid to what an export stores.
Expected<void> roundLayer(const model::LayerSpec& layer, RowMatrix& W)
{
    if (auto done = roundToStored(denseStorageType(layer.dtype), W.mut()); !done) {
        Error error = std::move(done).error();
        error.where = layer.name;
        return tl::unexpected(std::move(error));
    }
    return {};
}

double shareOfZeros(MatrixView W)
{
    Index zeros = 0;
    for (Index r = 0; r < W.rows(); ++r)
        zeros += std::count(W.row(r).begin(), W.row(r).end(), 0.0F);
    return W.empty() ? 0.0 : static_cast<double>(zeros) / static_cast<double>(W.size());
}

/// Bits per weight that a format made for this mask would take: kept values, and the mask (1 bit, or log2 C(M, N) / M).
double idealBits(double valueBits, double sparsity, const MaskPlan& plan)
{
    if (plan.m <= 0)
        return valueBits * (1.0 - sparsity) + 1.0;
    const double m = plan.m;
    const double n = plan.n;
    const double choices = std::lgamma(m + 1.0) - std::lgamma(n + 1.0) - std::lgamma(m - n + 1.0);
    return valueBits * (1.0 - sparsity) + choices / std::log(2.0) / m;
}

} // namespace

struct Runner::SiteCache {
    SharedCache<InputData> inputs{kKeptInputs};
    SharedCache<SiteFit> fits{kKeptFits};
};

/// One layer with everything that its result depends on.
struct Runner::Task {
    model::LayerIndex index = -1;
    Pipeline pipeline;
    model::SiteSpec site;
    model::SiteSpec behind; ///< The site whose transform folds into the rows.
    Pipeline behindPipeline; ///< Of its consumers; empty: nothing is folded.
};

Runner::Runner(
    std::shared_ptr<const model::Model> model, Calibration calibration, const StageRegistry& registry, Backend& backend)
    : m_model(std::move(model))
    , m_calibration(std::move(calibration))
    , m_registry(registry)
    , m_backend(backend)
    , m_sites(std::make_unique<SiteCache>())
{
}

Runner::~Runner() = default;

Expected<CompressedLayer> Runner::compress(model::LayerIndex layer, const Pipeline& pipeline, const JobContext& job) const
{
    QS_TRY(task, prepare(layer, pipeline, nullptr));
    return run(task, job);
}

Expected<CompressedLayer> Runner::compress(model::LayerIndex layer, const Assignment& assignment, const JobContext& job) const
{
    if (assignment.layers.size() != m_model->spec().layers.size())
        return fail(Errc::Mismatch,
            fmt::format(
                "the assignment is for {} layers, the model has {}", assignment.layers.size(), m_model->spec().layers.size()));
    const bool known = layer >= 0 && static_cast<std::size_t>(layer) < assignment.layers.size();
    const std::shared_ptr<const Pipeline> own = known ? assignment.layers[static_cast<std::size_t>(layer)] : nullptr;
    QS_TRY(task, prepare(layer, own ? *own : Pipeline{}, &assignment));
    return run(task, job);
}

Expected<Runner::Task> Runner::prepare(model::LayerIndex layer, const Pipeline& pipeline, const Assignment* assignment) const
{
    const model::ModelSpec& spec = m_model->spec();
    if (layer < 0 || static_cast<std::size_t>(layer) >= spec.layers.size())
        return fail(Errc::NotFound, fmt::format("there is no layer number {}", layer));
    const model::LayerSpec& which = spec.layers[static_cast<std::size_t>(layer)];
    Task task;
    task.index = layer;
    task.site = siteOf(spec, layer);
    auto resolved = resolveFor(pipeline, m_registry, which.in);
    if (!resolved) {
        Error failed = std::move(resolved).error();
        failed.where = which.name + (failed.where.empty() ? "" : ", " + failed.where);
        return tl::unexpected(std::move(failed));
    }
    task.pipeline = std::move(*resolved);
    if (!assignment)
        return task;

    for (const model::LayerIndex other : task.site.consumers) {
        const auto& theirs = assignment->layers[static_cast<std::size_t>(other)];
        if (fitText(theirs ? *theirs : Pipeline{}) == fitText(pipeline))
            continue;
        if (pipeline[Slot::Transform].empty() && (!theirs || (*theirs)[Slot::Transform].empty()))
            continue;
        return fail(Errc::Mismatch,
            fmt::format("{} and {} read the same input, but the recipe transforms it differently", which.name,
                spec.layers[static_cast<std::size_t>(other)].name),
            which.name, "give both the same pipeline");
    }
    if (const model::SiteSpec* behind = siteBehind(spec, layer); behind && !behind->consumers.empty())
        if (const auto& theirs = assignment->layers[static_cast<std::size_t>(behind->consumers.front())];
            theirs && !(*theirs)[Slot::Transform].empty()) {
            QS_TRY(behindPipeline,
                resolveFor(*theirs, m_registry, spec.layers[static_cast<std::size_t>(behind->consumers.front())].in));
            task.behind = *behind;
            task.behindPipeline = std::move(behindPipeline);
        }
    return task;
}

/// Digest of everything that a result depends on.
Expected<std::string> Runner::keyOf(const Task& task, const JobContext& job) const
{
    const auto& layers = m_model->spec().layers;
    Digest digest;
    digest.add(std::string_view("quantscope result 2"));
    digest.add(sourceDigest()).add(std::string_view(m_backend.name())).add(std::string_view(m_backend.version()));
    digest.add(std::string_view(m_calibration.dump ? m_calibration.dump->id() : std::string("no dump")));
    digest.add(std::string_view(m_calibration.dump ? m_calibration.dump->fileVersion() : std::string()));
    digest.add(static_cast<std::int64_t>(job.seed)).add(static_cast<std::int64_t>(threadCount()));
    const auto addLayer = [&](model::LayerIndex index) -> Expected<void> {
        const model::LayerSpec& layer = layers[static_cast<std::size_t>(index)];
        QS_TRY(tensor, m_model->digest(layer.weight));
        digest.add(std::string_view(layer.name)).add(std::string_view(tensor)).add(std::string_view(dtypeName(layer.dtype)));
        return {};
    };
    const auto addPipeline = [&](const Pipeline& pipeline) {
        digest.add(std::string_view(formatPipeline(pipeline)));
        for (const auto& slot : pipeline.slots)
            for (const StageCall& call : slot)
                digest.add(static_cast<std::int64_t>(m_registry.stage(call.id)->info().version));
    };
    const auto addSite = [&](const model::SiteSpec& site) -> Expected<void> {
        digest.add(static_cast<std::int64_t>(site.kind)).add(static_cast<std::int64_t>(site.diagonalFolds ? 1 : 0));
        for (const model::LayerIndex consumer : site.consumers)
            QS_CHECK(addLayer(consumer));
        if (const io::TensorInfo* norm = m_model->tensor(site.producerNorm)) { // the transform is snapped to it
            QS_TRY(tensor, m_model->digest(site.producerNorm));
            digest.add(std::string_view(tensor)).add(std::string_view(dtypeName(norm->dtype)));
        }
        return {};
    };
    // Q and K rows of GGUF files are reordered by the model's number of heads.
    digest.add(static_cast<std::int64_t>(m_model->spec().heads)).add(static_cast<std::int64_t>(m_model->spec().kvHeads));
    QS_CHECK(addLayer(task.index));
    addPipeline(task.pipeline);
    if (!task.pipeline[Slot::Transform].empty())
        QS_CHECK(addSite(task.site));
    if (!task.behindPipeline.empty()) {
        addPipeline(task.behindPipeline);
        QS_CHECK(addSite(task.behind));
    }
    return digest.hex();
}

Expected<std::shared_ptr<const SiteFit>> Runner::siteFit(
    const model::SiteSpec& site, const Pipeline& pipeline, const JobContext& job) const
{
    const std::string key = fmt::format("{} {} {}", site.consumers.front(), job.seed, fitText(pipeline));
    return m_sites->fits.get(key, [&]() -> Expected<std::shared_ptr<const SiteFit>> {
        const model::LayerSpec& first = m_model->spec().layers[static_cast<std::size_t>(site.consumers.front())];
        QS_TRY(stages, makeStages(pipeline, m_registry));
        QS_TRY(input, m_sites->inputs.get(first.inputId.empty() ? first.name : first.inputId, [&] {
            return inputDataOf(m_calibration, first);
        }));
        Pipeline transforms;
        transforms[Slot::Transform] = pipeline[Slot::Transform];
        QS_CHECK(checkNeeds(transforms, m_registry, input->view, first.name));
        QS_TRY(fit, fitSite(*m_model, site, stages, input, FitContext{m_backend, job}));
        return std::make_shared<const SiteFit>(std::move(fit));
    });
}

Expected<CompressedLayer> Runner::run(const Task& task, const JobContext& job) const
{
    const auto start = Clock::now();
    const model::LayerSpec& spec = m_model->spec().layers[static_cast<std::size_t>(task.index)];
    QS_CHECK(job.poll());
    job.progress(0.0, spec.name);

    std::string key;
    if (m_cache && !task.pipeline.empty()) {
        QS_TRY(digest, keyOf(task, job));
        key = std::move(digest);
        if (const auto entry = m_cache->get(key)) {
            if (auto restored = decodeResult(*entry, m_registry, spec.out, spec.in, m_backend)) {
                restored->cacheKey = key;
                job.progress(1.0, spec.name);
                return std::move(*restored);
            }
            m_cache->drop(key);
        }
    }

    CompressedLayer result;
    result.layer = spec.name;
    result.pipeline = task.pipeline;
    result.cacheKey = key;
    QS_TRY(W, loadFinite(*m_model, spec));
    if (W.rows() != spec.out || W.cols() != spec.in)
        return fail(Errc::Mismatch,
            fmt::format("the weight is {} x {}, the model says {} x {}", W.rows(), W.cols(), spec.out, spec.in), spec.weight);
    if (!task.behindPipeline.empty()) {
        QS_TRY(behind, siteFit(task.behind, task.behindPipeline, job.part(0.0, 0.2)));
        if (behind->transform && !behind->transform->identity()) {
            std::vector<double> scale = behind->transform->diagonal();
            if (static_cast<Index>(scale.size()) == spec.out)
                result.outputScale = std::move(scale);
        }
    }
    if (task.pipeline.empty()) {
        result.bits = storedBits(*m_model, spec);
        if (!result.outputScale.empty()) {
            scaleRows(W, result.outputScale);
            QS_CHECK(roundLayer(spec, W));
            result.bits = denseBits(spec);
            result.stored = std::move(W);
            result.What = effectiveWeight(result.stored, nullptr, result.outputScale);
        } else {
            result.What = std::move(W);
        }
        result.sparsity = shareOfZeros(result.What);
        result.seconds = secondsSince(start);
        job.progress(1.0, spec.name);
        return result;
    }

    QS_TRY(stages, makeStages(task.pipeline, m_registry));
    QS_TRY(input,
        m_sites->inputs.get(spec.inputId.empty() ? spec.name : spec.inputId, [&] { return inputDataOf(m_calibration, spec); }));
    QS_CHECK(checkNeeds(task.pipeline, m_registry, input->view, spec.name));
    if (!stages.transforms.empty()) {
        QS_TRY(fit, siteFit(task.site, task.pipeline, job.part(0.2, 0.5)));
        result.inputTransform = fit->transform;
        result.siteLayers = fit->layers;
        result.reports = fit->reports;
    }
    QS_TRY(view, transformed(input, result.inputTransform.get()));
    if (!result.outputScale.empty())
        scaleRows(W, result.outputScale);
    if (result.inputTransform && !result.inputTransform->identity())
        W = result.inputTransform->toTransformed(W);

    const JobContext solving = job.part(0.5, 0.95);
    QS_CHECK(solve(task.pipeline, stages, LayerProblem{spec.name, W, view->view, FitContext{m_backend, solving}, spec.role},
        spec, result));
    const bool moved = (result.inputTransform && !result.inputTransform->identity()) || !result.outputScale.empty();
    if (moved) {
        RowMatrix effective = effectiveWeight(result.What, result.inputTransform.get(), result.outputScale);
        if (result.quantized.empty())
            result.stored = std::move(result.What);
        result.What = std::move(effective);
    }
    result.sparsity = shareOfZeros(result.What);
    result.seconds = secondsSince(start);
    if (!key.empty())
        if (const auto entry = encodeResult(result, m_backend))
            if (auto kept = m_cache->put(key, *entry); !kept) // a full disk costs time later, not this result
                result.reports.push_back({"cache", 0, {}, {"not kept: " + kept.error().line()}});
    job.progress(1.0, spec.name);
    return result;
}

/// Pruner, rounding, compensators and activation grid in the space that is stored; leaves that weight in result.What.
Expected<void> Runner::solve(const Pipeline& pipeline, const StageSet& stages, const LayerProblem& problem,
    const model::LayerSpec& spec, CompressedLayer& result) const
{
    const auto timed = [&](const std::string& id, auto&& call) -> Expected<void> {
        QS_CHECK(problem.fit.job.poll());
        const auto start = Clock::now();
        StageReport report{id, 0, {}, {}};
        QS_CHECK(call(report));
        report.seconds = secondsSince(start);
        result.reports.push_back(std::move(report));
        return {};
    };
    std::optional<MaskPlan> mask;
    if (stages.pruner)
        QS_CHECK(timed(pipeline[Slot::Pruner].front().id, [&](StageReport& report) -> Expected<void> {
            QS_TRY(plan, stages.pruner->plan(problem, report));
            mask = std::move(plan);
            return {};
        }));

    RoundingResult rounded;
    if (stages.rounding) {
        QS_CHECK(timed(pipeline[Slot::Rounding].front().id, [&](StageReport& report) -> Expected<void> {
            QS_TRY(solved, stages.rounding->solve(problem, stages.grid.get(), mask ? &*mask : nullptr, report));
            rounded = std::move(solved);
            return {};
        }));
        if (rounded.What.rows() != spec.out || rounded.What.cols() != spec.in)
            return fail(Errc::Internal, "the rounding stage returned a weight of another shape", spec.name);
    } else if (mask && mask->adaptive) {
        return fail(Errc::Unsupported,
            fmt::format(
                "pruner '{}' leaves the choice to a rounding stage, and there is none", pipeline[Slot::Pruner].front().id),
            spec.name, "put 'obs' into the rounding slot");
    } else {
        rounded.What = RowMatrix(problem.W);
        if (mask) {
            rounded.keep = std::move(mask->keep);
            for (std::size_t i = 0; i < rounded.keep.values().size(); ++i)
                if (rounded.keep.values()[i] == 0)
                    rounded.What.values()[i] = 0.0F;
        }
    }
    const bool quantized = !rounded.quantized.empty();
    if (quantized)
        rounded.What = rounded.quantized.dequantize(m_backend); // what an export decodes to, whatever the solver kept
    else
        QS_CHECK(roundLayer(spec, rounded.What));
    for (const StageSet::Compensator& compensator : stages.compensators)
        QS_CHECK(timed(
            compensator.id, [&](StageReport& report) { return compensator.stage->compensate(problem, rounded, report); }));
    if (stages.activation)
        QS_CHECK(timed(pipeline[Slot::ActivationGrid].front().id, [&](StageReport& report) -> Expected<void> {
            QS_TRY(options, stages.activation->fit(problem, report));
            result.activation = options;
            return {};
        }));

    result.bits = quantized ? packedBits(rounded.quantized) : denseBits(spec);
    if (stages.pruner) {
        const double valueBits = quantized ? rounded.quantized.grid.bits : result.bits.perWeight();
        for (StageReport& report : result.reports)
            if (report.stage == pipeline[Slot::Pruner].front().id)
                report.entries.emplace_back("ideal_bits", idealBits(valueBits, shareOfZeros(rounded.What), *mask));
    }
    result.What = std::move(rounded.What);
    result.quantized = std::move(rounded.quantized);
    result.keep = std::move(rounded.keep);
    return {};
}

Expected<LayerMetrics> Runner::measure(model::LayerIndex layer, const CompressedLayer& compressed, const JobContext& job) const
{
    if (layer < 0 || static_cast<std::size_t>(layer) >= m_model->spec().layers.size())
        return fail(Errc::NotFound, fmt::format("there is no layer number {}", layer));
    std::string key;
    if (m_cache && !compressed.cacheKey.empty()) {
        key = Digest().add(std::string_view("metrics 3")).add(std::string_view(compressed.cacheKey)).hex();
        if (const auto entry = m_cache->get(key)) {
            const auto json = io::parseJson(entry->json, "cached metrics");
            if (auto metrics = json ? metricsFromJson(*json) : fail(Errc::Format, "not JSON"))
                return metrics;
            m_cache->drop(key);
        }
    }
    QS_TRY(W, m_model->loadWeight(m_model->spec().layers[static_cast<std::size_t>(layer)]));
    auto metrics = recipe::measure(*m_model, layer, W, compressed, m_calibration, m_backend, job);
    if (metrics && !key.empty())
        static_cast<void>(
            m_cache->put(key, {metricsToJson(*metrics).dump(), {}})); // a full disk costs time later, not this result
    return metrics;
}

} // namespace qs::recipe
