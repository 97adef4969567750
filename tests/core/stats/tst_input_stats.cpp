// SPDX-License-Identifier: Apache-2.0
#include "core/exec/parallel.h"
#include "tests/core/stats/random_stats.h"

#include <QTest>
#include <algorithm>
#include <cmath>
#include <hwy/targets.h>
#include <stdexcept>

using namespace qs;
using namespace qs::stats;

namespace {

bool equal(const ChannelSums& a, const ChannelSums& b)
{
    return a.count == b.count && a.nonFinite == b.nonFinite && a.sum == b.sum && a.sumsq == b.sumsq && a.sumabs == b.sumabs
        && a.m3 == b.m3 && a.m4 == b.m4 && a.min == b.min && a.max == b.max;
}

} // namespace

class TestInputStats : public QObject {
    Q_OBJECT
private Q_SLOTS:
    void byHand()
    {
        RowMatrix x(6, 2); // positions 0..5: four sinks and two others
        const float first[] = {10, -20, 1, 2, -3, 4};
        for (Index t = 0; t < 6; ++t) {
            x(t, 0) = first[t];
            x(t, 1) = 1.0F;
        }
        InputPart part;
        ChannelSums sink;
        accumulate(part, sink, x, test::positionsOf(6, 6), true, cpuBackend());
        QCOMPARE(part.count(), Index{6});
        QCOMPARE(part.channels.sum[0], -6.0);
        QCOMPARE(part.channels.sumabs[0], 40.0);
        QCOMPARE(part.channels.sumsq[0], 530.0);
        QCOMPARE(part.channels.m3[0], 1000.0 - 8000 + 1 + 8 - 27 + 64);
        QCOMPARE(part.channels.m4[0], 10000.0 + 160000 + 1 + 16 + 81 + 256);
        QCOMPARE(part.channels.min[0], -3.0); // without the sinks
        QCOMPARE(part.channels.max[0], 4.0);
        QCOMPARE(sink.count, Index{4});
        QCOMPARE(sink.min[0], -20.0);
        QCOMPARE(sink.max[0], 10.0);
        QCOMPARE(sink.sumsq[0], 505.0);
        QCOMPARE(part.gram(0, 1), -6.0);
        QCOMPARE(part.gram(1, 0), -6.0);
        QCOMPARE(part.gram(0, 0), 530.0);

        InputStats stats;
        stats.fit = part;
        stats.sink = sink;
        QCOMPARE(stats.absMax(), (std::vector<double>{20.0, 1.0}));
        QCOMPARE(stats.absMax(false), (std::vector<double>{4.0, 1.0}));
        QCOMPARE(stats.meanAbs()[0], 40.0 / 6);
        QCOMPARE(stats.l2Norm()[0], std::sqrt(530.0));
        QVERIFY(!stats.hasHoldout());
        QCOMPARE(&stats.evaluation(), &stats.fit);
        const auto moment = InputStats::secondMoment(part);
        QVERIFY(moment);
        QCOMPARE((*moment)(0, 0), 530.0 / 6);
    }

    void notFiniteIsCountedAndLeftOut()
    {
        RowMatrix x = test::randomTokens(50, 9, 3), clean = x;
        for (const auto& [t, c, bad] : {std::tuple{Index{0}, Index{8}, std::nanf("")}, {7, 0, INFINITY}, {49, 4, -INFINITY}}) {
            x(t, c) = bad;
            clean(t, c) = 0.0F;
        }
        InputPart part, reference;
        ChannelSums sink, other;
        accumulate(part, sink, x, {}, true, cpuBackend());
        accumulate(reference, other, clean, {}, true, cpuBackend());
        QCOMPARE(part.channels.nonFinite, Index{3});
        QCOMPARE(part.channels.sum, reference.channels.sum);
        QCOMPARE(part.channels.m4, reference.channels.m4);
        QVERIFY(std::ranges::equal(part.gram.values(), reference.gram.values()));
        for (std::size_t c = 0; c < 9; ++c)
            QVERIFY(std::isfinite(part.channels.min[c]) && std::isfinite(part.channels.max[c]));
        QCOMPARE(sink.count, Index{0}); // positions are not known
    }

    void sameBitsForAnyThreadsAndVectors()
    {
        const RowMatrix x = test::randomTokens(70, 133, 5);
        const int threads = threadCount();
        InputPart first;
        ChannelSums firstSink;
        accumulate(first, firstSink, x, test::positionsOf(70, 35), false, cpuBackend());
        for (const int count : {1, 2, 5}) {
            setThreadCount(count);
            for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
                hwy::SetSupportedTargetsForTest(target);
                InputPart part;
                ChannelSums sink;
                accumulate(part, sink, x, test::positionsOf(70, 35), false, cpuBackend());
                QVERIFY2(equal(part.channels, first.channels) && equal(sink, firstSink), hwy::TargetName(target));
            }
            hwy::SetSupportedTargetsForTest(0);
        }
        setThreadCount(threads);
        QVERIFY(!first.hasGram());
    }

    void mergeOfPartsEqualsAll_data()
    {
        QTest::addColumn<int>("sequences");
        QTest::addColumn<int>("split");
        QTest::addColumn<int>("channels");
        QTest::newRow("halves") << 8 << 4 << 12;
        QTest::newRow("one and many") << 9 << 1 << 70;
        QTest::newRow("nothing first") << 5 << 0 << 3;
    }
    void mergeOfPartsEqualsAll()
    {
        QFETCH(int, sequences);
        QFETCH(int, split);
        QFETCH(int, channels);
        const InputStats all = test::randomStats(sequences, 2, channels, 100);
        InputStats merged = test::randomStats(split, 0, channels, 100);
        merged.merge(test::randomStats(sequences - split, 2, channels, 100 + static_cast<unsigned>(split)));
        QCOMPARE(merged.fit.count(), all.fit.count());
        QCOMPARE(merged.holdout.count(), Index{20});
        QCOMPARE(merged.sink.count, all.sink.count);
        QCOMPARE(merged.fit.channels.min, all.fit.channels.min);
        QCOMPARE(merged.sink.max, all.sink.max);
        for (Index i = 0; i < all.fit.gram.size(); ++i)
            QVERIFY(std::abs(merged.fit.gram.data()[i] - all.fit.gram.data()[i])
                <= 1e-10 * std::abs(all.fit.gram.data()[i]) + 1e-10);
        for (std::size_t c = 0; c < all.fit.channels.m3.size(); ++c)
            QVERIFY(std::abs(merged.fit.channels.m3[c] - all.fit.channels.m3[c]) <= 1e-10 * all.fit.channels.m4[c]);
    }

    void gramOfSomeTokensIsDropped()
    {
        InputStats with = test::randomStats(2, 0, 4, 1), without = test::randomStats(2, 0, 4, 9);
        without.fit.gram = MatrixD();
        with.merge(without);
        QVERIFY(!with.fit.hasGram());
        const auto moment = InputStats::secondMoment(with.fit);
        QVERIFY(!moment);
        QCOMPARE(moment.error().code, Errc::NotFound);
        QVERIFY(!InputStats::secondMoment(InputPart()));
    }

    void widthsMustAgree()
    {
        InputPart part;
        ChannelSums sink;
        accumulate(part, sink, test::randomTokens(2, 3, 1), {}, false, cpuBackend());
        QVERIFY_THROWS_EXCEPTION(
            std::invalid_argument, accumulate(part, sink, test::randomTokens(2, 4, 1), {}, false, cpuBackend()));
        QVERIFY_THROWS_EXCEPTION(
            std::invalid_argument, accumulate(part, sink, test::randomTokens(2, 3, 1), {0}, false, cpuBackend()));
    }
};

QTEST_GUILESS_MAIN(TestInputStats)
#include "tst_input_stats.moc"
