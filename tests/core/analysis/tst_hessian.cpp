// SPDX-License-Identifier: Apache-2.0
#include "core/analysis/hessian.h"
#include "core/analysis/layer_analysis.h"
#include "core/linalg/factor.h"
#include "tests/support/synthetic.h"

#include <QtTest>
#include <cmath>
#include <nlohmann/json.hpp>

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
        QVERIFY(!h->condition); // singular, but the live channels are not
        QVERIFY(h->conditionLive && std::fabs(*h->conditionLive - 3.0) < 1e-13);
        QCOMPARE(h->eigenvalues.size(), std::size_t{2});
        QCOMPARE(h->dead, std::vector<Index>{2});
        QCOMPARE(h->tokensPerChannel, 10.0);
        QCOMPARE(h->diagonal, (std::vector<double>{2, 2, 0}));
        const double lambda = 0.02; // damp 0.01, mean 4 / 2
        QCOMPARE(h->damping.size(), std::size_t{4});
        QCOMPARE(h->damping[2].lambda, lambda);
        QVERIFY(std::fabs(h->damping[2].condition / ((3.0 + lambda) / (1.0 + lambda)) - 1.0) < 1e-12);
        const double p = 0.75, q = 0.25;
        QVERIFY(std::fabs(h->effectiveRank - std::exp(-p * std::log(p) - q * std::log(q))) < 1e-10);
        QVERIFY2(h->verdict.find("1 channel never fires") != std::string::npos, h->verdict.c_str());
        QVERIFY2(h->verdict.find("Well determined") != std::string::npos, h->verdict.c_str());
    }

    void deadChannelsAreSetAsideAsSolversDo()
    {
        const MatrixD live = qs::test::randomSecondMoment(500, 46, 114, 4.0);
        MatrixD C(64, 64); // every third of the first channels never fires
        std::vector<Index> place;
        for (Index j = 0; j < 64; ++j)
            if (j % 3 != 1 || j >= 54)
                place.push_back(j);
        QCOMPARE(place.size(), std::size_t{46});
        for (std::size_t r = 0; r < place.size(); ++r)
            for (std::size_t c = 0; c < place.size(); ++c)
                C(place[r], place[c]) = live(static_cast<Index>(r), static_cast<Index>(c));
        const auto h = analyzeHessian(C, 500, cpuBackend()), alone = analyzeHessian(live, 500, cpuBackend());
        QCOMPARE(h->dead.size(), std::size_t{18});
        QCOMPARE(h->live(), Index{46});
        QCOMPARE(*h->rank, Index{46});
        QCOMPARE(h->eigenvalues, alone->eigenvalues);
        QVERIFY(!h->condition && h->conditionLive && alone->condition);
        QCOMPARE(*h->conditionLive, *alone->condition);
        QCOMPARE(*alone->conditionLive, *alone->condition);
        const auto json = hessianToJson(*h), json0 = hessianToJson(*alone);
        QVERIFY(json["condition"].is_null());
        QCOMPARE(json["condition_live"].get<double>(), *h->conditionLive);
        QCOMPARE(json0["condition"], json0["condition_live"]);
        QCOMPARE(json["dead_channels"].get<int>(), 18);
        for (std::size_t i = 0; i < h->damping.size(); ++i) {
            const auto factor = qs::linalg::dampedInverseFactor(C, h->damping[i].damp, cpuBackend());
            QVERIFY(factor && factor->escalations == 0);
            QCOMPARE(h->damping[i].lambda, factor->lambda);
            QCOMPARE(h->damping[i].condition, alone->damping[i].condition);
        }
        QVERIFY2(h->verdict.find("dependent") == std::string::npos, h->verdict.c_str());
        QVERIFY2(h->verdict.find(" of the live channels") != std::string::npos, h->verdict.c_str());
        QVERIFY2(h->verdict.find("18 channels never fire") != std::string::npos, h->verdict.c_str());
        QVERIFY2(analyzeHessian(C, 40, cpuBackend())->verdict.find("40 tokens cannot determine 46 live channels")
                != std::string::npos,
            "dead channels need no tokens");
        const auto silent = analyzeHessian(MatrixD(5, 5), 40, cpuBackend());
        QVERIFY(silent && silent->damping.empty() && !silent->condition && !silent->conditionLive && *silent->rank == 0);
        QVERIFY2(silent->verdict.find("No channel ever fires") != std::string::npos, silent->verdict.c_str());
    }

    void dominantFirstPositionsAreNamed()
    {
        const MatrixD C = qs::test::randomSecondMoment(400, 20, 111, 4.0);
        HessianOptions options;
        options.sinkShare = 0.998;
        const auto h = analyzeHessian(C, 400, cpuBackend(), options);
        QVERIFY2(h->verdict.find("first 4 positions of each window hold 99.8 % of the energy") != std::string::npos
                && h->verdict.find("500 times") != std::string::npos,
            h->verdict.c_str());
        options.sinkShare = 0.5;
        QVERIFY(analyzeHessian(C, 400, cpuBackend(), options)->verdict.find("positions") == std::string::npos);
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
        QVERIFY(!h->condition && !h->conditionLive);
        QVERIFY2(h->verdict.find("8 tokens cannot determine 20 channels") != std::string::npos, h->verdict.c_str());
    }

    void withoutTheSpectrum()
    {
        const MatrixD C = qs::test::randomSecondMoment(700, 300, 113, 30.0);
        HessianOptions options;
        options.spectrumLimit = 299;
        const auto fast = analyzeHessian(C, 700, cpuBackend(), options), full = analyzeHessian(C, 700, cpuBackend());
        QVERIFY(!fast->rank && !fast->condition && !fast->conditionLive && fast->eigenvalues.empty() && fast->damping.empty());
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
