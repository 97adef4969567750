// SPDX-License-Identifier: Apache-2.0
#include "core/analysis/qsur.h"
#include "tests/core/analysis/token_stats.h"
#include "tests/support/golden_arrays.h"
#include "tests/support/synthetic.h"

#include <QtTest>
#include <bit>
#include <cmath>

using namespace qs::analysis;
using qs::cpuBackend;
using qs::Errc;
using qs::Index;
using qs::MatrixD;

namespace {

Covariance covarianceOf(MatrixD sigma, Index samples = 0)
{
    Covariance cov;
    cov.mean.assign(static_cast<std::size_t>(sigma.rows()), 0.0);
    cov.sigma = std::move(sigma);
    cov.samples = samples;
    return cov;
}

MatrixD diagonal(const std::vector<double>& values)
{
    const auto d = static_cast<Index>(values.size());
    MatrixD sigma(d, d);
    for (Index j = 0; j < d; ++j)
        sigma(j, j) = values[static_cast<std::size_t>(j)];
    return sigma;
}

Qsur qsurOf(MatrixD sigma, Index samples = 0)
{
    auto q = computeQsur(covarianceOf(std::move(sigma), samples), cpuBackend());
    if (!q)
        qFatal("%s", q.error().line().c_str());
    return *q;
}

/// A Sigma A^T.
MatrixD conjugate(const MatrixD& A, const MatrixD& sigma)
{
    const Index d = sigma.rows();
    MatrixD half(d, d), result(d, d);
    cpuBackend().gemmD(false, false, 1.0, A, sigma, 0.0, half.mut());
    cpuBackend().gemmD(false, true, 1.0, half, A, 0.0, result.mut());
    for (Index r = 0; r < d; ++r)
        for (Index c = 0; c < r; ++c)
            result(c, r) = result(r, c);
    return result;
}

/// Sylvester's Hadamard matrix / sqrt(d), d a power of two.
MatrixD hadamard(Index d)
{
    MatrixD H(d, d);
    for (Index r = 0; r < d; ++r)
        for (Index c = 0; c < d; ++c)
            H(r, c) = (std::popcount(static_cast<unsigned>(r & c)) % 2 == 0 ? 1.0 : -1.0) / std::sqrt(static_cast<double>(d));
    return H;
}

bool near(double a, double b, double tolerance)
{
    return std::fabs(a - b) <= tolerance * std::max(1.0, std::fabs(b));
}

} // namespace

class TestQsur : public QObject {
    Q_OBJECT

private Q_SLOTS:
    void identityUsesEverything()
    {
        for (const Index d : {1, 2, 5, 64}) {
            const Qsur q = qsurOf(diagonal(std::vector<double>(static_cast<std::size_t>(d), 1.0)));
            QVERIFY(near(q.r, 1.0, 1e-12));
            QVERIFY(std::fabs(q.lostBits) < 1e-12);
            QVERIFY(near(q.ceilingScaling, 1.0, 1e-12) && near(q.ceilingRotation, 1.0, 1e-12));
            QVERIFY(near(q.logBox, q.logBound, 1e-12));
            QCOMPARE(q.publishedStable, d == 1);
        }
        // The curious value of the dossier: (volume ratio)^(1/d) of the bound.
        QVERIFY(std::fabs(std::exp(qsurOf(diagonal(std::vector<double>(64, 1.0))).logBound / 64) - 0.2478) < 5e-5);
        QVERIFY(std::fabs(std::exp((logUnitBall(4096) - 4096 * std::log(2.0)) / 4096) - 0.03225) < 5e-6);
    }

    void diagonalByHand() // diag(4, 1, 1, 1)
    {
        const Qsur q = qsurOf(diagonal({4, 1, 1, 1}));
        QVERIFY(near(q.r, std::pow(4.0, -3.0 / 8.0), 1e-12));
        QVERIFY(near(q.lostBits, 0.75, 1e-12));
        QVERIFY(near(q.ceilingScaling, 1.0, 1e-12));
        QVERIFY(near(q.ceilingRotation, std::sqrt(std::pow(4.0, 0.25) / 1.75), 1e-12));
        QVERIFY(near(q.published, std::sqrt(std::pow(4.0, 0.25) / 4.0) / 2.0, 1e-12)); // q1 is an axis: sqrt(d) ||q1|| = 2
        QVERIFY(q.publishedStable);
        QCOMPARE(q.widestChannel, Index{0});
    }

    void correlationByHand_data()
    {
        QTest::addColumn<double>("rho");
        for (const double rho : {0.0, 0.3, -0.8, 0.999})
            QTest::addRow("%g", rho) << rho;
    }
    void correlationByHand()
    {
        QFETCH(double, rho);
        MatrixD sigma = diagonal({1, 1});
        sigma(0, 1) = sigma(1, 0) = rho;
        const Qsur q = qsurOf(sigma);
        const double expected = std::pow(1.0 - rho * rho, 0.25);
        QVERIFY(near(q.r, expected, 1e-12));
        QVERIFY(near(q.ceilingScaling, expected, 1e-12));
        QVERIFY(near(q.ceilingRotation, expected, 1e-12)); // the diagonal is balanced already
    }

    void partsSumUp_data()
    {
        QTest::addColumn<Index>("d");
        QTest::addColumn<double>("spread");
        QTest::newRow("3") << Index{3} << 2.0;
        QTest::newRow("32") << Index{32} << 30.0;
        QTest::newRow("300") << Index{300} << 5.0; // above the dense limit: Lanczos
    }
    void partsSumUp()
    {
        QFETCH(Index, d);
        QFETCH(double, spread);
        const MatrixD sigma = qs::test::randomSecondMoment(4 * d, d, 121, spread);
        const Qsur q = qsurOf(sigma);
        const double total = -2.0 * std::log(q.r);
        QVERIFY(near(q.channelImbalance + q.correlation, total, 1e-12));
        QVERIFY(near(q.basisImbalance + q.anisotropy, total, 1e-12));
        for (const double part : {q.channelImbalance, q.correlation, q.basisImbalance, q.anisotropy})
            QVERIFY(part >= 0.0);
        QVERIFY(q.r <= q.ceilingScaling && q.r <= q.ceilingRotation);
        QVERIFY(q.published > 0.0 && q.published <= 1.0 + 1e-12);
        QCOMPARE(*q.rank, d);
        QVERIFY(near(q.rSub, q.r, 1e-10)); // full rank: the same number by way of the eigenvalues
        // Published value against its own maximum kappa_d d^(d/2).
        const double lnMaximum = q.logBound + 0.5 * static_cast<double>(d) * std::log(static_cast<double>(d));
        QVERIFY(near(std::log(q.published), (q.logPublished - lnMaximum) / static_cast<double>(d), 1e-10));

        MatrixD scaled(sigma.view());
        for (double& value : scaled.values())
            value *= 1e-9;
        QVERIFY(near(qsurOf(scaled).r, q.r, 1e-12));
    }

    // Diagonal scaling to unit variance reaches the first ceiling, KLT + Hadamard the second, whitening 1.
    void ceilingsAreReached()
    {
        constexpr Index d = 32;
        const MatrixD sigma = qs::test::randomSecondMoment(4 * d, d, 122, 20.0);
        const Qsur q = qsurOf(sigma);
        MatrixD unit(d, d);
        for (Index j = 0; j < d; ++j)
            unit(j, j) = 1.0 / std::sqrt(sigma(j, j));
        QVERIFY(near(qsurOf(conjugate(unit, sigma)).r, q.ceilingScaling, 1e-12));

        MatrixD V;
        const auto values = cpuBackend().symmetricEigen(sigma, &V);
        QVERIFY(values);
        MatrixD rotation(d, d);
        cpuBackend().gemmD(false, false, 1.0, hadamard(d), V, 0.0, rotation.mut());
        const MatrixD rotated = conjugate(rotation, sigma);
        for (Index j = 1; j < d; ++j)
            QVERIFY(near(rotated(j, j), rotated(0, 0), 1e-12)); // T28
        QVERIFY(near(qsurOf(rotated).r, q.ceilingRotation, 1e-12));

        for (Index r = 0; r < d; ++r)
            for (double& value : V.row(r))
                value /= std::sqrt((*values)[static_cast<std::size_t>(r)]);
        QVERIFY(near(qsurOf(conjugate(V, sigma)).r, 1.0, 1e-10));
    }

    void rankOneIsFinite()
    {
        constexpr Index d = 6;
        MatrixD sigma(d, d);
        for (Index r = 0; r < d; ++r)
            for (Index c = 0; c < d; ++c)
                sigma(r, c) = static_cast<double>((r + 1) * (c + 1)); // lambda = 91, widest 36
        const Qsur q = qsurOf(sigma, 2);
        QVERIFY(q.deficient);
        QCOMPARE(q.r, 0.0);
        QCOMPARE(q.published, 0.0);
        QVERIFY(!q.publishedStable && q.lambda1 > 1.05 * q.lambda2); // the 0 is forced, nothing to rely on
        QVERIFY(q.note.find("eigenvector") == std::string::npos);
        QCOMPARE(*q.rank, Index{1});
        QVERIFY(near(q.rSub, std::sqrt(91.0 / 36.0 / 6.0), 1e-12));
        QVERIFY(near(q.rankShare, 1.0 / 6.0, 1e-15));
        QVERIFY(std::isinf(q.lostBits) && q.lostBits > 0.0);
        for (const double value : {q.ceilingScaling, q.ceilingRotation, q.rShrunk, q.rateBits, q.shrinkage, q.lostBitsShrunk})
            QVERIFY(std::isfinite(value));
        QVERIFY(q.rShrunk > 0.0 && q.rateBits > 0.0);
        QVERIFY(!q.samplingBias);
        QVERIFY(q.note.find("2 samples span at most 1 of 6 channels") != std::string::npos);
    }

    void constantChannelsAreDeficient()
    {
        const Qsur q = qsurOf(diagonal({1, 0, 2}), 100);
        QVERIFY(q.deficient);
        QCOMPARE(q.r, 0.0);
        QCOMPARE(*q.rank, Index{2});
        QVERIFY(near(q.rSub, std::sqrt(2.0 / 3.0 * std::sqrt(2.0) / 2.0), 1e-12));
        QVERIFY(computeQsur(covarianceOf(MatrixD(3, 3)), cpuBackend()).error().code == Errc::InvalidArgument);
        QVERIFY(computeQsur(covarianceOf(MatrixD(0, 0)), cpuBackend()).error().code == Errc::InvalidArgument);
    }

    /// A channel that is the sum of two others, up to the rounding of float64: whether the factorisation happens to succeed
    /// must not decide what is shown.
    void dependentChannelsAreDeficient()
    {
        for (unsigned seed = 1; seed < 20; ++seed) {
            MatrixD sigma = qs::test::randomSecondMoment(400, 12, seed, 5.0);
            MatrixD mix(12, 12);
            for (Index j = 0; j < 12; ++j)
                mix(j, j) = 1.0;
            mix(7, 7) = 0.0;
            mix(7, 1) = mix(7, 2) = 1.0;
            const Qsur q = qsurOf(conjugate(mix, sigma), 400);
            QVERIFY(q.deficient);
            QCOMPARE(q.r, 0.0);
            QCOMPARE(*q.rank, Index{11});
            // The same shape of matrix with a little of its own left in the channel is not.
            mix(7, 7) = 1e-3;
            const Qsur own = qsurOf(conjugate(mix, sigma), 400);
            QVERIFY(!own.deficient && own.r > 0.0);
        }
    }

    void largeDimensionsStayInLogs() // the raw published ratio is about e^-1100 here
    {
        std::vector<double> values(600, 1.0);
        values[3] = 4.0;
        const Qsur q = qsurOf(diagonal(values));
        QVERIFY(q.logPublished < -1000.0 && std::isfinite(q.logPublished));
        QVERIFY(near(q.r, std::pow(4.0, 0.5 * (1.0 / 600 - 1.0)), 1e-12));
        QVERIFY(near(q.published, std::pow(4.0, 0.5 * (1.0 / 600 - 1.0)) / std::sqrt(600.0), 1e-9));
        QVERIFY(q.publishedStable);
    }

    void withoutTheSpectrum()
    {
        const MatrixD sigma = qs::test::randomSecondMoment(120, 40, 123, 5.0);
        QsurOptions fast;
        fast.spectrum = false;
        const auto q = computeQsur(covarianceOf(MatrixD(sigma.view()), 120), cpuBackend(), fast);
        const Qsur full = qsurOf(sigma, 120);
        QVERIFY(!q->rank);
        QCOMPARE(q->r, full.r);
        QVERIFY(near(q->rShrunk, full.rShrunk, 1e-11));
        QVERIFY(near(q->rateBits, full.rateBits, 1e-11));
    }

    void rateFormMeetsLostBits() // R -> b - log2(2k / sqrt 12) - lost bits at high resolution
    {
        QsurOptions options;
        options.rateAtBits = 30;
        const auto q = computeQsur(covarianceOf(qs::test::randomSecondMoment(120, 30, 124, 3.0)), cpuBackend(), options);
        QVERIFY(std::fabs(q->rateBits - (30.0 - std::log2(12.0 / std::sqrt(12.0)) - q->lostBits)) < 1e-6);
    }

    void meanCostsUtilisation()
    {
        Covariance cov = covarianceOf(qs::test::randomSecondMoment(120, 10, 125));
        const auto centred = computeQsur(cov, cpuBackend());
        QVERIFY(near(centred->rMeanSymmetric, centred->r, 1e-12) && near(centred->rMeanAsymmetric, centred->r, 1e-12));
        for (double& mu : cov.mean)
            mu = 100.0; // the same for all: an asymmetric range absorbs it
        const auto shifted = computeQsur(cov, cpuBackend());
        QVERIFY(shifted->rMeanSymmetric < 0.1 * centred->r);
        QVERIFY(near(shifted->rMeanAsymmetric, centred->r, 1e-10));
        QCOMPARE(shifted->r, centred->r);
    }

    void samplingBiasOfTheDossier() // T = 400, d = 200: exact (mean known) -.3086, measured -.3045
    {
        QVERIFY(std::fabs(gaussianLogDetBias(200, 400, true) + 0.3086) < 5e-5);
        QVERIFY(gaussianLogDetBias(200, 400) < gaussianLogDetBias(200, 400, true));
        const MatrixD S = qs::test::randomSecondMoment(400, 200, 126);
        const Qsur q = qsurOf(S, 400);
        QVERIFY(std::fabs(q.logDet / 200 - gaussianLogDetBias(200, 400, true)) < 0.02);
        QVERIFY(q.rUnbiased > q.r);
    }

    void rowsOfAWeight()
    {
        const qs::RowMatrix W = qs::test::gaussianMatrix(700, 12, 127);
        const auto cov = rowCovariance(W, cpuBackend());
        QVERIFY(cov);
        QCOMPARE(cov->samples, Index{700});
        const auto stats = qs::test::statsOf(W, 700, 0);
        const auto other = centredCovariance(stats.fit);
        for (Index r = 0; r < 12; ++r)
            for (Index c = 0; c < 12; ++c)
                QVERIFY(std::fabs(cov->sigma(r, c) - other->sigma(r, c)) < 1e-12);
        qs::RowMatrix bad(W.view());
        bad(5, 2) = std::nanf("");
        QVERIFY(rowCovariance(bad, cpuBackend()).error().message.find("(5, 2)") != std::string::npos);
    }

    void constantInputsCentreToZero()
    {
        qs::RowMatrix x = qs::test::gaussianMatrix(50, 3, 128);
        for (Index t = 0; t < 50; ++t)
            x(t, 1) = 0.1F;
        const auto cov = centredCovariance(qs::test::statsOf(x, 50, 0).fit);
        QCOMPARE(cov->sigma(1, 1), 0.0);
        QCOMPARE(cov->sigma(0, 1), 0.0);
        QVERIFY(cov->sigma(0, 0) > 0.5);
    }

    void wholeDumpAddsTheParts()
    {
        const qs::RowMatrix x = qs::test::gaussianMatrix(60, 5, 129);
        const auto all = qs::test::statsOf(x, 20, 0).fit;
        const auto whole = wholeDump(qs::test::statsOf(x, 20, 20));
        QCOMPARE(whole.count(), Index{60});
        for (std::size_t i = 0; i < all.gram.values().size(); ++i)
            QVERIFY(std::fabs(whole.gram.values()[i] - all.gram.values()[i]) < 1e-12);
    }
};

QTEST_GUILESS_MAIN(TestQsur)
#include "tst_qsur.moc"
