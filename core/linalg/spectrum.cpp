// SPDX-License-Identifier: Apache-2.0
#include "core/linalg/spectrum.h"

#include "core/exec/parallel.h"

#include <algorithm>
#include <cmath>
#include <random>

namespace qs::linalg {
namespace {

double dot(std::span<const double> a, std::span<const double> b)
{
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i)
        sum += a[i] * b[i];
    return sum;
}

void multiply(MatrixViewD A, std::span<const double> x, std::span<double> y)
{
    parallelFor(0, A.rows(), 64, [&](Index begin, Index end) {
        for (Index r = begin; r < end; ++r)
            y[static_cast<std::size_t>(r)] = dot(A.row(r), x);
    });
}

void fixSign(std::vector<double>& q)
{
    const auto largest = std::max_element(q.begin(), q.end(), [](double a, double b) { return std::fabs(a) < std::fabs(b); });
    if (largest != q.end() && *largest < 0.0)
        for (double& value : q)
            value = -value;
}

std::vector<double> unitGaussian(std::size_t size, std::uint64_t seed)
{
    // Box-Muller on mt19937_64: the library's normal distribution is not the same everywhere.
    std::mt19937_64 engine(seed);
    const auto uniform = [&] { return (static_cast<double>(engine() >> 11) + 0.5) * 0x1p-53; };
    std::vector<double> q(size);
    for (double& value : q) {
        const double radius = std::sqrt(-2.0 * std::log(uniform()));
        value = radius * std::cos(6.283185307179586 * uniform());
    }
    const double norm = std::sqrt(dot(q, q));
    for (double& value : q)
        value /= norm;
    return q;
}

Expected<TopPairs> dense(MatrixViewD A, Backend& backend)
{
    MatrixD V;
    QS_TRY(values, backend.symmetricEigen(A, &V));
    TopPairs top;
    const Index d = A.rows();
    top.lambda1 = values.back();
    top.q1.assign(V.row(d - 1).begin(), V.row(d - 1).end());
    fixSign(top.q1);
    if (d > 1)
        top.lambda2 = values[static_cast<std::size_t>(d - 2)];
    return top;
}

} // namespace

Expected<std::vector<double>> spectrum(MatrixViewD A, Backend& backend)
{
    QS_TRY(values, backend.symmetricEigen(A, nullptr));
    std::reverse(values.begin(), values.end());
    return std::move(values);
}

Index numericalRank(std::span<const double> eigenvalues, double relative)
{
    if (eigenvalues.empty())
        return 0;
    const double limit = relative * *std::max_element(eigenvalues.begin(), eigenvalues.end());
    return std::count_if(
        eigenvalues.begin(), eigenvalues.end(), [limit](double value) { return value > limit && value > 0.0; });
}

std::optional<double> conditionNumber(std::span<const double> eigenvalues, double relative)
{
    if (eigenvalues.empty() || numericalRank(eigenvalues, relative) < static_cast<Index>(eigenvalues.size()))
        return std::nullopt;
    const auto [least, most] = std::minmax_element(eigenvalues.begin(), eigenvalues.end());
    return *most / *least;
}

Expected<TopPairs> topPairs(MatrixViewD A, Backend& backend, const JobContext& job, TopPairsOptions options)
{
    const Index d = A.rows();
    if (d == 0 || A.cols() != d)
        return fail(Errc::InvalidArgument, "eigenpairs need a square matrix with at least one row");
    for (Index r = 0; r < d; ++r)
        for (Index c = 0; c < d; ++c)
            if (!std::isfinite(A(r, c)))
                return fail(Errc::NotFinite, "matrix holds NaN or Inf");
    if (d <= std::max<Index>(2, options.denseLimit))
        return dense(A, backend);

    const auto size = static_cast<std::size_t>(d);
    std::vector<std::vector<double>> basis{unitGaussian(size, job.seed ^ 0x9e3779b97f4a7c15ULL)};
    std::vector<double> alpha, beta, next(size);
    TopPairs top;
    const Index maxSteps = std::min<Index>(d, options.maxSteps);
    for (;;) {
        QS_CHECK(job.poll());
        const std::vector<double>& q = basis.back();
        multiply(A, q, next);
        alpha.push_back(dot(q, next));
        for (int pass = 0; pass < 2; ++pass) // twice is enough to keep the basis orthogonal to rounding
            for (const std::vector<double>& b : basis) {
                const double projection = dot(b, next);
                for (std::size_t i = 0; i < size; ++i)
                    next[i] -= projection * b[i];
            }
        const double norm = std::sqrt(dot(next, next));
        beta.push_back(norm);
        top.steps = static_cast<int>(alpha.size());

        const auto m = static_cast<Index>(alpha.size());
        const bool last = m == maxSteps || norm == 0.0;
        if (!last && (m < 4 || m % 4 != 0)) {
            basis.emplace_back(next);
            for (double& value : basis.back())
                value /= norm;
            continue;
        }
        MatrixD T(m, m), S;
        for (Index i = 0; i < m; ++i) {
            T(i, i) = alpha[static_cast<std::size_t>(i)];
            if (i + 1 < m)
                T(i, i + 1) = T(i + 1, i) = beta[static_cast<std::size_t>(i)];
        }
        QS_TRY(values, backend.symmetricEigen(T, &S));
        const double scale = std::max(values.back(), 1e-300);
        // || A y - theta y || of a Ritz pair is beta_m |s_m|.
        const double r1 = norm * std::fabs(S(m - 1, m - 1)) / scale;
        const double r2 = m > 1 ? norm * std::fabs(S(m - 2, m - 1)) / scale : 0.0;
        top.residual = std::max(r1, r2);
        if (last || top.residual < options.tolerance) {
            top.lambda1 = values.back();
            top.q1.assign(size, 0.0);
            for (Index k = 0; k < m; ++k)
                for (std::size_t i = 0; i < size; ++i)
                    top.q1[i] += S(m - 1, k) * basis[static_cast<std::size_t>(k)][i];
            fixSign(top.q1);
            if (m > 1)
                top.lambda2 = values[static_cast<std::size_t>(m - 2)];
            return top;
        }
        basis.emplace_back(next);
        for (double& value : basis.back())
            value /= norm;
    }
}

} // namespace qs::linalg
