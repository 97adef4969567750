// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/tensor/matrix.h"

#include <cstdint>
#include <span>

namespace qs {

using CodesView = BasicView<const std::int16_t>;
using MutCodesView = BasicView<std::int16_t>;

/// Scales and zeros of a uniform affine grid over a matrix (rows, cols) whose columns fall into groups.
///
///   code = clamp(rne(x / s) + z, lo, hi), or clamp(rne(x / s + z), lo, hi) with `realZero`      x_hat = s * (code - z)
///   s = scale[r, g(c)], z = zero[r, g(c)], g(c) = groupOf[c], or c / group where groupOf is empty (rne: round half to even)
///
/// Shapes   scale, zero (rows, groups); groupOf empty or one per column, values in 0 .. groups - 1. Without groupOf there are
///          ceil(cols / group) groups, the last of which may be short.
/// Units    scale in units of x, > 0 and finite; zero, lo and hi in codes.
struct GridParams {
    MatrixView scale, zero;
    Index group = 0;
    std::span<const std::int32_t> groupOf;
    float lo = 0, hi = 0; ///< Lowest and highest code, integers within int16.
    bool realZero = false; ///< The zero is not an integer: it is added before the rounding.
};

} // namespace qs
