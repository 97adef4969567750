// SPDX-License-Identifier: Apache-2.0
#include "core/linalg/factor.h"

#include "core/exec/parallel.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <utility>

namespace qs::linalg {
namespace {

constexpr Index kGrain = 64;

Expected<void> checkSquareFinite(MatrixViewD A)
{
    if (A.rows() != A.cols())
        return fail(Errc::InvalidArgument, fmt::format("a {} x {} matrix is not square", A.rows(), A.cols()));
    std::vector<Index> bad(static_cast<std::size_t>(A.rows()), -1);
    parallelFor(0, A.rows(), kGrain, [&](Index begin, Index end) {
        for (Index r = begin; r < end; ++r)
            for (Index c = 0; c <= r; ++c)
                if (!std::isfinite(A(r, c))) {
                    bad[static_cast<std::size_t>(r)] = c;
                    break;
                }
    });
    for (Index r = 0; r < A.rows(); ++r)
        if (const Index c = bad[static_cast<std::size_t>(r)]; c >= 0)
            return fail(Errc::NotFinite, fmt::format("the second moment holds NaN or Inf at ({}, {})", r, c));
    return {};
}

} // namespace

Expected<DampedFactor> dampedInverseFactor(MatrixViewD C, double damp, Backend& backend, const JobContext& job)
{
    if (!(damp >= 0.0) || !std::isfinite(damp))
        return fail(Errc::InvalidArgument, fmt::format("damping {} is not a number >= 0", damp), "damp");
    QS_CHECK(checkSquareFinite(C));
    const Index d = C.rows();
    DampedFactor result;
    double sum = 0;
    for (Index j = 0; j < d; ++j) {
        if (C(j, j) < 0.0)
            return fail(Errc::NotFinite, fmt::format("the second moment has a negative diagonal at {}", j));
        sum += C(j, j);
        if (C(j, j) == 0.0)
            result.dead.push_back(j);
    }
    std::vector<char> dead(static_cast<std::size_t>(d), 0);
    for (const Index j : result.dead)
        dead[static_cast<std::size_t>(j)] = 1;
    const auto live = static_cast<double>(d - static_cast<Index>(result.dead.size()));
    const double mean = live > 0.0 ? sum / live : 1.0;

    constexpr double kFirstDamp = 1e-6;
    constexpr double kLargestDamp = 1e6;
    MatrixD work(d, d);
    result.damp = damp;
    for (;;) {
        QS_CHECK(job.poll());
        result.lambda = result.damp * mean;
        // J (C + lambda I) J, lower triangle: element (r, c) is C at (d-1-r, d-1-c), read from C's lower triangle.
        parallelFor(0, d, kGrain, [&](Index begin, Index end) {
            for (Index r = begin; r < end; ++r) {
                const Index i = d - 1 - r;
                for (Index c = 0; c < r; ++c) {
                    const Index j = d - 1 - c; // j > i
                    work(r, c) = dead[static_cast<std::size_t>(i)] || dead[static_cast<std::size_t>(j)] ? 0.0 : C(j, i);
                }
                work(r, r) = (dead[static_cast<std::size_t>(i)] ? 1.0 : C(i, i)) + result.lambda;
                for (Index c = r + 1; c < d; ++c)
                    work(r, c) = 0.0;
            }
        });
        if (backend.cholesky(work.mut()) && backend.invertLower(work.mut()))
            break;
        if (result.damp >= kLargestDamp)
            return fail(Errc::NotFinite,
                fmt::format("the second moment cannot be factored even with damping {:g}", result.damp), {},
                "the calibration statistics are damaged; capture them again");
        result.damp = result.damp > 0.0 ? 10.0 * result.damp : kFirstDamp;
        ++result.escalations;
    }
    // U = J L^-1 J: both indices reversed, in place, one pair of rows at a time.
    parallelFor(0, (d + 1) / 2, kGrain, [&](Index begin, Index end) {
        for (Index r = begin; r < end; ++r) {
            const auto top = work.row(r);
            const auto bottom = work.row(d - 1 - r);
            if (r != d - 1 - r)
                std::swap_ranges(top.begin(), top.end(), bottom.begin());
            std::reverse(top.begin(), top.end());
            if (r != d - 1 - r)
                std::reverse(bottom.begin(), bottom.end());
        }
    });
    result.U = std::move(work);
    return result;
}

Expected<double> logDeterminant(MatrixViewD A, Backend& backend, double* smallestPivot)
{
    QS_CHECK(checkSquareFinite(A));
    const Index d = A.rows();
    std::vector<double> scale(static_cast<std::size_t>(d));
    double logs = 0;
    for (Index j = 0; j < d; ++j) {
        if (!(A(j, j) > 0.0))
            return fail(Errc::NotFinite, fmt::format("matrix is not positive definite (diagonal {})", j));
        scale[static_cast<std::size_t>(j)] = 1.0 / std::sqrt(A(j, j));
        logs += std::log(A(j, j));
    }
    MatrixD unit(d, d);
    parallelFor(0, d, kGrain, [&](Index begin, Index end) {
        for (Index r = begin; r < end; ++r)
            for (Index c = 0; c <= r; ++c)
                unit(r, c) = c == r ? 1.0 : A(r, c) * scale[static_cast<std::size_t>(r)] * scale[static_cast<std::size_t>(c)];
    });
    QS_CHECK(backend.cholesky(unit.mut()));
    double smallest = 1.0;
    for (Index j = 0; j < d; ++j) {
        logs += 2.0 * std::log(unit(j, j));
        smallest = std::min(smallest, unit(j, j) * unit(j, j));
    }
    if (smallestPivot)
        *smallestPivot = smallest;
    return logs;
}

} // namespace qs::linalg
