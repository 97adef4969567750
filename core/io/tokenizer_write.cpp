// SPDX-License-Identifier: Apache-2.0
#include "core/base/atomic_file.h"
#include "core/io/tokenizer_spec.h"
#include "core/io/tokenizer_text.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace qs::io {

namespace tok {

namespace {

using OrderedJson = nlohmann::ordered_json;

const char* behaviourName(Behaviour behaviour)
{
    switch (behaviour) {
    case Behaviour::Isolated: return "Isolated";
    case Behaviour::Removed: return "Removed";
    case Behaviour::MergedWithPrevious: return "MergedWithPrevious";
    case Behaviour::MergedWithNext: return "MergedWithNext";
    case Behaviour::Contiguous: return "Contiguous";
    }
    return "Isolated";
}

OrderedJson stepJson(const PreStep& s)
{
    switch (s.kind) {
    case PreStep::Kind::Split:
        return {{"type", "Split"}, {"pattern", {{s.patternIsRegex ? "Regex" : "String", s.pattern}}},
            {"behavior", behaviourName(s.behaviour)}, {"invert", s.invert}};
    case PreStep::Kind::Digits: return {{"type", "Digits"}, {"individual_digits", s.individualDigits}};
    case PreStep::Kind::Whitespace: return {{"type", "Whitespace"}};
    case PreStep::Kind::WhitespaceSplit: return {{"type", "WhitespaceSplit"}};
    case PreStep::Kind::Punctuation: return {{"type", "Punctuation"}, {"behavior", behaviourName(s.behaviour)}};
    case PreStep::Kind::ByteLevel: break;
    }
    return {{"type", "ByteLevel"}, {"add_prefix_space", s.addPrefixSpace}, {"trim_offsets", true}, {"use_regex", s.useRegex}};
}

OrderedJson byteLevelJson()
{
    return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
}

OrderedJson modelJson(const TokenizerSpec& spec)
{
    OrderedJson::object_t::Container entries; // filled directly: looking every key up first would take quadratic time
    entries.reserve(spec.tokens.size());
    for (std::size_t id = 0; id < spec.tokens.size(); ++id)
        if (spec.assigned[id])
            entries.emplace_back(spec.tokens[id], id);
    OrderedJson vocabulary = OrderedJson::object();
    static_cast<OrderedJson::object_t::Container&>(vocabulary.get_ref<OrderedJson::object_t&>()) = std::move(entries);

    const bool spaces = std::any_of(spec.merges.begin(), spec.merges.end(), [](const auto& merge) {
        return merge.first.find(' ') != std::string::npos || merge.second.find(' ') != std::string::npos;
    });
    OrderedJson merges = OrderedJson::array();
    for (const auto& [left, right] : spec.merges) {
        if (spaces) // the newer spelling, which older readers lack
            merges.push_back(OrderedJson::array({left, right}));
        else
            merges.push_back(fmt::format("{} {}", left, right));
    }
    return {{"type", "BPE"}, {"dropout", nullptr},
        {"unk_token", spec.unknown ? OrderedJson(spec.tokens[static_cast<std::size_t>(*spec.unknown)]) : OrderedJson(nullptr)},
        {"continuing_subword_prefix", nullptr}, {"end_of_word_suffix", nullptr}, {"fuse_unk", spec.fuseUnknown},
        {"byte_fallback", spec.byteFallback}, {"ignore_merges", spec.ignoreMerges}, {"vocab", std::move(vocabulary)},
        {"merges", std::move(merges)}};
}

OrderedJson addedJson(const AddedToken& t)
{
    return {{"content", t.content}, {"single_word", t.singleWord}, {"lstrip", t.lstrip}, {"rstrip", t.rstrip},
        {"normalized", t.normalized}, {"special", t.special}};
}

OrderedJson postProcessorJson(const TokenizerSpec& spec)
{
    if (spec.prefix.empty() && spec.suffix.empty())
        return byteLevelJson();
    OrderedJson table = OrderedJson::object();
    const auto pieces = [&](const std::vector<std::int32_t>& ids, int type, OrderedJson& target) {
        for (const std::int32_t id : ids) {
            const std::string& token = spec.tokens[static_cast<std::size_t>(id)];
            target.push_back({{"SpecialToken", {{"id", token}, {"type_id", type}}}});
            table[token] = {{"id", token}, {"ids", OrderedJson::array({id})}, {"tokens", OrderedJson::array({token})}};
        }
    };
    const auto text = [&](const char* name, int type, OrderedJson& target) {
        pieces(spec.prefix, type, target);
        target.push_back({{"Sequence", {{"id", name}, {"type_id", type}}}});
        pieces(spec.suffix, type, target);
    };
    OrderedJson single = OrderedJson::array();
    text("A", 0, single);
    OrderedJson pair = OrderedJson::array();
    text("A", 0, pair);
    text("B", 1, pair);
    return {{"type", "Sequence"},
        {"processors",
            OrderedJson::array({byteLevelJson(),
                {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", table}}})}};
}

OrderedJson tokenizerJson(const TokenizerSpec& spec)
{
    OrderedJson added = OrderedJson::array();
    for (const AddedToken& t : spec.added) {
        OrderedJson entry = {{"id", t.id}};
        entry.update(addedJson(t));
        added.push_back(std::move(entry));
    }
    OrderedJson pre = OrderedJson::array();
    for (const PreStep& s : spec.steps)
        pre.push_back(stepJson(s));
    OrderedJson preTokenizer = pre.size() == 1 ? pre[0] : OrderedJson{{"type", "Sequence"}, {"pretokenizers", pre}};
    return {{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}, {"added_tokens", std::move(added)},
        {"normalizer", spec.nfc ? OrderedJson{{"type", "NFC"}} : OrderedJson(nullptr)},
        {"pre_tokenizer", std::move(preTokenizer)}, {"post_processor", postProcessorJson(spec)}, {"decoder", byteLevelJson()},
        {"model", modelJson(spec)}};
}

const MetaValue* find(const Checkpoint& checkpoint, const std::string& key)
{
    const auto it = checkpoint.metadata().find(key);
    return it == checkpoint.metadata().end() ? nullptr : &it->second;
}

std::optional<std::uint64_t> number(const MetaValue* value)
{
    if (value == nullptr)
        return std::nullopt;
    if (const auto* u = std::get_if<std::uint64_t>(value))
        return *u;
    if (const auto* i = std::get_if<std::int64_t>(value); i != nullptr && *i >= 0)
        return static_cast<std::uint64_t>(*i);
    return std::nullopt;
}

Expected<OrderedJson> configJson(const Checkpoint& checkpoint, const TokenizerSpec& spec)
{
    OrderedJson config = OrderedJson::object();
    config["add_prefix_space"] = false;
    OrderedJson decoder = OrderedJson::object();
    for (const AddedToken& t : spec.added)
        decoder[std::to_string(t.id)] = addedJson(t);
    config["added_tokens_decoder"] = std::move(decoder);
    static constexpr std::array<std::pair<const char*, const char*>, 4> kNamed{
        {{"bos_token", "tokenizer.ggml.bos_token_id"}, {"eos_token", "tokenizer.ggml.eos_token_id"},
            {"pad_token", "tokenizer.ggml.padding_token_id"}, {"unk_token", "tokenizer.ggml.unknown_token_id"}}};
    for (const auto& [name, key] : kNamed) {
        config[name] = nullptr;
        const MetaValue* value = find(checkpoint, key);
        if (value == nullptr)
            continue;
        const auto id = number(value);
        if (!id || *id >= spec.tokens.size())
            return fail(Errc::Format, fmt::format("is not the id of one of {} tokens", spec.tokens.size()), spec.at(key));
        config[name] = spec.tokens[*id];
    }
    if (const MetaValue* value = find(checkpoint, "tokenizer.chat_template")) {
        const auto* text = std::get_if<std::string>(value);
        if (text == nullptr || !isValidUtf8(*text))
            return fail(Errc::Format, "is not a UTF-8 string", spec.at("tokenizer.chat_template"));
        config["chat_template"] = *text;
    }
    config["clean_up_tokenization_spaces"] = false;
    if (const MetaValue* value = find(checkpoint, "general.architecture"))
        if (const auto* architecture = std::get_if<std::string>(value))
            if (const auto length = number(find(checkpoint, *architecture + ".context_length")))
                config["model_max_length"] = *length;
    config["tokenizer_class"] = "PreTrainedTokenizerFast";
    return config;
}

} // namespace

} // namespace tok

Expected<void> writeTokenizerFiles(const Checkpoint& ggufCheckpoint, const std::filesystem::path& folder)
{
    QS_TRY(spec, tok::readTokenizerGguf(ggufCheckpoint));
    QS_CHECK(tok::buildTokenizer(spec)); // nothing is written from metadata that does not make a tokenizer
    QS_TRY(config, tok::configJson(ggufCheckpoint, spec));
    std::error_code error;
    std::filesystem::create_directories(folder, error);
    if (error)
        return fail(Errc::Io, fmt::format("cannot create the folder: {}", error.message()), folder.string());
    QS_CHECK(writeTextFile(folder / "tokenizer.json", tok::tokenizerJson(spec).dump(1) + "\n"));
    return writeTextFile(folder / "tokenizer_config.json", config.dump(2) + "\n");
}

} // namespace qs::io
