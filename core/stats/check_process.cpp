// SPDX-License-Identifier: Apache-2.0
#include "core/stats/check_process.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <optional>
#include <poll.h>
#include <spawn.h>
#include <string>
#include <sys/wait.h>
#include <system_error>
#include <unistd.h>
#include <vector>

namespace qs::stats {
namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

namespace {

constexpr const char* kProgram = "quantscope-h5check";
constexpr std::size_t kLongestAnswer = 64 * 1024;
constexpr int kWallFactor = 10;

std::optional<fs::path> findProgram()
{
    std::error_code code;
    std::vector<fs::path> places;
    if (const char* given = std::getenv("QS_H5CHECK"); given && *given)
        return fs::exists(given, code) ? std::optional<fs::path>(given) : std::nullopt;
    const fs::path self = fs::read_symlink("/proc/self/exe", code);
    if (!code) {
        places.push_back(self.parent_path() / kProgram);
        places.push_back(self.parent_path() / ".." / "bin" / kProgram);
    }
    places.emplace_back(QS_H5CHECK_BUILD_PATH);
    for (const fs::path& place : places)
        if (::access(place.c_str(), X_OK) == 0)
            return place;
    return std::nullopt;
}

/// Closes a file descriptor when it goes.
struct Descriptor {
    int fd = -1;
    Descriptor() = default;
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    ~Descriptor() { reset(); }
    void reset()
    {
        if (fd >= 0)
            ::close(std::exchange(fd, -1));
    }
};

/// Reads what the child writes until it closes its end. False when the time was over first.
bool readAnswer(int fd, Clock::time_point deadline, std::string& answer)
{
    char buffer[4096];
    while (true) {
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
        if (left <= 0)
            return false;
        pollfd waiting{fd, POLLIN, 0};
        const int ready = ::poll(&waiting, 1, static_cast<int>(std::min<long long>(left, 1'000'000)));
        if (ready < 0 && errno != EINTR)
            return true;
        if (ready <= 0)
            continue;
        const ssize_t got = ::read(fd, buffer, sizeof buffer);
        if (got == 0 || (got < 0 && errno != EINTR))
            return true;
        if (got > 0 && answer.size() < kLongestAnswer)
            answer.append(buffer, static_cast<std::size_t>(got));
    }
}

std::optional<int> waitUntil(pid_t child, Clock::time_point deadline)
{
    int status = 0;
    while (true) {
        const pid_t done = ::waitpid(child, &status, WNOHANG);
        if (done == child)
            return status;
        if (done < 0 && errno != EINTR)
            return std::nullopt;
        if (Clock::now() >= deadline)
            return std::nullopt;
        ::usleep(2000);
    }
}

std::string line(const std::string& text, int number)
{
    std::size_t begin = 0;
    for (int i = 0; i < number; ++i) {
        begin = text.find('\n', begin);
        if (begin == std::string::npos)
            return {};
        ++begin;
    }
    return text.substr(begin, text.find('\n', begin) - begin);
}

} // namespace

Expected<void> checkByChild(const fs::path& file, std::chrono::milliseconds timeout)
{
    const auto program = findProgram();
    if (!program)
        return fail(Errc::NotFound, std::string("the program that checks HDF5 files is missing"), kProgram,
            "install it beside this program, or set QS_H5CHECK to its path");
    std::error_code code;
    const auto size = fs::file_size(file, code);
    if (timeout.count() == 0)
        timeout = std::chrono::seconds(30 + (code ? 0 : size / 20'000'000));
    // The limit is on the child's processor time: on a busy machine a sound file may take many times as long by the clock.
    const auto wallLimit = timeout * kWallFactor;
    const std::string seconds
        = std::to_string(std::max<long long>(1, std::chrono::duration_cast<std::chrono::seconds>(timeout).count()));

    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0)
        return fail(Errc::Io, "no pipe for the check: " + std::generic_category().message(errno), file.string());
    Descriptor readEnd, writeEnd;
    readEnd.fd = ends[0];
    writeEnd.fd = ends[1];
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, writeEnd.fd, STDOUT_FILENO);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    const std::string path = fs::absolute(file, code).string();
    char* const arguments[]
        = {const_cast<char*>(program->c_str()), const_cast<char*>(path.c_str()), const_cast<char*>(seconds.c_str()), nullptr};
    char noPlugins[] = "HDF5_PLUGIN_PRELOAD=::";
    char quietMalloc[] = "MALLOC_CHECK_=2"; // abort at a broken heap
    char* const environment[] = {noPlugins, quietMalloc, nullptr};
    pid_t child = -1;
    const int spawned = ::posix_spawn(&child, program->c_str(), &actions, nullptr, arguments, environment);
    posix_spawn_file_actions_destroy(&actions);
    writeEnd.reset();
    if (spawned != 0)
        return fail(Errc::Io, "the check cannot be started: " + std::generic_category().message(spawned), program->string());

    const auto deadline = Clock::now() + wallLimit;
    std::string answer;
    const bool ended = readAnswer(readEnd.fd, deadline, answer);
    const auto status = ended ? waitUntil(child, deadline) : std::nullopt;
    if (!status) {
        ::kill(child, SIGKILL);
        ::waitpid(child, nullptr, 0);
        return fail(Errc::Io,
            "could not be checked in "
                + std::to_string(std::max<long long>(1, std::chrono::duration_cast<std::chrono::seconds>(wallLimit).count()))
                + " s: the machine is busy or the file is damaged",
            file.string(), "try again when the machine is idle, or repack it with h5repack");
    }
    if (WIFSIGNALED(*status) && WTERMSIG(*status) == SIGXCPU)
        return fail(Errc::Format, "checking it took more than " + seconds + " s of processor time: the file is damaged",
            file.string(), "write it again, or repack it with h5repack");
    if (WIFEXITED(*status) && WEXITSTATUS(*status) == 0)
        return {};
    if (WIFEXITED(*status) && WEXITSTATUS(*status) == 1 && !line(answer, 1).empty()) {
        const std::string where = line(answer, 0);
        return fail(
            Errc::Format, line(answer, 1), where.empty() ? file.string() : file.string() + ": " + where, line(answer, 2));
    }
    return fail(Errc::Format, "the HDF5 library breaks on it: the file is damaged", file.string(),
        "write it again, or repack it with h5repack");
}

} // namespace qs::stats
