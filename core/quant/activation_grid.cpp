// SPDX-License-Identifier: Apache-2.0
#include "core/exec/backend.h"
#include "core/exec/parallel.h"
#include "core/quant/uniform_grid.h"

#include <algorithm>

namespace qs::quant {
namespace {

/// One range of all: every row's and group's becomes the smallest and the largest.
void spread(RowMatrix& lo, RowMatrix& hi)
{
    const float least = *std::min_element(lo.values().begin(), lo.values().end());
    const float most = *std::max_element(hi.values().begin(), hi.values().end());
    std::fill(lo.values().begin(), lo.values().end(), least);
    std::fill(hi.values().begin(), hi.values().end(), most);
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

ActivationScales fitActivations(MatrixView x, const ActivationGridOptions& options, Backend& backend)
{
    const UniformGrid grid(options.uniform());
    const bool grouped = options.dynamic && options.granularity == ActivationGranularity::TokenGroup && options.group > 0;
    const Index group = grouped ? std::min(options.group, x.cols()) : x.cols();
    RowMatrix scale(x.rows(), (x.cols() + group - 1) / group);
    RowMatrix zero(scale.rows(), scale.cols());
    if (options.dynamic) {
        // Ranges first; scales and zeros are made from them in place.
        backend.groupRanges(x, group, scale.mut(), zero.mut());
        if (options.granularity == ActivationGranularity::Tensor)
            spread(scale, zero);
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
    const bool shared = !options.dynamic || options.granularity == ActivationGranularity::Tensor;
    return {std::move(scale), std::move(zero), group, shared};
}

void quantizeActivations(MutMatrixView x, const ActivationGridOptions& options, Backend& backend)
{
    if (x.empty())
        return;
    const ActivationScales fitted = fitActivations(x, options, backend);
    backend.gridProject(x, UniformGrid(options.uniform()).params(fitted.scale, fitted.zero, fitted.group));
}

} // namespace qs::quant
