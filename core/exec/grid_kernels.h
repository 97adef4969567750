// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

/// Vectorised inner loops of uniform affine grids (GridParams, quant::UniformGrid). Every function gives the same bits on every
/// instruction set.
namespace qs::gridkernels {

struct CodeParams {
    float scale, zero;
    float lo, hi; ///< Lowest and highest code.
    bool realZero; ///< rne(w / s + z) instead of rne(w / s) + z.
};

/// Extrema of the finite values (+0 where there is none); returns whether all are finite.
bool rangeOf(const float* values, std::size_t count, float* lo, float* hi);
void encode(const float* values, std::size_t count, const CodeParams& params, std::int16_t* codes);
void project(const float* values, std::size_t count, const CodeParams& params, float* target);
/// scale and zero of `params` are not used.
void encodeEach(const float* values, const float* scale, const float* zero, std::size_t count, const CodeParams& params,
    std::int16_t* codes, float* projected);
/// sum weights * (|v - v_hat| * inverse)^exponent; weights may be null. Terms below 1e-30 of the range count as 0.
double powerLoss(
    const float* values, const float* weights, std::size_t count, const CodeParams& params, float inverse, float exponent);

} // namespace qs::gridkernels
