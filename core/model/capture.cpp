// SPDX-License-Identifier: Apache-2.0
#include "core/model/capture.h"

#include "core/base/atomic_file.h"
#include "core/base/pattern.h"
#include "core/model/windows.h"
#include "core/stats/dump.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <map>
#include <optional>
#include <random>
#include <set>

namespace qs::model {
namespace {

constexpr Index kBatch = 2048; // tokens whose Gram is added at once: a large product, and the matrix is mirrored less often
constexpr std::size_t kLargestText = std::size_t{1} << 30;

/// Which windows are held out: the same for the same seed, count and share on every platform.
std::vector<bool> chooseHoldout(Index windows, double share, std::uint64_t seed)
{
    std::vector<bool> held(static_cast<std::size_t>(windows), false);
    if (windows < 2 || share <= 0.0)
        return held;
    const Index count = std::clamp<Index>(std::llround(static_cast<double>(windows) * share), 1, windows - 1);
    std::vector<std::size_t> order(held.size());
    for (std::size_t i = 0; i < order.size(); ++i)
        order[i] = i;
    std::mt19937_64 engine(seed);
    for (Index i = 0; i < count; ++i) { // the first `count` of a random permutation
        const auto left = static_cast<std::uint64_t>(windows - i);
        std::swap(order[static_cast<std::size_t>(i)], order[static_cast<std::size_t>(i) + engine() % left]);
        held[order[static_cast<std::size_t>(i)]] = true;
    }
    return held;
}

/// Tokens of one part that wait for being added.
struct Pending {
    RowMatrix rows;
    Index count = 0;
    std::vector<Index> positions;
};

/// What is collected of one layer input.
struct Collected {
    stats::InputStats stats;
    Pending fit, holdout;
    RowMatrix raw;
    Index rawCount = 0;
    bool gram = false;
};

class Collector final : public InputObserver {
public:
    Collector(const ModelSpec& spec, const std::optional<Pattern>& gramLayers, std::vector<bool> heldOut, Index length,
        Index keepTokens, stats::DumpWriter& writer, Backend& backend)
        : m_heldOut(std::move(heldOut))
        , m_positions(static_cast<std::size_t>(length))
        , m_keepTokens(keepTokens)
        , m_writer(writer)
        , m_backend(backend)
    {
        for (std::size_t i = 0; i < m_positions.size(); ++i)
            m_positions[i] = static_cast<Index>(i);
        for (const LayerSpec& layer : spec.layers) {
            m_layers[layer.inputId].push_back(layer.name);
            if (!gramLayers || gramLayers->matches(layer.name))
                m_gram.insert(layer.inputId);
        }
    }

    bool wants(const std::string& inputId) const override { return m_layers.contains(inputId); }

    Expected<void> observe(const std::string& inputId, Index window, MatrixView x) override
    {
        Collected& c = collected(inputId, x.cols());
        keepRaw(c, x);
        const bool held = m_heldOut[static_cast<std::size_t>(window)];
        Pending& pending = held ? c.holdout : c.fit;
        if (pending.count + x.rows() > kBatch)
            flush(c, held);
        if (x.rows() > kBatch) {
            add(c, held, x, m_positions);
            return {};
        }
        if (pending.rows.empty())
            pending.rows = RowMatrix(kBatch, x.cols());
        for (Index t = 0; t < x.rows(); ++t)
            std::copy(x.row(t).begin(), x.row(t).end(), pending.rows.row(pending.count + t).begin());
        pending.count += x.rows();
        pending.positions.insert(pending.positions.end(), m_positions.begin(), m_positions.end());
        return {};
    }

    Expected<void> blockDone(int, const JobContext& job) override
    {
        for (auto& [inputId, c] : m_collected) {
            QS_CHECK(job.poll());
            flush(c, false);
            flush(c, true);
            QS_CHECK(m_writer.addInput(inputId, m_layers.at(inputId), c.stats));
            if (c.rawCount > 0)
                QS_CHECK(m_writer.addRawTokens(inputId, c.raw.view().rowRange(0, c.rawCount)));
            m_spare[c.stats.channels()].push_back(std::move(c));
        }
        m_collected.clear();
        return {};
    }

private:
    /// Collections of earlier blocks are used again: allocating and freeing their matrices for every block tears the heap to
    /// pieces (three times the peak memory, measured).
    Collected& collected(const std::string& inputId, Index channels)
    {
        const auto found = m_collected.find(inputId);
        if (found != m_collected.end())
            return found->second;
        Collected c;
        if (auto& spare = m_spare[channels]; !spare.empty()) {
            c = std::move(spare.back());
            spare.pop_back();
            for (stats::InputPart* part : {&c.stats.fit, &c.stats.holdout}) {
                part->channels = stats::ChannelSums();
                std::fill(part->gram.values().begin(), part->gram.values().end(), 0.0);
            }
            c.stats.sink = c.stats.holdoutSink = stats::ChannelSums();
            c.rawCount = 0;
        }
        c.gram = m_gram.contains(inputId);
        if (!c.gram)
            c.stats.fit.gram = c.stats.holdout.gram = MatrixD();
        return m_collected.emplace(inputId, std::move(c)).first->second;
    }
    void keepRaw(Collected& c, MatrixView x) const
    {
        if (!c.gram || c.rawCount >= m_keepTokens)
            return;
        if (c.raw.empty())
            c.raw = RowMatrix(m_keepTokens, x.cols());
        for (Index t = 0; t < x.rows() && c.rawCount < m_keepTokens; ++t)
            std::copy(x.row(t).begin(), x.row(t).end(), c.raw.row(c.rawCount++).begin());
    }
    void add(Collected& c, bool held, MatrixView x, const std::vector<Index>& positions) const
    {
        stats::accumulate(
            held ? c.stats.holdout : c.stats.fit, held ? c.stats.holdoutSink : c.stats.sink, x, positions, c.gram, m_backend);
    }
    void flush(Collected& c, bool held) const
    {
        Pending& pending = held ? c.holdout : c.fit;
        if (pending.count == 0)
            return;
        add(c, held, pending.rows.view().rowRange(0, pending.count), pending.positions);
        pending.count = 0;
        pending.positions.clear();
    }

    std::vector<bool> m_heldOut;
    std::vector<Index> m_positions;
    Index m_keepTokens;
    stats::DumpWriter& m_writer;
    Backend& m_backend;
    std::map<std::string, std::vector<std::string>> m_layers; // by input id
    std::set<std::string> m_gram;
    std::map<std::string, Collected> m_collected;
    std::map<Index, std::vector<Collected>> m_spare; // by channels
};

} // namespace

Expected<void> capture(const std::shared_ptr<const Model>& model, const std::filesystem::path& text,
    const std::filesystem::path& target, const CaptureOptions& options, Backend& backend, const JobContext& job)
{
    constexpr Index kDefaultSamples = 128;
    if (options.samples < 0 || options.keepTokens < 0)
        return fail(Errc::InvalidArgument, "samples and kept tokens cannot be negative");
    if (!(options.holdoutShare >= 0.0 && options.holdoutShare < 1.0))
        return fail(Errc::InvalidArgument, "the share of held-out sequences must be in 0..1, without 1");
    std::optional<Pattern> gramLayers;
    if (!options.gramLayers.empty()) {
        QS_TRY(pattern, Pattern::compile(options.gramLayers));
        gramLayers = pattern;
        const auto& layers = model->spec().layers;
        if (std::none_of(layers.begin(), layers.end(), [&](const LayerSpec& layer) { return pattern.matches(layer.name); }))
            return fail(Errc::InvalidArgument, "matches no layer of the model", options.gramLayers,
                "PCRE2 syntax; it may match anywhere in a layer's name");
    }
    QS_TRY(content, readTextFile(text, kLargestText));
    job.progress(0.0, "tokenizing");
    auto tokenized = tokenizeText(*model, content, options.seqLen, options.samples > 0 ? options.samples : kDefaultSamples);
    if (!tokenized) {
        if (tokenized.error().where == "text")
            tokenized.error().where = text.string();
        return tl::unexpected(std::move(tokenized).error());
    }
    const Windows& windows = tokenized->windows;
    if (options.samples > tokenized->available)
        return fail(Errc::InvalidArgument,
            fmt::format(
                "holds {} windows of {} tokens, {} were asked for", tokenized->available, windows.length, options.samples),
            text.string(), "ask for fewer samples, or use a longer text");

    stats::DumpInfo info;
    info.modelId = model->id();
    info.tokenizerId = tokenized->tokenizerId;
    info.datasetId = tokenized->digest;
    info.seqLen = windows.length;
    info.tokens = windows.tokens();
    info.seed = options.seed;
    QS_TRY(writer, stats::createDump(target, info, {.gramFloat32 = options.gramFloat32}));
    QS_CHECK(writer->addTokenIds(windows.ids));
    Collector collector(model->spec(), gramLayers, chooseHoldout(windows.count(), options.holdoutShare, options.seed),
        windows.length, std::min(options.keepTokens, windows.tokens()), *writer, backend);
    QS_CHECK(Engine(model, backend).run(windows, nullptr, &collector, job.part(0.01, 0.99)));
    QS_CHECK(job.poll());
    QS_CHECK(writer->commit());
    job.progress(1.0, "written");
    return {};
}

double largestDumpBytes(const ModelSpec& spec, Index keptTokens)
{
    std::map<std::string, Index> inputs;
    for (const LayerSpec& layer : spec.layers)
        inputs[layer.inputId] = layer.in;
    double bytes = 0.0;
    for (const auto& [id, width] : inputs) {
        const auto channels = static_cast<double>(width);
        constexpr double kVectors = 2 * 7 + 3; // per channel: sums and extremes of both parts and of the sinks
        bytes += channels * (channels + 1.0 + kVectors) * sizeof(double);
        bytes += channels * static_cast<double>(keptTokens) * sizeof(float);
    }
    return bytes;
}

} // namespace qs::model
