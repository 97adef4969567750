// SPDX-License-Identifier: Apache-2.0
#include "core/analysis/distribution.h"
#include "core/exec/backend.h"
#include "core/tensor/dtype.h"
#include "tests/support/synthetic.h"

#include <QtTest>
#include <cmath>
#include <numeric>

using namespace qs::analysis;
using namespace qs::quant;
using qs::cpuBackend;
using qs::Index;
using qs::RowMatrix;

namespace {

RowMatrix onGrid(Index rows, Index cols, Index group, int bits, GridId id, std::uint64_t seed)
{
    UniformGridOptions options;
    options.bits = bits;
    options.grid = id;
    return quantizeNearest(qs::test::gaussianMatrix(rows, cols, seed, 0.03), group, options, cpuBackend())
        ->dequantize(cpuBackend());
}

} // namespace

class TestDistribution : public QObject {
    Q_OBJECT

private Q_SLOTS:
    void levels()
    {
        UniformGridOptions options;
        options.bits = 2;
        options.grid = GridId::Asym0;
        QCOMPARE(gridLevels(options, {0.5F, 1.0F}), (std::vector<float>{-0.5F, 0.0F, 0.5F, 1.0F}));
        options.grid = GridId::SymRestricted;
        QCOMPARE(gridLevels(options, {0.5F, 0.0F}), (std::vector<float>{-1.0F, -0.5F, 0.0F, 0.5F}));
    }

    void codesAreCounted()
    {
        const RowMatrix W = qs::test::gaussianMatrix(16, 64, 131);
        UniformGridOptions options;
        options.bits = 3;
        const auto q = quantizeNearest(W, 32, options, cpuBackend());
        const auto h = codeHistogram(W, *q, 90);
        QVERIFY(h);
        QCOMPARE(std::accumulate(h->codes.begin(), h->codes.end(), std::uint64_t{0}), std::uint64_t{16 * 64});
        QCOMPARE(h->codes.size(), std::size_t{8});
        QCOMPARE(h->lowestCode, 0);
        QVERIFY(h->entropyBits > 1.0 && h->entropyBits <= 3.0);
        QCOMPARE(h->units.lo, -1.0);
        QCOMPARE(h->units.hi, 8.0);
        QCOMPARE(h->units.finite(), std::uint64_t{16 * 64});
        QVERIFY(h->clippedShare < 0.01); // float16 rounding of the scale may push an extremum just beyond half a step
        auto clipped = *q;
        for (float& scale : clipped.scale.values())
            scale *= 0.25F;
        QVERIFY(codeHistogram(W, clipped, 90)->clippedShare > 0.1);
        QVERIFY(codeHistogram(RowMatrix(3, 3), *q, 90).error().code == qs::Errc::Mismatch);
        QVERIFY(codeHistogram(W, *q, 0).error().code == qs::Errc::InvalidArgument);
    }

    void findsGrids_data()
    {
        QTest::addColumn<Index>("group");
        QTest::addColumn<int>("bits");
        QTest::addColumn<int>("id");
        QTest::newRow("4 bits, block 32, asymmetric") << Index{32} << 4 << static_cast<int>(GridId::Asym0);
        QTest::newRow("4 bits, block 32, symmetric") << Index{32} << 4 << static_cast<int>(GridId::SymFullrangeMid);
        QTest::newRow("3 bits, block 64") << Index{64} << 3 << static_cast<int>(GridId::Asym0);
        QTest::newRow("2 bits, whole row") << Index{256} << 2 << static_cast<int>(GridId::Asym0);
        QTest::newRow("8 bits, block 128") << Index{128} << 8 << static_cast<int>(GridId::SymRestricted);
        QTest::newRow("6 bits, block 16") << Index{16} << 6 << static_cast<int>(GridId::SymRestricted);
    }
    void findsGrids()
    {
        QFETCH(Index, group);
        QFETCH(int, bits);
        QFETCH(int, id);
        const auto found = detectExistingGrid(onGrid(128, 256, group, bits, static_cast<GridId>(id), 132));
        QVERIFY(found);
        QCOMPARE(found->block, group);
        QCOMPARE(found->bits, bits);
        QVERIFY(found->share > 0.95);
        QVERIFY2(found->sentence.find(std::to_string(bits) + "-bit") != std::string::npos, found->sentence.c_str());
    }

    void survivesHalfPrecisionStorage()
    {
        for (const bool bfloat : {false, true}) {
            RowMatrix W = onGrid(64, 256, 32, 4, GridId::SymFullrangeMid, 133);
            for (float& w : W.values())
                w = bfloat ? qs::bfloat16ToFloat(qs::floatToBfloat16(w)) : qs::halfToFloat(qs::floatToHalf(w));
            const auto found = detectExistingGrid(W);
            QVERIFY2(found, bfloat ? "bfloat16" : "float16");
            QCOMPARE(found->block, Index{32});
            QCOMPARE(found->bits, 4);
        }
    }

    void ordinaryWeightsHaveNone()
    {
        RowMatrix W = qs::test::gaussianMatrix(128, 256, 134, 0.03);
        QVERIFY(!detectExistingGrid(W));
        for (float& w : W.values())
            w = qs::bfloat16ToFloat(qs::floatToBfloat16(w));
        QVERIFY(!detectExistingGrid(W)); // bfloat16 itself is a grid per binade, not one of few bits
        for (float& w : W.values())
            w = qs::halfToFloat(qs::floatToHalf(w));
        QVERIFY(!detectExistingGrid(W));
        QVERIFY(!detectExistingGrid(RowMatrix(8, 64))); // all zero says nothing
        QVERIFY(!detectExistingGrid(RowMatrix(0, 0)));
    }
};

QTEST_GUILESS_MAIN(TestDistribution)
#include "tst_distribution.moc"
