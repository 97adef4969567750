// SPDX-License-Identifier: Apache-2.0
#include "plugins/rounding/nearest.h"

#include "core/exec/parallel.h"
#include "core/recipe/stage_factory.h"

#include <algorithm>
#include <fmt/format.h>
#include <numeric>

namespace qs::plugins {
namespace {

constexpr Index kRowGrain = 64;
constexpr Index kStrip = 128;

/// Fits columns [first, first + width) and rounds them. Columns are handed over contiguous, hence the two transpositions.
Expected<void> roundGroup(recipe::GridSession& session, MatrixView W, Index first, Index width, MutMatrixView What)
{
    std::vector<Index> columns(static_cast<std::size_t>(width));
    std::iota(columns.begin(), columns.end(), first);
    const Index group = first / session.groupSize();
    const MatrixView source = W.block(0, first, W.rows(), width);
    QS_CHECK(session.fitGroup(group, source, columns));
    for (Index strip = 0; strip < width; strip += kStrip) { // a few columns at a time bound the copies
        const Index count = std::min(kStrip, width - strip);
        RowMatrix values(count, W.rows());
        RowMatrix projected(count, W.rows());
        parallelFor(0, W.rows(), kRowGrain, [&](Index begin, Index end) {
            for (Index c = 0; c < count; ++c)
                for (Index r = begin; r < end; ++r)
                    values(c, r) = source(r, strip + c);
        });
        for (Index c = 0; c < count; ++c)
            session.quantizeColumn(group, first + strip + c, values.row(c), projected.row(c));
        parallelFor(0, W.rows(), kRowGrain, [&](Index begin, Index end) {
            for (Index c = 0; c < count; ++c)
                for (Index r = begin; r < end; ++r)
                    What(r, first + strip + c) = projected(c, r);
        });
    }
    return {};
}

} // namespace

Expected<recipe::RoundingResult> NearestRounding::solve(const recipe::LayerProblem& problem, const recipe::GridStage* grid,
    const recipe::MaskPlan* mask, recipe::StageReport& report) const
{
    QS_CHECK(problem.fit.job.poll());
    const MatrixView W = problem.W;
    recipe::RoundingResult result;
    RowMatrix kept; // W with zeros for what goes; only made when something may go
    MatrixView source = W;
    if (mask) {
        if (mask->adaptive)
            return fail(
                Errc::Unsupported, "nearest cannot choose an adaptive mask", problem.layer, "use the rounding stage obs");
        if (mask->keep.rows() != W.rows() || mask->keep.cols() != W.cols())
            return fail(Errc::InvalidArgument,
                fmt::format(
                    "the mask is {} x {}, the weight {} x {}", mask->keep.rows(), mask->keep.cols(), W.rows(), W.cols()),
                problem.layer);
        result.keep = mask->keep;
        kept = RowMatrix(W);
        Index pruned = 0;
        for (Index r = 0; r < W.rows(); ++r) {
            for (Index c = 0; c < W.cols(); ++c) {
                if (!result.keep(r, c)) {
                    kept(r, c) = 0.0F;
                    ++pruned;
                }
            }
        }
        source = kept;
        report.entries.emplace_back("pruned", static_cast<std::int64_t>(pruned));
    }
    if (!grid) {
        result.What = mask ? std::move(kept) : RowMatrix(W);
        return result;
    }

    const recipe::LayerProblem target{problem.layer, source, problem.input, problem.fit, problem.role};
    QS_TRY(session, grid->begin(target, report));
    result.What = RowMatrix(W.rows(), W.cols());
    const Index group = session->groupSize();
    for (Index first = 0; first < W.cols(); first += group) {
        QS_CHECK(problem.fit.job.poll());
        QS_CHECK(roundGroup(*session, source, first, std::min(group, W.cols() - first), result.What.mut()));
    }
    if (mask) {
        for (Index r = 0; r < W.rows(); ++r)
            for (Index c = 0; c < W.cols(); ++c)
                if (!result.keep(r, c) && result.What(r, c) != 0.0F)
                    return fail(Errc::InvalidArgument,
                        fmt::format("the grid cannot store a pruned zero (row {}, column {}: the nearest is {})", r, c,
                            result.What(r, c)),
                        problem.layer, "use a symmetric grid or asym-0");
    }
    result.quantized = session->finish({});
    return result;
}

std::unique_ptr<recipe::StageFactory> makeNearest()
{
    recipe::StageInfo info;
    info.id = "nearest";
    info.title = "Round to nearest";
    info.slot = recipe::Slot::Rounding;
    info.family = "rounding";
    info.citation = "Jacob et al. 2018, arXiv:1712.05877, eq. (1)";
    info.interactive = true;
    return recipe::makeFactory(std::move(info), [](const recipe::Parameters&) -> Expected<recipe::StageInstance> {
        recipe::StageInstance instance;
        instance.rounding = std::make_shared<const NearestRounding>();
        return instance;
    });
}

} // namespace qs::plugins
