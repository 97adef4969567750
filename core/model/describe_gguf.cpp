// SPDX-License-Identifier: Apache-2.0
#include "core/model/description.h"

#include <cmath>
#include <limits>
#include <optional>

namespace qs::model {
namespace {

class Metadata {
public:
    explicit Metadata(const io::Checkpoint& checkpoint)
        : m_map(checkpoint.metadata())
        , m_where(checkpoint.path().string())
    {
    }

    const io::MetaValue* get(const std::string& key) const
    {
        const auto found = m_map.find(key);
        return found == m_map.end() ? nullptr : &found->second;
    }
    bool has(const std::string& key) const { return get(key) != nullptr; }

    Expected<void> read(Index& target, const std::string& key, Index least = 1) const
    {
        const io::MetaValue* value = get(key);
        if (!value)
            return {};
        std::optional<Index> number;
        if (const auto* i = std::get_if<std::int64_t>(value))
            number = *i;
        else if (const auto* u = std::get_if<std::uint64_t>(value); u && *u <= std::uint64_t{kLargestExtent})
            number = static_cast<Index>(*u);
        else if (const auto* list = std::get_if<std::vector<std::int64_t>>(value)) {
            // some converters write one number per block; blocks that differ are another architecture
            for (const std::int64_t item : *list)
                if (item != list->front())
                    return fail(Errc::Unsupported, "differs between blocks", m_where + ": " + key);
            if (!list->empty())
                number = list->front();
        }
        if (!number || *number < least || *number > kLargestExtent)
            return fail(Errc::Format, "must be an integer in " + std::to_string(least) + ".." + std::to_string(kLargestExtent),
                m_where + ": " + key);
        target = *number;
        return {};
    }
    Expected<void> read(double& target, const std::string& key, double least, double most) const
    {
        const io::MetaValue* value = get(key);
        if (!value)
            return {};
        double number = std::numeric_limits<double>::quiet_NaN();
        if (const auto* d = std::get_if<double>(value))
            number = *d;
        else if (const auto* i = std::get_if<std::int64_t>(value))
            number = static_cast<double>(*i);
        else if (const auto* u = std::get_if<std::uint64_t>(value))
            number = static_cast<double>(*u);
        if (!(number >= least && number <= most))
            return fail(Errc::Format, "must be a number in " + std::to_string(least) + ".." + std::to_string(most),
                m_where + ": " + key);
        target = number;
        return {};
    }
    Expected<void> read(std::string& target, const std::string& key) const
    {
        const io::MetaValue* value = get(key);
        if (!value)
            return {};
        const auto* text = std::get_if<std::string>(value);
        if (!text)
            return fail(Errc::Format, "must be a string", m_where + ": " + key);
        target = *text;
        return {};
    }
    Expected<void> require(Index& target, const std::string& key) const
    {
        if (!has(key))
            return fail(Errc::Format, "is missing from the metadata", m_where + ": " + key);
        return read(target, key);
    }

private:
    const std::map<std::string, io::MetaValue>& m_map;
    std::string m_where;
};

Expected<void> readRope(const Metadata& meta, const std::string& prefix, const io::Checkpoint& checkpoint, ModelSpec& spec)
{
    RopeSpec& rope = spec.rope;
    QS_CHECK(meta.read(rope.theta, prefix + "rope.freq_base", 1e-3, 1e12));
    rope.dims = spec.headDim;
    QS_CHECK(meta.read(rope.dims, prefix + "rope.dimension_count"));
    QS_CHECK(meta.read(rope.scaling, prefix + "rope.scaling.type"));
    QS_CHECK(meta.read(rope.factor, prefix + "rope.scaling.factor", 1e-6, 1e6));
    rope.originalContext = static_cast<double>(spec.context);
    QS_CHECK(meta.read(rope.originalContext, prefix + "rope.scaling.original_context_length", 1.0, 1e12));
    QS_CHECK(meta.read(rope.betaFast, prefix + "rope.scaling.yarn_beta_fast", 1e-6, 1e6));
    QS_CHECK(meta.read(rope.betaSlow, prefix + "rope.scaling.yarn_beta_slow", 1e-6, 1e6));
    double scaleLinear = 0.0; // the key of old files
    QS_CHECK(meta.read(scaleLinear, prefix + "rope.scale_linear", 1e-6, 1e6));
    if (scaleLinear > 0.0 && !meta.has(prefix + "rope.scaling.type")) {
        rope.scaling = scaleLinear == 1.0 ? "none" : "linear";
        rope.factor = scaleLinear;
    }
    if (checkpoint.find("rope_freqs.weight"))
        rope.factors = "rope_freqs.weight";
    return {};
}

} // namespace

Expected<Description> describeGguf(const io::Checkpoint& checkpoint)
{
    const Metadata meta(checkpoint);
    const std::string where = checkpoint.path().string();
    Description result;
    result.source = "metadata";
    result.biasFromTensors = true;
    result.tiedKnown = false;
    ModelSpec& spec = result.spec;
    spec.family = Family::Llama;
    std::string architecture;
    QS_CHECK(meta.read(architecture, "general.architecture"));
    if (architecture.empty())
        return fail(Errc::NotFound, "is missing from the metadata", where + ": general.architecture");
    if (architecture != "llama" && architecture != "qwen2")
        return fail(Errc::Unsupported, "architecture '" + architecture + "' is not one of llama, mistral, qwen2", where);
    spec.modelType = architecture;
    spec.architecture = architecture == "llama" ? "LlamaForCausalLM" : "Qwen2ForCausalLM";
    result.permutedQk = architecture == "llama";
    QS_CHECK(meta.read(spec.title, "general.name")); // the display name is the file's, which people know it by

    const std::string prefix = architecture + ".";
    QS_CHECK(meta.require(spec.blocks, prefix + "block_count"));
    QS_CHECK(meta.require(spec.hidden, prefix + "embedding_length"));
    QS_CHECK(meta.require(spec.ffn, prefix + "feed_forward_length"));
    QS_CHECK(meta.require(spec.heads, prefix + "attention.head_count"));
    spec.kvHeads = spec.heads;
    QS_CHECK(meta.read(spec.kvHeads, prefix + "attention.head_count_kv"));
    spec.context = 2048;
    QS_CHECK(meta.read(spec.context, prefix + "context_length"));
    QS_CHECK(meta.read(spec.vocab, prefix + "vocab_size"));
    QS_CHECK(meta.read(spec.normEps, prefix + "attention.layer_norm_rms_epsilon", 0.0, 1.0));
    QS_CHECK(meta.read(spec.slidingWindow, prefix + "attention.sliding_window", 0));
    spec.headDim = spec.hidden % spec.heads == 0 ? spec.hidden / spec.heads : 0;
    QS_CHECK(meta.read(spec.headDim, prefix + "attention.key_length"));
    Index valueDim = spec.headDim;
    QS_CHECK(meta.read(valueDim, prefix + "attention.value_length"));
    if (spec.headDim == 0)
        return fail(Errc::Format, "does not divide the embedding length, and no key length is given",
            where + ": " + prefix + "attention.head_count");
    if (valueDim != spec.headDim)
        return fail(
            Errc::Unsupported, "value length differs from key length", where + ": " + prefix + "attention.value_length");
    Index experts = 0;
    QS_CHECK(meta.read(experts, prefix + "expert_count", 0));
    if (experts > 0)
        return fail(Errc::Unsupported, "mixtures of experts are not implemented", where + ": " + prefix + "expert_count");
    if (const io::MetaValue* tokens = meta.get("tokenizer.ggml.tokens"); spec.vocab == 0 && tokens)
        if (const auto* list = std::get_if<std::vector<std::string>>(tokens))
            spec.vocab = static_cast<Index>(list->size());
    QS_CHECK(readRope(meta, prefix, checkpoint, spec));
    return result;
}

} // namespace qs::model
