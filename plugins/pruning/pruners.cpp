// SPDX-License-Identifier: Apache-2.0
#include "plugins/pruning/pruners.h"

#include "core/recipe/stage_factory.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

namespace qs::plugins {
namespace {

constexpr Index kSweepBlock = 128;

recipe::MaskPlan planOf(BasicMatrix<std::uint8_t> keep, const SparsityPattern& pattern, recipe::StageReport& report)
{
    const auto values = keep.values();
    const auto pruned = static_cast<std::int64_t>(std::count(values.begin(), values.end(), std::uint8_t{0}));
    report.entries.emplace_back("pruned", pruned);
    report.entries.emplace_back("sparsity", keep.size() ? static_cast<double>(pruned) / static_cast<double>(keep.size()) : 0.0);
    recipe::MaskPlan plan;
    plan.keep = std::move(keep);
    plan.sparsity = pattern.sparsity;
    plan.n = pattern.n;
    plan.m = pattern.m;
    return plan;
}

template <class Pruner>
std::unique_ptr<recipe::StageFactory> makePruner(
    std::string id, std::string title, std::string citation, std::vector<std::string> needs)
{
    recipe::StageInfo info;
    info.id = std::move(id);
    info.title = std::move(title);
    info.slot = recipe::Slot::Pruner;
    info.family = "pruning";
    info.citation = std::move(citation);
    info.needs = std::move(needs);
    info.parameters = patternParameters();
    info.interactive = info.needs != std::vector<std::string>{"gram"};
    return recipe::makeFactory(info, [id = info.id](const recipe::Parameters& p) -> Expected<recipe::StageInstance> {
        QS_TRY(pattern, readPattern(p, id));
        recipe::StageInstance instance;
        instance.pruner = std::make_shared<const Pruner>(pattern);
        return instance;
    });
}

} // namespace

Expected<recipe::MaskPlan> MagnitudePruner::plan(const recipe::LayerProblem& problem, recipe::StageReport& report) const
{
    QS_CHECK(problem.fit.job.poll());
    QS_CHECK(checkPattern(m_pattern, problem.W.cols(), problem.layer));
    const Scores scores{problem.W, {}};
    return planOf(
        m_pattern.nm() ? lowestOfGroups(scores, m_pattern.n, m_pattern.m) : lowestOfMatrix(scores, m_pattern.sparsity),
        m_pattern, report);
}

Expected<recipe::MaskPlan> WandaPruner::plan(const recipe::LayerProblem& problem, recipe::StageReport& report) const
{
    QS_CHECK(problem.fit.job.poll());
    QS_CHECK(checkPattern(m_pattern, problem.W.cols(), problem.layer));
    const std::vector<double>& norm = problem.input.l2Norm;
    if (!problem.input.available() || norm.empty())
        return fail(Errc::NotFound, "wanda needs calibration", problem.layer, "load or capture a dump that covers this layer");
    if (!std::all_of(norm.begin(), norm.end(), [](double value) { return std::isfinite(value); }))
        return fail(Errc::NotFinite, "an input norm is not finite in the calibration data", problem.layer, "capture it again");
    const Scores scores{problem.W, norm};
    return planOf(m_pattern.nm() ? lowestOfGroups(scores, m_pattern.n, m_pattern.m) : lowestOfRows(scores, m_pattern.sparsity),
        m_pattern, report);
}

Expected<recipe::MaskPlan> SparseGptPruner::plan(const recipe::LayerProblem& problem, recipe::StageReport& report) const
{
    QS_CHECK(checkPattern(m_pattern, problem.W.cols(), problem.layer));
    if (m_pattern.nm() && kSweepBlock % m_pattern.m != 0)
        return fail(Errc::InvalidArgument,
            fmt::format("pattern={}:{} does not fit sweeps in blocks of {} columns", m_pattern.n, m_pattern.m, kSweepBlock),
            problem.layer, "use a pattern whose M is a power of two");
    recipe::MaskPlan plan;
    plan.adaptive = true;
    plan.sparsity = m_pattern.sparsity;
    plan.n = m_pattern.n;
    plan.m = m_pattern.m;
    plan.block = kSweepBlock;
    report.notes.emplace_back("the mask is chosen by the rounding stage, block by block, on weights that were already updated");
    return plan;
}

std::unique_ptr<recipe::StageFactory> makeMagnitude()
{
    return makePruner<MagnitudePruner>("magnitude", "Magnitude", "Han et al. 2015, arXiv:1506.02626", {});
}

std::unique_ptr<recipe::StageFactory> makeWanda()
{
    return makePruner<WandaPruner>("wanda", "Wanda", "Sun et al. 2023, arXiv:2306.11695, eq. (1)", {"stats"});
}

std::unique_ptr<recipe::StageFactory> makeSparseGpt()
{
    return makePruner<SparseGptPruner>(
        "sparsegpt", "SparseGPT mask", "Frantar and Alistarh 2023, arXiv:2301.00774, algorithm 1", {"gram"});
}

} // namespace qs::plugins
