// SPDX-License-Identifier: Apache-2.0
#include "plugins/smoothing/smooth.h"

#include "core/recipe/stage_factory.h"
#include "plugins/smoothing/channel_scaling.h"

#include <algorithm>
#include <cmath>

namespace qs::plugins {
namespace {

using recipe::ParameterType;

constexpr double kFloor = 1e-5;

} // namespace

std::vector<double> smoothScales(const std::vector<double>& inputMax, const std::vector<double>& weightMax, double alpha)
{
    std::vector<double> scale(inputMax.size());
    for (std::size_t j = 0; j < scale.size(); ++j) {
        const double x = std::pow(std::max(inputMax[j], kFloor), alpha);
        const double w = std::pow(std::max(weightMax[j], kFloor), 1.0 - alpha);
        scale[j] = std::max(x / w, kFloor);
    }
    return scale;
}

Expected<std::unique_ptr<recipe::SiteTransform>> SmoothTransform::fit(
    const recipe::SiteContext& site, recipe::StageReport& report) const
{
    const Index channels = site.input.channels;
    const std::string where = site.consumers.empty() ? std::string("smooth") : site.consumers.front().layer;
    if (!site.input.available() || site.input.absMax.empty())
        return fail(Errc::NotFound, "smooth needs calibration", where, "load or capture a dump that covers this layer");
    if (!m_includeSinks && site.input.absMaxNoSinks.empty())
        return fail(
            Errc::NotFound, "the calibration does not keep sink positions apart for this input", where, "use sinks=include");
    if (site.site.kind == model::SiteKind::ValueOut || site.site.kind == model::SiteKind::UpDown) {
        report.notes.emplace_back("not smoothed: only inputs that a norm produces are, as published");
        return ChannelScaling::makeIdentity(channels);
    }
    if (!mayScale(site.site, report))
        return ChannelScaling::makeIdentity(channels);

    std::vector<double> weightMax(static_cast<std::size_t>(channels), 0.0);
    for (const recipe::SiteConsumer& consumer : site.consumers) {
        QS_CHECK(site.fit.job.poll());
        for (Index r = 0; r < consumer.W.rows(); ++r)
            for (Index c = 0; c < consumer.W.cols(); ++c) {
                double& peak = weightMax[static_cast<std::size_t>(c)];
                peak = std::max(peak, std::fabs(static_cast<double>(consumer.W(r, c))));
            }
    }
    const std::vector<double> scale
        = smoothScales(m_includeSinks ? site.input.absMax : site.input.absMaxNoSinks, weightMax, m_alpha);
    if (!std::all_of(scale.begin(), scale.end(), [](double s) { return std::isfinite(s); }))
        return fail(Errc::NotFinite, "the calibration's maxima are not finite", where, "capture it again");
    QS_TRY(scaling, ChannelScaling::makeStored(scale, site));
    const auto [low, high] = scaling->scaleRange();
    report.entries.emplace_back("scale_min", low);
    report.entries.emplace_back("scale_max", high);
    return std::unique_ptr<recipe::SiteTransform>(std::move(scaling));
}

std::unique_ptr<recipe::StageFactory> makeSmooth()
{
    recipe::StageInfo info;
    info.id = "smooth";
    info.title = "Smoothing (SmoothQuant)";
    info.slot = recipe::Slot::Transform;
    info.family = "smoothing";
    info.citation = "Xiao et al. 2022, arXiv:2211.10438, eq. (4)";
    info.needs = {"stats"};
    info.interactive = true;
    info.parameters = {
        {.name = "alpha",
            .type = ParameterType::Real,
            .defaultValue = 0.5,
            .min = 0,
            .max = 1,
            .help = "Share of the difficulty that moves from the input into the weights."},
        {.name = "sinks",
            .type = ParameterType::Choice,
            .defaultValue = std::string("include"),
            .choices = {"include", "exclude"},
            .help = "Whether the first positions of each sequence, whose activations are extreme, count for the maxima.",
            .advanced = true},
    };
    return recipe::makeFactory(std::move(info), [](const recipe::Parameters& p) -> Expected<recipe::StageInstance> {
        recipe::StageInstance instance;
        instance.transform = std::make_shared<const SmoothTransform>(
            recipe::realValue(p, "alpha"), recipe::textValue(p, "sinks") == "include");
        return instance;
    });
}

} // namespace qs::plugins
