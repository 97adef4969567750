// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/error.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace qs::store {

/// What the cache keeps under a key: a JSON text and binary sections beside it.
struct CacheEntry {
    struct Section {
        std::string name;
        std::vector<std::byte> bytes;
    };
    std::string json;
    std::vector<Section> sections;

    const std::vector<std::byte>* find(std::string_view name) const;
};

/// Results on disk by digest of everything that they depend on. Losing it costs time, never data.
///
/// One file per entry, `<folder>/<first two digits>/<key>.qsr`: magic, sizes, JSON, sections, and an XXH3-128 checksum of all
/// that. A file that breaks a rule, has another key inside or a wrong checksum is removed and counts as absent. Entries are
/// written atomically, so several processes may share a folder; reading one marks it as used (time of change), and when the
/// folder holds more than `maxBytes` the entries that were not used for longest are removed. Errors   open(): Io when the
/// folder cannot be made. put(): Io; nothing is left behind. get() has no errors: what cannot be read is absent. Cost     one
/// file per call; the folder is listed at open() and when it may have grown beyond its limit. Threads  members may be called
/// concurrently.
class ResultCache {
public:
    static constexpr std::uint64_t kDefaultBytes = std::uint64_t{4} << 30;

    static Expected<std::shared_ptr<ResultCache>> open(
        const std::filesystem::path& folder, std::uint64_t maxBytes = kDefaultBytes);
    /// `$XDG_CACHE_HOME/quantscope/results`, else `~/.cache/quantscope/results`; empty without a home.
    static std::filesystem::path defaultFolder();
    /// The default folder, opened; null where QS_NO_CACHE is set (to anything but 0 or nothing), there is no home, or it cannot
    /// be made.
    static std::shared_ptr<ResultCache> openDefault();

    std::optional<CacheEntry> get(const std::string& key);
    /// Keeps an entry; one larger than the whole cache is not kept. Keys are lower-case hexadecimal digits, at least 8.
    Expected<void> put(const std::string& key, const CacheEntry& entry);
    /// Removes an entry whose content turned out to be unusable.
    void drop(const std::string& key);
    /// Removes every entry.
    void clear();

    const std::filesystem::path& folder() const { return m_folder; }
    std::uint64_t maxBytes() const { return m_maxBytes; }
    /// Bytes of all entries, by a fresh look at the folder.
    std::uint64_t bytes();

private:
    struct File {
        std::filesystem::path path;
        std::uint64_t bytes = 0;
        std::filesystem::file_time_type used;
    };

    ResultCache(std::filesystem::path folder, std::uint64_t maxBytes);
    std::filesystem::path pathOf(const std::string& key) const;
    std::vector<File> list() const; ///< Also removes temporaries that a crash left behind a day ago or earlier.
    void evict();

    std::filesystem::path m_folder;
    std::uint64_t m_maxBytes;
    std::mutex m_mutex;
    std::uint64_t m_bytes = 0; ///< Estimate, guarded by m_mutex: other processes write too.
};

} // namespace qs::store
