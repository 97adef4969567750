// SPDX-License-Identifier: GPL-3.0-or-later
#include "commands.h"
#include "text_table.h"

#include "core/base/atomic_file.h"
#include "core/model/capture.h"

#include <filesystem>
#include <fmt/format.h>

namespace qs::cli {
namespace {

nlohmann::json shapeJson(const Shape& shape)
{
    nlohmann::json list = nlohmann::json::array();
    for (const Index extent : shape)
        list.push_back(extent);
    return list;
}

double bitsPerWeight(const io::TensorInfo& tensor)
{
    const auto elements = elementCount(tensor.shape);
    return elements && *elements > 0 ? 8.0 * static_cast<double>(tensor.bytes) / static_cast<double>(*elements) : 0.0;
}

} // namespace

Expected<Outcome> inspect(const InspectOptions& options, Context&)
{
    QS_TRY(model, openModelChecked(options.model));
    const model::ModelSpec& spec = model->spec();

    Outcome outcome;
    nlohmann::json& json = outcome.json;
    json["architecture"] = spec.architecture;
    json["model_type"] = spec.modelType;
    json["name"] = spec.name;
    json["id"] = model->id();
    json["format"] = model->checkpoint().format();
    json["parameters"] = spec.parameters;
    json["blocks"] = spec.blocks;
    json["hidden"] = spec.hidden;
    json["heads"] = spec.heads;
    json["kv_heads"] = spec.kvHeads;
    json["head_dim"] = spec.headDim;
    json["ffn"] = spec.ffn;
    json["vocabulary"] = spec.vocab;
    json["context"] = spec.context;
    json["tied_embeddings"] = spec.tiedEmbeddings;

    json["layers"] = nlohmann::json::array();
    for (const auto& layer : spec.layers) {
        const std::string group
            = layer.fusionGroup < 0 ? std::string() : spec.fusionGroups[static_cast<std::size_t>(layer.fusionGroup)].name;
        json["layers"].push_back({{"name", layer.name}, {"in", layer.in}, {"out", layer.out}, {"dtype", dtypeName(layer.dtype)},
            {"block", layer.block < 0 ? nlohmann::json(nullptr) : nlohmann::json(layer.block)},
            {"fusion_group", group.empty() ? nlohmann::json(nullptr) : nlohmann::json(group)}});
    }
    json["tensors"] = nlohmann::json::array();
    std::uint64_t bytes = 0;
    for (const auto& tensor : model->checkpoint().tensors()) {
        bytes += tensor.bytes;
        json["tensors"].push_back(
            {{"name", model->hfName(tensor)}, {"stored_name", tensor.name}, {"shape", shapeJson(tensor.shape)},
                {"dtype", dtypeName(tensor.dtype)}, {"bytes", tensor.bytes}, {"bits_per_weight", bitsPerWeight(tensor)}});
    }
    json["bytes"] = bytes;
    json["problems"] = nlohmann::json::array();
    for (const auto& problem : spec.problems)
        json["problems"].push_back({{"severity", problem.severity}, {"where", problem.where}, {"message", problem.message}});

    std::string tokenizerText = "none";
    json["tokenizer"] = nullptr;
    if (auto tokenizer = model->tokenizer()) {
        tokenizerText = (*tokenizer)->description();
        json["tokenizer"] = {{"description", tokenizerText}, {"vocabulary", (*tokenizer)->vocabularySize()},
            {"adds_bos", (*tokenizer)->addsBos()}, {"id", (*tokenizer)->id()}};
    } else if (tokenizer.error().code != Errc::NotFound) {
        tokenizerText = tokenizer.error().line();
        json["problems"].push_back({{"severity", "warning"}, {"where", "tokenizer"}, {"message", tokenizer.error().line()}});
    }

    std::string& text = outcome.text;
    text += fmt::format("{}  {}  {}, {} parameters, {}\n", spec.name, spec.architecture, model->checkpoint().format(),
        spec.parameters, bytesText(static_cast<double>(bytes)));
    if (spec.blocks > 0)
        text += fmt::format("{} blocks, hidden {}, FFN {}, {} heads, {} KV heads of {}, context {}, vocabulary {}{}\n",
            spec.blocks, spec.hidden, spec.ffn, spec.heads, spec.kvHeads, spec.headDim, spec.context, spec.vocab,
            spec.tiedEmbeddings ? " (tied embeddings)" : "");
    text += fmt::format("tokenizer: {}\n", tokenizerText);
    for (const auto& problem : json["problems"])
        text += fmt::format("{}: {}: {}\n", problem["severity"].get<std::string>(), problem["where"].get<std::string>(),
            problem["message"].get<std::string>());
    TextTable table({"tensor", "shape", "dtype", "size", "bits/weight"});
    for (const auto& tensor : model->checkpoint().tensors())
        table.add({model->hfName(tensor), shapeText(tensor.shape), dtypeName(tensor.dtype),
            bytesText(static_cast<double>(tensor.bytes)), fmt::format("{:.3g}", bitsPerWeight(tensor))});
    text += "\n" + table.text();
    return outcome;
}

Expected<Outcome> capture(const CaptureOptions& options, Context& context)
{
    QS_TRY(model, openModelChecked(options.model));
    if (!options.merge.empty()) {
        QS_TRY(a, stats::openDump(options.merge[0]));
        QS_TRY(b, stats::openDump(options.merge[1]));
        QS_CHECK(stats::mergeDumps(*a, *b, options.out, context.job()));
    } else {
        if (options.text.empty())
            return fail(Errc::InvalidArgument, "needs a text to run through the model", "--text", "give --text FILE");
        model::CaptureOptions capture;
        capture.samples = options.samples;
        capture.seqLen = options.seqLen;
        capture.keepTokens = options.keepTokens;
        capture.gramLayers = options.layers;
        capture.gramFloat32 = options.gramFloat32;
        capture.seed = context.job().seed;
        QS_CHECK(model::capture(model, options.text, options.out, capture, context.job()));
    }
    QS_TRY(dump, stats::openDump(options.out));
    const auto& info = dump->info();
    std::error_code ignored;
    const auto bytes = std::filesystem::file_size(options.out, ignored);
    Outcome outcome;
    outcome.json = {{"dump", options.out}, {"id", dump->id()}, {"model_id", info.modelId}, {"dataset_id", info.datasetId},
        {"tokens", info.tokens}, {"seq_len", info.seqLen}, {"policy", info.policy}, {"inputs", dump->inputIds().size()},
        {"layers", dump->layers().size()}, {"bytes", bytes}};
    outcome.text = fmt::format("{}: {} tokens in windows of {}, {} inputs of {} layers, {}\n", options.out, info.tokens,
        info.seqLen, dump->inputIds().size(), dump->layers().size(), bytesText(static_cast<double>(bytes)));
    return outcome;
}

} // namespace qs::cli
