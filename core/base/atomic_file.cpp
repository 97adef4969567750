// SPDX-License-Identifier: Apache-2.0
#include "core/base/atomic_file.h"

#include <atomic>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

namespace qs {
namespace fs = std::filesystem;

namespace {

std::string reason(int number)
{
    return std::generic_category().message(number);
}

const char* diskHint(int number)
{
    return number == ENOSPC || number == EDQUOT || number == EFBIG ? "free space on that disk, or choose another folder"
                                                                   : "check the folder's permissions, or choose another folder";
}

std::string uniqueSuffix()
{
    static std::atomic<unsigned> counter{0};
    return ".tmp-" + std::to_string(::getpid()) + "-" + std::to_string(counter.fetch_add(1));
}

} // namespace

AtomicFile::AtomicFile(int fd, fs::path temporary, fs::path target)
    : m_fd(fd)
    , m_temporary(std::move(temporary))
    , m_target(std::move(target))
{
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : m_fd(std::exchange(other.m_fd, -1))
    , m_temporary(std::move(other.m_temporary))
    , m_target(std::move(other.m_target))
{
}

AtomicFile::~AtomicFile()
{
    if (m_fd < 0)
        return;
    ::close(m_fd);
    ::unlink(m_temporary.c_str());
}

Expected<AtomicFile> AtomicFile::create(const fs::path& target)
{
    fs::path temporary = target;
    temporary += uniqueSuffix();
    const int fd = ::open(temporary.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
    if (fd < 0)
        return fail(Errc::Io, "cannot be created: " + reason(errno), target.string(), diskHint(errno));
    return AtomicFile(fd, std::move(temporary), target);
}

Expected<void> AtomicFile::write(std::span<const std::byte> bytes)
{
    while (!bytes.empty()) {
        const ssize_t done = ::write(m_fd, bytes.data(), bytes.size());
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return fail(Errc::Io, "cannot be written: " + reason(errno), m_target.string(), diskHint(errno));
        bytes = bytes.subspan(static_cast<std::size_t>(done));
    }
    return {};
}

Expected<void> AtomicFile::write(std::string_view text)
{
    return write(std::as_bytes(std::span(text.data(), text.size())));
}

Expected<void> AtomicFile::commit()
{
    const bool synced = ::fsync(m_fd) == 0;
    const int syncError = errno;
    const bool closed = ::close(std::exchange(m_fd, -1)) == 0;
    const int closeError = errno;
    if (!synced || !closed) {
        ::unlink(m_temporary.c_str());
        const int number = synced ? closeError : syncError;
        return fail(Errc::Io, "cannot be written: " + reason(number), m_target.string(), diskHint(number));
    }
    if (::rename(m_temporary.c_str(), m_target.c_str()) != 0) {
        const int number = errno;
        ::unlink(m_temporary.c_str());
        return fail(Errc::Io, "cannot be put in place: " + reason(number), m_target.string(), diskHint(number));
    }
    return {};
}

Expected<void> writeTextFile(const fs::path& target, std::string_view text)
{
    QS_TRY(file, AtomicFile::create(target));
    QS_CHECK(file.write(text));
    return file.commit();
}

Expected<std::string> readTextFile(const fs::path& path, std::size_t limit)
{
    std::error_code code;
    if (!fs::is_regular_file(path, code))
        return fail(
            Errc::NotFound, code ? "cannot be read: " + code.message() : "is not a file", path.string(), "check the path");
    const auto size = fs::file_size(path, code);
    if (code)
        return fail(Errc::Io, "cannot be read: " + code.message(), path.string());
    if (size > limit)
        return fail(
            Errc::Format, "is larger than the " + std::to_string(limit) + " bytes expected of such a file", path.string());
    std::ifstream stream(path, std::ios::binary);
    std::string text(static_cast<std::size_t>(size), '\0');
    stream.read(text.data(), static_cast<std::streamsize>(text.size()));
    if (!stream && !stream.eof())
        return fail(Errc::Io, "cannot be read", path.string(), "check its permissions");
    text.resize(static_cast<std::size_t>(stream.gcount()));
    return text;
}

AtomicFolder::AtomicFolder(fs::path temporary, fs::path target)
    : m_temporary(std::move(temporary))
    , m_target(std::move(target))
{
}

AtomicFolder::AtomicFolder(AtomicFolder&& other) noexcept
    : m_temporary(std::exchange(other.m_temporary, {}))
    , m_target(std::move(other.m_target))
{
}

AtomicFolder::~AtomicFolder()
{
    if (m_temporary.empty())
        return;
    std::error_code ignored;
    fs::remove_all(m_temporary, ignored);
}

Expected<AtomicFolder> AtomicFolder::create(const fs::path& given)
{
    std::error_code code;
    fs::path target = fs::absolute(given, code).lexically_normal();
    if (!target.has_filename())
        target = target.parent_path();
    if (fs::exists(target, code) && !(fs::is_directory(target, code) && fs::is_empty(target, code)))
        return fail(Errc::InvalidArgument, "already exists and is not an empty folder", given.string(), "choose a new folder");
    fs::path temporary = target;
    temporary += uniqueSuffix();
    if (!fs::create_directories(temporary, code))
        return fail(Errc::Io, "cannot be created: " + code.message(), given.string(), "check the folder's permissions");
    return AtomicFolder(std::move(temporary), std::move(target));
}

Expected<void> AtomicFolder::commit()
{
    std::error_code code;
    fs::remove(m_target, code); // only ever an empty folder; rename() would refuse it on some file systems
    fs::rename(m_temporary, m_target, code);
    if (code)
        return fail(Errc::Io, "cannot be put in place: " + code.message(), m_target.string());
    m_temporary.clear();
    return {};
}

} // namespace qs
