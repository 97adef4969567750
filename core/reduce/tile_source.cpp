// SPDX-License-Identifier: Apache-2.0
#include "core/reduce/tile_source.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <limits>
#include <utility>

namespace qs::reduce {
namespace {

constexpr Index kBandElements = Index{1} << 18; ///< Elements per decoded band: 1 MiB, and the unit between two polls.

Index divideUp(Index value, Index by)
{
    return (value + by - 1) / by;
}

class MatrixTiles final : public TileSource {
public:
    explicit MatrixTiles(std::shared_ptr<const RowMatrix> matrix)
        : TileSource(matrix->rows(), matrix->cols())
        , m_matrix(std::move(matrix))
    {
    }

protected:
    Expected<MatrixView> band(Index row, Index count, RowMatrix&) const override
    {
        return m_matrix->view().rowRange(row, count);
    }

private:
    std::shared_ptr<const RowMatrix> m_matrix;
};

/// What has been seen of the elements under the cells of a tile.
struct Accumulator {
    Accumulator(Index width, Index height)
        : sum(static_cast<std::size_t>(width * height), 0.0)
        , extreme(sum.size(), 0.0F)
        , finite(sum.size(), 0)
        , bad(sum.size(), 0)
    {
    }
    std::vector<double> sum;
    std::vector<float> extreme;
    std::vector<std::uint64_t> finite;
    std::vector<std::uint32_t> bad;
    std::uint64_t nan = 0, inf = 0;

    void add(std::size_t cell, float value)
    {
        if (!std::isfinite(value)) {
            ++bad[cell];
            ++(std::isnan(value) ? nan : inf);
            return;
        }
        ++finite[cell];
        sum[cell] += static_cast<double>(value);
        if (std::fabs(value) > std::fabs(extreme[cell]))
            extreme[cell] = value;
    }
};

Tile finish(const Accumulator& acc, Index width, Index height, Reduction reduction)
{
    Tile tile;
    tile.width = width;
    tile.height = height;
    tile.nanCount = acc.nan;
    tile.infCount = acc.inf;
    tile.values.resize(acc.sum.size());
    bool any = false;
    for (std::size_t i = 0; i < tile.values.size(); ++i) {
        float value = std::numeric_limits<float>::quiet_NaN();
        if (acc.finite[i] > 0) {
            switch (reduction) {
            case Reduction::AbsMax: value = std::fabs(acc.extreme[i]); break;
            case Reduction::Mean: value = static_cast<float>(acc.sum[i] / static_cast<double>(acc.finite[i])); break;
            case Reduction::SignedExtreme: value = acc.extreme[i]; break;
            }
            tile.min = any ? std::min(tile.min, value) : value;
            tile.max = any ? std::max(tile.max, value) : value;
            any = true;
        }
        tile.values[i] = value;
    }
    if (acc.nan + acc.inf > 0)
        tile.nonFinite = acc.bad;
    return tile;
}

} // namespace

const char* reductionName(Reduction reduction)
{
    switch (reduction) {
    case Reduction::AbsMax: return "max |x|";
    case Reduction::Mean: return "mean";
    case Reduction::SignedExtreme: return "signed extreme";
    }
    return "?";
}

int TileSource::levels() const
{
    int level = 0;
    while ((kTileSize << level) < std::max(m_rows, m_cols))
        ++level;
    return level + 1;
}

Index TileSource::tilesAcross(int level) const
{
    return divideUp(m_cols, kTileSize << level);
}

Index TileSource::tilesDown(int level) const
{
    return divideUp(m_rows, kTileSize << level);
}

Expected<Tile> TileSource::tile(TileId id, Reduction reduction, const JobContext& job) const
{
    if (id.level < 0 || id.level >= levels() || id.x < 0 || id.y < 0 || id.x >= tilesAcross(id.level)
        || id.y >= tilesDown(id.level))
        return fail(Errc::InvalidArgument,
            fmt::format("tile ({}, {}) of level {} is outside a {} x {} matrix", id.x, id.y, id.level, m_rows, m_cols));
    const Index cell = Index{1} << id.level;
    const Index firstRow = id.y * kTileSize * cell, lastRow = std::min(m_rows, firstRow + kTileSize * cell);
    const Index firstCol = id.x * kTileSize * cell, lastCol = std::min(m_cols, firstCol + kTileSize * cell);
    const Index width = divideUp(lastCol - firstCol, cell), height = divideUp(lastRow - firstRow, cell);
    Accumulator acc(width, height);
    RowMatrix scratch;
    const Index bandRows = std::clamp<Index>(kBandElements / std::max<Index>(1, m_cols), 1, lastRow - firstRow);
    for (Index row = firstRow; row < lastRow; row += bandRows) {
        QS_CHECK(job.poll());
        const Index count = std::min(bandRows, lastRow - row);
        QS_TRY(view, band(row, count, scratch));
        for (Index r = 0; r < count; ++r) {
            const Index cellRow = (row + r - firstRow) >> id.level;
            const auto values
                = view.row(r).subspan(static_cast<std::size_t>(firstCol), static_cast<std::size_t>(lastCol - firstCol));
            const auto base = static_cast<std::size_t>(cellRow * width);
            for (std::size_t c = 0; c < values.size(); ++c)
                acc.add(base + (c >> id.level), values[c]);
        }
        job.progress(static_cast<double>(row + count - firstRow) / static_cast<double>(lastRow - firstRow));
    }
    return finish(acc, width, height, reduction);
}

std::shared_ptr<const TileSource> matrixTiles(std::shared_ptr<const RowMatrix> matrix)
{
    return std::make_shared<MatrixTiles>(std::move(matrix));
}

} // namespace qs::reduce
