// SPDX-License-Identifier: Apache-2.0
#include "core/exec/parallel.h"
#include "core/linalg/spectrum.h"
#include "tests/support/synthetic.h"

#include <QtTest>
#include <cmath>

using qs::cpuBackend;
using qs::Index;
using qs::MatrixD;
using namespace qs::linalg;

class TestSpectrum : public QObject {
    Q_OBJECT

private Q_SLOTS:
    void byHand() // [[2, 1], [1, 2]]: 3 along (1, 1), 1 along (1, -1)
    {
        MatrixD A(2, 2);
        A(0, 0) = A(1, 1) = 2.0;
        A(0, 1) = A(1, 0) = 1.0;
        const auto values = spectrum(A, cpuBackend());
        QVERIFY(values);
        QVERIFY(std::fabs((*values)[0] - 3.0) < 1e-14 && std::fabs((*values)[1] - 1.0) < 1e-14);
        const auto top = topPairs(A, cpuBackend());
        QVERIFY(top);
        QVERIFY(std::fabs(top->lambda1 - 3.0) < 1e-14 && std::fabs(top->lambda2 - 1.0) < 1e-14);
        QVERIFY(std::fabs(std::fabs(top->q1[0]) - std::sqrt(0.5)) < 1e-14);
        QVERIFY(std::fabs(top->q1[0] - top->q1[1]) < 1e-14);
        QVERIFY(std::fabs(*conditionNumber(*values) - 3.0) < 1e-13);
    }

    void rankAndCondition()
    {
        const std::vector<double> values{10.0, 1.0, 1e-5, 1e-7, 0.0, -1e-12};
        QCOMPARE(numericalRank(values), Index{3}); // 1e-7 is 1e-8 of the largest
        QVERIFY(!conditionNumber(values));
        QCOMPARE(numericalRank(values, 1e-9), Index{4});
        QCOMPARE(numericalRank(std::vector<double>{0.0, 0.0}), Index{0});
        QCOMPARE(numericalRank(std::vector<double>{}), Index{0});
        QCOMPARE(*conditionNumber(std::vector<double>{1.0, 8.0, 2.0}), 8.0);
    }

    void lanczosAgreesWithTheDenseSolver_data()
    {
        QTest::addColumn<Index>("d");
        QTest::addColumn<double>("spread");
        QTest::newRow("flat") << Index{90} << 1.0;
        QTest::newRow("stretched") << Index{200} << 100.0;
        QTest::newRow("small") << Index{5} << 3.0;
    }
    void lanczosAgreesWithTheDenseSolver()
    {
        QFETCH(Index, d);
        QFETCH(double, spread);
        const MatrixD A = qs::test::randomSecondMoment(2 * d, d, 61, spread);
        const auto dense = topPairs(A, cpuBackend());
        TopPairsOptions options;
        options.denseLimit = 0;
        const auto lanczos = topPairs(A, cpuBackend(), {}, options);
        QVERIFY(dense && lanczos);
        QCOMPARE(dense->steps, 0);
        QVERIFY(lanczos->steps > 0);
        QVERIFY(std::fabs(lanczos->lambda1 / dense->lambda1 - 1.0) < 1e-11);
        QVERIFY(std::fabs(lanczos->lambda2 / dense->lambda2 - 1.0) < 1e-10);
        double difference = 0, norm = 0, most = 0;
        for (std::size_t i = 0; i < static_cast<std::size_t>(d); ++i) {
            difference = std::max(difference, std::fabs(lanczos->q1[i] - dense->q1[i]));
            norm += lanczos->q1[i] * lanczos->q1[i];
            most = std::max(most, lanczos->q1[i]);
        }
        QVERIFY2(difference < 1e-7, qPrintable(QString::number(difference)));
        QVERIFY(std::fabs(norm - 1.0) < 1e-12);
        for (const double q : lanczos->q1)
            QVERIFY(-q <= most);
    }

    void lanczosStopsOnAnInvariantSubspace() // identity: one step spans everything that can be reached
    {
        MatrixD I(300, 300);
        for (Index j = 0; j < 300; ++j)
            I(j, j) = 2.0;
        const auto top = topPairs(I, cpuBackend());
        QVERIFY(top);
        QVERIFY(std::fabs(top->lambda1 - 2.0) < 1e-12);
        QVERIFY(std::isfinite(top->residual));
    }

    void sameBitsForAnyThreadCount()
    {
        const MatrixD A = qs::test::randomSecondMoment(300, 280, 62, 5.0);
        const int before = qs::threadCount();
        qs::setThreadCount(1);
        const auto one = topPairs(A, cpuBackend());
        qs::setThreadCount(4);
        const auto four = topPairs(A, cpuBackend());
        qs::setThreadCount(before);
        QCOMPARE(one->lambda1, four->lambda1);
        QCOMPARE(one->q1, four->q1);
    }

    void refusesDamage()
    {
        MatrixD A(2, 2);
        A(0, 1) = std::nan("");
        QVERIFY(topPairs(A, cpuBackend()).error().code == qs::Errc::NotFinite);
        QVERIFY(spectrum(A, cpuBackend()).error().code == qs::Errc::NotFinite);
        QVERIFY(topPairs(MatrixD(0, 0), cpuBackend()).error().code == qs::Errc::InvalidArgument);
        std::stop_source stop;
        stop.request_stop();
        qs::JobContext job;
        job.stop = stop.get_token();
        QVERIFY(topPairs(qs::test::randomSecondMoment(300, 300, 63), cpuBackend(), job).error().code == qs::Errc::Cancelled);
    }
};

QTEST_GUILESS_MAIN(TestSpectrum)
#include "tst_spectrum.moc"
