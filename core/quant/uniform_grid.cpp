// SPDX-License-Identifier: Apache-2.0
#include "core/quant/uniform_grid.h"

#include "core/exec/grid_kernels.h"
#include "core/tensor/dtype.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <fmt/format.h>
#include <limits>
#include <utility>

namespace qs::quant {
namespace {

constexpr std::array<std::pair<GridId, const char*>, 7> kGrids{
    {{GridId::SymFullrangeMid, "sym-fullrange-mid"}, {GridId::SymRestricted, "sym-restricted"},
        {GridId::SymNegAnchored, "sym-neg-anchored"}, {GridId::SymShifted, "sym-shifted"}, {GridId::Asym0, "asym-0"},
        {GridId::AsymFree, "asym-free"}, {GridId::AsymRealZero, "asym-realzero"}}};
constexpr std::array<std::pair<RangeMethod, const char*>, 3> kRanges{
    {{RangeMethod::MinMax, "minmax"}, {RangeMethod::Mse, "mse"}, {RangeMethod::Percentile, "percentile"}}};
constexpr std::array<std::pair<ScaleType, const char*>, 3> kScaleTypes{
    {{ScaleType::Float32, "float32"}, {ScaleType::Float16, "float16"}, {ScaleType::BFloat16, "bfloat16"}}};

template <class Table, class Id> const char* nameIn(const Table& table, Id id)
{
    for (const auto& [key, name] : table)
        if (key == id)
            return name;
    return "?";
}

template <class Table>
auto fromName(const Table& table, std::string_view name) -> std::optional<typename Table::value_type::first_type>
{
    for (const auto& [key, text] : table)
        if (name == text)
            return key;
    return std::nullopt;
}

constexpr float kMaxFloat = std::numeric_limits<float>::max();

float roundToHalf(float value)
{
    constexpr float kMaxHalf = 65504.0F;
    return halfToFloat(floatToHalf(std::clamp(value, -kMaxHalf, kMaxHalf)));
}

/// Quantile with linear interpolation between order statistics; reorders `values`.
float quantile(std::vector<float>& values, double share)
{
    const double position = std::clamp(share, 0.0, 1.0) * static_cast<double>(values.size() - 1);
    const auto below = static_cast<std::ptrdiff_t>(position);
    std::nth_element(values.begin(), values.begin() + below, values.end());
    const double low = values[static_cast<std::size_t>(below)];
    if (static_cast<std::size_t>(below) + 1 == values.size())
        return static_cast<float>(low);
    const double high = *std::min_element(values.begin() + below + 1, values.end());
    return static_cast<float>(low + (high - low) * (position - static_cast<double>(below)));
}

gridkernels::CodeParams codeParams(const UniformGrid& grid, ScaleZero sz)
{
    return {sz.scale, sz.zero, static_cast<float>(grid.lowestCode()), static_cast<float>(grid.highestCode()),
        grid.options().grid == GridId::AsymRealZero};
}

/// sum weight * (|w - w_hat| / max|w|)^norm.
double powerLoss(
    const UniformGrid& grid, std::span<const float> values, ScaleZero sz, std::span<const float> weights, double norm)
{
    assert(weights.empty() || weights.size() == values.size());
    float lo = 0, hi = 0;
    gridkernels::rangeOf(values.data(), values.size(), &lo, &hi);
    const float extreme = std::max(std::fabs(lo), std::fabs(hi));
    const float inverse = extreme > 0x1p-120F ? 1.0F / extreme : 0.0F;
    return gridkernels::powerLoss(values.data(), weights.empty() ? nullptr : weights.data(), values.size(),
        codeParams(grid, sz), inverse, static_cast<float>(norm));
}

} // namespace

const char* gridName(GridId id)
{
    return nameIn(kGrids, id);
}
std::optional<GridId> gridFromName(std::string_view name)
{
    return fromName(kGrids, name);
}
bool isSymmetric(GridId id)
{
    return id != GridId::Asym0 && id != GridId::AsymFree && id != GridId::AsymRealZero;
}
const char* rangeName(RangeMethod method)
{
    return nameIn(kRanges, method);
}
std::optional<RangeMethod> rangeFromName(std::string_view name)
{
    return fromName(kRanges, name);
}
const char* scaleTypeName(ScaleType type)
{
    return nameIn(kScaleTypes, type);
}
std::optional<ScaleType> scaleTypeFromName(std::string_view name)
{
    return fromName(kScaleTypes, name);
}
int scaleTypeBits(ScaleType type)
{
    return type == ScaleType::Float32 ? 32 : 16;
}

float roundScale(float scale, ScaleType type)
{
    float stored = std::min(scale, kMaxFloat);
    float smallestNormal = std::numeric_limits<float>::min();
    switch (type) {
    case ScaleType::Float32: break;
    case ScaleType::Float16:
        stored = roundToHalf(stored);
        smallestNormal = 0x1p-14F;
        break;
    case ScaleType::BFloat16:
        stored = bfloat16ToFloat(floatToBfloat16(stored));
        if (!std::isfinite(stored))
            stored = 0x1.fep127F;
        break;
    }
    return stored > 0.0F ? stored : smallestNormal;
}

namespace {

int lowestOf(const UniformGridOptions& options)
{
    const bool centred = options.grid == GridId::SymRestricted || options.grid == GridId::SymNegAnchored;
    return centred ? -(1 << (options.bits - 1)) : 0;
}

int highestOf(const UniformGridOptions& options)
{
    return lowestOf(options) + (1 << options.bits) - 1;
}

float storedScale(float scale, ScaleType type)
{
    return roundScale(scale, type);
}

double storedScale(double scale, ScaleType)
{
    return scale > 0.0 ? scale : std::numeric_limits<double>::min();
}

float storedZero(float zero)
{
    return roundToHalf(zero);
}

double storedZero(double zero)
{
    return zero;
}

/// The range of least squared error among the whole one and three that leave out a share of the values.
ScaleZero percentileRange(const UniformGrid& grid, std::span<const float> values, ScaleZero whole)
{
    const bool mirrored = isSymmetric(grid.options().grid);
    std::vector<float> sorted(values.begin(), values.end());
    if (mirrored)
        for (float& value : sorted)
            value = std::fabs(value);
    ScaleZero best = whole;
    double bestLoss = powerLoss(grid, values, whole, {}, 2.0);
    for (const double part : {1.0, 0.1, 0.01}) {
        const double outside = (1.0 - grid.options().percentile) * part;
        const float high = quantile(sorted, mirrored ? 1.0 - outside : 1.0 - outside / 2.0);
        const ScaleZero sz = grid.fromRange(mirrored ? -high : quantile(sorted, outside / 2.0), high);
        const double loss = powerLoss(grid, values, sz, {}, 2.0);
        if (loss < bestLoss) {
            bestLoss = loss;
            best = sz;
        }
    }
    return best;
}

} // namespace

int UniformGrid::lowestCode() const
{
    return lowestOf(m_options);
}

int UniformGrid::highestCode() const
{
    return highestOf(m_options);
}

Expected<void> UniformGrid::check() const
{
    if (m_options.bits < 2 || m_options.bits > 8)
        return fail(Errc::InvalidArgument, fmt::format("{} bits per weight", m_options.bits), "bits", "choose 2 to 8");
    return {};
}

GridParams UniformGrid::params(MatrixView scale, MatrixView zero, Index group, std::span<const std::int32_t> groupOf) const
{
    return {scale, zero, group, groupOf, static_cast<float>(lowestCode()), static_cast<float>(highestCode()),
        m_options.grid == GridId::AsymRealZero};
}

template <class T> BasicScaleZero<T> GridFormulas<T>::fromRange(const UniformGridOptions& options, T lo, T hi)
{
    const auto half = static_cast<T>(1 << (options.bits - 1)); // 2^(b-1)
    const auto steps = static_cast<T>((1 << options.bits) - 1);
    const T extreme = std::max(std::fabs(lo), std::fabs(hi));
    switch (options.grid) {
    case GridId::SymFullrangeMid: return {storedScale(extreme / (steps / 2), options.scaleType), half};
    case GridId::SymRestricted: return {storedScale(extreme / (half - 1), options.scaleType), 0};
    case GridId::SymNegAnchored: return {storedScale(extreme / half, options.scaleType), 0};
    case GridId::SymShifted: return {storedScale(extreme / (half - 1), options.scaleType), half - 1};
    case GridId::Asym0:
    case GridId::AsymFree:
    case GridId::AsymRealZero: break;
    }
    if (options.grid == GridId::Asym0 || lo == hi) {
        lo = std::min(lo, T{0});
        hi = std::max(hi, T{0});
    }
    const T scale = storedScale((hi - lo) / steps, options.scaleType);
    if (options.grid == GridId::AsymRealZero)
        return {scale, storedZero(-lo / scale)};
    return {scale, std::clamp(std::nearbyint(-lo / scale), T{0}, steps)};
}

template <class T> int GridFormulas<T>::encode(const UniformGridOptions& options, T value, BasicScaleZero<T> sz)
{
    const T steps = value / sz.scale;
    const T code = options.grid == GridId::AsymRealZero ? std::nearbyint(steps + sz.zero) : std::nearbyint(steps) + sz.zero;
    const auto lo = static_cast<T>(lowestOf(options));
    const auto hi = static_cast<T>(highestOf(options));
    return static_cast<int>(code > lo ? std::min(code, hi) : lo);
}

template struct GridFormulas<float>;
template struct GridFormulas<double>;

ScaleZero UniformGrid::fromRange(float lo, float hi) const
{
    return GridFormulas<float>::fromRange(m_options, lo, hi);
}

double UniformGrid::shrinkLoss(std::span<const float> values, ScaleZero sz, std::span<const float> weights) const
{
    return powerLoss(*this, values, sz, weights, m_options.mseNorm);
}

Expected<ScaleZero> UniformGrid::fit(std::span<const float> values, std::span<const float> weights) const
{
    QS_CHECK(check());
    if (!weights.empty() && weights.size() != values.size())
        return fail(Errc::Mismatch, fmt::format("{} weights for {} values", weights.size(), values.size()));
    float lo = 0, hi = 0;
    if (!gridkernels::rangeOf(values.data(), values.size(), &lo, &hi)) {
        const auto bad = std::find_if(values.begin(), values.end(), [](float v) { return !std::isfinite(v); });
        return fail(Errc::NotFinite, fmt::format("NaN or Inf at position {} of a group", bad - values.begin()));
    }
    if (m_options.range == RangeMethod::MinMax || values.size() < 2 || lo == hi)
        return fromRange(lo, hi);

    if (m_options.range == RangeMethod::Percentile) {
        if (!(m_options.percentile > 0.0 && m_options.percentile <= 1.0))
            return fail(Errc::InvalidArgument, fmt::format("percentile {}", m_options.percentile), "percentile",
                "choose a share in (0, 1]");
        return percentileRange(*this, values, fromRange(lo, hi));
    }

    if (m_options.mseSteps < 1 || !(m_options.mseNorm > 0.0) || !(m_options.mseMaxShrink >= 0.0))
        return fail(Errc::InvalidArgument, "the MSE range search needs steps >= 1, a positive norm and a share to shrink");
    ScaleZero best = fromRange(lo, hi);
    double bestLoss = std::numeric_limits<double>::infinity();
    const int candidates = std::max(1, static_cast<int>(std::ceil(m_options.mseMaxShrink * m_options.mseSteps)));
    for (int i = 0; i < candidates; ++i) {
        const auto fraction = static_cast<float>(1.0 - static_cast<double>(i) / m_options.mseSteps);
        if (!(fraction > 0.0F))
            break;
        const ScaleZero sz = fromRange(lo * fraction, hi * fraction);
        const double loss = shrinkLoss(values, sz, weights);
        if (loss < bestLoss) {
            bestLoss = loss;
            best = sz;
        }
    }
    return best;
}

int UniformGrid::encode(float value, ScaleZero sz) const
{
    return GridFormulas<float>::encode(m_options, value, sz);
}

float UniformGrid::decode(int code, ScaleZero sz) const
{
    return GridFormulas<float>::decode(code, sz);
}

void UniformGrid::encode(std::span<const float> values, ScaleZero sz, std::span<std::int16_t> codes) const
{
    assert(codes.size() == values.size());
    gridkernels::encode(values.data(), values.size(), codeParams(*this, sz), codes.data());
}

void UniformGrid::project(std::span<const float> values, ScaleZero sz, std::span<float> target) const
{
    assert(target.size() == values.size());
    gridkernels::project(values.data(), values.size(), codeParams(*this, sz), target.data());
}

void UniformGrid::encodeColumn(std::span<const float> values, std::span<const float> scale, std::span<const float> zero,
    std::span<std::int16_t> codes, std::span<float> projected) const
{
    assert(scale.size() == values.size() && zero.size() == values.size());
    assert(codes.size() == values.size() && projected.size() == values.size());
    gridkernels::encodeEach(
        values.data(), scale.data(), zero.data(), values.size(), codeParams(*this, {}), codes.data(), projected.data());
}

} // namespace qs::quant
