// SPDX-License-Identifier: Apache-2.0
#include "checkpoint_files.h"
#include "exporters.h"
#include "model_files.h"
#include "scheme.h"
#include "validate.h"

#include "core/base/atomic_file.h"
#include "core/base/digest.h"
#include "core/base/version.h"
#include "core/model/block_weights.h"
#include "core/quant/packing.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <set>
#include <system_error>

namespace qs::plugins {
namespace {

using recipe::ExportInput;
using recipe::ExportReport;
using recipe::Finding;

constexpr std::uint64_t kShardBytes = std::uint64_t{2} << 30;

template <class T> std::vector<std::byte> asBytes(const std::vector<T>& values)
{
    std::vector<std::byte> bytes(values.size() * sizeof(T));
    if (!bytes.empty())
        std::memcpy(bytes.data(), values.data(), bytes.size());
    return bytes;
}

DType scaleDType(quant::ScaleType type)
{
    switch (type) {
    case quant::ScaleType::Float32: return DType::F32;
    case quant::ScaleType::BFloat16: return DType::BF16;
    case quant::ScaleType::Float16: return DType::F16;
    }
    return DType::F32;
}

/// Digest of what a layer's stored weight decodes to; compared with what is read back.
std::string decodedDigest(MatrixView W)
{
    Digest digest;
    for (Index r = 0; r < W.rows(); ++r)
        digest.add(std::as_bytes(W.row(r)));
    return digest.hex();
}

/// Signed or unsigned codes of any of our grids, moved to the unsigned offset-binary codes that the format stores.
std::uint8_t storedCode(int code, float zero, const WeightScheme& scheme)
{
    // Symmetric: the value is scale * (code - zero) with an integer zero, stored as that difference plus 2^(b-1).
    const int half = 1 << (scheme.bits - 1);
    return static_cast<std::uint8_t>(scheme.symmetric ? code - static_cast<int>(zero) + half : code);
}

void lintScaleTypes(const ExportInput& input, std::vector<Finding>& findings);

class CompressedTensorsExporter final : public recipe::Exporter {
public:
    std::string id() const override { return "compressed-tensors"; }
    std::string title() const override { return "compressed-tensors checkpoint (pack-quantized)"; }
    std::string description() const override
    {
        return "weight-only integer checkpoint (W4A16, W8A16) for vLLM, SGLang and transformers";
    }
    bool writesFolder() const override { return true; }

    std::vector<Finding> lint(const ExportInput& input) const override
    {
        const auto& spec = input.runner->model().spec();
        std::vector<Finding> findings = lintModel(spec);
        for (Finding& finding : lintSchemes(input))
            findings.push_back(std::move(finding));
        if (spec.family != model::Family::Llama)
            findings.push_back({"architecture", "error", spec.name,
                "is not a model with a config: only its layers can be compared, not exported as a checkpoint"});
        lintScaleTypes(input, findings);
        for (const auto& site : spec.sites) {
            const bool folds = !site.producerNorm.empty() || site.producerLayer >= 0;
            for (const model::LayerIndex index : site.consumers) {
                const auto& pipeline = input.assignment.layers[static_cast<std::size_t>(index)];
                if (pipeline && !(*pipeline)[recipe::Slot::Transform].empty() && !folds)
                    findings.push_back({"transform-folds", "error", spec.layers[static_cast<std::size_t>(index)].name,
                        "its transform cannot be folded into a neighbour"});
            }
        }
        return findings;
    }

    std::vector<recipe::RuntimeVerdict> runtimes(const ExportInput& input) const override
    {
        return verdictsBefore(input, lint(input));
    }

    Expected<ExportReport> write(
        const ExportInput& input, const std::filesystem::path& target, const JobContext& job) const override
    {
        return writeFolder(target, job, [&](const std::filesystem::path& folder) { return fill(input, folder, job); });
    }

private:
    Expected<ExportReport> fill(const ExportInput& input, const std::filesystem::path& folder, const JobContext& job) const;
};

/// vLLM keeps scales in the model's own type: what was measured with other scales is not what it computes.
void lintScaleTypes(const ExportInput& input, std::vector<Finding>& findings)
{
    const auto schemes = schemeMap(input);
    const std::string type = torchName(plainType(input.runner->model()));
    if (!schemes || type == "float32")
        return;
    std::map<std::string, std::vector<model::LayerIndex>> byType;
    for (const auto& [scheme, members] : schemes->groups)
        if (scheme.scaleType != "torch." + type)
            byType[scheme.scaleType].insert(byType[scheme.scaleType].end(), members.begin(), members.end());
    for (const auto& [scaleType, members] : byType) {
        const auto first = static_cast<std::size_t>(*std::min_element(members.begin(), members.end()));
        findings.push_back({"scale-type", "warning", input.runner->model().spec().layers[first].name,
            fmt::format("the scales of {} (this is the first) are stored as {}, but the model is {}, which vLLM rounds them "
                        "to; scale_dtype={} is what will run",
                layersText(members.size()), scaleType.substr(6), type, type)});
    }
}

/// The state of one export.
class Writing {
public:
    Writing(const ExportInput& input, const std::filesystem::path& folder, const JobContext& job)
        : m_input(input)
        , m_model(input.runner->model())
        , m_spec(m_model.spec())
        , m_job(job)
        , m_writer(folder, kShardBytes, job)
    {
    }

    Expected<void> layers(const SchemeMap& schemes);
    Expected<void> otherTensors(ExportReport& report);
    Expected<std::vector<std::string>> finish() { return m_writer.finish(); }
    Expected<void> verify(const std::filesystem::path& folder, ExportReport& report) const;

    std::uint64_t layerBytes() const { return m_layerBytes; }
    recipe::RecipeSize size() const;
    void checkEstimate(ExportReport& report) const;

private:
    Expected<void> packed(const model::LayerSpec& layer, const recipe::CompressedLayer& compressed, const WeightScheme& scheme);
    Expected<void> dense(const model::LayerSpec& layer, const recipe::CompressedLayer& compressed);
    Expected<void> bias(const model::LayerSpec& layer, const recipe::CompressedLayer& compressed);
    Expected<void> fold(const model::LayerSpec& layer, const recipe::CompressedLayer& compressed);
    Expected<void> plain(const std::string& name, DType type, Shape shape, MatrixView values);

    const ExportInput& m_input;
    const model::Model& m_model;
    const model::ModelSpec& m_spec;
    const JobContext& m_job;
    ShardWriter m_writer;
    std::set<std::string> m_written; ///< Hugging Face names that the layers took care of.
    std::map<std::string, std::vector<double>> m_normFactors; ///< Norm tensor -> factor per channel.
    std::map<std::string, std::string> m_expected; ///< Tensor name -> digest of its decoded values.
    std::map<model::LayerIndex, quant::BitsCount> m_bits; ///< Of the layers with a pipeline.
    std::uint64_t m_layerBytes = 0; ///< Of their tensors, as written; without weight_shape.
    double m_elements = 0; ///< Values that the file stands for.
};

Expected<void> Writing::layers(const SchemeMap& schemes)
{
    std::map<model::LayerIndex, WeightScheme> schemeOf;
    for (const auto& [scheme, members] : schemes.groups)
        for (const model::LayerIndex index : members)
            schemeOf[index] = scheme;
    const auto touched = recipe::touchedLayers(m_spec, m_input.assignment);
    double done = 0;
    for (const model::LayerIndex index : touched) {
        QS_CHECK(m_job.poll());
        const auto& layer = m_spec.layers[static_cast<std::size_t>(index)];
        const double share = 0.8 / static_cast<double>(touched.size());
        const JobContext part = m_job.part(done * share, (done + 1) * share);
        part.progress(0.0, layer.name);
        QS_TRY(compressed, m_input.runner->compress(index, m_input.assignment, part));
        const bool own = m_input.assignment.layers[static_cast<std::size_t>(index)] != nullptr;
        const auto scheme = schemeOf.find(index);
        if (scheme != schemeOf.end())
            QS_CHECK(packed(layer, compressed, scheme->second));
        else
            QS_CHECK(dense(layer, compressed));
        if (own)
            m_bits[index] = compressed.bits;
        m_elements += static_cast<double>(layer.in) * static_cast<double>(layer.out);
        if (recipe::takesRowFactors(m_spec, m_input.assignment, index))
            QS_CHECK(bias(layer, compressed));
        QS_CHECK(fold(layer, compressed));
        done += 1;
    }
    return {};
}

Expected<void> Writing::packed(
    const model::LayerSpec& layer, const recipe::CompressedLayer& compressed, const WeightScheme& scheme)
{
    const quant::QuantizedTensor& q = compressed.quantized;
    const Index rows = q.rows();
    const Index cols = q.cols();
    const Index groups = q.groups();
    if (q.empty() || (!scheme.group && groups != 1))
        return fail(Errc::Internal, "the compressed layer has no codes of the announced scheme", layer.name);
    std::vector<std::uint8_t> codes(static_cast<std::size_t>(rows * cols));
    for (Index r = 0; r < rows; ++r)
        for (Index c = 0; c < cols; ++c) {
            const Index g = q.groupOf.empty() ? c / q.group : q.groupOf[static_cast<std::size_t>(c)];
            codes[static_cast<std::size_t>(r * cols + c)] = storedCode(q.codes(r, c), q.zero(r, g), scheme);
        }
    const auto record = [&](const std::string& suffix, DType type, Shape shape, std::vector<std::byte> bytes, bool counted) {
        if (counted)
            m_layerBytes += bytes.size();
        return m_writer.add(layer.name + "." + suffix, type, std::move(shape), std::move(bytes));
    };
    QS_TRY(words, quant::packBits(codes, rows, cols, scheme.bits, quant::PackAxis::Columns));
    QS_CHECK(record("weight_packed", DType::I32, {rows, quant::packedWords(cols, scheme.bits)}, asBytes(words), true));
    QS_CHECK(record("weight_scale", scaleDType(q.grid.scaleType), {rows, groups},
        recipe::encodeStored(scaleDType(q.grid.scaleType), q.scale), true));
    if (!scheme.symmetric) {
        std::vector<std::uint8_t> zeros(static_cast<std::size_t>(rows * groups));
        for (Index r = 0; r < rows; ++r)
            for (Index g = 0; g < groups; ++g)
                zeros[static_cast<std::size_t>(r * groups + g)] = static_cast<std::uint8_t>(q.zero(r, g));
        QS_TRY(zeroWords, quant::packBits(zeros, rows, groups, scheme.bits, quant::PackAxis::Rows));
        QS_CHECK(
            record("weight_zero_point", DType::I32, {quant::packedWords(rows, scheme.bits), groups}, asBytes(zeroWords), true));
    }
    if (scheme.activationOrder && !q.groupOf.empty())
        QS_CHECK(record("weight_g_idx", DType::I32, {cols}, asBytes(q.groupOf), true));
    QS_CHECK(record("weight_shape", DType::I64, {2}, asBytes(std::vector<std::int64_t>{rows, cols}), false));
    m_expected[layer.weight] = decodedDigest(q.dequantize(m_input.runner->backend()));
    m_written.insert(layer.weight);
    return {};
}

Expected<void> Writing::dense(const model::LayerSpec& layer, const recipe::CompressedLayer& compressed)
{
    // Rounded to this type by the runner already: what was measured is what is written.
    const DType type = recipe::denseStorageType(layer.dtype);
    const RowMatrix& stored = compressed.stored.empty() ? compressed.What : compressed.stored;
    if (m_input.assignment.layers[static_cast<std::size_t>(m_spec.find(layer.name))])
        m_layerBytes += storageBytes(type, stored.size()).value_or(0);
    m_written.insert(layer.weight);
    return plain(layer.weight, type, {stored.rows(), stored.cols()}, stored);
}

/// Row factors act on the bias as well; it is kept in float32, because the simulation does not round it.
Expected<void> Writing::bias(const model::LayerSpec& layer, const recipe::CompressedLayer& compressed)
{
    if (layer.bias.empty())
        return {};
    QS_TRY(values, m_model.load(layer.bias));
    if (!compressed.outputScale.empty())
        for (std::size_t i = 0; i < values.values().size(); ++i)
            values.values()[i] = static_cast<float>(static_cast<double>(values.values()[i]) * compressed.outputScale[i]);
    m_written.insert(layer.bias);
    m_elements += static_cast<double>(values.size());
    return plain(layer.bias, DType::F32, {values.size()}, values);
}

/// Notes what the layer's transform does to the norm before it. Row factors of a producer are in that layer's own weight.
Expected<void> Writing::fold(const model::LayerSpec& layer, const recipe::CompressedLayer& compressed)
{
    if (!compressed.inputTransform || compressed.inputTransform->identity())
        return {};
    const std::vector<double> diagonal = compressed.inputTransform->diagonal();
    const model::SiteSpec* site = layer.site >= 0 ? &m_spec.sites[static_cast<std::size_t>(layer.site)] : nullptr;
    if (diagonal.empty() || !site || !site->diagonalFolds)
        return fail(Errc::Unsupported,
            "its transform cannot be folded into a neighbour: "
                + (diagonal.empty()                     ? std::string("it is not diagonal")
                        : !site || site->whyNot.empty() ? std::string("there is none")
                                                        : site->whyNot),
            layer.name, "nothing was written; leave the transform out, or export the recipe instead");
    if (!site->producerNorm.empty())
        m_normFactors[site->producerNorm] = diagonal;
    return {};
}

Expected<void> Writing::plain(const std::string& name, DType type, Shape shape, MatrixView values)
{
    std::vector<std::byte> bytes = recipe::encodeStored(type, values);
    m_expected[name] = decodedDigest(values);
    return m_writer.add(name, type, std::move(shape), std::move(bytes));
}

Expected<void> Writing::otherTensors(ExportReport& report)
{
    const auto stored = recipe::asStored(m_input.runner->sharedModel());
    double worst = 0;
    for (const auto& tensor : m_model.checkpoint().tensors()) {
        QS_CHECK(m_job.poll());
        const std::string name = m_model.hfName(tensor);
        if (m_written.contains(name) || (m_spec.tiedEmbeddings && name == "lm_head.weight"))
            continue;
        m_elements += static_cast<double>(elementCount(tensor.shape).value_or(0));
        if (recipe::travelsRaw(tensor.dtype)) {
            QS_TRY(raw, m_model.checkpoint().readRaw(tensor));
            QS_CHECK(m_writer.add(name, tensor.dtype, tensor.shape, std::move(raw)));
            continue;
        }
        const DType type = recipe::denseStorageType(tensor.dtype);
        QS_TRY(values, stored->load(name));
        QS_CHECK(model::requireFinite(values, name)); // what eval and capture refuse is not written either
        if (const auto factors = m_normFactors.find(name); factors != m_normFactors.end()) {
            values = recipe::foldIntoNorm(values, factors->second, type);
            for (const float value : std::as_const(values).values())
                if (!std::isfinite(value))
                    return fail(Errc::NotFinite, "the transform that folds into it leaves the range of " + torchName(type),
                        name, "nothing was written; use a milder transform");
        } else if (!dtypeInfo(tensor.dtype).floating) {
            QS_TRY(exact, m_model.load(name));
            for (std::size_t i = 0; i < exact.values().size(); ++i)
                if (const double value = exact.values()[i]; value != 0.0)
                    worst = std::max(worst, std::abs(static_cast<double>(values.values()[i]) - value) / std::abs(value));
        }
        QS_CHECK(plain(name, type, tensor.shape, values));
    }
    if (worst > 0)
        report.findings.push_back({"plain-rounding", "info", "tensors outside the compressed layers",
            fmt::format("are block-quantized in the source and stored as float16, as they were simulated; largest relative "
                        "rounding {:.2g}",
                worst)});
    return {};
}

recipe::RecipeSize Writing::size() const
{
    recipe::RecipeSize size;
    double weights = 0;
    for (const auto& [index, bits] : m_bits)
        weights += static_cast<double>(bits.weights);
    size.bitsLayers = weights > 0 ? 8.0 * static_cast<double>(m_layerBytes) / weights : 0.0;
    size.bytesFile = static_cast<double>(m_writer.totalBytes());
    size.bitsFile = m_elements > 0 ? 8.0 * size.bytesFile / m_elements : 0.0;
    return size;
}

/// The size that was promised before the export is the size that was written.
void Writing::checkEstimate(ExportReport& report) const
{
    const auto promised = recipe::recipeSize(m_model, m_input.assignment, m_bits);
    if (promised.bytesFile != report.size.bytesFile || promised.bitsLayers != report.size.bitsLayers)
        report.findings.push_back({"bytes-accounted", "warning", "size",
            fmt::format("{:.0f} bytes were written where {:.0f} were accounted for: report this as a bug",
                report.size.bytesFile, promised.bytesFile)});
}

Expected<void> Writing::verify(const std::filesystem::path& folder, ExportReport& report) const
{
    QS_TRY(written, model::openModel(folder));
    std::size_t equal = 0;
    for (const auto& [name, digest] : m_expected) {
        QS_CHECK(m_job.poll());
        const auto values = written->load(name);
        if (!values)
            return fail(
                Errc::Internal, "the written file does not hold it: " + values.error().line(), name, "report this as a bug");
        if (decodedDigest(*values) == digest)
            ++equal;
        else
            report.findings.push_back(
                {"dequantized-equals-simulated", "error", name, "what was read back differs from the simulation"});
    }
    for (const auto& problem : written->spec().problems)
        if (problem.severity == "error")
            report.findings.push_back({"reopens", "error", problem.where, problem.message});
    if (const std::string difference = configDifference(m_spec, written->spec()); !difference.empty())
        report.findings.push_back({"config-equals-model", "error", "config.json", difference});
    report.verified = equal == m_expected.size() && !report.hasErrors();
    if (report.verified)
        report.findings.push_back({"dequantized-equals-simulated", "info", "all tensors",
            fmt::format("{} tensors read back and equal to the simulation, bit for bit", equal)});
    return {};
}

Expected<ExportReport> CompressedTensorsExporter::fill(
    const ExportInput& input, const std::filesystem::path& folder, const JobContext& job) const
{
    ExportReport report;
    report.findings = lint(input);
    if (const Finding* error = firstError(report.findings))
        return tl::unexpected(refusal(*error));
    QS_TRY(schemes, schemeMap(input));
    // What can be refused is refused before the layers are computed.
    QS_TRY(config, configOf(input.runner->model(), torchName(plainType(input.runner->model()))));
    Writing writing(input, folder, job);
    QS_CHECK(writing.layers(schemes));
    QS_CHECK(writing.otherTensors(report));
    job.progress(0.85, "writing");
    QS_TRY(files, writing.finish());
    for (auto& file : files)
        report.files.emplace_back(file);

    const auto& spec = input.runner->model().spec();
    if (!schemes.groups.empty()) {
        nlohmann::json groups = nlohmann::json::object();
        int number = 0;
        for (const auto& [scheme, members] : schemes.groups)
            groups[fmt::format("group_{}", number++)]
                = {{"targets", targetsOf(members, spec, schemes.uniform(spec))}, {"weights", schemeJson(scheme)},
                    {"input_activations", nullptr}, {"output_activations", nullptr}, {"format", "pack-quantized"}};
        std::vector<std::string> ignore = {"lm_head"};
        for (const model::LayerIndex index : schemes.ignored)
            ignore.push_back(spec.layers[static_cast<std::size_t>(index)].name);
        config["quantization_config"] = {{"quant_method", "compressed-tensors"}, {"format", "pack-quantized"},
            {"quantization_status", "compressed"}, {"config_groups", groups}, {"ignore", ignore}, {"kv_cache_scheme", nullptr},
            {"sparsity_config", nlohmann::json::object()}, {"transform_config", nlohmann::json::object()},
            {"global_compression_ratio", nullptr}};
    }
    QS_CHECK(writeTextFile(folder / "config.json", config.dump(2) + "\n"));
    report.files.emplace_back("config.json");
    QS_TRY(side, writeSideFiles(input.runner->model(), folder, report.findings));
    for (auto& file : side)
        report.files.emplace_back(file);
    const nlohmann::json provenance = {{"producer", kProducer}, {"model_id", input.runner->model().id()},
        {"recipe", recipe::recipeToJson(input.recipe)}, {"seed", job.seed}};
    QS_CHECK(writeTextFile(folder / "quantscope.json", provenance.dump(2) + "\n"));
    report.files.emplace_back("quantscope.json");

    std::error_code code;
    job.progress(0.92, "reading back");
    QS_CHECK(writing.verify(folder, report));
    report.layerBytes = writing.layerBytes();
    report.size = writing.size();
    writing.checkEstimate(report);
    for (const auto& file : report.files)
        if (file.extension() == ".safetensors")
            report.checkpointBytes += std::filesystem::file_size(folder / file, code);
    if (const Finding* error = firstError(report.findings))
        return fail(Errc::Internal, "verification failed: " + error->message, error->where, "nothing was left behind");
    return report;
}

} // namespace

std::unique_ptr<recipe::Exporter> makeCompressedTensorsExporter()
{
    return std::make_unique<CompressedTensorsExporter>();
}

} // namespace qs::plugins
