// SPDX-License-Identifier: Apache-2.0
#include "core/reduce/tile_source.h"
#include "tests/support/synthetic.h"

#include <QtTest>
#include <cmath>
#include <functional>
#include <limits>

using namespace qs::reduce;
using qs::Errc;
using qs::Index;
using qs::RowMatrix;

namespace {

std::shared_ptr<const RowMatrix> shared(RowMatrix matrix)
{
    return std::make_shared<const RowMatrix>(std::move(matrix));
}

/// Cell of a level by its definition.
float cellOf(const RowMatrix& m, Index row, Index col, Index side, Reduction reduction)
{
    double sum = 0;
    Index count = 0;
    float extreme = 0;
    for (Index r = row; r < std::min(m.rows(), row + side); ++r)
        for (Index c = col; c < std::min(m.cols(), col + side); ++c) {
            sum += static_cast<double>(m(r, c));
            ++count;
            if (std::fabs(m(r, c)) > std::fabs(extreme))
                extreme = m(r, c);
        }
    switch (reduction) {
    case Reduction::AbsMax: return std::fabs(extreme);
    case Reduction::Mean: return static_cast<float>(sum / static_cast<double>(count));
    case Reduction::SignedExtreme: return extreme;
    }
    return 0;
}

/// A source that decodes its rows: what a band asks for, and what fails, is seen.
class DecodedTiles final : public TileSource {
public:
    using Decode = std::function<qs::Expected<void>(Index row, qs::MutMatrixView target)>;
    DecodedTiles(Index rows, Index cols, Decode decode)
        : TileSource(rows, cols)
        , m_decode(std::move(decode))
    {
    }

protected:
    qs::Expected<qs::MatrixView> band(Index row, Index count, RowMatrix& scratch) const override
    {
        scratch = RowMatrix(count, cols());
        QS_CHECK(m_decode(row, scratch.mut()));
        return scratch.view();
    }

private:
    Decode m_decode;
};

} // namespace

class TestTileSource : public QObject {
    Q_OBJECT

private Q_SLOTS:
    void geometry()
    {
        const auto tiles = matrixTiles(shared(RowMatrix(600, 300)));
        QCOMPARE(tiles->levels(), 3); // 256, 512, 1024 >= 600
        QCOMPARE(tiles->tilesDown(0), Index{3});
        QCOMPARE(tiles->tilesAcross(0), Index{2});
        QCOMPARE(tiles->tilesDown(2), Index{1});
        QCOMPARE(tiles->tilesAcross(2), Index{1});
        const auto edge = tiles->tile({0, 1, 2}, Reduction::Mean);
        QVERIFY(edge);
        QCOMPARE(edge->width, Index{44});
        QCOMPARE(edge->height, Index{88});
        QCOMPARE(matrixTiles(shared(RowMatrix(256, 256)))->levels(), 1);
        QCOMPARE(matrixTiles(shared(RowMatrix(257, 1)))->levels(), 2);
    }

    void cellsByDefinition_data()
    {
        QTest::addColumn<int>("level");
        QTest::addColumn<int>("reduction");
        for (const int level : {0, 1, 3})
            for (const Reduction reduction : {Reduction::AbsMax, Reduction::Mean, Reduction::SignedExtreme})
                QTest::addRow("level %d %s", level, reductionName(reduction)) << level << static_cast<int>(reduction);
    }
    void cellsByDefinition()
    {
        QFETCH(int, level);
        QFETCH(int, reduction);
        const auto how = static_cast<Reduction>(reduction);
        const auto matrix = shared(qs::test::gaussianMatrix(1100, 700, 95));
        const auto tiles = matrixTiles(matrix);
        const Index side = Index{1} << level;
        for (Index y = 0; y < tiles->tilesDown(level); ++y)
            for (Index x = 0; x < tiles->tilesAcross(level); ++x) {
                const auto tile = tiles->tile({level, x, y}, how);
                QVERIFY(tile);
                QVERIFY(tile->nonFinite.empty());
                float lo = tile->value(0, 0), hi = lo;
                for (Index cy = 0; cy < tile->height; ++cy)
                    for (Index cx = 0; cx < tile->width; ++cx) {
                        const float value = tile->value(cx, cy);
                        lo = std::min(lo, value);
                        hi = std::max(hi, value);
                        if ((cx * 7 + cy * 13) % 11 == 0 || cx + 1 == tile->width || cy + 1 == tile->height)
                            QCOMPARE(
                                value, cellOf(*matrix, (y * kTileSize + cy) * side, (x * kTileSize + cx) * side, side, how));
                    }
                QCOMPARE(tile->min, lo);
                QCOMPARE(tile->max, hi);
            }
    }

    void nonFiniteIsCountedAndDrawn()
    {
        RowMatrix matrix(512, 512);
        for (float& value : matrix.values())
            value = 1.0F;
        matrix(0, 0) = matrix(0, 1) = matrix(1, 0) = matrix(1, 1) = std::numeric_limits<float>::quiet_NaN();
        matrix(10, 11) = -std::numeric_limits<float>::infinity();
        const auto tile = matrixTiles(shared(std::move(matrix)))->tile({1, 0, 0}, Reduction::Mean);
        QVERIFY(tile);
        QVERIFY(std::isnan(tile->value(0, 0)));
        QCOMPARE(tile->bad(0, 0), 4U);
        QCOMPARE(tile->value(5, 5), 1.0F);
        QCOMPARE(tile->bad(5, 5), 1U);
        QCOMPARE(tile->bad(6, 5), 0U);
        QCOMPARE(tile->nanCount, std::uint64_t{4});
        QCOMPARE(tile->infCount, std::uint64_t{1});
        QCOMPARE(tile->min, 1.0F);
    }

    void onlyTheRowsOfATileAreAskedFor()
    {
        std::vector<std::pair<Index, Index>> asked;
        const DecodedTiles tiles(5000, 1024, [&](Index row, qs::MutMatrixView target) -> qs::Expected<void> {
            asked.emplace_back(row, target.rows());
            for (Index r = 0; r < target.rows(); ++r)
                for (Index c = 0; c < target.cols(); ++c)
                    target(r, c) = static_cast<float>(row + r);
            return {};
        });
        const auto tile = tiles.tile({1, 1, 2}, Reduction::AbsMax);
        QVERIFY(tile);
        Index next = 1024;
        for (const auto& [row, count] : asked) {
            QCOMPARE(row, next);
            next += count;
        }
        QCOMPARE(next, Index{1536});
        QCOMPARE(tile->value(0, 0), 1025.0F);
        QCOMPARE(tile->value(255, 255), 1535.0F);
    }

    void failuresReachTheCaller()
    {
        const DecodedTiles broken(10, 10, [](Index, qs::MutMatrixView) -> qs::Expected<void> {
            return qs::fail(Errc::Io, "the file shrank", "model.safetensors");
        });
        const auto tile = broken.tile({0, 0, 0}, Reduction::Mean);
        QVERIFY(!tile && tile.error().code == Errc::Io && tile.error().where == "model.safetensors");
        const auto tiles = matrixTiles(shared(RowMatrix(10, 10)));
        for (const TileId id : {TileId{0, 1, 0}, TileId{0, 0, -1}, TileId{1, 0, 0}, TileId{-1, 0, 0}})
            QVERIFY(tiles->tile(id, Reduction::Mean).error().code == Errc::InvalidArgument);
        QVERIFY(matrixTiles(shared(RowMatrix(0, 0)))->tile({0, 0, 0}, Reduction::Mean).error().code == Errc::InvalidArgument);
        std::stop_source stop;
        stop.request_stop();
        qs::JobContext job;
        job.stop = stop.get_token();
        QVERIFY(tiles->tile({0, 0, 0}, Reduction::Mean, job).error().code == Errc::Cancelled);
    }
};

QTEST_GUILESS_MAIN(TestTileSource)
#include "tst_tile_source.moc"
