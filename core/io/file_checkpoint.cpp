// SPDX-License-Identifier: Apache-2.0
#include "core/io/file_checkpoint.h"

#include "core/exec/parallel.h"
#include "core/io/json_text.h"

#include <algorithm>
#include <fmt/format.h>
#include <new>
#include <numeric>

namespace qs::io {
namespace {

constexpr Index kGrain = 1 << 16; // values per chunk of work: 256 KiB decoded

} // namespace

Expected<void> parallelTry(Index begin, Index end, Index grain, const std::function<Expected<void>(Index, Index)>& body)
{
    std::mutex mutex;
    Index failedAt = end;
    std::optional<Error> error;
    parallelFor(begin, end, grain, [&](Index b, Index e) {
        if (auto result = body(b, e); !result) {
            const std::lock_guard lock(mutex);
            if (!error || b < failedAt) {
                failedAt = b;
                error = std::move(result).error();
            }
        }
    });
    if (error)
        return tl::unexpected(std::move(*error));
    return {};
}

Expected<void> addBytes(Digest& digest, const MappedFile& file, std::uint64_t offset, std::uint64_t size)
{
    constexpr std::uint64_t kStep = std::uint64_t{1} << 22;
    for (std::uint64_t done = 0; done < size; done += kStep)
        QS_CHECK(file.read(
            offset + done, std::min(kStep, size - done), [&](std::span<const std::byte> bytes) { digest.add(bytes); }));
    return {};
}

FileCheckpoint::FileCheckpoint(CheckpointParts parts)
    : m_parts(std::move(parts))
{
    for (const auto& file : m_parts.files)
        m_paths.push_back(file->path());
}

Expected<std::shared_ptr<const Checkpoint>> FileCheckpoint::create(CheckpointParts parts)
{
    std::shared_ptr<FileCheckpoint> checkpoint(new FileCheckpoint(std::move(parts)));
    QS_CHECK(checkpoint->index());
    QS_CHECK(checkpoint->computeId());
    return std::shared_ptr<const Checkpoint>(std::move(checkpoint));
}

Expected<void> FileCheckpoint::index()
{
    m_byName.reserve(m_parts.tensors.size());
    for (const TensorInfo& tensor : m_parts.tensors) {
        const auto [other, fresh] = m_byName.emplace(tensor.name, &tensor);
        if (!fresh)
            return fail(Errc::Format,
                "is stored twice: also in " + m_paths[static_cast<std::size_t>(other->second->file)].string(),
                placeOf(m_paths[static_cast<std::size_t>(tensor.file)], tensor.name),
                "the parts do not belong together; fetch them again");
    }
    return {};
}

Expected<void> FileCheckpoint::computeId()
{
    Digest digest;
    digest.add(m_parts.format);
    digest.add(m_parts.identity);
    for (std::size_t i = 0; i < m_parts.files.size(); ++i) {
        digest.add(static_cast<std::int64_t>(m_parts.files[i]->size()));
        QS_CHECK(addBytes(digest, *m_parts.files[i], 0, m_parts.headerBytes[i]));
    }
    m_id = digest.hex();
    return {};
}

const TensorInfo* FileCheckpoint::find(std::string_view name) const
{
    const auto found = m_byName.find(name);
    return found == m_byName.end() ? nullptr : found->second;
}

Expected<const TensorInfo*> FileCheckpoint::own(const TensorInfo& tensor) const
{
    // The caller's copy may be stale or of another checkpoint: only our own offsets have been checked.
    const TensorInfo* mine = find(tensor.name);
    if (!mine)
        return fail(Errc::NotFound, "has no tensor " + io::quoted(tensor.name), m_parts.path.string());
    return mine;
}

Expected<void> FileCheckpoint::readRows(const TensorInfo& given, Index row, MutMatrixView target) const
{
    QS_TRY(tensor, own(given));
    const Index rows = tensor->rows();
    if (target.cols() != tensor->cols() || row < 0 || target.rows() > rows || row > rows - target.rows())
        return fail(Errc::InvalidArgument,
            fmt::format(
                "rows {} + {} of {} columns are not a part of {}", row, target.rows(), target.cols(), shapeText(tensor->shape)),
            placeOf(m_parts.path, tensor->name));
    if (tensor->dtype == DType::Packed) {
        if (target.empty())
            return {};
        return readPackedRows(m_parts.packed.at(tensor->name), m_parts.files, row, target);
    }
    if (!dtypeInfo(tensor->dtype).decodable)
        return fail(Errc::Unsupported,
            fmt::format("values of type {} cannot be decoded",
                tensor->dtype == DType::Unknown ? io::quoted(tensor->unknownType) : dtypeName(tensor->dtype)),
            placeOf(m_parts.path, tensor->name), "convert the checkpoint to a floating-point type, Q4_0..Q8_0 or Q4_K..Q6_K");
    if (target.empty())
        return {};
    return readPlain(*tensor, row, target);
}

Expected<void> FileCheckpoint::readPlain(const TensorInfo& tensor, Index row, MutMatrixView target) const
{
    const DTypeInfo& info = dtypeInfo(tensor.dtype);
    const Index cols = target.cols();
    const Index bitsPerBlock = info.blockBits;
    // One run of values per chunk: any run where the target has no gaps between its rows, else whole rows.
    const bool oneRun = target.contiguous();
    const Index unit = oneRun ? info.blockElements : cols;
    const Index units = target.size() / unit;
    const auto decode = [&](Index value, std::span<float> values) -> Expected<void> {
        const auto offset = tensor.offset + static_cast<std::uint64_t>(value / info.blockElements * bitsPerBlock / 8);
        const auto bytes = *storageBytes(tensor.dtype, static_cast<Index>(values.size()));
        bool decoded = false; // sizes were checked above, so this only guards against a mistake of ours
        QS_CHECK(file(tensor).read(offset, bytes,
            [&](std::span<const std::byte> source) { decoded = decodeToFloat(tensor.dtype, source, values).has_value(); }));
        if (!decoded)
            return fail(Errc::Internal, "decoder refused its input", placeOf(m_parts.path, tensor.name));
        return {};
    };
    return parallelTry(0, units, std::max<Index>(1, kGrain / unit), [&](Index begin, Index end) -> Expected<void> {
        if (oneRun) {
            const auto count = static_cast<std::size_t>((end - begin) * unit);
            return decode(row * cols + begin * unit, {target.data() + begin * unit, count});
        }
        for (Index r = begin; r < end; ++r)
            QS_CHECK(decode((row + r) * cols, target.row(r)));
        return {};
    });
}

Expected<std::vector<std::byte>> FileCheckpoint::readRaw(const TensorInfo& given) const
{
    QS_TRY(tensor, own(given));
    if (tensor->dtype == DType::Packed)
        return fail(Errc::InvalidArgument, "is made of several stored tensors", placeOf(m_parts.path, tensor->name));
    try {
        std::vector<std::byte> bytes(tensor->bytes);
        QS_CHECK(file(*tensor).copy(tensor->offset, bytes));
        return bytes;
    } catch (const std::bad_alloc&) {
        return fail(Errc::OutOfMemory, fmt::format("{} bytes do not fit into memory", tensor->bytes),
            placeOf(m_parts.path, tensor->name));
    }
}

Expected<std::string> FileCheckpoint::tensorDigest(const TensorInfo& given) const
{
    QS_TRY(tensor, own(given));
    {
        const std::lock_guard lock(m_mutex);
        if (const auto known = m_digests.find(tensor->name); known != m_digests.end())
            return known->second;
    }
    // Outside the lock: two threads may compute the same digest, which costs time only.
    Digest digest;
    const auto addTensor = [&](const TensorInfo& part) {
        digest.add(std::string_view(dtypeName(part.dtype)));
        for (const Index extent : part.shape)
            digest.add(static_cast<std::int64_t>(extent));
        return addBytes(digest, file(part), part.offset, part.bytes);
    };
    if (tensor->dtype == DType::Packed) {
        const PackedWeight& weight = m_parts.packed.at(tensor->name);
        for (const Index value : {weight.out, weight.in, weight.groupSize, static_cast<Index>(weight.bits)})
            digest.add(static_cast<std::int64_t>(value));
        for (const TensorInfo* part : weight.parts())
            QS_CHECK(addTensor(*part));
    } else {
        QS_CHECK(addTensor(*tensor));
    }
    std::string hex = digest.hex();
    const std::lock_guard lock(m_mutex);
    m_digests.emplace(tensor->name, hex);
    return hex;
}

} // namespace qs::io
