// SPDX-License-Identifier: Apache-2.0
#include "plugins/smoothing/awq.h"

#include "core/exec/parallel.h"
#include "core/metrics/error_metrics.h"
#include "core/recipe/stage_factory.h"
#include "plugins/smoothing/channel_scaling.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <numeric>

namespace qs::plugins {
namespace {

using recipe::ParameterType;

constexpr double kScaleFloor = 1e-4;
constexpr double kDuoFloor = 1e-4;
constexpr Index kRowBlock = 512; // bounds the copies that a loss takes

/// C / max C in float32; the search only compares losses.
RowMatrix normalised(const MatrixD& C)
{
    double peak = 0.0;
    for (Index j = 0; j < C.rows(); ++j)
        peak = std::max(peak, C(j, j));
    RowMatrix result(C.rows(), C.cols());
    for (Index i = 0; i < C.rows(); ++i)
        for (Index j = 0; j < C.cols(); ++j)
            result(i, j) = peak > 0.0 ? static_cast<float>(C(i, j) / peak) : 0.0F;
    return result;
}

/// W - Q(W diag s) diag(1/s).
Expected<RowMatrix> residual(const recipe::SiteConsumer& consumer, const ChannelScaling& transform)
{
    if (transform.identity()) {
        QS_TRY(projected, consumer.projectNearest(consumer.W));
        return metrics::difference(consumer.W, projected);
    }
    QS_TRY(projected, consumer.projectNearest(transform.toTransformed(consumer.W)));
    return metrics::difference(consumer.W, transform.fromTransformed(projected));
}

/// Mean over all rows of all consumers of |w_ij| / max over its group of columns.
std::vector<double> groupNormalisedMean(const recipe::SiteContext& site, Index group)
{
    const auto channels = static_cast<std::size_t>(site.input.channels);
    const Index width = group > 0 ? group : site.input.channels;
    std::vector<double> mean(channels, 0.0);
    Index rows = 0;
    for (const recipe::SiteConsumer& consumer : site.consumers) {
        for (Index r = 0; r < consumer.W.rows(); ++r) {
            for (Index first = 0; first < consumer.W.cols(); first += width) {
                const Index last = std::min(first + width, consumer.W.cols());
                double peak = 0.0;
                for (Index c = first; c < last; ++c)
                    peak = std::max(peak, std::fabs(static_cast<double>(consumer.W(r, c))));
                for (Index c = first; c < last && peak > 0.0; ++c)
                    mean[static_cast<std::size_t>(c)] += std::fabs(static_cast<double>(consumer.W(r, c))) / peak;
            }
        }
        rows += consumer.W.rows();
    }
    for (double& value : mean)
        value /= static_cast<double>(std::max<Index>(1, rows));
    return mean;
}

} // namespace

double awqSearchLoss(MatrixView dW, MatrixView C, Backend& backend)
{
    std::vector<double> sums(static_cast<std::size_t>(dW.rows()), 0.0);
    RowMatrix product(std::min(kRowBlock, dW.rows()), dW.cols());
    for (Index first = 0; first < dW.rows(); first += kRowBlock) {
        const Index rows = std::min(kRowBlock, dW.rows() - first);
        const MutMatrixView part(product.data(), rows, dW.cols());
        backend.gemm(false, false, 1.0F, dW.rowRange(first, rows), C, 0.0F, part);
        parallelFor(0, rows, 64, [&](Index begin, Index end) {
            for (Index r = begin; r < end; ++r) {
                double sum = 0.0;
                for (Index c = 0; c < dW.cols(); ++c)
                    sum += static_cast<double>(part(r, c)) * static_cast<double>(dW(first + r, c));
                sums[static_cast<std::size_t>(first + r)] = sum;
            }
        });
    }
    return std::accumulate(sums.begin(), sums.end(), 0.0); // in row order, whatever the threads
}

std::vector<double> awqScale(const std::vector<double>& meanAbs, const std::vector<double>& weightMean, double ratio)
{
    std::vector<double> scale(meanAbs.size());
    for (std::size_t j = 0; j < scale.size(); ++j) {
        double s = std::pow(meanAbs[j], ratio);
        if (!weightMean.empty())
            s /= std::pow(weightMean[j], 1.0 - ratio) + kDuoFloor;
        scale[j] = std::max(s, kScaleFloor);
    }
    const auto [low, high] = std::minmax_element(scale.begin(), scale.end());
    const double middle = std::sqrt(*low * *high);
    for (double& s : scale)
        s /= middle;
    return scale;
}

Expected<std::unique_ptr<recipe::SiteTransform>> AwqTransform::fit(
    const recipe::SiteContext& site, recipe::StageReport& report) const
{
    const Index channels = site.input.channels;
    const std::string where = site.consumers.empty() ? std::string("awq") : site.consumers.front().layer;
    if (!site.input.available() || !site.input.secondMoment || site.input.meanAbs.empty())
        return fail(Errc::NotFound, "awq needs calibration", where, "load or capture a dump that covers this layer");
    if (!mayScale(site.site, report))
        return ChannelScaling::makeIdentity(channels);
    const bool hasGrid = !site.consumers.empty()
        && std::all_of(site.consumers.begin(), site.consumers.end(),
            [](const auto& consumer) { return consumer.projectNearest != nullptr; });
    if (!hasGrid) {
        report.notes.emplace_back("not scaled: without a grid there is no error to search on");
        return ChannelScaling::makeIdentity(channels);
    }
    if (!std::all_of(site.input.meanAbs.begin(), site.input.meanAbs.end(), [](double a) { return std::isfinite(a); }))
        return fail(Errc::NotFinite, "the mean of |x| is not finite in the calibration data", where, "capture it again");

    const std::vector<double> weightMean
        = m_options.duoScaling ? groupNormalisedMean(site, m_options.duoGroup) : std::vector<double>();
    const RowMatrix C32 = normalised(*site.input.secondMoment);
    const auto searchLoss = [&](const ChannelScaling& transform) -> Expected<double> {
        double loss = 0.0;
        for (const recipe::SiteConsumer& consumer : site.consumers) {
            QS_CHECK(site.fit.job.poll());
            QS_TRY(dW, residual(consumer, transform));
            loss += awqSearchLoss(dW, C32, site.fit.backend);
        }
        return loss;
    };
    const auto exactLoss = [&](const ChannelScaling& transform) -> Expected<double> {
        double loss = 0.0;
        for (const recipe::SiteConsumer& consumer : site.consumers) {
            QS_CHECK(site.fit.job.poll());
            QS_TRY(dW, residual(consumer, transform));
            QS_TRY(part, metrics::traceLoss(dW, *site.input.secondMoment, site.fit.backend));
            loss += part;
        }
        return loss;
    };

    auto best = ChannelScaling::makeIdentity(channels);
    double bestRatio = 0.0;
    QS_TRY(identityLoss, searchLoss(*best));
    double bestLoss = identityLoss;
    for (int i = m_options.duoScaling ? 0 : 1; i < m_options.nGrid; ++i) {
        site.fit.job.progress(static_cast<double>(i) / m_options.nGrid, "scale search");
        const double ratio = static_cast<double>(i) / m_options.nGrid;
        QS_TRY(candidate, ChannelScaling::makeStored(awqScale(site.input.meanAbs, weightMean, ratio), site));
        QS_TRY(loss, searchLoss(*candidate));
        if (loss < bestLoss) {
            bestLoss = loss;
            bestRatio = ratio;
            best = std::move(candidate);
        }
    }

    const auto identity = ChannelScaling::makeIdentity(channels);
    QS_TRY(lossBefore, exactLoss(*identity));
    double lossAfter = lossBefore;
    if (!best->identity()) {
        QS_TRY(exact, exactLoss(*best));
        if (exact < lossBefore) {
            lossAfter = exact;
        } else {
            best = ChannelScaling::makeIdentity(channels);
            bestRatio = 0.0;
        }
    }
    report.entries.emplace_back("ratio", bestRatio);
    report.entries.emplace_back("loss_nearest", lossBefore);
    report.entries.emplace_back("loss", lossAfter);
    const auto [low, high] = best->scaleRange();
    report.entries.emplace_back("scale_min", low);
    report.entries.emplace_back("scale_max", high);
    if (best->identity())
        report.notes.emplace_back("no scaling lowered the error: the site is left as it is");
    return std::unique_ptr<recipe::SiteTransform>(std::move(best));
}

std::unique_ptr<recipe::StageFactory> makeAwq()
{
    recipe::StageInfo info;
    info.id = "awq";
    info.title = "Activation-aware scaling (AWQ)";
    info.slot = recipe::Slot::Transform;
    info.family = "smoothing";
    info.citation = "Lin et al. 2023, arXiv:2306.00978, eq. (4)";
    info.needs = {"stats", "gram"};
    info.parameters = {
        {.name = "n_grid",
            .type = ParameterType::Int,
            .defaultValue = std::int64_t{20},
            .min = 2,
            .max = 200,
            .unit = "steps",
            .help = "Exponents 0, 1/n, ... of the mean input magnitude that are tried."},
        {.name = "duo_scaling",
            .type = ParameterType::Bool,
            .defaultValue = false,
            .help = "Divide the scales by the mean weight magnitude too, as AutoAWQ and llm-compressor do."},
        {.name = "duo_group",
            .type = ParameterType::Int,
            .defaultValue = std::int64_t{128},
            .min = -1,
            .max = 1048576,
            .unit = "columns",
            .help = "Columns over which duo_scaling normalises weights; -1 is the whole row.",
            .advanced = true},
    };
    return recipe::makeFactory(std::move(info), [](const recipe::Parameters& p) -> Expected<recipe::StageInstance> {
        AwqOptions options;
        options.nGrid = static_cast<int>(recipe::intValue(p, "n_grid"));
        options.duoScaling = recipe::boolValue(p, "duo_scaling");
        options.duoGroup = static_cast<Index>(recipe::intValue(p, "duo_group"));
        recipe::StageInstance instance;
        instance.transform = std::make_shared<const AwqTransform>(options);
        return instance;
    });
}

} // namespace qs::plugins
