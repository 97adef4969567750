// SPDX-License-Identifier: Apache-2.0
#include "core/base/atomic_file.h"
#include "core/io/checkpoint.h"
#include "core/io/json_text.h"
#include "core/io/safetensors.h"

#include <algorithm>
#include <fmt/format.h>
#include <limits>
#include <nlohmann/json.hpp>
#include <tuple>

namespace qs::io {
namespace {

struct Placed {
    TensorToWrite* tensor;
    std::uint64_t bytes;
};

Expected<std::vector<Placed>> place(const std::filesystem::path& target, std::vector<TensorToWrite>& tensors)
{
    std::vector<Placed> order;
    order.reserve(tensors.size());
    for (TensorToWrite& tensor : tensors) {
        const auto refuse = [&](std::string message) {
            return fail(Errc::InvalidArgument, std::move(message), placeOf(target, tensor.name));
        };
        if (tensor.name.empty() || tensor.name == "__metadata__" || tensor.name.size() > kMaxNameBytes || !isUtf8(tensor.name))
            return refuse("is not a name that safetensors can store");
        if (!dtypeFromSafetensors(dtypeName(tensor.dtype)))
            return refuse(fmt::format("safetensors has no type {}", dtypeName(tensor.dtype)));
        const auto count = elementCount(tensor.shape);
        const auto bytes = count ? storageBytes(tensor.dtype, *count) : std::nullopt;
        if (!bytes)
            return refuse(
                fmt::format("{} of {} is no whole number of bytes", shapeText(tensor.shape), dtypeName(tensor.dtype)));
        order.push_back({&tensor, *bytes});
    }
    std::sort(order.begin(), order.end(), [](const Placed& a, const Placed& b) {
        return std::tuple(-dtypeInfo(a.tensor->dtype).blockBits, std::string_view(a.tensor->name))
            < std::tuple(-dtypeInfo(b.tensor->dtype).blockBits, std::string_view(b.tensor->name));
    });
    std::vector<std::string_view> names;
    names.reserve(order.size());
    for (const Placed& placed : order)
        names.push_back(placed.tensor->name);
    std::sort(names.begin(), names.end());
    if (const auto twice = std::adjacent_find(names.begin(), names.end()); twice != names.end())
        return fail(Errc::InvalidArgument, "would be written twice", placeOf(target, *twice));
    return order;
}

/// Length, JSON and padding, so that the data begin at a multiple of 8.
Expected<std::string> headerText(
    const std::filesystem::path& target, const std::vector<Placed>& order, std::string_view producer)
{
    std::string json = R"({"__metadata__":{"format":"pt")"; // transformers refuses files that do not say
    if (!producer.empty())
        json += R"(,"producer":)" + nlohmann::json(producer).dump();
    json += '}';
    std::uint64_t offset = 0;
    for (const Placed& placed : order) {
        if (placed.bytes > static_cast<std::uint64_t>(std::numeric_limits<Index>::max()) - offset)
            return fail(Errc::InvalidArgument, "holds more than 2^63 bytes", target.string());
        json += fmt::format(R"(,{}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})",
            nlohmann::json(placed.tensor->name).dump(), dtypeName(placed.tensor->dtype), fmt::join(placed.tensor->shape, ","),
            offset, offset + placed.bytes);
        offset += placed.bytes;
    }
    json += '}';
    json.resize((json.size() + 7) / 8 * 8, ' ');
    if (json.size() > kMaxSafetensorsHeader)
        return fail(Errc::InvalidArgument, fmt::format("header of {} bytes exceeds the format's limit", json.size()),
            target.string(), "write several files");
    std::string text(8, '\0');
    for (int i = 0; i < 8; ++i)
        text[static_cast<std::size_t>(i)] = static_cast<char>(json.size() >> (8 * i) & 255U);
    return text + json;
}

} // namespace

Expected<void> writeSafetensors(
    const std::filesystem::path& target, std::vector<TensorToWrite> tensors, const JobContext& job, std::string_view producer)
{
    QS_TRY(order, place(target, tensors));
    QS_TRY(header, headerText(target, order, producer));
    std::uint64_t total = 0;
    for (const Placed& placed : order)
        total += placed.bytes;
    QS_CHECK(job.poll());
    QS_TRY(file, AtomicFile::create(target));
    QS_CHECK(file.write(header));
    std::uint64_t done = 0;
    for (const Placed& placed : order) {
        QS_CHECK(job.poll());
        std::uint64_t written = 0;
        const auto sink = [&, &out = file](std::span<const std::byte> bytes) -> Expected<void> {
            QS_CHECK(job.poll());
            if (bytes.size() > placed.bytes - written)
                return fail(Errc::Internal, fmt::format("more than {} bytes were produced", placed.bytes),
                    placeOf(target, placed.tensor->name));
            written += bytes.size();
            return out.write(bytes);
        };
        QS_CHECK(placed.tensor->produce(sink));
        if (written != placed.bytes)
            return fail(Errc::Internal, fmt::format("{} bytes were produced instead of {}", written, placed.bytes),
                placeOf(target, placed.tensor->name));
        done += written;
        job.progress(total == 0 ? 1.0 : static_cast<double>(done) / static_cast<double>(total), placed.tensor->name);
    }
    QS_CHECK(job.poll());
    return file.commit();
}

} // namespace qs::io
