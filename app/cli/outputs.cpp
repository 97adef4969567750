// SPDX-License-Identifier: GPL-3.0-or-later
#include "outputs.h"

#include "core/base/atomic_file.h"
#include "core/io/checkpoint.h"

#include <array>
#include <cerrno>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string_view>
#include <system_error>
#include <unistd.h>

namespace qs::cli {
namespace {

namespace fs = std::filesystem;

std::string placed(const std::string& option, const std::string& path)
{
    return option + " " + path;
}

/// The nearest folder upward that is there, and whether files can be put into it.
Expected<void> checkParent(const std::string& option, const std::string& given, bool mayCreate)
{
    std::error_code code;
    fs::path folder = fs::absolute(given, code).lexically_normal();
    if (!folder.has_filename())
        folder = folder.parent_path();
    folder = folder.parent_path();
    while (mayCreate && !fs::exists(folder, code) && folder.has_relative_path())
        folder = folder.parent_path();
    if (!fs::exists(folder, code))
        return fail(Errc::NotFound, "its folder does not exist", placed(option, given), "create it, or choose another place");
    if (!fs::is_directory(folder, code))
        return fail(
            Errc::InvalidArgument, "'" + folder.string() + "' is not a folder", placed(option, given), "choose another place");
    if (::access(folder.c_str(), W_OK | X_OK) != 0)
        return fail(Errc::Io, "cannot be created: " + std::generic_category().message(errno), placed(option, given),
            "check the folder's permissions, or choose another one");
    return {};
}

/// Written by `analyze`: a producer, the dump, and layers or one layer's outliers.
bool looksLikeAnalysis(const fs::path& path)
{
    const auto text = readTextFile(path);
    const nlohmann::json document = text ? nlohmann::json::parse(*text, nullptr, false) : nlohmann::json();
    if (!document.is_object() || !document.contains("producer") || !document.contains("dump"))
        return false;
    return document["producer"].is_string() && document["producer"].get<std::string>().starts_with("quantscope ")
        && document["dump"].is_object() && (document.contains("layers") || document.contains("outliers"));
}

/// What --save-tensors wrote before; not a checkpoint, which cannot be had again.
bool isOurSafetensors(const fs::path& path)
{
    const auto opened = io::openCheckpoint(path);
    if (!opened)
        return false;
    const auto producer = (*opened)->metadata().find("producer");
    const auto* text = producer == (*opened)->metadata().end() ? nullptr : std::get_if<std::string>(&producer->second);
    return text && text->starts_with("quantscope ");
}

const char* nameOf(OutputKind kind)
{
    switch (kind) {
    case OutputKind::Dump: return "a dump";
    case OutputKind::Safetensors: return "a file of an earlier --save-tensors";
    case OutputKind::AnalysisJson:
    case OutputKind::AnalysisCsv: return "an analysis";
    case OutputKind::Any: break;
    }
    return "a file";
}

bool looksLike(const fs::path& path, OutputKind kind)
{
    if (kind == OutputKind::AnalysisJson)
        return looksLikeAnalysis(path);
    if (kind == OutputKind::Safetensors)
        return isOurSafetensors(path);
    std::array<char, 16> start{};
    std::ifstream stream(path, std::ios::binary);
    stream.read(start.data(), start.size());
    const std::string_view bytes(start.data(), static_cast<std::size_t>(stream.gcount()));
    if (kind == OutputKind::Dump)
        return bytes.starts_with("\x89HDF\r\n\x1a\n");
    if (kind == OutputKind::AnalysisCsv)
        return bytes.starts_with("layer,channels,t") || bytes.starts_with("channel,abs_max,");
    return false;
}

} // namespace

Expected<void> checkOutputFile(
    const std::string& option, const std::string& path, OutputKind kind, const std::vector<std::string>& inputs)
{
    std::error_code code;
    const fs::file_status status = fs::status(path, code);
    if (fs::is_directory(status) || path.ends_with('/'))
        return fail(Errc::InvalidArgument, "is a folder, not a file", placed(option, path), "name a file in it");
    if (fs::exists(status)) {
        if (!fs::is_regular_file(status))
            return fail(Errc::InvalidArgument, "is not an ordinary file", placed(option, path), "choose another file");
        for (const std::string& input : inputs) {
            const bool same = !input.empty() && fs::equivalent(path, input, code);
            const bool inside = kind == OutputKind::Safetensors && fs::is_directory(input, code)
                && fs::equivalent(fs::absolute(path).parent_path(), input, code);
            if (same || inside)
                return fail(Errc::InvalidArgument,
                    same ? "is what this command reads: it is not overwritten"
                         : "is a file of the model's folder: it is not overwritten",
                    placed(option, path), "choose another file");
        }
        const auto size = fs::file_size(path, code);
        if (kind != OutputKind::Any && size > 0 && !looksLike(path, kind))
            return fail(Errc::InvalidArgument, std::string("exists and is not ") + nameOf(kind) + ": it is not overwritten",
                placed(option, path), "choose another file, or remove this one");
    }
    return checkParent(option, path, false);
}

Expected<void> checkOutputFolder(const std::string& option, const std::string& path, bool empty)
{
    std::error_code code;
    const fs::file_status status = fs::status(path, code);
    if (!fs::exists(status))
        return checkParent(option, path, true);
    if (!fs::is_directory(status))
        return fail(Errc::InvalidArgument, "is a file, not a folder", placed(option, path), "choose another folder");
    if (empty && !fs::is_empty(path, code))
        return fail(
            Errc::InvalidArgument, "already exists and is not an empty folder", placed(option, path), "choose a new folder");
    if (::access(path.c_str(), W_OK | X_OK) != 0)
        return fail(Errc::Io, "cannot be written to: " + std::generic_category().message(errno), placed(option, path),
            "check the folder's permissions, or choose another one");
    return checkParent(option, path, false);
}

} // namespace qs::cli
