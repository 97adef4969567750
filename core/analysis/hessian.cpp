// SPDX-License-Identifier: Apache-2.0
#include "core/analysis/hessian.h"

#include "core/linalg/spectrum.h"
#include "core/stats/input_stats.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

namespace qs::analysis {
namespace {

/// 42, 5900, 1.3e+08: two digits are what a condition number means.
std::string conditionText(double value)
{
    if (!(value < 1e6))
        return fmt::format("{:.1e}", value);
    const double unit = std::pow(10.0, std::max(0.0, std::floor(std::log10(std::max(value, 1.0))) - 1.0));
    return fmt::format("{:.0f}", std::round(value / unit) * unit);
}

/// C without the rows and columns of dead channels.
MatrixD livePart(MatrixViewD C, const std::vector<Index>& dead)
{
    std::vector<Index> live;
    for (Index j = 0; j < C.rows(); ++j)
        if (!std::binary_search(dead.begin(), dead.end(), j))
            live.push_back(j);
    const auto n = static_cast<Index>(live.size());
    MatrixD part(n, n);
    for (Index r = 0; r < n; ++r)
        for (Index c = 0; c < n; ++c)
            part(r, c) = C(live[static_cast<std::size_t>(r)], live[static_cast<std::size_t>(c)]);
    return part;
}

std::string verdictOf(const HessianReport& report, double sinkShare)
{
    std::string text;
    const auto add = [&text](const std::string& sentence) { text += (text.empty() ? "" : " ") + sentence; };
    const Index live = report.live();
    const char* const which = report.dead.empty() ? "" : "live ";
    const char* const of = report.dead.empty() ? "" : " of the live channels";
    const double tokensPerChannel = static_cast<double>(report.tokens) / static_cast<double>(std::max<Index>(1, live));
    if (live == 0)
        return "No channel ever fires: the layer's output does not depend on its weights.";
    if (report.tokens < live)
        add(fmt::format("{} tokens cannot determine {} {}channels: what OBS solvers do between them is decided by the damping; "
                        "capture at least {} tokens.",
            report.tokens, live, which, 4 * live));
    else if (report.rank && *report.rank < live)
        add(fmt::format(
            "Rank {} of {} {}channels although there are {:.1f} tokens for each: they are linearly dependent, or so "
            "small beside the largest direction that only damping makes the matrix invertible.",
            *report.rank, live, which, tokensPerChannel));
    else if (tokensPerChannel < 4.0)
        add(fmt::format("Only {:.1f} tokens per {}channel: the small eigenvalues are noise; capture at least {} tokens.",
            tokensPerChannel, which, 4 * live));
    else if (report.conditionLive && *report.conditionLive < 1e4)
        add(fmt::format("Well determined: condition {}{} with {:.1f} tokens per {}channel.",
            conditionText(*report.conditionLive), of, tokensPerChannel, which));
    else if (report.conditionLive)
        add(fmt::format("Determined but stretched: condition {}{}; a few directions carry most of the energy.",
            conditionText(*report.conditionLive), of));
    else
        add(fmt::format("{:.1f} tokens per {}channel; the spectrum was not computed.", tokensPerChannel, which));
    if (sinkShare > stats::kMostlySinks) {
        const double times = 1.0 / std::max(1e-9, 1.0 - sinkShare);
        add(fmt::format("The first {} positions of each window hold {:.1f} % of the energy, so this matrix and every output "
                        "error of this layer speak of them; damping by the mean diagonal is then {} times what the other "
                        "positions alone would give, and hides their smaller directions.",
            stats::kSinkPositions, std::floor(1000.0 * sinkShare) / 10.0, conditionText(times)));
    }
    const auto usual = std::find_if(
        report.damping.begin(), report.damping.end(), [](const HessianReport::Damping& d) { return d.damp == 0.01; });
    if (usual != report.damping.end() && (!report.conditionLive || *report.conditionLive > 2.0 * usual->condition))
        add(fmt::format("Damping of 0.01 brings the condition to {}.", conditionText(usual->condition)));
    if (!report.dead.empty())
        add(fmt::format("{} channel{} never fire{}: weights on {} may be set to 0.", report.dead.size(),
            report.dead.size() == 1 ? "" : "s", report.dead.size() == 1 ? "s" : "", report.dead.size() == 1 ? "it" : "them"));
    return text;
}

} // namespace

Expected<HessianReport> analyzeHessian(
    MatrixViewD C, Index tokens, Backend& backend, const HessianOptions& options, const JobContext& job)
{
    const Index d = C.rows();
    if (d < 1 || C.cols() != d)
        return fail(Errc::InvalidArgument, fmt::format("a {} x {} matrix is not a second moment", C.rows(), C.cols()));
    HessianReport report;
    report.dims = d;
    report.tokens = tokens;
    report.tokensPerChannel = static_cast<double>(tokens) / static_cast<double>(d);
    for (Index j = 0; j < d; ++j) {
        const double value = C(j, j);
        if (!std::isfinite(value))
            return fail(Errc::NotFinite, fmt::format("the second moment holds NaN or Inf at ({}, {})", j, j));
        report.diagonal.push_back(value);
        report.trace += value;
        if (value == 0.0)
            report.dead.push_back(j);
    }
    QS_CHECK(job.poll());
    if (options.spectrum && d <= options.spectrumLimit) {
        for (const Index j : report.dead) // their rows are 0 in every second moment
            for (const double value : C.row(j))
                if (!std::isfinite(value))
                    return fail(Errc::NotFinite, fmt::format("the second moment holds NaN or Inf in row {}", j));
        const MatrixD part = report.dead.empty() || report.live() == 0 ? MatrixD() : livePart(C, report.dead);
        QS_TRY(values, linalg::spectrum(part.empty() ? C : part.view(), backend));
        report.lambdaMax = values.front();
        report.lambdaMin = values.back();
        report.rank = linalg::numericalRank(values);
        report.conditionLive = linalg::conditionNumber(values);
        if (report.dead.empty())
            report.condition = report.conditionLive;
        double sum = 0, entropy = 0;
        for (const double value : values)
            sum += std::max(0.0, value);
        for (const double value : values)
            if (value > 0.0)
                entropy -= value / sum * std::log(value / sum);
        report.effectiveRank = sum > 0.0 ? std::exp(entropy) : 0.0;
        for (const double damp : options.damps) {
            const double lambda = damp * (report.trace / static_cast<double>(std::max<Index>(1, report.live())));
            if (lambda > 0.0)
                report.damping.push_back({damp, lambda, (values.front() + lambda) / (std::max(0.0, values.back()) + lambda)});
        }
        report.eigenvalues = std::move(values);
    } else {
        QS_TRY(top, linalg::topPairs(C, backend, job));
        report.lambdaMax = top.lambda1;
    }
    report.verdict = verdictOf(report, options.sinkShare);
    return report;
}

} // namespace qs::analysis
