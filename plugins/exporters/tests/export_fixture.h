// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/model/engine.h"
#include "plugins/exporters/exporters.h"
#include "plugins/pruning/pruning.h"
#include "plugins/rounding/rounding.h"
#include "plugins/smoothing/smoothing.h"
#include "tests/core/recipe/tiny_model.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/test_files.h"

#include <QTemporaryDir>
#include <algorithm>
#include <nlohmann/json.hpp>

namespace qs::test {

/// All stages, methods and exporters of the product.
struct Families {
    recipe::StageRegistry stages;
    recipe::ExporterRegistry exporters;

    Expected<void> load()
    {
        QS_CHECK(plugins::registerRounding(stages));
        QS_CHECK(plugins::registerSmoothing(stages));
        QS_CHECK(plugins::registerPruning(stages));
        for (const char* family : {"rounding", "smoothing", "pruning"})
            QS_CHECK(stages.addMethods(std::filesystem::path(QS_SOURCE_DIR) / "plugins" / family / "methods"));
        return plugins::registerExporters(exporters);
    }

    /// `text`: a pipeline for every layer of the blocks; the rules after it go to the layers that their patterns match.
    Expected<recipe::ExportInput> input(std::shared_ptr<const model::Model> model, const std::string& text,
        const std::vector<std::pair<std::string, std::string>>& rules = {}) const
    {
        recipe::ExportInput made;
        if (!text.empty()) {
            QS_TRY(recipe, recipe::loadRecipe(text, stages));
            made.recipe = recipe;
        }
        for (const auto& [pattern, pipelineText] : rules) {
            recipe::Pipeline pipeline;
            if (!pipelineText.empty()) {
                QS_TRY(parsed, recipe::parsePipeline(pipelineText, stages));
                pipeline = parsed;
            }
            made.recipe.rules.push_back({pattern, pipeline});
        }
        QS_TRY(assignment, recipe::assign(made.recipe, model->spec(), stages));
        made.assignment = assignment;
        made.runner = std::make_shared<recipe::Runner>(model, recipe::Calibration{dumpFor(*model)}, stages, cpuBackend());
        return made;
    }
};

inline Expected<std::shared_ptr<const model::Model>> goldenModel(const std::string& name)
{
    const auto folder = std::filesystem::path(QS_GOLDEN_DIR) / "model" / name;
    return model::openModel(name == "llama_gguf" ? folder / "model.gguf" : folder);
}

/// A GGUF file of one Llama block whose matrices are block-quantized: Q4_1 layers, Q8_0 embeddings, float32 norms. No
/// tokenizer.
inline std::string blockQuantizedGguf()
{
    unsigned state = 11;
    const auto byte = [&] { return static_cast<char>((state = state * 1664525U + 1013904223U) >> 24); };
    const auto half = [](std::string& out, float value) { GgufWriter::number(out, floatToHalf(value)); };
    GgufWriter writer;
    writer.add("general.architecture", std::string("llama"));
    for (const auto& [key, value] :
        {std::pair{"block_count", 1}, {"embedding_length", 32}, {"feed_forward_length", 64}, {"attention.head_count", 4},
            {"attention.head_count_kv", 2}, {"context_length", 64}, {"vocab_size", 48}, {"rope.dimension_count", 8}})
        writer.add(std::string("llama.") + key, 4, static_cast<std::uint32_t>(value));
    writer.add("llama.attention.layer_norm_rms_epsilon", 6, 1e-5F);
    for (const auto& [key, id] : {std::pair{"bos_token_id", 1}, {"eos_token_id", 2}, {"padding_token_id", 3}})
        writer.add(std::string("tokenizer.ggml.") + key, 4, static_cast<std::uint32_t>(id));
    const auto matrix = [&](const std::string& name, std::int64_t rows, std::int64_t cols, bool embedding) {
        std::string data;
        for (std::int64_t block = 0; block < rows * cols / 32; ++block) {
            half(data, embedding ? 0.01F : 0.05F + 0.0001F * static_cast<float>(byte()));
            if (!embedding)
                half(data, -0.37F);
            for (int i = 0; i < (embedding ? 32 : 16); ++i)
                data += byte();
        }
        writer.addTensor({name, {cols, rows}, embedding ? 8U : 3U, data});
    };
    const auto norm = [&](const std::string& name) {
        std::string data;
        for (int i = 0; i < 32; ++i)
            GgufWriter::number(data, 1.0F + 0.003F * static_cast<float>(byte()));
        writer.addTensor({name, {32}, 0U, data});
    };
    matrix("token_embd.weight", 48, 32, true);
    norm("output_norm.weight");
    norm("blk.0.attn_norm.weight");
    norm("blk.0.ffn_norm.weight");
    matrix("blk.0.attn_q.weight", 32, 32, false);
    matrix("blk.0.attn_k.weight", 16, 32, false);
    matrix("blk.0.attn_v.weight", 16, 32, false);
    matrix("blk.0.attn_output.weight", 32, 32, false);
    matrix("blk.0.ffn_gate.weight", 64, 32, false);
    matrix("blk.0.ffn_up.weight", 64, 32, false);
    matrix("blk.0.ffn_down.weight", 32, 64, false);
    return writer.bytes();
}

/// A safetensors file as its own header describes it, read without the product's reader.
struct RawTensor {
    std::string dtype;
    std::vector<std::int64_t> shape;
    std::string bytes;
    friend bool operator==(const RawTensor&, const RawTensor&) = default;
};
inline std::map<std::string, RawTensor> rawTensors(const std::filesystem::path& file)
{
    const std::string bytes = readFile(file);
    std::uint64_t length = 0;
    std::memcpy(&length, bytes.data(), 8);
    const auto header = nlohmann::json::parse(bytes.substr(8, length));
    std::map<std::string, RawTensor> tensors;
    for (const auto& [name, entry] : header.items()) {
        if (name == "__metadata__")
            continue;
        const auto begin = entry.at("data_offsets").at(0).get<std::size_t>();
        const auto end = entry.at("data_offsets").at(1).get<std::size_t>();
        tensors[name] = {entry.at("dtype").get<std::string>(), entry.at("shape").get<std::vector<std::int64_t>>(),
            bytes.substr(8 + length + begin, end - begin)};
    }
    return tensors;
}
/// The opposite: a file with these tensors, in the order of their names.
inline std::string safetensorsOf(const std::map<std::string, RawTensor>& tensors)
{
    nlohmann::json header = {{"__metadata__", {{"format", "pt"}}}};
    std::string data;
    for (const auto& [name, tensor] : tensors) {
        header[name] = {{"dtype", tensor.dtype}, {"shape", tensor.shape},
            {"data_offsets", {data.size(), data.size() + tensor.bytes.size()}}};
        data += tensor.bytes;
    }
    return safetensorsBytes(header.dump(), data);
}

template <class T> std::string rawBytes(const std::vector<T>& values)
{
    std::string bytes(values.size() * sizeof(T), '\0');
    std::memcpy(bytes.data(), values.data(), bytes.size());
    return bytes;
}

/// Final hidden states of some fixed token ids.
inline Expected<RowMatrix> hiddenStates(
    const std::shared_ptr<const model::Model>& model, const model::Replacements* replacements = nullptr)
{
    model::Windows windows;
    windows.length = 24;
    unsigned state = 7;
    for (int w = 0; w < 3; ++w) {
        std::vector<std::int32_t> ids;
        for (Index t = 0; t < windows.length; ++t)
            ids.push_back(static_cast<std::int32_t>((state = state * 1664525U + 1013904223U) >> 8)
                % static_cast<std::int32_t>(model->spec().vocab));
        windows.ids.push_back(std::move(ids));
    }
    return model::Engine(model, cpuBackend()).run(windows, replacements, nullptr, {});
}

inline bool hasFinding(
    const std::vector<recipe::Finding>& findings, const std::string& id, const std::string& severity, const std::string& text)
{
    return std::any_of(findings.begin(), findings.end(), [&](const recipe::Finding& finding) {
        return finding.id == id && finding.severity == severity
            && (finding.where + ": " + finding.message).find(text) != std::string::npos;
    });
}
/// The sample's tokenizer beside a checkpoint that has none.
inline void addTokenizer(const std::filesystem::path& folder)
{
    writeFile(folder / "tokenizer.json", readFile(std::filesystem::path(QS_SAMPLE_DIR) / "tokenizer.json"));
}

inline std::string findingsText(const std::vector<recipe::Finding>& findings)
{
    std::string text;
    for (const auto& finding : findings)
        text += finding.severity + " " + finding.id + " " + finding.where + ": " + finding.message + "\n";
    return text;
}

} // namespace qs::test
