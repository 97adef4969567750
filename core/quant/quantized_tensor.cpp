// SPDX-License-Identifier: Apache-2.0
#include "core/exec/parallel.h"
#include "core/quant/uniform_grid.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <mutex>
#include <optional>

namespace qs::quant {
namespace {

/// Rows per parallel chunk: about 64 Ki elements.
Index rowGrain(Index cols)
{
    return std::max<Index>(1, 65536 / std::max<Index>(1, cols));
}

Index groupOfColumn(const QuantizedTensor& tensor, Index col)
{
    return tensor.groupOf.empty() ? col / tensor.group : static_cast<Index>(tensor.groupOf[static_cast<std::size_t>(col)]);
}

std::string firstNonFinite(MatrixView W)
{
    for (Index r = 0; r < W.rows(); ++r)
        for (Index c = 0; c < W.cols(); ++c)
            if (!std::isfinite(W(r, c)))
                return fmt::format("{} at ({}, {})", std::isnan(W(r, c)) ? "NaN" : "Inf", r, c);
    return {};
}

} // namespace

Expected<Index> resolveGroup(Index group, Index cols)
{
    constexpr std::array<Index, 4> kUsual{128, 64, 32, 16};
    if (cols < 1)
        return fail(Errc::InvalidArgument, "a layer without columns cannot be grouped", "group");
    if (group == -1)
        return cols;
    if (group == 0) {
        for (const Index candidate : kUsual)
            if (cols % candidate == 0)
                return candidate;
        return cols;
    }
    if (group > 0 && group <= cols && cols % group == 0)
        return group;
    std::vector<Index> fitting;
    for (const Index candidate : {Index{1024}, Index{512}, Index{256}, Index{128}, Index{64}, Index{32}, Index{16}})
        if (candidate < cols && cols % candidate == 0)
            fitting.push_back(candidate);
    return fail(Errc::InvalidArgument,
        group < 0 ? fmt::format("group {} is not a number of columns", group)
                  : fmt::format("a group of {} columns does not divide the layer's {} columns", group, cols),
        "group",
        fitting.empty() ? std::string("use -1 for one scale per row")
                        : fmt::format("use {}, or -1 for one scale per row", fmt::join(fitting, ", ")));
}

RowMatrix QuantizedTensor::dequantize() const
{
    RowMatrix result(rows(), cols());
    parallelFor(0, rows(), rowGrain(cols()), [&](Index begin, Index end) {
        for (Index r = begin; r < end; ++r) {
            const std::int16_t* code = codes.row(r).data();
            float* out = result.row(r).data();
            if (!groupOf.empty()) {
                for (Index c = 0; c < cols(); ++c) {
                    const Index g = groupOf[static_cast<std::size_t>(c)];
                    out[c] = scale(r, g) * (static_cast<float>(code[c]) - zero(r, g));
                }
                continue;
            }
            for (Index g = 0; g < groups(); ++g) {
                const float s = scale(r, g), z = zero(r, g);
                const Index last = std::min(cols(), (g + 1) * group);
                for (Index c = g * group; c < last; ++c)
                    out[c] = s * (static_cast<float>(code[c]) - z);
            }
        }
    });
    return result;
}

BitsCount countBits(const QuantizedTensor& tensor)
{
    BitsCount bits;
    const auto params = static_cast<double>(tensor.scale.size());
    bits.weights = tensor.codes.size();
    bits.codes = static_cast<double>(tensor.codes.size()) * tensor.grid.bits;
    bits.scales = params * scaleTypeBits(tensor.grid.scaleType);
    if (!isSymmetric(tensor.grid.grid))
        bits.zeros = params * (tensor.grid.grid == GridId::AsymRealZero ? 16 : tensor.grid.bits);
    bits.indices = 32.0 * static_cast<double>(tensor.groupOf.size());
    return bits;
}

Expected<QuantizedTensor> fitGrid(
    MatrixView W, Index group, const UniformGridOptions& options, std::span<const float> columnWeights)
{
    QS_TRY(width, resolveGroup(group, W.cols()));
    if (!columnWeights.empty() && static_cast<Index>(columnWeights.size()) != W.cols())
        return fail(Errc::Mismatch, fmt::format("{} column weights for {} columns", columnWeights.size(), W.cols()));
    QuantizedTensor tensor;
    tensor.grid = options;
    tensor.group = width;
    tensor.codes = BasicMatrix<std::int16_t>(W.rows(), W.cols());
    const Index groups = W.cols() / width;
    tensor.scale = RowMatrix(W.rows(), groups);
    tensor.zero = RowMatrix(W.rows(), groups);

    const UniformGrid grid(options);
    std::mutex mutex;
    std::optional<Error> failure; // of the first row that fails
    Index failedRow = W.rows();
    parallelFor(0, W.rows(), rowGrain(W.cols()), [&](Index begin, Index end) {
        for (Index r = begin; r < end; ++r) {
            for (Index g = 0; g < groups; ++g) {
                const auto offset = static_cast<std::size_t>(g * width);
                const auto weights
                    = columnWeights.empty() ? columnWeights : columnWeights.subspan(offset, static_cast<std::size_t>(width));
                auto sz = grid.fit(W.row(r).subspan(offset, static_cast<std::size_t>(width)), weights);
                if (!sz) {
                    const std::lock_guard lock(mutex);
                    if (r < failedRow) {
                        failedRow = r;
                        failure = std::move(sz).error();
                    }
                    return;
                }
                tensor.scale(r, g) = sz->scale;
                tensor.zero(r, g) = sz->zero;
            }
        }
    });
    if (failure) {
        if (failure->code == Errc::NotFinite)
            return fail(Errc::NotFinite, firstNonFinite(W) + " of the weight", {},
                "NaN and Inf cannot be quantized; repair the checkpoint");
        return tl::unexpected(std::move(*failure));
    }
    return tensor;
}

void encodeNearest(MatrixView W, QuantizedTensor& tensor)
{
    assert(W.rows() == tensor.rows() && W.cols() == tensor.cols());
    const UniformGrid grid(tensor.grid);
    parallelFor(0, W.rows(), rowGrain(W.cols()), [&](Index begin, Index end) {
        for (Index r = begin; r < end; ++r) {
            const auto values = W.row(r);
            const auto codes = tensor.codes.row(r);
            if (!tensor.groupOf.empty()) {
                for (Index c = 0; c < W.cols(); ++c) {
                    const Index g = groupOfColumn(tensor, c);
                    codes[static_cast<std::size_t>(c)] = static_cast<std::int16_t>(
                        grid.encode(values[static_cast<std::size_t>(c)], {tensor.scale(r, g), tensor.zero(r, g)}));
                }
                continue;
            }
            for (Index g = 0; g < tensor.groups(); ++g) {
                const auto offset = static_cast<std::size_t>(g * tensor.group);
                const auto count = static_cast<std::size_t>(std::min(tensor.group, W.cols() - g * tensor.group));
                grid.encode(
                    values.subspan(offset, count), {tensor.scale(r, g), tensor.zero(r, g)}, codes.subspan(offset, count));
            }
        }
    });
}

Expected<QuantizedTensor> quantizeNearest(
    MatrixView W, Index group, const UniformGridOptions& options, std::span<const float> columnWeights)
{
    QS_TRY(tensor, fitGrid(W, group, options, columnWeights));
    encodeNearest(W, tensor);
    return std::move(tensor);
}

} // namespace qs::quant
