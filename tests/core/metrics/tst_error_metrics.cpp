// SPDX-License-Identifier: Apache-2.0
#include "core/metrics/error_metrics.h"
#include "tests/support/synthetic.h"

#include <QtTest>
#include <cmath>
#include <limits>
#include <numeric>

using qs::cpuBackend;
using qs::Errc;
using qs::Index;
using qs::MatrixD;
using qs::RowMatrix;
using namespace qs::metrics;

class TestErrorMetrics : public QObject {
    Q_OBJECT

private Q_SLOTS:
    void byHand() // dW = (1, -2), C = [[2, 1], [1, 3]]: 2 - 4 + 12 = 10; W = (1, 0): 2
    {
        RowMatrix W(1, 2), What(1, 2);
        W(0, 0) = 1.0F;
        What(0, 0) = 0.0F;
        What(0, 1) = 2.0F;
        MatrixD C(2, 2);
        C(0, 0) = 2.0;
        C(1, 1) = 3.0;
        C(0, 1) = C(1, 0) = 1.0;
        QCOMPARE(*traceLoss(*difference(W, What), C, cpuBackend()), 10.0);
        QCOMPARE(*outputError(W, What, C, cpuBackend()), 5.0);
        QCOMPARE(weightError(W, What), 5.0);
        QVERIFY(std::fabs(weightSqnrDb(W, What) + 10.0 * std::log10(5.0)) < 1e-12);
        const auto shares = errorShares(*difference(W, What), C, cpuBackend());
        QCOMPARE(shares->total, 10.0);
        QCOMPARE(shares->byRow, std::vector<double>{10.0});
        QCOMPARE(shares->byInput, (std::vector<double>{0.0, 10.0})); // 1 * (2 - 2) and -2 * (1 - 6)
    }

    // tr(dW C dW^T) is the mean squared output error over the tokens behind C.
    void equalsTheTokenLoss_data()
    {
        QTest::addColumn<Index>("rows");
        for (const Index rows : {1, 255, 256, 257, 600})
            QTest::addRow("%d rows", static_cast<int>(rows)) << rows;
    }
    void equalsTheTokenLoss()
    {
        QFETCH(Index, rows);
        const Index d = 24, tokens = 50;
        const RowMatrix dW = qs::test::gaussianMatrix(rows, d, 71, 0.01);
        const RowMatrix X = qs::test::gaussianMatrix(tokens, d, 72);
        MatrixD C(d, d);
        for (Index i = 0; i < d; ++i)
            for (Index j = 0; j < d; ++j)
                for (Index t = 0; t < tokens; ++t)
                    C(i, j) += static_cast<double>(X(t, i)) * static_cast<double>(X(t, j)) / tokens;
        double expected = 0;
        for (Index t = 0; t < tokens; ++t)
            for (Index r = 0; r < rows; ++r) {
                double y = 0;
                for (Index c = 0; c < d; ++c)
                    y += static_cast<double>(dW(r, c)) * static_cast<double>(X(t, c));
                expected += y * y / tokens;
            }
        const auto loss = traceLoss(dW, C, cpuBackend());
        QVERIFY(std::fabs(*loss / expected - 1.0) < 1e-12);
        const auto shares = errorShares(dW, C, cpuBackend());
        const double byRow = std::accumulate(shares->byRow.begin(), shares->byRow.end(), 0.0);
        const double byInput = std::accumulate(shares->byInput.begin(), shares->byInput.end(), 0.0);
        QVERIFY(std::fabs(byRow / expected - 1.0) < 1e-12);
        QVERIFY(std::fabs(byInput / expected - 1.0) < 1e-12);
        for (const double share : shares->byRow)
            QVERIFY(share >= 0.0);
    }

    void scaleOfTheMomentCancels()
    {
        const RowMatrix W = qs::test::gaussianMatrix(20, 16, 73);
        const RowMatrix What = qs::test::gaussianMatrix(20, 16, 74);
        const MatrixD C = qs::test::randomSecondMoment(40, 16, 75);
        MatrixD G(C.view());
        for (double& value : G.values())
            value *= 64.0;
        QCOMPARE(*outputError(W, What, C, cpuBackend()), *outputError(W, What, G, cpuBackend()));
        QCOMPARE(*outputError(W, W, C, cpuBackend()), 0.0);
        QVERIFY(std::isinf(sqnrDb(0.0)) && sqnrDb(0.0) > 0.0);
        QCOMPARE(sqnrDb(0.01), 20.0);
    }

    void nonFiniteShows()
    {
        RowMatrix W = qs::test::gaussianMatrix(3, 4, 78);
        const RowMatrix What(W.view());
        W(1, 2) = std::numeric_limits<float>::quiet_NaN();
        const MatrixD C = qs::test::randomSecondMoment(8, 4, 79);
        QVERIFY(std::isnan(*outputError(W, What, C, cpuBackend())));
        QVERIFY(std::isnan(weightError(W, What)));
    }

    void refusesWhatDoesNotFit()
    {
        const RowMatrix W(3, 4), other(3, 5);
        QVERIFY(traceLoss(W, MatrixD(5, 5), cpuBackend()).error().code == Errc::Mismatch);
        QVERIFY(outputError(W, other, MatrixD(4, 4), cpuBackend()).error().code == Errc::Mismatch);
        QVERIFY(difference(W, other).error().code == Errc::Mismatch);
        std::stop_source stop;
        stop.request_stop();
        qs::JobContext job;
        job.stop = stop.get_token();
        QVERIFY(traceLoss(W, MatrixD(4, 4), cpuBackend(), job).error().code == Errc::Cancelled);
    }
};

QTEST_GUILESS_MAIN(TestErrorMetrics)
#include "tst_error_metrics.moc"
