// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/atomic_file.h"
#include "core/io/tokenizer.h"

#include <QTemporaryDir>
#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

namespace tokenizer_support {

using nlohmann::json;
using qs::Errc;
using qs::Expected;
using qs::io::MetaValue;
using qs::io::Tokenizer;

inline std::filesystem::path golden(const std::string& name)
{
    return std::filesystem::path(QS_GOLDEN_DIR) / name;
}

/// A GGUF checkpoint that is nothing but metadata.
class MetadataOnly final : public qs::io::Checkpoint {
public:
    std::map<std::string, MetaValue> values;

    std::string format() const override { return "gguf"; }
    const std::filesystem::path& path() const override { return m_path; }
    const std::vector<std::filesystem::path>& files() const override { return m_files; }
    const std::vector<qs::io::TensorInfo>& tensors() const override { return m_tensors; }
    const qs::io::TensorInfo* find(std::string_view) const override { return nullptr; }
    const std::map<std::string, MetaValue>& metadata() const override { return values; }
    const std::string& id() const override { return m_id; }
    Expected<void> readRows(const qs::io::TensorInfo&, qs::Index, qs::MutMatrixView) const override
    {
        return qs::fail(Errc::NotFound, "no tensors");
    }
    Expected<std::vector<std::byte>> readRaw(const qs::io::TensorInfo&) const override
    {
        return qs::fail(Errc::NotFound, "no tensors");
    }
    Expected<std::string> tensorDigest(const qs::io::TensorInfo&) const override
    {
        return qs::fail(Errc::NotFound, "no tensors");
    }

private:
    std::filesystem::path m_path = "model.gguf";
    std::vector<std::filesystem::path> m_files;
    std::vector<qs::io::TensorInfo> m_tensors;
    std::string m_id = "metadata";
};

/// The metadata a converter would write for a tokenizer.json.
inline MetadataOnly asGguf(const json& tokenizer, const std::string& pre)
{
    MetadataOnly gguf;
    const json& model = tokenizer["model"];
    std::vector<std::string> tokens(model["vocab"].size());
    for (const auto& [text, id] : model["vocab"].items())
        tokens.at(id.get<std::size_t>()) = text;
    std::vector<std::int64_t> types(tokens.size(), 1);
    for (const json& added : tokenizer["added_tokens"]) {
        const auto id = added["id"].get<std::size_t>();
        if (id >= tokens.size()) {
            tokens.resize(id + 1);
            types.resize(id + 1, 1);
        }
        tokens[id] = added["content"];
        types[id] = added["special"] ? 3 : 4;
    }
    std::vector<std::string> merges;
    for (const json& merge : model["merges"])
        merges.push_back(
            merge.is_string() ? merge.get<std::string>() : merge[0].get<std::string>() + " " + merge[1].get<std::string>());
    gguf.values["tokenizer.ggml.model"] = std::string("gpt2");
    gguf.values["tokenizer.ggml.pre"] = pre;
    gguf.values["tokenizer.ggml.tokens"] = tokens;
    gguf.values["tokenizer.ggml.token_type"] = types;
    gguf.values["tokenizer.ggml.merges"] = merges;
    const auto bos = std::find(tokens.begin(), tokens.end(), "<s>");
    if (bos != tokens.end())
        gguf.values["tokenizer.ggml.bos_token_id"] = static_cast<std::uint64_t>(bos - tokens.begin());
    return gguf;
}

inline json tinyTokenizer()
{
    return json::parse(R"({"version":"1.0","added_tokens":[{"id":4,"content":"<s>","special":true}],"normalizer":null,
        "pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false},"post_processor":null,"decoder":{"type":"ByteLevel"},
        "model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2,"aba":3},"merges":["a b",["ab","a"]]}})");
}

inline Expected<std::shared_ptr<const Tokenizer>> open(const std::string& text)
{
    const QTemporaryDir folder;
    const auto path = std::filesystem::path(folder.path().toStdString()) / "tokenizer.json";
    std::ofstream(path, std::ios::binary) << text; // not synced: hundreds of files are written
    return qs::io::openTokenizerJson(path);
}

} // namespace tokenizer_support
