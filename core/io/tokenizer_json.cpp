// SPDX-License-Identifier: Apache-2.0
#include "core/io/json_text.h"
#include "core/io/tokenizer_spec.h"
#include "core/io/tokenizer_text.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <limits>
#include <nlohmann/json.hpp>
#include <unordered_map>

namespace qs::io::tok {

namespace {

using Json = nlohmann::json;

constexpr int kMaxDepth = 32;
constexpr std::size_t kMaxFileBytes = std::size_t{96} << 20;

/// One JSON object with the path to it, for messages.
class Node {
public:
    Node(const Json& json, std::string path)
        : m_json(json)
        , m_path(std::move(path))
    {
    }
    const std::string& path() const { return m_path; }
    const Json* get(const char* key) const
    {
        const auto it = m_json.find(key);
        return it == m_json.end() || it->is_null() ? nullptr : &*it;
    }
    std::string field(std::string_view key) const { return m_path + (m_path.ends_with(' ') ? "" : ".") + std::string(key); }
    tl::unexpected<Error> wrong(const char* key, std::string_view expected) const
    {
        return fail(Errc::Format, fmt::format("is not {}", expected), field(key));
    }
    Expected<bool> boolean(const char* key, bool otherwise) const
    {
        const Json* value = get(key);
        if (value == nullptr)
            return otherwise;
        if (!value->is_boolean())
            return wrong(key, "true or false");
        return value->get<bool>();
    }
    Expected<std::string> string(const char* key, std::string_view otherwise) const
    {
        const Json* value = get(key);
        if (value == nullptr)
            return std::string(otherwise);
        if (!value->is_string())
            return wrong(key, "a string");
        return value->get<std::string>();
    }
    Expected<std::int64_t> integer(const char* key) const
    {
        const Json* value = get(key);
        if (value == nullptr || !value->is_number_integer()
            || (value->is_number_unsigned() && value->get<std::uint64_t>() > std::numeric_limits<std::int32_t>::max()))
            return wrong(key, "an integer of at most 31 bits");
        return value->get<std::int64_t>();
    }
    Expected<Node> object(const char* key) const
    {
        const Json* value = get(key);
        if (value == nullptr || !value->is_object())
            return wrong(key, "an object");
        return Node(*value, field(key));
    }
    /// A list of objects; `key` may be absent if `optional`.
    Expected<std::vector<Node>> objects(const char* key, bool optional) const
    {
        std::vector<Node> nodes;
        const Json* value = get(key);
        if (value == nullptr && optional)
            return nodes;
        if (value == nullptr || !value->is_array())
            return wrong(key, "a list");
        for (std::size_t i = 0; i < value->size(); ++i) {
            if (!(*value)[i].is_object())
                return fail(Errc::Format, "is not an object", fmt::format("{}[{}]", field(key), i));
            nodes.emplace_back((*value)[i], fmt::format("{}[{}]", field(key), i));
        }
        return nodes;
    }
    const Json& json() const { return m_json; }

private:
    const Json& m_json;
    std::string m_path;
};

tl::unexpected<Error> unsupported(const Node& node, std::string_view kind, std::string_view type)
{
    return fail(Errc::Unsupported, fmt::format("{} {} is not handled", kind, shown(type)), node.path(),
        "only byte-level BPE tokenizers can be read");
}

Expected<void> readVocabulary(const Node& model, TokenizerSpec& spec)
{
    QS_TRY(vocabulary, model.object("vocab"));
    const Json& entries = vocabulary.json();
    if (entries.empty())
        return fail(Errc::Format, "is empty", vocabulary.path());
    const std::size_t limit = entries.size() * 4 + (std::size_t{1} << 16);
    for (const auto& [token, id] : entries.items()) {
        if (!id.is_number_integer())
            return fail(Errc::Format, fmt::format("the id of {} is not an integer", shown(token)), vocabulary.path());
        const std::int64_t value
            = id.is_number_unsigned() && id.get<std::uint64_t>() > kMaxTokens ? -1 : id.get<std::int64_t>();
        if (value < 0 || static_cast<std::size_t>(value) >= limit)
            return fail(Errc::Format,
                fmt::format("the id {} of {} is out of range for {} tokens", id.dump(), shown(token), entries.size()),
                vocabulary.path());
        QS_CHECK(spec.assign(value, token, "model.vocab"));
    }
    return {};
}

Expected<void> readMerges(const Node& model, TokenizerSpec& spec)
{
    const Json* merges = model.get("merges");
    if (merges == nullptr || !merges->is_array())
        return model.wrong("merges", "a list");
    if (merges->size() > kMaxMerges)
        return fail(Errc::Format, fmt::format("{} merges, more than {}", merges->size(), kMaxMerges), model.field("merges"));
    spec.merges.reserve(merges->size());
    for (std::size_t i = 0; i < merges->size(); ++i) {
        const Json& merge = (*merges)[i];
        if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
            spec.merges.emplace_back(merge[0].get<std::string>(), merge[1].get<std::string>());
            continue;
        }
        if (merge.is_string()) {
            std::string text = merge.get<std::string>();
            while (text.ends_with('\n') || text.ends_with('\r')) // left by old converters
                text.pop_back();
            const std::size_t space = text.find(' ');
            if (space != std::string::npos && space > 0 && space + 1 < text.size()
                && text.find(' ', space + 1) == std::string::npos) {
                spec.merges.emplace_back(text.substr(0, space), text.substr(space + 1));
                continue;
            }
        }
        return fail(Errc::Format, "is neither \"a b\" nor [\"a\", \"b\"]", fmt::format("{}[{}]", model.field("merges"), i));
    }
    return {};
}

Expected<void> readModel(const Node& model, TokenizerSpec& spec)
{
    QS_TRY(type, model.string("type", "BPE"));
    if (type != "BPE")
        return unsupported(model, "model", type);
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
        QS_TRY(affix, model.string(key, ""));
        if (!affix.empty())
            return fail(Errc::Unsupported, fmt::format("{} is not handled", shown(affix)), model.field(key));
    }
    if (const Json* dropout = model.get("dropout"); dropout != nullptr && *dropout != 0)
        return fail(Errc::Unsupported, "dropout makes encoding random and is not handled", model.field("dropout"));
    QS_TRY(fuse, model.boolean("fuse_unk", false));
    QS_TRY(fallback, model.boolean("byte_fallback", false));
    QS_TRY(ignore, model.boolean("ignore_merges", false));
    spec.fuseUnknown = fuse;
    spec.byteFallback = fallback;
    spec.ignoreMerges = ignore;
    QS_CHECK(readVocabulary(model, spec));
    QS_CHECK(readMerges(model, spec));
    QS_TRY(unknown, model.string("unk_token", ""));
    if (!unknown.empty()) {
        const auto it = std::find(spec.tokens.begin(), spec.tokens.end(), unknown);
        if (it == spec.tokens.end())
            return fail(Errc::Format, fmt::format("{} is not in the vocabulary", shown(unknown)), model.field("unk_token"));
        spec.unknown = static_cast<std::int32_t>(it - spec.tokens.begin());
    }
    return {};
}

Expected<void> readNormalizer(const Node& node, TokenizerSpec& spec, int depth = 0)
{
    QS_TRY(type, node.string("type", ""));
    if (type == "NFC") {
        spec.nfc = true;
        return {};
    }
    if (type != "Sequence" || depth > kMaxDepth)
        return unsupported(node, "normalizer", type);
    QS_TRY(parts, node.objects("normalizers", false));
    for (const Node& part : parts)
        QS_CHECK(readNormalizer(part, spec, depth + 1));
    return {};
}

Expected<Behaviour> readBehaviour(const Node& node)
{
    QS_TRY(name, node.string("behavior", "Isolated"));
    static constexpr std::array<std::pair<std::string_view, Behaviour>, 5> kNames{{{"Isolated", Behaviour::Isolated},
        {"Removed", Behaviour::Removed}, {"MergedWithPrevious", Behaviour::MergedWithPrevious},
        {"MergedWithNext", Behaviour::MergedWithNext}, {"Contiguous", Behaviour::Contiguous}}};
    for (const auto& [known, value] : kNames)
        if (known == name)
            return value;
    return fail(Errc::Unsupported, fmt::format("behaviour {} is not handled", shown(name)), node.field("behavior"));
}

Expected<void> readPreTokenizer(const Node& node, TokenizerSpec& spec)
{
    QS_TRY(type, node.string("type", ""));
    if (type == "Sequence") {
        QS_TRY(parts, node.objects("pretokenizers", false));
        for (const Node& part : parts)
            QS_CHECK(readPreTokenizer(part, spec));
        return {};
    }
    PreStep step;
    if (type == "ByteLevel") {
        QS_TRY(prefix, node.boolean("add_prefix_space", true));
        QS_TRY(regex, node.boolean("use_regex", true));
        step.addPrefixSpace = prefix;
        step.useRegex = regex;
    } else if (type == "Digits") {
        step.kind = PreStep::Kind::Digits;
        QS_TRY(individual, node.boolean("individual_digits", false));
        step.individualDigits = individual;
    } else if (type == "Split") {
        step.kind = PreStep::Kind::Split;
        QS_TRY(pattern, node.object("pattern"));
        step.patternIsRegex = pattern.get("Regex") != nullptr;
        const char* key = step.patternIsRegex ? "Regex" : "String";
        if (pattern.get(key) == nullptr)
            return fail(Errc::Format, "has neither Regex nor String", pattern.path());
        QS_TRY(text, pattern.string(key, ""));
        QS_TRY(behaviour, readBehaviour(node));
        QS_TRY(invert, node.boolean("invert", false));
        step.pattern = text;
        step.behaviour = behaviour;
        step.invert = invert;
    } else if (type == "Punctuation") {
        step.kind = PreStep::Kind::Punctuation;
        QS_TRY(behaviour, readBehaviour(node));
        step.behaviour = behaviour;
    } else if (type == "Whitespace") {
        step.kind = PreStep::Kind::Whitespace;
    } else if (type == "WhitespaceSplit") {
        step.kind = PreStep::Kind::WhitespaceSplit;
    } else {
        return unsupported(node, "pre-tokenizer", type);
    }
    if (spec.steps.size() >= 64)
        return fail(Errc::Format, "more than 64 pre-tokenizers", node.path());
    spec.steps.push_back(std::move(step));
    return {};
}

/// An added token gets the id its text has in the model, else the next free one: the declared id must be that one, since the
/// reference loader ignores it.
Expected<void> readAddedTokens(const Node& root, TokenizerSpec& spec)
{
    QS_TRY(entries, root.objects("added_tokens", true));
    if (entries.size() > kMaxAddedTokens)
        return fail(Errc::Format, fmt::format("{} added tokens, more than {}", entries.size(), kMaxAddedTokens),
            root.field("added_tokens"));
    if (entries.empty())
        return {};
    std::unordered_map<std::string, std::int64_t> ids;
    for (std::size_t id = 0; id < spec.tokens.size(); ++id)
        if (spec.assigned[id])
            ids.emplace(spec.tokens[id], static_cast<std::int64_t>(id));
    auto next = static_cast<std::int64_t>(ids.size());
    for (const Node& entry : entries) {
        AddedToken token;
        QS_TRY(content, entry.string("content", ""));
        QS_TRY(declared, entry.integer("id"));
        QS_TRY(singleWord, entry.boolean("single_word", false));
        QS_TRY(lstrip, entry.boolean("lstrip", false));
        QS_TRY(rstrip, entry.boolean("rstrip", false));
        QS_TRY(special, entry.boolean("special", false));
        QS_TRY(normalized, entry.boolean("normalized", !special));
        if (content.empty())
            return fail(Errc::Format, "is empty", entry.field("content"));
        const auto known = ids.find(content);
        const std::int64_t expected = known != ids.end() ? known->second : next;
        if (declared != expected)
            return fail(Errc::Format,
                fmt::format("is {}, but {} gets the id {} when the file is loaded", declared, shown(content), expected),
                entry.field("id"));
        if (known == ids.end()) {
            ids.emplace(content, expected);
            QS_CHECK(spec.assign(expected, content, "added_tokens"));
            ++next;
        }
        token.id = static_cast<std::int32_t>(expected);
        token.content = content;
        token.singleWord = singleWord;
        token.lstrip = lstrip;
        token.rstrip = rstrip;
        token.special = special;
        token.normalized = normalized;
        spec.added.push_back(std::move(token));
    }
    return {};
}

Expected<void> readTemplate(const Node& node, TokenizerSpec& spec)
{
    QS_TRY(pieces, node.objects("single", false));
    std::vector<std::int32_t> before;
    std::vector<std::int32_t> after;
    bool seenText = false;
    for (const Node& piece : pieces) {
        if (piece.get("Sequence") != nullptr) {
            QS_TRY(sequence, piece.object("Sequence"));
            QS_TRY(id, sequence.string("id", ""));
            if (id != "A" || seenText)
                return fail(Errc::Unsupported, "a template for one text must hold the sequence A once", node.field("single"));
            seenText = true;
            continue;
        }
        QS_TRY(special, piece.object("SpecialToken"));
        QS_TRY(name, special.string("id", ""));
        QS_TRY(table, node.object("special_tokens"));
        QS_TRY(entry, table.object(name.c_str()));
        const Json* ids = entry.get("ids");
        if (ids == nullptr || !ids->is_array() || ids->size() > 64)
            return entry.wrong("ids", "a short list");
        for (const Json& id : *ids) {
            if (!id.is_number_unsigned() || id.get<std::uint64_t>() >= kMaxTokens)
                return entry.wrong("ids", "a list of token ids");
            (seenText ? after : before).push_back(id.get<std::int32_t>());
        }
    }
    if (!seenText)
        return fail(Errc::Unsupported, "a template for one text must hold the sequence A once", node.field("single"));
    spec.prefix.insert(spec.prefix.begin(), before.begin(), before.end());
    spec.suffix.insert(spec.suffix.end(), after.begin(), after.end());
    return {};
}

Expected<std::int32_t> readNamedId(const Node& node, const char* key)
{
    const Json* pair = node.get(key);
    if (pair == nullptr || !pair->is_array() || pair->size() != 2 || !(*pair)[1].is_number_unsigned()
        || (*pair)[1].get<std::uint64_t>() >= kMaxTokens)
        return node.wrong(key, "[\"token\", id]");
    return (*pair)[1].get<std::int32_t>();
}

Expected<void> readPostProcessor(const Node& node, TokenizerSpec& spec)
{
    QS_TRY(type, node.string("type", ""));
    if (type == "ByteLevel") // moves offsets only
        return {};
    if (type == "TemplateProcessing")
        return readTemplate(node, spec);
    if (type == "RobertaProcessing" || type == "BertProcessing") {
        QS_TRY(first, readNamedId(node, "cls"));
        QS_TRY(last, readNamedId(node, "sep"));
        spec.prefix.insert(spec.prefix.begin(), first);
        spec.suffix.push_back(last);
        return {};
    }
    if (type != "Sequence")
        return unsupported(node, "post-processor", type);
    QS_TRY(parts, node.objects("processors", false));
    for (const Node& part : parts)
        QS_CHECK(readPostProcessor(part, spec));
    return {};
}

Expected<void> checkDecoder(const Node& node)
{
    QS_TRY(type, node.string("type", ""));
    if (type == "ByteLevel" || type == "Fuse")
        return {};
    if (type != "Sequence")
        return unsupported(node, "decoder", type);
    QS_TRY(parts, node.objects("decoders", false));
    for (const Node& part : parts)
        QS_CHECK(checkDecoder(part));
    return {};
}

/// The BOS token is named beside tokenizer.json, if anywhere.
Expected<void> readBos(const std::filesystem::path& folder, TokenizerSpec& spec)
{
    const auto path = folder / "tokenizer_config.json";
    std::error_code ignored;
    if (!std::filesystem::exists(path, ignored)) {
        if (!spec.prefix.empty())
            spec.bos = spec.prefix.front();
        return {};
    }
    QS_TRY(json, readJsonFile(path, kMaxFileBytes));
    if (!json.is_object())
        return fail(Errc::Format, "is not a JSON object", path.string());
    const Node root(json, path.string() + ": ");
    const Json* named = root.get("bos_token");
    if (named != nullptr && named->is_object())
        named = named->contains("content") ? &(*named)["content"] : nullptr;
    if (named == nullptr)
        return {};
    if (!named->is_string())
        return root.wrong("bos_token", "a string");
    const auto it = std::find(spec.tokens.begin(), spec.tokens.end(), named->get_ref<const std::string&>());
    if (it == spec.tokens.end())
        return fail(Errc::Mismatch,
            fmt::format("{} is not in the vocabulary of tokenizer.json", shown(named->get<std::string>())),
            root.field("bos_token"));
    spec.bos = static_cast<std::int32_t>(it - spec.tokens.begin());
    return {};
}

} // namespace

Expected<TokenizerSpec> readTokenizerJson(const std::filesystem::path& given)
{
    std::error_code ignored;
    const auto path = std::filesystem::is_directory(given, ignored) ? given / "tokenizer.json" : given;
    QS_TRY(json, readJsonFile(path, kMaxFileBytes));
    if (!json.is_object())
        return fail(Errc::Format, "is not a JSON object", path.string());
    TokenizerSpec spec;
    spec.file = path.string();
    const Node root(json, path.string() + ": ");
    QS_TRY(model, root.object("model"));
    QS_CHECK(readModel(model, spec));
    QS_CHECK(readAddedTokens(root, spec));
    using Reader = Expected<void> (*)(const Node&, TokenizerSpec&);
    const std::array<std::pair<const char*, Reader>, 4> parts{{
        {"normalizer", [](const Node& node, TokenizerSpec& s) { return readNormalizer(node, s); }},
        {"pre_tokenizer", readPreTokenizer},
        {"post_processor", readPostProcessor},
        {"decoder", [](const Node& node, TokenizerSpec&) { return checkDecoder(node); }},
    }};
    for (const auto& [key, reader] : parts) {
        if (root.get(key) == nullptr)
            continue;
        QS_TRY(node, root.object(key));
        QS_CHECK(reader(node, spec));
    }
    QS_CHECK(readBos(path.parent_path(), spec));
    return spec;
}

} // namespace qs::io::tok
