// SPDX-License-Identifier: Apache-2.0
#include "core/recipe/result_codec.h"

#include "core/exec/parallel.h"
#include "core/io/json_text.h"
#include "core/recipe/diagonal_transform.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <nlohmann/json.hpp>

namespace qs::recipe {
namespace {

using nlohmann::json;
using store::CacheEntry;

// Numbers are kept as text of std::to_chars: exact, and NaN and Inf survive.
json real(double value)
{
    std::array<char, 64> text{};
    const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
    return std::string(text.data(), end);
}

double readReal(const json& value)
{
    const auto& text = value.get_ref<const std::string&>();
    double number = 0;
    if (const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
        error != std::errc{} || end != text.data() + text.size())
        throw json::type_error::create(302, "not a number", &value);
    return number;
}

json valueToJson(const ParameterValue& value)
{
    if (const auto* number = std::get_if<double>(&value))
        return json{{"r", real(*number)}};
    return std::visit([](const auto& v) { return json{{"v", v}}; }, value);
}

ParameterValue valueFromJson(const json& stored)
{
    if (const auto it = stored.find("r"); it != stored.end())
        return readReal(*it);
    const json& value = stored.at("v");
    if (value.is_boolean())
        return value.get<bool>();
    if (value.is_number_integer())
        return value.get<std::int64_t>();
    return value.get<std::string>();
}

json reportsToJson(const std::vector<StageReport>& reports)
{
    json list = json::array();
    for (const StageReport& report : reports) {
        json entries = json::array();
        for (const auto& [name, value] : report.entries)
            entries.push_back({{"name", name}, {"value", valueToJson(value)}});
        list.push_back({{"stage", report.stage}, {"seconds", real(report.seconds)}, {"entries", std::move(entries)},
            {"notes", report.notes}});
    }
    return list;
}

std::vector<StageReport> reportsFromJson(const json& list)
{
    std::vector<StageReport> reports;
    for (const json& stored : list) {
        StageReport report{stored.at("stage").get<std::string>(), readReal(stored.at("seconds")), {}, {}};
        for (const json& entry : stored.at("entries"))
            report.entries.emplace_back(entry.at("name").get<std::string>(), valueFromJson(entry.at("value")));
        report.notes = stored.at("notes").get<std::vector<std::string>>();
        reports.push_back(std::move(report));
    }
    return reports;
}

template <class T> CacheEntry::Section section(std::string name, std::span<const T> values)
{
    const auto bytes = std::as_bytes(values);
    return {std::move(name), std::vector<std::byte>(bytes.begin(), bytes.end())};
}

template <class T> bool readSection(const CacheEntry& entry, std::string_view name, std::span<T> target)
{
    const auto* bytes = entry.find(name);
    if (!bytes || bytes->size() != target.size_bytes())
        return false;
    if (!bytes->empty())
        std::memcpy(target.data(), bytes->data(), bytes->size());
    return true;
}

/// Codes of up to 8 bits in one byte each, above their least value.
CacheEntry::Section packCodes(const BasicMatrix<std::int16_t>& codes, int lowest)
{
    CacheEntry::Section result{"codes", std::vector<std::byte>(static_cast<std::size_t>(codes.size()))};
    const auto values = codes.values();
    for (std::size_t i = 0; i < values.size(); ++i)
        result.bytes[i] = static_cast<std::byte>(values[i] - lowest);
    return result;
}

CacheEntry::Section packMask(const BasicMatrix<std::uint8_t>& keep)
{
    const auto values = keep.values();
    CacheEntry::Section result{"keep", std::vector<std::byte>((values.size() + 7) / 8)};
    for (std::size_t i = 0; i < values.size(); ++i)
        if (values[i] != 0)
            result.bytes[i / 8] |= std::byte{1} << (i % 8);
    return result;
}

bool sameBits(const RowMatrix& a, const RowMatrix& b)
{
    return a.rows() == b.rows() && a.cols() == b.cols()
        && (a.empty() || std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.size()) * sizeof(float)) == 0);
}

std::optional<RowMatrix> rebuild(const CompressedLayer& layer, Backend& backend)
{
    if (layer.quantized.empty() && layer.stored.empty())
        return std::nullopt;
    const RowMatrix decoded = layer.quantized.empty() ? RowMatrix() : layer.quantized.dequantize(backend);
    return effectiveWeight(decoded.empty() ? layer.stored : decoded, layer.inputTransform.get(), layer.outputScale);
}

json quantizedToJson(const quant::QuantizedTensor& q)
{
    const auto [low, high] = std::minmax_element(q.codes.values().begin(), q.codes.values().end());
    return {{"bits", q.grid.bits}, {"grid", quant::gridName(q.grid.grid)}, {"range", quant::rangeName(q.grid.range)},
        {"scale_type", quant::scaleTypeName(q.grid.scaleType)}, {"mse_norm", real(q.grid.mseNorm)},
        {"mse_steps", q.grid.mseSteps}, {"mse_max_shrink", real(q.grid.mseMaxShrink)}, {"percentile", real(q.grid.percentile)},
        {"group", q.group}, {"groups", q.groups()}, {"lowest", *low}, {"narrow", *high - *low < 256},
        {"ordered", !q.groupOf.empty()}, {"whole_tensor", q.wholeTensor}};
}

bool readQuantized(const json& stored, const CacheEntry& entry, Index rows, Index cols, quant::QuantizedTensor& q)
{
    const auto grid = quant::gridFromName(stored.at("grid").get<std::string>());
    const auto range = quant::rangeFromName(stored.at("range").get<std::string>());
    const auto scaleType = quant::scaleTypeFromName(stored.at("scale_type").get<std::string>());
    const auto groups = stored.at("groups").get<Index>();
    if (!grid || !range || !scaleType || groups < 1 || groups > cols)
        return false;
    q.grid.bits = stored.at("bits").get<int>();
    q.grid.grid = *grid;
    q.grid.range = *range;
    q.grid.scaleType = *scaleType;
    q.grid.mseNorm = readReal(stored.at("mse_norm"));
    q.grid.mseSteps = stored.at("mse_steps").get<int>();
    q.grid.mseMaxShrink = readReal(stored.at("mse_max_shrink"));
    q.grid.percentile = readReal(stored.at("percentile"));
    q.group = stored.at("group").get<Index>();
    q.wholeTensor = stored.at("whole_tensor").get<bool>();
    q.codes = BasicMatrix<std::int16_t>(rows, cols);
    q.scale = RowMatrix(rows, groups);
    q.zero = RowMatrix(rows, groups);
    if (stored.at("narrow").get<bool>()) {
        const auto lowest = stored.at("lowest").get<int>();
        const auto* codes = entry.find("codes");
        if (!codes || codes->size() != q.codes.values().size())
            return false;
        for (std::size_t i = 0; i < codes->size(); ++i)
            q.codes.values()[i] = static_cast<std::int16_t>(static_cast<int>((*codes)[i]) + lowest);
    } else if (!readSection(entry, "codes", q.codes.values())) {
        return false;
    }
    if (stored.at("ordered").get<bool>()) {
        q.groupOf.resize(static_cast<std::size_t>(cols));
        if (!readSection(entry, "group_of", std::span(q.groupOf))
            || std::any_of(q.groupOf.begin(), q.groupOf.end(), [&](std::int32_t g) { return g < 0 || g >= groups; }))
            return false;
    } else if (q.group < 1 || (cols + q.group - 1) / q.group != groups) {
        return false;
    }
    return readSection(entry, "scale", q.scale.values()) && readSection(entry, "zero", q.zero.values());
}

json activationToJson(const quant::ActivationGridOptions& a)
{
    return {{"bits", a.bits}, {"grid", quant::gridName(a.grid)}, {"granularity", static_cast<int>(a.granularity)},
        {"group", a.group}, {"dynamic", a.dynamic}, {"clip", real(a.clip)}, {"lo", real(a.lo)}, {"hi", real(a.hi)}};
}

std::optional<quant::ActivationGridOptions> activationFromJson(const json& stored)
{
    const auto grid = quant::gridFromName(stored.at("grid").get<std::string>());
    const auto granularity = stored.at("granularity").get<int>();
    if (!grid || granularity < 0 || granularity > static_cast<int>(quant::ActivationGranularity::TokenGroup))
        return std::nullopt;
    quant::ActivationGridOptions a;
    a.bits = stored.at("bits").get<int>();
    a.grid = *grid;
    a.granularity = static_cast<quant::ActivationGranularity>(granularity);
    a.group = stored.at("group").get<Index>();
    a.dynamic = stored.at("dynamic").get<bool>();
    a.clip = readReal(stored.at("clip"));
    a.lo = static_cast<float>(readReal(stored.at("lo")));
    a.hi = static_cast<float>(readReal(stored.at("hi")));
    return a;
}

bool readVector(const CacheEntry& entry, std::string_view name, Index size, std::vector<double>& target)
{
    if (!entry.find(name))
        return true;
    target.resize(static_cast<std::size_t>(size));
    return readSection(entry, name, std::span(target));
}

Expected<CompressedLayer> decode(
    const CacheEntry& entry, const StageRegistry& registry, Index rows, Index cols, Backend& backend)
{
    const auto broken = [] { return fail(Errc::Format, "the cached result does not describe this layer"); };
    QS_TRY(stored, io::parseJson(entry.json, "cached result"));
    CompressedLayer layer;
    layer.layer = stored.at("layer").get<std::string>();
    QS_TRY(pipeline, pipelineFromJson(stored.at("pipeline"), registry, "cached result"));
    layer.pipeline = std::move(pipeline);
    if (stored.at("rows").get<Index>() != rows || stored.at("cols").get<Index>() != cols)
        return broken();
    std::vector<double> diagonal;
    if (!readVector(entry, "transform", cols, diagonal) || !readVector(entry, "output_scale", rows, layer.outputScale))
        return broken();
    if (!diagonal.empty()) {
        QS_TRY(transform, DiagonalTransform::make(std::move(diagonal)));
        layer.inputTransform = std::move(transform);
    }
    if (const auto q = stored.find("quantized"); q != stored.end())
        if (!readQuantized(*q, entry, rows, cols, layer.quantized))
            return broken();
    if (const auto* mask = entry.find("keep")) {
        layer.keep = BasicMatrix<std::uint8_t>(rows, cols);
        const auto values = layer.keep.values();
        if (mask->size() != (values.size() + 7) / 8)
            return broken();
        for (std::size_t i = 0; i < values.size(); ++i)
            values[i] = static_cast<std::uint8_t>((*mask)[i / 8] >> (i % 8) & std::byte{1});
    }
    if (const auto a = stored.find("activation"); a != stored.end()) {
        layer.activation = activationFromJson(*a);
        if (!layer.activation)
            return broken();
    }
    if (entry.find("stored")) {
        layer.stored = RowMatrix(rows, cols);
        if (!readSection(entry, "stored", layer.stored.values()))
            return broken();
    }
    if (entry.find("what")) {
        layer.What = RowMatrix(rows, cols);
        if (!readSection(entry, "what", layer.What.values()))
            return broken();
    } else if (auto rebuilt = rebuild(layer, backend)) {
        layer.What = std::move(*rebuilt);
    } else {
        return broken();
    }
    const json& bits = stored.at("bits");
    layer.bits = {readReal(bits.at("codes")), readReal(bits.at("scales")), readReal(bits.at("zeros")),
        readReal(bits.at("indices")), readReal(bits.at("other")), bits.at("weights").get<Index>()};
    layer.sparsity = readReal(stored.at("sparsity"));
    layer.siteLayers = stored.at("site_layers").get<std::vector<std::string>>();
    layer.reports = reportsFromJson(stored.at("reports"));
    layer.seconds = readReal(stored.at("seconds"));
    layer.fromCache = true;
    return layer;
}

} // namespace

RowMatrix effectiveWeight(MatrixView stored, const SiteTransform* transform, const std::vector<double>& outputScale)
{
    RowMatrix result = transform && !transform->identity() ? transform->fromTransformed(stored) : RowMatrix(stored);
    if (!outputScale.empty())
        parallelFor(0, result.rows(), 64, [&](Index begin, Index end) {
            for (Index r = begin; r < end; ++r)
                for (float& value : result.row(r))
                    value = static_cast<float>(static_cast<double>(value) / outputScale[static_cast<std::size_t>(r)]);
        });
    return result;
}

std::optional<CacheEntry> encodeResult(const CompressedLayer& layer, Backend& backend)
{
    const bool transformed = layer.inputTransform != nullptr;
    const std::vector<double> diagonal = transformed ? layer.inputTransform->diagonal() : std::vector<double>();
    if (transformed && diagonal.empty())
        return std::nullopt;
    CacheEntry entry;
    json stored = {{"layer", layer.layer}, {"pipeline", pipelineToJson(layer.pipeline)}, {"rows", layer.What.rows()},
        {"cols", layer.What.cols()}, {"sparsity", real(layer.sparsity)}, {"site_layers", layer.siteLayers},
        {"reports", reportsToJson(layer.reports)}, {"seconds", real(layer.seconds)},
        {"bits",
            {{"codes", real(layer.bits.codes)}, {"scales", real(layer.bits.scales)}, {"zeros", real(layer.bits.zeros)},
                {"indices", real(layer.bits.indices)}, {"other", real(layer.bits.other)}, {"weights", layer.bits.weights}}}};
    if (!diagonal.empty())
        entry.sections.push_back(section<double>("transform", diagonal));
    if (!layer.outputScale.empty())
        entry.sections.push_back(section<double>("output_scale", layer.outputScale));
    if (const quant::QuantizedTensor& q = layer.quantized; !q.empty()) {
        stored["quantized"] = quantizedToJson(q);
        entry.sections.push_back(stored["quantized"]["narrow"].get<bool>()
                ? packCodes(q.codes, stored["quantized"]["lowest"].get<int>())
                : section("codes", q.codes.values()));
        entry.sections.push_back(section("scale", q.scale.values()));
        entry.sections.push_back(section("zero", q.zero.values()));
        if (!q.groupOf.empty())
            entry.sections.push_back(section<std::int32_t>("group_of", q.groupOf));
    }
    if (!layer.keep.empty())
        entry.sections.push_back(packMask(layer.keep));
    if (layer.activation)
        stored["activation"] = activationToJson(*layer.activation);
    if (!layer.stored.empty())
        entry.sections.push_back(section("stored", layer.stored.values()));
    if (const auto rebuilt = rebuild(layer, backend); !rebuilt || !sameBits(*rebuilt, layer.What))
        entry.sections.push_back(section("what", layer.What.values()));
    entry.json = stored.dump();
    return entry;
}

Expected<CompressedLayer> decodeResult(
    const CacheEntry& entry, const StageRegistry& registry, Index rows, Index cols, Backend& backend)
{
    try {
        return decode(entry, registry, rows, cols, backend);
    } catch (const json::exception& error) {
        return fail(Errc::Format, "the cached result breaks its format: " + io::jsonReason(error.what()));
    }
}

json metricsToJson(const LayerMetrics& m)
{
    json stored = {{"output_error", real(m.outputError)}, {"output_error_fit", real(m.outputErrorFit)},
        {"why_no_wa", m.whyNoWA}, {"weight_sqnr_db", real(m.weightSqnrDb)}, {"output_sqnr_db", real(m.outputSqnrDb)},
        {"holdout", m.holdout}, {"has_output", m.hasOutput}, {"non_finite", m.nonFinite}, {"tokens_wa", m.tokensWA},
        {"sink_share", real(m.sinkShare)}};
    if (m.outputErrorWA)
        stored["output_error_wa"] = real(*m.outputErrorWA);
    return stored;
}

Expected<LayerMetrics> metricsFromJson(const json& stored)
{
    try {
        LayerMetrics m;
        m.outputError = readReal(stored.at("output_error"));
        m.outputErrorFit = readReal(stored.at("output_error_fit"));
        m.whyNoWA = stored.at("why_no_wa").get<std::string>();
        m.weightSqnrDb = readReal(stored.at("weight_sqnr_db"));
        m.outputSqnrDb = readReal(stored.at("output_sqnr_db"));
        m.holdout = stored.at("holdout").get<bool>();
        m.hasOutput = stored.at("has_output").get<bool>();
        m.nonFinite = stored.at("non_finite").get<Index>();
        m.tokensWA = stored.at("tokens_wa").get<Index>();
        m.sinkShare = readReal(stored.at("sink_share"));
        if (const auto it = stored.find("output_error_wa"); it != stored.end())
            m.outputErrorWA = readReal(*it);
        return m;
    } catch (const json::exception& error) {
        return fail(Errc::Format, "cached metrics break their format: " + io::jsonReason(error.what()));
    }
}

} // namespace qs::recipe
