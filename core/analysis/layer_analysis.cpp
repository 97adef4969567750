// SPDX-License-Identifier: Apache-2.0
#include "core/analysis/layer_analysis.h"

#include <fmt/format.h>
#include <utility>

namespace qs::analysis {
namespace {

/// Sink share of the parts whose sinks are known.
double wholeSinkShare(const stats::InputStats& stats)
{
    stats::InputPart part;
    stats::ChannelSums sinks;
    for (const auto& [tokens, first] : {std::pair(&stats.fit, &stats.sink), {&stats.holdout, &stats.holdoutSink}})
        if (first->count > 0) {
            part.channels.merge(tokens->channels);
            sinks.merge(*first);
        }
    return stats::InputStats::sinkShare(part, sinks);
}

} // namespace

Expected<InputAnalysis> analyzeInput(
    const stats::InputStats& stats, Backend& backend, const AnalysisOptions& options, const JobContext& job)
{
    InputAnalysis result;
    QS_TRY(table, channelTable(stats));
    QS_TRY(outliers, findOutliers(stats, options.outliers));
    result.channels = table.channels();
    result.tokens = table.tokens;
    result.table = std::move(table);
    result.outliers = std::move(outliers);
    job.progress(0.05, "channels");

    const stats::InputPart whole = wholeDump(stats);
    if (!whole.hasGram()) {
        result.why = "the dump holds no Gram matrix for this input: Hessian and QSUR need one";
        return result;
    }
    {
        QS_TRY(C, stats::InputStats::secondMoment(whole));
        HessianOptions hessianOptions = options.hessian;
        hessianOptions.sinkShare = wholeSinkShare(stats);
        QS_TRY(hessian, analyzeHessian(C, whole.count(), backend, hessianOptions, job.part(0.05, 0.5)));
        result.hessian = std::move(hessian);
    }
    job.progress(0.5, "Hessian");
    QS_TRY(cov, centredCovariance(whole));
    auto qsur = computeQsur(cov, backend, options.qsur, job.part(0.5, 1.0));
    if (qsur)
        result.qsur = std::move(*qsur);
    else if (qsur.error().code == Errc::InvalidArgument)
        result.why = qsur.error().message; // an input that never varies is worth showing, not an error
    else
        return tl::unexpected(std::move(qsur).error());
    return result;
}

Expected<LayerAnalysis> analyzeLayer(MatrixView W, const stats::InputStats* stats, Backend& backend,
    const AnalysisOptions& options, const JobContext& job, std::shared_ptr<const InputAnalysis> shared)
{
    LayerAnalysis result;
    result.out = W.rows();
    result.in = W.cols();
    if (shared && shared->channels != W.cols())
        return fail(
            Errc::Mismatch, fmt::format("the weight has {} columns, its input {} channels", W.cols(), shared->channels));
    QS_TRY(sensitivity, rtnSensitivity(W, stats, backend, options.sensitivity, job.part(0.0, 0.2)));
    result.sensitivity = sensitivity;
    QS_CHECK(job.poll());
    result.existingGrid = detectExistingGrid(W);
    if (options.weightQsur && W.rows() > 1) {
        QS_TRY(cov, rowCovariance(W, backend));
        auto qsur = computeQsur(cov, backend, options.qsur, job.part(0.2, 0.5));
        if (qsur)
            result.weightQsur = std::move(*qsur);
        else if (qsur.error().code != Errc::InvalidArgument)
            return tl::unexpected(std::move(qsur).error());
    }
    QS_CHECK(job.poll());
    if (shared) {
        result.input = std::move(shared);
    } else if (stats) {
        QS_TRY(input, analyzeInput(*stats, backend, options, job.part(0.5, 1.0)));
        result.input = std::make_shared<const InputAnalysis>(std::move(input));
    }
    job.progress(1.0);
    return result;
}

} // namespace qs::analysis
