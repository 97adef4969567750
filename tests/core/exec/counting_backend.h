// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/exec/backend.h"

#include <functional>

namespace qs::test {

/// Passes everything on to the CPU backend, counts what is asked for, and tells when a product is. One thread may call.
class CountingBackend final : public Backend {
public:
    std::function<void()> onProduct;
    int products = 0, grams = 0, factorisations = 0, ranges = 0, encodes = 0, decodes = 0, projections = 0;

    std::string name() const override { return "counting"; }
    std::string version() const override { return "cpu underneath"; }
    void gemm(bool tA, bool tB, float alpha, MatrixView A, MatrixView B, float beta, MutMatrixView C) override
    {
        product();
        cpuBackend().gemm(tA, tB, alpha, A, B, beta, C);
    }
    void gram(MatrixView X, MutMatrixViewD G) override
    {
        ++grams;
        cpuBackend().gram(X, G);
    }
    void gemmD(bool tA, bool tB, double alpha, MatrixViewD A, MatrixViewD B, double beta, MutMatrixViewD C) override
    {
        product();
        cpuBackend().gemmD(tA, tB, alpha, A, B, beta, C);
    }
    Expected<void> cholesky(MutMatrixViewD A) override
    {
        ++factorisations;
        return cpuBackend().cholesky(A);
    }
    Expected<void> invertLower(MutMatrixViewD L) override
    {
        ++factorisations;
        return cpuBackend().invertLower(L);
    }
    Expected<std::vector<double>> symmetricEigen(MatrixViewD A, MatrixD* V) override
    {
        ++factorisations;
        return cpuBackend().symmetricEigen(A, V);
    }
    bool groupRanges(MatrixView X, Index group, MutMatrixView lo, MutMatrixView hi) override
    {
        ++ranges;
        return cpuBackend().groupRanges(X, group, lo, hi);
    }
    void gridEncode(MatrixView X, const GridParams& grid, MutCodesView codes) override
    {
        ++encodes;
        cpuBackend().gridEncode(X, grid, codes);
    }
    void gridDecode(CodesView codes, const GridParams& grid, MutMatrixView X) override
    {
        ++decodes;
        cpuBackend().gridDecode(codes, grid, X);
    }
    void gridProject(MutMatrixView X, const GridParams& grid) override
    {
        ++projections;
        cpuBackend().gridProject(X, grid);
    }

private:
    void product()
    {
        ++products;
        if (onProduct)
            onProduct();
    }
};

} // namespace qs::test
