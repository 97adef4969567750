// SPDX-License-Identifier: Apache-2.0
#include "core/exec/parallel.h"
#include "core/reduce/histogram.h"
#include "tests/support/synthetic.h"

#include <QtTest>
#include <cmath>
#include <limits>

using qs::Index;
using qs::reduce::Histogram;
using qs::reduce::histogram;

namespace {
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();
using Counts = std::vector<std::uint64_t>;
} // namespace

class TestHistogram : public QObject {
    Q_OBJECT

private Q_SLOTS:
    void byHand() // 4 bins over [0, 4]; the upper edge belongs to the last bin
    {
        const float values[] = {0.0F, 0.5F, 1.0F, 2.5F, 4.0F, kNan, kInf, -kInf, -kInf};
        const Histogram h = histogram(values, 4);
        QCOMPARE(h.lo, 0.0);
        QCOMPARE(h.hi, 4.0);
        QCOMPARE(h.counts, (Counts{2, 1, 1, 1}));
        QCOMPARE(h.nan, std::uint64_t{1});
        QCOMPARE(h.positiveInf, std::uint64_t{1});
        QCOMPARE(h.negativeInf, std::uint64_t{2});
        QCOMPARE(h.nonFinite(), std::uint64_t{4});
        QCOMPARE(h.mean, 1.6);
        QCOMPARE(h.binWidth(), 1.0);
        const Histogram narrow = histogram(values, 2, std::pair(0.25, 1.25));
        QCOMPARE(narrow.counts, (Counts{1, 1}));
        QCOMPARE(narrow.below, std::uint64_t{1});
        QCOMPARE(narrow.above, std::uint64_t{2});
        QCOMPARE(narrow.min, 0.0);
        QCOMPARE(narrow.max, 4.0);
    }

    void everyValueIsCountedOnce_data()
    {
        QTest::addColumn<Index>("rows");
        QTest::addColumn<Index>("cols");
        QTest::addColumn<Index>("bins");
        QTest::newRow("one") << Index{1} << Index{1} << Index{7};
        QTest::newRow("wide") << Index{3} << Index{100000} << Index{50};
        QTest::newRow("tall") << Index{5000} << Index{17} << Index{1};
    }
    void everyValueIsCountedOnce()
    {
        QFETCH(Index, rows);
        QFETCH(Index, cols);
        QFETCH(Index, bins);
        qs::RowMatrix values = qs::test::gaussianMatrix(rows, cols, 81);
        if (rows * cols > 1)
            values(rows - 1, cols - 1) = kNan;
        for (const auto& range : {std::optional<std::pair<double, double>>(), std::optional(std::pair(-1.0, 0.5))}) {
            const Histogram h = histogram(values, bins, range);
            QCOMPARE(static_cast<Index>(h.finite() + h.nonFinite()), rows * cols);
            QCOMPARE(static_cast<Index>(h.counts.size()), bins);
        }
    }

    void momentsOfAGaussian()
    {
        const Histogram h = histogram(qs::test::gaussianMatrix(1000, 1000, 82, 2.0), 64);
        QVERIFY(std::fabs(h.mean) < 0.01);
        QVERIFY(std::fabs(h.variance / 4.0 - 1.0) < 0.01);
        QVERIFY(std::fabs(h.kurtosis - 3.0) < 0.05);
    }

    void degenerateInputs()
    {
        const float same[] = {2.0F, 2.0F, 2.0F};
        const Histogram h = histogram(same, 2);
        QCOMPARE(h.lo, 1.5);
        QCOMPARE(h.hi, 2.5);
        QCOMPARE(h.counts[0] + h.counts[1], std::uint64_t{3});
        QCOMPARE(h.kurtosis, 0.0);
        const float bad[] = {kNan, kInf};
        QCOMPARE(histogram(bad, 3).finite(), std::uint64_t{0});
        QCOMPARE(histogram(std::span<const float>(), 3).finite(), std::uint64_t{0});
    }

    void sameForAnyThreadCount()
    {
        const qs::RowMatrix values = qs::test::gaussianMatrix(700, 300, 83);
        const int before = qs::threadCount();
        qs::setThreadCount(1);
        const Histogram one = histogram(values, 32);
        qs::setThreadCount(4);
        const Histogram four = histogram(values, 32);
        qs::setThreadCount(before);
        QCOMPARE(one.counts, four.counts);
        QCOMPARE(one.kurtosis, four.kurtosis);
        QCOMPARE(one.mean, four.mean);
    }
};

QTEST_GUILESS_MAIN(TestHistogram)
#include "tst_histogram.moc"
