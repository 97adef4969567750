// SPDX-License-Identifier: Apache-2.0
#include "core/exec/backend.h"
#include "core/exec/parallel.h"
#include "core/quant/uniform_grid.h"
#include "tests/support/synthetic.h"

#include <QtTest>
#include <bit>
#include <cmath>
#include <limits>
#include <stdexcept>

using qs::cpuBackend;
using qs::GridParams;
using qs::Index;
using qs::RowMatrix;
using qs::quant::GridId;
using qs::quant::ScaleZero;
using qs::quant::UniformGrid;
using Codes = qs::BasicMatrix<std::int16_t>;

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

bool same(float a, float b)
{
    return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b);
}

/// A matrix with a grid fitted to each group, and the same group for every column in a shuffled order where asked for.
struct Case {
    UniformGrid grid;
    RowMatrix X, scale, zero;
    Index group = 0;
    std::vector<std::int32_t> groupOf;

    Case(GridId id, int bits, Index rows, Index cols, Index width, bool shuffled)
        : grid([&] {
            qs::quant::UniformGridOptions options;
            options.grid = id;
            options.bits = bits;
            return options;
        }())
        , X(qs::test::gaussianMatrix(rows, cols, static_cast<std::uint64_t>(rows * 131 + cols), 0.7))
        , group(width)
    {
        const Index groups = (cols + width - 1) / width;
        scale = RowMatrix(rows, groups);
        zero = RowMatrix(rows, groups);
        for (Index r = 0; r < rows; ++r)
            for (Index g = 0; g < groups; ++g) {
                const ScaleZero sz = grid.fromRange(-0.9F - 0.01F * static_cast<float>(r), 1.3F + 0.1F * static_cast<float>(g));
                scale(r, g) = sz.scale;
                zero(r, g) = sz.zero;
            }
        for (Index c = 0; shuffled && c < cols; ++c)
            groupOf.push_back(static_cast<std::int32_t>(c * 7 % groups));
    }
    GridParams params() const { return grid.params(scale, zero, group, groupOf); }
    ScaleZero at(Index r, Index c) const
    {
        const Index g = groupOf.empty() ? c / group : groupOf[static_cast<std::size_t>(c)];
        return {scale(r, g), zero(r, g)};
    }
};

} // namespace

class GridOperationsTest : public QObject {
    Q_OBJECT

private Q_SLOTS:
    void cleanup() { qs::setThreadCount(m_threads); }

    void byHand()
    {
        RowMatrix X(1, 4), scale(1, 1), zero(1, 1);
        const float values[] = {-1.0F, 0.25F, 0.75F, 9.0F};
        std::copy(values, values + 4, X.row(0).begin());
        scale(0, 0) = 0.5F;
        zero(0, 0) = 2.0F;
        const GridParams grid{scale, zero, 4, {}, 0.0F, 7.0F, false};
        Codes codes(1, 4);
        cpuBackend().gridEncode(X, grid, codes.mut());
        QCOMPARE(
            std::vector<int>(codes.values().begin(), codes.values().end()), (std::vector<int>{0, 2, 4, 7})); // ties to even
        cpuBackend().gridProject(X.mut(), grid);
        QCOMPARE(std::vector<float>(X.values().begin(), X.values().end()), (std::vector<float>{-1.0F, 0.0F, 1.0F, 2.5F}));
    }

    void equalTheScalarGrid_data()
    {
        QTest::addColumn<int>("id");
        QTest::addColumn<int>("bits");
        for (int id = 0; id < 7; ++id)
            for (const int bits : {2, 3, 4, 8})
                QTest::addRow("%s %d", gridName(static_cast<GridId>(id)), bits) << id << bits;
    }

    /// Value by value, bit for bit: all grids, odd sizes, short last groups, groups out of order, 1 to 4 threads, NaN and Inf.
    void equalTheScalarGrid()
    {
        QFETCH(int, id);
        QFETCH(int, bits);
        struct Size {
            Index rows, cols, group;
            bool shuffled;
        };
        for (const Size size : {Size{1, 1, 1, false}, {7, 37, 37, false}, {13, 129, 16, false}, {5, 250, 64, true},
                 {301, 515, 103, false}, {290, 515, 103, true}}) {
            Case c(static_cast<GridId>(id), bits, size.rows, size.cols, size.group, size.shuffled);
            if (c.X.size() > 3) {
                c.X(0, 0) = kNan;
                c.X(c.X.rows() - 1, c.X.cols() - 1) = kInf;
                c.X(c.X.rows() / 2, 1) = -kInf;
                c.X(c.X.rows() / 2, 2) = -0.0F;
            }
            for (int threads = 1; threads <= 4; ++threads) {
                qs::setThreadCount(threads);
                Codes codes(c.X.rows(), c.X.cols());
                cpuBackend().gridEncode(c.X, c.params(), codes.mut());
                RowMatrix decoded(c.X.rows(), c.X.cols());
                cpuBackend().gridDecode(codes, c.params(), decoded.mut());
                RowMatrix projected = c.X;
                cpuBackend().gridProject(projected.mut(), c.params());
                Index bad = 0;
                for (Index r = 0; r < c.X.rows(); ++r)
                    for (Index col = 0; col < c.X.cols(); ++col) {
                        const float x = c.X(r, col);
                        const int code = c.grid.encode(x, c.at(r, col));
                        const float level = c.grid.decode(code, c.at(r, col));
                        bad += codes(r, col) == code ? 0 : 1;
                        bad += same(decoded(r, col), level) ? 0 : 1;
                        bad += same(projected(r, col), std::isfinite(x) ? level : x) ? 0 : 1;
                    }
                QVERIFY2(bad == 0,
                    qPrintable(QString("%1 differ, %2 x %3, %4 threads").arg(bad).arg(size.rows).arg(size.cols).arg(threads)));
            }
        }
    }

    /// Views into a larger matrix: what is beside them stays.
    void stridedViews()
    {
        const Case c(GridId::SymRestricted, 4, 6, 20, 5, false);
        RowMatrix wide(6, 33);
        std::fill(wide.values().begin(), wide.values().end(), 77.0F);
        const auto inner = wide.mut().block(0, 3, 6, 20);
        for (Index r = 0; r < 6; ++r)
            std::copy(c.X.row(r).begin(), c.X.row(r).end(), inner.row(r).begin());
        RowMatrix expected = c.X;
        cpuBackend().gridProject(expected.mut(), c.params());
        cpuBackend().gridProject(inner, c.params());
        for (Index r = 0; r < 6; ++r) {
            for (Index col = 0; col < 20; ++col)
                QCOMPARE(inner(r, col), expected(r, col));
            QVERIFY(wide(r, 2) == 77.0F && wide(r, 23) == 77.0F);
        }
    }

    void rangesOfGroups_data()
    {
        QTest::addColumn<int>("rows");
        QTest::addColumn<int>("cols");
        QTest::addColumn<int>("group");
        QTest::newRow("one value") << 1 << 1 << 1;
        QTest::newRow("short last group") << 9 << 50 << 16;
        QTest::newRow("whole rows") << 257 << 513 << 513;
        QTest::newRow("wide group") << 3 << 10 << 64;
    }

    void rangesOfGroups()
    {
        QFETCH(int, rows);
        QFETCH(int, cols);
        QFETCH(int, group);
        RowMatrix X = qs::test::gaussianMatrix(rows, cols, 5);
        const Index groups = (cols + group - 1) / group;
        for (const bool broken : {false, true}) {
            if (broken) {
                X(rows - 1, cols - 1) = kNan;
                X(0, cols / 2) = -kInf;
            }
            for (int threads = 1; threads <= 4; ++threads) {
                qs::setThreadCount(threads);
                RowMatrix lo(rows, groups), hi(rows, groups);
                QCOMPARE(cpuBackend().groupRanges(X, group, lo.mut(), hi.mut()), !broken);
                for (Index r = 0; r < rows; ++r)
                    for (Index g = 0; g < groups; ++g) {
                        float least = kInf, most = -kInf;
                        for (Index c = g * group; c < std::min<Index>(cols, (g + 1) * group); ++c)
                            if (std::isfinite(X(r, c))) {
                                least = std::min(least, X(r, c));
                                most = std::max(most, X(r, c));
                            }
                        QCOMPARE(lo(r, g), least > most ? 0.0F : least);
                        QCOMPARE(hi(r, g), least > most ? 0.0F : most);
                    }
            }
        }
    }

    void zeroHasNoSignInARange()
    {
        RowMatrix X(1, 3), lo(1, 1), hi(1, 1);
        std::fill(X.values().begin(), X.values().end(), -0.0F);
        QVERIFY(cpuBackend().groupRanges(X, 3, lo.mut(), hi.mut()));
        QVERIFY(same(lo(0, 0), 0.0F) && same(hi(0, 0), 0.0F));
    }

    void wrongShapesAreBugs()
    {
        Case c(GridId::Asym0, 4, 4, 12, 4, false);
        Codes codes(4, 12), narrow(4, 11);
        RowMatrix lo(4, 3), hi(4, 2);
        QVERIFY_THROWS_EXCEPTION(std::invalid_argument, cpuBackend().gridEncode(c.X, c.params(), narrow.mut()));
        QVERIFY_THROWS_EXCEPTION(std::invalid_argument, cpuBackend().gridDecode(narrow, c.params(), c.X.mut()));
        QVERIFY_THROWS_EXCEPTION(std::invalid_argument, cpuBackend().groupRanges(c.X, 4, lo.mut(), hi.mut()));
        QVERIFY_THROWS_EXCEPTION(std::invalid_argument, cpuBackend().groupRanges(c.X, 0, lo.mut(), lo.mut()));
        c.group = 5; // three groups again, but of other columns: 12 columns make 3 groups of 5 as well
        cpuBackend().gridProject(c.X.mut(), c.params());
        c.group = 6;
        QVERIFY_THROWS_EXCEPTION(std::invalid_argument, cpuBackend().gridProject(c.X.mut(), c.params()));
        c.groupOf.assign(12, 3); // one past the last
        QVERIFY_THROWS_EXCEPTION(std::invalid_argument, cpuBackend().gridEncode(c.X, c.params(), codes.mut()));
        c.groupOf.assign(11, 0);
        QVERIFY_THROWS_EXCEPTION(std::invalid_argument, cpuBackend().gridEncode(c.X, c.params(), codes.mut()));
    }

private:
    int m_threads = qs::threadCount();
};

QTEST_GUILESS_MAIN(GridOperationsTest)
#include "tst_grid_operations.moc"
