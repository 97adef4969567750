// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/error.h"

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace qs {

/// A file that appears whole or not at all: written to a temporary name in the same folder, synced, then renamed.
///
/// Errors   Io with the path and the system's reason (full disk, permissions). Without commit() the destructor removes the
/// temporary. Threads  one instance per thread.
class AtomicFile {
public:
    static Expected<AtomicFile> create(const std::filesystem::path& target);
    AtomicFile(AtomicFile&& other) noexcept;
    AtomicFile& operator=(AtomicFile&&) = delete;
    ~AtomicFile();

    Expected<void> write(std::span<const std::byte> bytes);
    Expected<void> write(std::string_view text);
    Expected<void> commit();

private:
    AtomicFile(int fd, std::filesystem::path temporary, std::filesystem::path target);
    int m_fd;
    std::filesystem::path m_temporary;
    std::filesystem::path m_target;
};

/// Writes text as an AtomicFile.
Expected<void> writeTextFile(const std::filesystem::path& target, std::string_view text);
/// Reads a whole file of at most `limit` bytes. Errors: NotFound, Io, Format when it is larger.
Expected<std::string> readTextFile(const std::filesystem::path& path, std::size_t limit = std::size_t{64} << 20);

/// A folder that appears whole or not at all: files are written into a sibling temporary folder which commit() renames.
/// Errors   InvalidArgument if the target exists and is not empty (nothing is overwritten).
class AtomicFolder {
public:
    static Expected<AtomicFolder> create(const std::filesystem::path& target);
    AtomicFolder(AtomicFolder&& other) noexcept;
    AtomicFolder& operator=(AtomicFolder&&) = delete;
    ~AtomicFolder(); ///< Removes what was written, unless committed.

    const std::filesystem::path& path() const { return m_temporary; }
    Expected<void> commit();

private:
    AtomicFolder(std::filesystem::path temporary, std::filesystem::path target);
    std::filesystem::path m_temporary;
    std::filesystem::path m_target;
};

} // namespace qs
