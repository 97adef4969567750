// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/recipe/stage.h"

namespace qs::recipe {

/// x'_j = d_j x_j: the transform of smoothing methods, and what every diagonal transform of a plugin is replaced by after
/// fitting, so that a result restored from d has the same bits.
///
/// W' = W diag(1/d), W = W' diag(d), C' = diag(d) C diag(d). Products are formed in float64 and rounded once.
/// Errors   make(): NotFinite for a d that is not finite or is 0 (names the channel).   Threads   immutable.
class DiagonalTransform final : public SiteTransform {
public:
    static Expected<std::shared_ptr<const DiagonalTransform>> make(std::vector<double> d);

    RowMatrix toTransformed(MatrixView W) const override;
    RowMatrix fromTransformed(MatrixView W) const override;
    MatrixD conjugate(MatrixViewD C) const override;
    void applyToTokens(MutMatrixView x) const override;
    void unapplyToTokens(MutMatrixView x) const override;
    std::vector<double> diagonal() const override { return m_d; }
    bool identity() const override;
    double onlineCost() const override { return identity() ? 0.0 : static_cast<double>(m_d.size()); }

private:
    explicit DiagonalTransform(std::vector<double> d)
        : m_d(std::move(d))
    {
    }
    std::vector<double> m_d;
};

/// T = T_n ... T_1 for transforms in the order in which they act. Diagonal ones become one DiagonalTransform; null when there
/// are none.
Expected<std::shared_ptr<const SiteTransform>> chainTransforms(std::vector<std::shared_ptr<const SiteTransform>> parts);

} // namespace qs::recipe
