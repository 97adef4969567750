// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/recipe/diagonal_transform.h"

namespace qs::plugins {

/// Scaling of the channels of a site's input: x'_j = x_j / s_j and W'_{:,j} = W_{:,j} s_j, so that W' x' = W x.
///
/// The arithmetic is that of recipe::DiagonalTransform with d = 1 / s: a search sees the bits that the result will have.
/// Errors   make(): NotFinite for an s that is not finite or not positive (names the channel).
/// Threads  immutable.
class ChannelScaling final : public recipe::SiteTransform {
public:
    static Expected<std::unique_ptr<ChannelScaling>> make(const std::vector<double>& scale);
    /// The scaling that is stored in place of this one (recipe::SiteContext::storable).
    static Expected<std::unique_ptr<ChannelScaling>> makeStored(
        const std::vector<double>& scale, const recipe::SiteContext& site);
    /// Leaves everything as it is.
    static std::unique_ptr<ChannelScaling> makeIdentity(Index channels);

    RowMatrix toTransformed(MatrixView W) const override { return m_inner->toTransformed(W); }
    RowMatrix fromTransformed(MatrixView W) const override { return m_inner->fromTransformed(W); }
    MatrixD conjugate(MatrixViewD C) const override { return m_inner->conjugate(C); }
    void applyToTokens(MutMatrixView x) const override { m_inner->applyToTokens(x); }
    void unapplyToTokens(MutMatrixView x) const override { m_inner->unapplyToTokens(x); }
    std::vector<double> diagonal() const override { return m_inner->diagonal(); }
    bool identity() const override { return m_inner->identity(); }
    double onlineCost() const override { return m_inner->onlineCost(); }
    std::pair<double, double> scaleRange() const; ///< Smallest and largest s.

private:
    explicit ChannelScaling(std::shared_ptr<const recipe::DiagonalTransform> inner)
        : m_inner(std::move(inner))
    {
    }
    std::shared_ptr<const recipe::DiagonalTransform> m_inner;
};

/// True where a stage may scale the channels of this site: where the scales fold into the producer, and for a plain matrix,
/// whose scaling stays online (the runner reports its cost). Otherwise puts the reason into the report.
bool mayScale(const model::SiteSpec& site, recipe::StageReport& report);

} // namespace qs::plugins
