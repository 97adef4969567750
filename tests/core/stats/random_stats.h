// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/stats/input_stats.h"

#include <random>

namespace qs::test {

inline RowMatrix randomTokens(Index tokens, Index channels, unsigned seed)
{
    std::mt19937 engine(seed);
    std::normal_distribution<float> normal(0.1F, 1.5F);
    RowMatrix x(tokens, channels);
    for (float& value : x.values())
        value = normal(engine);
    return x;
}

inline std::vector<Index> positionsOf(Index tokens, Index length)
{
    std::vector<Index> positions;
    for (Index t = 0; t < tokens; ++t)
        positions.push_back(t % length);
    return positions;
}

/// Statistics of random sequences of 10 tokens; the last `holdout` of them apart.
inline stats::InputStats randomStats(Index sequences, Index holdout, Index channels, unsigned seed)
{
    stats::InputStats result;
    stats::ChannelSums unused;
    for (Index s = 0; s < sequences; ++s) {
        const RowMatrix x = randomTokens(10, channels, seed + static_cast<unsigned>(s));
        const bool held = s >= sequences - holdout;
        stats::accumulate(
            held ? result.holdout : result.fit, held ? unused : result.sink, x, positionsOf(10, 10), true, cpuBackend());
    }
    return result;
}

} // namespace qs::test
