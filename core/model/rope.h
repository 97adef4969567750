// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/error.h"
#include "core/model/model_spec.h"
#include "core/tensor/matrix.h"

#include <span>
#include <vector>

namespace qs::model {

/// Angles of rotary position embedding for positions 0 .. length - 1.
///
///   pair i of a head (dimensions i and i + D / 2): angle = position * f_i with f_i = theta^(-2 i / D), changed by the scaling:
///   linear  f / factor
///   llama3  f / factor for wavelengths over context / low, f under context / high, smoothly between
///   yarn    a ramp over i between f / factor and f; cos and sin times the attention factor (0.1 ln factor + 1)
///
/// Shapes   cos, sin: (length, D / 2).   Threads   immutable.
/// Source   Su et al. 2021, arXiv:2104.09864; Peng et al. 2023, arXiv:2309.00071 (yarn); Llama 3.1 model card and code
/// conventions.
class RopeTable {
public:
    /// `factors` divides the frequencies; empty: none. Error Unsupported for a scaling without a formula here.
    static Expected<RopeTable> create(const RopeSpec& rope, Index length, std::span<const float> factors);
    /// Rotates one head's vector of a token in place (half-split order).
    void rotate(std::span<float> head, Index position) const;

private:
    RowMatrix m_cos;
    RowMatrix m_sin;
};

/// f_i of every pair, in float64. Exposed for tests.
Expected<std::vector<double>> ropeFrequencies(const RopeSpec& rope);

} // namespace qs::model
