// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/recipe/runner.h"

#include <filesystem>

namespace qs::recipe {

/// One finding of a lint or a verification. Ids are stable: scripts rely on them.
struct Finding {
    std::string id; ///< "group-divides", "fusion-uniform", "dequantized-equals-simulated", ...
    std::string severity; ///< "error" | "warning" | "info".
    std::string where;
    std::string message;
    std::string hint = {}; ///< What to do, where that is not to change the recipe.
};

/// What an exporter works from. Everything that it writes comes from here, so that simulated equals stored.
struct ExportInput {
    std::shared_ptr<const Runner> runner;
    Recipe recipe;
    Assignment assignment;
};

struct ExportReport {
    std::vector<std::filesystem::path> files; ///< Written, relative to the target.
    std::vector<Finding> findings; ///< Lints before writing and the verification of what was read back.
    RecipeSize size; ///< Of the tensors that were written; recipeSize() of the assignment is the same before.
    std::uint64_t layerBytes = 0; ///< Bytes of the compressed layers' tensors as they lie in the files, without weight_shape.
    std::uint64_t checkpointBytes = 0; ///< The .safetensors files on disk, headers included; 0 for a recipe.
    bool verified = false; ///< Read back: every tensor equals the simulation; of a recipe, its text says what was meant.
    bool hasErrors() const;
};

/// Whether a runtime will load a checkpoint or recipe, and why not.
struct RuntimeVerdict {
    std::string runtime; ///< "vLLM", "transformers", ...
    std::string loads; ///< "yes" | "no" | "unknown" | "unwritten": no exporter here writes it, whatever the runtime could do.
    std::string why;
};

/// Writes one format. Formats are plugins.
class Exporter {
public:
    virtual ~Exporter() = default;
    virtual std::string id() const = 0; ///< "compressed-tensors".
    virtual std::string title() const = 0;
    virtual std::string description() const = 0; ///< One sentence: what it writes and who loads it.
    virtual bool writesFolder() const = 0; ///< Else one file.
    /// Everything that can be known before any work: shapes, fusion groups, what the target runtime loads. Errors refuse the
    /// export.
    virtual std::vector<Finding> lint(const ExportInput& input) const = 0;
    /// What the runtimes would say to what write() makes of this input, from its lints and pipelines alone; cheap. None for a
    /// format that is not loaded but read by a compressor.
    virtual std::vector<RuntimeVerdict> runtimes(const ExportInput&) const { return {}; }
    /// Writes into a temporary place, reads it back, compares it with the simulation, then puts it in place. Nothing is left on
    /// an error, a full disk or a stop request.
    virtual Expected<ExportReport> write(
        const ExportInput& input, const std::filesystem::path& target, const JobContext& job) const = 0;
};

struct ValidationReport {
    std::string kind; ///< "compressed-tensors checkpoint", "llm-compressor recipe", "quantscope recipe", "safetensors
                      ///< checkpoint", "gguf".
    std::vector<Finding> findings;
    std::vector<RuntimeVerdict> runtimes;
};

/// Lints what lies on disk, ours or anybody's.
class Validator {
public:
    virtual ~Validator() = default;
    virtual bool accepts(const std::filesystem::path& path) const = 0;
    virtual Expected<ValidationReport> validate(
        const std::filesystem::path& path, const StageRegistry& stages, const JobContext& job) const = 0;
};

class ExporterRegistry {
public:
    Expected<void> add(std::unique_ptr<Exporter> exporter); ///< Error InvalidArgument for an id that is taken.
    void add(std::unique_ptr<Validator> validator);
    const Exporter* find(std::string_view id) const;
    std::vector<const Exporter*> all() const; ///< By id.
    /// Asks the first validator that accepts the path. Errors: NotFound for a missing path; Unsupported when none accepts it.
    Expected<ValidationReport> validate(
        const std::filesystem::path& path, const StageRegistry& stages, const JobContext& job) const;

private:
    std::map<std::string, std::unique_ptr<Exporter>, std::less<>> m_exporters;
    std::vector<std::unique_ptr<Validator>> m_validators;
};

/// What an exporter plugin implements.
class ExporterPlugin {
public:
    virtual ~ExporterPlugin() = default;
    virtual Expected<void> registerExporters(ExporterRegistry& registry) = 0;
};

} // namespace qs::recipe

#define QS_EXPORTER_PLUGIN_IID "org.quantscope.ExporterPlugin/2"
