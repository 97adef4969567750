// SPDX-License-Identifier: Apache-2.0
#include "core/exec/backend.h"

#include "core/exec/cpu_grid.h"
#include "core/exec/parallel.h"

#include <algorithm>
#include <cblas.h>
#include <cmath>
#include <mutex>
#include <oneapi/dnnl/dnnl.h>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

// LAPACK's Fortran interface (OpenBLAS exports it; no header is needed for three routines).
extern "C" {
void dpotrf_(const char* uplo, const int* n, double* a, const int* lda, int* info);
void dtrtri_(const char* uplo, const char* diag, const int* n, double* a, const int* lda, int* info);
void dsyevd_(const char* jobz, const char* uplo, const int* n, double* a, const int* lda, double* w, double* work,
    const int* lwork, int* iwork, const int* liwork, int* info);
}

namespace qs {
namespace {

int asInt(Index value)
{
    if (value > 0x7fffffff)
        throw std::length_error("matrix extent exceeds the BLAS interface");
    return static_cast<int>(value);
}

/// "OpenBLAS 0.3.21 Haswell": which library and which of its kernels, without the switches of its build.
std::string openblasText()
{
    std::istringstream words(openblas_get_config());
    std::string text;
    for (std::string word; words >> word;) {
        if (word.find_first_of("_=") == std::string::npos)
            text += (text.empty() ? "" : " ") + word;
    }
    return text;
}

class CpuBackend final : public Backend {
public:
    std::string name() const override { return "cpu"; }

    std::string version() const override
    {
        const dnnl_version_t* v = dnnl_version();
        return "oneDNN " + std::to_string(v->major) + "." + std::to_string(v->minor) + "." + std::to_string(v->patch) + ", "
            + openblasText();
    }

    void gemm(bool transA, bool transB, float alpha, MatrixView A, MatrixView B, float beta, MutMatrixView C) override
    {
        if (C.empty())
            return;
        const Index k = transA ? A.rows() : A.cols();
        if ((transA ? A.cols() : A.rows()) != C.rows() || (transB ? B.rows() : B.cols()) != C.cols()
            || (transB ? B.cols() : B.rows()) != k)
            throw std::invalid_argument("gemm: shapes do not agree");
        if (k == 0) { // an empty sum; oneDNN leaves C as it is
            for (Index r = 0; r < C.rows(); ++r)
                for (float& value : C.row(r))
                    value = beta == 0.0F ? 0.0F : beta * value;
            return;
        }
        const std::lock_guard lock(m_dnnl);
        const dnnl_status_t status = dnnl_sgemm(transA ? 'T' : 'N', transB ? 'T' : 'N', C.rows(), C.cols(), k, alpha, A.data(),
            std::max<Index>(1, A.stride()), B.data(), std::max<Index>(1, B.stride()), beta, C.data(), C.stride());
        if (status != dnnl_success)
            throw std::runtime_error("oneDNN sgemm failed with status " + std::to_string(static_cast<int>(status)));
    }

    void gram(MatrixView X, MutMatrixViewD G) override
    {
        const Index d = X.cols();
        if (G.rows() != d || G.cols() != d)
            throw std::invalid_argument("gram: shapes do not agree");
        // Only blocks on and below the diagonal are computed; kBlock keeps the float32 tile in cache while it is added in
        // float64.
        constexpr Index kBlock = 1024;
        RowMatrix tile(std::min(d, kBlock), std::min(d, kBlock));
        for (Index t = 0; t < X.rows(); t += kGramTile) {
            const MatrixView part = X.rowRange(t, std::min(kGramTile, X.rows() - t));
            for (Index i = 0; i < d; i += kBlock) {
                const Index rows = std::min(kBlock, d - i);
                for (Index j = 0; j <= i; j += kBlock) {
                    const Index cols = std::min(kBlock, d - j);
                    const MutMatrixView product(tile.data(), rows, cols, tile.cols());
                    gemm(true, false, 1.0F, part.block(0, i, part.rows(), rows), part.block(0, j, part.rows(), cols), 0.0F,
                        product);
                    parallelFor(0, rows, 64, [&](Index begin, Index end) {
                        for (Index r = begin; r < end; ++r) {
                            const Index last = i == j ? r + 1 : cols; // lower triangle only
                            double* target = &G(i + r, j);
                            const float* source = &product(r, 0);
                            for (Index c = 0; c < last; ++c)
                                target[c] += static_cast<double>(source[c]);
                        }
                    });
                }
            }
        }
        mirrorLower(G);
    }

    void gemmD(bool transA, bool transB, double alpha, MatrixViewD A, MatrixViewD B, double beta, MutMatrixViewD C) override
    {
        if (C.empty())
            return;
        const Index k = transA ? A.rows() : A.cols();
        if ((transA ? A.cols() : A.rows()) != C.rows() || (transB ? B.rows() : B.cols()) != C.cols()
            || (transB ? B.cols() : B.rows()) != k)
            throw std::invalid_argument("gemmD: shapes do not agree");
        const std::lock_guard lock(m_blas);
        cblas_dgemm(CblasRowMajor, transA ? CblasTrans : CblasNoTrans, transB ? CblasTrans : CblasNoTrans, asInt(C.rows()),
            asInt(C.cols()), asInt(k), alpha, A.data(), asInt(std::max<Index>(1, A.stride())), B.data(),
            asInt(std::max<Index>(1, B.stride())), beta, C.data(), asInt(C.stride()));
    }

    Expected<void> cholesky(MutMatrixViewD A) override
    {
        const int n = asInt(A.rows());
        const int lda = asInt(A.stride());
        int info = 0;
        if (n > 0) {
            const std::lock_guard lock(m_blas);
            dpotrf_("U", &n, A.data(), &lda, &info); // the column-major upper factor is the row-major lower one
        }
        if (info > 0)
            return fail(Errc::NotFinite, "matrix is not positive definite (pivot " + std::to_string(info - 1) + ")", {},
                "raise the damping");
        for (Index r = 0; r < A.rows(); ++r) {
            // LAPACK does not notice NaN in every implementation.
            if (!std::isfinite(A(r, r)))
                return fail(Errc::NotFinite, "matrix holds NaN or Inf (row " + std::to_string(r) + ")");
            std::fill(A.row(r).begin() + r + 1, A.row(r).end(), 0.0);
        }
        return {};
    }

    Expected<void> invertLower(MutMatrixViewD L) override
    {
        const int n = asInt(L.rows());
        const int lda = asInt(L.stride());
        int info = 0;
        if (n > 0) {
            const std::lock_guard lock(m_blas);
            dtrtri_("U", "N", &n, L.data(), &lda, &info);
        }
        if (info > 0)
            return fail(Errc::NotFinite, "triangular matrix is singular (diagonal " + std::to_string(info - 1) + ")");
        return {};
    }

    Expected<std::vector<double>> symmetricEigen(MatrixViewD A, MatrixD* V) override
    {
        MatrixD work(A);
        for (const double value : work.values())
            if (!std::isfinite(value))
                return fail(Errc::NotFinite, "matrix holds NaN or Inf");
        const int n = asInt(A.rows());
        std::vector<double> values(static_cast<std::size_t>(n));
        if (n == 0)
            return values;
        const char* job = V ? "V" : "N";
        int info = 0;
        const int query = -1;
        double lworkWanted = 0;
        int liworkWanted = 0;
        const std::lock_guard lock(m_blas);
        dsyevd_(job, "U", &n, work.data(), &n, values.data(), &lworkWanted, &query, &liworkWanted, &query, &info);
        const int lwork = static_cast<int>(lworkWanted);
        std::vector<double> scratch(static_cast<std::size_t>(std::max(1, lwork)));
        std::vector<int> iscratch(static_cast<std::size_t>(std::max(1, liworkWanted)));
        dsyevd_(job, "U", &n, work.data(), &n, values.data(), scratch.data(), &lwork, iscratch.data(), &liworkWanted, &info);
        if (info != 0)
            return fail(Errc::NotFinite, "the eigenvalue iteration did not converge (" + std::to_string(info) + ")");
        if (V)
            *V = std::move(work); // column-major columns are row-major rows
        return values;
    }

    bool groupRanges(MatrixView X, Index group, MutMatrixView lo, MutMatrixView hi) override
    {
        return cpugrid::groupRanges(X, group, lo, hi);
    }
    void gridEncode(MatrixView X, const GridParams& grid, MutCodesView codes) override { cpugrid::encode(X, grid, codes); }
    void gridDecode(CodesView codes, const GridParams& grid, MutMatrixView X) override { cpugrid::decode(codes, grid, X); }
    void gridProject(MutMatrixView X, const GridParams& grid) override { cpugrid::project(X, grid); }

private:
    static void mirrorLower(MutMatrixViewD G)
    {
        constexpr Index kTile = 64;
        const Index d = G.rows();
        parallelFor(0, (d + kTile - 1) / kTile, 1, [&](Index begin, Index end) {
            for (Index tile = begin; tile < end; ++tile)
                for (Index jt = 0; jt <= tile; ++jt)
                    for (Index r = tile * kTile; r < std::min(d, (tile + 1) * kTile); ++r)
                        for (Index c = jt * kTile; c < std::min({d, (jt + 1) * kTile, r}); ++c)
                            G(c, r) = G(r, c);
        });
    }

    std::mutex m_dnnl; // one product at a time: the libraries' own thread teams must not multiply
    std::mutex m_blas;
};

} // namespace

Backend& cpuBackend()
{
    static CpuBackend backend;
    return backend;
}

} // namespace qs
