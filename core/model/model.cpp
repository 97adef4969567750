// SPDX-License-Identifier: Apache-2.0
#include "core/model/model.h"

#include "core/base/atomic_file.h"
#include "core/exec/parallel.h"
#include "core/model/spec_builder.h"
#include "core/model/tensor_names.h"

#include <algorithm>
#include <mutex>
#include <optional>

namespace qs::model {
namespace fs = std::filesystem;

namespace {

/// Rows [2 i + s] of each head go to [s D / 2 + i]: the order of interleaved rotation to that of half-split rotation.
RowMatrix halfSplitRows(MatrixView source, Index heads)
{
    RowMatrix result(source.rows(), source.cols());
    const Index dim = source.rows() / heads;
    for (Index head = 0; head < heads; ++head)
        for (Index i = 0; i < dim; ++i) {
            const auto from = source.row(head * dim + i);
            std::copy(from.begin(), from.end(), result.row(head * dim + (i % 2) * (dim / 2) + i / 2).begin());
        }
    return result;
}

class OpenedModel final : public Model {
public:
    OpenedModel(std::shared_ptr<const io::Checkpoint> checkpoint, TensorNames names)
        : m_checkpoint(std::move(checkpoint))
        , m_names(std::move(names))
    {
    }

    const ModelSpec& spec() const override { return m_spec; }
    const io::Checkpoint& checkpoint() const override { return *m_checkpoint; }
    const std::string& id() const override { return m_checkpoint->id(); }
    const io::TensorInfo* tensor(std::string_view hfName) const override { return m_names.find(hfName); }
    std::string hfName(const io::TensorInfo& tensor) const override { return m_names.hfName(tensor); }

    Expected<RowMatrix> load(std::string_view hfName) const override
    {
        QS_TRY(info, require(hfName));
        RowMatrix result(info->rows(), info->cols());
        QS_CHECK(readAll(*info, result.mut()));
        if (const Index heads = permutedHeads(hfName); heads > 0) {
            const bool vector = info->shape.size() < 2;
            const MatrixView rows = vector ? MatrixView(result.data(), result.cols(), 1) : result.view();
            if (rows.rows() % (2 * heads) != 0)
                return fail(
                    Errc::Mismatch, "its rows cannot be split into " + std::to_string(heads) + " heads", std::string(hfName));
            RowMatrix ordered = halfSplitRows(rows, heads);
            if (vector)
                std::copy(ordered.values().begin(), ordered.values().end(), result.data());
            else
                result = std::move(ordered);
        }
        return result;
    }

    Expected<std::string> digest(std::string_view hfName) const override
    {
        QS_TRY(info, require(hfName));
        return m_checkpoint->tensorDigest(*info);
    }

    Expected<std::shared_ptr<const io::Tokenizer>> tokenizer() const override
    {
        const std::lock_guard lock(m_mutex);
        if (!m_tokenizer) {
            auto opened = m_checkpoint->format() == "gguf" ? io::openTokenizerGguf(*m_checkpoint) : openJson();
            if (!opened)
                return opened;
            m_tokenizer = std::move(*opened);
        }
        return m_tokenizer;
    }

    ModelSpec m_spec;
    bool m_permutedQk = false;

private:
    Expected<const io::TensorInfo*> require(std::string_view hfName) const
    {
        if (const io::TensorInfo* info = m_names.find(hfName))
            return info;
        return fail(Errc::NotFound, "is not in " + m_checkpoint->path().string(), std::string(hfName));
    }

    Expected<void> readAll(const io::TensorInfo& info, MutMatrixView target) const
    {
        if (target.empty())
            return {};
        constexpr Index kElements = Index{1} << 17;
        std::mutex mutex;
        std::optional<Error> error; // of the lowest row, so that the message does not depend on timing
        Index errorRow = 0;
        parallelFor(0, target.rows(), std::max<Index>(1, kElements / target.cols()), [&](Index begin, Index end) {
            if (auto done = m_checkpoint->readRows(info, begin, target.rowRange(begin, end - begin)); !done) {
                const std::lock_guard lock(mutex);
                if (!error || begin < errorRow) {
                    error = std::move(done).error();
                    errorRow = begin;
                }
            }
        });
        if (error)
            return tl::unexpected(std::move(*error));
        return {};
    }

    /// Number of heads whose rows are stored interleaved; 0 for every tensor but those of Q and K.
    Index permutedHeads(std::string_view hfName) const
    {
        if (!m_permutedQk)
            return 0;
        if (hfName.ends_with(".self_attn.q_proj.weight") || hfName.ends_with(".self_attn.q_proj.bias"))
            return m_spec.heads;
        if (hfName.ends_with(".self_attn.k_proj.weight") || hfName.ends_with(".self_attn.k_proj.bias"))
            return m_spec.kvHeads;
        return 0;
    }

    Expected<std::shared_ptr<const io::Tokenizer>> openJson() const
    {
        std::error_code code;
        const fs::path& path = m_checkpoint->path();
        const fs::path file = (fs::is_directory(path, code) ? path : path.parent_path()) / "tokenizer.json";
        if (!fs::exists(file, code))
            return fail(
                Errc::NotFound, "the model has no tokenizer", file.string(), "put the model's tokenizer.json beside it");
        return io::openTokenizerJson(file);
    }

    std::shared_ptr<const io::Checkpoint> m_checkpoint;
    TensorNames m_names;
    mutable std::mutex m_mutex;
    mutable std::shared_ptr<const io::Tokenizer> m_tokenizer; // guarded by m_mutex
};

bool holdsTensors(const fs::path& folder)
{
    std::error_code code;
    for (const auto& entry : fs::directory_iterator(folder, code)) {
        const std::string extension = entry.path().extension().string();
        const std::string name = entry.path().filename().string();
        if (extension == ".safetensors" || extension == ".gguf" || extension == ".bin" || extension == ".pt"
            || name.ends_with(".index.json"))
            return true;
    }
    return false;
}

std::string displayName(const fs::path& path, bool folder)
{
    std::error_code code;
    fs::path full = fs::absolute(path, code).lexically_normal();
    if (!full.has_filename())
        full = full.parent_path();
    return folder ? full.filename().string() : full.stem().string();
}

/// What explains the tensors, or nothing where they stay plain (with the reason in `plainReason` when there is something to
/// tell).
Expected<std::optional<Description>> describe(
    const io::Checkpoint& checkpoint, const TensorNames& names, const fs::path& path, bool folder, std::string& plainReason)
{
    if (checkpoint.format() == "gguf") {
        auto described = describeGguf(checkpoint);
        if (!described && described.error().code == Errc::NotFound) {
            plainReason = "the metadata name no architecture: its tensors are shown as plain matrices";
            return std::nullopt;
        }
        if (!described)
            return tl::unexpected(std::move(described).error());
        return std::optional(std::move(*described));
    }
    const fs::path config = (folder ? path : path.parent_path()) / "config.json";
    std::error_code code;
    if (!fs::exists(config, code))
        return std::nullopt;
    if (!folder && names.blocks().empty()) {
        plainReason = "the config.json beside it does not describe this file: its tensors are shown as plain matrices";
        return std::nullopt;
    }
    constexpr std::size_t kLargestConfig = std::size_t{16} << 20;
    QS_TRY(text, readTextFile(config, kLargestConfig));
    QS_TRY(described, describeConfig(text, config.string()));
    return std::optional(std::move(described));
}

} // namespace

Expected<std::shared_ptr<const Model>> openModel(const fs::path& path)
{
    std::error_code code;
    const bool folder = fs::is_directory(path, code);
    if (folder && fs::exists(path / "config.json", code) && !holdsTensors(path))
        return fail(Errc::Format, "has a config.json but no tensors", path.string(), "put the .safetensors files beside it");
    QS_TRY(checkpoint, io::openCheckpoint(path));
    if (checkpoint->tensors().empty())
        return fail(Errc::Format, "holds no tensors", path.string());
    TensorNames names(*checkpoint, checkpoint->format() == "gguf");
    std::string plainReason;
    QS_TRY(description, describe(*checkpoint, names, path, folder, plainReason));

    auto model = std::make_shared<OpenedModel>(checkpoint, names);
    if (description) {
        model->m_permutedQk = description->permutedQk;
        model->m_spec = buildLlamaSpec(std::move(*description), names, *checkpoint);
    } else {
        model->m_spec = buildPlainSpec(*checkpoint);
        if (!plainReason.empty())
            model->m_spec.problems.push_back({"warning", path.string(), plainReason});
    }
    if (model->m_spec.name.empty())
        model->m_spec.name = displayName(path, folder);
    return std::shared_ptr<const Model>(std::move(model));
}

Expected<void> requireRunnable(const Model& model)
{
    const std::string reason = model.spec().whyNotRunnable();
    if (reason.empty())
        return {};
    const bool plain = model.spec().family == Family::Plain;
    return fail(Errc::Unsupported, "the model cannot be run: " + reason, model.checkpoint().path().string(),
        plain ? "add its config.json, or open the folder that holds one" : "correct config.json, or fetch the tensors again");
}

} // namespace qs::model
