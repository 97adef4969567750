// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/types.h"

#include <span>

namespace qs::model {

// Elementwise kernels of the engine, dispatched at run time to the widest vectors of the processor. Every output element is
// formed by the same multiplications and additions in the same order on every target (no fused operations), so results do not
// depend on the processor. Threads: pure.

/// C += A B with sums in the order of k. Shapes: A (m, k), B (k, n), C (m, n), rows `lda`, `ldb`, `ldc` elements apart.
void addProduct(const float* A, Index lda, const float* B, Index ldb, float* C, Index ldc, Index m, Index n, Index k);

/// x_j := exp(scale * (x_j - max x)); returns the sum (float64). NaN stays NaN. Relative error of the exponential below 3e-7.
double expScaled(std::span<float> x, float scale);

/// gate_j := silu(gate_j) * up_j with silu(x) = x / (1 + exp(-x)).
void siluProduct(std::span<float> gate, std::span<const float> up);

/// out_j = exp(x_j - shift) in float64, relative error below 1e-15; x_j - shift at most 0, values under exp(-700) become 0.
void expShifted(std::span<const float> x, double shift, std::span<double> out);

} // namespace qs::model
