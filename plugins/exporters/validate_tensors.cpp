// SPDX-License-Identifier: Apache-2.0
#include "core/io/file_checkpoint.h"
#include "core/io/json_text.h"
#include "core/io/safetensors.h"
#include "scheme.h"
#include "validate.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <optional>

namespace qs::plugins {
namespace {

using recipe::Finding;

constexpr float kMaxHalf = 65504.0F;

/// The type of a scale in the words of a config.
std::string configName(DType type)
{
    switch (type) {
    case DType::F32: return "float32";
    case DType::BF16: return "bfloat16";
    case DType::F16: return "float16";
    default: return {};
    }
}

/// The first value of a scale that breaks a rule, in words.
std::optional<std::string> badScale(MatrixView scale, const std::string& modelType)
{
    for (Index r = 0; r < scale.rows(); ++r)
        for (Index g = 0; g < scale.cols(); ++g) {
            const float value = scale(r, g);
            if (!std::isfinite(value) || value <= 0.0F)
                return fmt::format("is {} at ({}, {}): a scale is finite and above 0", value, r, g);
            if (modelType == "float16" && (value > kMaxHalf || halfToFloat(floatToHalf(value)) == 0.0F))
                return fmt::format(
                    "is {:.3g} at ({}, {}), which float16, the type that config.json names, cannot hold", value, r, g);
        }
    return std::nullopt;
}

} // namespace

Expected<void> lintTensors(const io::Checkpoint& checkpoint, const std::string& modelType, CheckpointFacts& facts,
    std::vector<Finding>& findings, const JobContext& job)
{
    std::map<DType, std::pair<std::string, std::size_t>> otherTypes; // first tensor and number of them
    for (const auto& path : checkpoint.files()) {
        if (path.extension() != ".safetensors")
            continue;
        // The tensors as they lie in the file: packed weights taken apart.
        QS_TRY(parts, io::readSafetensors(path));
        const auto format = parts.metadata.find("format");
        const auto* named = format == parts.metadata.end() ? nullptr : std::get_if<std::string>(&format->second);
        if (!named || named->empty())
            findings.push_back({"metadata-format", "warning", path.filename().string(),
                "its __metadata__ names no format: versions of transformers refuse such a file; \"pt\" is what they expect"});
        if (facts.format != "compressed-tensors")
            continue;
        QS_TRY(raw, io::FileCheckpoint::create(std::move(parts)));
        for (const auto& tensor : raw->tensors()) {
            QS_CHECK(job.poll());
            const std::string type = configName(tensor.dtype);
            if (!tensor.name.ends_with(".weight_scale") || type.empty())
                continue;
            QS_TRY(scale, raw->readMatrix(tensor));
            if (const auto bad = badScale(scale, modelType))
                findings.push_back({"scale-range", "error", tensor.name, *bad});
            if (!modelType.empty() && modelType != "float32" && type != modelType) // float32 holds them all
                if (auto& [first, count] = otherTypes[tensor.dtype]; ++count == 1)
                    first = tensor.name;
        }
    }
    for (const auto& [dtype, scales] : otherTypes) {
        const std::string type = configName(dtype);
        findings.push_back({"scale-type", "warning", scales.first,
            fmt::format("the scales of {} (this is the first) are {}, but config.json says {}, which vLLM rounds them to",
                layersText(scales.second), type, modelType)});
        facts.roundedScales = fmt::format("rounds the scales of {} from {} to {}: its weights are not quite those of the file",
            layersText(scales.second), type, modelType);
    }
    return {};
}

} // namespace qs::plugins
