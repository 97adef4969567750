// SPDX-License-Identifier: Apache-2.0
#include "plugins/rounding/clip_search.h"

#include "core/exec/first_error.h"
#include "core/exec/parallel.h"

#include <algorithm>
#include <cmath>

namespace qs::plugins {
namespace {

constexpr Index kRowBlock = 1024; // bounds the float64 copies, and is the unit of cancelling
constexpr Index kGrain = 64;

} // namespace

Expected<ClipResult> searchClip(const quant::UniformGrid& grid, MatrixView W, MatrixViewD Cgg, std::span<const float> weights,
    Backend& backend, const JobContext& job)
{
    const Index rows = W.rows();
    const Index width = W.cols();
    const auto count = static_cast<std::size_t>(rows);
    ClipResult result;
    result.fitted.resize(count);
    result.factor.assign(count, 1.0);
    result.loss.assign(count, 0.0);
    result.lossUnclipped.assign(count, 0.0);

    for (Index first = 0; first < rows; first += kRowBlock) {
        const Index blockRows = std::min(kRowBlock, rows - first);
        MatrixD delta(blockRows, width);
        MatrixD product(blockRows, width);
        std::vector<quant::ScaleZero> fitted(static_cast<std::size_t>(blockRows));
        for (int i = 0; i < kClipSteps; ++i) {
            QS_CHECK(job.poll());
            const double factor = 1.0 - static_cast<double>(i) / kClipGrid;
            FirstError error;
            parallelFor(0, blockRows, kGrain, [&](Index begin, Index end) {
                std::vector<float> clamped(static_cast<std::size_t>(width)), projected(clamped);
                for (Index r = begin; r < end; ++r) {
                    const std::span<const float> w = W.row(first + r);
                    float peak = 0.0F;
                    for (const float value : w)
                        peak = std::max(peak, std::fabs(value));
                    const auto limit = static_cast<float>(factor * static_cast<double>(peak));
                    for (std::size_t c = 0; c < clamped.size(); ++c)
                        clamped[c] = std::clamp(w[c], -limit, limit);
                    auto sz = grid.fit(clamped, weights);
                    if (!sz) {
                        error.put(r, std::move(sz).error());
                        return;
                    }
                    fitted[static_cast<std::size_t>(r)] = *sz;
                    grid.project(w, *sz, projected);
                    for (std::size_t c = 0; c < clamped.size(); ++c)
                        delta(r, static_cast<Index>(c)) = static_cast<double>(w[c]) - static_cast<double>(projected[c]);
                }
            });
            QS_CHECK(error.take());
            backend.gemmD(false, false, 1.0, delta, Cgg, 0.0, product.mut());
            parallelFor(0, blockRows, kGrain, [&](Index begin, Index end) {
                for (Index r = begin; r < end; ++r) {
                    double loss = 0.0;
                    for (Index c = 0; c < width; ++c)
                        loss += product(r, c) * delta(r, c);
                    const auto row = static_cast<std::size_t>(first + r);
                    if (i == 0)
                        result.lossUnclipped[row] = loss;
                    if (i == 0 || loss < result.loss[row]) {
                        result.loss[row] = loss;
                        result.factor[row] = factor;
                        result.fitted[row] = fitted[static_cast<std::size_t>(r)];
                    }
                }
            });
        }
    }
    return result;
}

} // namespace qs::plugins
