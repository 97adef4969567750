// SPDX-License-Identifier: Apache-2.0
#include "core/io/checkpoint.h"

#include "core/io/file_checkpoint.h"
#include "core/io/gguf.h"
#include "core/io/json_text.h"
#include "core/io/safetensors.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <new>

namespace qs::io {
namespace fs = std::filesystem;

namespace {

constexpr const char* kKnownFormats = "safetensors files, their index, Hugging Face folders and GGUF files can be opened";

bool isFile(const fs::path& path)
{
    std::error_code ignored;
    return fs::is_regular_file(path, ignored);
}

/// For "model-00002-of-00003.safetensors": what is missing beside it. Empty for other names.
std::string shardOf(const std::string& name)
{
    const std::string_view stem = std::string_view(name).substr(0, name.size() - std::string_view(".safetensors").size());
    const std::size_t of = stem.rfind("-of-");
    const std::size_t dash = of == std::string_view::npos || of == 0 ? of : stem.rfind('-', of - 1);
    if (of == std::string_view::npos || dash == std::string_view::npos)
        return {};
    const std::string_view number = stem.substr(dash + 1, of - dash - 1), total = stem.substr(of + 4);
    const auto digits
        = [](std::string_view text) { return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos; };
    if (!digits(number) || !digits(total) || total.substr(std::min(total.find_first_not_of('0'), total.size())) == "1")
        return {};
    return fmt::format("{} is one of several shards ({} of {}), and {}.safetensors.index.json is not there", io::quoted(name),
        number, total, stem.substr(0, dash));
}

/// The file in a folder that stands for the whole checkpoint.
Expected<fs::path> mainFile(const fs::path& folder)
{
    for (const char* name : {"model.safetensors", "model.safetensors.index.json"})
        if (isFile(folder / name))
            return folder / name;
    std::vector<fs::path> indexes;
    std::vector<fs::path> tensors;
    std::vector<fs::path> ggufs;
    bool pickled = false;
    std::error_code code;
    for (fs::directory_iterator it(folder, code), end; !code && it != end; it.increment(code)) {
        const std::string name = it->path().filename().string();
        if (!isFile(it->path()))
            continue;
        if (name.ends_with(".safetensors.index.json"))
            indexes.push_back(it->path());
        else if (name.ends_with(".safetensors"))
            tensors.push_back(it->path());
        else if (name.ends_with(".gguf")
            && (name.find("-of-") == std::string::npos || name.find("-00001-of-") != std::string::npos))
            ggufs.push_back(it->path());
        pickled = pickled || name.ends_with(".bin") || name.ends_with(".pt") || name.ends_with(".pth");
    }
    if (code)
        return fail(Errc::Io, "cannot be listed: " + code.message(), folder.string(), "check its permissions");
    for (const auto* list : {&indexes, &tensors, &ggufs}) {
        if (list == &tensors && !list->empty())
            if (const std::string shard = shardOf(list->front().filename().string()); !shard.empty())
                return fail(Errc::NotFound, shard, folder.string(), "fetch the index and all its shards");
        if (list->size() == 1)
            return list->front();
        if (list->size() > 1)
            return fail(Errc::InvalidArgument, fmt::format("holds {} checkpoints", list->size()), folder.string(),
                "open one of its files");
    }
    if (pickled)
        return fail(Errc::Unsupported, "holds PyTorch files only", folder.string(), "save the model as safetensors");
    return fail(Errc::NotFound, "holds no checkpoint", folder.string(), kKnownFormats);
}

Expected<CheckpointParts> readParts(const fs::path& path)
{
    const std::string name = path.filename().string();
    if (name.ends_with(".index.json"))
        return readSafetensorsIndex(path);
    QS_TRY(file, MappedFile::open(path));
    std::array<char, 9> start{};
    const auto known = static_cast<std::size_t>(std::min<std::uint64_t>(start.size(), file->size()));
    QS_CHECK(file->copy(0, std::as_writable_bytes(std::span(start).first(known))));
    if (name.ends_with(".gguf") || std::string_view(start.data(), 4) == "GGUF")
        return readGguf(path);
    if (name.ends_with(".safetensors") || (known == start.size() && start[8] == '{'))
        return readSafetensors(path);
    for (const char* suffix : {".pt", ".pth", ".bin"})
        if (name.ends_with(suffix))
            return fail(Errc::Unsupported, "PyTorch files cannot be opened", path.string(), "save the model as safetensors");
    return fail(Errc::Unsupported, "is not a known checkpoint format", path.string(), kKnownFormats);
}

} // namespace

Index TensorInfo::rows() const
{
    Index product = 1;
    for (std::size_t i = 0; i + 1 < shape.size(); ++i)
        product *= shape[i];
    return product;
}

Index TensorInfo::cols() const
{
    return shape.empty() ? 1 : shape.back();
}

Expected<RowMatrix> Checkpoint::readMatrix(const TensorInfo& tensor) const
{
    const TensorInfo* own = find(tensor.name);
    if (!own)
        return fail(Errc::NotFound, "has no tensor " + io::quoted(tensor.name), path().string());
    try {
        RowMatrix matrix(own->rows(), own->cols());
        QS_CHECK(readRows(*own, 0, matrix.mut()));
        return matrix;
    } catch (const std::bad_alloc&) {
        return fail(Errc::OutOfMemory, shapeText(own->shape) + " values do not fit into memory", placeOf(path(), own->name));
    }
}

Expected<std::shared_ptr<const Checkpoint>> openCheckpoint(const fs::path& path)
{
    std::error_code ignored;
    fs::path file = path;
    if (fs::is_directory(path, ignored)) {
        QS_TRY(found, mainFile(path));
        file = found;
    }
    QS_TRY(parts, readParts(file));
    if (parts.format == "safetensors")
        QS_CHECK(foldPackedWeights(parts, file.parent_path()));
    parts.path = path;
    return FileCheckpoint::create(std::move(parts));
}

} // namespace qs::io
