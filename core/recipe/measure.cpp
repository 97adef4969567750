// SPDX-License-Identifier: Apache-2.0
#include "core/metrics/error_metrics.h"
#include "core/recipe/runner.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

namespace qs::recipe {
namespace {

constexpr Index kTokenTile = 512;

Index countNonFinite(MatrixView W)
{
    Index count = 0;
    for (Index r = 0; r < W.rows(); ++r)
        count += std::count_if(W.row(r).begin(), W.row(r).end(), [](float v) { return !std::isfinite(v); });
    return count;
}

/// E|Wx - What Q(x)|^2 / E|Wx|^2 over the tokens, Q acting in the transformed space.
Expected<double> errorOverTokens(
    MatrixView W, const CompressedLayer& compressed, MatrixView tokens, Index window, Backend& backend, const JobContext& job)
{
    RowMatrix quantized(tokens);
    quantizeInput(compressed, quantized.mut(), window, backend);
    double error = 0;
    double power = 0;
    for (Index t = 0; t < tokens.rows(); t += kTokenTile) {
        QS_CHECK(job.poll());
        const MatrixView x = tokens.rowRange(t, std::min(kTokenTile, tokens.rows() - t));
        RowMatrix exact(x.rows(), W.rows());
        backend.linear(x, W, exact.mut());
        RowMatrix approximate(x.rows(), W.rows());
        backend.linear(quantized.view().rowRange(t, x.rows()), compressed.What, approximate.mut());
        for (std::size_t i = 0; i < exact.values().size(); ++i) {
            const double y = exact.values()[i];
            const double difference = y - static_cast<double>(approximate.values()[i]);
            error += difference * difference;
            power += y * y;
        }
    }
    return error == 0.0 ? 0.0 : error / power;
}

Expected<void> measureTokens(const std::string& layer, MatrixView W, const CompressedLayer& compressed,
    const Calibration& calibration, Backend& backend, const JobContext& job, LayerMetrics& metrics)
{
    if (!calibration.dump) {
        metrics.whyNoWA = "there is no dump";
        return {};
    }
    if (!calibration.dump->hasRawTokens(layer)) {
        metrics.whyNoWA = "the dump holds no raw tokens of this layer's input";
        return {};
    }
    QS_TRY(tokens, calibration.dump->rawTokens(layer, kMostRawTokens));
    if (tokens.cols() != W.cols())
        return fail(
            Errc::Mismatch, fmt::format("raw tokens have {} channels, the layer {} inputs", tokens.cols(), W.cols()), layer);
    if (const Index bad = countNonFinite(tokens); bad > 0) {
        metrics.whyNoWA = fmt::format("{} values of the raw tokens are NaN or Inf", bad);
        return {};
    }
    if (tokens.rows() == 0) {
        metrics.whyNoWA = "the dump holds no raw tokens of this layer's input";
        return {};
    }
    QS_TRY(error, errorOverTokens(W, compressed, tokens, calibration.dump->info().seqLen, backend, job));
    if (std::isfinite(error)) {
        metrics.outputErrorWA = error;
        metrics.tokensWA = tokens.rows();
    } else {
        metrics.whyNoWA = "the layer's output is zero or not finite over the raw tokens";
    }
    return {};
}

} // namespace

void quantizeInput(const CompressedLayer& compressed, MutMatrixView x, Index window, Backend& backend)
{
    if (!compressed.activation)
        return;
    const SiteTransform* transform
        = compressed.inputTransform && !compressed.inputTransform->identity() ? compressed.inputTransform.get() : nullptr;
    if (transform)
        transform->applyToTokens(x);
    quant::quantizeActivations(x, *compressed.activation, window, backend);
    if (transform)
        transform->unapplyToTokens(x);
}

Expected<LayerMetrics> measure(const model::Model& model, model::LayerIndex layer, MatrixView W,
    const CompressedLayer& compressed, const Calibration& calibration, Backend& backend, const JobContext& job)
{
    const std::string& name = model.spec().layers[static_cast<std::size_t>(layer)].name;
    if (W.rows() != compressed.What.rows() || W.cols() != compressed.What.cols())
        return fail(Errc::Mismatch,
            fmt::format("the result is {} x {}, the weight {} x {}", compressed.What.rows(), compressed.What.cols(), W.rows(),
                W.cols()),
            name);
    LayerMetrics metrics;
    metrics.nonFinite = countNonFinite(compressed.What);
    metrics.weightSqnrDb = metrics::weightSqnrDb(W, compressed.What);
    if (calibration.dump && !calibration.dump->inputOf(name).empty()) {
        QS_TRY(stats, calibration.dump->stats(name));
        metrics.holdout = stats->hasHoldout() && stats->holdout.hasGram();
        if (stats->fit.hasGram() && stats->fit.count() > 0) {
            {
                QS_TRY(C, stats::InputStats::secondMoment(stats->fit));
                QS_TRY(error, metrics::outputError(W, compressed.What, C, backend, job.part(0.0, 0.4)));
                metrics.outputErrorFit = error;
            }
            metrics.outputError = metrics.outputErrorFit;
            metrics.sinkShare = stats::InputStats::sinkShare(stats->fit, stats->sink);
            metrics.hasOutput = true;
        }
        if (metrics.holdout) {
            QS_TRY(C, stats::InputStats::secondMoment(stats->holdout));
            QS_TRY(error, metrics::outputError(W, compressed.What, C, backend, job.part(0.4, 0.8)));
            metrics.outputError = error;
            metrics.sinkShare = stats::InputStats::sinkShare(stats->holdout, stats->holdoutSink);
            metrics.hasOutput = true;
        }
        if (metrics.hasOutput)
            metrics.outputSqnrDb = metrics::sqnrDb(metrics.outputError);
    }
    QS_CHECK(measureTokens(name, W, compressed, calibration, backend, job, metrics));
    return metrics;
}

} // namespace qs::recipe
