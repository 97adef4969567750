// SPDX-License-Identifier: Apache-2.0
#include "plugins/rounding/act_grid.h"

#include "core/recipe/stage_factory.h"

#include <algorithm>
#include <cmath>

namespace qs::plugins {
namespace {

using recipe::ParameterType;

recipe::StageInfo actInfo()
{
    recipe::StageInfo info;
    info.id = "act";
    info.title = "Quantized inputs";
    info.slot = recipe::Slot::ActivationGrid;
    info.family = "rounding";
    info.citation = "Xiao et al. 2022, arXiv:2211.10438, section 2";
    info.interactive = true;
    info.parameters = {
        {.name = "a_bits",
            .type = ParameterType::Int,
            .defaultValue = std::int64_t{8},
            .min = 2,
            .max = 8,
            .unit = "bits",
            .help = "Width of a code of the layer's input."},
        {.name = "a_grid",
            .type = ParameterType::Choice,
            .defaultValue = std::string("sym-restricted"),
            .choices = {"sym-fullrange-mid", "sym-restricted", "sym-neg-anchored", "sym-shifted", "asym-0", "asym-free",
                "asym-realzero"},
            .help = "Convention of the input's grid."},
        {.name = "a_granularity",
            .type = ParameterType::Choice,
            .defaultValue = std::string("token"),
            .choices = {"tensor", "token", "token-group"},
            .help = "What shares a scale: the tensor of one sequence (a window of the evaluation), one token, or a group of "
                    "channels of one token."},
        {.name = "a_group",
            .type = ParameterType::Int,
            .defaultValue = std::string("auto"),
            .min = -1,
            .max = 1048576,
            .choices = {"auto"},
            .unit = "channels",
            .help = "Channels per scale for a_granularity=token-group."},
        {.name = "a_dynamic",
            .type = ParameterType::Bool,
            .defaultValue = true,
            .help = "Ranges are taken from the data at run time; false: one range per tensor from calibration."},
        {.name = "a_clip",
            .type = ParameterType::Real,
            .defaultValue = 1.0,
            .min = 0.05,
            .max = 1,
            .help = "Factor on the range."},
    };
    return info;
}

Expected<recipe::StageInstance> createAct(const recipe::Parameters& p)
{
    quant::ActivationGridOptions options;
    options.bits = static_cast<int>(recipe::intValue(p, "a_bits"));
    const auto grid = quant::gridFromName(recipe::textValue(p, "a_grid"));
    if (!grid)
        return fail(Errc::InvalidArgument, "unknown a_grid", "act");
    options.grid = *grid;
    const std::string& granularity = recipe::textValue(p, "a_granularity");
    options.granularity = granularity == "tensor" ? quant::ActivationGranularity::Tensor
        : granularity == "token"                  ? quant::ActivationGranularity::Token
                                                  : quant::ActivationGranularity::TokenGroup;
    options.dynamic = recipe::boolValue(p, "a_dynamic");
    options.clip = recipe::realValue(p, "a_clip");
    options.group = static_cast<Index>(recipe::intValue(p, "a_group")); // auto reads as 0
    if (!options.dynamic && options.granularity != quant::ActivationGranularity::Tensor)
        return fail(Errc::InvalidArgument, "a_dynamic=false has one range per tensor, but a_granularity=" + granularity, "act",
            "set a_granularity=tensor");
    recipe::StageInstance instance;
    instance.activation = std::make_shared<const ActGrid>(options);
    return instance;
}

} // namespace

Expected<quant::ActivationGridOptions> ActGrid::fit(const recipe::LayerProblem& problem, recipe::StageReport& report) const
{
    quant::ActivationGridOptions options = m_options;
    const Index channels = problem.W.cols();
    if (options.granularity == quant::ActivationGranularity::TokenGroup) {
        auto group = quant::resolveGroup(options.group, channels);
        if (!group)
            return fail(Errc::InvalidArgument, group.error().message, problem.layer, group.error().hint);
        options.group = *group;
    } else {
        options.group = channels;
    }
    if (options.dynamic)
        return options;

    const recipe::InputView& input = problem.input;
    if (!input.available() || input.absMax.empty())
        return fail(Errc::NotFound, "act(a_dynamic=false) needs calibration", problem.layer,
            "load or capture a dump that covers this layer");
    double lo = 0.0;
    double hi = 0.0;
    if (!input.min.empty() && !input.max.empty()) {
        lo = *std::min_element(input.min.begin(), input.min.end());
        hi = *std::max_element(input.max.begin(), input.max.end());
    } else if (quant::isSymmetric(options.grid)) {
        hi = *std::max_element(input.absMax.begin(), input.absMax.end());
        lo = -hi;
    } else {
        return fail(Errc::Unsupported,
            "an asymmetric static range needs the extrema of every channel, which are unknown after a dense transform",
            problem.layer, "use a symmetric a_grid, or a_dynamic=true");
    }
    if (!std::isfinite(lo) || !std::isfinite(hi))
        return fail(
            Errc::NotFinite, "the calibration holds no finite extrema for this input", problem.layer, "capture it again");
    if (quant::isSymmetric(options.grid)) {
        hi = std::max(std::fabs(lo), std::fabs(hi));
        lo = -hi;
    }
    options.lo = static_cast<float>(lo);
    options.hi = static_cast<float>(hi);
    report.entries.emplace_back("lo", lo);
    report.entries.emplace_back("hi", hi);
    return options;
}

std::unique_ptr<recipe::StageFactory> makeActGrid()
{
    return recipe::makeFactory(actInfo(), createAct);
}

} // namespace qs::plugins
