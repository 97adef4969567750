// SPDX-License-Identifier: Apache-2.0
#include "core/session/tasks.h"

#include "core/analysis/distribution.h"
#include "core/base/atomic_file.h"
#include "core/base/memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <random>

namespace qs::session::tasks {

namespace {

constexpr Index kHistogramBins = 160;
constexpr Index kCodeBins = 256;
constexpr Index kRawTokenLimit = 2048;

using Clock = std::chrono::steady_clock;

Expected<const model::LayerSpec*> layerSpec(const model::Model& model, model::LayerIndex layer)
{
    const auto& layers = model.spec().layers;
    if (layer < 0 || layer >= static_cast<model::LayerIndex>(layers.size()))
        return fail(Errc::NotFound, fmt::format("there is no layer number {}", layer));
    return &layers[static_cast<std::size_t>(layer)];
}

Error withWhere(Error error, const std::string& where)
{
    if (error.where.empty())
        error.where = where;
    return error;
}

std::vector<double> columnMax(MatrixView W)
{
    std::vector<double> result(static_cast<std::size_t>(W.cols()), 0.0);
    for (Index r = 0; r < W.rows(); ++r) {
        const auto row = W.row(r);
        for (std::size_t c = 0; c < row.size(); ++c)
            result[c] = std::max(result[c], std::abs(static_cast<double>(row[c])));
    }
    return result;
}

/// Row and group whose scale is the median of all, as a representative of what the grid looks like.
std::pair<Index, Index> medianGroup(const quant::QuantizedTensor& tensor)
{
    const auto scales = tensor.scale.values();
    std::vector<Index> order(scales.size());
    std::iota(order.begin(), order.end(), Index{0});
    const auto middle = order.begin() + static_cast<std::ptrdiff_t>(order.size() / 2);
    std::nth_element(order.begin(), middle, order.end(), [&](Index a, Index b) {
        const float x = scales[static_cast<std::size_t>(a)];
        const float y = scales[static_cast<std::size_t>(b)];
        return x != y ? x < y : a < b;
    });
    return {*middle / tensor.groups(), *middle % tensor.groups()};
}

Expected<DistributionResult> distribution(MatrixView W, const recipe::CompressedLayer& compressed)
{
    DistributionResult result;
    result.before = reduce::histogram(W, kHistogramBins);
    result.after = reduce::histogram(compressed.What, kHistogramBins, std::pair(result.before.lo, result.before.hi));
    QS_TRY(difference, metrics::difference(W, compressed.What));
    result.error = reduce::histogram(difference, kHistogramBins);
    const quant::QuantizedTensor& tensor = compressed.quantized;
    if (!tensor.empty()) {
        // Codes live in the stored space: a transform of the site changes the weight before it is rounded.
        RowMatrix transformed;
        if (compressed.inputTransform && !compressed.inputTransform->identity())
            transformed = compressed.inputTransform->toTransformed(W);
        auto codes = analysis::codeHistogram(transformed.empty() ? W : transformed.view(), tensor, kCodeBins);
        if (codes)
            result.codes = std::move(*codes);
        std::tie(result.levelsRow, result.levelsGroup) = medianGroup(tensor);
        result.levels = analysis::gridLevels(tensor.grid,
            {tensor.scale(result.levelsRow, result.levelsGroup), tensor.zero(result.levelsRow, result.levelsGroup)});
    }
    return result;
}

Expected<InputDistribution> inputDistribution(
    MatrixView tokens, Index window, const recipe::CompressedLayer& compressed, Backend& backend)
{
    const quant::ActivationGridOptions& options = *compressed.activation;
    InputDistribution result;
    RowMatrix before(tokens);
    result.transformed = compressed.inputTransform && !compressed.inputTransform->identity();
    if (result.transformed)
        compressed.inputTransform->applyToTokens(before.mut());
    RowMatrix after(before.view());
    quant::quantizeActivations(after.mut(), options, window, backend);
    result.before = reduce::histogram(before, kHistogramBins);
    result.after = reduce::histogram(after, kHistogramBins, std::pair(result.before.lo, result.before.hi));
    QS_TRY(difference, metrics::difference(before, after));
    result.error = reduce::histogram(difference, kHistogramBins);

    const quant::UniformGrid grid(options.uniform());
    const quant::ActivationScales fitted = quant::fitActivations(before, options, window, backend);
    std::uint64_t clipped = 0;
    std::uint64_t finite = 0;
    std::vector<quant::ScaleZero> scales;
    for (Index r = 0; r < before.rows(); ++r) {
        for (Index c = 0; c < before.cols(); ++c) {
            const quant::ScaleZero sz{fitted.scale(r, c / fitted.group), fitted.zero(r, c / fitted.group)};
            if (c % fitted.group == 0)
                scales.push_back(sz);
            const float x = before(r, c);
            const float half = sz.scale / 2;
            finite += std::isfinite(x) ? 1 : 0;
            clipped += std::isfinite(x)
                    && (x < grid.decode(grid.lowestCode(), sz) - half || x > grid.decode(grid.highestCode(), sz) + half)
                ? 1
                : 0;
        }
    }
    result.ranges = fitted.ranges;
    result.clippedShare = finite > 0 ? static_cast<double>(clipped) / static_cast<double>(finite) : 0;
    const auto middle = scales.begin() + static_cast<std::ptrdiff_t>(scales.size() / 2);
    std::nth_element(scales.begin(), middle, scales.end(), [](const auto& a, const auto& b) { return a.scale < b.scale; });
    result.levels = analysis::gridLevels(options.uniform(), *middle);
    return result;
}

Expected<LayerResult> toResult(const recipe::Runner& runner, model::LayerIndex layer, MatrixView W,
    recipe::CompressedLayer compressed, const LayerView* view, Backend& backend, const JobContext& job)
{
    QS_TRY(measured, recipe::measure(runner.model(), layer, W, compressed, runner.calibration(), backend, job));
    LayerResult result;
    result.layer = layer;
    result.pipelineText = recipe::formatPipeline(compressed.pipeline);
    result.metrics = measured;
    result.bits = compressed.bits;
    result.sparsity = compressed.sparsity;
    result.seconds = compressed.seconds;
    result.reports = compressed.reports;
    result.siteLayers = compressed.siteLayers;
    if (view) {
        QS_TRY(histograms, distribution(W, compressed));
        result.distribution = std::make_shared<const DistributionResult>(std::move(histograms));
        if (compressed.activation && view->rawTokens) {
            QS_TRY(inputs, inputDistribution(*view->rawTokens, runner.calibration().dump->info().seqLen, compressed, backend));
            result.inputs = std::make_shared<const InputDistribution>(std::move(inputs));
        }
        if (view->C) {
            QS_TRY(delta, metrics::difference(W, compressed.What));
            QS_TRY(shares, metrics::errorShares(delta, view->C->view(), backend, job));
            result.shares = std::make_shared<const metrics::ErrorShares>(std::move(shares));
        }
        result.What = std::make_shared<const RowMatrix>(std::move(compressed.What));
    }
    return result;
}

} // namespace

Expected<OpenedModel> openModel(const std::filesystem::path& path, const JobContext& job)
{
    OpenedModel opened;
    QS_TRY(model, model::openModel(path));
    QS_CHECK(job.poll());
    opened.model = model;
    for (const io::TensorInfo& tensor : opened.model->checkpoint().tensors())
        opened.fileBytes += static_cast<double>(tensor.bytes);
    return opened;
}

Expected<std::shared_ptr<const stats::CalibrationDump>> openDump(const std::filesystem::path& path,
    const std::shared_ptr<const model::Model>& model, Backend& backend, const JobContext& job)
{
    QS_TRY(dump, stats::openDump(path, backend));
    QS_CHECK(job.poll());
    std::vector<stats::LayerWidth> widths;
    for (const model::LayerSpec& layer : model->spec().layers)
        widths.push_back({layer.name, layer.in});
    QS_CHECK(stats::checkDumpFits(*dump, model->id(), widths));
    static_cast<void>(dump->id()); // reads sums of every channel: here, not where the window first asks for it
    return dump;
}

Expected<Ranking> rankLayers(
    const model::Model& model, const stats::CalibrationDump* dump, Backend& backend, const JobContext& job)
{
    const auto& layers = model.spec().layers;
    Ranking ranking;
    ranking.withDump = dump != nullptr;
    ranking.layers.resize(layers.size());
    std::map<std::string, analysis::Outliers> outliersOf; // layers of one input share it
    for (std::size_t i = 0; i < layers.size(); ++i) {
        QS_CHECK(job.poll());
        job.progress(static_cast<double>(i) / static_cast<double>(layers.size()), layers[i].name);
        RankedLayer& ranked = ranking.layers[i];
        auto W = model.loadWeight(layers[i]);
        if (!W) {
            ranked.error = W.error();
            continue;
        }
        std::shared_ptr<const stats::InputStats> stats;
        if (dump && !dump->inputOf(layers[i].name).empty()) {
            if (auto read = dump->stats(layers[i].name))
                stats = *read;
            else
                ranked.error = read.error();
        }
        const auto sensitivity = analysis::rtnSensitivity(*W, stats.get(), backend, {}, job);
        if (!sensitivity) {
            if (sensitivity.error().code == Errc::Cancelled)
                return tl::unexpected(sensitivity.error());
            ranked.error = withWhere(sensitivity.error(), layers[i].name);
            ranked.rtnWeightError = std::numeric_limits<double>::quiet_NaN();
            continue;
        }
        ranked.rtnWeightError = sensitivity->weightError;
        ranked.sensitivity = sensitivity->outputError;
        if (stats) {
            ranked.tokensPerChannel
                = static_cast<double>(stats->fit.count() + stats->holdout.count()) / static_cast<double>(layers[i].in);
            const auto known = outliersOf.find(layers[i].inputId);
            if (known != outliersOf.end())
                ranked.outliers = known->second;
            else if (const auto outliers = analysis::findOutliers(*stats))
                ranked.outliers = outliersOf[layers[i].inputId] = *outliers;
        }
    }
    return ranking;
}

Expected<Spectra> inputSpectra(
    const model::Model& model, const stats::CalibrationDump& dump, Backend& backend, const JobContext& job)
{
    const auto& layers = model.spec().layers;
    Spectra spectra(layers.size());
    std::map<std::string, std::optional<InputSpectrum>> known; // layers of one input share it
    for (std::size_t i = 0; i < layers.size(); ++i) {
        QS_CHECK(job.poll());
        job.progress(static_cast<double>(i) / static_cast<double>(layers.size()), layers[i].name);
        const std::string input = dump.inputOf(layers[i].name);
        if (input.empty())
            continue;
        if (const auto it = known.find(input); it != known.end()) {
            spectra[i] = it->second;
            continue;
        }
        auto& spectrum = known[input];
        QS_TRY(stats, dump.stats(layers[i].name));
        QS_TRY(analysed, analysis::analyzeInput(*stats, backend, {}, job));
        if (analysed.hessian) {
            constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
            spectrum = InputSpectrum{kNaN, kNaN, kNaN};
            if (analysed.hessian->rank)
                spectrum->condition = analysed.hessian->conditionLive.value_or(std::numeric_limits<double>::infinity());
            if (analysed.qsur) {
                spectrum->qsur = analysed.qsur->r;
                spectrum->lostBits = analysed.qsur->lostBits;
            }
        }
        spectra[i] = spectrum;
    }
    return spectra;
}

Expected<LayerView> inspectLayer(const model::Model& model, model::LayerIndex layer, const stats::CalibrationDump* dump,
    Backend& backend, const JobContext& job)
{
    QS_TRY(spec, layerSpec(model, layer));
    LayerView view;
    view.layer = layer;
    job.progress(0.05, "reading weights");
    QS_TRY(W, model.loadWeight(*spec));
    view.W = std::make_shared<const RowMatrix>(std::move(W));
    QS_CHECK(job.poll());
    view.weightColumnMax = columnMax(*view.W);
    view.weights = reduce::histogram(*view.W, kHistogramBins);
    std::shared_ptr<const stats::InputStats> stats;
    if (dump && !dump->inputOf(spec->name).empty()) {
        job.progress(0.1, "reading statistics");
        QS_TRY(read, dump->stats(spec->name));
        stats = read;
        view.holdout = stats->hasHoldout();
        if (stats->evaluation().hasGram()) {
            QS_TRY(C, stats::InputStats::secondMoment(stats->evaluation()));
            view.C = std::make_shared<const MatrixD>(std::move(C));
        }
        if (dump->hasRawTokens(spec->name)) {
            QS_TRY(tokens, dump->rawTokens(spec->name, kRawTokenLimit));
            view.rawTokens = std::make_shared<const RowMatrix>(std::move(tokens));
            view.inputs = std::make_shared<const reduce::Histogram>(reduce::histogram(*view.rawTokens, kHistogramBins));
        }
    }
    job.progress(0.2, "analysis");
    auto analysed = analysis::analyzeLayer(*view.W, stats.get(), backend, {}, job.part(0.2, 1.0));
    if (!analysed)
        return tl::unexpected(withWhere(analysed.error(), spec->name));
    view.analysis = std::move(*analysed);
    return view;
}

Expected<LayerResult> compareLayer(const recipe::Runner& runner, model::LayerIndex layer, const recipe::Pipeline& pipeline,
    const LayerView* view, Backend& backend, const JobContext& job)
{
    QS_TRY(spec, layerSpec(runner.model(), layer));
    QS_TRY(compressed, runner.compress(layer, pipeline, job));
    if (view && view->W)
        return toResult(runner, layer, *view->W, std::move(compressed), view, backend, job);
    QS_TRY(W, runner.model().loadWeight(*spec));
    return toResult(runner, layer, W, std::move(compressed), nullptr, backend, job);
}

namespace {

/// `skip`: layers whose statistics the dump lacks are counted and left out instead of ending the run.
Expected<ModelResult> measureLayers(
    const recipe::Runner& runner, const recipe::Assignment& assignment, bool skip, Backend& backend, const JobContext& job)
{
    ModelResult result;
    std::map<model::LayerIndex, quant::BitsCount> bits;
    const auto& layers = runner.model().spec().layers;
    const auto total
        = std::count_if(assignment.layers.begin(), assignment.layers.end(), [](const auto& p) { return p != nullptr; });
    std::ptrdiff_t done = 0;
    for (std::size_t i = 0; i < assignment.layers.size(); ++i) {
        if (!assignment.layers[i])
            continue;
        QS_CHECK(job.poll());
        const JobContext part = job.part(
            static_cast<double>(done) / static_cast<double>(total), static_cast<double>(done + 1) / static_cast<double>(total));
        part.progress(0, fmt::format("{} / {}  {}", done + 1, total, layers[i].name));
        JobContext quiet = part;
        quiet.onProgress = nullptr;
        releaseFreeMemory();
        const auto layer = static_cast<model::LayerIndex>(i);
        ++done;
        auto compressed = runner.compress(layer, assignment, quiet);
        if (!compressed && skip && compressed.error().code == Errc::NotFound) {
            ++result.skipped;
            result.whySkipped = compressed.error().line();
            continue;
        }
        if (!compressed)
            return tl::unexpected(std::move(compressed).error());
        QS_TRY(W, runner.model().loadWeight(layers[i]));
        QS_TRY(measured, toResult(runner, layer, W, std::move(*compressed), nullptr, backend, quiet));
        bits[layer] = measured.bits;
        result.layers.emplace(layer, std::move(measured));
    }
    if (result.layers.empty() && result.skipped > 0)
        return fail(Errc::NotFound, result.whySkipped);
    result.size = recipe::recipeSize(runner.model(), assignment, bits);
    return result;
}

} // namespace

Expected<ModelResult> measureAssignment(
    const recipe::Runner& runner, const recipe::Assignment& assignment, Backend& backend, const JobContext& job)
{
    return measureLayers(runner, assignment, false, backend, job);
}

Expected<ModelResult> compareModel(
    const recipe::Runner& runner, const recipe::Pipeline& pipeline, Backend& backend, const JobContext& job)
{
    QS_TRY(assignment, recipe::assign(recipe::uniformRecipe(pipeline), runner.model().spec(), runner.registry()));
    QS_TRY(result, measureLayers(runner, assignment, true, backend, job));
    result.pipelineText = recipe::formatPipeline(pipeline);
    return result;
}

Expected<Evaluation> evaluate(const std::shared_ptr<const recipe::Runner>& runner,
    const std::shared_ptr<const model::Model>& model, const std::filesystem::path& text,
    const std::vector<EvalCandidate>& candidates, const model::EvalOptions& options, const JobContext& job)
{
    QS_TRY(content, readTextFile(text));
    std::vector<std::unique_ptr<recipe::RecipeReplacements>> replacements;
    std::vector<model::EvalCandidate> runs;
    for (const EvalCandidate& candidate : candidates) {
        QS_TRY(assignment, recipe::assign(candidate.recipe, model->spec(), runner->registry()));
        replacements.push_back(std::make_unique<recipe::RecipeReplacements>(runner, std::move(assignment)));
        model::EvalCandidate run;
        run.name = candidate.name;
        run.replacements = replacements.back().get();
        if (const auto stored = recipe::asStored(model); stored != model)
            run.model = stored; // the tensors between the layers are those of an export as well
        runs.push_back(std::move(run));
    }
    QS_TRY(report, model::evaluate(model, content, runs, options, runner->backend(), job));
    Evaluation evaluation;
    evaluation.reference = report.reference;
    evaluation.protocol = report.protocol;
    evaluation.referenceSize = recipe::checkpointSize(*model);
    for (std::size_t i = 0; i < candidates.size(); ++i) {
        Evaluation::Candidate candidate;
        candidate.name = candidates[i].name;
        candidate.pipelineText = candidates[i].pipelineText;
        candidate.scores = report.candidates.at(i);
        candidate.size = replacements[i]->size();
        evaluation.candidates.push_back(std::move(candidate));
    }
    return evaluation;
}

Expected<Preview> preview(const recipe::Runner& runner, const recipe::Pipeline& pipeline, const LayerView& view, bool full,
    Backend& backend, const JobContext& job)
{
    const auto start = Clock::now();
    QS_TRY(compressed, runner.compress(view.layer, pipeline, job));
    QS_CHECK(job.poll());
    Preview result;
    result.layer = view.layer;
    result.pipelineText = recipe::formatPipeline(pipeline);
    result.weightError = metrics::weightError(*view.W, compressed.What);
    result.bits = compressed.bits.perWeight();
    result.sparsity = compressed.sparsity;
    const Index rows = view.W->rows();
    if (view.C && (full || rows <= kPreviewRows)) {
        QS_TRY(error, metrics::outputError(*view.W, compressed.What, view.C->view(), backend, job));
        result.outputError = error;
        result.rows = rows;
        result.full = true;
    } else if (view.C) {
        std::vector<Index> order(static_cast<std::size_t>(rows));
        std::iota(order.begin(), order.end(), Index{0});
        std::mt19937_64 random(0);
        for (Index i = 0; i < kPreviewRows; ++i) { // partial Fisher-Yates; modulo bias is nothing at these sizes
            const auto j = i + static_cast<Index>(random() % static_cast<std::uint64_t>(rows - i));
            std::swap(order[static_cast<std::size_t>(i)], order[static_cast<std::size_t>(j)]);
        }
        RowMatrix W(kPreviewRows, view.W->cols());
        RowMatrix What(kPreviewRows, view.W->cols());
        for (Index i = 0; i < kPreviewRows; ++i) {
            const Index row = order[static_cast<std::size_t>(i)];
            std::copy(view.W->row(row).begin(), view.W->row(row).end(), W.row(i).begin());
            std::copy(compressed.What.row(row).begin(), compressed.What.row(row).end(), What.row(i).begin());
        }
        QS_TRY(error, metrics::outputError(W, What, view.C->view(), backend, job));
        result.outputError = error;
        result.rows = kPreviewRows;
    }
    result.milliseconds = std::chrono::duration<double, std::milli>(Clock::now() - start).count();
    return result;
}

} // namespace qs::session::tasks
