// SPDX-License-Identifier: Apache-2.0
#include "core/analysis/distribution.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <fmt/format.h>

namespace qs::analysis {
namespace {

enum class Fit { No, Yes, Blank };

/// What a block of weights says about an affine grid under it.
struct BlockFit {
    Fit fit = Fit::No;
    int span = 0; ///< Steps between the least and the greatest value.
};

/// How far a decoded value may be from the exact grid point: exact decoding in float32, or storage as float16 or bfloat16
/// (twice the rounding error of the largest value, since offset and step are estimated from rounded values too).
std::array<double, 3> slacks(double extreme, double step)
{
    return {1e-3 * step, 0x1p-11 * extreme, 0x1p-8 * extreme};
}

BlockFit fitBlock(std::vector<double>& values)
{
    std::sort(values.begin(), values.end());
    const double lo = values.front(), hi = values.back();
    if (lo == hi)
        return {Fit::Blank, 0};
    const double extreme = std::max(std::fabs(lo), std::fabs(hi));
    // Values that differ only by rounding of one grid point are one value; a step cannot be that small.
    std::vector<double> distinct{values.front()};
    for (const double v : values)
        if (v - distinct.back() > 1e-5 * extreme)
            distinct.push_back(v);
    if (distinct.size() < 3)
        return {Fit::Blank, 0};
    double smallest = hi - lo;
    for (std::size_t i = 1; i < distinct.size(); ++i)
        smallest = std::min(smallest, distinct[i] - distinct[i - 1]);

    constexpr int kMaxSpan = 255;
    for (const int divisor : {1, 2, 3}) { // the smallest gap may be more than one step
        double step = smallest / divisor;
        // The step is refined as the walk goes up, so that its error does not grow with the distance.
        std::vector<int> position{0};
        for (std::size_t i = 1; i < distinct.size(); ++i) {
            const double jump = std::nearbyint((distinct[i] - distinct[i - 1]) / step);
            if (jump < 1.0 || position.back() + jump > kMaxSpan) {
                position.clear();
                break;
            }
            position.push_back(position.back() + static_cast<int>(jump));
            if (position.back() > 3)
                step = (distinct[i] - distinct.front()) / position.back();
        }
        if (position.empty())
            continue;
        // Least squares for offset and step, then every value must sit on its point.
        const auto n = static_cast<double>(distinct.size());
        double meanK = 0, meanV = 0, kk = 0, kv = 0;
        for (std::size_t i = 0; i < distinct.size(); ++i) {
            meanK += position[i] / n;
            meanV += distinct[i] / n;
        }
        for (std::size_t i = 0; i < distinct.size(); ++i) {
            kk += (position[i] - meanK) * (position[i] - meanK);
            kv += (position[i] - meanK) * (distinct[i] - meanV);
        }
        step = kv / kk;
        const double offset = meanV - step * meanK;
        double worst = step > 0.0 ? 0.0 : hi - lo;
        for (const double value : values)
            worst = std::max(worst, std::fabs(value - offset - std::nearbyint((value - offset) / step) * step));
        for (const double slack : slacks(extreme, step))
            if (slack < 0.15 * step && worst <= slack) // a wider slack would let anything pass
                return {Fit::Yes, position.back()};
    }
    return {};
}

} // namespace

std::optional<ExistingGrid> detectExistingGrid(MatrixView W)
{
    constexpr Index kBlocks = 256;
    constexpr std::array<Index, 5> kUsual{256, 128, 64, 32, 16};
    std::vector<Index> widths{W.cols()};
    for (const Index width : kUsual)
        if (width < W.cols() && W.cols() % width == 0)
            widths.push_back(width);

    for (const Index width : widths) {
        if (width < 8)
            continue;
        const Index perRow = W.cols() / width;
        const Index total = W.rows() * perRow;
        const Index examined = std::min(kBlocks, total);
        Index fitting = 0, blank = 0;
        int span = 0;
        for (Index i = 0; i < examined; ++i) {
            const Index block = total * i / examined;
            const auto source = W.row(block / perRow)
                                    .subspan(static_cast<std::size_t>(block % perRow * width), static_cast<std::size_t>(width));
            if (std::any_of(source.begin(), source.end(), [](float v) { return !std::isfinite(v); }))
                continue;
            std::vector<double> values(source.begin(), source.end());
            const BlockFit fit = fitBlock(values);
            fitting += fit.fit == Fit::Yes ? 1 : 0;
            blank += fit.fit == Fit::Blank ? 1 : 0;
            span = std::max(span, fit.span);
        }
        const Index judged = examined - blank;
        if (judged < 1 || static_cast<double>(fitting) < 0.95 * static_cast<double>(judged) || judged < (examined + 1) / 2)
            continue;
        ExistingGrid grid;
        grid.bits = std::max(2, static_cast<int>(std::bit_width(static_cast<unsigned>(span))));
        grid.block = width;
        grid.share = static_cast<double>(fitting) / static_cast<double>(judged);
        grid.sentence = width == W.cols()
            ? fmt::format("these weights already lie on a {}-bit grid of one scale per row", grid.bits)
            : fmt::format("these weights already lie on a {}-bit grid of block {}", grid.bits, width);
        return grid;
    }
    return std::nullopt;
}

} // namespace qs::analysis
