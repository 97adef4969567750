// SPDX-License-Identifier: Apache-2.0
// Every routine against loops in float64 (long double where the routine itself works in float64).
#include "core/exec/backend.h"
#include "core/exec/parallel.h"

#include <QtTest>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <stdexcept>

using namespace qs;

namespace {

template <class T> BasicMatrix<T> randomMatrix(Index rows, Index cols, unsigned seed)
{
    std::mt19937 random(seed);
    std::uniform_real_distribution<double> values(-1, 1);
    BasicMatrix<T> matrix(rows, cols);
    for (T& value : matrix.values())
        value = static_cast<T>(values(random));
    return matrix;
}

/// alpha * op(A) * op(B) + beta * C by the definition.
template <class T>
BasicMatrix<T> naiveProduct(
    bool transA, bool transB, T alpha, BasicView<const T> A, BasicView<const T> B, T beta, BasicView<const T> C)
{
    BasicMatrix<T> result(C.rows(), C.cols());
    const Index k = transA ? A.rows() : A.cols();
    for (Index i = 0; i < C.rows(); ++i)
        for (Index j = 0; j < C.cols(); ++j) {
            long double sum = 0;
            for (Index p = 0; p < k; ++p)
                sum += static_cast<long double>(transA ? A(p, i) : A(i, p))
                    * static_cast<long double>(transB ? B(j, p) : B(p, j));
            result(i, j) = static_cast<T>(alpha * sum + static_cast<long double>(beta) * C(i, j));
        }
    return result;
}

template <class T> double largestDifference(BasicView<const T> a, BasicView<const T> b)
{
    double largest = 0;
    for (Index r = 0; r < a.rows(); ++r)
        for (Index c = 0; c < a.cols(); ++c)
            largest = std::max(largest, std::abs(static_cast<double>(a(r, c)) - static_cast<double>(b(r, c))));
    return largest;
}

MatrixD positiveDefinite(Index n, unsigned seed)
{
    const MatrixD X = randomMatrix<double>(2 * n, n, seed);
    MatrixD A(n, n);
    for (Index i = 0; i < n; ++i)
        for (Index j = 0; j < n; ++j)
            for (Index t = 0; t < X.rows(); ++t)
                A(i, j) += X(t, i) * X(t, j);
    return A;
}

MatrixD lowerFactor(Index n, unsigned seed)
{
    MatrixD L = positiveDefinite(n, seed);
    if (!cpuBackend().cholesky(L.mut()))
        throw std::logic_error("not positive definite");
    return L;
}

} // namespace

class CpuBackendTest : public QObject {
    Q_OBJECT

private Q_SLOTS:
    void describesItself()
    {
        QCOMPARE(cpuBackend().name(), std::string("cpu"));
        const std::string version = cpuBackend().version();
        QVERIFY(version.find("oneDNN") != std::string::npos);
        QVERIFY(version.find(", OpenBLAS ") != std::string::npos);
        QVERIFY(version.find("DYNAMIC_ARCH") == std::string::npos);
    }

    void products_data()
    {
        QTest::addColumn<bool>("transA");
        QTest::addColumn<bool>("transB");
        QTest::addColumn<int>("m");
        QTest::addColumn<int>("n");
        QTest::addColumn<int>("k");
        for (const bool transA : {false, true})
            for (const bool transB : {false, true})
                for (const auto& [m, n, k] : {std::tuple(1, 1, 1), std::tuple(17, 33, 65), std::tuple(64, 1, 7),
                         std::tuple(5, 6, 0), std::tuple(0, 3, 4)})
                    QTest::addRow("%c%c %d %d %d", transA ? 'T' : 'N', transB ? 'T' : 'N', m, n, k)
                        << transA << transB << m << n << k;
    }
    void products() // views with gaps between their rows, alpha and beta
    {
        QFETCH(bool, transA);
        QFETCH(bool, transB);
        QFETCH(int, m);
        QFETCH(int, n);
        QFETCH(int, k);
        const auto check = [&]<class T>(T, double limit, auto&& product) {
            const auto wideA = randomMatrix<T>((transA ? k : m) + 2, (transA ? m : k) + 3, 1);
            const auto wideB = randomMatrix<T>((transB ? n : k) + 2, (transB ? k : n) + 3, 2);
            const auto A = wideA.view().block(1, 2, transA ? k : m, transA ? m : k);
            const auto B = wideB.view().block(1, 2, transB ? n : k, transB ? k : n);
            auto wideC = randomMatrix<T>(m + 1, n + 4, 3);
            const BasicMatrix<T> before = wideC;
            const auto C = wideC.mut().block(0, 3, m, n);
            const auto expected = naiveProduct<T>(transA, transB, T(0.5), A, B, T(-2), BasicView<const T>(C));
            product(T(0.5), A, B, T(-2), C);
            QVERIFY(largestDifference<T>(C, expected.view()) <= limit * std::max(1, k));
            for (Index r = 0; r < wideC.rows(); ++r) // nothing outside the view was touched
                for (Index c = 0; c < wideC.cols(); ++c)
                    if (r >= m || c < 3 || c >= 3 + n)
                        QCOMPARE(wideC(r, c), before(r, c));
        };
        check(0.0F, 1e-6, [&](float a, MatrixView A, MatrixView B, float b, MutMatrixView C) {
            cpuBackend().gemm(transA, transB, a, A, B, b, C);
        });
        check(0.0, 1e-15, [&](double a, MatrixViewD A, MatrixViewD B, double b, MutMatrixViewD C) {
            cpuBackend().gemmD(transA, transB, a, A, B, b, C);
        });
    }

    void linearLayer() // y = x W^T, by hand
    {
        RowMatrix x(1, 2);
        x(0, 0) = 1;
        x(0, 1) = 2;
        RowMatrix W(3, 2);
        for (Index i = 0; i < 6; ++i)
            W.values()[static_cast<std::size_t>(i)] = static_cast<float>(i);
        RowMatrix y(1, 3);
        cpuBackend().linear(x, W, y.mut());
        QCOMPARE(y(0, 0), 2.0F);
        QCOMPARE(y(0, 1), 8.0F);
        QCOMPARE(y(0, 2), 14.0F);
    }

    void wrongShapesAreBugs()
    {
        RowMatrix A(2, 3);
        RowMatrix C(2, 2);
        MatrixD D(2, 3);
        MatrixD E(2, 2);
        QVERIFY_THROWS_EXCEPTION(std::invalid_argument, cpuBackend().gemm(false, false, 1, A, A, 0, C.mut()));
        QVERIFY_THROWS_EXCEPTION(std::invalid_argument, cpuBackend().gemmD(false, false, 1, D, D, 0, E.mut()));
        QVERIFY_THROWS_EXCEPTION(std::invalid_argument, cpuBackend().gram(A, E.mut()));
    }

    void gram_data()
    {
        QTest::addColumn<int>("tokens");
        QTest::addColumn<int>("d");
        QTest::newRow("tiny") << 1 << 1;
        QTest::newRow("several tiles") << 1100 << 70;
        QTest::newRow("several blocks") << 20 << 1100;
        QTest::newRow("no tokens") << 0 << 5;
    }
    void gram() // G += X^T X, exactly symmetric, the same bits for one and two threads
    {
        QFETCH(int, tokens);
        QFETCH(int, d);
        const RowMatrix X = randomMatrix<float>(tokens, d, 5);
        MatrixD start(d, d);
        for (Index i = 0; i < d; ++i)
            for (Index j = 0; j < d; ++j)
                start(i, j) = static_cast<double>(i + j);
        const int before = threadCount();
        std::vector<MatrixD> results;
        for (const int threads : {1, 2}) {
            setThreadCount(threads);
            MatrixD G = start;
            cpuBackend().gram(X, G.mut());
            results.push_back(std::move(G));
        }
        setThreadCount(before);
        QVERIFY(std::memcmp(results[0].data(), results[1].data(), static_cast<std::size_t>(d * d) * sizeof(double)) == 0);
        for (Index i = 0; i<d; i += d> 200 ? 37 : 1)
            for (Index j = 0; j<d; j += d> 200 ? 41 : 1) {
                QVERIFY(results[0](i, j) == results[0](j, i));
                double sum = start(i, j);
                for (Index t = 0; t < tokens; ++t)
                    sum += static_cast<double>(X(t, i)) * static_cast<double>(X(t, j));
                QVERIFY(std::abs(results[0](i, j) - sum) <= 1e-4);
            }
    }

    void gramSumsTilesInFloat64() // 512 tokens per float32 tile: the sum of many tiles does not lose the small ones
    {
        constexpr Index kTiles = 40;
        RowMatrix X(kTiles * Backend::kGramTile, 1);
        for (Index t = 0; t < X.rows(); ++t)
            X(t, 0) = t < Backend::kGramTile ? 4096.0F : 0.0625F;
        MatrixD G(1, 1);
        cpuBackend().gram(X, G.mut());
        const double expected = 512.0 * 4096 * 4096 + (kTiles - 1) * 512.0 * 0.0625 * 0.0625;
        QCOMPARE(G(0, 0), expected); // exact: each float32 tile is; one float32 sum would keep 2^33 only
    }

    void cholesky()
    {
        for (const Index n : {Index{1}, Index{2}, Index{31}, Index{150}}) {
            const MatrixD A = positiveDefinite(n, 11);
            MatrixD wide(n, n + 3); // a leading dimension of its own
            const auto L = wide.mut().block(0, 2, n, n);
            for (Index i = 0; i < n; ++i)
                for (Index j = 0; j < n; ++j)
                    L(i, j) = A(i, j);
            QVERIFY(cpuBackend().cholesky(L).has_value());
            for (Index i = 0; i < n; ++i)
                for (Index j = 0; j < n; ++j) {
                    if (j > i) {
                        QCOMPARE(L(i, j), 0.0);
                        continue;
                    }
                    double sum = 0;
                    for (Index p = 0; p <= j; ++p)
                        sum += L(i, p) * L(j, p);
                    QVERIFY(std::abs(sum - A(i, j)) <= 1e-12 * static_cast<double>(n));
                }
        }
    }

    void choleskyRefuses()
    {
        MatrixD indefinite(2, 2);
        indefinite(0, 0) = 1;
        indefinite(0, 1) = indefinite(1, 0) = 2;
        indefinite(1, 1) = 1;
        const auto refused = cpuBackend().cholesky(indefinite.mut());
        QVERIFY(!refused && refused.error().code == Errc::NotFinite);
        QVERIFY(refused.error().message.find("pivot 1") != std::string::npos);
        for (const double bad : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
            MatrixD A = positiveDefinite(4, 1);
            A(2, 1) = A(1, 2) = bad;
            QVERIFY(!cpuBackend().cholesky(A.mut()));
        }
        MatrixD none;
        QVERIFY(cpuBackend().cholesky(none.mut()).has_value());
    }

    void invertLower()
    {
        for (const Index n : {Index{1}, Index{40}}) {
            const MatrixD L = lowerFactor(n, 3);
            MatrixD inverse = L;
            QVERIFY(cpuBackend().invertLower(inverse.mut()).has_value());
            for (Index i = 0; i < n; ++i)
                for (Index j = 0; j < n; ++j) {
                    double sum = 0;
                    for (Index p = 0; p < n; ++p)
                        sum += L(i, p) * inverse(p, j);
                    QVERIFY(std::abs(sum - (i == j ? 1 : 0)) <= 1e-10);
                    if (j > i)
                        QCOMPARE(inverse(i, j), 0.0);
                }
        }
        MatrixD singular(2, 2);
        singular(0, 0) = 1;
        const auto refused = cpuBackend().invertLower(singular.mut());
        QVERIFY(!refused && refused.error().message.find("diagonal 1") != std::string::npos);
    }

    void symmetricEigen()
    {
        constexpr Index kSize = 25;
        const MatrixD A = positiveDefinite(kSize, 8);
        MatrixD V;
        const auto values = cpuBackend().symmetricEigen(A, &V);
        QVERIFY(values.has_value());
        const auto only = cpuBackend().symmetricEigen(A, nullptr);
        QVERIFY(only.has_value());
        for (Index e = 0; e < kSize; ++e) {
            const double value = (*values)[static_cast<std::size_t>(e)];
            QVERIFY(e == 0 || value >= (*values)[static_cast<std::size_t>(e - 1)]);
            QVERIFY(std::abs((*only)[static_cast<std::size_t>(e)] - value) <= 1e-11);
            for (Index i = 0; i < kSize; ++i) { // A v = value v, with v in row e
                double sum = 0;
                for (Index j = 0; j < kSize; ++j)
                    sum += A(i, j) * V(e, j);
                QVERIFY(std::abs(sum - value * V(e, i)) <= 1e-11);
            }
            for (Index f = 0; f < kSize; ++f) {
                double dot = 0;
                for (Index i = 0; i < kSize; ++i)
                    dot += V(e, i) * V(f, i);
                QVERIFY(std::abs(dot - (e == f ? 1 : 0)) <= 1e-12);
            }
        }
        MatrixD diagonal(2, 2); // by hand
        diagonal(0, 0) = 5;
        diagonal(1, 1) = -2;
        QVERIFY((*cpuBackend().symmetricEigen(diagonal, nullptr) == std::vector<double>{-2, 5}));
        diagonal(0, 1) = std::numeric_limits<double>::quiet_NaN();
        QVERIFY(cpuBackend().symmetricEigen(diagonal, nullptr).error().code == Errc::NotFinite);
        QVERIFY(cpuBackend().symmetricEigen(MatrixD(), nullptr)->empty());
    }
};

QTEST_GUILESS_MAIN(CpuBackendTest)
#include "tst_cpu_backend.moc"
