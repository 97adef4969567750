// SPDX-License-Identifier: Apache-2.0
#include "core/exec/backend.h"
#include "core/exec/parallel.h"
#include "core/quant/uniform_grid.h"

#include <algorithm>

namespace qs::quant {
namespace {

/// One range for every `window` rows: the smallest and the largest of theirs.
void spread(RowMatrix& lo, RowMatrix& hi, Index window)
{
    for (Index begin = 0; begin < lo.rows(); begin += window) {
        const auto first = static_cast<std::size_t>(begin * lo.cols());
        const auto count = static_cast<std::size_t>(std::min(window, lo.rows() - begin) * lo.cols());
        const auto low = lo.values().subspan(first, count);
        const auto high = hi.values().subspan(first, count);
        std::ranges::fill(low, std::ranges::min(low));
        std::ranges::fill(high, std::ranges::max(high));
    }
}

} // namespace

UniformGridOptions ActivationGridOptions::uniform() const
{
    UniformGridOptions options;
    options.bits = bits;
    options.grid = grid;
    options.scaleType = ScaleType::Float32;
    return options;
}

ActivationScales fitActivations(MatrixView x, const ActivationGridOptions& options, Index window, Backend& backend)
{
    const Index rows = window < 1 ? x.rows() : window;
    const UniformGrid grid(options.uniform());
    const bool grouped = options.dynamic && options.granularity == ActivationGranularity::TokenGroup && options.group > 0;
    const Index group = grouped ? std::min(options.group, x.cols()) : x.cols();
    RowMatrix scale(x.rows(), (x.cols() + group - 1) / group);
    RowMatrix zero(scale.rows(), scale.cols());
    if (options.dynamic) {
        // Ranges first; scales and zeros are made from them in place.
        backend.groupRanges(x, group, scale.mut(), zero.mut());
        if (options.granularity == ActivationGranularity::Tensor)
            spread(scale, zero, rows);
    } else {
        std::fill(scale.values().begin(), scale.values().end(), options.lo);
        std::fill(zero.values().begin(), zero.values().end(), options.hi);
    }
    const auto clip = static_cast<float>(options.clip);
    parallelFor(0, scale.rows(), std::max<Index>(1, 8192 / scale.cols()), [&](Index begin, Index end) {
        for (Index r = begin; r < end; ++r)
            for (Index g = 0; g < scale.cols(); ++g) {
                const ScaleZero sz = grid.fromRange(scale(r, g) * clip, zero(r, g) * clip);
                scale(r, g) = sz.scale;
                zero(r, g) = sz.zero;
            }
    });
    const bool tensor = options.granularity == ActivationGranularity::Tensor;
    const Index ranges = !options.dynamic ? 1 : tensor ? (x.rows() + rows - 1) / rows : static_cast<Index>(scale.size());
    return {std::move(scale), std::move(zero), group, ranges};
}

void quantizeActivations(MutMatrixView x, const ActivationGridOptions& options, Index window, Backend& backend)
{
    if (x.empty())
        return;
    const ActivationScales fitted = fitActivations(x, options, window, backend);
    backend.gridProject(x, UniformGrid(options.uniform()).params(fitted.scale, fitted.zero, fitted.group));
}

} // namespace qs::quant
