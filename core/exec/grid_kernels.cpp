// SPDX-License-Identifier: Apache-2.0
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/exec/grid_kernels.cpp"
#include <hwy/foreach_target.h>

#include "core/exec/grid_kernels.h"

#include <algorithm>
#include <hwy/highway.h>
#include <limits>

HWY_BEFORE_NAMESPACE();
namespace qs::gridkernels {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// At most 16 lanes, so that sums can be laid out over 16 virtual lanes whatever the register width is.
constexpr std::size_t kLanes = 16;
using Tag = hn::CappedTag<float, kLanes>;
using Vec = hn::Vec<Tag>;

HWY_INLINE Vec codeOf(Tag d, Vec v, Vec scale, Vec zero, Vec lo, Vec hi, bool realZero)
{
    const Vec steps = hn::Div(v, scale);
    const Vec code = realZero ? hn::Round(hn::Add(steps, zero)) : hn::Add(hn::Round(steps), zero);
    (void)d;
    return hn::Min(hn::Max(code, lo), hi);
}

HWY_INLINE void storeCodes(Tag d, Vec code, std::int16_t* codes)
{
    const hn::Rebind<std::int32_t, Tag> di;
    const hn::Rebind<std::int16_t, Tag> ds;
    hn::StoreU(hn::DemoteTo(ds, hn::NearestInt(code)), ds, codes);
    (void)d;
    (void)di;
}

bool RangeOf(const float* HWY_RESTRICT values, std::size_t count, float* lo, float* hi)
{
    const Tag d;
    const std::size_t n = hn::Lanes(d);
    const Vec inf = hn::Set(d, std::numeric_limits<float>::infinity());
    const Vec minusInf = hn::Neg(inf);
    Vec smallest = inf;
    Vec largest = minusInf;
    auto finite = hn::Eq(inf, inf);
    const auto take = [&](Vec v) {
        const auto ok = hn::Lt(hn::Abs(v), inf);
        finite = hn::And(finite, ok);
        smallest = hn::Min(smallest, hn::IfThenElse(ok, v, inf));
        largest = hn::Max(largest, hn::IfThenElse(ok, v, minusInf));
    };
    std::size_t i = 0;
    for (; i + n <= count; i += n)
        take(hn::LoadU(d, values + i));
    float least = hn::GetLane(hn::MinOfLanes(d, smallest));
    float most = hn::GetLane(hn::MaxOfLanes(d, largest));
    bool all = hn::AllTrue(d, finite);
    for (; i < count; ++i) {
        const bool ok = values[i] - values[i] == 0.0F;
        all = all && ok;
        if (ok) {
            least = std::min(least, values[i]);
            most = std::max(most, values[i]);
        }
    }
    if (least > most)
        least = most = 0.0F;
    *lo = least + 0.0F; // -0 becomes +0: which of them a minimum gives depends on the order
    *hi = most + 0.0F;
    return all;
}

void Encode(const float* HWY_RESTRICT values, std::size_t count, const CodeParams& p, std::int16_t* HWY_RESTRICT codes)
{
    const Tag d;
    const std::size_t n = hn::Lanes(d);
    const Vec scale = hn::Set(d, p.scale), zero = hn::Set(d, p.zero), lo = hn::Set(d, p.lo), hi = hn::Set(d, p.hi);
    std::size_t i = 0;
    for (; i + n <= count; i += n)
        storeCodes(d, codeOf(d, hn::LoadU(d, values + i), scale, zero, lo, hi, p.realZero), codes + i);
    if (i < count) {
        HWY_ALIGN float in[kLanes] = {};
        HWY_ALIGN std::int16_t out[kLanes] = {};
        std::copy(values + i, values + count, in);
        storeCodes(d, codeOf(d, hn::Load(d, in), scale, zero, lo, hi, p.realZero), out);
        std::copy(out, out + (count - i), codes + i);
    }
}

void Project(const float* values, std::size_t count, const CodeParams& p, float* target)
{
    const Tag d;
    const std::size_t n = hn::Lanes(d);
    const Vec scale = hn::Set(d, p.scale), zero = hn::Set(d, p.zero), lo = hn::Set(d, p.lo), hi = hn::Set(d, p.hi);
    const Vec inf = hn::Set(d, std::numeric_limits<float>::infinity());
    const auto one = [&](Vec v) {
        const Vec code = codeOf(d, v, scale, zero, lo, hi, p.realZero);
        return hn::IfThenElse(hn::Lt(hn::Abs(v), inf), hn::Mul(scale, hn::Sub(code, zero)), v);
    };
    std::size_t i = 0;
    for (; i + n <= count; i += n)
        hn::StoreU(one(hn::LoadU(d, values + i)), d, target + i);
    if (i < count) {
        HWY_ALIGN float buffer[kLanes] = {};
        std::copy(values + i, values + count, buffer);
        hn::Store(one(hn::Load(d, buffer)), d, buffer);
        std::copy(buffer, buffer + (count - i), target + i);
    }
}

void EncodeEach(const float* values, const float* scale, const float* zero, std::size_t count, const CodeParams& p,
    std::int16_t* codes, float* projected)
{
    const Tag d;
    const std::size_t n = hn::Lanes(d);
    const Vec lo = hn::Set(d, p.lo), hi = hn::Set(d, p.hi);
    std::size_t i = 0;
    for (; i + n <= count; i += n) {
        const Vec s = hn::LoadU(d, scale + i), z = hn::LoadU(d, zero + i);
        const Vec code = codeOf(d, hn::LoadU(d, values + i), s, z, lo, hi, p.realZero);
        storeCodes(d, code, codes + i);
        hn::StoreU(hn::Mul(s, hn::Sub(code, z)), d, projected + i);
    }
    if (i < count) {
        HWY_ALIGN float v[kLanes] = {}, s[kLanes], z[kLanes] = {};
        HWY_ALIGN std::int16_t out[kLanes] = {};
        std::fill(s, s + kLanes, 1.0F);
        std::copy(values + i, values + count, v);
        std::copy(scale + i, scale + count, s);
        std::copy(zero + i, zero + count, z);
        const Vec code = codeOf(d, hn::Load(d, v), hn::Load(d, s), hn::Load(d, z), lo, hi, p.realZero);
        storeCodes(d, code, out);
        hn::Store(hn::Mul(hn::Load(d, s), hn::Sub(code, hn::Load(d, z))), d, v);
        std::copy(out, out + (count - i), codes + i);
        std::copy(v, v + (count - i), projected + i);
    }
}

// x^exponent for 0 <= x, as exp2(exponent * log2 x), from products and sums only (no fused ones), so that all targets agree.
// Relative error below 2e-6, which is plenty for choosing among candidates.
HWY_INLINE Vec power(Tag d, Vec x, Vec exponent)
{
    const hn::Rebind<std::int32_t, Tag> di;
    const Vec one = hn::Set(d, 1.0F);
    const auto tiny = hn::Lt(x, hn::Set(d, 1e-30F));
    const Vec safe = hn::IfThenElse(tiny, one, x);
    // x = 2^k m with m in [sqrt(1/2), sqrt(2))
    const auto bits = hn::BitCast(di, safe);
    const auto k = hn::ShiftRight<23>(hn::Sub(bits, hn::Set(di, 0x3f3504f3)));
    const Vec m = hn::BitCast(d, hn::Sub(bits, hn::ShiftLeft<23>(k)));
    // ln m = 2 artanh(t), t = (m - 1) / (m + 1)
    const Vec t = hn::Div(hn::Sub(m, one), hn::Add(m, one));
    const Vec t2 = hn::Mul(t, t);
    Vec series = hn::Set(d, 1.0F / 9);
    for (const float c : {1.0F / 7, 1.0F / 5, 1.0F / 3, 1.0F})
        series = hn::Add(hn::Mul(series, t2), hn::Set(d, c));
    constexpr float kTwoOverLn2 = 2.885390081777927F;
    const Vec log2 = hn::Add(hn::ConvertTo(d, k), hn::Mul(hn::Mul(series, t), hn::Set(d, kTwoOverLn2)));
    // exp2(y) = 2^n exp(f ln 2), f in [-1/2, 1/2]
    const Vec y = hn::Min(hn::Max(hn::Mul(exponent, log2), hn::Set(d, -126.0F)), hn::Set(d, 127.0F));
    const Vec n = hn::Round(y);
    const Vec f = hn::Mul(hn::Sub(y, n), hn::Set(d, 0.6931471805599453F));
    Vec e = hn::Set(d, 1.0F / 720);
    for (const float c : {1.0F / 120, 1.0F / 24, 1.0F / 6, 0.5F, 1.0F, 1.0F})
        e = hn::Add(hn::Mul(e, f), hn::Set(d, c));
    const auto biased = hn::Add(hn::NearestInt(n), hn::Set(di, 127));
    const Vec result = hn::Mul(e, hn::BitCast(d, hn::ShiftLeft<23>(biased)));
    return hn::IfThenElseZero(hn::Not(tiny), result);
}

double PowerLoss(const float* HWY_RESTRICT values, const float* HWY_RESTRICT weights, std::size_t count, const CodeParams& p,
    float inverse, float exponent)
{
    const Tag d;
    const std::size_t n = hn::Lanes(d);
    const Vec scale = hn::Set(d, p.scale), zero = hn::Set(d, p.zero), lo = hn::Set(d, p.lo), hi = hn::Set(d, p.hi);
    const Vec inv = hn::Set(d, inverse), power2 = hn::Set(d, exponent);
    const bool square = exponent == 2.0F;
    const auto term = [&](Vec v) {
        const Vec code = codeOf(d, v, scale, zero, lo, hi, p.realZero);
        const Vec error = hn::Mul(hn::Abs(hn::Sub(v, hn::Mul(scale, hn::Sub(code, zero)))), inv);
        return square ? hn::Mul(error, error) : power(d, error, power2);
    };
    constexpr std::size_t kChunk = 32 * kLanes; // 32 float32 terms per lane, then float64
    double lanes[kLanes] = {};
    HWY_ALIGN float part[kLanes];
    const std::size_t whole = count / kLanes * kLanes;
    for (std::size_t begin = 0; begin < whole; begin += kChunk) {
        const std::size_t end = std::min(whole, begin + kChunk);
        for (std::size_t sub = 0; sub < kLanes; sub += n) {
            Vec sum = hn::Zero(d);
            for (std::size_t i = begin + sub; i < end; i += kLanes) {
                Vec t = term(hn::LoadU(d, values + i));
                if (weights)
                    t = hn::Mul(t, hn::LoadU(d, weights + i));
                sum = hn::Add(sum, t);
            }
            hn::Store(sum, d, part + sub);
        }
        for (std::size_t lane = 0; lane < kLanes; ++lane)
            lanes[lane] += static_cast<double>(part[lane]);
    }
    if (whole < count) {
        HWY_ALIGN float v[kLanes] = {}, w[kLanes] = {};
        std::copy(values + whole, values + count, v);
        if (weights)
            std::copy(weights + whole, weights + count, w);
        else
            std::fill(w, w + (count - whole), 1.0F);
        for (std::size_t sub = 0; sub < kLanes; sub += n)
            hn::Store(hn::Mul(term(hn::Load(d, v + sub)), hn::Load(d, w + sub)), d, part + sub);
        for (std::size_t lane = 0; lane < kLanes; ++lane)
            lanes[lane] += static_cast<double>(part[lane]);
    }
    double total = 0;
    for (const double lane : lanes)
        total += lane;
    return total;
}

} // namespace HWY_NAMESPACE
} // namespace qs::gridkernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qs::gridkernels {

HWY_EXPORT(RangeOf);
HWY_EXPORT(Encode);
HWY_EXPORT(Project);
HWY_EXPORT(EncodeEach);
HWY_EXPORT(PowerLoss);

bool rangeOf(const float* values, std::size_t count, float* lo, float* hi)
{
    return HWY_DYNAMIC_DISPATCH(RangeOf)(values, count, lo, hi);
}

void encode(const float* values, std::size_t count, const CodeParams& params, std::int16_t* codes)
{
    HWY_DYNAMIC_DISPATCH(Encode)(values, count, params, codes);
}

void project(const float* values, std::size_t count, const CodeParams& params, float* target)
{
    HWY_DYNAMIC_DISPATCH(Project)(values, count, params, target);
}

void encodeEach(const float* values, const float* scale, const float* zero, std::size_t count, const CodeParams& params,
    std::int16_t* codes, float* projected)
{
    HWY_DYNAMIC_DISPATCH(EncodeEach)(values, scale, zero, count, params, codes, projected);
}

double powerLoss(
    const float* values, const float* weights, std::size_t count, const CodeParams& params, float inverse, float exponent)
{
    return HWY_DYNAMIC_DISPATCH(PowerLoss)(values, weights, count, params, inverse, exponent);
}

} // namespace qs::gridkernels
#endif // HWY_ONCE
