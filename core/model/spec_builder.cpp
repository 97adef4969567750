// SPDX-License-Identifier: Apache-2.0
#include "core/model/spec_builder.h"

#include "core/io/json_text.h"

#include <algorithm>
#include <fmt/format.h>
#include <string_view>
#include <unordered_set>

namespace qs::model {
namespace {

constexpr std::size_t kMostProblems = 100; // a broken file of a large model would fill screens with the same sentence

/// Role of "mlp.down_proj" or "model.layers.3.mlp.down_proj".
LayerRole roleOf(std::string_view module)
{
    static constexpr std::pair<std::string_view, LayerRole> kRoles[] = {{"q_proj", LayerRole::Query},
        {"k_proj", LayerRole::Key}, {"v_proj", LayerRole::Value}, {"o_proj", LayerRole::Output}, {"gate_proj", LayerRole::Gate},
        {"up_proj", LayerRole::Up}, {"down_proj", LayerRole::Down}};
    const std::string_view last = module.substr(module.rfind('.') + 1); // npos + 1 is 0
    const auto* const known
        = std::find_if(std::begin(kRoles), std::end(kRoles), [&](const auto& r) { return r.first == last; });
    return known == std::end(kRoles) ? LayerRole::Other : known->second;
}

/// "I16", or what the file says where the type is unknown.
std::string typeText(const io::TensorInfo& tensor)
{
    return tensor.dtype == DType::Unknown ? io::quoted(tensor.unknownType) : dtypeName(tensor.dtype);
}

bool isInteger(DType type)
{
    const DTypeInfo& info = dtypeInfo(type);
    return info.decodable && !info.floating && info.blockElements == 1;
}

/// Builds one spec; remembers which tensors were explained, so that the rest can be named.
class Builder {
public:
    Builder(Description description, const TensorNames& names, const io::Checkpoint& checkpoint)
        : m_description(std::move(description))
        , m_spec(m_description.spec)
        , m_names(names)
        , m_checkpoint(checkpoint)
    {
    }

    ModelSpec build()
    {
        settleHeads();
        checkBlocks();
        embeddings();
        const int count = m_names.blocks().empty() ? 0 : *m_names.blocks().rbegin() + 1;
        if (static_cast<std::size_t>(count) == m_names.blocks().size()) // without gaps: else checkBlocks() has said so
            m_spec.blocks = count;
        for (const int block : m_names.blocks())
            addBlock(block);
        unexplained();
        checkDtype();
        limitProblems();
        return std::move(m_spec);
    }

private:
    void problem(const char* severity, std::string where, std::string message)
    {
        if (m_spec.problems.size() < 100 * kMostProblems) // errors come before the tensors without explanation
            m_spec.problems.push_back({severity, std::move(where), std::move(message)});
    }

    /// Key-value heads that the config leaves out follow from the shape of k_proj.
    void settleHeads()
    {
        if (m_spec.kvHeads == 0 && !m_names.blocks().empty()) {
            const io::TensorInfo* k = m_names.find(prefixOf(*m_names.blocks().begin()) + "self_attn.k_proj.weight");
            m_spec.kvHeads = k && k->rows() % m_spec.headDim == 0 ? k->rows() / m_spec.headDim : m_spec.heads;
        }
        if (m_spec.kvHeads == 0)
            m_spec.kvHeads = m_spec.heads;
        if (m_spec.heads % m_spec.kvHeads != 0)
            problem("error", m_description.source,
                fmt::format("{} query heads are not a multiple of {} key-value heads", m_spec.heads, m_spec.kvHeads));
        if (m_spec.rope.dims != m_spec.headDim)
            problem("error", m_description.source,
                fmt::format("rotation of {} of {} head dimensions is not implemented", m_spec.rope.dims, m_spec.headDim));
        else if (m_spec.headDim % 2 != 0)
            problem("error", m_description.source,
                fmt::format("head dimension {} is odd: it cannot be rotated in pairs", m_spec.headDim));
        const std::string& scaling = m_spec.rope.scaling;
        if (scaling != "none" && scaling != "linear" && scaling != "llama3" && scaling != "yarn")
            problem("error", m_description.source,
                fmt::format("rotary scaling '{}' is not implemented (none, linear, llama3, yarn are)", scaling));
    }

    void checkBlocks()
    {
        const auto& blocks = m_names.blocks();
        const Index stored = blocks.empty() ? 0 : *blocks.rbegin() + 1;
        if (static_cast<Index>(blocks.size()) != m_spec.blocks || stored != m_spec.blocks)
            problem("error", m_description.source,
                fmt::format("says {} blocks, the tensors hold {}{}", m_spec.blocks, blocks.size(),
                    stored == static_cast<Index>(blocks.size()) ? "" : fmt::format(" (numbered up to {})", stored - 1)));
    }

    std::string prefixOf(int block) const { return fmt::format("{}layers.{}.", m_names.prefix(), block); }

    const io::TensorInfo* expect(const std::string& name, const Shape& shape, bool required = true)
    {
        const io::TensorInfo* tensor = m_names.find(name);
        if (!tensor) {
            if (required)
                problem("error", name, "is missing");
            return nullptr;
        }
        m_explained.insert(tensor);
        if (tensor->shape != shape)
            problem("error", name,
                fmt::format("is {}, but {} asks for {}", shapeText(tensor->shape), m_description.source, shapeText(shape)));
        if (tensor->dtype != DType::Packed && !dtypeInfo(tensor->dtype).decodable)
            problem("error", name, fmt::format("has type {}, which is not decoded", typeText(*tensor)));
        else if (isInteger(tensor->dtype))
            problem("error", name,
                fmt::format("has type {}: integers are weights only with a quantization_config", typeText(*tensor)));
        return tensor;
    }

    void embeddings()
    {
        const io::TensorInfo* embedding = m_names.find(m_names.prefix() + "embed_tokens.weight");
        if (m_spec.vocab == 0 && embedding)
            m_spec.vocab = embedding->rows();
        expect(m_names.prefix() + "embed_tokens.weight", {m_spec.vocab, m_spec.hidden});
        expect(m_names.prefix() + "norm.weight", {m_spec.hidden});
        const io::TensorInfo* head = m_names.find("lm_head.weight");
        if (!m_description.tiedKnown)
            m_spec.tiedEmbeddings = head == nullptr;
        if (!m_spec.tiedEmbeddings)
            expect("lm_head.weight", {m_spec.vocab, m_spec.hidden});
        else if (head) {
            m_explained.insert(head);
            problem("info", "lm_head.weight", "is stored, but the embeddings are tied: the embedding is used in its place");
        }
        if (!m_spec.rope.factors.empty())
            expect(m_spec.rope.factors, {m_spec.headDim / 2});
    }

    LayerIndex addLayer(int block, const std::string& module, Index out, Index in, bool bias, const std::string& input)
    {
        const std::string name = prefixOf(block) + module;
        const io::TensorInfo* tensor = expect(name + ".weight", {out, in});
        const io::TensorInfo* stored = m_names.find(name + ".bias");
        const bool used = m_description.biasFromTensors ? stored != nullptr : bias;
        if (used)
            expect(name + ".bias", {out});
        else if (stored) {
            m_explained.insert(stored);
            problem("warning", name + ".bias",
                m_description.source + " gives this layer no bias: it is ignored, as transformers does");
        }
        if (!tensor || tensor->shape.size() != 2)
            return -1;
        LayerSpec layer;
        layer.name = name;
        layer.module = module;
        layer.role = roleOf(module);
        layer.block = block;
        layer.out = tensor->shape[0];
        layer.in = tensor->shape[1];
        layer.dtype = tensor->dtype;
        layer.weight = name + ".weight";
        layer.bias = used && stored ? name + ".bias" : std::string();
        layer.inputId = input.empty() ? name : input;
        m_spec.layers.push_back(std::move(layer));
        return static_cast<LayerIndex>(m_spec.layers.size()) - 1;
    }

    /// Several layers that read one input: layers, site and fusion group.
    std::vector<LayerIndex> addGroup(int block, SiteKind kind, const std::vector<std::pair<std::string, Index>>& modules,
        Index in, bool bias, const std::string& norm, const std::string& fused)
    {
        std::vector<LayerIndex> all, present;
        std::string input;
        for (const auto& [module, out] : modules) {
            const LayerIndex layer = addLayer(block, module, out, in, bias, input);
            all.push_back(layer);
            if (layer < 0)
                continue;
            present.push_back(layer);
            if (input.empty())
                input = m_spec.layers[static_cast<std::size_t>(layer)].name;
        }
        if (present.empty())
            return all;
        SiteSpec site;
        site.kind = kind;
        site.block = block;
        site.inputId = input;
        site.consumers = present;
        if (!norm.empty()) {
            site.producerNorm = prefixOf(block) + norm;
            site.diagonalFolds = true;
        }
        const int fusion = fused.empty() || present.size() < 2 ? -1 : static_cast<int>(m_spec.fusionGroups.size());
        for (const LayerIndex layer : present) {
            m_spec.layers[static_cast<std::size_t>(layer)].site = static_cast<int>(m_spec.sites.size());
            m_spec.layers[static_cast<std::size_t>(layer)].fusionGroup = fusion;
        }
        if (fusion >= 0)
            m_spec.fusionGroups.push_back({prefixOf(block) + fused, present});
        m_spec.sites.push_back(std::move(site));
        return all;
    }

    void addBlock(int block)
    {
        const Index query = m_spec.heads * m_spec.headDim;
        const Index keyValue = m_spec.kvHeads * m_spec.headDim;
        const std::string prefix = prefixOf(block);
        expect(prefix + "input_layernorm.weight", {m_spec.hidden});
        expect(prefix + "post_attention_layernorm.weight", {m_spec.hidden});
        const auto qkv = addGroup(block, SiteKind::AttentionIn,
            {{"self_attn.q_proj", query}, {"self_attn.k_proj", keyValue}, {"self_attn.v_proj", keyValue}}, m_spec.hidden,
            m_description.biasQkv, "input_layernorm.weight", "self_attn.qkv_proj");
        if (addGroup(block, SiteKind::ValueOut, {{"self_attn.o_proj", m_spec.hidden}}, query, m_description.biasO, {}, {})[0]
            >= 0) {
            SiteSpec& site = m_spec.sites.back();
            site.producerLayer = qkv[2];
            site.diagonalFolds = m_spec.kvHeads == m_spec.heads && qkv[2] >= 0;
            if (m_spec.kvHeads != m_spec.heads)
                site.whyNot = fmt::format(
                    "v has {} heads for {} query heads: scales would have to be tied", m_spec.kvHeads, m_spec.heads);
            else if (qkv[2] < 0)
                site.whyNot = "v_proj is missing";
        }
        const auto mlp = addGroup(block, SiteKind::MlpIn, {{"mlp.gate_proj", m_spec.ffn}, {"mlp.up_proj", m_spec.ffn}},
            m_spec.hidden, m_description.biasMlp, "post_attention_layernorm.weight", "mlp.gate_up_proj");
        if (addGroup(block, SiteKind::UpDown, {{"mlp.down_proj", m_spec.hidden}}, m_spec.ffn, m_description.biasMlp, {}, {})[0]
            >= 0) {
            SiteSpec& site = m_spec.sites.back();
            site.producerLayer = mlp[1];
            site.diagonalFolds = mlp[1] >= 0;
            if (mlp[1] < 0)
                site.whyNot = "up_proj is missing";
        }
    }

    void unexplained()
    {
        for (const io::TensorInfo& tensor : m_checkpoint.tensors()) {
            const std::string& name = m_names.hfName(tensor);
            if (name.ends_with("rotary_emb.inv_freq"))
                continue; // a buffer that old checkpoints carry; it is computed
            const bool known = m_explained.contains(&tensor);
            if (!known)
                problem("warning", name, m_description.source + " does not explain this tensor: it is not used");
            if (name != m_spec.rope.factors && !(m_spec.tiedEmbeddings && name == "lm_head.weight"))
                m_spec.parameters += elementCount(tensor.shape).value_or(0);
        }
    }

    /// The config's type is what transformers rounds to when it loads; here tensors are read as they are stored.
    void checkDtype()
    {
        const auto& layers = m_spec.layers;
        if (layers.empty())
            return;
        const DType stored = layers.front().dtype;
        const std::string name = stored == DType::BF16 ? "bfloat16"
            : stored == DType::F16                     ? "float16"
            : stored == DType::F32                     ? "float32"
                                                       : "";
        const bool uniform
            = std::all_of(layers.begin(), layers.end(), [&](const LayerSpec& layer) { return layer.dtype == stored; });
        if (uniform && !name.empty() && !m_description.dtype.empty() && m_description.dtype != name)
            problem("warning", m_description.source + ": dtype",
                "says " + m_description.dtype + ", but the layers are stored as " + name
                    + ": they are read as stored; transformers would round them");
    }

    void limitProblems()
    {
        auto& all = m_spec.problems;
        const auto rank = [](const Problem& p) { return p.severity == "error" ? 0 : p.severity == "warning" ? 1 : 2; };
        std::stable_sort(all.begin(), all.end(), [&](const Problem& a, const Problem& b) { return rank(a) < rank(b); });
        if (all.size() <= kMostProblems)
            return;
        const std::size_t more = all.size() - kMostProblems;
        all.resize(kMostProblems);
        all.push_back({"info", m_description.source, fmt::format("and {} more problems of the same kinds", more)});
    }

    Description m_description;
    ModelSpec& m_spec;
    const TensorNames& m_names;
    const io::Checkpoint& m_checkpoint;
    std::unordered_set<const io::TensorInfo*> m_explained;
};

} // namespace

ModelSpec buildLlamaSpec(Description description, const TensorNames& names, const io::Checkpoint& checkpoint)
{
    return Builder(std::move(description), names, checkpoint).build();
}

ModelSpec buildPlainSpec(const io::Checkpoint& checkpoint)
{
    constexpr std::string_view kSuffix = ".weight";
    ModelSpec spec;
    spec.architecture = "plain tensors";
    for (const io::TensorInfo& tensor : checkpoint.tensors()) {
        spec.parameters += elementCount(tensor.shape).value_or(0);
        const std::string_view name = tensor.name;
        if (tensor.shape.size() != 2 || !name.ends_with(kSuffix) || name.size() == kSuffix.size())
            continue;
        if (tensor.dtype != DType::Packed && !dtypeInfo(tensor.dtype).decodable) {
            spec.problems.push_back(
                {"warning", tensor.name, fmt::format("has type {}, which is not decoded: it is no layer", typeText(tensor))});
            continue;
        }
        LayerSpec layer;
        layer.name = std::string(name.substr(0, name.size() - kSuffix.size()));
        layer.module = layer.name;
        layer.role = roleOf(layer.name);
        layer.out = tensor.shape[0];
        layer.in = tensor.shape[1];
        layer.dtype = tensor.dtype;
        layer.weight = tensor.name;
        layer.inputId = layer.name;
        layer.site = static_cast<int>(spec.sites.size());
        SiteSpec site;
        site.inputId = layer.name;
        site.consumers = {static_cast<LayerIndex>(spec.layers.size())};
        site.whyNot = "a plain matrix has no producer to fold into";
        spec.sites.push_back(std::move(site));
        spec.layers.push_back(std::move(layer));
    }
    if (spec.layers.empty())
        spec.problems.push_back(
            {"warning", checkpoint.path().string(), "holds no 2-D tensor NAME.weight: there is no layer to work on"});
    return spec;
}

} // namespace qs::model
