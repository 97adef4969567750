// SPDX-License-Identifier: Apache-2.0
#include "core/exec/cpu_grid.h"

#include "core/exec/grid_kernels.h"
#include "core/exec/parallel.h"

#include <algorithm>
#include <atomic>
#include <stdexcept>
#include <vector>

namespace qs::cpugrid {
namespace {

void check(Index rows, Index cols, const GridParams& grid)
{
    const Index groups = grid.scale.cols();
    bool good = grid.scale.rows() == rows && grid.zero.rows() == rows && grid.zero.cols() == groups;
    if (grid.groupOf.empty())
        good = good && grid.group > 0 && groups == (cols + grid.group - 1) / grid.group;
    else
        good = good && static_cast<Index>(grid.groupOf.size()) == cols
            && std::all_of(grid.groupOf.begin(), grid.groupOf.end(), [&](std::int32_t g) { return g >= 0 && g < groups; });
    if (!good)
        throw std::invalid_argument("grid: shapes do not agree");
}

gridkernels::CodeParams codeParams(const GridParams& grid, Index row, Index group)
{
    return {grid.scale(row, group), grid.zero(row, group), grid.lo, grid.hi, grid.realZero};
}

/// Calls run(first column, columns, group) for the groups of a row, in order.
template <class Run> void eachGroup(Index cols, Index group, Run run)
{
    for (Index first = 0, g = 0; first < cols; first += group, ++g)
        run(first, std::min(group, cols - first), g);
}

/// Scales, zeros, codes and projections of one row whose columns are not in the order of their groups.
class Ordered {
public:
    Ordered(const GridParams& grid, Index cols)
        : m_grid(grid)
        , m_scale(static_cast<std::size_t>(cols))
        , m_zero(m_scale.size())
        , m_projected(m_scale.size())
        , m_codes(m_scale.size())
    {
    }

    void encode(Index row, std::span<const float> values)
    {
        for (std::size_t c = 0; c < values.size(); ++c) {
            m_scale[c] = m_grid.scale(row, m_grid.groupOf[c]);
            m_zero[c] = m_grid.zero(row, m_grid.groupOf[c]);
        }
        gridkernels::encodeEach(values.data(), m_scale.data(), m_zero.data(), values.size(),
            {1.0F, 0.0F, m_grid.lo, m_grid.hi, m_grid.realZero}, m_codes.data(), m_projected.data());
    }
    const std::vector<std::int16_t>& codes() const { return m_codes; }
    const std::vector<float>& projected() const { return m_projected; }

private:
    const GridParams& m_grid;
    std::vector<float> m_scale, m_zero, m_projected;
    std::vector<std::int16_t> m_codes;
};

} // namespace

bool groupRanges(MatrixView X, Index group, MutMatrixView lo, MutMatrixView hi)
{
    const Index groups = group > 0 ? (X.cols() + group - 1) / group : -1;
    if (lo.rows() != X.rows() || hi.rows() != X.rows() || lo.cols() != groups || hi.cols() != groups)
        throw std::invalid_argument("groupRanges: shapes do not agree");
    std::atomic<bool> finite = true;
    parallelFor(0, X.rows(), rowGrain(X.cols()), [&](Index begin, Index end) {
        bool all = true;
        for (Index r = begin; r < end; ++r)
            eachGroup(X.cols(), group, [&](Index first, Index count, Index g) {
                all = gridkernels::rangeOf(&X(r, first), static_cast<std::size_t>(count), &lo(r, g), &hi(r, g)) && all;
            });
        if (!all)
            finite = false;
    });
    return finite;
}

void encode(MatrixView X, const GridParams& grid, MutCodesView codes)
{
    if (codes.rows() != X.rows() || codes.cols() != X.cols())
        throw std::invalid_argument("gridEncode: shapes do not agree");
    check(X.rows(), X.cols(), grid);
    parallelFor(0, X.rows(), rowGrain(X.cols()), [&](Index begin, Index end) {
        if (!grid.groupOf.empty()) {
            Ordered ordered(grid, X.cols());
            for (Index r = begin; r < end; ++r) {
                ordered.encode(r, X.row(r));
                std::copy(ordered.codes().begin(), ordered.codes().end(), codes.row(r).begin());
            }
            return;
        }
        for (Index r = begin; r < end; ++r)
            eachGroup(X.cols(), grid.group, [&](Index first, Index count, Index g) {
                gridkernels::encode(&X(r, first), static_cast<std::size_t>(count), codeParams(grid, r, g), &codes(r, first));
            });
    });
}

void decode(CodesView codes, const GridParams& grid, MutMatrixView X)
{
    if (codes.rows() != X.rows() || codes.cols() != X.cols())
        throw std::invalid_argument("gridDecode: shapes do not agree");
    check(X.rows(), X.cols(), grid);
    parallelFor(0, X.rows(), rowGrain(X.cols()), [&](Index begin, Index end) {
        for (Index r = begin; r < end; ++r) {
            const std::int16_t* code = codes.row(r).data();
            float* out = X.row(r).data();
            if (!grid.groupOf.empty()) {
                for (Index c = 0; c < X.cols(); ++c) {
                    const Index g = grid.groupOf[static_cast<std::size_t>(c)];
                    out[c] = grid.scale(r, g) * (static_cast<float>(code[c]) - grid.zero(r, g));
                }
                continue;
            }
            eachGroup(X.cols(), grid.group, [&](Index first, Index count, Index g) {
                const float s = grid.scale(r, g), z = grid.zero(r, g);
                for (Index c = first; c < first + count; ++c)
                    out[c] = s * (static_cast<float>(code[c]) - z);
            });
        }
    });
}

void project(MutMatrixView X, const GridParams& grid)
{
    check(X.rows(), X.cols(), grid);
    parallelFor(0, X.rows(), rowGrain(X.cols()), [&](Index begin, Index end) {
        if (!grid.groupOf.empty()) {
            Ordered ordered(grid, X.cols());
            for (Index r = begin; r < end; ++r) {
                const auto values = X.row(r);
                ordered.encode(r, values);
                for (std::size_t c = 0; c < values.size(); ++c)
                    if (values[c] - values[c] == 0.0F) // finite
                        values[c] = ordered.projected()[c];
            }
            return;
        }
        for (Index r = begin; r < end; ++r)
            eachGroup(X.cols(), grid.group, [&](Index first, Index count, Index g) {
                gridkernels::project(&X(r, first), static_cast<std::size_t>(count), codeParams(grid, r, g), &X(r, first));
            });
    });
}

} // namespace qs::cpugrid
