// SPDX-License-Identifier: Apache-2.0
#include "core/io/safetensors.h"

#include "core/io/json_text.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <fmt/format.h>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>
#include <unordered_set>

static_assert(std::endian::native == std::endian::little, "tensor data are little-endian and mapped as they are");

namespace qs::io {
namespace {

using nlohmann::json;

constexpr const char* kFetchAgain = "the file is damaged or not a safetensors file; fetch it again";

/// A tensor as its header entry says, nothing checked beyond types.
struct Entry {
    std::string name;
    std::string dtype;
    Shape shape;
    std::vector<Index> offsets;
    bool hasDtype = false;
    bool hasShape = false;
    bool hasOffsets = false;
};

/// Reads the header event by event, so that a hostile one costs no more memory than its own size.
class HeaderReader final : public nlohmann::json_sax<json> {
public:
    explicit HeaderReader(const std::filesystem::path& path)
        : m_path(path)
    {
    }

    std::vector<Entry> entries;
    std::map<std::string, MetaValue> metadata;
    std::optional<Error> error;

    bool null() override { return wrongValue("null"); }
    bool boolean(bool) override { return wrongValue("true or false"); }
    bool number_integer(number_integer_t) override { return wrongValue("a negative number"); }
    bool number_float(number_float_t, const string_t&) override { return wrongValue("a number that is no 64-bit integer"); }
    bool binary(binary_t&) override { return wrongValue("binary data"); }

    bool number_unsigned(number_unsigned_t value) override
    {
        if (m_place != Place::Numbers)
            return wrongValue("a number");
        if (value > static_cast<number_unsigned_t>(std::numeric_limits<Index>::max()))
            return refuse("holds a number above 2^63 - 1");
        if (m_numbers->size() >= kMaxRank)
            return refuse(fmt::format("holds more than {} numbers", kMaxRank));
        m_numbers->push_back(static_cast<Index>(value));
        return true;
    }

    bool string(string_t& value) override
    {
        if (m_place == Place::Metadata) {
            metadata[m_key] = value;
            return true;
        }
        if (m_place != Place::Entry || m_key != "dtype")
            return wrongValue("a string");
        entries.back().dtype = value;
        return true;
    }

    bool start_object(std::size_t) override
    {
        switch (m_place) {
        case Place::Start: m_place = Place::Root; return true;
        case Place::Root:
            m_place = m_key == "__metadata__" ? Place::Metadata : Place::Entry;
            if (m_place == Place::Entry) {
                entries.emplace_back();
                entries.back().name = m_key;
            }
            return true;
        default: return wrongValue("an object");
        }
    }

    bool end_object() override
    {
        m_place = m_place == Place::Root ? Place::End : Place::Root;
        m_key.clear();
        return true;
    }

    bool start_array(std::size_t) override
    {
        if (m_place != Place::Entry || m_key == "dtype")
            return wrongValue("a list");
        m_numbers = m_key == "shape" ? &entries.back().shape : &entries.back().offsets;
        m_place = Place::Numbers;
        return true;
    }

    bool end_array() override
    {
        m_place = Place::Entry;
        return true;
    }

    bool key(string_t& value) override
    {
        if (m_place == Place::Root)
            return topKey(value);
        m_key = value;
        if (m_place == Place::Metadata) {
            if (metadata.contains(value))
                return refuse("key " + io::quoted(value) + " occurs twice");
            if (metadata.size() >= kMaxTensors || value.size() > kMaxNameBytes)
                return refuse(fmt::format("has more than {} keys or one of more than {} bytes", kMaxTensors, kMaxNameBytes));
            return true;
        }
        Entry& entry = entries.back();
        bool* seen = value == "dtype" ? &entry.hasDtype
            : value == "shape"        ? &entry.hasShape
            : value == "data_offsets" ? &entry.hasOffsets
                                      : nullptr;
        if (!seen)
            return refuse("has an unknown field " + io::quoted(value));
        if (*seen)
            return refuse("occurs twice");
        *seen = true;
        return true;
    }

    bool parse_error(std::size_t, const std::string&, const json::exception& exception) override
    {
        const std::string_view what = exception.what();
        const bool utf8 = what.find("UTF-8") != std::string_view::npos;
        error = Error{Errc::Format, (utf8 ? "header is not UTF-8: " : "header is not valid JSON: ") + jsonReason(what),
            m_path.string(), kFetchAgain};
        return false;
    }

private:
    enum class Place { Start, Root, Metadata, Entry, Numbers, End };

    bool topKey(string_t& value)
    {
        m_key.clear();
        if (value.empty() || value.size() > kMaxNameBytes)
            return refuse(fmt::format("a tensor name of {} bytes; 1 to {} are allowed", value.size(), kMaxNameBytes));
        if (entries.size() >= kMaxTensors)
            return refuse(fmt::format("more than {} tensors", kMaxTensors));
        if (!m_names.insert(value).second)
            return refuse("key " + io::quoted(value) + " occurs twice in the header");
        m_key = value;
        return true;
    }

    std::string place() const
    {
        switch (m_place) {
        case Place::Entry:
        case Place::Numbers: return placeOf(m_path, entries.back().name, io::quoted(m_key));
        case Place::Metadata: return placeOf(m_path, {}, "__metadata__ " + io::quoted(m_key));
        default: return m_key.empty() ? m_path.string() : placeOf(m_path, m_key);
        }
    }

    bool refuse(std::string message)
    {
        error = Error{Errc::Format, std::move(message), place(), kFetchAgain};
        return false;
    }

    bool wrongValue(const char* found)
    {
        const char* wanted = m_place == Place::Metadata ? "metadata values are strings"
            : m_place == Place::Numbers                 ? "only integers >= 0 are allowed"
            : m_place == Place::Entry ? (m_key == "dtype" ? "a string is needed" : "a list of integers is needed")
                                      : "an object is needed";
        return refuse(fmt::format("holds {}, but {}", found, wanted));
    }

    const std::filesystem::path& m_path;
    Place m_place = Place::Start;
    std::string m_key;
    std::vector<Index>* m_numbers = nullptr;
    std::unordered_set<std::string> m_names;
};

Expected<TensorInfo> checkEntry(const Entry& entry, const std::filesystem::path& path, std::uint64_t dataBytes)
{
    const auto broken = [&](const char* field, std::string message) {
        return fail(Errc::Format, std::move(message), placeOf(path, entry.name, field), kFetchAgain);
    };
    if (!entry.hasDtype)
        return broken("dtype", "is missing");
    if (!entry.hasShape)
        return broken("shape", "is missing");
    if (!entry.hasOffsets)
        return broken("data_offsets", "is missing");
    if (entry.offsets.size() != 2)
        return broken("data_offsets", fmt::format("holds {} numbers instead of 2", entry.offsets.size()));
    const Index begin = entry.offsets[0];
    const Index end = entry.offsets[1];
    if (begin > end)
        return broken("data_offsets", fmt::format("begin {} is behind end {}", begin, end));
    if (static_cast<std::uint64_t>(end) > dataBytes)
        return broken("data_offsets", fmt::format("end {} is behind the {} bytes of data", end, dataBytes));
    TensorInfo tensor;
    tensor.name = entry.name;
    tensor.shape = entry.shape;
    tensor.bytes = static_cast<std::uint64_t>(end - begin);
    tensor.offset = static_cast<std::uint64_t>(begin);
    const auto count = elementCount(entry.shape);
    if (!count)
        return broken("shape", shapeText(entry.shape) + " overflows 63 bits");
    const auto dtype = dtypeFromSafetensors(entry.dtype);
    if (!dtype) { // never guessed: listed, but unreadable
        tensor.unknownType = entry.dtype.substr(0, kMaxNameBytes);
        return tensor;
    }
    tensor.dtype = *dtype;
    const Index bits = dtypeInfo(*dtype).blockBits;
    if (*count > std::numeric_limits<Index>::max() / bits)
        return broken("shape", fmt::format("{} of {} overflows 63 bits", shapeText(entry.shape), entry.dtype));
    if (*count * bits % 8 != 0)
        return broken("shape", fmt::format("{} of {} does not end on a whole byte", shapeText(entry.shape), entry.dtype));
    const auto bytes = static_cast<std::uint64_t>(*count * bits / 8);
    if (bytes != tensor.bytes)
        return broken("data_offsets",
            fmt::format("spans {} bytes, but {} of {} takes {}", tensor.bytes, shapeText(entry.shape), entry.dtype, bytes));
    return tensor;
}

/// Sorted by offset, the ranges must cover the data exactly.
Expected<void> checkCover(const std::vector<TensorInfo>& tensors, const std::filesystem::path& path, std::uint64_t dataBytes)
{
    std::uint64_t end = 0;
    for (const TensorInfo& tensor : tensors) {
        if (tensor.offset != end)
            return fail(Errc::Format,
                fmt::format("begins at {}, but the data before it end at {} ({})", tensor.offset, end,
                    tensor.offset > end ? "a gap" : "an overlap"),
                placeOf(path, tensor.name, "data_offsets"), kFetchAgain);
        end += tensor.bytes;
    }
    if (end != dataBytes)
        return fail(Errc::Format, fmt::format("{} bytes of data follow the header, but its tensors end at {}", dataBytes, end),
            path.string(), end < dataBytes ? "bytes behind the last tensor are not allowed" : kFetchAgain);
    return {};
}

bool plainFileName(std::string_view name)
{
    return !name.empty() && name != "." && name != ".." && name.size() <= 255
        && std::none_of(
            name.begin(), name.end(), [](char c) { return c == '/' || c == '\\' || static_cast<unsigned char>(c) < 0x20; });
}

} // namespace

Expected<void> addSafetensorsFile(const std::filesystem::path& path, CheckpointParts& parts)
{
    QS_TRY(file, MappedFile::open(path));
    const auto broken = [&](std::string message) { return fail(Errc::Format, std::move(message), path.string(), kFetchAgain); };
    if (file->size() < 8)
        return broken(fmt::format("has {} bytes; the header length alone takes 8", file->size()));
    std::uint64_t length = 0;
    QS_CHECK(file->copy(0, std::as_writable_bytes(std::span(&length, 1))));
    if (length > kMaxSafetensorsHeader)
        return broken(fmt::format("header length {} exceeds the limit of {} bytes", length, kMaxSafetensorsHeader));
    if (length > file->size() - 8)
        return broken(fmt::format("header length {} exceeds the {} bytes that follow it", length, file->size() - 8));
    std::string text(static_cast<std::size_t>(length), '\0');
    QS_CHECK(file->copy(8, std::as_writable_bytes(std::span(text))));
    if (!text.starts_with('{'))
        return broken("header does not begin with '{'");
    HeaderReader reader(path);
    if (!json::sax_parse(text, &reader)) {
        if (reader.error)
            return tl::unexpected(std::move(*reader.error));
        return broken("header is not valid JSON");
    }

    const std::uint64_t dataBytes = file->size() - 8 - length;
    std::vector<TensorInfo> tensors;
    tensors.reserve(reader.entries.size());
    for (const Entry& entry : reader.entries) {
        QS_TRY(tensor, checkEntry(entry, path, dataBytes));
        tensors.push_back(std::move(tensor));
    }
    std::sort(tensors.begin(), tensors.end(), [](const TensorInfo& a, const TensorInfo& b) {
        return std::tie(a.offset, a.bytes, a.name) < std::tie(b.offset, b.bytes, b.name);
    });
    QS_CHECK(checkCover(tensors, path, dataBytes));
    for (TensorInfo& tensor : tensors) {
        tensor.offset += 8 + length;
        tensor.file = static_cast<int>(parts.files.size());
        parts.tensors.push_back(std::move(tensor));
    }
    parts.metadata.merge(reader.metadata);
    parts.files.push_back(std::move(file));
    parts.headerBytes.push_back(8 + length);
    return {};
}

Expected<CheckpointParts> readSafetensors(const std::filesystem::path& path)
{
    CheckpointParts parts;
    parts.format = "safetensors";
    parts.path = path;
    QS_CHECK(addSafetensorsFile(path, parts));
    return parts;
}

Expected<CheckpointParts> readSafetensorsIndex(const std::filesystem::path& path)
{
    QS_TRY(index, readJsonFile(path, kMaxSafetensorsHeader));
    const auto broken = [&](std::string message) {
        return fail(Errc::Format, std::move(message), placeOf(path, {}, "weight_map"), "the index is damaged; fetch it again");
    };
    const auto map = index.is_object() ? index.find("weight_map") : index.end();
    if (!index.is_object() || map == index.end() || !map->is_object())
        return broken("is missing or not an object");
    if (map->empty())
        return broken("names no tensor");
    std::set<std::string> shards;
    for (const auto& [tensor, shard] : map->items()) {
        if (!shard.is_string())
            return broken("the shard of tensor " + io::quoted(tensor) + " is not a string");
        const auto& name = shard.get_ref<const std::string&>();
        if (!plainFileName(name))
            return broken("shard " + io::quoted(name) + " is not a plain file name in the index's folder");
        shards.insert(name);
    }
    if (shards.size() > kMaxFiles)
        return broken(fmt::format("names {} shards; {} are the limit", shards.size(), kMaxFiles));

    CheckpointParts parts;
    parts.format = "safetensors";
    parts.path = path;
    std::map<std::string, int> numbers;
    for (const std::string& shard : shards) {
        numbers[shard] = static_cast<int>(parts.files.size());
        QS_CHECK(addSafetensorsFile(path.parent_path() / shard, parts));
    }
    std::unordered_map<std::string_view, int> where;
    for (const TensorInfo& tensor : parts.tensors) {
        const auto [other, fresh] = where.emplace(tensor.name, tensor.file);
        if (!fresh)
            return fail(Errc::Format,
                "is in two shards, also in "
                    + io::quoted(parts.files[static_cast<std::size_t>(other->second)]->path().filename().string()),
                placeOf(parts.files[static_cast<std::size_t>(tensor.file)]->path(), tensor.name),
                "the shards do not belong together; fetch them again");
    }
    for (const auto& [tensor, shard] : map->items()) {
        const auto found = where.find(tensor);
        if (found == where.end() || found->second != numbers[shard.get_ref<const std::string&>()])
            return broken(
                "tensor " + io::quoted(tensor) + " is not in shard " + io::quoted(shard.get_ref<const std::string&>()));
    }
    return parts;
}

} // namespace qs::io
