// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/error.h"
#include "core/exec/job_context.h"
#include "core/tensor/matrix.h"

#include <compare>
#include <cstdint>
#include <memory>
#include <vector>

namespace qs::reduce {

/// How the elements under one heatmap cell become one number. Shown in the legend.
enum class Reduction {
    AbsMax, ///< max |x|
    Mean, ///< mean of the finite elements
    SignedExtreme, ///< the element of largest magnitude, with its sign (the first in row order on ties)
};
const char* reductionName(Reduction reduction); ///< "max |x|", "mean", "signed extreme".

/// A tile of kTileSize x kTileSize cells; a cell at level k covers 2^k x 2^k elements. Level 0 is full resolution.
struct TileId {
    int level = 0;
    Index x = 0, y = 0; ///< In tiles: columns and rows.
    friend auto operator<=>(const TileId&, const TileId&) = default;
};
inline constexpr Index kTileSize = 256;

/// Numbers of one tile; colours are the view's business.
struct Tile {
    Index width = 0, height = 0; ///< Cells; smaller than kTileSize at the right and bottom edges.
    std::vector<float> values; ///< Row-major. NaN where a cell has no finite element.
    std::vector<std::uint32_t> nonFinite; ///< NaN or Inf elements under each cell; empty when there is none in the tile.
    std::uint64_t nanCount = 0, infCount = 0; ///< In the tile.
    float min = 0, max = 0; ///< Of the finite cell values; 0 when there is none.

    float value(Index cx, Index cy) const { return values[static_cast<std::size_t>(cy * width + cx)]; }
    std::uint32_t bad(Index cx, Index cy) const
    {
        return nonFinite.empty() ? 0 : nonFinite[static_cast<std::size_t>(cy * width + cx)];
    }
};

/// Zoomable numbers of a matrix. Nothing is computed before a tile is asked for.
///
/// Errors   InvalidArgument for a tile outside the matrix; Cancelled (polled per band of rows); those of band().
/// Cost     O(elements under the tile).   Threads   const members may be called concurrently.
class TileSource {
public:
    virtual ~TileSource() = default;
    Index rows() const { return m_rows; }
    Index cols() const { return m_cols; }
    /// Levels 0 .. levels() - 1; at the last one the whole matrix is a single tile.
    int levels() const;
    Index tilesAcross(int level) const;
    Index tilesDown(int level) const;
    Expected<Tile> tile(TileId id, Reduction reduction, const JobContext& job = {}) const;

protected:
    TileSource(Index rows, Index cols)
        : m_rows(rows)
        , m_cols(cols)
    {
    }
    /// Rows [row, row + count) as a view of `cols()` columns; `scratch` may hold them.
    virtual Expected<MatrixView> band(Index row, Index count, RowMatrix& scratch) const = 0;

private:
    Index m_rows = 0, m_cols = 0;
};

/// Over a matrix in memory.
std::shared_ptr<const TileSource> matrixTiles(std::shared_ptr<const RowMatrix> matrix);

} // namespace qs::reduce
