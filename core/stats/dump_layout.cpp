// SPDX-License-Identifier: Apache-2.0
#include "core/stats/dump_layout.h"

#include "core/base/atomic_file.h"
#include "core/base/digest.h"

#include <fmt/format.h>
#include <mutex>
#include <set>
#include <sys/stat.h>
#include <system_error>

namespace qs::stats {
namespace {

std::mutex trustMutex;
std::filesystem::path trustFolder; // guarded by trustMutex; empty: not kept on disk

std::set<std::string>& trusted() // guarded by trustMutex
{
    static std::set<std::string> files;
    return files;
}

std::filesystem::path markOf(const std::string& identity)
{
    Digest digest;
    digest.add(std::string_view("checked dump 1")).add(identity);
    return trustFolder / digest.hex();
}

} // namespace

std::string linkName(std::string_view name)
{
    if (name == ".")
        return "%2E";
    std::string link;
    for (const char c : name)
        link += c == '/' ? "%2F" : c == '%' ? "%25" : std::string(1, c);
    return link;
}

std::string nameOfLink(std::string_view link)
{
    std::string name;
    for (std::size_t i = 0; i < link.size(); ++i) {
        const std::string_view code = link.substr(i, 3);
        const char plain = code == "%2F" ? '/' : code == "%25" ? '%' : code == "%2E" ? '.' : '\0';
        name += plain ? plain : link[i];
        i += plain ? 2 : 0;
    }
    return name;
}

std::string fileIdentity(const std::filesystem::path& file)
{
    struct stat info { };
    if (::stat(file.c_str(), &info) != 0)
        return {};
    return fmt::format("{}:{}:{}:{}.{:09}:{}.{:09}", info.st_dev, info.st_ino, info.st_size, info.st_mtim.tv_sec,
        info.st_mtim.tv_nsec, info.st_ctim.tv_sec, info.st_ctim.tv_nsec);
}

void markTrusted(const std::filesystem::path& file)
{
    const std::string identity = fileIdentity(file);
    const std::lock_guard lock(trustMutex);
    if (identity.empty() || !trusted().insert(identity).second || trustFolder.empty())
        return;
    std::error_code ignored; // without the mark the file is only checked again
    std::filesystem::create_directories(trustFolder, ignored);
    static_cast<void>(writeTextFile(markOf(identity), {}));
}

bool isTrusted(const std::filesystem::path& file)
{
    const std::string identity = fileIdentity(file);
    const std::lock_guard lock(trustMutex);
    if (identity.empty() || trusted().contains(identity))
        return !identity.empty();
    std::error_code ignored;
    return !trustFolder.empty() && std::filesystem::exists(markOf(identity), ignored);
}

void rememberChecks(const std::filesystem::path& folder)
{
    const std::lock_guard lock(trustMutex);
    trustFolder = folder;
}

} // namespace qs::stats
