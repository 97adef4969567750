// SPDX-License-Identifier: Apache-2.0
#include "plugins/rounding/obs.h"

#include "core/recipe/stage_factory.h"

#include <algorithm>
#include <fmt/format.h>

namespace qs::plugins {
namespace {

using recipe::ParameterType;

/// True when a mask keeps everything, whatever the weights are.
bool keepsAll(const recipe::MaskPlan* mask)
{
    if (!mask)
        return true;
    if (mask->adaptive)
        return mask->m > 0 ? mask->n >= mask->m : mask->sparsity <= 0.0;
    const auto values = mask->keep.values();
    return std::all_of(values.begin(), values.end(), [](std::uint8_t keep) { return keep != 0; });
}

recipe::StageInfo obsInfo()
{
    recipe::StageInfo info;
    info.id = "obs";
    info.title = "OBS sweep (GPTQ)";
    info.slot = recipe::Slot::Rounding;
    info.family = "rounding";
    info.citation = "Frantar et al. 2022, arXiv:2210.17323, algorithm 1";
    info.needs = {"gram"};
    info.parameters = {
        {.name = "damp",
            .type = ParameterType::Real,
            .defaultValue = 0.01,
            .min = 0,
            .max = 10,
            .help = "Added to the diagonal of the Hessian, as a share of its mean; raised tenfold until it can be factored.",
            .logarithmic = true},
        {.name = "actorder",
            .type = ParameterType::Choice,
            .defaultValue = std::string("none"),
            .choices = {"none", "group", "static"},
            .help = "Sweep columns by descending Hessian diagonal; group reorders the groups too, static keeps their columns."},
        {.name = "block",
            .type = ParameterType::Int,
            .defaultValue = std::int64_t{128},
            .min = 1,
            .max = 4096,
            .unit = "columns",
            .help = "Columns between two updates of the rest; changes speed, and results only by rounding.",
            .advanced = true},
        {.name = "as_published",
            .type = ParameterType::Bool,
            .defaultValue = false,
            .help = "Fit a group that starts inside a block on the weights as they were when the block began, as public GPTQ "
                    "code does.",
            .advanced = true},
    };
    return info;
}

Expected<recipe::StageInstance> createObs(const recipe::Parameters& p)
{
    recipe::SweepOptions options;
    options.damp = recipe::realValue(p, "damp");
    options.block = static_cast<Index>(recipe::intValue(p, "block"));
    options.freshGroups = !recipe::boolValue(p, "as_published");
    const std::string& order = recipe::textValue(p, "actorder");
    options.order = order == "group" ? recipe::SweepOptions::Order::Group
        : order == "static"          ? recipe::SweepOptions::Order::Static
                                     : recipe::SweepOptions::Order::None;
    recipe::StageInstance instance;
    instance.rounding = std::make_shared<const ObsRounding>(options);
    return instance;
}

} // namespace

Expected<recipe::RoundingResult> ObsRounding::solve(const recipe::LayerProblem& problem, const recipe::GridStage* grid,
    const recipe::MaskPlan* mask, recipe::StageReport& report) const
{
    recipe::RoundingResult result;
    if (!grid && keepsAll(mask)) {
        // Identity, also where dead inputs would have their columns zeroed.
        result.What = RowMatrix(problem.W);
        if (mask) {
            result.keep = BasicMatrix<std::uint8_t>(problem.W.rows(), problem.W.cols());
            std::fill(result.keep.values().begin(), result.keep.values().end(), std::uint8_t{1});
        }
        report.notes.emplace_back("nothing to round and nothing to prune: the weight is unchanged");
        return result;
    }

    std::unique_ptr<recipe::GridSession> session;
    if (grid) {
        QS_TRY(begun, grid->begin(problem, report));
        session = std::move(begun);
    }
    QS_TRY(sweep, recipe::obsSweep(problem, session.get(), mask, m_options));
    report.entries.emplace_back("lambda", sweep.lambda);
    report.entries.emplace_back("escalations", static_cast<std::int64_t>(sweep.escalations));
    report.entries.emplace_back("dead_channels", static_cast<std::int64_t>(sweep.deadChannels));
    report.entries.emplace_back("loss_damped", sweep.lossDamped);
    if (sweep.escalations > 0)
        report.notes.push_back(fmt::format("the Hessian could not be factored at damp={}: raised {} times, to {:.3g}",
            m_options.damp, sweep.escalations, sweep.lambda));
    if (problem.input.tokens > 0 && problem.input.tokens < problem.W.cols())
        report.notes.push_back(
            fmt::format("{} tokens cannot determine {} channels: the damping decides what is done between them",
                problem.input.tokens, problem.W.cols()));
    if (sweep.deadChannels > 0)
        report.notes.push_back(
            fmt::format("{} input channel{} always zero in the calibration data; the weights there became {}",
                sweep.deadChannels, sweep.deadChannels == 1 ? " is" : "s are",
                sweep.deadLargest == 0.0 ? std::string("0")
                                         : fmt::format("the grid's value nearest to 0 (up to {:.3g})", sweep.deadLargest)));
    result.What = std::move(sweep.What);
    result.quantized = std::move(sweep.quantized);
    result.keep = std::move(sweep.keep);
    return result;
}

std::unique_ptr<recipe::StageFactory> makeObs()
{
    return recipe::makeFactory(obsInfo(), createObs);
}

} // namespace qs::plugins
