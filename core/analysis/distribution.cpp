// SPDX-License-Identifier: Apache-2.0
#include "core/analysis/distribution.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

namespace qs::analysis {

std::vector<float> gridLevels(const quant::UniformGridOptions& options, quant::ScaleZero sz)
{
    const quant::UniformGrid grid(options);
    std::vector<float> levels;
    for (int code = grid.lowestCode(); code <= grid.highestCode(); ++code)
        levels.push_back(grid.decode(code, sz));
    return levels;
}

Expected<CodeHistogram> codeHistogram(MatrixView W, const quant::QuantizedTensor& tensor, Index bins)
{
    if (W.rows() != tensor.rows() || W.cols() != tensor.cols())
        return fail(Errc::Mismatch,
            fmt::format("a weight of {} x {} and codes of {} x {}", W.rows(), W.cols(), tensor.rows(), tensor.cols()));
    if (bins < 1)
        return fail(Errc::InvalidArgument, "a histogram needs at least one bin", "bins");
    const quant::UniformGrid grid(tensor.grid);
    CodeHistogram result;
    result.lowestCode = grid.lowestCode();
    const float lowest = static_cast<float>(grid.lowestCode()), highest = static_cast<float>(grid.highestCode());
    result.codes.assign(static_cast<std::size_t>(grid.highestCode() - grid.lowestCode() + 1), 0);
    RowMatrix units(W.rows(), W.cols());
    std::uint64_t clipped = 0;
    for (Index r = 0; r < W.rows(); ++r)
        for (Index c = 0; c < W.cols(); ++c) {
            const Index g = tensor.groupAt(c);
            const float u = W(r, c) / tensor.scale(r, g) + tensor.zero(r, g);
            units(r, c) = u;
            clipped += u < lowest - 0.5F || u > highest + 0.5F ? 1 : 0;
            const int code = std::clamp<int>(tensor.codes(r, c), grid.lowestCode(), grid.highestCode());
            ++result.codes[static_cast<std::size_t>(code - grid.lowestCode())];
        }
    const auto total = static_cast<double>(std::max<Index>(1, W.size()));
    result.clippedShare = static_cast<double>(clipped) / total;
    for (const std::uint64_t count : result.codes)
        if (count > 0)
            result.entropyBits -= static_cast<double>(count) / total * std::log2(static_cast<double>(count) / total);
    // One unit of margin on both sides shows what is clipped.
    result.units
        = reduce::histogram(units, bins, std::pair(static_cast<double>(lowest) - 1.0, static_cast<double>(highest) + 1.0));
    return result;
}

} // namespace qs::analysis
