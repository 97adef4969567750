// SPDX-License-Identifier: Apache-2.0
#include "core/model/model_spec.h"

namespace qs::model {

LayerIndex ModelSpec::find(std::string_view layer) const
{
    for (std::size_t i = 0; i < layers.size(); ++i)
        if (layers[i].name == layer)
            return static_cast<LayerIndex>(i);
    return -1;
}

Index ModelSpec::windowOf(int block) const
{
    const auto index = static_cast<std::size_t>(block);
    return block >= 0 && index < blockWindows.size() ? blockWindows[index] : slidingWindow;
}

std::string ModelSpec::whyNotRunnable() const
{
    if (family == Family::Plain)
        return "plain tensors without a config.json cannot be run";
    for (const Problem& problem : problems)
        if (problem.severity == "error")
            return problem.where.empty() ? problem.message : problem.where + ": " + problem.message;
    return {};
}

} // namespace qs::model
