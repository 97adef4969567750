// SPDX-License-Identifier: Apache-2.0
#include "core/io/tokenizer_spec.h"
#include "core/io/tokenizer_text.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <unordered_set>

namespace qs::io::tok {

namespace {

// Token types of the format.
constexpr std::int64_t kUnknownType = 2;
constexpr std::int64_t kControlType = 3;
constexpr std::int64_t kUserDefinedType = 4;

constexpr const char* kLlama3Pattern = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
                                       "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
constexpr const char* kQwen2Pattern = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "
                                      "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/// Typed access to metadata.
class Metadata {
public:
    explicit Metadata(const Checkpoint& checkpoint)
        : m_map(checkpoint.metadata())
        , m_file(checkpoint.path().string())
    {
    }
    template <class T> const T* get(const std::string& key) const
    {
        const auto it = m_map.find(key);
        return it == m_map.end() ? nullptr : std::get_if<T>(&it->second);
    }
    bool has(const std::string& key) const { return m_map.contains(key); }
    std::string at(const std::string& key) const { return m_file + ": " + key; }
    template <class T> Expected<const T*> required(const std::string& key, const char* expected) const
    {
        if (const T* value = get<T>(key))
            return value;
        return fail(Errc::Format, has(key) ? fmt::format("is not {}", expected) : "is missing", at(key));
    }
    Expected<bool> boolean(const std::string& key, bool otherwise) const
    {
        if (!has(key))
            return otherwise;
        QS_TRY(value, required<bool>(key, "a boolean"));
        return *value;
    }
    Expected<std::optional<std::int32_t>> tokenId(const std::string& key, std::size_t count) const
    {
        if (!has(key))
            return std::nullopt;
        std::uint64_t id = count;
        if (const auto* u = get<std::uint64_t>(key))
            id = *u;
        else if (const auto* i = get<std::int64_t>(key); i != nullptr && *i >= 0)
            id = static_cast<std::uint64_t>(*i);
        if (id >= count)
            return fail(Errc::Format, fmt::format("is not the id of one of {} tokens", count), at(key));
        return static_cast<std::int32_t>(id);
    }

private:
    const std::map<std::string, MetaValue>& m_map;
    std::string m_file;
};

PreStep byteLevel(bool useRegex)
{
    PreStep step;
    step.useRegex = useRegex;
    return step;
}

PreStep digits(bool individual)
{
    PreStep step;
    step.kind = PreStep::Kind::Digits;
    step.individualDigits = individual;
    return step;
}

PreStep split(std::string_view pattern)
{
    PreStep step;
    step.kind = PreStep::Kind::Split;
    step.pattern = pattern;
    return step;
}

/// What a value of tokenizer.ggml.pre stands for. The names are those that llama.cpp's converter writes; the rules are those of
/// the tokenizer.json files they are made from, except "default", which exists in llama.cpp only.
Expected<void> applyPre(const std::string& pre, TokenizerSpec& spec, bool& addBos, const std::string& where)
{
    const auto is = [&](std::initializer_list<std::string_view> names) {
        return std::find(names.begin(), names.end(), pre) != names.end();
    };
    if (is({"smollm", "starcoder", "refact"})) {
        spec.steps = {digits(true), byteLevel(true)};
    } else if (is({"gpt-2", "phi-2"})) {
        spec.steps = {byteLevel(true)};
    } else if (is({"llama-bpe", "llama3", "llama-v3"})) {
        spec.steps = {split(kLlama3Pattern), byteLevel(false)};
        spec.ignoreMerges = true;
        addBos = true;
    } else if (is({"qwen2", "deepseek-r1-qwen"})) {
        spec.steps = {split(kQwen2Pattern), byteLevel(false)};
        spec.nfc = true;
    } else if (is({"default"})) {
        spec.steps = {split("[\\p{P}\\$\\+<=>\\^~\\|]+"), split(kGpt2Pattern), split("\\p{N}+"), split("[0-9][0-9][0-9]"),
            byteLevel(false)};
    } else {
        return fail(Errc::Unsupported, fmt::format("pre-tokenizer {} is not known", shown(pre)), where,
            "open the tokenizer.json of the original model instead");
    }
    return {};
}

Expected<void> readTokens(const Metadata& meta, TokenizerSpec& spec)
{
    QS_TRY(tokens, meta.required<std::vector<std::string>>("tokenizer.ggml.tokens", "a list of strings"));
    if (tokens->empty() || tokens->size() > kMaxTokens)
        return fail(Errc::Format, fmt::format("has {} entries; 1 to {} are possible", tokens->size(), kMaxTokens),
            meta.at("tokenizer.ggml.tokens"));
    const std::vector<std::int64_t>* types = nullptr;
    if (meta.has("tokenizer.ggml.token_type")) {
        QS_TRY(given, meta.required<std::vector<std::int64_t>>("tokenizer.ggml.token_type", "a list of integers"));
        if (given->size() != tokens->size())
            return fail(Errc::Format, fmt::format("has {} entries for {} tokens", given->size(), tokens->size()),
                meta.at("tokenizer.ggml.token_type"));
        types = given;
    }
    std::unordered_set<std::string> seen;
    for (std::size_t id = 0; id < tokens->size(); ++id) {
        std::string text = (*tokens)[id];
        if (text.empty())
            text = fmt::format("[EMPTY_{}]", id);
        if (!isValidUtf8(text))
            return fail(Errc::Format, fmt::format("token {} is not UTF-8", id), meta.at("tokenizer.ggml.tokens"));
        if (!seen.insert(text).second)
            return fail(Errc::Format, fmt::format("token {} occurs twice, the second time with id {}", shown(text), id),
                meta.at("tokenizer.ggml.tokens"));
        const std::int64_t type = types != nullptr ? (*types)[id] : 1;
        if (type == kUnknownType || type == kControlType || type == kUserDefinedType) {
            AddedToken token;
            token.id = static_cast<std::int32_t>(id);
            token.content = text;
            token.special = type != kUserDefinedType;
            spec.added.push_back(std::move(token));
        }
        QS_CHECK(spec.assign(static_cast<std::int64_t>(id), std::move(text), "tokenizer.ggml.tokens"));
    }
    if (spec.added.size() > kMaxAddedTokens)
        return fail(Errc::Format, fmt::format("{} special tokens, more than {}", spec.added.size(), kMaxAddedTokens),
            meta.at("tokenizer.ggml.token_type"));
    return {};
}

Expected<void> readMerges(const Metadata& meta, TokenizerSpec& spec)
{
    QS_TRY(merges, meta.required<std::vector<std::string>>("tokenizer.ggml.merges", "a list of strings"));
    if (merges->size() > kMaxMerges)
        return fail(Errc::Format, fmt::format("has {} entries, more than {}", merges->size(), kMaxMerges),
            meta.at("tokenizer.ggml.merges"));
    spec.merges.reserve(merges->size());
    for (std::size_t i = 0; i < merges->size(); ++i) {
        const std::string& merge = (*merges)[i];
        const std::size_t space = merge.find(' ', 1); // a left part may be a space itself
        if (space == std::string::npos || space + 1 >= merge.size())
            return fail(Errc::Format, fmt::format("{} is not two tokens with a space between", shown(merge)),
                meta.at(fmt::format("tokenizer.ggml.merges[{}]", i)));
        spec.merges.emplace_back(merge.substr(0, space), merge.substr(space + 1));
    }
    return {};
}

} // namespace

Expected<TokenizerSpec> readTokenizerGguf(const Checkpoint& checkpoint)
{
    const Metadata meta(checkpoint);
    TokenizerSpec spec;
    spec.file = checkpoint.path().string();
    QS_TRY(model, meta.required<std::string>("tokenizer.ggml.model", "a string"));
    if (*model != "gpt2")
        return fail(Errc::Unsupported, fmt::format("tokenizer model {} is not handled", shown(*model)),
            meta.at("tokenizer.ggml.model"), "only byte-level BPE (gpt2) can be read");
    std::string pre = "default"; // what the runtime falls back to
    if (meta.has("tokenizer.ggml.pre")) {
        QS_TRY(named, meta.required<std::string>("tokenizer.ggml.pre", "a string"));
        pre = *named;
    }
    bool addBosDefault = false;
    QS_CHECK(applyPre(pre, spec, addBosDefault, meta.at("tokenizer.ggml.pre")));
    QS_CHECK(readTokens(meta, spec));
    QS_CHECK(readMerges(meta, spec));
    QS_TRY(bos, meta.tokenId("tokenizer.ggml.bos_token_id", spec.tokens.size()));
    QS_TRY(eos, meta.tokenId("tokenizer.ggml.eos_token_id", spec.tokens.size()));
    QS_TRY(addBos, meta.boolean("tokenizer.ggml.add_bos_token", addBosDefault));
    QS_TRY(addEos, meta.boolean("tokenizer.ggml.add_eos_token", false));
    spec.bos = bos;
    if (addBos) {
        if (!bos)
            return fail(Errc::Format, "a BOS token is to be added, but there is no tokenizer.ggml.bos_token_id",
                meta.at("tokenizer.ggml.add_bos_token"));
        spec.prefix.push_back(*bos);
    }
    if (addEos) {
        if (!eos)
            return fail(Errc::Format, "an EOS token is to be added, but there is no tokenizer.ggml.eos_token_id",
                meta.at("tokenizer.ggml.add_eos_token"));
        spec.suffix.push_back(*eos);
    }
    return spec;
}

} // namespace qs::io::tok
