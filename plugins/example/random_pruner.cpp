// SPDX-License-Identifier: Apache-2.0
#include "plugins/example/random_pruner.h"

#include "core/exec/parallel.h"

#include <algorithm>
#include <cmath>

namespace qs::plugins {
namespace {

/// SplitMix64's finaliser: a fixed hash, so that the mask is the same on every machine (std:: distributions are not).
std::uint64_t mix(std::uint64_t x)
{
    x += 0x9e3779b97f4a7c15ULL;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
}

} // namespace

Expected<recipe::MaskPlan> RandomPruner::plan(const recipe::LayerProblem& problem, recipe::StageReport& report) const
{
    QS_CHECK(problem.fit.job.poll());
    const Index rows = problem.W.rows();
    const Index cols = problem.W.cols();
    const auto pruned
        = std::clamp<Index>(static_cast<Index>(std::floor(m_sparsity * static_cast<double>(cols) + 1e-9)), 0, cols);
    recipe::MaskPlan plan;
    plan.sparsity = m_sparsity;
    plan.keep = BasicMatrix<std::uint8_t>(rows, cols);
    parallelFor(0, rows, 64, [&](Index begin, Index end) {
        std::vector<std::pair<std::uint64_t, Index>> order(static_cast<std::size_t>(cols));
        for (Index r = begin; r < end; ++r) {
            const std::uint64_t rowKey = mix(m_seed ^ mix(static_cast<std::uint64_t>(r)));
            for (Index c = 0; c < cols; ++c)
                order[static_cast<std::size_t>(c)] = {mix(rowKey + static_cast<std::uint64_t>(c)), c};
            if (pruned > 0 && pruned < cols)
                std::nth_element(order.begin(), order.begin() + pruned, order.end());
            for (Index i = pruned; i < cols; ++i)
                plan.keep(r, order[static_cast<std::size_t>(i)].second) = 1;
        }
    });
    report.entries.emplace_back("pruned", static_cast<std::int64_t>(pruned * rows));
    return plan;
}

} // namespace qs::plugins
