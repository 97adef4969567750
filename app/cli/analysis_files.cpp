// SPDX-License-Identifier: GPL-3.0-or-later
#include "analysis_files.h"

#include "core/base/digest.h"

#include <algorithm>
#include <fmt/format.h>
#include <iterator>
#include <limits>
#include <set>
#include <string_view>

namespace qs::cli {
namespace {

constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();

/// With a digest, an ending and a temporary name's suffix, below the 255 bytes of common file systems.
constexpr std::size_t kLongestStem = 180;

char lowerCase(char c)
{
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool plainCharacter(char c)
{
    const char lower = lowerCase(c);
    return (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9')
        || std::string_view("._-+@").find(c) != std::string_view::npos;
}

std::string lowerCase(std::string text)
{
    std::transform(text.begin(), text.end(), text.begin(), [](char c) { return lowerCase(c); });
    return text;
}

/// A field of CSV: quoted where the name holds what separates fields.
std::string csvField(const std::string& text)
{
    if (text.find_first_of(",\"\r\n") == std::string::npos)
        return text;
    std::string quoted = "\"";
    for (const char c : text)
        quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
    return quoted + "\"";
}

template <class T> double orMissing(const std::optional<T>& value)
{
    return value ? static_cast<double>(*value) : kMissing;
}

} // namespace

std::vector<std::string> fileStems(const std::vector<std::string>& layers)
{
    std::set<std::string> used = {"layers"}; // layers.json and layers.csv are of all of them
    std::vector<std::string> stems;
    for (const std::string& name : layers) {
        std::string stem;
        for (const char c : name)
            stem += plainCharacter(c) ? c : '_';
        if (stem.empty() || stem.front() == '.' || stem.front() == '-') // hidden, the folder itself, or like an option
            stem.insert(stem.begin(), '_');
        stem.resize(std::min(stem.size(), kLongestStem));
        const std::string digest = "-" + Digest().add(std::string_view(name)).hex().substr(0, 12);
        if (stem != name)
            stem += digest;
        while (!used.insert(lowerCase(stem)).second)
            stem += digest;
        stems.push_back(std::move(stem));
    }
    return stems;
}

void addVectors(nlohmann::json& entry, const analysis::InputAnalysis& input)
{
    entry["channel_stats"] = analysis::channelsToJson(input.table);
    if (input.hessian)
        entry["hessian"] = analysis::hessianToJson(*input.hessian, true);
}

std::string channelsCsv(const analysis::InputAnalysis& input)
{
    const analysis::ChannelTable& t = input.table;
    std::string csv = "channel,abs_max,abs_max_no_sinks,min,max,mean,mean_abs,rms,std,kurtosis,hessian_diagonal\n";
    for (std::size_t j = 0; j < t.absMax.size(); ++j)
        fmt::format_to(std::back_inserter(csv), "{},{},{},{},{},{},{},{},{},{},{}\n", j, t.absMax[j], t.absMaxNoSinks[j],
            t.min[j], t.max[j], t.mean[j], t.meanAbs[j], t.rms[j], t.std[j], t.kurtosis[j],
            input.hessian ? input.hessian->diagonal[j] : kMissing);
    return csv;
}

std::string layersCsvHead()
{
    return "layer,channels,tokens,int8_channels,max_over_median,kurtosis,trace,lambda_max,sensitivity,qsur_r,lost_bits,rank,"
           "condition,condition_live,qsur_rank,qsur_r_subspace\n";
}

std::string layersCsvLine(const std::string& name, const analysis::LayerAnalysis& layer)
{
    const analysis::InputAnalysis& input = *layer.input;
    const auto& h = input.hessian;
    const auto& q = input.qsur;
    return fmt::format("{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}\n", csvField(name), input.channels, input.tokens,
        input.outliers.int8Channels, input.outliers.maxOverMedian, input.outliers.kurtosis, h ? h->trace : kMissing,
        h ? h->lambdaMax : kMissing, layer.sensitivity.outputError.value_or(kMissing), q ? q->r : kMissing,
        q ? q->lostBits : kMissing, h ? orMissing(h->rank) : kMissing, h ? orMissing(h->condition) : kMissing,
        h ? orMissing(h->conditionLive) : kMissing, q ? orMissing(q->rank) : kMissing, q && q->rank ? q->rSub : kMissing);
}

} // namespace qs::cli
