// SPDX-License-Identifier: GPL-3.0-or-later
#include "arguments.h"
#include "commands.h"
#include "outputs.h"
#include "text_table.h"

#include "core/model/capture.h"

#include <algorithm>
#include <cctype>
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

/// Names in the order in which people count: digits are compared as numbers.
bool naturalLess(const std::string& a, const std::string& b)
{
    const auto digit = [](char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0; };
    std::size_t i = 0, j = 0;
    while (i < a.size() && j < b.size()) {
        if (!digit(a[i]) || !digit(b[j])) {
            if (a[i] != b[j])
                return a[i] < b[j];
            ++i, ++j;
            continue;
        }
        const auto number = [&](const std::string& text, std::size_t& at) {
            while (at + 1 < text.size() && text[at] == '0' && digit(text[at + 1]))
                ++at;
            const std::size_t begin = at;
            while (at < text.size() && digit(text[at]))
                ++at;
            return text.substr(begin, at - begin);
        };
        const std::string x = number(a, i), y = number(b, j);
        if (x != y)
            return x.size() != y.size() ? x.size() < y.size() : x < y;
    }
    return a.size() - i < b.size() - j;
}

/// Layers of all blocks, one row for each kind, and what runtimes fuse.
std::string layersText(const model::ModelSpec& spec)
{
    struct Kind {
        std::string module, shape, dtype;
        std::size_t count = 0;
    };
    std::vector<Kind> kinds;
    for (const auto& layer : spec.layers) {
        const Kind kind{layer.module, fmt::format("{} x {}", layer.out, layer.in), dtypeName(layer.dtype), 1};
        const auto known = std::find_if(kinds.begin(), kinds.end(),
            [&](const Kind& k) { return k.module == kind.module && k.shape == kind.shape && k.dtype == kind.dtype; });
        if (known == kinds.end())
            kinds.push_back(kind);
        else
            ++known->count;
    }
    constexpr std::size_t kMostKinds = 40; // plain matrices may all differ; the tensors below list them
    if (kinds.empty() || kinds.size() > kMostKinds)
        return counted(spec.layers.size(), "layer") + "\n";
    TextTable table({"layers", "out x in", "dtype", "count"});
    for (const Kind& kind : kinds)
        table.add({kind.module, kind.shape, kind.dtype, std::to_string(kind.count)});
    std::string text = table.text();

    std::vector<std::pair<std::string, std::size_t>> groups; // members, and in how many blocks
    for (const auto& group : spec.fusionGroups) {
        std::vector<std::string> members;
        for (const model::LayerIndex index : group.layers)
            members.push_back(spec.layers[static_cast<std::size_t>(index)].module);
        const std::string name = fmt::format("{}", fmt::join(members, " + "));
        const auto known = std::find_if(groups.begin(), groups.end(), [&](const auto& each) { return each.first == name; });
        if (known == groups.end())
            groups.emplace_back(name, 1);
        else
            ++known->second;
    }
    if (!groups.empty())
        text += "\n";
    for (const auto& [members, count] : groups)
        text += fmt::format("fused by runtimes: {} (in {})\n", members, counted(count, "block"));
    return text;
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
    text += problemsText(json["problems"]);
    if (json["problems"].empty() && spec.family != model::Family::Plain)
        text += "no disagreements between config and tensors\n";
    if (spec.family == model::Family::Plain)
        text += "no config: every 2-D tensor NAME.weight is a layer NAME, fed by the dump's dataset NAME:input\n";
    if (!spec.layers.empty())
        text += "\n" + layersText(spec);
    std::vector<std::pair<std::string, const io::TensorInfo*>> tensors;
    for (const auto& tensor : model->checkpoint().tensors())
        tensors.emplace_back(model->hfName(tensor), &tensor);
    std::stable_sort(
        tensors.begin(), tensors.end(), [](const auto& a, const auto& b) { return naturalLess(a.first, b.first); });
    TextTable table({"tensor", "shape", "dtype", "size", "bits/weight"});
    for (const auto& [name, tensor] : tensors)
        table.add({name, shapeText(tensor->shape), dtypeName(tensor->dtype), bytesText(static_cast<double>(tensor->bytes)),
            fmt::format("{:.3g}", bitsPerWeight(*tensor))});
    text += "\n" + table.text();
    return outcome;
}

Expected<Outcome> capture(const CaptureOptions& options, Context& context)
{
    QS_CHECK(checkLayersOption(context, options.layers));
    if (options.merge.empty()) {
        if (options.text.empty())
            return wrongUsage(
                context, {Errc::InvalidArgument, "needs a text to run through the model", "--text", "give --text FILE"});
    } else {
        const char* const given = !options.text.empty() ? "--text"
            : !options.layers.empty()                   ? "--layers"
            : options.samples > 0                       ? "--samples"
            : options.seqLen > 0                        ? "--seq-len"
            : options.keepTokens > 0                    ? "--keep-tokens"
            : options.gramFloat32                       ? "--gram-float32"
                                                        : nullptr;
        if (given)
            return wrongUsage(context,
                {Errc::InvalidArgument, "has no meaning beside --merge, which runs no text", given,
                    "leave one of the two out"});
        std::error_code code;
        if (options.merge[0] == options.merge[1] || std::filesystem::equivalent(options.merge[0], options.merge[1], code))
            return wrongUsage(context,
                {Errc::InvalidArgument, "is given twice: its tokens would count double", "--merge " + options.merge[0],
                    "give two different dumps"});
    }
    QS_CHECK(checkOutputFile("--out", options.out, OutputKind::Dump, options.merge));
    QS_TRY(model, openModelChecked(options.model));
    if (!options.merge.empty()) {
        QS_TRY(a, stats::openDump(options.merge[0], context.backend()));
        QS_TRY(b, stats::openDump(options.merge[1], context.backend()));
        QS_CHECK(checkFits(*a, *model));
        QS_CHECK(checkFits(*b, *model));
        QS_CHECK(stats::mergeDumps(*a, *b, options.out, context.job()));
    } else {
        if (std::error_code code; std::filesystem::exists(options.out, code))
            if (const auto old = stats::openDump(options.out, context.backend());
                old && !(*old)->info().modelId.empty() && (*old)->info().modelId != model->id())
                return fail(Errc::InvalidArgument, "is a dump of another model: it is not overwritten", "--out " + options.out,
                    "choose another file, or remove this one");
        if (!options.layers.empty())
            QS_CHECK(selectLayers(model->spec(), options.layers));
        model::CaptureOptions capture;
        capture.samples = options.samples;
        capture.seqLen = options.seqLen;
        capture.keepTokens = options.keepTokens;
        capture.gramLayers = options.layers;
        capture.gramFloat32 = options.gramFloat32;
        capture.seed = context.job().seed;
        if (auto done = model::capture(model, options.text, options.out, capture, context.backend(), context.job()); !done)
            return inOptions(context, std::move(done).error(), options.text);
    }
    QS_TRY(dump, stats::openDump(options.out, context.backend()));
    const auto& info = dump->info();
    std::error_code ignored;
    const auto bytes = std::filesystem::file_size(options.out, ignored);
    Outcome outcome;
    outcome.json = {{"dump", options.out}, {"id", dump->id()}, {"model_id", info.modelId}, {"dataset_id", info.datasetId},
        {"tokens", info.tokens}, {"seq_len", info.seqLen}, {"policy", info.policy}, {"inputs", dump->inputIds().size()},
        {"layers", dump->layers().size()}, {"bytes", bytes}};
    std::string kept;
    if (options.merge.empty()) { // all tokens were kept where more were asked for
        const Index tokens = std::min(options.keepTokens, info.tokens);
        outcome.json["kept_tokens"] = tokens;
        if (tokens > 0)
            kept = fmt::format(", {} raw tokens of each{}", tokens,
                tokens < options.keepTokens ? fmt::format(" ({} asked for)", options.keepTokens) : std::string());
    }
    outcome.text = fmt::format("{}: {} tokens in windows of {}, {} of {}{}, {}\n", options.out, info.tokens, info.seqLen,
        counted(dump->inputIds().size(), "input"), counted(dump->layers().size(), "layer"), kept,
        bytesText(static_cast<double>(bytes)));
    return outcome;
}

} // namespace qs::cli
