// SPDX-License-Identifier: Apache-2.0
#include "core/io/mapped_file.h"

#include <cerrno>
#include <csetjmp>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <limits>
#include <mutex>
#include <sys/mman.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

namespace qs::io {
namespace {

std::string reason(int number)
{
    return std::generic_category().message(number);
}

/// A read in progress on this thread. The signal handler jumps back to it.
struct Guard {
    sigjmp_buf environment;
    const std::byte* begin;
    const std::byte* end;
    Guard* outer;
};

thread_local Guard* currentGuard = nullptr;
struct sigaction previousAction; // written once, before our handler is installed

void onBusError(int number, siginfo_t* info, void* context)
{
    Guard* guard = currentGuard;
    const auto* address = static_cast<const std::byte*>(info->si_addr);
    if (guard && address >= guard->begin && address < guard->end)
        siglongjmp(guard->environment, 1);
    if (previousAction.sa_flags & SA_SIGINFO)
        previousAction.sa_sigaction(number, info, context);
    else if (previousAction.sa_handler != SIG_DFL && previousAction.sa_handler != SIG_IGN)
        previousAction.sa_handler(number);
    else
        sigaction(SIGBUS, &previousAction, nullptr); // the fault repeats and takes its default course
}

void installHandler()
{
    static std::once_flag once;
    std::call_once(once, [] {
        struct sigaction action = {};
        action.sa_sigaction = onBusError;
        // NODEFER: the handler is left by a jump that does not restore the signal mask.
        action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
        sigemptyset(&action.sa_mask);
        sigaction(SIGBUS, nullptr, &previousAction);
        sigaction(SIGBUS, &action, nullptr);
    });
}

struct GuardScope {
    Guard* outer;
    ~GuardScope() { currentGuard = outer; }
};

/// False when a page vanished while body ran.
bool runGuarded(std::span<const std::byte> bytes, void (*body)(void*, std::span<const std::byte>), void* context)
{
    Guard guard;
    guard.begin = bytes.data();
    guard.end = bytes.data() + bytes.size();
    guard.outer = currentGuard;
    const GuardScope scope{guard.outer};
    if (sigsetjmp(guard.environment, 0) != 0)
        return false;
    currentGuard = &guard;
    body(context, bytes);
    return true;
}

} // namespace

MappedFile::MappedFile(int fd, const std::byte* data, std::uint64_t size, std::filesystem::path path)
    : m_fd(fd)
    , m_data(data)
    , m_size(size)
    , m_path(std::move(path))
{
}

MappedFile::~MappedFile()
{
    if (m_data)
        ::munmap(const_cast<std::byte*>(m_data), static_cast<std::size_t>(m_size));
    ::close(m_fd);
}

Expected<std::unique_ptr<const MappedFile>> MappedFile::open(const std::filesystem::path& path)
{
    // NONBLOCK: opening a FIFO must not wait for its other end.
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        const int number = errno;
        const bool missing = number == ENOENT || number == ENOTDIR;
        const char* hint = missing ? "check the path"
            : number == EMFILE     ? "raise the limit of open files (ulimit -n)"
                                   : "check its permissions";
        return fail(missing ? Errc::NotFound : Errc::Io, "cannot be opened: " + reason(number), path.string(), hint);
    }
    std::unique_ptr<MappedFile> file(new MappedFile(fd, nullptr, 0, path)); // from here on it closes fd
    struct stat status = {};
    if (::fstat(fd, &status) != 0)
        return fail(Errc::Io, "cannot be examined: " + reason(errno), path.string());
    if (!S_ISREG(status.st_mode))
        return fail(Errc::Unsupported, "is not a regular file", path.string(), "checkpoints are read from regular files");
    const auto size = static_cast<std::uint64_t>(status.st_size);
    if (size > 0) {
        if (size > std::numeric_limits<std::size_t>::max())
            return fail(Errc::Io, "is too large to be mapped", path.string());
        void* data = ::mmap(nullptr, static_cast<std::size_t>(size), PROT_READ, MAP_SHARED, fd, 0);
        if (data == MAP_FAILED)
            return fail(Errc::Io, "cannot be mapped: " + reason(errno), path.string());
        file->m_data = static_cast<const std::byte*>(data);
        file->m_size = size;
        installHandler();
    }
    return std::unique_ptr<const MappedFile>(std::move(file));
}

Error MappedFile::lost(std::uint64_t end) const
{
    struct stat status = {};
    if (::fstat(m_fd, &status) == 0 && static_cast<std::uint64_t>(status.st_size) < end)
        return Error{Errc::Io, fmt::format("has shrunk to {} bytes since it was opened with {}", status.st_size, m_size),
            m_path.string(), "another program changed it; open it again"};
    return Error{Errc::Io, "cannot be read: the system reports an error of the disk", m_path.string(), "check the disk"};
}

Expected<void> MappedFile::readErased(std::uint64_t offset, std::uint64_t size, Callback use, void* context) const
{
    if (offset > m_size || size > m_size - offset)
        return fail(Errc::Io, fmt::format("ends before byte {} + {}", offset, size), m_path.string(), "the file is cut off");
    if (size == 0) {
        use(context, {});
        return {};
    }
    if (!runGuarded({m_data + offset, static_cast<std::size_t>(size)}, use, context))
        return tl::unexpected(lost(offset + size));
    // Behind the new end of a shrunk file its last page reads as zeros, without a signal.
    struct stat status = {};
    if (::fstat(m_fd, &status) != 0 || static_cast<std::uint64_t>(status.st_size) < offset + size)
        return tl::unexpected(lost(offset + size));
    return {};
}

Expected<void> MappedFile::copy(std::uint64_t offset, std::span<std::byte> target) const
{
    return read(offset, target.size(), [target](std::span<const std::byte> bytes) {
        if (!bytes.empty())
            std::memcpy(target.data(), bytes.data(), bytes.size());
    });
}

} // namespace qs::io
