// SPDX-License-Identifier: Apache-2.0
#include "core/recipe/diagonal_transform.h"

#include "core/exec/parallel.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <stdexcept>

namespace qs::recipe {
namespace {

template <bool divide> void scaleColumns(MutMatrixView x, const std::vector<double>& d)
{
    if (x.cols() != static_cast<Index>(d.size()))
        throw std::invalid_argument("diagonal transform: widths differ");
    parallelFor(0, x.rows(), 64, [&](Index begin, Index end) {
        for (Index r = begin; r < end; ++r) {
            const auto row = x.row(r);
            for (std::size_t c = 0; c < row.size(); ++c) {
                const double value = row[c];
                row[c] = static_cast<float>(divide ? value / d[c] : value * d[c]);
            }
        }
    });
}

/// Transforms of several stages, first one first.
class ChainTransform final : public SiteTransform {
public:
    explicit ChainTransform(std::vector<std::shared_ptr<const SiteTransform>> parts)
        : m_parts(std::move(parts))
    {
    }
    RowMatrix toTransformed(MatrixView W) const override
    {
        RowMatrix result(W);
        for (const auto& part : m_parts)
            result = part->toTransformed(result);
        return result;
    }
    RowMatrix fromTransformed(MatrixView W) const override
    {
        RowMatrix result(W);
        for (auto it = m_parts.rbegin(); it != m_parts.rend(); ++it)
            result = (*it)->fromTransformed(result);
        return result;
    }
    MatrixD conjugate(MatrixViewD C) const override
    {
        MatrixD result(C);
        for (const auto& part : m_parts)
            result = part->conjugate(result);
        return result;
    }
    void applyToTokens(MutMatrixView x) const override
    {
        for (const auto& part : m_parts)
            part->applyToTokens(x);
    }
    void unapplyToTokens(MutMatrixView x) const override
    {
        for (auto it = m_parts.rbegin(); it != m_parts.rend(); ++it)
            (*it)->unapplyToTokens(x);
    }
    std::vector<double> diagonal() const override { return {}; }
    bool identity() const override
    {
        return std::all_of(m_parts.begin(), m_parts.end(), [](const auto& part) { return part->identity(); });
    }
    double onlineCost() const override
    {
        double cost = 0;
        for (const auto& part : m_parts)
            cost += part->onlineCost();
        return cost;
    }

private:
    std::vector<std::shared_ptr<const SiteTransform>> m_parts;
};

} // namespace

Expected<std::shared_ptr<const DiagonalTransform>> DiagonalTransform::make(std::vector<double> d)
{
    for (std::size_t j = 0; j < d.size(); ++j)
        if (!std::isfinite(d[j]) || d[j] == 0.0 || !std::isfinite(1.0 / d[j]))
            return fail(
                Errc::NotFinite, fmt::format("the transform scales input channel {} by {}, which cannot be undone", j, d[j]));
    return std::shared_ptr<const DiagonalTransform>(new DiagonalTransform(std::move(d)));
}

RowMatrix DiagonalTransform::toTransformed(MatrixView W) const
{
    RowMatrix result(W);
    scaleColumns<true>(result.mut(), m_d);
    return result;
}

RowMatrix DiagonalTransform::fromTransformed(MatrixView W) const
{
    RowMatrix result(W);
    scaleColumns<false>(result.mut(), m_d);
    return result;
}

MatrixD DiagonalTransform::conjugate(MatrixViewD C) const
{
    MatrixD result(C);
    parallelFor(0, result.rows(), 64, [&](Index begin, Index end) {
        for (Index r = begin; r < end; ++r)
            for (Index c = 0; c < result.cols(); ++c)
                // d_r * d_c first: the product is the same for (r, c) and (c, r), so the result stays exactly symmetric.
                result(r, c) *= m_d[static_cast<std::size_t>(r)] * m_d[static_cast<std::size_t>(c)];
    });
    return result;
}

void DiagonalTransform::applyToTokens(MutMatrixView x) const
{
    scaleColumns<false>(x, m_d);
}

void DiagonalTransform::unapplyToTokens(MutMatrixView x) const
{
    scaleColumns<true>(x, m_d);
}

bool DiagonalTransform::identity() const
{
    return std::all_of(m_d.begin(), m_d.end(), [](double d) { return d == 1.0; });
}

Expected<std::shared_ptr<const SiteTransform>> chainTransforms(std::vector<std::shared_ptr<const SiteTransform>> parts)
{
    if (parts.empty())
        return std::shared_ptr<const SiteTransform>();
    std::vector<double> product;
    for (const auto& part : parts) {
        const std::vector<double> d = part->diagonal();
        if (d.empty() || (!product.empty() && product.size() != d.size())) {
            product.clear();
            break;
        }
        if (product.empty())
            product.assign(d.size(), 1.0);
        for (std::size_t j = 0; j < d.size(); ++j)
            product[j] *= d[j];
    }
    if (!product.empty()) {
        QS_TRY(diagonal, DiagonalTransform::make(std::move(product)));
        return std::shared_ptr<const SiteTransform>(std::move(diagonal));
    }
    if (parts.size() == 1)
        return std::move(parts.front());
    return std::shared_ptr<const SiteTransform>(std::make_shared<ChainTransform>(std::move(parts)));
}

} // namespace qs::recipe
