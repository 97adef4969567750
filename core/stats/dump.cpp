// SPDX-License-Identifier: Apache-2.0
#include "core/stats/dump.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <set>

namespace qs::stats {
namespace {

/// One identity for two: the one that is known, or both.
std::string joined(const std::string& a, const std::string& b)
{
    if (a == b || b.empty())
        return a;
    return a.empty() ? b : a + "+" + b;
}

std::vector<std::string> layersOf(const CalibrationDump& dump, const std::string& input)
{
    std::vector<std::string> result;
    for (const std::string& layer : dump.layers())
        if (dump.inputOf(layer) == input)
            result.push_back(layer);
    return result;
}

/// The raw tokens of both; those of one run only once.
Expected<void> mergeRaw(const CalibrationDump& a, const CalibrationDump& b, bool sameRun, const std::string& layer,
    const std::string& input, DumpWriter& writer)
{
    RowMatrix parts[2];
    Index rows = 0, cols = 0;
    for (int i = 0; i < 2; ++i) {
        const CalibrationDump& dump = i == 0 ? a : b;
        if (!dump.hasRawTokens(layer))
            continue;
        QS_TRY(tokens, dump.rawTokens(layer));
        if (sameRun && i == 1 && tokens.rows() <= parts[0].rows())
            continue;
        if (sameRun)
            parts[0] = {}, rows = 0;
        parts[i] = std::move(tokens);
        rows += parts[i].rows();
        cols = std::max(cols, parts[i].cols());
    }
    if (rows == 0)
        return {};
    RowMatrix all(rows, cols);
    Index row = 0;
    for (const RowMatrix& part : parts)
        for (Index r = 0; r < part.rows(); ++r)
            std::copy(part.row(r).begin(), part.row(r).end(), all.row(row++).begin());
    return writer.addRawTokens(input, all);
}

using TokenIds = std::vector<std::vector<std::int32_t>>;

/// The windows' token ids; none where the dump holds no ids.
Expected<TokenIds> idsOf(const CalibrationDump& dump)
{
    auto ids = dump.tokenIds();
    if (!ids && ids.error().code == Errc::NotFound)
        return TokenIds();
    return ids;
}

/// Whether the ids are those of all tokens: a merge with a dump without ids knows some of them.
bool complete(const TokenIds& ids, Index tokens)
{
    Index count = 0;
    for (const auto& window : ids)
        count += static_cast<Index>(window.size());
    return count == tokens;
}

/// The texts that a dataset id names; a merged dump's names several.
std::set<std::string> textsOf(const std::string& datasetId)
{
    std::set<std::string> texts;
    for (std::size_t begin = 0; begin < datasetId.size();) {
        const std::size_t end = std::min(datasetId.find('+', begin), datasetId.size());
        texts.insert(datasetId.substr(begin, end - begin));
        begin = end + 1;
    }
    return texts;
}

bool shareText(const std::string& a, const std::string& b)
{
    const std::set<std::string> texts = textsOf(a), others = textsOf(b);
    return std::any_of(texts.begin(), texts.end(), [&](const std::string& text) { return others.contains(text); });
}

/// Whether both hold statistics of one input.
bool shareInput(const CalibrationDump& a, const CalibrationDump& b)
{
    const std::vector<std::string> layers = b.layers();
    return std::any_of(layers.begin(), layers.end(), [&](const std::string& layer) { return !a.inputOf(layer).empty(); });
}

/// What two dumps were captured from.
struct Texts {
    TokenIds ids; ///< Of both, windows that both hold once.
    Index tokens = 0;
    bool sameRun = false; ///< The same windows, held out alike: an input of both was collected from the same tokens.
};

/// Error Mismatch when an input would get tokens twice: what one dump held out could then be in the other's fit part.
Expected<Texts> mergeTexts(const CalibrationDump& a, const CalibrationDump& b)
{
    QS_TRY(first, idsOf(a));
    QS_TRY(second, idsOf(b));
    const bool known = complete(first, a.info().tokens) && complete(second, b.info().tokens);
    const bool sameText = shareText(a.info().datasetId, b.info().datasetId);
    const bool sameInput = shareInput(a, b);
    const auto overlap = [&](const std::string& what) {
        return fail(Errc::Mismatch,
            fmt::format(
                "{} {}: tokens would count twice, and what one holds out is in the other's fit part", what, a.path().string()),
            b.path().string(), "capture once with more samples, or capture another text");
    };
    if (sameInput && sameText && !known)
        return overlap("is of the same text as");
    if (!first.empty() && !second.empty() && first.front().size() != second.front().size()) {
        if (sameInput && sameText)
            return overlap("is of the same text, in other windows, as");
        return fail(Errc::Mismatch,
            fmt::format("has windows of {} tokens, {} of {}: one dump cannot hold the token ids of both", second.front().size(),
                a.path().string(), first.front().size()),
            b.path().string(), "capture both with the same window length");
    }
    const std::set<std::vector<std::int32_t>> windows(first.begin(), first.end());
    Texts result{std::move(first), a.info().tokens + b.info().tokens};
    if (!known && sameText && a.info().tokens == b.info().tokens)
        result.tokens = a.info().tokens; // other inputs of the same run, as far as one can tell
    const std::size_t windowsOfSecond = second.size();
    std::size_t shared = 0;
    for (std::vector<std::int32_t>& window : second) {
        if (windows.contains(window)) {
            ++shared;
            result.tokens -= static_cast<Index>(window.size());
        } else {
            result.ids.push_back(std::move(window));
        }
    }
    result.sameRun = known && shared == windowsOfSecond && result.ids.size() == shared
        && a.info().datasetId == b.info().datasetId && a.info().seed == b.info().seed;
    if (sameInput && shared > 0 && !result.sameRun)
        return overlap(fmt::format("shares {} of its {} windows with", shared, windowsOfSecond));
    return result;
}

/// Whether two sums are of the same tokens. Runs with other thread counts may differ in rounding, other tokens differ by far
/// more.
bool sameTokens(const ChannelSums& a, const ChannelSums& b)
{
    constexpr double kRounding = 1e-4;
    return a.count == b.count && std::ranges::equal(a.sumsq, b.sumsq, [](double x, double y) {
        return std::abs(x - y) <= kRounding * std::max(std::abs(x), std::abs(y));
    });
}

/// An input that two dumps of one run hold: its statistics with the Gram of whichever has one.
struct United {
    std::shared_ptr<const InputStats> stats;
    bool gained = false; ///< The second dump has what the first lacks.
};

Expected<United> unite(const CalibrationDump& a, const CalibrationDump& b, const std::string& layer)
{
    QS_TRY(first, a.stats(layer));
    QS_TRY(second, b.stats(layer));
    if (!sameTokens(first->fit.channels, second->fit.channels)
        || !sameTokens(first->holdout.channels, second->holdout.channels))
        return fail(Errc::Mismatch,
            fmt::format("its sums differ from those in {}, though both name the same windows", a.path().string()),
            fmt::format("{}: {}", b.path().string(), layer), "capture both with the same program and model");
    const bool gained = !first->fit.hasGram() && second->fit.hasGram();
    return United{gained ? std::move(second) : std::move(first), gained};
}

} // namespace

Expected<void> checkDumpFits(const CalibrationDump& dump, const std::string& modelId, const std::vector<LayerWidth>& layers)
{
    if (!dump.info().modelId.empty() && !modelId.empty() && dump.info().modelId != modelId)
        return fail(Errc::Mismatch, "was captured from another model", dump.path().string(), "capture a dump of this model");
    bool covered = layers.empty();
    for (const LayerWidth& layer : layers) {
        const Index width = dump.widthOf(layer.layer);
        covered = covered || width > 0;
        if (width > 0 && width != layer.in)
            return fail(Errc::Mismatch, fmt::format("the dump's input has {} channels, the layer {}", width, layer.in),
                layer.layer, "the dump belongs to another model: capture one of this model");
    }
    if (!covered)
        return fail(Errc::Mismatch, "covers none of the model's layers", dump.path().string(),
            "capture a dump of this model, or name its datasets LAYER:input");
    return {};
}

Expected<void> mergeDumps(
    const CalibrationDump& a, const CalibrationDump& b, const std::filesystem::path& target, const JobContext& job)
{
    const DumpInfo& first = a.info();
    const DumpInfo& second = b.info();
    if (!first.modelId.empty() && !second.modelId.empty() && first.modelId != second.modelId)
        return fail(Errc::Mismatch, "was captured from another model than " + a.path().string(), b.path().string());
    if (first.policy != second.policy)
        return fail(Errc::Mismatch,
            "has policy '" + second.policy + "', but " + a.path().string() + " has '" + first.policy + "'", b.path().string());
    for (const std::string& layer : b.layers()) {
        const Index width = a.widthOf(layer);
        if (width > 0 && width != b.widthOf(layer))
            return fail(Errc::Mismatch,
                fmt::format("its input has {} channels in one dump and {} in the other", width, b.widthOf(layer)), layer);
        if (width > 0 && a.inputOf(layer) != b.inputOf(layer))
            return fail(Errc::Mismatch,
                "reads input " + a.inputOf(layer) + " in one dump and " + b.inputOf(layer) + " in the other", layer);
    }
    QS_TRY(texts, mergeTexts(a, b));
    DumpInfo info = first;
    info.modelId = first.modelId.empty() ? second.modelId : first.modelId;
    info.tokenizerId = joined(first.tokenizerId, second.tokenizerId);
    info.datasetId = joined(first.datasetId, second.datasetId);
    info.seqLen = first.seqLen == second.seqLen ? first.seqLen : 0;
    info.tokens = texts.tokens;
    info.created.clear();
    QS_TRY(writer, createDump(target, info));

    std::set<std::string> inputs;
    for (const CalibrationDump* dump : {&a, &b})
        for (const std::string& layer : dump->layers())
            inputs.insert(dump->inputOf(layer));
    std::size_t done = 0;
    bool gained = !texts.sameRun;
    for (const std::string& input : inputs) {
        QS_CHECK(job.poll());
        std::vector<std::string> layers = layersOf(a, input);
        const std::vector<std::string> more = layersOf(b, input);
        InputStats merged;
        const bool both = !layers.empty() && !more.empty();
        if (texts.sameRun && both) {
            QS_TRY(united, unite(a, b, layers.front()));
            merged = *united.stats;
            gained = gained || united.gained || (b.hasRawTokens(more.front()) && !a.hasRawTokens(layers.front()));
        } else {
            for (const auto& [dump, names] : {std::pair(&a, layers), {&b, more}}) {
                if (names.empty())
                    continue;
                QS_TRY(stats, dump->stats(names.front()));
                merged.merge(*stats);
            }
            gained = gained || layers.empty();
        }
        layers.insert(layers.end(), more.begin(), more.end());
        std::sort(layers.begin(), layers.end());
        layers.erase(std::unique(layers.begin(), layers.end()), layers.end());
        QS_CHECK(writer->addInput(input, layers, merged));
        QS_CHECK(mergeRaw(a, b, texts.sameRun, layers.front(), input, *writer));
        job.progress(static_cast<double>(++done) / static_cast<double>(inputs.size()), input);
    }
    if (!gained)
        return fail(Errc::Mismatch, fmt::format("holds nothing that {} lacks: it is of the same run", a.path().string()),
            b.path().string(), "capture another text, or the Gram matrices of other layers");
    if (!texts.ids.empty())
        QS_CHECK(writer->addTokenIds(texts.ids));
    QS_CHECK(job.poll());
    return writer->commit();
}

} // namespace qs::stats
