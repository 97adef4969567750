// SPDX-License-Identifier: Apache-2.0
#include "plugins/pruning/masks.h"

#include "core/exec/parallel.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fmt/format.h>

namespace qs::plugins {
namespace {

using recipe::ParameterType;

constexpr int kLargestM = 128; // an N:M group must not straddle a block of the sweep
constexpr Index kGrain = 16;

bool readNumber(std::string_view text, int& value)
{
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc{} && end == text.data() + text.size();
}

BasicMatrix<std::uint8_t> keepAll(Index rows, Index cols)
{
    BasicMatrix<std::uint8_t> keep(rows, cols);
    std::fill(keep.values().begin(), keep.values().end(), std::uint8_t{1});
    return keep;
}

/// Clears the `count` lowest of row `row`, columns [first, first + width).
void clearLowest(const Scores& scores, Index row, Index first, Index width, Index count, BasicMatrix<std::uint8_t>& keep)
{
    if (count <= 0)
        return;
    std::vector<std::pair<double, Index>> order(static_cast<std::size_t>(width));
    for (Index c = 0; c < width; ++c)
        order[static_cast<std::size_t>(c)] = {scores(row, first + c), first + c};
    if (count < width)
        std::nth_element(order.begin(), order.begin() + count, order.end());
    for (Index i = 0; i < count; ++i)
        keep(row, order[static_cast<std::size_t>(i)].second) = 0;
}

} // namespace

double Scores::operator()(Index row, Index col) const
{
    const double magnitude = std::fabs(static_cast<double>(W(row, col)));
    return columnFactor.empty() ? magnitude : magnitude * columnFactor[static_cast<std::size_t>(col)];
}

Expected<SparsityPattern> readPattern(const recipe::Parameters& parameters, const std::string& stage)
{
    SparsityPattern pattern;
    pattern.sparsity = recipe::realValue(parameters, "sparsity");
    const std::string& text = recipe::textValue(parameters, "pattern");
    if (text == "free")
        return pattern;
    const std::size_t colon = text.find(':');
    int n = 0;
    int m = 0;
    if (colon == std::string::npos || !readNumber(std::string_view(text).substr(0, colon), n)
        || !readNumber(std::string_view(text).substr(colon + 1), m) || n < 1 || m < n || m > kLargestM)
        return fail(Errc::InvalidArgument,
            fmt::format("pattern={} is not allowed: it takes free, or N:M with 1 <= N <= M <= {}", text, kLargestM),
            stage + ": pattern", "2:4 keeps two of every four input columns");
    pattern.n = n;
    pattern.m = m;
    pattern.sparsity = 1.0 - static_cast<double>(n) / m;
    return pattern;
}

Expected<void> checkPattern(const SparsityPattern& pattern, Index cols, const std::string& layer)
{
    if (!pattern.nm() || cols % pattern.m == 0)
        return {};
    return fail(Errc::InvalidArgument,
        fmt::format(
            "pattern={}:{} needs a number of columns that {} divides, there are {}", pattern.n, pattern.m, pattern.m, cols),
        layer, "use pattern=free for this layer");
}

Index prunedCount(double sparsity, Index total)
{
    return std::clamp<Index>(static_cast<Index>(std::floor(sparsity * static_cast<double>(total) + 1e-9)), 0, total);
}

BasicMatrix<std::uint8_t> lowestOfMatrix(const Scores& scores, double sparsity)
{
    const Index rows = scores.W.rows();
    const Index cols = scores.W.cols();
    BasicMatrix<std::uint8_t> keep = keepAll(rows, cols);
    const Index count = prunedCount(sparsity, rows * cols);
    if (count == 0)
        return keep;
    std::vector<double> flat(static_cast<std::size_t>(rows * cols));
    parallelFor(0, rows, kGrain, [&](Index begin, Index end) {
        for (Index r = begin; r < end; ++r)
            for (Index c = 0; c < cols; ++c)
                flat[static_cast<std::size_t>(r * cols + c)] = scores(r, c);
    });
    std::vector<double> sorted = flat;
    std::nth_element(sorted.begin(), sorted.begin() + (count - 1), sorted.end());
    const double threshold = sorted[static_cast<std::size_t>(count - 1)];
    Index ties = count; // how many that equal the threshold go: the count less those below it
    for (const double score : flat)
        ties -= score < threshold ? 1 : 0;
    for (std::size_t i = 0; i < flat.size(); ++i) {
        if (flat[i] < threshold || (flat[i] == threshold && ties-- > 0))
            keep.values()[i] = 0;
    }
    return keep;
}

BasicMatrix<std::uint8_t> lowestOfRows(const Scores& scores, double sparsity)
{
    const Index cols = scores.W.cols();
    BasicMatrix<std::uint8_t> keep = keepAll(scores.W.rows(), cols);
    const Index count = prunedCount(sparsity, cols);
    parallelFor(0, keep.rows(), kGrain, [&](Index begin, Index end) {
        for (Index r = begin; r < end; ++r)
            clearLowest(scores, r, 0, cols, count, keep);
    });
    return keep;
}

BasicMatrix<std::uint8_t> lowestOfGroups(const Scores& scores, int n, int m)
{
    BasicMatrix<std::uint8_t> keep = keepAll(scores.W.rows(), scores.W.cols());
    parallelFor(0, keep.rows(), kGrain, [&](Index begin, Index end) {
        for (Index r = begin; r < end; ++r)
            for (Index first = 0; first + m <= keep.cols(); first += m)
                clearLowest(scores, r, first, m, m - n, keep);
    });
    return keep;
}

std::vector<recipe::ParameterSpec> patternParameters()
{
    return {
        {.name = "sparsity",
            .type = ParameterType::Real,
            .defaultValue = 0.5,
            .min = 0,
            .max = 1,
            .help = "Share of the weights that become zero; not used with an N:M pattern."},
        {.name = "pattern",
            .type = ParameterType::Text,
            .defaultValue = std::string("free"),
            .help
            = "free, or N:M: N of every M consecutive input columns are kept in each row (2:4 runs on sparse tensor cores)."},
    };
}

} // namespace qs::plugins
