// SPDX-License-Identifier: Apache-2.0
#include "core/store/result_cache.h"

#include "core/base/atomic_file.h"
#include "core/base/digest.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <span>
#include <string_view>
#include <system_error>
#include <tuple>

namespace qs::store {
namespace fs = std::filesystem;

namespace {

constexpr std::string_view kMagic = "QSRESULT1\n";
constexpr const char* kExtension = ".qsr";
constexpr std::size_t kChecksumDigits = 32;
constexpr std::uint64_t kMaxSections = 1024;

void putNumber(std::vector<std::byte>& target, std::uint64_t value)
{
    for (int i = 0; i < 8; ++i)
        target.push_back(static_cast<std::byte>(value >> (8 * i) & 0xff));
}

void putText(std::vector<std::byte>& target, std::string_view text)
{
    putNumber(target, text.size());
    const auto bytes = std::as_bytes(std::span(text.data(), text.size()));
    target.insert(target.end(), bytes.begin(), bytes.end());
}

std::string checksum(std::span<const std::byte> bytes)
{
    Digest digest;
    digest.add(bytes);
    return digest.hex();
}

/// Bounds-checked reading of a file's bytes.
class Reader {
public:
    explicit Reader(std::span<const std::byte> bytes)
        : m_bytes(bytes)
    {
    }
    bool number(std::uint64_t& value)
    {
        if (m_bytes.size() < 8)
            return false;
        value = 0;
        for (std::size_t i = 0; i < 8; ++i)
            value |= static_cast<std::uint64_t>(m_bytes[i]) << (8 * i);
        m_bytes = m_bytes.subspan(8);
        return true;
    }
    bool block(std::span<const std::byte>& block)
    {
        std::uint64_t size = 0;
        if (!number(size) || size > m_bytes.size())
            return false;
        block = m_bytes.first(static_cast<std::size_t>(size));
        m_bytes = m_bytes.subspan(static_cast<std::size_t>(size));
        return true;
    }
    bool text(std::string& text)
    {
        std::span<const std::byte> bytes;
        if (!block(bytes))
            return false;
        text.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        return true;
    }
    bool atEnd() const { return m_bytes.empty(); }

private:
    std::span<const std::byte> m_bytes;
};

std::vector<std::byte> encode(const std::string& key, const CacheEntry& entry)
{
    std::vector<std::byte> bytes;
    std::size_t total = kMagic.size() + key.size() + entry.json.size() + 64 + kChecksumDigits;
    for (const CacheEntry::Section& section : entry.sections)
        total += section.name.size() + section.bytes.size() + 16;
    bytes.reserve(total);
    const auto magic = std::as_bytes(std::span(kMagic.data(), kMagic.size()));
    bytes.insert(bytes.end(), magic.begin(), magic.end());
    putText(bytes, key);
    putText(bytes, entry.json);
    putNumber(bytes, entry.sections.size());
    for (const CacheEntry::Section& section : entry.sections) {
        putText(bytes, section.name);
        putNumber(bytes, section.bytes.size());
        bytes.insert(bytes.end(), section.bytes.begin(), section.bytes.end());
    }
    const std::string sum = checksum(bytes);
    const auto digits = std::as_bytes(std::span(sum.data(), sum.size()));
    bytes.insert(bytes.end(), digits.begin(), digits.end());
    return bytes;
}

std::optional<CacheEntry> decode(const std::string& key, std::span<const std::byte> bytes)
{
    if (bytes.size() < kMagic.size() + kChecksumDigits || std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) != 0)
        return std::nullopt;
    const auto content = bytes.first(bytes.size() - kChecksumDigits);
    const auto digits = bytes.last(kChecksumDigits);
    if (checksum(content) != std::string_view(reinterpret_cast<const char*>(digits.data()), kChecksumDigits))
        return std::nullopt;
    Reader reader(content.subspan(kMagic.size()));
    CacheEntry entry;
    std::string storedKey;
    std::uint64_t count = 0;
    if (!reader.text(storedKey) || storedKey != key || !reader.text(entry.json) || !reader.number(count)
        || count > kMaxSections)
        return std::nullopt;
    for (std::uint64_t i = 0; i < count; ++i) {
        CacheEntry::Section section;
        std::span<const std::byte> block;
        if (!reader.text(section.name) || !reader.block(block))
            return std::nullopt;
        section.bytes.assign(block.begin(), block.end());
        entry.sections.push_back(std::move(section));
    }
    if (!reader.atEnd())
        return std::nullopt;
    return entry;
}

std::optional<std::vector<std::byte>> readFile(const fs::path& path, std::uint64_t limit)
{
    std::ifstream file(path, std::ios::binary | std::ios::ate);
    if (!file)
        return std::nullopt;
    const auto size = static_cast<std::streamoff>(file.tellg());
    if (size < 0 || static_cast<std::uint64_t>(size) > limit)
        return std::nullopt;
    std::vector<std::byte> bytes(static_cast<std::size_t>(size));
    file.seekg(0);
    file.read(reinterpret_cast<char*>(bytes.data()), size);
    if (file.gcount() != size)
        return std::nullopt;
    return bytes;
}

bool isKey(std::string_view key)
{
    return key.size() >= 8 && key.size() <= 128
        && std::all_of(key.begin(), key.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

std::string environment(const char* name)
{
    const char* value = std::getenv(name); // NOLINT(concurrency-mt-unsafe): nothing here sets the environment
    return value ? value : "";
}

} // namespace

const std::vector<std::byte>* CacheEntry::find(std::string_view name) const
{
    for (const Section& section : sections)
        if (section.name == name)
            return &section.bytes;
    return nullptr;
}

ResultCache::ResultCache(fs::path folder, std::uint64_t maxBytes)
    : m_folder(std::move(folder))
    , m_maxBytes(maxBytes)
{
}

Expected<std::shared_ptr<ResultCache>> ResultCache::open(const fs::path& folder, std::uint64_t maxBytes)
{
    std::error_code error;
    fs::create_directories(folder, error);
    if (error)
        return fail(Errc::Io, "cannot make the cache folder: " + error.message(), folder.string(),
            "set QS_NO_CACHE=1 to work without a cache");
    std::shared_ptr<ResultCache> cache(new ResultCache(folder, maxBytes));
    cache->m_bytes = cache->bytes();
    return cache;
}

fs::path ResultCache::defaultFolder()
{
    fs::path base = environment("XDG_CACHE_HOME");
    if (!base.is_absolute()) { // the XDG rule: relative values are ignored
        const fs::path home = environment("HOME");
        if (!home.is_absolute())
            return {};
        base = home / ".cache";
    }
    return base / "quantscope" / "results";
}

std::shared_ptr<ResultCache> ResultCache::openDefault()
{
    const std::string off = environment("QS_NO_CACHE");
    const fs::path folder = defaultFolder();
    if ((!off.empty() && off != "0") || folder.empty())
        return nullptr;
    auto cache = open(folder);
    return cache ? *cache : nullptr;
}

fs::path ResultCache::pathOf(const std::string& key) const
{
    return m_folder / key.substr(0, 2) / (key + kExtension);
}

std::optional<CacheEntry> ResultCache::get(const std::string& key)
{
    if (!isKey(key))
        return std::nullopt;
    const fs::path path = pathOf(key);
    const auto bytes = readFile(path, m_maxBytes);
    if (!bytes)
        return std::nullopt;
    auto entry = decode(key, *bytes);
    if (!entry) {
        drop(key);
        return std::nullopt;
    }
    std::error_code ignored; // another process may have removed it meanwhile
    fs::last_write_time(path, fs::file_time_type::clock::now(), ignored);
    return entry;
}

Expected<void> ResultCache::put(const std::string& key, const CacheEntry& entry)
{
    if (!isKey(key))
        return fail(Errc::InvalidArgument, "a cache key is at least 8 lower-case hexadecimal digits", key);
    const std::vector<std::byte> bytes = encode(key, entry);
    if (bytes.size() > m_maxBytes)
        return {};
    const fs::path path = pathOf(key);
    std::error_code error;
    fs::create_directories(path.parent_path(), error);
    if (error)
        return fail(Errc::Io, "cannot make the cache folder: " + error.message(), path.parent_path().string());
    QS_TRY(file, AtomicFile::create(path));
    QS_CHECK(file.write(std::span(bytes)));
    QS_CHECK(file.commit());
    const std::lock_guard lock(m_mutex);
    m_bytes += bytes.size();
    if (m_bytes > m_maxBytes)
        evict();
    return {};
}

void ResultCache::drop(const std::string& key)
{
    std::error_code ignored;
    if (isKey(key))
        fs::remove(pathOf(key), ignored);
}

void ResultCache::clear()
{
    const std::lock_guard lock(m_mutex);
    for (const File& file : list()) {
        std::error_code ignored;
        fs::remove(file.path, ignored);
    }
    m_bytes = 0;
}

std::uint64_t ResultCache::bytes()
{
    std::uint64_t total = 0;
    for (const File& file : list())
        total += file.bytes;
    return total;
}

std::vector<ResultCache::File> ResultCache::list() const
{
    std::vector<File> files;
    std::error_code error;
    fs::recursive_directory_iterator it(m_folder, fs::directory_options::skip_permission_denied, error);
    const auto yesterday = fs::file_time_type::clock::now() - std::chrono::hours(24);
    while (!error && it != fs::recursive_directory_iterator()) {
        std::error_code gone; // entries may vanish while we look
        const fs::path path = it->path();
        if (it->is_regular_file(gone) && !gone) {
            const std::uint64_t size = it->file_size(gone);
            const fs::file_time_type used = gone ? fs::file_time_type::min() : it->last_write_time(gone);
            if (!gone && path.extension() == kExtension)
                files.push_back({path, size, used});
            else if (!gone && path.filename().string().find(kExtension) != std::string::npos && used < yesterday)
                fs::remove(path, gone);
        }
        it.increment(error);
    }
    return files;
}

/// Down to nine tenths, so that not every put has to look.
void ResultCache::evict()
{
    std::vector<File> files = list();
    std::sort(files.begin(), files.end(),
        [](const File& a, const File& b) { return std::tie(a.used, a.path) < std::tie(b.used, b.path); });
    std::uint64_t total = 0;
    for (const File& file : files)
        total += file.bytes;
    for (const File& file : files) {
        if (total <= m_maxBytes - m_maxBytes / 10)
            break;
        std::error_code ignored;
        fs::remove(file.path, ignored);
        total -= file.bytes;
    }
    m_bytes = total;
}

} // namespace qs::store
