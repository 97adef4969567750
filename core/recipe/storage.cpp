// SPDX-License-Identifier: Apache-2.0
#include "core/recipe/storage.h"

#include "core/exec/first_error.h"
#include "core/exec/parallel.h"
#include "core/quant/packing.h"
#include "core/recipe/site_fit.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fmt/format.h>
#include <limits>

namespace qs::recipe {
namespace {

constexpr Index kGrain = 64;
constexpr double kWeightShapeBytes = 16; // two int64

std::uint16_t encode16(DType type, float value)
{
    return type == DType::BF16 ? floatToBfloat16(value) : floatToHalf(value);
}

float rounded(DType type, float value)
{
    switch (type) {
    case DType::F32: return value;
    case DType::BF16: return bfloat16ToFloat(floatToBfloat16(value));
    default: return halfToFloat(floatToHalf(value));
    }
}

double storedBytes(const io::TensorInfo& tensor)
{
    if (travelsRaw(tensor.dtype))
        return static_cast<double>(tensor.bytes);
    return static_cast<double>(elementCount(tensor.shape).value_or(0))
        * static_cast<double>(dtypeInfo(denseStorageType(tensor.dtype)).blockBits) / 8.0;
}

bool isDroppedHead(const model::Model& model, const std::string& hfName)
{
    return model.spec().tiedEmbeddings && hfName == "lm_head.weight";
}

Expected<void> roundTensor(const io::TensorInfo& tensor, MutMatrixView values)
{
    if (travelsRaw(tensor.dtype))
        return {};
    auto done = roundToStored(denseStorageType(tensor.dtype), values);
    if (done)
        return done;
    Error error = std::move(done).error();
    error.where = tensor.name;
    return tl::unexpected(std::move(error));
}

/// Rounds what is read to the type that an export stores.
class StoredCheckpoint final : public io::Checkpoint {
public:
    explicit StoredCheckpoint(const io::Checkpoint& source)
        : m_source(source)
    {
    }
    std::string format() const override { return m_source.format(); }
    const std::filesystem::path& path() const override { return m_source.path(); }
    const std::vector<std::filesystem::path>& files() const override { return m_source.files(); }
    const std::vector<io::TensorInfo>& tensors() const override { return m_source.tensors(); }
    const io::TensorInfo* find(std::string_view name) const override { return m_source.find(name); }
    const std::map<std::string, io::MetaValue>& metadata() const override { return m_source.metadata(); }
    const std::string& id() const override { return m_source.id(); }
    Expected<void> readRows(const io::TensorInfo& tensor, Index row, MutMatrixView target) const override
    {
        QS_CHECK(m_source.readRows(tensor, row, target));
        return roundTensor(tensor, target);
    }
    Expected<std::vector<std::byte>> readRaw(const io::TensorInfo& tensor) const override { return m_source.readRaw(tensor); }
    Expected<std::string> tensorDigest(const io::TensorInfo& tensor) const override { return m_source.tensorDigest(tensor); }

private:
    const io::Checkpoint& m_source;
};

class StoredModel final : public model::Model {
public:
    explicit StoredModel(std::shared_ptr<const model::Model> model)
        : m_model(std::move(model))
        , m_checkpoint(m_model->checkpoint())
    {
    }
    const model::ModelSpec& spec() const override { return m_model->spec(); }
    const io::Checkpoint& checkpoint() const override { return m_checkpoint; }
    const std::string& id() const override { return m_model->id(); }
    const io::TensorInfo* tensor(std::string_view hfName) const override { return m_model->tensor(hfName); }
    std::string hfName(const io::TensorInfo& tensor) const override { return m_model->hfName(tensor); }
    Expected<std::string> digest(std::string_view hfName) const override { return m_model->digest(hfName); }
    Expected<std::shared_ptr<const io::Tokenizer>> tokenizer() const override { return m_model->tokenizer(); }
    Expected<RowMatrix> load(std::string_view hfName) const override
    {
        QS_TRY(values, m_model->load(hfName));
        if (const io::TensorInfo* info = m_model->tensor(hfName))
            QS_CHECK(roundTensor(*info, values.mut()));
        return std::move(values);
    }

private:
    std::shared_ptr<const model::Model> m_model;
    StoredCheckpoint m_checkpoint;
};

} // namespace

bool travelsRaw(DType type)
{
    const DTypeInfo& info = dtypeInfo(type);
    return !info.floating && info.blockElements == 1 && type != DType::Packed;
}

DType denseStorageType(DType type)
{
    switch (type) {
    case DType::BF16:
    case DType::F16:
    case DType::F32: return type;
    case DType::F64: return DType::F32;
    default: return DType::F16;
    }
}

Expected<void> roundToStored(DType type, MutMatrixView values)
{
    if (type == DType::F32)
        return {};
    FirstError lost; // the first value that does not fit
    parallelFor(0, values.rows(), kGrain, [&](Index begin, Index end) {
        for (Index r = begin; r < end; ++r) {
            const auto row = values.row(r);
            for (std::size_t c = 0; c < row.size(); ++c) {
                const float before = row[c];
                row[c] = rounded(type, before);
                if (!std::isfinite(row[c]) && std::isfinite(before)) {
                    lost.put(r,
                        {Errc::NotFinite, fmt::format("the value at ({}, {}) is beyond the range of {}", r, c, dtypeName(type)),
                            {}, {}});
                    return;
                }
            }
        }
    });
    return lost.take();
}

std::vector<std::byte> encodeStored(DType type, MatrixView values)
{
    const std::size_t width = type == DType::F32 ? 4 : 2;
    std::vector<std::byte> bytes(static_cast<std::size_t>(values.size()) * width);
    std::byte* out = bytes.data();
    for (Index r = 0; r < values.rows(); ++r)
        for (const float value : values.row(r)) {
            if (type == DType::F32) {
                std::memcpy(out, &value, 4);
            } else {
                const std::uint16_t bits = encode16(type, value);
                std::memcpy(out, &bits, 2);
            }
            out += width;
        }
    return bytes;
}

std::shared_ptr<const model::Model> asStored(std::shared_ptr<const model::Model> model)
{
    const auto& tensors = model->checkpoint().tensors();
    const bool same = std::all_of(tensors.begin(), tensors.end(), [](const io::TensorInfo& tensor) {
        return travelsRaw(tensor.dtype) || denseStorageType(tensor.dtype) == tensor.dtype || tensor.dtype == DType::F64;
    });
    if (same) // float64 is read as float32 anyway
        return model;
    return std::make_shared<const StoredModel>(std::move(model));
}

bool storesZeroPoints(quant::GridId grid)
{
    // sym-shifted puts its zero at 2^(b-1) - 1, which only an asymmetric scheme can state.
    return !quant::isSymmetric(grid) || grid == quant::GridId::SymShifted;
}

quant::BitsCount packedBits(const quant::QuantizedTensor& tensor)
{
    quant::BitsCount bits = quant::countBits(tensor);
    const int width = tensor.grid.bits;
    const auto words = [&](Index count, Index streams) {
        return 32.0 * static_cast<double>(quant::packedWords(count, width)) * static_cast<double>(streams);
    };
    bits.other += words(tensor.cols(), tensor.rows()) - bits.codes;
    // Runtimes load packed weights by row or group: one scale for all is written once per row.
    bits.scales = static_cast<double>(tensor.scale.size()) * quant::scaleTypeBits(tensor.grid.scaleType);
    if (tensor.grid.grid == quant::GridId::AsymRealZero)
        return bits; // no checkpoint format stores it
    if (storesZeroPoints(tensor.grid.grid)) {
        bits.zeros = static_cast<double>(tensor.scale.size()) * width;
        bits.other += words(tensor.rows(), tensor.groups()) - bits.zeros;
    }
    return bits;
}

quant::BitsCount storedBits(const model::Model& model, const model::LayerSpec& layer)
{
    quant::BitsCount bits;
    bits.weights = layer.in * layer.out;
    if (const io::TensorInfo* tensor = model.tensor(layer.weight)) // codes and scales are one tensor to a reader
        bits.codes = 8.0 * (static_cast<double>(tensor->bytes) - (tensor->dtype == DType::Packed ? kWeightShapeBytes : 0.0));
    return bits;
}

quant::BitsCount denseBits(const model::LayerSpec& layer)
{
    quant::BitsCount bits;
    bits.weights = layer.in * layer.out;
    bits.codes = static_cast<double>(bits.weights) * static_cast<double>(dtypeInfo(denseStorageType(layer.dtype)).blockBits);
    return bits;
}

RowMatrix foldIntoNorm(MatrixView norm, const std::vector<double>& d, DType type)
{
    RowMatrix folded(norm);
    const auto values = folded.values();
    for (std::size_t j = 0; j < values.size() && j < d.size(); ++j)
        values[j] = rounded(type, static_cast<float>(static_cast<double>(values[j]) * d[j]));
    return folded;
}

std::vector<double> snapToNorm(std::vector<double> d, MatrixView norm, DType type)
{
    const RowMatrix source(norm);
    const RowMatrix folded = foldIntoNorm(norm, d, type);
    const auto before = source.values();
    const auto after = folded.values();
    for (std::size_t j = 0; j < d.size() && j < after.size(); ++j) {
        // A factor that leaves the type's range or vanishes in it is kept: it shows as an error where it is folded.
        const double snapped = static_cast<double>(after[j]) / static_cast<double>(before[j]);
        if (before[j] != 0.0F && after[j] != 0.0F && std::isfinite(snapped))
            d[j] = snapped;
    }
    return d;
}

bool takesRowFactors(const model::ModelSpec& spec, const Assignment& assignment, model::LayerIndex layer)
{
    const model::SiteSpec* behind = siteBehind(spec, layer);
    if (!behind || behind->consumers.empty())
        return false;
    const auto& theirs = assignment.layers[static_cast<std::size_t>(behind->consumers.front())];
    return theirs && !(*theirs)[Slot::Transform].empty();
}

std::vector<model::LayerIndex> touchedLayers(const model::ModelSpec& spec, const Assignment& assignment)
{
    std::vector<model::LayerIndex> touched;
    for (std::size_t i = 0; i < spec.layers.size(); ++i)
        if (const auto layer = static_cast<model::LayerIndex>(i);
            assignment.layers[i] || takesRowFactors(spec, assignment, layer))
            touched.push_back(layer);
    return touched;
}

RecipeSize checkpointSize(const model::Model& model)
{
    RecipeSize size;
    const model::ModelSpec& spec = model.spec();
    double layerBits = 0;
    double layerWeights = 0;
    for (const auto& layer : spec.layers) {
        if (!spec.inBlocks(layer) || !model.tensor(layer.weight))
            continue;
        const quant::BitsCount bits = storedBits(model, layer);
        layerBits += bits.total();
        layerWeights += static_cast<double>(bits.weights);
    }
    size.bitsLayers = layerWeights > 0 ? layerBits / layerWeights : 0.0;
    double elements = 0;
    for (const io::TensorInfo& tensor : model.checkpoint().tensors()) {
        size.bytesFile += static_cast<double>(tensor.bytes);
        elements += static_cast<double>(elementCount(tensor.shape).value_or(0));
    }
    size.bitsFile = elements > 0 ? 8.0 * size.bytesFile / elements : 0.0;
    return size;
}

RecipeSize recipeSize(
    const model::Model& model, const Assignment& assignment, const std::map<model::LayerIndex, quant::BitsCount>& compressed)
{
    const auto& layers = model.spec().layers;
    RecipeSize size;
    double layerBits = 0;
    double layerWeights = 0;
    double shapes = 0;
    std::vector<std::string> replaced; // Hugging Face names
    std::vector<std::string> widened; // biases that row factors fold into
    for (const auto& [index, bits] : compressed) {
        layerBits += bits.total();
        layerWeights += static_cast<double>(bits.weights);
        replaced.push_back(layers[static_cast<std::size_t>(index)].weight);
        if (bits.scales > 0)
            shapes += kWeightShapeBytes;
    }
    for (const model::LayerIndex index : touchedLayers(model.spec(), assignment)) {
        const auto& layer = layers[static_cast<std::size_t>(index)];
        if (!layer.bias.empty() && takesRowFactors(model.spec(), assignment, index))
            widened.push_back(layer.bias);
    }
    const auto holds = [](const std::vector<std::string>& names, const std::string& name) {
        return std::find(names.begin(), names.end(), name) != names.end();
    };
    double fileBits = layerBits + 8.0 * shapes;
    double elements = layerWeights;
    for (const io::TensorInfo& tensor : model.checkpoint().tensors()) {
        const std::string name = model.hfName(tensor);
        if (holds(replaced, name) || isDroppedHead(model, name))
            continue;
        const auto count = static_cast<double>(elementCount(tensor.shape).value_or(0));
        fileBits += holds(widened, name) ? 32.0 * count : 8.0 * storedBytes(tensor);
        elements += count;
    }
    size.bitsLayers = layerWeights > 0 ? layerBits / layerWeights : 0.0;
    size.bytesFile = fileBits / 8.0;
    size.bitsFile = elements > 0 ? fileBits / elements : 0.0;
    return size;
}

} // namespace qs::recipe
