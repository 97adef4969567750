// SPDX-License-Identifier: Apache-2.0
#include "core/io/packed_weight.h"

#include "core/io/file_checkpoint.h"
#include "core/io/json_text.h"
#include "core/quant/packing.h"

#include <algorithm>
#include <fmt/format.h>

namespace qs::io {
namespace {

constexpr Index kUnpackGrain = 1 << 16; // values per chunk of work

const MappedFile& fileOf(MappedFiles files, const TensorInfo& tensor)
{
    return *files[static_cast<std::size_t>(tensor.file)];
}

template <class T> Expected<std::vector<T>> readValues(MappedFiles files, const TensorInfo& tensor, Index first, Index count)
{
    std::vector<T> values(static_cast<std::size_t>(count));
    QS_CHECK(
        fileOf(files, tensor)
            .copy(tensor.offset + static_cast<std::uint64_t>(first) * sizeof(T), std::as_writable_bytes(std::span(values))));
    return values;
}

Expected<std::vector<float>> readFloats(MappedFiles files, const TensorInfo& tensor, Index first, Index count)
{
    const auto width = static_cast<std::uint64_t>(dtypeInfo(tensor.dtype).blockBits) / 8;
    std::vector<std::byte> bytes(static_cast<std::size_t>(count) * width);
    QS_CHECK(fileOf(files, tensor).copy(tensor.offset + static_cast<std::uint64_t>(first) * width, bytes));
    std::vector<float> values(static_cast<std::size_t>(count));
    QS_CHECK(decodeToFloat(tensor.dtype, bytes, values));
    return values;
}

/// Zero points of rows [row, row + count), (count, groups), as unsigned codes. The stream runs down the columns.
Expected<std::vector<std::uint8_t>> readZeros(const PackedWeight& weight, MappedFiles files, Index row, Index count)
{
    const Index bits = weight.bits;
    const Index firstWord = row * bits / 32;
    const Index lastWord = ((row + count) * bits + 31) / 32;
    QS_TRY(words,
        readValues<std::uint32_t>(files, *weight.zero, firstWord * weight.groups, (lastWord - firstWord) * weight.groups));
    std::vector<std::uint8_t> zeros(static_cast<std::size_t>(count * weight.groups));
    const std::uint64_t mask = (1U << bits) - 1U;
    for (Index r = 0; r < count; ++r) {
        const Index bit = (row + r) * bits - firstWord * 32;
        const Index word = bit / 32;
        const Index shift = bit % 32;
        for (Index g = 0; g < weight.groups; ++g) {
            std::uint64_t value = words[static_cast<std::size_t>(word * weight.groups + g)];
            if (shift + bits > 32)
                value |= static_cast<std::uint64_t>(words[static_cast<std::size_t>((word + 1) * weight.groups + g)]) << 32;
            zeros[static_cast<std::size_t>(r * weight.groups + g)] = static_cast<std::uint8_t>(value >> shift & mask);
        }
    }
    return zeros;
}

/// The group of each column, or nothing where columns are grouped in order.
Expected<std::vector<std::int32_t>> readGroupIndex(const PackedWeight& weight, MappedFiles files)
{
    if (!weight.groupIndex)
        return std::vector<std::int32_t>{};
    QS_TRY(groups, readValues<std::int32_t>(files, *weight.groupIndex, 0, weight.in));
    // Producers that do not reorder fill the index with -1.
    if (std::all_of(groups.begin(), groups.end(), [](std::int32_t g) { return g == -1; }))
        return std::vector<std::int32_t>{};
    const auto bad = std::find_if(groups.begin(), groups.end(), [&](std::int32_t g) { return g < 0 || g >= weight.groups; });
    if (bad != groups.end())
        return fail(Errc::Format,
            fmt::format("column {} is in group {}, but there are {} groups", bad - groups.begin(), *bad, weight.groups),
            placeOf(fileOf(files, *weight.groupIndex).path(), weight.groupIndex->name), "export the checkpoint again");
    return std::move(groups);
}

void decodeRow(const std::uint8_t* codes, Index count, int zero, float scale, float* target)
{
    for (Index i = 0; i < count; ++i)
        target[i] = static_cast<float>(static_cast<int>(codes[i]) - zero) * scale;
}

} // namespace

std::vector<const TensorInfo*> PackedWeight::parts() const
{
    std::vector<const TensorInfo*> all{&codes, &scale};
    if (zero)
        all.push_back(&*zero);
    if (groupIndex)
        all.push_back(&*groupIndex);
    return all;
}

Expected<void> readPackedRows(const PackedWeight& weight, MappedFiles files, Index row, MutMatrixView target)
{
    QS_TRY(columnGroup, readGroupIndex(weight, files));
    const Index perRow = quant::packedWords(weight.in, weight.bits);
    const Index scaleCols = weight.perTensor ? 1 : weight.groups;
    const int offset = 1 << (weight.bits - 1);
    const auto body = [&, &index = columnGroup](Index begin, Index end) -> Expected<void> {
        const Index count = end - begin;
        QS_TRY(words, readValues<std::uint32_t>(files, weight.codes, (row + begin) * perRow, count * perRow));
        QS_TRY(scales,
            readFloats(files, weight.scale, weight.perTensor ? 0 : (row + begin) * scaleCols,
                weight.perTensor ? 1 : count * scaleCols));
        std::vector<std::uint8_t> zeros;
        if (weight.zero) {
            QS_TRY(read, readZeros(weight, files, row + begin, count));
            zeros = std::move(read);
        }
        std::vector<std::uint8_t> codes(static_cast<std::size_t>(weight.in));
        for (Index r = 0; r < count; ++r) {
            quant::unpackStream(std::span<const std::uint32_t>(words).subspan(
                                    static_cast<std::size_t>(r * perRow), static_cast<std::size_t>(perRow)),
                0, weight.in, weight.bits, codes.data());
            const float* rowScales = scales.data() + (weight.perTensor ? 0 : r * scaleCols);
            const std::uint8_t* rowZeros = zeros.empty() ? nullptr : zeros.data() + r * weight.groups;
            float* values = target.row(begin + r).data();
            if (!index.empty()) {
                for (Index c = 0; c < weight.in; ++c) {
                    const std::int32_t g = index[static_cast<std::size_t>(c)];
                    decodeRow(codes.data() + c, 1, rowZeros ? rowZeros[g] : offset, rowScales[g], values + c);
                }
                continue;
            }
            for (Index g = 0; g < weight.groups; ++g) {
                const Index first = g * weight.groupSize;
                decodeRow(codes.data() + first, std::min(weight.groupSize, weight.in - first), rowZeros ? rowZeros[g] : offset,
                    rowScales[g], values + first);
            }
        }
        return {};
    };
    return parallelTry(0, target.rows(), std::max<Index>(1, kUnpackGrain / std::max<Index>(1, weight.in)), body);
}

} // namespace qs::io
