// SPDX-License-Identifier: Apache-2.0
#include "core/model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace qs::model {
namespace {

constexpr double kTwoPi = 2.0 * std::numbers::pi;

void scaleLlama3(const RopeSpec& rope, std::vector<double>& f)
{
    for (double& value : f) {
        const double turns = rope.originalContext * value / kTwoPi; // rotations within the original context
        const double blend = std::clamp((turns - rope.lowFreqFactor) / (rope.highFreqFactor - rope.lowFreqFactor), 0.0, 1.0);
        value = (1.0 - blend) * value / rope.factor + blend * value;
    }
}

void scaleYarn(const RopeSpec& rope, std::vector<double>& f)
{
    const auto dims = static_cast<double>(rope.dims);
    // the dimension whose pair turns `turns` times within the original context
    const auto dimensionOf
        = [&](double turns) { return dims * std::log(rope.originalContext / (turns * kTwoPi)) / (2.0 * std::log(rope.theta)); };
    double low = dimensionOf(rope.betaFast);
    double high = dimensionOf(rope.betaSlow);
    if (rope.truncate) {
        low = std::floor(low);
        high = std::ceil(high);
    }
    low = std::max(low, 0.0);
    high = std::min(high, dims - 1.0);
    if (low == high)
        high += 0.001;
    for (std::size_t i = 0; i < f.size(); ++i) {
        const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
        f[i] = ramp * f[i] / rope.factor + (1.0 - ramp) * f[i];
    }
}

double attentionFactor(const RopeSpec& rope)
{
    if (rope.scaling != "yarn")
        return 1.0;
    if (rope.attentionFactor > 0.0)
        return rope.attentionFactor;
    return rope.factor > 1.0 ? 0.1 * std::log(rope.factor) + 1.0 : 1.0;
}

} // namespace

Expected<std::vector<double>> ropeFrequencies(const RopeSpec& rope)
{
    std::vector<double> f(static_cast<std::size_t>(rope.dims / 2));
    for (std::size_t i = 0; i < f.size(); ++i)
        f[i] = std::pow(rope.theta, -2.0 * static_cast<double>(i) / static_cast<double>(rope.dims));
    if (rope.scaling == "linear")
        for (double& value : f)
            value /= rope.factor;
    else if (rope.scaling == "llama3")
        scaleLlama3(rope, f);
    else if (rope.scaling == "yarn")
        scaleYarn(rope, f);
    else if (rope.scaling != "none")
        return fail(Errc::Unsupported, "rotary scaling '" + rope.scaling + "' is not implemented");
    return f;
}

Expected<RopeTable> RopeTable::create(const RopeSpec& rope, Index length, std::span<const float> factors)
{
    QS_TRY(f, ropeFrequencies(rope));
    if (!factors.empty() && factors.size() != f.size())
        return fail(Errc::Mismatch,
            "has " + std::to_string(factors.size()) + " factors for " + std::to_string(f.size()) + " pairs", rope.factors);
    for (std::size_t i = 0; i < factors.size(); ++i)
        f[i] /= static_cast<double>(factors[i]);
    const double magnitude = attentionFactor(rope);
    RopeTable table;
    table.m_cos = RowMatrix(length, static_cast<Index>(f.size()));
    table.m_sin = RowMatrix(length, static_cast<Index>(f.size()));
    for (Index position = 0; position < length; ++position)
        for (std::size_t i = 0; i < f.size(); ++i) {
            const double angle = static_cast<double>(position) * f[i];
            table.m_cos(position, static_cast<Index>(i)) = static_cast<float>(std::cos(angle) * magnitude);
            table.m_sin(position, static_cast<Index>(i)) = static_cast<float>(std::sin(angle) * magnitude);
        }
    return table;
}

void RopeTable::rotate(std::span<float> head, Index position) const
{
    const std::size_t half = head.size() / 2;
    const auto cos = m_cos.row(position);
    const auto sin = m_sin.row(position);
    for (std::size_t i = 0; i < half; ++i) {
        const float a = head[i];
        const float b = head[i + half];
        head[i] = a * cos[i] - b * sin[i];
        head[i + half] = b * cos[i] + a * sin[i];
    }
}

} // namespace qs::model
