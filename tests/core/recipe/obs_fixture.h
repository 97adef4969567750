// SPDX-License-Identifier: Apache-2.0
// Layers, masks and measures that the tests of the OBS sweep share.
#pragma once

#include "core/metrics/error_metrics.h"
#include "core/recipe/obs_sweep.h"
#include "stages.h"

#include <algorithm>
#include <memory>
#include <numeric>

namespace qs::test {

using namespace qs::recipe;

/// A layer with its second moment, owned.
struct Case {
    Case(unsigned seed, Index rows, Index cols, Index tokens)
        : W(randomMatrix(seed, rows, cols))
        , C(momentOf(correlatedTokens(seed + 1, tokens, cols)))
    {
    }
    LayerProblem problem() const
    {
        InputView input;
        input.channels = W.cols();
        input.tokens = 1;
        input.secondMoment = &C;
        return {"layer", W, std::move(input), FitContext{cpuBackend(), job}};
    }
    RowMatrix W;
    MatrixD C;
    JobContext job;
};

inline std::unique_ptr<PlainSession> session(
    const Case& c, int bits, Index group, quant::GridId id = quant::GridId::SymFullrangeMid)
{
    return std::make_unique<PlainSession>(c.W.rows(), c.W.cols(), group, gridOptions(bits, id));
}

inline double outputError(const Case& c, MatrixView What)
{
    return metrics::outputError(c.W, What, c.C, cpuBackend()).value_or(-1.0);
}

inline MaskPlan adaptiveMask(double sparsity, Index block = 128)
{
    MaskPlan mask;
    mask.adaptive = true;
    mask.sparsity = sparsity;
    mask.block = block;
    return mask;
}

inline MaskPlan adaptiveNofM(int n, int m)
{
    MaskPlan mask = adaptiveMask(1.0 - static_cast<double>(n) / m);
    mask.n = n;
    mask.m = m;
    return mask;
}

inline MaskPlan smallestOfEachRow(MatrixView W)
{
    MaskPlan mask;
    mask.sparsity = 0.5;
    mask.keep = BasicMatrix<std::uint8_t>(W.rows(), W.cols());
    for (Index r = 0; r < W.rows(); ++r) {
        std::vector<Index> order(static_cast<std::size_t>(W.cols()));
        std::iota(order.begin(), order.end(), Index{0});
        std::sort(order.begin(), order.end(), [&](Index a, Index b) { return std::abs(W(r, a)) > std::abs(W(r, b)); });
        for (std::size_t i = 0; i < order.size() / 2; ++i)
            mask.keep(r, order[i]) = 1;
    }
    return mask;
}

} // namespace qs::test
