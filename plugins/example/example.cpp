// SPDX-License-Identifier: Apache-2.0
#include "plugins/example/example.h"

#include "core/recipe/stage_factory.h"
#include "plugins/example/random_pruner.h"

namespace qs::plugins {

using recipe::ParameterType;

Expected<void> registerExample(recipe::StageRegistry& registry)
{
    recipe::StageInfo info;
    info.id = "random";
    info.title = "Random mask";
    info.slot = recipe::Slot::Pruner;
    info.family = "example";
    info.citation = "none: a baseline";
    info.interactive = true;
    info.parameters = {
        {.name = "sparsity",
            .type = ParameterType::Real,
            .defaultValue = 0.5,
            .min = 0,
            .max = 1,
            .help = "Share of the weights of every row that become zero."},
        {.name = "seed",
            .type = ParameterType::Int,
            .defaultValue = std::int64_t{0},
            .min = 0,
            .max = 2147483647,
            .help = "Which random mask."},
    };
    return registry.add(
        recipe::makeFactory(std::move(info), [](const recipe::Parameters& p) -> Expected<recipe::StageInstance> {
            recipe::StageInstance instance;
            instance.pruner = std::make_shared<const RandomPruner>(
                recipe::realValue(p, "sparsity"), static_cast<std::uint64_t>(recipe::intValue(p, "seed")));
            return instance;
        }));
}

} // namespace qs::plugins
