// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace qs::recipe {

/// Optimal-string-alignment distance: insertions, deletions, substitutions and swaps of neighbours. Cost O(|a| |b|).
int editDistance(std::string_view a, std::string_view b);

/// The candidate nearest to `word`, or empty when none is within `limit` edits (ties: the first). A negative limit means any
/// distance.
std::string nearestName(std::string_view word, const std::vector<std::string>& candidates, int limit = -1);

/// "did you mean 'gptq'?" where a candidate is close enough to be a slip, else `otherwise`.
std::string didYouMean(std::string_view word, const std::vector<std::string>& candidates, std::string otherwise = {});

/// "a, b, c"; at most `limit` names, then "and N more".
std::string joinNames(const std::vector<std::string>& names, std::size_t limit = 30);

} // namespace qs::recipe
