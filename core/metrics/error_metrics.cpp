// SPDX-License-Identifier: Apache-2.0
#include "core/metrics/error_metrics.h"

#include "core/exec/parallel.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <functional>
#include <limits>

namespace qs::metrics {
namespace {

constexpr Index kTileRows = 256;
constexpr Index kGrain = 16;

Expected<void> sameShape(MatrixView a, MatrixView b)
{
    if (a.rows() != b.rows() || a.cols() != b.cols())
        return fail(Errc::Mismatch, fmt::format("shapes {} x {} and {} x {} differ", a.rows(), a.cols(), b.rows(), b.cols()));
    return {};
}

/// Calls visit(first row, D, D C) for tiles of rows; D is the tile in float64.
Expected<void> forTiles(MatrixView dW, MatrixViewD C, Backend& backend, const JobContext& job,
    const std::function<void(Index, MatrixViewD, MatrixViewD)>& visit)
{
    if (C.rows() != C.cols() || C.rows() != dW.cols())
        return fail(Errc::Mismatch,
            fmt::format("a weight of {} columns and a second moment of {} x {}", dW.cols(), C.rows(), C.cols()));
    MatrixD tile(std::min(kTileRows, dW.rows()), dW.cols());
    MatrixD product(tile.rows(), tile.cols());
    for (Index first = 0; first < dW.rows(); first += kTileRows) {
        QS_CHECK(job.poll());
        const Index rows = std::min(kTileRows, dW.rows() - first);
        const MutMatrixViewD D = tile.mut().rowRange(0, rows);
        const MutMatrixViewD P = product.mut().rowRange(0, rows);
        parallelFor(0, rows, kGrain, [&](Index begin, Index end) {
            for (Index r = begin; r < end; ++r)
                std::copy(dW.row(first + r).begin(), dW.row(first + r).end(), D.row(r).begin());
        });
        backend.gemmD(false, false, 1.0, D, C, 0.0, P);
        visit(first, D, P);
    }
    return {};
}

/// Per row sum_c a(r, c) b(r, c), added to `rows` from position `first`.
void rowDots(MatrixViewD a, MatrixViewD b, double* rows)
{
    parallelFor(0, a.rows(), kGrain, [&](Index begin, Index end) {
        for (Index r = begin; r < end; ++r) {
            double sum = 0;
            for (Index c = 0; c < a.cols(); ++c)
                sum += a(r, c) * b(r, c);
            rows[r] = sum;
        }
    });
}

double sumInOrder(const std::vector<double>& values)
{
    double sum = 0;
    for (const double value : values)
        sum += value;
    return sum;
}

} // namespace

Expected<double> traceLoss(MatrixView dW, MatrixViewD C, Backend& backend, const JobContext& job)
{
    std::vector<double> rows(static_cast<std::size_t>(dW.rows()));
    QS_CHECK(
        forTiles(dW, C, backend, job, [&](Index first, MatrixViewD D, MatrixViewD P) { rowDots(D, P, rows.data() + first); }));
    return sumInOrder(rows);
}

Expected<double> outputError(MatrixView W, MatrixView What, MatrixViewD C, Backend& backend, const JobContext& job)
{
    QS_TRY(dW, difference(W, What));
    QS_TRY(loss, traceLoss(dW, C, backend, job.part(0.0, 0.5)));
    QS_TRY(reference, traceLoss(W, C, backend, job.part(0.5, 1.0)));
    if (loss == 0.0 && reference == 0.0)
        return 0.0;
    return loss / reference;
}

double weightError(MatrixView W, MatrixView What)
{
    if (!sameShape(W, What))
        return std::numeric_limits<double>::quiet_NaN();
    std::vector<double> signal(static_cast<std::size_t>(W.rows())), noise(signal.size());
    parallelFor(0, W.rows(), kGrain, [&](Index begin, Index end) {
        for (Index r = begin; r < end; ++r) {
            double s = 0, n = 0;
            for (Index c = 0; c < W.cols(); ++c) {
                const double w = W(r, c);
                const double e = w - static_cast<double>(What(r, c));
                s += w * w;
                n += e * e;
            }
            signal[static_cast<std::size_t>(r)] = s;
            noise[static_cast<std::size_t>(r)] = n;
        }
    });
    const double n = sumInOrder(noise), s = sumInOrder(signal);
    return n == 0.0 && s == 0.0 ? 0.0 : n / s;
}

double sqnrDb(double relativeError)
{
    return -10.0 * std::log10(relativeError);
}

double weightSqnrDb(MatrixView W, MatrixView What)
{
    return sqnrDb(weightError(W, What));
}

Expected<ErrorShares> errorShares(MatrixView dW, MatrixViewD C, Backend& backend, const JobContext& job)
{
    ErrorShares shares;
    shares.byRow.resize(static_cast<std::size_t>(dW.rows()));
    shares.byInput.assign(static_cast<std::size_t>(dW.cols()), 0.0);
    QS_CHECK(forTiles(dW, C, backend, job, [&](Index first, MatrixViewD D, MatrixViewD P) {
        rowDots(D, P, shares.byRow.data() + first);
        parallelFor(0, D.cols(), 128, [&](Index begin, Index end) {
            for (Index r = 0; r < D.rows(); ++r)
                for (Index c = begin; c < end; ++c)
                    shares.byInput[static_cast<std::size_t>(c)] += D(r, c) * P(r, c);
        });
    }));
    shares.total = sumInOrder(shares.byRow);
    return shares;
}

Expected<RowMatrix> difference(MatrixView W, MatrixView What)
{
    QS_CHECK(sameShape(W, What));
    RowMatrix dW(W.rows(), W.cols());
    parallelFor(0, W.rows(), kGrain, [&](Index begin, Index end) {
        for (Index r = begin; r < end; ++r)
            for (Index c = 0; c < W.cols(); ++c)
                dW(r, c) = W(r, c) - What(r, c);
    });
    return dW;
}

} // namespace qs::metrics
