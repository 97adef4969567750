// SPDX-License-Identifier: Apache-2.0
#include "core/linalg/factor.h"
#include "tests/support/synthetic.h"

#include <QtTest>
#include <cmath>
#include <limits>

using qs::cpuBackend;
using qs::Errc;
using qs::Index;
using qs::MatrixD;
using qs::linalg::dampedInverseFactor;
using qs::linalg::logDeterminant;

namespace {

/// max |U^T U (C + lambda I) - I|, with dead channels as the factor treats them.
double inverseError(const qs::linalg::DampedFactor& factor, MatrixD C)
{
    const Index d = C.rows();
    for (const Index j : factor.dead)
        C(j, j) = 1.0;
    for (Index j = 0; j < d; ++j)
        C(j, j) += factor.lambda;
    MatrixD inverse(d, d), product(d, d);
    cpuBackend().gemmD(true, false, 1.0, factor.U, factor.U, 0.0, inverse.mut());
    cpuBackend().gemmD(false, false, 1.0, inverse, C, 0.0, product.mut());
    double error = 0;
    for (Index r = 0; r < d; ++r)
        for (Index c = 0; c < d; ++c)
            error = std::max(error, std::fabs(product(r, c) - (r == c ? 1.0 : 0.0)));
    return error;
}

MatrixD fromRows(Index d, std::initializer_list<double> values)
{
    MatrixD matrix(d, d);
    std::copy(values.begin(), values.end(), matrix.data());
    return matrix;
}

} // namespace

class TestFactor : public QObject {
    Q_OBJECT

private Q_SLOTS:
    void byHand() // C = [[2, 1], [1, 1]]: inverse [[1, -1], [-1, 2]] = U^T U with U = [[1, -1], [0, 1]]
    {
        const auto factor = dampedInverseFactor(fromRows(2, {2, 1, 1, 1}), 0.0, cpuBackend());
        QVERIFY(factor);
        QVERIFY(std::fabs(factor->U(0, 0) - 1.0) < 1e-15);
        QVERIFY(std::fabs(factor->U(0, 1) + 1.0) < 1e-15);
        QCOMPARE(factor->U(1, 0), 0.0);
        QVERIFY(std::fabs(factor->U(1, 1) - 1.0) < 1e-15);
        QCOMPARE(factor->lambda, 0.0);
        QCOMPARE(factor->escalations, 0);
    }

    void inverts_data()
    {
        QTest::addColumn<Index>("d");
        QTest::addColumn<double>("damp");
        for (const Index d : {1, 2, 7, 64, 129})
            for (const double damp : {0.0, 0.01, 1.0})
                QTest::addRow("d %d damp %g", static_cast<int>(d), damp) << d << damp;
    }
    void inverts()
    {
        QFETCH(Index, d);
        QFETCH(double, damp);
        const MatrixD C = qs::test::randomSecondMoment(3 * d, d, 51, 10.0);
        const auto factor = dampedInverseFactor(C, damp, cpuBackend());
        QVERIFY(factor);
        double mean = 0;
        for (Index j = 0; j < d; ++j)
            mean += C(j, j) / static_cast<double>(d);
        QVERIFY(std::fabs(factor->lambda - damp * mean) <= 1e-14 * mean);
        QVERIFY(inverseError(*factor, C) < 1e-9);
        for (Index r = 0; r < d; ++r) {
            QVERIFY(factor->U(r, r) > 0.0);
            for (Index c = 0; c < r; ++c)
                QCOMPARE(factor->U(r, c), 0.0);
        }
    }

    void onlyTheLowerTriangleIsRead()
    {
        const MatrixD C = qs::test::randomSecondMoment(20, 5, 52);
        MatrixD half(C.view());
        for (Index r = 0; r < 5; ++r)
            for (Index c = r + 1; c < 5; ++c)
                half(r, c) = 99.0;
        const auto a = dampedInverseFactor(C, 0.01, cpuBackend());
        const auto b = dampedInverseFactor(half, 0.01, cpuBackend());
        QVERIFY(std::equal(a->U.values().begin(), a->U.values().end(), b->U.values().begin()));
    }

    void scaleDoesNotMatter() // U(cC) = U(C) / sqrt(c), exactly for c = 4^k
    {
        const MatrixD C = qs::test::randomSecondMoment(40, 12, 53);
        MatrixD scaled(C.view());
        for (double& value : scaled.values())
            value *= 0x1p-20;
        const auto a = dampedInverseFactor(C, 0.01, cpuBackend());
        const auto b = dampedInverseFactor(scaled, 0.01, cpuBackend());
        for (std::size_t i = 0; i < a->U.values().size(); ++i)
            QCOMPARE(b->U.values()[i], a->U.values()[i] * 0x1p10);
    }

    void deadChannelsAreSetAside() // T38
    {
        MatrixD C = qs::test::randomSecondMoment(40, 10, 54);
        for (const Index dead : {Index{0}, Index{6}})
            for (Index j = 0; j < 10; ++j)
                C(dead, j) = C(j, dead) = 0.0;
        const auto factor = dampedInverseFactor(C, 0.01, cpuBackend());
        QVERIFY(factor);
        QCOMPARE(factor->dead, (std::vector<Index>{0, 6}));
        QCOMPARE(factor->escalations, 0);
        QVERIFY(inverseError(*factor, C) < 1e-10);
        for (Index c = 1; c < 10; ++c)
            QCOMPARE(factor->U(0, c), 0.0); // nothing is compensated through a dead channel
        double live = 0;
        for (Index j = 0; j < 10; ++j)
            live += C(j, j) / 8.0;
        QVERIFY(std::fabs(factor->lambda - 0.01 * live) < 1e-14);

        const auto none = dampedInverseFactor(MatrixD(3, 3), 0.01, cpuBackend());
        QVERIFY(none);
        QCOMPARE(none->dead.size(), std::size_t{3});
    }

    void escalatesUntilItSucceeds()
    {
        // Indefinite by a little: eigenvalues 1 + rho and 1 - rho with rho = 1.05.
        const auto factor = dampedInverseFactor(fromRows(2, {1, 1.05, 1.05, 1}), 0.01, cpuBackend());
        QVERIFY(factor);
        QCOMPARE(factor->escalations, 1);
        QVERIFY(std::fabs(factor->damp - 0.1) < 1e-15);
        QVERIFY(inverseError(*factor, fromRows(2, {1, 1.05, 1.05, 1})) < 1e-12);
        // Rank one without damping.
        const auto singular = dampedInverseFactor(fromRows(2, {1, 1, 1, 1}), 0.0, cpuBackend());
        QVERIFY(singular);
        QCOMPARE(singular->escalations, 1);
        QCOMPARE(singular->lambda, 1e-6);
    }

    void refusesDamage()
    {
        const auto nan = dampedInverseFactor(fromRows(2, {1, 0, std::nan(""), 1}), 0.01, cpuBackend());
        QVERIFY(!nan && nan.error().code == Errc::NotFinite);
        QVERIFY(nan.error().message.find("(1, 0)") != std::string::npos);
        QVERIFY(dampedInverseFactor(fromRows(2, {-1, 0, 0, 1}), 0.01, cpuBackend()).error().code == Errc::NotFinite);
        QVERIFY(dampedInverseFactor(fromRows(2, {1, 0, 0, 1}), -0.01, cpuBackend()).error().code == Errc::InvalidArgument);
        QVERIFY(dampedInverseFactor(fromRows(2, {1, 1e12, 1e12, 1}), 0.01, cpuBackend()).error().code == Errc::NotFinite);
        QVERIFY(dampedInverseFactor(MatrixD(2, 3), 0.01, cpuBackend()).error().code == Errc::InvalidArgument);
        std::stop_source stop;
        stop.request_stop();
        qs::JobContext job;
        job.stop = stop.get_token();
        QVERIFY(dampedInverseFactor(fromRows(2, {1, 0, 0, 1}), 0.01, cpuBackend(), job).error().code == Errc::Cancelled);
    }

    void logDeterminants()
    {
        QVERIFY(std::fabs(*logDeterminant(fromRows(2, {4, 0, 0, 9}), cpuBackend()) - std::log(36.0)) < 1e-14);
        QVERIFY(std::fabs(*logDeterminant(fromRows(2, {1, 0.5, 0.5, 1}), cpuBackend()) - std::log(0.75)) < 1e-14);
        // det(D A D) = det(A) prod D^2, over scales that would overflow a determinant.
        const MatrixD A = qs::test::randomSecondMoment(200, 60, 55);
        MatrixD scaled(A.view());
        double logs = 0;
        for (Index j = 0; j < 60; ++j) {
            const double s = std::pow(10.0, static_cast<double>(j % 21) - 10.0);
            logs += 2.0 * std::log(s);
            for (Index i = 0; i < 60; ++i) {
                scaled(i, j) *= s;
                scaled(j, i) *= s;
            }
        }
        QVERIFY(std::fabs(*logDeterminant(scaled, cpuBackend()) - *logDeterminant(A, cpuBackend()) - logs) < 1e-9);
        QVERIFY(!logDeterminant(fromRows(2, {1, 2, 2, 1}), cpuBackend()));
        QVERIFY(!logDeterminant(fromRows(2, {0, 0, 0, 1}), cpuBackend()));
    }
};

QTEST_GUILESS_MAIN(TestFactor)
#include "tst_factor.moc"
