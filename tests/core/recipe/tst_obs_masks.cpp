// SPDX-License-Identifier: Apache-2.0
// Pruning by the OBS sweep: given and adaptive masks.
#include "obs_fixture.h"

#include <QtTest>

using namespace qs;
using namespace qs::recipe;
using namespace qs::test;

class TestObsMasks : public QObject {
    Q_OBJECT
private Q_SLOTS:
    /// Pruning test matrix, item 3: the same mask with and without the update of what is kept.
    void updateHelpsAMask()
    {
        for (unsigned seed = 200; seed < 205; ++seed) {
            const Case c(seed, 16, 64, 256);
            const MaskPlan mask = smallestOfEachRow(c.W);
            QS_REQUIRE(updated, obsSweep(c.problem(), nullptr, &mask, {}));
            RowMatrix only(c.W);
            for (std::size_t i = 0; i < only.values().size(); ++i)
                only.values()[i] *= static_cast<float>(mask.keep.values()[i]);
            QVERIFY(outputError(c, updated.What) < outputError(c, only));
            for (std::size_t i = 0; i < only.values().size(); ++i)
                if (mask.keep.values()[i] == 0)
                    QCOMPARE(updated.What.values()[i], 0.0F);
        }
    }

    void adaptiveMaskHasTheExactCount_data()
    {
        QTest::addColumn<double>("sparsity");
        QTest::addColumn<int>("cols");
        for (const double sparsity : {0.0, 0.3, 0.5, 0.9, 1.0})
            for (const int cols : {100, 128, 300})
                QTest::addRow("%g of %d", sparsity, cols) << sparsity << cols;
    }
    void adaptiveMaskHasTheExactCount()
    {
        QFETCH(double, sparsity);
        QFETCH(int, cols);
        const Case c(301, 10, cols, 50 + cols);
        const MaskPlan mask = adaptiveMask(sparsity);
        QS_REQUIRE(result, obsSweep(c.problem(), nullptr, &mask, {}));
        for (Index first = 0; first < cols; first += 128) {
            const Index last = std::min<Index>(cols, first + 128);
            Index pruned = 0;
            for (Index r = 0; r < 10; ++r)
                for (Index j = first; j < last; ++j) {
                    pruned += result.keep(r, j) == 0 ? 1 : 0;
                    QCOMPARE(result.keep(r, j) == 0, result.What(r, j) == 0.0F);
                }
            QCOMPARE(pruned, static_cast<Index>(std::floor(sparsity * static_cast<double>(10 * (last - first)) + 1e-9)));
        }
        if (sparsity == 0.0)
            QVERIFY(std::equal(result.What.values().begin(), result.What.values().end(), c.W.values().begin()));
    }

    /// All scores equal: row 0 goes first, then row 1, each from its first column on.
    void tiesGoByRowThenColumn()
    {
        Case c(311, 3, 8, 32);
        for (Index i = 0; i < 8; ++i)
            for (Index j = 0; j < 8; ++j)
                c.C(i, j) = i == j ? 1.0 : 0.0;
        std::fill(c.W.values().begin(), c.W.values().end(), 0.5F);
        const MaskPlan mask = adaptiveMask(0.5);
        QS_REQUIRE(result, obsSweep(c.problem(), nullptr, &mask, {}));
        for (std::size_t i = 0; i < 24; ++i)
            QCOMPARE(int(result.keep.values()[i]), i < 12 ? 0 : 1);
    }

    /// Pruning test matrix, item 3.
    void diagonalHessianPrunesByWandaScore()
    {
        Case c(321, 6, 64, 64);
        for (Index i = 0; i < 64; ++i)
            for (Index j = 0; j < 64; ++j)
                c.C(i, j) = i == j ? 0.5 + static_cast<double>(i % 9) : 0.0;
        const MaskPlan mask = adaptiveMask(0.5);
        QS_REQUIRE(result, obsSweepReference(c.problem(), nullptr, &mask, {}));
        double pruned = 0;
        double kept = 1e30;
        for (Index r = 0; r < 6; ++r)
            for (Index j = 0; j < 64; ++j) {
                const double score = std::pow(static_cast<double>(c.W(r, j)), 2) * (c.C(j, j) + result.lambda);
                if (result.keep(r, j))
                    kept = std::min(kept, score);
                else
                    pruned = std::max(pruned, score);
            }
        QVERIFY(pruned <= kept);
    }

    /// Pruning test matrix, item 5.
    void keepsNofM()
    {
        const Case c(331, 12, 96, 200);
        for (const auto& [n, m] : {std::pair{2, 4}, std::pair{4, 8}, std::pair{1, 3}}) {
            const MaskPlan mask = adaptiveNofM(n, m);
            for (const Index block : {Index{10}, Index{128}}) { // 10: groups of four straddle its end
                const auto grid = session(c, 4, 32);
                QS_REQUIRE(result, obsSweep(c.problem(), grid.get(), &mask, {.block = block}));
                for (Index r = 0; r < 12; ++r)
                    for (Index j = 0; j < 96; j += m) {
                        int kept = 0;
                        for (Index i = 0; i < m; ++i)
                            kept += result.keep(r, j + i);
                        QCOMPARE(kept, n);
                    }
            }
        }
    }
};

QTEST_GUILESS_MAIN(TestObsMasks)
#include "tst_obs_masks.moc"
