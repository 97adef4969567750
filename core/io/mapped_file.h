// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/error.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>

namespace qs::io {

/// A file mapped read-only, kept open, that may be changed by others at any time.
///
/// A page that vanishes under the mapping raises SIGBUS. A process-wide handler, installed when the first file is mapped, turns
/// the signal into an error where it hits a read of this class; every other SIGBUS goes to the handler that was there before.
/// Errors   NotFound, Io with the system's reason.   Threads   const members may be called concurrently.
class MappedFile {
public:
    static Expected<std::unique_ptr<const MappedFile>> open(const std::filesystem::path& path);
    ~MappedFile();
    MappedFile(const MappedFile&) = delete;
    MappedFile& operator=(const MappedFile&) = delete;

    const std::filesystem::path& path() const { return m_path; }
    std::uint64_t size() const { return m_size; } ///< When it was opened.

    /// Copies bytes [offset, offset + target.size()). Errors: Io when they are not there (any more).
    Expected<void> copy(std::uint64_t offset, std::span<std::byte> target) const;

    /// Calls use(bytes) on the mapping itself. `use` may be abandoned in the middle, so it must not throw, allocate, lock or
    /// own anything, and what it has written is worthless when this returns an error.
    template <class Use> Expected<void> read(std::uint64_t offset, std::uint64_t size, Use&& use) const
    {
        using Plain = std::remove_reference_t<Use>;
        return readErased(
            offset, size, [](void* context, std::span<const std::byte> bytes) { (*static_cast<Plain*>(context))(bytes); },
            &use);
    }

private:
    using Callback = void (*)(void*, std::span<const std::byte>);

    MappedFile(int fd, const std::byte* data, std::uint64_t size, std::filesystem::path path);
    Expected<void> readErased(std::uint64_t offset, std::uint64_t size, Callback use, void* context) const;
    Error lost(std::uint64_t end) const;

    int m_fd;
    const std::byte* m_data;
    std::uint64_t m_size;
    std::filesystem::path m_path;
};

} // namespace qs::io
