// SPDX-License-Identifier: Apache-2.0
#include "core/reduce/minmax_pyramid.h"
#include "tests/support/synthetic.h"

#include <QtTest>
#include <cmath>
#include <limits>
#include <map>
#include <set>

using namespace qs::reduce;
using qs::Index;

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<float> noise(Index count, std::uint64_t seed)
{
    const qs::RowMatrix values = qs::test::gaussianMatrix(1, count, seed);
    return {values.values().begin(), values.values().end()};
}

} // namespace

class TestMinMaxPyramid : public QObject {
    Q_OBJECT

private Q_SLOTS:
    void byHand() // two pixels of four samples: first, min, max, last of each
    {
        const MinMaxPyramid pyramid(std::vector<float>{1, 5, 0, 2, 3, 3, 4, 3});
        const Decimated line = pyramid.decimate(0, 8, 2);
        const std::vector<PlotPoint> expected{{0, 1}, {1, 5}, {2, 0}, {3, 2}, {4, 3}, {6, 4}, {7, 3}};
        QVERIFY(line.points == expected);
        QCOMPARE(line.nonFiniteCount, Index{0});
    }

    void extremaOfAnyRange()
    {
        std::vector<float> samples = noise(1000, 91);
        samples[333] = kNan;
        samples[700] = std::numeric_limits<float>::infinity();
        const MinMaxPyramid pyramid(samples);
        qs::test::Gaussian random(92);
        for (int trial = 0; trial < 300; ++trial) {
            const auto first = static_cast<Index>(random.uniform() * 1000);
            const auto last = first + static_cast<Index>(random.uniform() * static_cast<double>(1000 - first));
            float lo = std::numeric_limits<float>::infinity(), hi = -lo;
            Index bad = 0;
            for (Index i = first; i < last; ++i) {
                const float v = samples[static_cast<std::size_t>(i)];
                if (std::isfinite(v)) {
                    lo = std::min(lo, v);
                    hi = std::max(hi, v);
                } else {
                    ++bad;
                }
            }
            const auto e = pyramid.extrema(first, last);
            QCOMPARE(e.nonFinite, bad);
            QCOMPARE(e.minIndex >= 0, lo <= hi);
            if (e.minIndex >= 0) {
                QCOMPARE(e.min, lo);
                QCOMPARE(e.max, hi);
                QCOMPARE(samples[static_cast<std::size_t>(e.minIndex)], lo);
                QVERIFY(e.minIndex >= first && e.minIndex < last);
            }
        }
    }

    void keepsExtremaWithinTheBudget_data()
    {
        QTest::addColumn<Index>("count");
        QTest::addColumn<Index>("pixels");
        QTest::newRow("many per pixel") << Index{20000} << Index{300};
        QTest::newRow("uneven") << Index{1001} << Index{97};
        QTest::newRow("fewer than pixels") << Index{50} << Index{300};
        QTest::newRow("one pixel") << Index{5000} << Index{1};
    }
    void keepsExtremaWithinTheBudget()
    {
        QFETCH(Index, count);
        QFETCH(Index, pixels);
        const std::vector<float> samples = noise(count, 93);
        const Decimated line = MinMaxPyramid(samples).decimate(0, count, pixels);
        QVERIFY(static_cast<Index>(line.points.size()) <= 4 * pixels);
        for (std::size_t i = 1; i < line.points.size(); ++i)
            QVERIFY(line.points[i - 1].x < line.points[i].x);
        std::set<Index> shown;
        for (const PlotPoint& point : line.points) {
            QCOMPARE(static_cast<float>(point.y), samples[static_cast<std::size_t>(point.x)]);
            shown.insert(static_cast<Index>(point.x));
        }
        const Index columns = std::min(count, pixels);
        for (Index column = 0; column < columns; ++column) {
            const Index begin = count * column / columns, end = count * (column + 1) / columns;
            const auto least = std::min_element(samples.begin() + begin, samples.begin() + end) - samples.begin();
            const auto most = std::max_element(samples.begin() + begin, samples.begin() + end) - samples.begin();
            QVERIFY(shown.contains(least) && shown.contains(most) && shown.contains(begin) && shown.contains(end - 1));
        }
        if (count <= pixels)
            QCOMPARE(static_cast<Index>(shown.size()), count);
    }

    void nonFiniteIsMarked()
    {
        std::vector<float> samples(64, 1.0F);
        samples[0] = kNan;
        samples[40] = samples[41] = std::numeric_limits<float>::infinity();
        const Decimated line = MinMaxPyramid(samples).decimate(0, 64, 4);
        QCOMPARE(line.nonFiniteCount, Index{3});
        QCOMPARE(line.nonFinite, (std::vector<Index>{0, 40}));
        for (const PlotPoint& point : line.points)
            QVERIFY(std::isfinite(point.y));
        const Decimated nothing = MinMaxPyramid(std::vector<float>(10, kNan)).decimate(0, 10, 5);
        QVERIFY(nothing.points.empty());
        QCOMPARE(nothing.nonFiniteCount, Index{10});
    }

    void emptyRanges()
    {
        QVERIFY(MinMaxPyramid().decimate(0, 10, 10).points.empty());
        const MinMaxPyramid pyramid(std::vector<double>{1.0, 2.0});
        QVERIFY(pyramid.decimate(2, 1, 10).points.empty());
        QVERIFY(pyramid.decimate(0, 2, 0).points.empty());
        QCOMPARE(pyramid.decimate(-5, 99, 10).points.size(), std::size_t{2});
    }
};

QTEST_GUILESS_MAIN(TestMinMaxPyramid)
#include "tst_minmax_pyramid.moc"
