// SPDX-License-Identifier: Apache-2.0
#include "core/stats/input_stats.h"

#include "core/exec/parallel.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/stats/accumulate.cpp"
#include <hwy/foreach_target.h> // IWYU pragma: keep
#include <hwy/highway.h>

#ifndef QS_STATS_ACCUMULATE_SUMS
#define QS_STATS_ACCUMULATE_SUMS
namespace qs::stats {
/// Where a run of tokens goes: pointers to the first channel of a chunk.
struct SumTargets {
    double *sum, *sumsq, *sumabs, *m3, *m4, *min, *max;
    double* sinkSquares; ///< Null unless the tokens are sinks.
};
} // namespace qs::stats
#endif

HWY_BEFORE_NAMESPACE();
namespace qs::stats {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// One vector of channels over a run of tokens, the sums in registers. Returns the number of values that are not finite.
template <class D>
HWY_INLINE Index sumVector(D d, const float* HWY_RESTRICT x, Index stride, Index rows, const SumTargets& to, Index c)
{
    const hn::Rebind<float, D> df;
    const auto zero = hn::Zero(d);
    auto sum = hn::LoadU(d, to.sum + c);
    auto sumsq = hn::LoadU(d, to.sumsq + c);
    auto sumabs = hn::LoadU(d, to.sumabs + c);
    auto m3 = hn::LoadU(d, to.m3 + c);
    auto m4 = hn::LoadU(d, to.m4 + c);
    auto least = hn::LoadU(d, to.min + c);
    auto most = hn::LoadU(d, to.max + c);
    auto squares = to.sinkSquares ? hn::LoadU(d, to.sinkSquares + c) : zero;
    Index bad = 0;
    for (Index t = 0; t < rows; ++t) {
        const auto raw = hn::PromoteTo(d, hn::LoadU(df, x + t * stride + c));
        const auto finite = hn::Eq(hn::Mul(raw, zero), zero);
        bad += static_cast<Index>(hn::CountTrue(d, hn::Not(finite)));
        const auto v = hn::IfThenElseZero(finite, raw);
        const auto v2 = hn::Mul(v, v);
        sum = hn::Add(sum, v);
        sumsq = hn::Add(sumsq, v2);
        squares = hn::Add(squares, v2);
        sumabs = hn::Add(sumabs, hn::Abs(v));
        m3 = hn::Add(m3, hn::Mul(v2, v));
        m4 = hn::Add(m4, hn::Mul(v2, v2));
        least = hn::IfThenElse(finite, hn::Min(least, v), least);
        most = hn::IfThenElse(finite, hn::Max(most, v), most);
    }
    hn::StoreU(sum, d, to.sum + c);
    hn::StoreU(sumsq, d, to.sumsq + c);
    hn::StoreU(sumabs, d, to.sumabs + c);
    hn::StoreU(m3, d, to.m3 + c);
    hn::StoreU(m4, d, to.m4 + c);
    hn::StoreU(least, d, to.min + c);
    hn::StoreU(most, d, to.max + c);
    if (to.sinkSquares)
        hn::StoreU(squares, d, to.sinkSquares + c);
    return bad;
}

Index sumChunk(const float* x, Index stride, Index rows, Index channels, const SumTargets& to)
{
    const hn::ScalableTag<double> d;
    const auto lanes = static_cast<Index>(hn::Lanes(d));
    Index c = 0, bad = 0;
    for (; c + lanes <= channels; c += lanes)
        bad += sumVector(d, x, stride, rows, to, c);
    const hn::CappedTag<double, 1> one;
    for (; c < channels; ++c)
        bad += sumVector(one, x, stride, rows, to, c);
    return bad;
}

} // namespace HWY_NAMESPACE
} // namespace qs::stats
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qs::stats {
HWY_EXPORT(sumChunk);

namespace {

constexpr Index kChunk = 64; // channels of one unit of parallel work
constexpr Index kRows = 32; // tokens at a time: 32 x 64 floats stay in the first-level cache

void prepare(ChannelSums& sums, Index channels)
{
    if (sums.channels() == 0 && channels > 0)
        sums = ChannelSums(channels);
    if (sums.channels() != channels)
        throw std::invalid_argument("token vectors and statistics differ in width");
}

bool isSink(const std::vector<Index>& positions, Index token)
{
    return !positions.empty() && positions[static_cast<std::size_t>(token)] < kSinkPositions;
}

void addGram(InputPart& part, MatrixView x, bool finite, Backend& backend)
{
    if (part.gram.empty())
        part.gram = MatrixD(x.cols(), x.cols());
    if (finite) {
        backend.gram(x, part.gram.mut());
        return;
    }
    RowMatrix cleaned(x);
    for (float& value : cleaned.values())
        if (!std::isfinite(value))
            value = 0.0F;
    backend.gram(cleaned, part.gram.mut());
}

} // namespace

void accumulate(
    InputPart& part, ChannelSums& sink, MatrixView x, const std::vector<Index>& positions, bool gram, Backend& backend)
{
    if (!positions.empty() && static_cast<Index>(positions.size()) != x.rows())
        throw std::invalid_argument("one position is needed for every token");
    prepare(part.channels, x.cols());
    prepare(sink, x.cols());
    if (x.empty())
        return;
    ChannelSums& sums = part.channels;
    const Index chunks = (x.cols() + kChunk - 1) / kChunk;
    std::vector<Index> bad(static_cast<std::size_t>(chunks), 0);
    parallelFor(0, chunks, 1, [&](Index first, Index last) {
        for (Index chunk = first; chunk < last; ++chunk) {
            const Index c = chunk * kChunk;
            const Index width = std::min(kChunk, x.cols() - c);
            for (Index begin = 0; begin < x.rows();) {
                const bool sinks = isSink(positions, begin);
                Index end = begin + 1;
                while (end < std::min(x.rows(), begin + kRows) && isSink(positions, end) == sinks)
                    ++end;
                ChannelSums& extremes = sinks ? sink : sums;
                const SumTargets to{sums.sum.data() + c, sums.sumsq.data() + c, sums.sumabs.data() + c, sums.m3.data() + c,
                    sums.m4.data() + c, extremes.min.data() + c, extremes.max.data() + c,
                    sinks ? sink.sumsq.data() + c : nullptr};
                bad[static_cast<std::size_t>(chunk)]
                    += HWY_DYNAMIC_DISPATCH(sumChunk)(x.data() + begin * x.stride() + c, x.stride(), end - begin, width, to);
                begin = end;
            }
        }
    });
    Index notFinite = 0;
    for (const Index count : bad)
        notFinite += count;
    sums.nonFinite += notFinite;
    sums.count += x.rows();
    for (Index t = 0; t < x.rows(); ++t)
        sink.count += isSink(positions, t) ? 1 : 0;
    if (gram)
        addGram(part, x, notFinite == 0, backend);
}

} // namespace qs::stats
#endif
