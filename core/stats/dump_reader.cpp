// SPDX-License-Identifier: Apache-2.0
#include "core/stats/dump.h"

#include "core/base/digest.h"
#include "core/exec/parallel.h"
#include "core/stats/check_process.h"
#include "core/stats/dump_layout.h"
#include "core/stats/hdf5_walk.h"
#include "core/tensor/dtype.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <functional>
#include <limits>
#include <mutex>
#include <set>
#include <span>

namespace qs::stats {
namespace fs = std::filesystem;

namespace {

constexpr Index kIdTokens = 16; // raw tokens of each input that enter the id
constexpr Index kTokensAtOnce = 2048; // raw tokens that are read and added at a time
constexpr const char* kStatNames[] = {"sum", "sumsq", "sumabs", "m3", "m4", "min", "max"};

std::string shapeOf(const h5::Extents& extents)
{
    return shapeText(Shape(extents.begin(), extents.end()));
}

class Hdf5Dump final : public CalibrationDump {
public:
    Hdf5Dump(fs::path path, h5::Id file, Backend& backend)
        : m_path(std::move(path))
        , m_file(std::move(file))
        , m_backend(backend)
    {
    }
    Hdf5Dump(const Hdf5Dump&) = delete;
    Hdf5Dump& operator=(const Hdf5Dump&) = delete;
    ~Hdf5Dump() override
    {
        const auto held = h5::lock();
        m_file = h5::Id();
    }

    /// Reads attributes and extents; no data.
    Expected<void> index()
    {
        const auto held = h5::lock();
        const h5::Id root = h5::group(H5Gopen2(m_file, "/", H5P_DEFAULT));
        const std::string schema = h5::readString(root, "schema");
        const bool ours = schema == kSchema;
        if (!ours && schema.starts_with("act-dump/"))
            return fail(Errc::Unsupported, "has schema '" + schema + "'; only " + kSchema + " is read", m_path.string(),
                "capture again");
        std::vector<std::string> arrays;
        QS_CHECK(located(h5::walk(m_file, [&](const h5::DatasetInfo& info, hid_t) -> Expected<void> {
            m_sets.emplace(info.path, info);
            return {};
        })));
        for (const auto& [path, info] : m_sets) {
            if (ours && path.starts_with("stats/"))
                continue;
            if (info.isActivations() && !path.ends_with(":output"))
                m_raw.emplace(
                    path.ends_with(kInputSuffix) ? path.substr(0, path.size() - std::string_view(kInputSuffix).size()) : path,
                    path);
        }
        if (ours) {
            QS_CHECK(indexStats());
            QS_CHECK(indexLayers());
            readInfo(root);
        }
        for (const auto& [name, path] : m_raw)
            if (path.ends_with(kInputSuffix))
                m_layers.emplace(name, name);
        if (m_stats.empty() && m_raw.empty())
            return fail(Errc::Format, "holds neither statistics nor a 2-D or 3-D float dataset", m_path.string());
        return {};
    }

    const fs::path& path() const override { return m_path; }
    const DumpInfo& info() const override { return m_info; }
    const std::string& id() const override
    {
        std::call_once(m_idMade, [this] { m_id = contentId(); });
        return m_id;
    }
    std::string fileVersion() const override { return fileIdentity(m_path); }

    std::vector<std::string> inputIds() const override
    {
        std::set<std::string> all;
        for (const auto& [id, link] : m_stats)
            all.insert(id);
        for (const auto& [name, path] : m_raw) {
            const auto layer = m_layers.find(name);
            all.insert(layer == m_layers.end() ? name : layer->second);
        }
        return {all.begin(), all.end()};
    }
    std::string inputOf(const std::string& layer) const override
    {
        const auto found = m_layers.find(layer);
        return found == m_layers.end() ? std::string() : found->second;
    }
    std::vector<std::string> layers() const override
    {
        std::vector<std::string> all;
        for (const auto& [layer, input] : m_layers)
            all.push_back(layer);
        return all;
    }
    Index widthOf(const std::string& layer) const override
    {
        const std::string input = inputOf(layer);
        if (m_stats.contains(input))
            return static_cast<Index>(m_sets.at(m_stats.at(input) + "/fit/sum").extents[0]);
        const h5::DatasetInfo* raw = rawOf(layer);
        return raw ? static_cast<Index>(raw->extents.back()) : 0;
    }
    bool hasRawTokens(const std::string& layer) const override { return rawOf(layer) != nullptr; }
    bool hasGram(const std::string& layer) const override
    {
        const auto stored = m_stats.find(inputOf(layer));
        return stored == m_stats.end() ? hasRawTokens(layer) : m_sets.contains(stored->second + "/fit/gram");
    }

    Expected<std::shared_ptr<const InputStats>> stats(const std::string& layer) const override
    {
        const std::string input = inputOf(layer).empty() && m_raw.contains(layer) ? layer : inputOf(layer);
        if (input.empty())
            return fail(Errc::NotFound, "the dump " + m_path.string() + " does not cover this layer", layer,
                "capture again, or map its datasets to layers");
        const std::lock_guard lock(m_mutex);
        if (auto kept = m_kept[input].lock())
            return kept;
        const h5::DatasetInfo* raw = rawOf(layer);
        if (!m_stats.contains(input) && !raw)
            return misshapen("layers/" + layer, "names the input " + input + ", of which there is nothing");
        auto loaded = m_stats.contains(input) ? readStats(m_stats.at(input)) : computeStats(*raw);
        if (!loaded)
            return tl::unexpected(std::move(loaded).error());
        auto shared = std::make_shared<const InputStats>(std::move(*loaded));
        m_kept[input] = shared;
        return std::shared_ptr<const InputStats>(std::move(shared));
    }

    Expected<RowMatrix> rawTokens(const std::string& layer, Index limit) const override
    {
        const h5::DatasetInfo* raw = rawOf(layer);
        if (!raw)
            return fail(Errc::NotFound, "the dump " + m_path.string() + " holds no raw tokens of this layer", layer,
                "capture with --keep-tokens");
        const Index tokens = tokensOf(*raw);
        return readTokens(*raw, 0, limit > 0 ? std::min(limit, tokens) : tokens);
    }

    Expected<std::vector<std::vector<std::int32_t>>> tokenIds() const override
    {
        const auto found = m_sets.find("tokens");
        if (found == m_sets.end() || found->second.extents.size() != 2 || found->second.typeClass != H5T_INTEGER
            || m_info.producer.empty())
            return fail(Errc::NotFound, "the dump holds no token ids", m_path.string());
        const auto rows = static_cast<std::size_t>(found->second.extents[0]);
        const auto cols = static_cast<std::size_t>(found->second.extents[1]);
        std::vector<std::int32_t> flat(rows * cols);
        const auto held = h5::lock();
        const h5::Id set = open("tokens");
        if (!set || (!flat.empty() && H5Dread(set, H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, flat.data()) < 0))
            return unreadable("tokens");
        std::vector<std::vector<std::int32_t>> result(rows);
        for (std::size_t r = 0; r < rows; ++r)
            result[r].assign(flat.begin() + static_cast<std::ptrdiff_t>(r * cols),
                flat.begin() + static_cast<std::ptrdiff_t>((r + 1) * cols));
        return result;
    }

private:
    tl::unexpected<Error> unreadable(const std::string& path) const
    {
        return fail(Errc::Format, "cannot be read: " + h5::lastMessage(), m_path.string() + ": " + path,
            "the file is damaged: capture again");
    }
    tl::unexpected<Error> misshapen(const std::string& path, const std::string& what) const
    {
        return fail(Errc::Format, what, m_path.string() + ": " + path);
    }
    Expected<void> located(Expected<void> result) const
    {
        if (!result)
            result.error().where
                = result.error().where.empty() ? m_path.string() : m_path.string() + ": " + result.error().where;
        return result;
    }
    h5::Id open(const std::string& path) const { return h5::dataset(H5Dopen2(m_file, path.c_str(), H5P_DEFAULT)); }

    void readInfo(hid_t root)
    {
        m_info.modelId = h5::readString(root, "model_id");
        m_info.tokenizerId = h5::readString(root, "tokenizer_id");
        m_info.datasetId = h5::readString(root, "dataset_id");
        m_info.policy = h5::readString(root, "policy");
        m_info.created = h5::readString(root, "created");
        m_info.producer = h5::readString(root, "producer");
        m_info.seqLen = h5::readInteger(root, "seq_len", 0);
        m_info.tokens = h5::readInteger(root, "n_tokens", 0);
        m_info.seed = h5::readUnsigned(root, "seed", 0);
    }

    /// Every /stats/<input> has a complete fit part; holdout and sink, where present, are as wide.
    Expected<void> indexStats()
    {
        for (const auto& [path, info] : m_sets) {
            constexpr std::string_view kMark = "/fit/sum";
            if (!path.starts_with("stats/") || !path.ends_with(kMark))
                continue;
            const std::string base = path.substr(0, path.size() - kMark.size());
            m_stats.emplace(nameOfLink(std::string_view(base).substr(6)), base);
            if (info.extents.size() != 1 || info.extents[0] < 1 || info.extents[0] > static_cast<hsize_t>(kWidest))
                return misshapen(path, "must be a vector of 1.." + std::to_string(kWidest) + " channels");
            for (const char* part : {"fit", "holdout"})
                if (std::string_view(part) == "fit" || m_sets.contains(base + "/" + part + "/sum"))
                    QS_CHECK(checkPart(base + "/" + part, info.extents[0], kStatNames));
            for (const char* part : {"/sink", "/holdout_sink"})
                if (m_sets.contains(base + part + "/min"))
                    QS_CHECK(checkPart(base + part, info.extents[0], {kStatNames[5], kStatNames[6], kStatNames[1]}));
        }
        return {};
    }
    Expected<void> checkPart(const std::string& part, hsize_t channels, std::initializer_list<const char*> names) const
    {
        const std::vector<const char*> list(names);
        return checkPart(part, channels, std::span<const char* const>(list));
    }
    Expected<void> checkPart(const std::string& part, hsize_t channels, std::span<const char* const> names) const
    {
        for (const char* name : names) {
            const auto found = m_sets.find(part + "/" + name);
            if (found == m_sets.end())
                return misshapen(part + "/" + name, "is missing");
            if (found->second.extents != h5::Extents{channels} || found->second.typeClass != H5T_FLOAT)
                return misshapen(found->first,
                    fmt::format("must be a float vector of {} channels, is {}", channels, shapeOf(found->second.extents)));
        }
        const auto count = m_sets.find(part + "/count");
        if (count == m_sets.end() || !count->second.extents.empty() || count->second.typeClass != H5T_INTEGER)
            return misshapen(part + "/count", "must be an integer scalar");
        const auto gram = m_sets.find(part + "/gram");
        if (gram != m_sets.end()
            && (gram->second.extents != h5::Extents{channels, channels} || gram->second.typeClass != H5T_FLOAT))
            return misshapen(
                gram->first, fmt::format("must be {0} x {0} floats, is {1}", channels, shapeOf(gram->second.extents)));
        return {};
    }

    Expected<void> indexLayers()
    {
        if (H5Lexists(m_file, "layers", H5P_DEFAULT) <= 0)
            return {};
        const h5::Id layers = h5::group(H5Gopen2(m_file, "layers", H5P_DEFAULT));
        std::vector<std::string> names;
        const auto collect = [](hid_t, const char* name, const H5L_info_t* link, void* data) -> herr_t {
            if (link->type == H5L_TYPE_HARD)
                static_cast<std::vector<std::string>*>(data)->emplace_back(name);
            return 0;
        };
        hsize_t position = 0;
        if (!layers || H5Literate(layers, H5_INDEX_NAME, H5_ITER_INC, &position, collect, &names) < 0)
            return unreadable("layers");
        for (const std::string& name : names) {
            const h5::Id layer = h5::object(H5Oopen(layers, name.c_str(), H5P_DEFAULT));
            const std::string input = layer ? h5::readString(layer, "input_id") : std::string();
            if (input.empty())
                return misshapen("layers/" + name, "has no attribute input_id");
            m_layers.emplace(nameOfLink(name), input);
        }
        return {};
    }

    /// The raw dataset of a layer: its own, that of its input, or that of a layer with the same input.
    const h5::DatasetInfo* rawOf(const std::string& layer) const
    {
        for (const std::string& name : {layer, inputOf(layer)})
            if (const auto found = m_raw.find(name); found != m_raw.end())
                return &m_sets.at(found->second);
        const std::string input = inputOf(layer);
        if (!input.empty())
            for (const auto& [other, otherInput] : m_layers)
                if (otherInput == input)
                    if (const auto found = m_raw.find(other); found != m_raw.end())
                        return &m_sets.at(found->second);
        return nullptr;
    }

    static Index tokensOf(const h5::DatasetInfo& raw)
    {
        return static_cast<Index>(raw.extents.size() == 3 ? raw.extents[0] * raw.extents[1] : raw.extents[0]);
    }

    /// Tokens [first, first + count) as float32, samples one after the other.
    Expected<RowMatrix> readTokens(const h5::DatasetInfo& raw, Index first, Index count) const
    {
        const auto channels = static_cast<Index>(raw.extents.back());
        if (channels > kWidest || count > std::numeric_limits<std::int32_t>::max())
            return misshapen(raw.path, fmt::format("{} is larger than can be read at once", shapeOf(raw.extents)));
        RowMatrix result(count, channels);
        const auto held = h5::lock();
        const h5::Id set = open(raw.path);
        if (!set)
            return unreadable(raw.path);
        const Index perSample = raw.extents.size() == 3 ? std::max<Index>(1, static_cast<Index>(raw.extents[1]))
                                                        : std::numeric_limits<Index>::max();
        for (Index done = 0; done < count;) { // a piece lies within one sample
            const Index sample = (first + done) / perSample;
            const Index token = (first + done) % perSample;
            const Index rows = std::min({count - done, perSample - token, kTokensAtOnce});
            h5::Extents start{static_cast<hsize_t>(token), 0},
                block{static_cast<hsize_t>(rows), static_cast<hsize_t>(channels)};
            if (raw.extents.size() == 3) {
                start.insert(start.begin(), static_cast<hsize_t>(sample));
                block.insert(block.begin(), 1);
            }
            if (!readBlock(set, raw, start, block, result.data() + done * channels))
                return unreadable(raw.path);
            done += rows;
        }
        return result;
    }

    static bool readBlock(
        hid_t set, const h5::DatasetInfo& raw, const h5::Extents& start, const h5::Extents& block, float* target)
    {
        hsize_t elements = 1;
        for (const hsize_t extent : block)
            elements *= extent;
        if (elements == 0)
            return true;
        const h5::Id source = h5::space(H5Dget_space(set));
        const h5::Id memory = h5::space(H5Screate_simple(static_cast<int>(block.size()), block.data(), nullptr));
        if (!source || H5Sselect_hyperslab(source, H5S_SELECT_SET, start.data(), nullptr, block.data(), nullptr) < 0)
            return false;
        if (!raw.bfloat16)
            return H5Dread(set, H5T_NATIVE_FLOAT, memory, source, H5P_DEFAULT, target) >= 0;
        std::vector<std::uint16_t> bits(elements);
        if (H5Dread(set, H5T_NATIVE_UINT16, memory, source, H5P_DEFAULT, bits.data()) < 0)
            return false;
        std::transform(bits.begin(), bits.end(), target, bfloat16ToFloat);
        return true;
    }

    Expected<InputStats> computeStats(const h5::DatasetInfo& raw) const
    {
        InputStats stats;
        const Index tokens = tokensOf(raw);
        const auto perSample = raw.extents.size() == 3 ? static_cast<Index>(raw.extents[1]) : Index{0};
        for (Index first = 0; first < tokens; first += kTokensAtOnce) {
            QS_TRY(x, readTokens(raw, first, std::min(kTokensAtOnce, tokens - first)));
            std::vector<Index> positions;
            for (Index t = 0; perSample > 0 && t < x.rows(); ++t)
                positions.push_back((first + t) % perSample);
            accumulate(stats.fit, stats.sink, x, positions, true, m_backend);
        }
        if (tokens == 0)
            return misshapen(raw.path, "holds no tokens");
        return stats;
    }

    std::string contentId() const
    {
        Digest digest;
        digest.add(std::string_view("dump content 1")).add(m_info.modelId).add(m_info.datasetId).add(m_info.policy);
        digest.add(m_info.tokens).add(m_info.seqLen);
        const auto held = h5::lock();
        for (const auto& [path, set] : m_sets) {
            digest.add(path);
            for (const hsize_t extent : set.extents)
                digest.add(static_cast<std::int64_t>(extent));
        }
        for (const auto& [path, set] : m_sets) {
            // What cannot be read is told by whoever needs it.
            if (path.ends_with("/count")) {
                if (Index count = 0; readScalar(path, count))
                    digest.add(count);
            } else if (set.extents.size() == 1 && (path.ends_with("/sum") || path.ends_with("/sumsq"))) {
                if (std::vector<double> values(static_cast<std::size_t>(set.extents[0])); readVector(path, values))
                    digest.add(std::as_bytes(std::span(values)));
            }
        }
        for (const auto& [name, path] : m_raw) {
            const h5::DatasetInfo& set = m_sets.at(path);
            if (const auto x = readTokens(set, 0, std::min<Index>(kIdTokens, tokensOf(set))))
                digest.add(std::as_bytes(x->values()));
        }
        return digest.hex();
    }

    Expected<InputStats> readStats(const std::string& base) const
    {
        const auto held = h5::lock();
        InputStats stats;
        const auto channels = static_cast<Index>(m_sets.at(base + "/fit/sum").extents[0]);
        QS_CHECK(readPart(base + "/fit", channels, stats.fit));
        if (m_sets.contains(base + "/holdout/sum"))
            QS_CHECK(readPart(base + "/holdout", channels, stats.holdout));
        QS_CHECK(readSink(base + "/sink", channels, stats.sink));
        QS_CHECK(readSink(base + "/holdout_sink", channels, stats.holdoutSink));
        return stats;
    }
    Expected<void> readSink(const std::string& path, Index channels, ChannelSums& sums) const
    {
        sums = ChannelSums(channels);
        if (!m_sets.contains(path + "/min"))
            return {};
        QS_CHECK(readScalar(path + "/count", sums.count));
        QS_CHECK(readVector(path + "/min", sums.min));
        QS_CHECK(readVector(path + "/max", sums.max));
        return readVector(path + "/sumsq", sums.sumsq);
    }
    Expected<void> readPart(const std::string& path, Index channels, InputPart& part) const
    {
        part.channels = ChannelSums(channels);
        QS_CHECK(readScalar(path + "/count", part.channels.count));
        if (part.channels.count < 0)
            return misshapen(path + "/count", "is negative");
        if (m_sets.contains(path + "/non_finite"))
            QS_CHECK(readScalar(path + "/non_finite", part.channels.nonFinite));
        std::vector<double>* const targets[] = {&part.channels.sum, &part.channels.sumsq, &part.channels.sumabs,
            &part.channels.m3, &part.channels.m4, &part.channels.min, &part.channels.max};
        for (std::size_t i = 0; i < std::size(targets); ++i)
            QS_CHECK(readVector(path + "/" + kStatNames[i], *targets[i]));
        return m_sets.contains(path + "/gram") ? readGram(path + "/gram", channels, part.gram) : Expected<void>();
    }
    Expected<void> readScalar(const std::string& path, Index& target) const
    {
        const h5::Id set = open(path);
        std::int64_t value = 0;
        if (!set || h5::extentsOf(set).size() > 0 || H5Dread(set, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, &value) < 0)
            return unreadable(path);
        target = value;
        return {};
    }
    Expected<void> readVector(const std::string& path, std::vector<double>& target) const
    {
        const h5::Id set = open(path);
        if (!set || h5::extentsOf(set) != h5::Extents{target.size()}
            || H5Dread(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, target.data()) < 0)
            return unreadable(path);
        return {};
    }
    Expected<void> readGram(const std::string& path, Index channels, MatrixD& gram) const
    {
        gram = MatrixD(channels, channels);
        const h5::Id set = open(path);
        const auto d = static_cast<hsize_t>(channels);
        if (!set || h5::extentsOf(set) != h5::Extents{d, d})
            return unreadable(path);
        const h5::Id memory = h5::space(H5Screate_simple(2, h5::Extents{d, d}.data(), nullptr));
        const h5::Id source = h5::space(H5Dget_space(set));
        for (Index i = 0; i < channels; i += kTile) { // the tiles left of and on the diagonal
            const hsize_t start[] = {static_cast<hsize_t>(i), 0};
            const Index rows = std::min(kTile, channels - i);
            const hsize_t block[] = {static_cast<hsize_t>(rows), static_cast<hsize_t>(i + rows)};
            if (H5Sselect_hyperslab(source, H5S_SELECT_SET, start, nullptr, block, nullptr) < 0
                || H5Sselect_hyperslab(memory, H5S_SELECT_SET, start, nullptr, block, nullptr) < 0
                || H5Dread(set, H5T_NATIVE_DOUBLE, memory, source, H5P_DEFAULT, gram.data()) < 0)
                return unreadable(path);
        }
        parallelFor(0, channels, 64, [&](Index begin, Index end) {
            for (Index r = begin; r < end; ++r)
                for (Index c = r + 1; c < channels; ++c)
                    gram(r, c) = gram(c, r);
        });
        for (Index r = 0; r < channels; ++r) {
            if (gram(r, r) < 0)
                return misshapen(path, fmt::format("has a negative sum of squares at ({0}, {0})", r));
            for (Index c = 0; c <= r; ++c)
                if (!std::isfinite(gram(r, c)))
                    return misshapen(path, fmt::format("holds NaN or Inf at ({}, {})", r, c));
        }
        return {};
    }

    fs::path m_path;
    h5::Id m_file;
    Backend& m_backend;
    DumpInfo m_info;
    mutable std::once_flag m_idMade;
    mutable std::string m_id;
    std::map<std::string, h5::DatasetInfo> m_sets; // by path
    std::map<std::string, std::string> m_stats; // input id -> group
    std::map<std::string, std::string> m_raw; // name without ":input" -> dataset
    std::map<std::string, std::string> m_layers; // layer -> input id
    mutable std::mutex m_mutex;
    mutable std::map<std::string, std::weak_ptr<const InputStats>> m_kept; // guarded by m_mutex
};

} // namespace

Expected<std::shared_ptr<const CalibrationDump>> openDump(const fs::path& path, Backend& backend)
{
    std::error_code code;
    if (!fs::is_regular_file(path, code))
        return fail(
            Errc::NotFound, code ? "cannot be read: " + code.message() : "is not a file", path.string(), "check the path");
    if (!isTrusted(path)) {
        QS_CHECK(checkByChild(path));
        markTrusted(path);
    }
    const auto held = h5::lock();
    h5::Id file = h5::file(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT));
    if (!file)
        return fail(Errc::Format, "is not a readable HDF5 file: " + h5::lastMessage(), path.string());
    auto dump = std::make_shared<Hdf5Dump>(path, std::move(file), backend);
    QS_CHECK(dump->index());
    return std::shared_ptr<const CalibrationDump>(std::move(dump));
}

} // namespace qs::stats
