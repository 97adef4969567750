// SPDX-License-Identifier: Apache-2.0
#include "core/io/file_checkpoint.h"
#include "core/io/json_text.h"
#include "core/io/packed_weight.h"
#include "core/quant/packing.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace qs::io {
namespace {

using nlohmann::json;

constexpr const char* kPacked = ".weight_packed";
constexpr const char* kExportAgain = "export the checkpoint again";

struct Scheme {
    std::string group; ///< Name in config_groups.
    std::string format;
    int bits = 0;
    bool symmetric = true;
    std::string strategy;
    Index groupSize = 0;
};

/// A target of a group: module name, class name or "re:" pattern.
struct Target {
    bool regex = false;
    std::string text;
    std::size_t scheme = 0;
    std::shared_ptr<pcre2_code> code;

    bool operator<(const Target& other) const { return std::tie(regex, text) < std::tie(other.regex, other.text); }
    bool matches(const std::string& module) const;
};

bool Target::matches(const std::string& module) const
{
    if (!regex)
        return text == module || text == "Linear"; // packed tensors only ever belong to linear modules
    const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> data(
        pcre2_match_data_create_from_pattern(code.get(), nullptr), &pcre2_match_data_free);
    const std::unique_ptr<pcre2_match_context, decltype(&pcre2_match_context_free)> limits(
        pcre2_match_context_create(nullptr), &pcre2_match_context_free);
    pcre2_set_match_limit(limits.get(), 100'000); // a hostile pattern must not run for hours
    const auto* subject = reinterpret_cast<PCRE2_SPTR>(module.data());
    return pcre2_match(code.get(), subject, module.size(), 0, PCRE2_ANCHORED, data.get(), limits.get()) >= 0;
}

Expected<Target> parseTarget(const std::string& text, std::size_t scheme, const std::string& where)
{
    Target target{text.starts_with("re:"), text, scheme, nullptr};
    if (!target.regex)
        return target;
    int number = 0;
    PCRE2_SIZE at = 0;
    const auto* pattern = reinterpret_cast<PCRE2_SPTR>(text.data()) + 3;
    target.code.reset(pcre2_compile(pattern, text.size() - 3, PCRE2_UTF | PCRE2_UCP, &number, &at, nullptr), &pcre2_code_free);
    if (!target.code)
        return fail(Errc::Format, fmt::format("target {} is not a regular expression (position {})", io::quoted(text), at),
            where, kExportAgain);
    return target;
}

const json* member(const json& object, const char* key)
{
    const auto found = object.find(key);
    return found == object.end() || found->is_null() ? nullptr : &*found;
}

Expected<std::string> textMember(const json& object, const char* key, std::string fallback, const std::string& where)
{
    const json* value = member(object, key);
    if (!value)
        return fallback;
    if (!value->is_string())
        return fail(Errc::Format, fmt::format("{} must be a string", key), where, kExportAgain);
    return value->get<std::string>();
}

Expected<Index> integerMember(const json& object, const char* key, Index fallback, const std::string& where)
{
    const json* value = member(object, key);
    if (!value)
        return fallback;
    if (!value->is_number_integer() || (value->is_number_unsigned() && value->get<std::uint64_t>() > 1U << 30))
        return fail(Errc::Format, fmt::format("{} must be a small integer", key), where, kExportAgain);
    return value->get<Index>();
}

/// Presets that pack integers: W2A16..W8A16 (symmetric, groups of 128) and W4A16_ASYM.
std::optional<Scheme> presetScheme(const std::string& name)
{
    if (name == "W4A16_ASYM")
        return Scheme{name, "pack-quantized", 4, false, "group", 128};
    if (name.size() == 5 && name[0] == 'W' && name[1] >= '2' && name[1] <= '8' && name.ends_with("A16"))
        return Scheme{name, "pack-quantized", name[1] - '0', true, "group", 128};
    return std::nullopt;
}

Expected<Scheme> parseScheme(
    const std::string& name, const json& value, const std::string& globalFormat, const std::string& where)
{
    if (value.is_array()) {
        auto preset = presetScheme(name);
        if (!preset)
            return fail(Errc::Unsupported, "preset " + io::quoted(name) + " cannot be decoded", where);
        return *preset;
    }
    Scheme scheme;
    scheme.group = name;
    QS_TRY(format, textMember(value, "format", globalFormat, where));
    scheme.format = format;
    if (scheme.format != "pack-quantized")
        return scheme; // none of ours: only an error if packed tensors turn out to belong to it
    const json* weights = member(value, "weights");
    if (!weights || !weights->is_object())
        return fail(Errc::Format, "has no weights object", where, kExportAgain);
    QS_TRY(type, textMember(*weights, "type", "int", where));
    QS_TRY(bits, integerMember(*weights, "num_bits", 8, where));
    if (type != "int" || bits < 1 || bits > 8)
        return fail(Errc::Format, fmt::format("weights of type {} with {} bits cannot be packed", io::quoted(type), bits),
            where, kExportAgain);
    scheme.bits = static_cast<int>(bits);
    if (const json* symmetric = member(*weights, "symmetric")) {
        if (!symmetric->is_boolean())
            return fail(Errc::Format, "symmetric must be true or false", where, kExportAgain);
        scheme.symmetric = symmetric->get<bool>();
    }
    QS_TRY(groupSize, integerMember(*weights, "group_size", 0, where));
    scheme.groupSize = groupSize;
    QS_TRY(strategy, textMember(*weights, "strategy", groupSize > 0 ? "group" : groupSize == -1 ? "channel" : "tensor", where));
    scheme.strategy = strategy;
    if (strategy != "group" && strategy != "channel" && strategy != "tensor")
        return fail(Errc::Unsupported, "strategy " + io::quoted(strategy) + " cannot be decoded", where);
    if (strategy == "group" && groupSize < 1)
        return fail(Errc::Format, fmt::format("group_size is {}, but strategy group needs a positive one", groupSize), where,
            kExportAgain);
    return scheme;
}

struct QuantConfig {
    std::string format;
    std::vector<Scheme> schemes;
    std::vector<Target> targets; ///< Sorted: names before patterns; the first that matches decides.

    const Scheme* find(const std::string& module) const
    {
        for (const Target& target : targets)
            if (target.matches(module))
                return &schemes[target.scheme];
        return nullptr;
    }
};

Expected<QuantConfig> parseConfig(const json& config, const std::string& where)
{
    QuantConfig result;
    QS_TRY(format, textMember(config, "format", "pack-quantized", where));
    result.format = format;
    const json* groups = member(config, "config_groups");
    if (!groups || !groups->is_object())
        return fail(Errc::Format, "quantization_config has no config_groups", where, kExportAgain);
    for (const auto& [name, value] : groups->items()) {
        const std::string place = where + ", config_groups." + io::quoted(name);
        if (!value.is_object() && !value.is_array())
            return fail(Errc::Format, "is neither a scheme nor a list of targets", place, kExportAgain);
        QS_TRY(scheme, parseScheme(name, value, format == "mixed-precision" ? "" : format, place));
        const json* targets = value.is_array() ? &value : member(value, "targets");
        if (!targets || !targets->is_array())
            return fail(Errc::Format, "has no targets", place, kExportAgain);
        for (const json& target : *targets) {
            if (!target.is_string())
                return fail(Errc::Format, "a target is not a string", place, kExportAgain);
            QS_TRY(parsed, parseTarget(target.get<std::string>(), result.schemes.size(), place));
            result.targets.push_back(parsed);
        }
        result.schemes.push_back(scheme);
    }
    std::stable_sort(result.targets.begin(), result.targets.end());
    return result;
}

/// Puts one packed weight together and checks every part against the scheme.
class Folder {
public:
    Folder(const CheckpointParts& parts, const QuantConfig& config)
        : m_parts(parts)
        , m_config(config)
    {
        for (const TensorInfo& tensor : parts.tensors)
            m_byName.emplace(tensor.name, &tensor);
    }

    Expected<PackedWeight> fold(const TensorInfo& codes, std::set<std::string>& used) const
    {
        const std::string module = codes.name.substr(0, codes.name.size() - std::char_traits<char>::length(kPacked));
        const Scheme* scheme = m_config.find(module);
        if (!scheme)
            return fail(Errc::Format, "no group of config_groups names this module", place(codes), kExportAgain);
        if (scheme->format != "pack-quantized")
            return fail(Errc::Unsupported,
                fmt::format("compressed-tensors format {} cannot be decoded", io::quoted(scheme->format)), place(codes));
        PackedWeight weight;
        weight.codes = codes;
        weight.bits = scheme->bits;
        QS_TRY(shape, part(module, ".weight_shape", DType::I64, {2}));
        QS_CHECK(readShape(*shape, weight));
        QS_CHECK(checkCodes(codes, weight));
        weight.groupSize = scheme->strategy == "group" ? scheme->groupSize : weight.in;
        weight.groups = weight.in / weight.groupSize + (weight.in % weight.groupSize != 0 ? 1 : 0);
        QS_TRY(scale, anyPart(module, ".weight_scale"));
        if (scale->dtype != DType::F16 && scale->dtype != DType::BF16 && scale->dtype != DType::F32)
            return fail(Errc::Format, fmt::format("scales of type {}", dtypeName(scale->dtype)), place(*scale), kExportAgain);
        weight.perTensor = scheme->strategy == "tensor" && elementCount(scale->shape) == Index{1};
        if (!weight.perTensor && scale->shape != Shape{weight.out, weight.groups})
            return fail(Errc::Format,
                fmt::format("is {}, but {} groups of {} columns need {} x {}", shapeText(scale->shape), weight.groups,
                    weight.groupSize, weight.out, weight.groups),
                place(*scale), kExportAgain);
        weight.scale = *scale;
        QS_CHECK(addZero(module, *scheme, weight));
        if (find(module + ".weight_g_idx")) {
            QS_TRY(index, part(module, ".weight_g_idx", DType::I32, {weight.in}));
            weight.groupIndex = *index;
        }
        if (find(module + ".weight"))
            return fail(Errc::Format, "the module has both a packed and a plain weight", place(codes), kExportAgain);
        for (const TensorInfo* each : weight.parts())
            used.insert(each->name);
        used.insert(shape->name);
        return weight;
    }

private:
    const TensorInfo* find(const std::string& name) const
    {
        const auto found = m_byName.find(name);
        return found == m_byName.end() ? nullptr : found->second;
    }

    std::string place(const TensorInfo& tensor) const
    {
        return placeOf(m_parts.files[static_cast<std::size_t>(tensor.file)]->path(), tensor.name);
    }

    Expected<const TensorInfo*> anyPart(const std::string& module, const char* suffix) const
    {
        const TensorInfo* tensor = find(module + suffix);
        if (!tensor)
            return fail(
                Errc::Format, "tensor " + io::quoted(module + suffix) + " is missing", m_parts.path.string(), kExportAgain);
        return tensor;
    }

    Expected<const TensorInfo*> part(const std::string& module, const char* suffix, DType dtype, const Shape& shape) const
    {
        QS_TRY(tensor, anyPart(module, suffix));
        if (tensor->dtype != dtype || tensor->shape != shape)
            return fail(Errc::Format,
                fmt::format("is {} {}, but must be {} {}", dtypeName(tensor->dtype), shapeText(tensor->shape), dtypeName(dtype),
                    shapeText(shape)),
                place(*tensor), kExportAgain);
        return tensor;
    }

    Expected<void> readShape(const TensorInfo& tensor, PackedWeight& weight) const
    {
        std::array<std::int64_t, 2> shape{};
        QS_CHECK(m_parts.files[static_cast<std::size_t>(tensor.file)]->copy(
            tensor.offset, std::as_writable_bytes(std::span(shape))));
        if (shape[0] < 1 || shape[1] < 1 || !elementCount({shape[0], shape[1]}))
            return fail(Errc::Format, fmt::format("holds {} x {}, which is no shape of a weight", shape[0], shape[1]),
                place(tensor), kExportAgain);
        weight.out = shape[0];
        weight.in = shape[1];
        return {};
    }

    Expected<void> checkCodes(const TensorInfo& codes, const PackedWeight& weight) const
    {
        const Shape wanted{weight.out, quant::packedWords(weight.in, weight.bits)};
        if (codes.dtype == DType::I32 && codes.shape == wanted)
            return {};
        const Index perWord = 32 / weight.bits;
        const Index padded = weight.in / perWord + (weight.in % perWord != 0 ? 1 : 0);
        if (codes.dtype == DType::I32 && codes.shape == Shape{weight.out, padded})
            return fail(Errc::Unsupported,
                fmt::format("{}-bit codes are padded to whole words, as compressed-tensors up to 0.17 wrote them", weight.bits),
                place(codes), "save the checkpoint again with compressed-tensors 0.18 or later");
        return fail(Errc::Format,
            fmt::format("is {} {}, but {} x {} codes of {} bits need I32 {}", dtypeName(codes.dtype), shapeText(codes.shape),
                weight.out, weight.in, weight.bits, shapeText(wanted)),
            place(codes), kExportAgain);
    }

    Expected<void> addZero(const std::string& module, const Scheme& scheme, PackedWeight& weight) const
    {
        const TensorInfo* zero = find(module + ".weight_zero_point");
        if (scheme.symmetric) {
            if (zero)
                return fail(Errc::Format, "a symmetric scheme has no zero points", place(*zero), kExportAgain);
            return {};
        }
        if (scheme.strategy == "tensor")
            return fail(
                Errc::Unsupported, "asymmetric weights with one scale per tensor cannot be decoded", place(weight.codes));
        QS_TRY(checked,
            part(module, ".weight_zero_point", DType::I32, {quant::packedWords(weight.out, weight.bits), weight.groups}));
        weight.zero = *checked;
        return {};
    }

    const CheckpointParts& m_parts;
    const QuantConfig& m_config;
    std::unordered_map<std::string_view, const TensorInfo*> m_byName;
};

} // namespace

Expected<void> foldPackedWeights(CheckpointParts& parts, const std::filesystem::path& folder)
{
    const std::filesystem::path path = folder / "config.json";
    std::error_code ignored;
    if (!std::filesystem::exists(path, ignored))
        return {};
    const bool anyPacked = std::any_of(
        parts.tensors.begin(), parts.tensors.end(), [](const TensorInfo& t) { return t.name.ends_with(kPacked); });
    const bool anyScale = std::any_of(
        parts.tensors.begin(), parts.tensors.end(), [](const TensorInfo& t) { return t.name.ends_with(".weight_scale"); });
    if (!anyPacked && !anyScale)
        return {};
    QS_TRY(config, readJsonFile(path));
    const json* quantization = config.is_object() ? member(config, "quantization_config") : nullptr;
    if (!quantization && config.is_object())
        quantization = member(config, "compression_config");
    if (!quantization || !quantization->is_object())
        return {};
    const std::string where = path.string();
    QS_TRY(method, textMember(*quantization, "quant_method", "", where));
    if (method != "compressed-tensors")
        return {};
    QS_TRY(parsed, parseConfig(*quantization, where));
    // Codes without their scales would look like weights.
    const auto foreign = std::find_if(
        parsed.schemes.begin(), parsed.schemes.end(), [](const Scheme& s) { return s.format != "pack-quantized"; });
    if (foreign != parsed.schemes.end())
        return fail(Errc::Unsupported,
            fmt::format("compressed-tensors format {} of group {} cannot be decoded", io::quoted(foreign->format),
                io::quoted(foreign->group)),
            where, "only pack-quantized is read; decompress the checkpoint first");

    const Folder fold(parts, parsed);
    std::set<std::string> used;
    std::vector<TensorInfo> tensors;
    std::unordered_map<std::string, PackedWeight> packed;
    for (const TensorInfo& tensor : parts.tensors) {
        if (!tensor.name.ends_with(kPacked))
            continue;
        QS_TRY(weight, fold.fold(tensor, used));
        TensorInfo shown = tensor;
        shown.name = tensor.name.substr(0, tensor.name.size() - std::char_traits<char>::length("_packed"));
        shown.dtype = DType::Packed;
        shown.shape = {weight.out, weight.in};
        shown.bytes = 2 * sizeof(std::int64_t); // weight_shape
        for (const TensorInfo* part : weight.parts())
            shown.bytes += part->bytes;
        packed.emplace(shown.name, weight);
        tensors.push_back(std::move(shown));
    }
    for (TensorInfo& tensor : parts.tensors)
        if (!used.contains(tensor.name))
            tensors.push_back(std::move(tensor));
    // In file order again.
    std::stable_sort(tensors.begin(), tensors.end(),
        [](const TensorInfo& a, const TensorInfo& b) { return std::tie(a.file, a.offset) < std::tie(b.file, b.offset); });
    parts.tensors = std::move(tensors);
    parts.packed = std::move(packed);
    parts.format = "compressed-tensors";
    parts.identity = quantization->dump();
    return {};
}

} // namespace qs::io
