// SPDX-License-Identifier: Apache-2.0
#include "core/exec/parallel.h"
#include "core/quant/grid_kernels.h"
#include "core/quant/uniform_grid.h"

#include <algorithm>
#include <vector>

namespace qs::quant {
namespace {

struct Extent {
    float lo = 0, hi = 0;
};

Extent finiteRange(std::span<const float> values)
{
    Extent extent;
    kernels::rangeOf(values.data(), values.size(), &extent.lo, &extent.hi);
    return extent;
}

/// Extrema of a whole matrix: per fixed chunk, then over the chunks.
Extent finiteRange(MatrixView x, Index grain)
{
    std::vector<Extent> parts(static_cast<std::size_t>((x.rows() + grain - 1) / grain));
    parallelFor(0, x.rows(), grain, [&](Index begin, Index end) {
        Extent part = finiteRange(x.row(begin));
        for (Index r = begin + 1; r < end; ++r) {
            const Extent row = finiteRange(x.row(r));
            part.lo = std::min(part.lo, row.lo);
            part.hi = std::max(part.hi, row.hi);
        }
        parts[static_cast<std::size_t>(begin / grain)] = part;
    });
    Extent all = parts.empty() ? Extent{} : parts.front();
    for (const Extent& part : parts) {
        all.lo = std::min(all.lo, part.lo);
        all.hi = std::max(all.hi, part.hi);
    }
    return all;
}

} // namespace

void quantizeActivations(MutMatrixView x, const ActivationGridOptions& options)
{
    if (x.empty())
        return;
    UniformGridOptions gridOptions;
    gridOptions.bits = options.bits;
    gridOptions.grid = options.grid;
    gridOptions.scaleType = ScaleType::Float32;
    const UniformGrid grid(gridOptions);
    const auto clip = static_cast<float>(options.clip);
    const auto fitted = [&](Extent range) { return grid.fromRange(range.lo * clip, range.hi * clip); };
    const Index grain = std::max<Index>(1, 32768 / x.cols());

    const bool wholeTensor = !options.dynamic || options.granularity == ActivationGranularity::Tensor;
    ScaleZero shared;
    if (wholeTensor)
        shared = fitted(options.dynamic ? finiteRange(x, grain) : Extent{options.lo, options.hi});
    const bool grouped = options.granularity == ActivationGranularity::TokenGroup && options.group > 0;
    const Index group = grouped ? std::min(options.group, x.cols()) : x.cols();

    parallelFor(0, x.rows(), grain, [&](Index begin, Index end) {
        for (Index r = begin; r < end; ++r) {
            if (wholeTensor) {
                grid.project(x.row(r), shared, x.row(r));
                continue;
            }
            for (Index c = 0; c < x.cols(); c += group) {
                const auto part
                    = x.row(r).subspan(static_cast<std::size_t>(c), static_cast<std::size_t>(std::min(group, x.cols() - c)));
                grid.project(part, fitted(finiteRange(part)), part);
            }
        }
    });
}

} // namespace qs::quant
