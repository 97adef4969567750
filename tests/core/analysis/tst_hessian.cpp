// SPDX-License-Identifier: Apache-2.0
#include "core/analysis/hessian.h"
#include "tests/support/synthetic.h"

#include <QtTest>
#include <cmath>

using namespace qs::analysis;
using qs::cpuBackend;
using qs::Errc;
using qs::Index;
using qs::MatrixD;

class TestHessian : public QObject {
    Q_OBJECT

private Q_SLOTS:
    void byHand() // [[2, 1, 0], [1, 2, 0], [0, 0, 0]]: eigenvalues 3, 1, 0 and a dead channel
    {
        MatrixD C(3, 3);
        C(0, 0) = C(1, 1) = 2.0;
        C(0, 1) = C(1, 0) = 1.0;
        const auto h = analyzeHessian(C, 30, cpuBackend());
        QVERIFY(h);
        QCOMPARE(h->trace, 4.0);
        QVERIFY(std::fabs(h->lambdaMax - 3.0) < 1e-14);
        QCOMPARE(*h->rank, Index{2});
        QVERIFY(!h->condition);
        QCOMPARE(h->dead, std::vector<Index>{2});
        QCOMPARE(h->tokensPerChannel, 10.0);
        QCOMPARE(h->diagonal, (std::vector<double>{2, 2, 0}));
        // damp 0.01: lambda = 0.01 * 4 / 3
        const double lambda = 0.04 / 3.0;
        QCOMPARE(h->damping.size(), std::size_t{4});
        QVERIFY(std::fabs(h->damping[2].condition / ((3.0 + lambda) / lambda) - 1.0) < 1e-10);
        const double p = 0.75, q = 0.25;
        QVERIFY(std::fabs(h->effectiveRank - std::exp(-p * std::log(p) - q * std::log(q))) < 1e-10);
        QVERIFY2(h->verdict.find("1 channel never fires") != std::string::npos, h->verdict.c_str());
        QVERIFY(h->verdict.find("Rank 2 of 3") != std::string::npos);
    }

    void fullRankHasACondition()
    {
        const MatrixD C = qs::test::randomSecondMoment(400, 20, 111, 4.0);
        const auto h = analyzeHessian(C, 400, cpuBackend());
        QCOMPARE(*h->rank, Index{20});
        QVERIFY(h->condition && std::fabs(*h->condition / (h->eigenvalues.front() / h->eigenvalues.back()) - 1.0) < 1e-14);
        double sum = 0;
        for (const double value : h->eigenvalues)
            sum += value;
        QVERIFY(std::fabs(sum / h->trace - 1.0) < 1e-12);
        for (std::size_t i = 1; i < h->damping.size(); ++i)
            QVERIFY(h->damping[i].condition < h->damping[i - 1].condition);
        QVERIFY2(h->verdict.find("Well determined") != std::string::npos, h->verdict.c_str());
    }

    void tooFewTokens()
    {
        const MatrixD C = qs::test::randomSecondMoment(8, 20, 112);
        const auto h = analyzeHessian(C, 8, cpuBackend());
        QCOMPARE(*h->rank, Index{8});
        QVERIFY(!h->condition);
        QVERIFY2(h->verdict.find("8 tokens cannot determine 20 channels") != std::string::npos, h->verdict.c_str());
    }

    void withoutTheSpectrum()
    {
        const MatrixD C = qs::test::randomSecondMoment(700, 300, 113, 30.0);
        HessianOptions options;
        options.spectrumLimit = 299;
        const auto fast = analyzeHessian(C, 700, cpuBackend(), options), full = analyzeHessian(C, 700, cpuBackend());
        QVERIFY(!fast->rank && !fast->condition && fast->eigenvalues.empty() && fast->damping.empty());
        QVERIFY(std::fabs(fast->lambdaMax / full->lambdaMax - 1.0) < 1e-10);
        QCOMPARE(fast->trace, full->trace);
        QVERIFY(!fast->verdict.empty());
    }

    void refusesDamage()
    {
        MatrixD C(2, 2);
        C(1, 1) = std::nan("");
        QVERIFY(analyzeHessian(C, 4, cpuBackend()).error().code == Errc::NotFinite);
        C(1, 1) = 1.0;
        C(0, 1) = C(1, 0) = std::numeric_limits<double>::infinity();
        QVERIFY(analyzeHessian(C, 4, cpuBackend()).error().code == Errc::NotFinite);
        QVERIFY(analyzeHessian(MatrixD(0, 0), 4, cpuBackend()).error().code == Errc::InvalidArgument);
    }
};

QTEST_GUILESS_MAIN(TestHessian)
#include "tst_hessian.moc"
