// SPDX-License-Identifier: Apache-2.0
#include "checkpoint_files.h"

#include "core/base/atomic_file.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace qs::plugins {

ShardWriter::ShardWriter(std::filesystem::path folder, std::uint64_t shardBytes, const JobContext& job)
    : m_folder(std::move(folder))
    , m_limit(shardBytes)
    , m_job(job)
{
}

Expected<void> ShardWriter::add(std::string name, DType dtype, Shape shape, std::vector<std::byte> bytes)
{
    io::TensorToWrite tensor;
    tensor.name = std::move(name);
    tensor.dtype = dtype;
    tensor.shape = std::move(shape);
    tensor.produce = [bytes = std::move(bytes)](const auto& sink) { return sink(bytes); };
    return add(std::move(tensor));
}

Expected<void> ShardWriter::add(io::TensorToWrite tensor)
{
    const auto elements = elementCount(tensor.shape);
    const auto bytes = elements ? storageBytes(tensor.dtype, *elements) : std::nullopt;
    if (!bytes)
        return fail(Errc::InvalidArgument, "has a shape or type that cannot be stored", tensor.name);
    if (!m_pending.empty() && m_pendingBytes + *bytes > m_limit)
        QS_CHECK(flush());
    m_pendingBytes += *bytes;
    m_total += *bytes;
    m_pending.push_back(std::move(tensor));
    return {};
}

Expected<void> ShardWriter::flush()
{
    std::vector<std::string> names;
    for (const auto& tensor : m_pending)
        names.push_back(tensor.name);
    QS_CHECK(io::writeSafetensors(m_folder / fmt::format("shard-{}.part", m_shards.size() + 1), std::move(m_pending), m_job));
    m_shards.push_back(std::move(names));
    m_pending.clear();
    m_pendingBytes = 0;
    return {};
}

Expected<std::vector<std::string>> ShardWriter::finish()
{
    if (!m_pending.empty())
        QS_CHECK(flush());
    std::vector<std::string> files;
    nlohmann::json map = nlohmann::json::object();
    std::error_code code;
    for (std::size_t i = 0; i < m_shards.size(); ++i) {
        const std::string name = m_shards.size() == 1 ? "model.safetensors"
                                                      : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, m_shards.size());
        std::filesystem::rename(m_folder / fmt::format("shard-{}.part", i + 1), m_folder / name, code);
        if (code)
            return fail(Errc::Io, "cannot be put in place: " + code.message(), (m_folder / name).string());
        for (const auto& tensor : m_shards[i])
            map[tensor] = name;
        files.push_back(name);
    }
    if (m_shards.size() > 1) {
        const nlohmann::json index = {{"metadata", {{"total_size", m_total}}}, {"weight_map", map}};
        QS_CHECK(writeTextFile(m_folder / "model.safetensors.index.json", index.dump(2) + "\n"));
        files.emplace_back("model.safetensors.index.json");
    }
    return files;
}

Expected<recipe::ExportReport> writeFolder(const std::filesystem::path& target, const JobContext& job,
    const std::function<Expected<recipe::ExportReport>(const std::filesystem::path&)>& fill)
{
    QS_TRY(folder, AtomicFolder::create(target));
    auto report = fill(folder.path());
    if (!report) {
        Error error = std::move(report).error();
        const std::string temporary = folder.path().string();
        for (std::string* text : {&error.where, &error.message})
            for (auto at = text->find(temporary); at != std::string::npos; at = text->find(temporary))
                text->replace(at, temporary.size(), target.string());
        return tl::unexpected(std::move(error));
    }
    QS_CHECK(job.poll());
    QS_CHECK(folder.commit());
    return report;
}

Error refusal(const recipe::Finding& finding)
{
    return {Errc::InvalidArgument, finding.message, finding.where,
        "nothing was written" + (finding.hint.empty() ? std::string() : "; " + finding.hint)};
}

const recipe::Finding* firstError(const std::vector<recipe::Finding>& findings)
{
    for (const auto& finding : findings)
        if (finding.severity == "error")
            return &finding;
    return nullptr;
}

} // namespace qs::plugins
