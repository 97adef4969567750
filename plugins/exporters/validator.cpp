// SPDX-License-Identifier: Apache-2.0
#include "exporters.h"
#include "validate.h"

namespace qs::plugins {
namespace {

namespace fs = std::filesystem;

class PathValidator final : public recipe::Validator {
public:
    bool accepts(const fs::path& path) const override
    {
        std::error_code code;
        if (fs::is_directory(path, code))
            return true;
        const std::string suffix = path.extension().string();
        return suffix == ".safetensors" || suffix == ".gguf" || suffix == ".json" || suffix == ".yaml" || suffix == ".yml";
    }

    Expected<recipe::ValidationReport> validate(
        const fs::path& path, const recipe::StageRegistry& stages, const JobContext& job) const override
    {
        std::error_code code;
        const std::string suffix = path.extension().string();
        if (fs::is_directory(path, code)) {
            // A folder of ours for llm-compressor holds a recipe and no model.
            if (fs::exists(path / "recipe.yaml", code) && !fs::exists(path / "config.json", code))
                return validateLlmCompressor(path / "recipe.yaml");
            return validateCheckpoint(path, job);
        }
        if (suffix == ".yaml" || suffix == ".yml")
            return validateLlmCompressor(path);
        if (suffix == ".json" && path.filename() != "config.json" && !path.filename().string().ends_with(".index.json"))
            return validateQuantscope(path, stages);
        if (path.filename() == "config.json")
            return validateCheckpoint(path.parent_path(), job);
        return validateCheckpoint(path, job);
    }
};

} // namespace

std::unique_ptr<recipe::Validator> makeValidator()
{
    return std::make_unique<PathValidator>();
}

} // namespace qs::plugins
