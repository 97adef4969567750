// SPDX-License-Identifier: Apache-2.0
#include "plugins/smoothing/channel_scaling.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

namespace qs::plugins {

Expected<std::unique_ptr<ChannelScaling>> ChannelScaling::make(const std::vector<double>& scale)
{
    std::vector<double> inverse(scale.size());
    for (std::size_t j = 0; j < scale.size(); ++j) {
        if (!std::isfinite(scale[j]) || scale[j] <= 0.0)
            return fail(Errc::NotFinite, fmt::format("the scale of channel {} is {}", j, scale[j]));
        inverse[j] = 1.0 / scale[j];
    }
    QS_TRY(inner, recipe::DiagonalTransform::make(std::move(inverse)));
    return std::unique_ptr<ChannelScaling>(new ChannelScaling(std::move(inner)));
}

Expected<std::unique_ptr<ChannelScaling>> ChannelScaling::makeStored(
    const std::vector<double>& scale, const recipe::SiteContext& site)
{
    QS_TRY(wanted, make(scale));
    if (!site.storable)
        return std::move(wanted);
    QS_TRY(inner, recipe::DiagonalTransform::make(site.storable(wanted->diagonal())));
    return std::unique_ptr<ChannelScaling>(new ChannelScaling(std::move(inner)));
}

std::pair<double, double> ChannelScaling::scaleRange() const
{
    const std::vector<double> d = diagonal();
    const auto [low, high] = std::minmax_element(d.begin(), d.end());
    return d.empty() ? std::pair(1.0, 1.0) : std::pair(1.0 / *high, 1.0 / *low);
}

std::unique_ptr<ChannelScaling> ChannelScaling::makeIdentity(Index channels)
{
    return std::move(*make(std::vector<double>(static_cast<std::size_t>(channels), 1.0)));
}

bool mayScale(const model::SiteSpec& site, recipe::StageReport& report)
{
    if (site.diagonalFolds || site.kind == model::SiteKind::Alone)
        return true;
    report.notes.push_back(
        "not scaled: " + (site.whyNot.empty() ? std::string("the scales cannot be folded into the producer") : site.whyNot));
    return false;
}

} // namespace qs::plugins
