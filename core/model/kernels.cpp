// SPDX-License-Identifier: Apache-2.0
#include "core/model/kernels.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/model/kernels.cpp"
#include <hwy/foreach_target.h> // IWYU pragma: keep
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace qs::model {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// Four rows (or one) by two vectors of C stay in registers while k runs.
template <int kRows, int kVectors, class D>
HWY_INLINE void tile(D d, const float* HWY_RESTRICT A, Index lda, const float* HWY_RESTRICT B, Index ldb, float* HWY_RESTRICT C,
    Index ldc, Index k)
{
    const auto lanes = static_cast<Index>(hn::Lanes(d));
    hn::Vec<D> sum[kRows][kVectors];
    for (int r = 0; r < kRows; ++r)
        for (int v = 0; v < kVectors; ++v)
            sum[r][v] = hn::LoadU(d, C + r * ldc + v * lanes);
    for (Index i = 0; i < k; ++i) {
        hn::Vec<D> b[kVectors];
        for (int v = 0; v < kVectors; ++v)
            b[v] = hn::LoadU(d, B + i * ldb + v * lanes);
        for (int r = 0; r < kRows; ++r) {
            const auto a = hn::Set(d, A[r * lda + i]);
            for (int v = 0; v < kVectors; ++v)
                sum[r][v] = hn::Add(sum[r][v], hn::Mul(a, b[v]));
        }
    }
    for (int r = 0; r < kRows; ++r)
        for (int v = 0; v < kVectors; ++v)
            hn::StoreU(sum[r][v], d, C + r * ldc + v * lanes);
}

template <int kRows>
HWY_INLINE void rowsOf(const float* HWY_RESTRICT A, Index lda, const float* HWY_RESTRICT B, Index ldb, float* HWY_RESTRICT C,
    Index ldc, Index n, Index k)
{
    const hn::ScalableTag<float> d;
    const auto lanes = static_cast<Index>(hn::Lanes(d));
    Index j = 0;
    for (; j + 2 * lanes <= n; j += 2 * lanes)
        tile<kRows, 2>(d, A, lda, B + j, ldb, C + j, ldc, k);
    for (; j + lanes <= n; j += lanes)
        tile<kRows, 1>(d, A, lda, B + j, ldb, C + j, ldc, k);
    const hn::CappedTag<float, 1> one;
    for (; j < n; ++j)
        tile<kRows, 1>(one, A, lda, B + j, ldb, C + j, ldc, k);
}

void addProductTarget(const float* A, Index lda, const float* B, Index ldb, float* C, Index ldc, Index m, Index n, Index k)
{
    constexpr int kRows = 4;
    Index i = 0;
    for (; i + kRows <= m; i += kRows)
        rowsOf<kRows>(A + i * lda, lda, B, ldb, C + i * ldc, ldc, n, k);
    for (; i < m; ++i)
        rowsOf<1>(A + i * lda, lda, B, ldb, C + i * ldc, ldc, n, k);
}

/// exp by x = n ln 2 + r, |r| <= ln 2 / 2, and the Taylor sum of r. Adding 1.5 * 2^23 rounds to the integer n and leaves it in
/// the low bits, from where a shift brings it into the exponent.
template <class D> HWY_INLINE hn::Vec<D> expFloat(D d, hn::Vec<D> x)
{
    const hn::RebindToSigned<D> di;
    const auto lowest = hn::Set(d, -86.5F);
    const auto highest = hn::Set(d, 88.0F);
    const auto y = hn::Min(hn::Max(x, lowest), highest);
    const auto magic = hn::Set(d, 12582912.0F);
    const auto shifted = hn::Add(hn::Mul(y, hn::Set(d, 1.44269504F)), magic);
    const auto n = hn::Sub(shifted, magic);
    // ln 2 in two parts; the product of n with the first is exact
    auto r = hn::Sub(y, hn::Mul(n, hn::Set(d, 0.693359375F)));
    r = hn::Sub(r, hn::Mul(n, hn::Set(d, -2.12194440e-4F)));
    auto p = hn::Set(d, 1.0F / 5040);
    for (const float c : {1.0F / 720, 1.0F / 120, 1.0F / 24, 1.0F / 6, 0.5F, 1.0F, 1.0F})
        p = hn::Add(hn::Mul(p, r), hn::Set(d, c));
    const auto scaled = hn::BitCast(d, hn::Add(hn::BitCast(di, p), hn::ShiftLeft<23>(hn::BitCast(di, shifted))));
    auto result = hn::IfThenZeroElse(hn::Lt(x, lowest), scaled);
    result = hn::IfThenElse(hn::Gt(x, highest), hn::Set(d, std::numeric_limits<float>::infinity()), result);
    return hn::IfThenElse(hn::Eq(x, x), result, x); // NaN stays
}

template <class D> HWY_INLINE hn::Vec<D> expDouble(D d, hn::Vec<D> x)
{
    const hn::RebindToSigned<D> di;
    const auto lowest = hn::Set(d, -700.0);
    const auto y = hn::Min(hn::Max(x, lowest), hn::Set(d, 700.0));
    const auto magic = hn::Set(d, 6755399441055744.0);
    const auto shifted = hn::Add(hn::Mul(y, hn::Set(d, 1.4426950408889634)), magic);
    const auto n = hn::Sub(shifted, magic);
    auto r = hn::Sub(y, hn::Mul(n, hn::Set(d, 0.693147180369123816490)));
    r = hn::Sub(r, hn::Mul(n, hn::Set(d, 1.90821492927058770002e-10)));
    auto p = hn::Set(d, 1.0 / 6227020800.0);
    for (const double c : {1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040, 1.0 / 720,
             1.0 / 120, 1.0 / 24, 1.0 / 6, 0.5, 1.0, 1.0})
        p = hn::Add(hn::Mul(p, r), hn::Set(d, c));
    const auto scaled = hn::BitCast(d, hn::Add(hn::BitCast(di, p), hn::ShiftLeft<52>(hn::BitCast(di, shifted))));
    return hn::IfThenElse(hn::Eq(x, x), hn::IfThenZeroElse(hn::Lt(x, lowest), scaled), x);
}

/// Applies f to vectors and, for the tail, to single lanes: the same operations on every element.
template <class F> HWY_INLINE void forVectors(Index n, F f)
{
    const hn::ScalableTag<float> d;
    const auto lanes = static_cast<Index>(hn::Lanes(d));
    Index j = 0;
    for (; j + lanes <= n; j += lanes)
        f(d, j);
    const hn::CappedTag<float, 1> one;
    for (; j < n; ++j)
        f(one, j);
}

void expScaledTarget(float* x, Index n, float scale, float shift)
{
    forVectors(n, [=](auto d, Index j) HWY_ATTR {
        const auto v = hn::Mul(hn::Sub(hn::LoadU(d, x + j), hn::Set(d, shift)), hn::Set(d, scale));
        hn::StoreU(expFloat(d, v), d, x + j);
    });
}

float largestTarget(const float* x, Index n)
{
    const hn::ScalableTag<float> d;
    const auto lanes = static_cast<Index>(hn::Lanes(d));
    float largest = x[0];
    Index j = 0;
    if (n >= lanes) {
        auto most = hn::LoadU(d, x);
        for (j = lanes; j + lanes <= n; j += lanes)
            most = hn::Max(most, hn::LoadU(d, x + j));
        largest = hn::GetLane(hn::MaxOfLanes(d, most));
    }
    for (; j < n; ++j)
        largest = std::max(largest, x[j]);
    return largest;
}

void siluProductTarget(float* gate, const float* up, Index n)
{
    forVectors(n, [=](auto d, Index j) HWY_ATTR {
        const auto g = hn::LoadU(d, gate + j);
        const auto denominator = hn::Add(hn::Set(d, 1.0F), expFloat(d, hn::Neg(g)));
        hn::StoreU(hn::Mul(hn::Div(g, denominator), hn::LoadU(d, up + j)), d, gate + j);
    });
}

void expShiftedTarget(const float* x, double shift, double* out, Index n)
{
    const hn::ScalableTag<double> d;
    const hn::Rebind<float, decltype(d)> df;
    const auto lanes = static_cast<Index>(hn::Lanes(d));
    Index j = 0;
    for (; j + lanes <= n; j += lanes)
        hn::StoreU(expDouble(d, hn::Sub(hn::PromoteTo(d, hn::LoadU(df, x + j)), hn::Set(d, shift))), d, out + j);
    const hn::CappedTag<double, 1> one;
    for (; j < n; ++j)
        hn::StoreU(expDouble(one, hn::Set(one, static_cast<double>(x[j]) - shift)), one, out + j);
}

} // namespace HWY_NAMESPACE
} // namespace qs::model
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qs::model {

HWY_EXPORT(addProductTarget);
HWY_EXPORT(expScaledTarget);
HWY_EXPORT(largestTarget);
HWY_EXPORT(siluProductTarget);
HWY_EXPORT(expShiftedTarget);

void addProduct(const float* A, Index lda, const float* B, Index ldb, float* C, Index ldc, Index m, Index n, Index k)
{
    HWY_DYNAMIC_DISPATCH(addProductTarget)(A, lda, B, ldb, C, ldc, m, n, k);
}

double expScaled(std::span<float> x, float scale)
{
    if (x.empty())
        return 0.0;
    const auto n = static_cast<Index>(x.size());
    HWY_DYNAMIC_DISPATCH(expScaledTarget)(x.data(), n, scale, HWY_DYNAMIC_DISPATCH(largestTarget)(x.data(), n));
    // a fixed number of partial sums: fast, and the same on every target
    constexpr std::size_t kParts = 8;
    std::array<double, kParts> part{};
    std::size_t j = 0;
    for (; j + kParts <= x.size(); j += kParts)
        for (std::size_t p = 0; p < kParts; ++p)
            part[p] += static_cast<double>(x[j + p]);
    for (; j < x.size(); ++j)
        part[j % kParts] += static_cast<double>(x[j]);
    double sum = 0.0;
    for (const double p : part)
        sum += p;
    return sum;
}

void siluProduct(std::span<float> gate, std::span<const float> up)
{
    assert(gate.size() == up.size());
    HWY_DYNAMIC_DISPATCH(siluProductTarget)(gate.data(), up.data(), static_cast<Index>(gate.size()));
}

void expShifted(std::span<const float> x, double shift, std::span<double> out)
{
    assert(x.size() == out.size());
    HWY_DYNAMIC_DISPATCH(expShiftedTarget)(x.data(), shift, out.data(), static_cast<Index>(x.size()));
}

} // namespace qs::model
#endif
