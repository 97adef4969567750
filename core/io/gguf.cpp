// SPDX-License-Identifier: Apache-2.0
#include "core/io/gguf.h"

#include "core/io/json_text.h"

#include <algorithm>
#include <array>
#include <bit>
#include <fmt/format.h>
#include <limits>
#include <unordered_set>

namespace qs::io {
namespace {

constexpr const char* kFetchAgain = "the file is damaged or not a GGUF file; fetch it again";
constexpr std::uint64_t kMaxHeader = std::uint64_t{1} << 30; ///< Vocabularies of real files take some 10 MB.
constexpr std::int64_t kMaxPairs = 100'000;
constexpr std::uint64_t kMaxKeyBytes = 65'535;
constexpr std::uint64_t kMaxTensorName = 63;

enum class Kind : std::int32_t { U8, I8, U16, I16, U32, I32, F32, Bool, String, Array, U64, I64, F64 };

std::uint64_t minimumBytes(Kind kind)
{
    switch (kind) {
    case Kind::U8:
    case Kind::I8:
    case Kind::Bool: return 1;
    case Kind::U16:
    case Kind::I16: return 2;
    case Kind::U32:
    case Kind::I32:
    case Kind::F32: return 4;
    default: return 8;
    }
}

/// Reads little-endian fields one after the other from a window that slides over the file.
class Cursor {
public:
    explicit Cursor(const MappedFile& file)
        : m_file(file)
    {
    }

    std::uint64_t position() const { return m_windowStart + m_used; }
    std::uint64_t left() const
    {
        return std::min(m_file.size(), kMaxHeader) - std::min(position(), std::min(m_file.size(), kMaxHeader));
    }
    std::string path() const { return m_file.path().string(); }

    tl::unexpected<Error> broken(std::string message, std::string_view what = {}) const
    {
        return fail(Errc::Format, std::move(message), placeOf(m_file.path()) + (what.empty() ? "" : ", " + std::string(what)),
            kFetchAgain);
    }

    Expected<void> bytes(std::span<std::byte> target, std::string_view what)
    {
        if (target.size() > left())
            return cutOff(what);
        while (!target.empty()) {
            if (m_used == m_window.size())
                QS_CHECK(refill());
            const std::size_t step = std::min(target.size(), m_window.size() - m_used);
            std::copy_n(m_window.begin() + static_cast<std::ptrdiff_t>(m_used), step, target.begin());
            m_used += step;
            target = target.subspan(step);
        }
        return {};
    }

    template <class T> Expected<T> number(std::string_view what)
    {
        T value{};
        QS_CHECK(bytes(std::as_writable_bytes(std::span(&value, 1)), what));
        return value;
    }

    Expected<std::string> string(std::string_view what, std::uint64_t limit = kMaxHeader)
    {
        QS_TRY(length, number<std::uint64_t>(what));
        if (length > limit)
            return broken(fmt::format("a string of {} bytes; {} are the limit", length, limit), what);
        if (length > left())
            return cutOff(what);
        std::string text(static_cast<std::size_t>(length), '\0');
        QS_CHECK(bytes(std::as_writable_bytes(std::span(text)), what));
        return text;
    }

    tl::unexpected<Error> cutOff(std::string_view what) const
    {
        return broken(m_file.size() > kMaxHeader ? fmt::format("header is larger than {} bytes", kMaxHeader)
                                                 : fmt::format("ends at byte {} inside its header", m_file.size()),
            what);
    }

private:
    Expected<void> refill()
    {
        constexpr std::uint64_t kWindow = std::uint64_t{1} << 18;
        m_windowStart += m_window.size();
        m_used = 0;
        m_window.resize(static_cast<std::size_t>(std::min(kWindow, m_file.size() - m_windowStart)));
        return m_file.copy(m_windowStart, m_window);
    }

    const MappedFile& m_file;
    std::vector<std::byte> m_window;
    std::uint64_t m_windowStart = 0;
    std::size_t m_used = 0;
};

template <class Stored, class Value>
Expected<std::vector<Value>> numbers(Cursor& cursor, std::uint64_t count, std::string_view what)
{
    std::vector<Stored> stored(static_cast<std::size_t>(count));
    QS_CHECK(cursor.bytes(std::as_writable_bytes(std::span(stored)), what));
    if constexpr (std::is_same_v<Stored, std::uint64_t>)
        for (const std::uint64_t value : stored)
            if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
                return cursor.broken(fmt::format("holds {}, above 2^63 - 1", value), what);
    return std::vector<Value>(stored.begin(), stored.end());
}

Expected<Kind> readKind(Cursor& cursor, std::string_view what)
{
    QS_TRY(number, cursor.number<std::int32_t>(what));
    if (number < 0 || number > static_cast<std::int32_t>(Kind::F64))
        return cursor.broken(fmt::format("has the unknown value type {}", number), what);
    return static_cast<Kind>(number);
}

Expected<MetaValue> readArray(Cursor& cursor, std::string_view what)
{
    QS_TRY(kind, readKind(cursor, what));
    if (kind == Kind::Array)
        return cursor.broken("is an array of arrays, which the format does not allow", what);
    QS_TRY(count, cursor.number<std::uint64_t>(what));
    if (count > cursor.left() / minimumBytes(kind))
        return cursor.broken(
            fmt::format("an array of {} values does not fit into the {} bytes left of the header", count, cursor.left()), what);
    using Integers = std::vector<std::int64_t>;
    const auto integers = [&](auto stored) -> Expected<MetaValue> {
        QS_TRY(values, numbers<decltype(stored), std::int64_t>(cursor, count, what));
        return MetaValue(std::in_place_type<Integers>, std::move(values));
    };
    switch (kind) {
    case Kind::U8: return integers(std::uint8_t{});
    case Kind::I8: return integers(std::int8_t{});
    case Kind::U16: return integers(std::uint16_t{});
    case Kind::I16: return integers(std::int16_t{});
    case Kind::U32: return integers(std::uint32_t{});
    case Kind::I32: return integers(std::int32_t{});
    case Kind::U64: return integers(std::uint64_t{});
    case Kind::I64: return integers(std::int64_t{});
    case Kind::F32: {
        QS_TRY(values, numbers<float, double>(cursor, count, what));
        return MetaValue(std::move(values));
    }
    case Kind::F64: {
        QS_TRY(values, numbers<double, double>(cursor, count, what));
        return MetaValue(std::move(values));
    }
    case Kind::Bool: {
        QS_TRY(stored, numbers<std::uint8_t, std::uint8_t>(cursor, count, what));
        std::vector<bool> values(stored.size());
        std::transform(stored.begin(), stored.end(), values.begin(), [](std::uint8_t value) { return value != 0; });
        return MetaValue(std::move(values));
    }
    default: break;
    }
    std::vector<std::string> texts;
    texts.reserve(static_cast<std::size_t>(count));
    for (std::uint64_t i = 0; i < count; ++i) {
        QS_TRY(text, cursor.string(what));
        texts.push_back(std::move(text));
    }
    return MetaValue(std::move(texts));
}

Expected<MetaValue> readValue(Cursor& cursor, Kind kind, std::string_view what)
{
    const auto integer = [&]<class T>(T) -> Expected<MetaValue> {
        QS_TRY(value, cursor.number<T>(what));
        if constexpr (std::is_signed_v<T>)
            return MetaValue(static_cast<std::int64_t>(value));
        else
            return MetaValue(static_cast<std::uint64_t>(value));
    };
    switch (kind) {
    case Kind::U8: return integer(std::uint8_t{});
    case Kind::I8: return integer(std::int8_t{});
    case Kind::U16: return integer(std::uint16_t{});
    case Kind::I16: return integer(std::int16_t{});
    case Kind::U32: return integer(std::uint32_t{});
    case Kind::I32: return integer(std::int32_t{});
    case Kind::U64: return integer(std::uint64_t{});
    case Kind::I64: return integer(std::int64_t{});
    case Kind::F32: {
        QS_TRY(value, cursor.number<float>(what));
        return MetaValue(static_cast<double>(value));
    }
    case Kind::F64: {
        QS_TRY(value, cursor.number<double>(what));
        return MetaValue(value);
    }
    case Kind::Bool: {
        QS_TRY(value, cursor.number<std::uint8_t>(what));
        return MetaValue(value != 0);
    }
    case Kind::String: {
        QS_TRY(text, cursor.string(what));
        return MetaValue(std::move(text));
    }
    case Kind::Array: break;
    }
    return readArray(cursor, what);
}

struct GgufFile {
    std::unique_ptr<const MappedFile> file;
    std::map<std::string, MetaValue> metadata;
    std::vector<TensorInfo> tensors;
    std::uint64_t headerBytes = 0;
};

Expected<void> readPairs(Cursor& cursor, std::int64_t count, GgufFile& gguf)
{
    for (std::int64_t i = 0; i < count; ++i) {
        const std::string place = fmt::format("key {} of {}", i + 1, count);
        QS_TRY(key, cursor.string(place, kMaxKeyBytes));
        if (key.empty())
            return cursor.broken("is empty", place);
        if (!isUtf8(key))
            return cursor.broken("is not UTF-8", place);
        const std::string what = "key " + io::quoted(key);
        if (gguf.metadata.contains(key))
            return cursor.broken("occurs twice", what);
        QS_TRY(kind, readKind(cursor, what));
        if (key == "general.alignment" && kind != Kind::U32)
            return cursor.broken("must be of type u32", what);
        QS_TRY(value, readValue(cursor, kind, what));
        gguf.metadata.emplace(std::move(key), std::move(value));
    }
    return {};
}

/// One entry of the tensor table; its offset is still relative to the data section.
Expected<TensorInfo> readTensor(Cursor& cursor, std::int64_t number, std::int64_t count)
{
    const std::string place = fmt::format("tensor {} of {}", number + 1, count);
    TensorInfo tensor;
    QS_TRY(name, cursor.string(place, kMaxTensorName));
    if (name.empty())
        return cursor.broken("has an empty name", place);
    if (name.find('\0') != std::string::npos || !isUtf8(name))
        return cursor.broken("has a name that is no UTF-8 text", place);
    tensor.name = name;
    const std::string what = "tensor " + io::quoted(name);
    QS_TRY(rank, cursor.number<std::uint32_t>(what));
    if (rank > 4)
        return cursor.broken(fmt::format("has {} dimensions; 4 are the limit", rank), what);
    for (std::uint32_t i = 0; i < rank; ++i) {
        QS_TRY(extent, cursor.number<std::int64_t>(what));
        if (extent < 0)
            return cursor.broken(fmt::format("extent {} is {}", i, extent), what);
        tensor.shape.insert(tensor.shape.begin(), extent); // the file lists the fastest axis first
    }
    const auto elements = elementCount(tensor.shape);
    if (!elements)
        return cursor.broken(fmt::format("{} overflows 63 bits", shapeText(tensor.shape)), what);
    QS_TRY(id, cursor.number<std::uint32_t>(what));
    const auto dtype = dtypeFromGgml(id);
    if (!dtype)
        return cursor.broken(fmt::format("has the ggml type {}, which is unknown or was removed", id), what);
    tensor.dtype = *dtype;
    const Index block = dtypeInfo(*dtype).blockElements;
    if (tensor.cols() % block != 0)
        return cursor.broken(
            fmt::format("has rows of {} values, no multiple of the {} of a {} block", tensor.cols(), block, dtypeName(*dtype)),
            what);
    const auto bytes = storageBytes(*dtype, *elements);
    if (!bytes || *bytes > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
        return cursor.broken(fmt::format("{} of {} overflows 63 bits", shapeText(tensor.shape), dtypeName(*dtype)), what);
    tensor.bytes = *bytes;
    QS_TRY(offset, cursor.number<std::uint64_t>(what));
    tensor.offset = offset;
    return tensor;
}

Expected<void> checkVersion(const Cursor& cursor, std::uint32_t version)
{
    if (version == 2 || version == 3)
        return {};
    if ((version & 0xffffU) == 0)
        return fail(Errc::Unsupported, "is a big-endian GGUF file", cursor.path(), "convert it on a little-endian machine");
    if (version == 1)
        return fail(Errc::Unsupported, "is a GGUF file of version 1", cursor.path(),
            "convert the model again with a current llama.cpp");
    return fail(Errc::Unsupported, fmt::format("is a GGUF file of version {}; 2 and 3 are read", version), cursor.path(),
        "convert the model again with a llama.cpp that writes version 3");
}

Expected<std::uint64_t> alignmentOf(const Cursor& cursor, const GgufFile& gguf)
{
    const auto found = gguf.metadata.find("general.alignment");
    if (found == gguf.metadata.end())
        return 32;
    const std::uint64_t alignment = std::get<std::uint64_t>(found->second);
    if (!std::has_single_bit(alignment) || alignment % 8 != 0)
        return cursor.broken(
            fmt::format("is {}, but must be a power of two and a multiple of 8", alignment), "key 'general.alignment'");
    return alignment;
}

Expected<GgufFile> readFile(const std::filesystem::path& path)
{
    GgufFile gguf;
    QS_TRY(file, MappedFile::open(path));
    gguf.file = std::move(file);
    Cursor cursor(*gguf.file);
    std::array<char, 4> magic{};
    QS_CHECK(cursor.bytes(std::as_writable_bytes(std::span(magic)), "magic"));
    if (std::string_view(magic.data(), 4) != "GGUF")
        return cursor.broken("does not begin with \"GGUF\"");
    QS_TRY(version, cursor.number<std::uint32_t>("version"));
    QS_CHECK(checkVersion(cursor, version));
    QS_TRY(tensorCount, cursor.number<std::int64_t>("tensor count"));
    QS_TRY(pairCount, cursor.number<std::int64_t>("key count"));
    // 24 and 13 bytes are the least that an entry takes.
    if (tensorCount < 0 || tensorCount > static_cast<std::int64_t>(std::min<std::uint64_t>(kMaxTensors, cursor.left() / 24)))
        return cursor.broken(fmt::format("{} tensors do not fit into the file", tensorCount), "tensor count");
    if (pairCount < 0 || pairCount > std::min(kMaxPairs, static_cast<std::int64_t>(cursor.left() / 13)))
        return cursor.broken(fmt::format("{} keys do not fit into the file", pairCount), "key count");
    QS_CHECK(readPairs(cursor, pairCount, gguf));
    QS_TRY(alignment, alignmentOf(cursor, gguf));

    std::unordered_set<std::string> names;
    std::uint64_t expected = 0;
    for (std::int64_t i = 0; i < tensorCount; ++i) {
        QS_TRY(tensor, readTensor(cursor, i, tensorCount));
        const std::string what = "tensor " + io::quoted(tensor.name);
        if (!names.insert(tensor.name).second)
            return cursor.broken("occurs twice", what);
        if (tensor.offset != expected)
            return cursor.broken(
                fmt::format("is at offset {}, but the tensors before it end at {}", tensor.offset, expected), what);
        const std::uint64_t padding = (alignment - tensor.bytes % alignment) % alignment;
        if (tensor.bytes + padding > gguf.file->size() + alignment || expected > gguf.file->size())
            return cursor.broken(fmt::format("its {} bytes reach behind the end of the file", tensor.bytes), what);
        expected += tensor.bytes + padding;
        gguf.tensors.push_back(std::move(tensor));
    }
    const std::uint64_t dataStart = cursor.position() + (alignment - cursor.position() % alignment) % alignment;
    gguf.headerBytes = cursor.position();
    for (TensorInfo& tensor : gguf.tensors) {
        // No sum overflows: every offset and size was bounded by the size of the file above.
        tensor.offset += dataStart;
        if (tensor.offset > gguf.file->size() || tensor.bytes > gguf.file->size() - tensor.offset)
            return cursor.broken(
                fmt::format("ends at byte {}, but the file has {}", tensor.offset + tensor.bytes, gguf.file->size()),
                "tensor " + io::quoted(tensor.name));
    }
    return gguf;
}

std::optional<std::int64_t> integerValue(const GgufFile& gguf, const std::string& key)
{
    const auto found = gguf.metadata.find(key);
    if (found == gguf.metadata.end())
        return std::nullopt;
    if (const auto* value = std::get_if<std::uint64_t>(&found->second))
        return *value <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())
            ? static_cast<std::int64_t>(*value)
            : -1;
    if (const auto* value = std::get_if<std::int64_t>(&found->second))
        return *value;
    return -1; // present, but of another type
}

/// "PREFIX-00002-of-00003.gguf" split into its prefix; nothing when the name does not say part `no` of `count`.
std::optional<std::string> splitPrefix(const std::filesystem::path& path, std::int64_t no, std::int64_t count)
{
    const std::string name = path.filename().string();
    const std::string suffix = fmt::format("-{:05}-of-{:05}.gguf", no + 1, count);
    if (!name.ends_with(suffix))
        return std::nullopt;
    return name.substr(0, name.size() - suffix.size());
}

void append(CheckpointParts& parts, GgufFile gguf)
{
    for (TensorInfo& tensor : gguf.tensors) {
        tensor.file = static_cast<int>(parts.files.size());
        parts.tensors.push_back(std::move(tensor));
    }
    if (parts.files.empty()) // the first part carries the model's metadata
        parts.metadata = std::move(gguf.metadata);
    parts.headerBytes.push_back(gguf.headerBytes);
    parts.files.push_back(std::move(gguf.file));
}

} // namespace

Expected<CheckpointParts> readGguf(const std::filesystem::path& path)
{
    CheckpointParts parts;
    parts.format = "gguf";
    parts.path = path;
    QS_TRY(given, readFile(path));
    const auto broken = [](const std::filesystem::path& part, std::string message, const char* key) {
        return fail(Errc::Format, std::move(message), placeOf(part) + ", key '" + key + "'",
            "the parts of the split model do not belong together");
    };
    const std::int64_t count = integerValue(given, "split.count").value_or(1);
    if (count <= 1 && count >= 0) {
        append(parts, std::move(given));
        return parts;
    }
    if (count < 0 || count > static_cast<std::int64_t>(kMaxFiles))
        return broken(path, fmt::format("{} is no number of parts from 1 to {}", count, kMaxFiles), "split.count");
    const std::int64_t own = integerValue(given, "split.no").value_or(-1);
    if (own < 0 || own >= count)
        return broken(path, fmt::format("is not a part number from 0 to {}", count - 1), "split.no");
    const auto prefix = splitPrefix(path, own, count);
    if (!prefix)
        return broken(path,
            fmt::format(
                "says part {} of {}, but the file name does not end in -{:05}-of-{:05}.gguf", own + 1, count, own + 1, count),
            "split.no");
    const auto total = integerValue(given, "split.tensors.count");
    for (std::int64_t no = 0; no < count; ++no) {
        if (no == own) {
            append(parts, std::move(given));
            continue;
        }
        const auto partPath = path.parent_path() / (*prefix + fmt::format("-{:05}-of-{:05}.gguf", no + 1, count));
        QS_TRY(part, readFile(partPath));
        if (integerValue(part, "split.count") != count)
            return broken(partPath, fmt::format("differs from the {} of the opened part", count), "split.count");
        if (integerValue(part, "split.no") != no)
            return broken(partPath, fmt::format("is not the {} of the file name", no), "split.no");
        if (integerValue(part, "split.tensors.count") != total)
            return broken(partPath, "differs between the parts", "split.tensors.count");
        append(parts, std::move(part));
    }
    if (!total || *total != static_cast<std::int64_t>(parts.tensors.size()))
        return broken(path, fmt::format("is {}, but the parts hold {} tensors", total.value_or(-1), parts.tensors.size()),
            "split.tensors.count");
    return parts;
}

} // namespace qs::io
