// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/error.h"
#include "core/exec/job_context.h"
#include "core/tensor/matrix.h"

#include <string>
#include <vector>

namespace qs {

/// The seam between algorithms and the device that does their dense arithmetic. One CPU implementation is built in; others are
/// plugins.
///
/// All matrices are row-major in host memory. Implementations serialise their library calls (one compute thread per library),
/// so any thread may call. Same inputs and thread count give the same bits.
class Backend {
public:
    virtual ~Backend() = default;
    virtual std::string name() const = 0; ///< "cpu", "cuda:0 NVIDIA ...".
    virtual std::string version() const = 0; ///< Libraries with versions; part of a result's provenance.

    /// C = alpha * op(A) * op(B) + beta * C in float32. Shapes: op(A) (m, k), op(B) (k, n), C (m, n).
    virtual void gemm(bool transA, bool transB, float alpha, MatrixView A, MatrixView B, float beta, MutMatrixView C) = 0;
    /// y = x * W^T: the linear layer on tokens. Shapes: x (tokens, in), W (out, in), y (tokens, out).
    void linear(MatrixView x, MatrixView W, MutMatrixView y) { gemm(false, true, 1.0F, x, W, 0.0F, y); }
    /// G += X^T X with X (tokens, d) float32 and G (d, d) float64, both triangles written, exactly symmetric.
    /// float32 tile products over at most `kGramTile` tokens are added in float64.
    virtual void gram(MatrixView X, MutMatrixViewD G) = 0;
    static constexpr Index kGramTile = 512;

    /// C = alpha * op(A) * op(B) + beta * C in float64.
    virtual void gemmD(bool transA, bool transB, double alpha, MatrixViewD A, MatrixViewD B, double beta, MutMatrixViewD C) = 0;
    /// Lower Cholesky factor in place (A = L L^T); the strict upper triangle is set to 0. Error NotFinite when A is not
    /// positive definite.
    virtual Expected<void> cholesky(MutMatrixViewD A) = 0;
    /// Inverse of a lower triangular matrix in place.
    virtual Expected<void> invertLower(MutMatrixViewD L) = 0;
    /// Eigenvalues ascending; eigenvectors as rows of V where V is not null.
    virtual Expected<std::vector<double>> symmetricEigen(MatrixViewD A, MatrixD* V) = 0;
    /// X := inv(L) X (or inv(L)^T X) for lower triangular L.
    virtual void solveLower(MatrixViewD L, bool transposed, MutMatrixViewD X) = 0;
};

/// The process-wide CPU backend (oneDNN float32 products, LAPACK factorisations).
Backend& cpuBackend();

} // namespace qs
