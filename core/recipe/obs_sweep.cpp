// SPDX-License-Identifier: Apache-2.0
#include "core/recipe/obs_sweep.h"

#include "core/exec/parallel.h"
#include "core/linalg/factor.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <iterator>
#include <numeric>
#include <tuple>
#include <type_traits>

namespace qs::recipe {
namespace {

constexpr Index kRowGrain = 512; // rows per chunk: a chunk's errors stay in the first cache level while they are spread

/// The sweep with weights, factor and updates of type T. Weights are kept transposed (column of W = row here) and in sweep
/// order, so that everything done per column runs over consecutive memory.
template <class T> class Sweep {
public:
    Sweep(const LayerProblem& problem, GridSession* grid, const MaskPlan* mask, const SweepOptions& options)
        : m_problem(problem)
        , m_grid(grid)
        , m_mask(mask)
        , m_options(options)
        , m_rows(problem.W.rows())
        , m_cols(problem.W.cols())
        , m_group(grid ? std::max<Index>(1, grid->groupSize()) : 0)
    {
    }

    Expected<SweepResult> run()
    {
        QS_CHECK(check());
        QS_CHECK(prepare());
        for (Index begin = 0; begin < m_cols;) {
            QS_CHECK(m_problem.fit.job.poll());
            const Index limit = std::min(m_cols, begin + m_options.block);
            QS_TRY(end, sweepBlock(begin, limit));
            applyBlock(begin, end, limit);
            begin = end;
            m_problem.fit.job.progress(static_cast<double>(begin) / static_cast<double>(m_cols), m_problem.layer);
        }
        return finish();
    }

private:
    bool adaptive() const { return m_mask && m_mask->adaptive; }
    bool choosesNofM() const { return adaptive() && m_mask->m > 0; }
    bool reordered() const { return m_options.order != SweepOptions::Order::None; }

    Expected<void> check() const
    {
        if (m_problem.W.empty())
            return fail(Errc::InvalidArgument, "the weight is empty", m_problem.layer);
        const MatrixD* C = m_problem.input.secondMoment;
        if (!C)
            return fail(Errc::NotFound, "needs calibration: there is no second moment of the layer's input", m_problem.layer,
                "capture a dump that covers this layer with its Gram");
        if (C->rows() != m_cols || C->cols() != m_cols)
            return fail(Errc::Mismatch,
                fmt::format("second moment is {} x {}, the layer has {} inputs", C->rows(), C->cols(), m_cols),
                m_problem.layer);
        if (m_options.block < 1)
            return fail(Errc::InvalidArgument, fmt::format("block={} must be at least 1", m_options.block), m_problem.layer);
        if (!m_mask)
            return {};
        if (!adaptive())
            return m_mask->keep.rows() == m_rows && m_mask->keep.cols() == m_cols
                ? Expected<void>{}
                : fail(Errc::InvalidArgument,
                    fmt::format(
                        "mask is {} x {}, the weight {} x {}", m_mask->keep.rows(), m_mask->keep.cols(), m_rows, m_cols),
                    m_problem.layer);
        if (!choosesNofM()) {
            if (!(m_mask->sparsity >= 0.0 && m_mask->sparsity <= 1.0) || m_mask->block < 1)
                return fail(Errc::InvalidArgument,
                    fmt::format("sparsity {} (0..1) or mask block {} (1 or more) is outside its range", m_mask->sparsity,
                        m_mask->block),
                    m_problem.layer);
            return {};
        }
        if (m_mask->n < 0 || m_mask->n > m_mask->m || m_cols % m_mask->m != 0)
            return fail(Errc::InvalidArgument,
                fmt::format("pattern {}:{} does not fit {} columns", m_mask->n, m_mask->m, m_cols), m_problem.layer);
        if (reordered())
            return fail(Errc::Unsupported, "an N:M mask chosen during the sweep needs the columns in their own order",
                m_problem.layer, "use actorder=none, or a pruner that fixes the mask beforehand");
        return {};
    }

    /// Order, factor, permuted transposed weights, masks and static groups.
    Expected<void> prepare()
    {
        const MatrixD& C = *m_problem.input.secondMoment;
        m_order.resize(static_cast<std::size_t>(m_cols));
        std::iota(m_order.begin(), m_order.end(), Index{0});
        MatrixD permuted;
        if (reordered()) {
            std::stable_sort(m_order.begin(), m_order.end(), [&](Index a, Index b) { return C(a, a) > C(b, b); });
            permuted = MatrixD(m_cols, m_cols);
            parallelFor(0, m_cols, 64, [&](Index begin, Index end) {
                for (Index r = begin; r < end; ++r)
                    for (Index c = 0; c < m_cols; ++c)
                        permuted(r, c) = C(column(r), column(c));
            });
        }
        QS_TRY(factor,
            linalg::dampedInverseFactor(
                reordered() ? permuted.view() : C.view(), m_options.damp, m_problem.fit.backend, m_problem.fit.job));
        m_result.lambda = factor.lambda;
        m_result.escalations = factor.escalations;
        m_result.deadChannels = static_cast<Index>(factor.dead.size());
        takeFactor(std::move(factor.U));

        m_weights = BasicMatrix<T>(m_cols, m_rows);
        parallelFor(0, m_cols, 32, [&](Index begin, Index end) {
            for (Index r = 0; r < m_rows; ++r)
                for (Index p = begin; p < end; ++p)
                    m_weights(p, r) = static_cast<T>(m_problem.W(r, column(p)));
        });
        m_dead.assign(static_cast<std::size_t>(m_cols), 0);
        for (const Index p : factor.dead) {
            m_dead[static_cast<std::size_t>(p)] = 1;
            std::fill(m_weights.row(p).begin(), m_weights.row(p).end(), T{0});
        }

        if (m_mask) {
            m_keep = BasicMatrix<std::uint8_t>(m_cols, m_rows);
            if (adaptive()) {
                std::fill(m_keep.values().begin(), m_keep.values().end(), std::uint8_t{1});
            } else {
                for (Index p = 0; p < m_cols; ++p)
                    for (Index r = 0; r < m_rows; ++r)
                        m_keep(p, r) = m_mask->keep(r, column(p)) != 0 ? 1 : 0;
                m_known = m_cols;
            }
        }
        m_errors = BasicMatrix<T>(std::min(m_options.block, m_cols), m_rows);
        m_values.resize(static_cast<std::size_t>(m_rows));
        m_projected.resize(static_cast<std::size_t>(m_rows));
        m_losses.resize(static_cast<std::size_t>((m_rows + kRowGrain - 1) / kRowGrain));
        if (m_grid && m_options.order == SweepOptions::Order::Static)
            QS_CHECK(fitStaticGroups());
        return {};
    }

    void takeFactor(MatrixD U)
    {
        if constexpr (std::is_same_v<T, double>) {
            m_factor = std::move(U);
        } else {
            m_factor = BasicMatrix<T>(m_cols, m_cols);
            parallelFor(0, m_cols, 64, [&](Index begin, Index end) {
                for (Index r = begin; r < end; ++r)
                    std::transform(
                        U.row(r).begin(), U.row(r).end(), m_factor.row(r).begin(), [](double v) { return static_cast<T>(v); });
            });
        }
    }

    Index column(Index position) const { return m_order[static_cast<std::size_t>(position)]; }
    Index groupAt(Index position) const
    {
        return (m_options.order == SweepOptions::Order::Static ? column(position) : position) / m_group;
    }

    Expected<void> fitStaticGroups()
    {
        std::vector<Index> positionOf(static_cast<std::size_t>(m_cols));
        for (Index p = 0; p < m_cols; ++p)
            positionOf[static_cast<std::size_t>(column(p))] = p;
        for (Index first = 0; first < m_cols; first += m_group) {
            const Index width = std::min(m_group, m_cols - first);
            QS_CHECK(fitGroup(first / m_group, m_weights,
                std::span(positionOf).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(width))));
        }
        return {};
    }

    bool isDead(Index position) const { return m_dead[static_cast<std::size_t>(position)] != 0; }

    /// Fits one group to the weights at these positions; entries that are known to be pruned count as zero. The zeros of dead
    /// inputs are left out, because nothing is lost there and they would widen ranges away from 0.
    Expected<void> fitGroup(Index group, BasicView<const T> weights, std::span<const Index> all)
    {
        std::vector<Index> positions;
        std::copy_if(all.begin(), all.end(), std::back_inserter(positions), [this](Index p) { return !isDead(p); });
        if (positions.empty())
            positions.assign(all.begin(), all.end());
        const auto width = static_cast<Index>(positions.size());
        if (m_groupWeights.rows() != m_rows || m_groupWeights.cols() != width)
            m_groupWeights = RowMatrix(m_rows, width);
        std::vector<Index> columns(positions.size());
        for (std::size_t i = 0; i < positions.size(); ++i)
            columns[i] = column(positions[i]);
        parallelFor(0, m_rows, kRowGrain, [&](Index begin, Index end) {
            for (Index i = 0; i < width; ++i) {
                const Index p = positions[static_cast<std::size_t>(i)];
                const bool masked = m_mask && p < m_known;
                for (Index r = begin; r < end; ++r)
                    m_groupWeights(r, i) = masked && m_keep(p, r) == 0 ? 0.0F : static_cast<float>(weights(p, r));
            }
        });
        return m_grid->fitGroup(group, m_groupWeights, columns);
    }

    /// Whether something that begins at `p` looks at columns beyond the block's end, whose weights are not up to date.
    bool looksBeyond(Index p, Index end) const
    {
        if (adaptive() && !choosesNofM() && p % m_mask->block == 0)
            return true;
        if (choosesNofM() && p % m_mask->m == 0 && p + m_mask->m > end)
            return true;
        return fitsOnTheWay() && m_options.freshGroups && p % m_group == 0 && std::min(p + m_group, m_cols) > end;
    }
    bool fitsOnTheWay() const { return m_grid && m_options.order != SweepOptions::Order::Static; }

    /// Visits columns from `begin` on; returns where the block ended, which is early where something needs up-to-date weights.
    /// Columns up to `end` have then received the errors of those before.
    Expected<Index> sweepBlock(Index begin, Index end)
    {
        BasicMatrix<T> stale;
        if (fitsOnTheWay() && !m_options.freshGroups)
            stale = BasicMatrix<T>(m_weights.view().rowRange(begin, end - begin));
        for (Index p = begin; p < end; ++p) {
            if (p > begin && looksBeyond(p, end))
                return p;
            if (adaptive())
                chooseMask(p);
            if (fitsOnTheWay() && p % m_group == 0) {
                std::vector<Index> positions(static_cast<std::size_t>(std::min(m_group, m_cols - p)));
                std::iota(positions.begin(), positions.end(), p);
                if (stale.empty() || p == begin)
                    QS_CHECK(fitGroup(p / m_group, m_weights, positions));
                else
                    QS_CHECK(fitStale(p / m_group, positions, stale, begin));
            }
            QS_CHECK(visit(p, begin, end));
        }
        return end;
    }

    /// Compat: the block's columns as they were when it began; those beyond it have not been touched since anyway.
    Expected<void> fitStale(Index group, std::span<const Index> positions, const BasicMatrix<T>& stale, Index begin)
    {
        const auto swapBlock = [&] {
            for (Index i = 0; i < stale.rows(); ++i)
                std::swap_ranges(m_weights.row(begin + i).begin(), m_weights.row(begin + i).end(), m_stale.row(i).begin());
        };
        m_stale = stale;
        swapBlock();
        auto fitted = fitGroup(group, m_weights, positions);
        swapBlock();
        return fitted;
    }

    /// Projects column p, spreads its error over the rest of the block.
    Expected<void> visit(Index p, Index begin, Index end)
    {
        const std::span<T> w = m_weights.row(p);
        const std::uint8_t* keep = m_mask ? m_keep.row(p).data() : nullptr;
        const auto size = static_cast<std::size_t>(m_rows);
        for (std::size_t r = 0; r < size; ++r)
            m_values[r] = keep && keep[r] == 0 ? 0.0F : static_cast<float>(w[r]);
        if (m_grid) {
            m_grid->quantizeColumn(groupAt(p), column(p), m_values, m_projected);
            if (keep)
                for (std::size_t r = 0; r < size; ++r)
                    if (keep[r] == 0 && m_projected[r] != 0.0F)
                        return fail(Errc::InvalidArgument,
                            fmt::format("the grid cannot store a pruned zero (row {}, column {}: the nearest is {})", r,
                                column(p), m_projected[r]),
                            m_problem.layer, "use a symmetric grid or asym-0");
        }

        const T diagonal = m_factor(p, p);
        const std::span<T> e = m_errors.row(p - begin);
        const bool counts = !isDead(p);
        parallelFor(0, m_rows, kRowGrain, [&](Index first, Index last) {
            double loss = 0.0;
            for (Index r = first; r < last; ++r) {
                const auto i = static_cast<std::size_t>(r);
                const T q = m_grid ? static_cast<T>(m_projected[i]) : (keep && keep[i] == 0 ? T{0} : w[i]);
                e[i] = (w[i] - q) / diagonal;
                loss += static_cast<double>(e[i]) * static_cast<double>(e[i]);
                w[i] = q;
            }
            m_losses[static_cast<std::size_t>(first / kRowGrain)] = loss;
            const T* error = e.data();
            for (Index k = p + 1; k < end; ++k) {
                const T u = m_factor(p, k);
                T* target = m_weights.row(k).data();
                for (Index r = first; r < last; ++r)
                    target[r] -= u * error[r];
            }
        });
        for (const double loss : m_losses)
            m_result.lossDamped += counts ? loss : 0.0;
        if (!counts)
            for (const T q : w)
                m_result.deadLargest = std::max(m_result.deadLargest, std::fabs(static_cast<double>(q)));
        return {};
    }

    /// W_{:, >= limit} -= E U_{visited, >= limit}, once per block.
    void applyBlock(Index begin, Index end, Index limit)
    {
        const Index rest = m_cols - limit;
        if (rest == 0)
            return;
        const BasicView<const T> U = m_factor.view().block(begin, limit, end - begin, rest);
        const BasicView<const T> E = m_errors.view().rowRange(0, end - begin);
        const BasicView<T> W = m_weights.mut().rowRange(limit, rest);
        if constexpr (std::is_same_v<T, double>)
            m_problem.fit.backend.gemmD(true, false, -1.0, U, E, 1.0, W);
        else
            m_problem.fit.backend.gemm(true, false, -1.0F, U, E, 1.0F, W);
    }

    T score(Index p, Index r) const
    {
        const T scaled = m_weights(p, r) / m_factor(p, p);
        return scaled * scaled;
    }

    void chooseMask(Index p)
    {
        if (choosesNofM()) {
            if (p % m_mask->m == 0)
                chooseNofM(p);
        } else if (p % m_mask->block == 0) {
            chooseBlock(p);
        }
    }

    void chooseNofM(Index p)
    {
        const Index m = m_mask->m;
        const Index drop = m - m_mask->n;
        parallelFor(0, m_rows, kRowGrain, [&](Index first, Index last) {
            std::vector<std::pair<T, Index>> scores(static_cast<std::size_t>(m));
            for (Index r = first; r < last; ++r) {
                for (Index i = 0; i < m; ++i)
                    scores[static_cast<std::size_t>(i)] = {score(p + i, r), i};
                std::sort(scores.begin(), scores.end());
                for (Index i = 0; i < drop; ++i)
                    m_keep(p + scores[static_cast<std::size_t>(i)].second, r) = 0;
            }
        });
        m_known = p + m;
    }

    void chooseBlock(Index p)
    {
        const Index width = std::min(m_mask->block, m_cols - p);
        const auto count = static_cast<Index>(std::floor(m_mask->sparsity * static_cast<double>(width * m_rows) + 1e-9));
        m_known = p + width;
        if (count == 0)
            return;
        BasicMatrix<T> scores(width, m_rows);
        parallelFor(0, width, 1, [&](Index begin, Index end) {
            for (Index i = begin; i < end; ++i)
                for (Index r = 0; r < m_rows; ++r)
                    scores(i, r) = score(p + i, r);
        });
        BasicMatrix<T> sorted(scores);
        const auto nth = sorted.values().begin() + (count - 1);
        std::nth_element(sorted.values().begin(), nth, sorted.values().end());
        const T threshold = *nth;
        Index left = count;
        std::vector<std::tuple<Index, Index, Index>> ties; // row, column, position
        for (Index i = 0; i < width; ++i)
            for (Index r = 0; r < m_rows; ++r) {
                if (scores(i, r) < threshold) {
                    m_keep(p + i, r) = 0;
                    --left;
                } else if (scores(i, r) == threshold) {
                    ties.emplace_back(r, column(p + i), p + i);
                }
            }
        std::sort(ties.begin(), ties.end());
        for (Index i = 0; i < left; ++i)
            m_keep(std::get<2>(ties[static_cast<std::size_t>(i)]), std::get<0>(ties[static_cast<std::size_t>(i)])) = 0;
    }

    Expected<SweepResult> finish()
    {
        if (reordered())
            for (const Index c : m_order)
                m_result.order.push_back(static_cast<std::int32_t>(c));
        m_result.What = RowMatrix(m_rows, m_cols);
        if (m_mask)
            m_result.keep = BasicMatrix<std::uint8_t>(m_rows, m_cols);
        parallelFor(0, m_rows, 16, [&](Index begin, Index end) {
            for (Index p = 0; p < m_cols; ++p)
                for (Index r = begin; r < end; ++r) {
                    m_result.What(r, column(p)) = static_cast<float>(m_weights(p, r));
                    if (m_mask)
                        m_result.keep(r, column(p)) = m_keep(p, r);
                }
        });
        if (m_grid) {
            std::vector<std::int32_t> groupOf;
            if (m_options.order == SweepOptions::Order::Group && m_group < m_cols) {
                groupOf.resize(static_cast<std::size_t>(m_cols));
                for (Index p = 0; p < m_cols; ++p)
                    groupOf[static_cast<std::size_t>(column(p))] = static_cast<std::int32_t>(p / m_group);
            }
            m_result.quantized = m_grid->finish(std::move(groupOf));
        }
        return std::move(m_result);
    }

    const LayerProblem& m_problem;
    GridSession* m_grid;
    const MaskPlan* m_mask;
    const SweepOptions m_options;
    const Index m_rows, m_cols, m_group;

    std::vector<Index> m_order; ///< Column of W at each position.
    BasicMatrix<T> m_factor; ///< U, in sweep order.
    BasicMatrix<T> m_weights; ///< (cols, rows): before a position its What, from it on the current weights.
    BasicMatrix<T> m_errors; ///< (block, rows): e of the current block.
    BasicMatrix<T> m_stale;
    BasicMatrix<std::uint8_t> m_keep; ///< (cols, rows).
    Index m_known = 0; ///< Positions whose mask is decided.
    RowMatrix m_groupWeights;
    std::vector<float> m_values, m_projected;
    std::vector<double> m_losses; ///< Of one column, per chunk of rows.
    std::vector<char> m_dead; ///< By position: the input is always zero.
    SweepResult m_result;
};

} // namespace

Expected<SweepResult> obsSweep(
    const LayerProblem& problem, GridSession* grid, const MaskPlan* mask, const SweepOptions& options)
{
    return Sweep<float>(problem, grid, mask, options).run();
}

Expected<SweepResult> obsSweepReference(
    const LayerProblem& problem, GridSession* grid, const MaskPlan* mask, const SweepOptions& options)
{
    return Sweep<double>(problem, grid, mask, options).run();
}

} // namespace qs::recipe
