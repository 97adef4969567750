// SPDX-License-Identifier: Apache-2.0
#include "core/exec/backend.h"
#include "core/exec/first_error.h"
#include "core/exec/parallel.h"
#include "core/quant/uniform_grid.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <fmt/format.h>
#include <fmt/ranges.h>

namespace qs::quant {
namespace {

GridParams paramsOf(const QuantizedTensor& tensor)
{
    return UniformGrid(tensor.grid).params(tensor.scale, tensor.zero, tensor.group, tensor.groupOf);
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
    if (group == kWholeRow || group == kWholeTensor)
        return cols;
    if (group == kAutoGroup) {
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

RowMatrix QuantizedTensor::dequantize(Backend& backend) const
{
    RowMatrix result(rows(), cols());
    if (!empty())
        backend.gridDecode(codes, paramsOf(*this), result.mut());
    return result;
}

BitsCount countBits(const QuantizedTensor& tensor)
{
    BitsCount bits;
    const double params = tensor.wholeTensor ? 1.0 : static_cast<double>(tensor.scale.size());
    bits.weights = tensor.codes.size();
    bits.codes = static_cast<double>(tensor.codes.size()) * tensor.grid.bits;
    bits.scales = params * scaleTypeBits(tensor.grid.scaleType);
    if (!isSymmetric(tensor.grid.grid))
        bits.zeros = params * (tensor.grid.grid == GridId::AsymRealZero ? 16 : tensor.grid.bits);
    bits.indices = 32.0 * static_cast<double>(tensor.groupOf.size());
    return bits;
}

namespace {

/// Scales and zeros of the whole range of every group.
bool fitExtrema(MatrixView W, const UniformGrid& grid, QuantizedTensor& tensor, Backend& backend)
{
    // The ranges take the places of the scales and zeros that are made from them.
    if (!backend.groupRanges(W, tensor.group, tensor.scale.mut(), tensor.zero.mut()))
        return false;
    parallelFor(0, W.rows(), rowGrain(tensor.groups()), [&](Index begin, Index end) {
        for (Index r = begin; r < end; ++r)
            for (Index g = 0; g < tensor.groups(); ++g) {
                const ScaleZero sz = grid.fromRange(tensor.scale(r, g), tensor.zero(r, g));
                tensor.scale(r, g) = sz.scale;
                tensor.zero(r, g) = sz.zero;
            }
    });
    return true;
}

/// The same with UniformGrid's range searches.
Expected<void> searchRanges(
    MatrixView W, const UniformGrid& grid, std::span<const float> columnWeights, QuantizedTensor& tensor)
{
    const auto width = static_cast<std::size_t>(tensor.group);
    FirstError failure;
    parallelFor(0, W.rows(), rowGrain(W.cols()), [&](Index begin, Index end) {
        for (Index r = begin; r < end; ++r) {
            for (Index g = 0; g < tensor.groups(); ++g) {
                const std::size_t offset = static_cast<std::size_t>(g) * width;
                const auto weights = columnWeights.empty() ? columnWeights : columnWeights.subspan(offset, width);
                auto sz = grid.fit(W.row(r).subspan(offset, width), weights);
                if (!sz) {
                    failure.put(r, std::move(sz).error());
                    return;
                }
                tensor.scale(r, g) = sz->scale;
                tensor.zero(r, g) = sz->zero;
            }
        }
    });
    return failure.take();
}

Error notFinite(MatrixView W)
{
    return {
        Errc::NotFinite, firstNonFinite(W) + " of the weight", {}, "NaN and Inf cannot be quantized; repair the checkpoint"};
}

} // namespace

Expected<ScaleZero> fitWholeTensor(
    MatrixView W, const UniformGridOptions& options, Backend& backend, std::span<const float> columnWeights)
{
    if (!columnWeights.empty() && static_cast<Index>(columnWeights.size()) != W.cols())
        return fail(Errc::Mismatch, fmt::format("{} column weights for {} columns", columnWeights.size(), W.cols()));
    const UniformGrid grid(options);
    QS_CHECK(grid.check());
    RowMatrix lo(W.rows(), 1), hi(W.rows(), 1);
    if (!backend.groupRanges(W, W.cols(), lo.mut(), hi.mut()))
        return tl::unexpected(notFinite(W));
    if (options.range == RangeMethod::MinMax)
        return grid.fromRange(std::ranges::min(lo.values()), std::ranges::max(hi.values()));
    const RowMatrix values(W);
    std::vector<float> weights;
    for (Index r = 0; r < W.rows() && !columnWeights.empty(); ++r)
        weights.insert(weights.end(), columnWeights.begin(), columnWeights.end());
    return grid.fit(values.values(), weights);
}

Expected<QuantizedTensor> fitGrid(
    MatrixView W, Index group, const UniformGridOptions& options, Backend& backend, std::span<const float> columnWeights)
{
    QS_TRY(width, resolveGroup(group, W.cols()));
    if (!columnWeights.empty() && static_cast<Index>(columnWeights.size()) != W.cols())
        return fail(Errc::Mismatch, fmt::format("{} column weights for {} columns", columnWeights.size(), W.cols()));
    const UniformGrid grid(options);
    QS_CHECK(grid.check());
    QuantizedTensor tensor;
    tensor.grid = options;
    tensor.group = width;
    tensor.codes = BasicMatrix<std::int16_t>(W.rows(), W.cols());
    tensor.scale = RowMatrix(W.rows(), W.cols() / width);
    tensor.zero = RowMatrix(W.rows(), W.cols() / width);
    if (group == kWholeTensor) {
        QS_TRY(sz, fitWholeTensor(W, options, backend, columnWeights));
        tensor.wholeTensor = true;
        std::ranges::fill(tensor.scale.values(), sz.scale);
        std::ranges::fill(tensor.zero.values(), sz.zero);
    } else if (options.range == RangeMethod::MinMax) {
        if (!fitExtrema(W, grid, tensor, backend))
            return tl::unexpected(notFinite(W));
    } else if (auto searched = searchRanges(W, grid, columnWeights, tensor); !searched) {
        return tl::unexpected(searched.error().code == Errc::NotFinite ? notFinite(W) : std::move(searched).error());
    }
    return tensor;
}

void encodeNearest(MatrixView W, QuantizedTensor& tensor, Backend& backend)
{
    assert(W.rows() == tensor.rows() && W.cols() == tensor.cols());
    backend.gridEncode(W, paramsOf(tensor), tensor.codes.mut());
}

Expected<QuantizedTensor> quantizeNearest(
    MatrixView W, Index group, const UniformGridOptions& options, Backend& backend, std::span<const float> columnWeights)
{
    QS_TRY(tensor, fitGrid(W, group, options, backend, columnWeights));
    encodeNearest(W, tensor, backend);
    return std::move(tensor);
}

} // namespace qs::quant
