// SPDX-License-Identifier: Apache-2.0
#include "core/analysis/outliers.h"
#include "tests/core/analysis/token_stats.h"
#include "tests/support/synthetic.h"

#include <QtTest>
#include <cmath>

using namespace qs::analysis;
using qs::Index;
using qs::RowMatrix;
using qs::test::statsOf;

class TestOutliers : public QObject {
    Q_OBJECT

private Q_SLOTS:
    void medians()
    {
        QCOMPARE(median({}), 0.0);
        QCOMPARE(median({3, 1, 2}), 2.0);
        QCOMPARE(median({4, 1, 3, 2}), 2.5);
        QCOMPARE(median({1, 9}), 5.0);
    }

    void byHand() // channels (1, -1, 1, -1) and (8, 0, 0, 0); the sinks are the first four of eight positions
    {
        RowMatrix x(8, 3);
        for (Index t = 0; t < 8; ++t) {
            x(t, 0) = t % 2 == 0 ? 1.0F : -1.0F;
            x(t, 1) = t == 5 ? 8.0F : 0.0F;
            x(t, 2) = t == 1 ? -3.0F : 0.5F;
        }
        const auto stats = statsOf(x, 8, 0);
        const auto table = channelTable(stats);
        QVERIFY(table);
        QCOMPARE(table->tokens, Index{8});
        QCOMPARE(table->absMax, (std::vector<double>{1, 8, 3}));
        QCOMPARE(table->absMaxNoSinks, (std::vector<double>{1, 8, 0.5}));
        QCOMPARE(table->min[2], -3.0);
        QCOMPARE(table->mean[1], 1.0);
        QCOMPARE(table->std[1], std::sqrt(7.0)); // 64 / 8 - 1
        QCOMPARE(table->kurtosis[0], 1.0);
        QCOMPARE(table->meanAbs[0], 1.0);
        const auto outliers = findOutliers(stats);
        QCOMPARE(outliers->int8Channels, Index{1});
        QVERIFY(std::fabs(outliers->maxOverMedian - 8.0 / 3.0) < 1e-15);
        QCOMPARE(outliers->sinkRatio, 1.0);
        QCOMPARE(outliers->sinkEnergy, 13.75 / 82.75); // 4 + 0 + 9.75 of 8 + 64 + 10.75
        QCOMPARE(outliers->sinkEnergyHoldout, 0.0);
        QCOMPARE(outliers->table.size(), std::size_t{1});
        QCOMPARE(outliers->table[0].channel, Index{1});
        QVERIFY(outliers->table[0].reason.find("LLM.int8") != std::string::npos);
    }

    void thresholdIsInclusive()
    {
        RowMatrix x(10, 3);
        x(4, 0) = 6.0F;
        x(5, 1) = -6.0F;
        x(6, 2) = 5.999F;
        QCOMPARE(findOutliers(statsOf(x, 10, 0))->int8Channels, Index{2});
    }

    void gaussianHasKurtosisThree()
    {
        RowMatrix x = qs::test::gaussianMatrix(4000, 12, 101);
        for (Index t = 0; t < x.rows(); ++t)
            x(t, 3) += 2.0F; // the channel's own mean is taken out
        const auto outliers = findOutliers(statsOf(x, 100, 0));
        QVERIFY(std::fabs(outliers->kurtosis - 3.0) < 0.1);
        QVERIFY(outliers->kurtosisOverall > 3.0 && std::fabs(outliers->kurtosisOverall - 3.0) > 0.05);
        QVERIFY(outliers->table.empty());
    }

    void saysWhatWouldHelp()
    {
        RowMatrix x = qs::test::gaussianMatrix(600, 40, 102, 0.1);
        for (Index t = 0; t < x.rows(); ++t)
            x(t, 7) += 5.0F; // a shift removes it
        x(303, 9) = 400.0F; // one token
        x(0, 11) = 20.0F; // a sink
        const auto outliers = findOutliers(statsOf(x, 100, 0));
        QCOMPARE(outliers->table.size(), std::size_t{3});
        QCOMPARE(outliers->table[0].channel, Index{9});
        QVERIFY(outliers->table[0].reason.find("massive") != std::string::npos);
        QCOMPARE(outliers->massiveChannels, Index{1});
        QCOMPARE(outliers->table[1].channel, Index{11});
        QCOMPARE(outliers->table[2].channel, Index{7});
        QVERIFY2(outliers->table[2].reason.find("shift") != std::string::npos, outliers->table[2].reason.c_str());
        OutlierOptions few;
        few.tableSize = 2;
        QCOMPARE(findOutliers(statsOf(x, 100, 0), few)->table.size(), std::size_t{2});
    }

    void sinksAreToldApart()
    {
        RowMatrix x = qs::test::gaussianMatrix(200, 8, 103, 0.1);
        x(100, 2) = 50.0F; // position 0 of the second sequence
        const auto outliers = findOutliers(statsOf(x, 100, 0));
        QVERIFY(outliers->sinkRatio > 50.0);
    }

    void sinkEnergyIsOfEachPart()
    {
        qs::stats::InputStats stats;
        const auto sums = [](qs::Index count, std::vector<double> squares) {
            qs::stats::ChannelSums s(static_cast<Index>(squares.size()));
            s.count = count;
            s.sumsq = std::move(squares);
            s.min.assign(s.sumsq.size(), 0.0);
            s.max.assign(s.sumsq.size(), 1.0);
            return s;
        };
        stats.fit.channels = sums(100, {900.0, 100.0});
        stats.sink = sums(8, {899.0, 1.0});
        stats.holdout.channels = sums(50, {6.0, 2.0});
        stats.holdoutSink = sums(4, {2.0, 0.0});
        const auto known = findOutliers(stats);
        QCOMPARE(known->sinkEnergy, 0.9);
        QCOMPARE(known->sinkEnergyHoldout, 0.25);
        stats.sink = stats.holdoutSink = qs::stats::ChannelSums(2); // positions are not known
        const auto unknown = findOutliers(stats);
        QCOMPARE(unknown->sinkEnergy, 0.0);
        QCOMPARE(unknown->sinkEnergyHoldout, 0.0);
    }

    void holdoutCountsToo()
    {
        RowMatrix x = qs::test::gaussianMatrix(200, 8, 104, 0.1);
        x(150, 2) = 50.0F;
        const auto all = channelTable(statsOf(x, 100, 0)), split = channelTable(statsOf(x, 100, 100));
        QCOMPARE(all->absMax, split->absMax);
        QCOMPARE(split->tokens, Index{200});
        for (std::size_t j = 0; j < 8; ++j)
            QVERIFY(std::fabs(all->std[j] - split->std[j]) < 1e-12);
    }

    void nothingIsAnError()
    {
        qs::stats::InputStats none;
        none.fit.channels = qs::stats::ChannelSums(4);
        QVERIFY(findOutliers(none).error().code == qs::Errc::NotFound);
    }
};

QTEST_GUILESS_MAIN(TestOutliers)
#include "tst_outliers.moc"
