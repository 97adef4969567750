// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/error.h"
#include "core/exec/grid_params.h"
#include "core/exec/job_context.h"
#include "core/tensor/matrix.h"

#include <string>
#include <vector>

namespace qs {

/// The seam between algorithms and the device that does their dense arithmetic. One CPU implementation is built in; others are
/// plugins.
///
/// All matrices are row-major in host memory. Implementations serialise their library calls (one compute thread per library),
/// so any thread may call. Same inputs and thread count give the same bits. Shapes that do not agree are a bug
/// (std::invalid_argument).
///
/// What is a search or a sequence rather than one pass over a matrix is host code above the seam: MSE and percentile ranges,
/// sweeps over columns (GPTQ, SparseGPT), causal attention (small products, a softmax between them). A device takes such a
/// sequence over as a whole, as a stage or a pass of its own; step by step transfers would cost more than the arithmetic.
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

    /// Elementwise grids. Every value is one true division, one or two roundings and one product in float32 (no reciprocal, no
    /// fused operation), so the bits are the same on every backend and for any number of threads. Threads: several inside.

    /// Extrema of the finite values of `group` consecutive columns of each row (+0 where there is none; -0 is given as +0).
    /// Returns whether all values are finite. Shapes: X (rows, cols); lo, hi (rows, ceil(cols / group)).
    virtual bool groupRanges(MatrixView X, Index group, MutMatrixView lo, MutMatrixView hi) = 0;
    /// codes = clamp(rne(X / s) + z, lo, hi) as GridParams says; Inf gives the end of its sign and NaN the lowest code.
    /// Shapes: X, codes (rows, cols).
    virtual void gridEncode(MatrixView X, const GridParams& grid, MutCodesView codes) = 0;
    /// X = s * (codes - z). Shapes: codes, X (rows, cols).
    virtual void gridDecode(CodesView codes, const GridParams& grid, MutMatrixView X) = 0;
    /// X := decode(encode(X)) in place (fake quantization); NaN and Inf stay what they are. Shapes: X (rows, cols).
    virtual void gridProject(MutMatrixView X, const GridParams& grid) = 0;
};

/// The process-wide CPU backend (oneDNN float32 products, LAPACK factorisations, Highway grids). Programs name it where they
/// choose their backend; everything below takes the one it is given.
Backend& cpuBackend();

} // namespace qs
