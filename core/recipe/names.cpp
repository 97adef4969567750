// SPDX-License-Identifier: Apache-2.0
#include "core/recipe/names.h"

#include <algorithm>
#include <fmt/format.h>

namespace qs::recipe {

int editDistance(std::string_view a, std::string_view b)
{
    const std::size_t n = b.size();
    std::vector<int> before(n + 1);
    std::vector<int> last(n + 1);
    std::vector<int> current(n + 1);
    for (std::size_t j = 0; j <= n; ++j)
        last[j] = static_cast<int>(j);
    for (std::size_t i = 1; i <= a.size(); ++i) {
        current[0] = static_cast<int>(i);
        for (std::size_t j = 1; j <= n; ++j) {
            const int cost = a[i - 1] == b[j - 1] ? 0 : 1;
            current[j] = std::min({last[j] + 1, current[j - 1] + 1, last[j - 1] + cost});
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                current[j] = std::min(current[j], before[j - 2] + 1);
        }
        std::swap(before, last);
        std::swap(last, current);
    }
    return last[n];
}

std::string nearestName(std::string_view word, const std::vector<std::string>& candidates, int limit)
{
    constexpr std::size_t kLongest = 512; // hostile texts must not cost quadratic time
    word = word.substr(0, kLongest);
    std::string best;
    int bestDistance = limit < 0 ? static_cast<int>(2 * kLongest) : limit + 1;
    for (const std::string& candidate : candidates) {
        const int distance = editDistance(word, std::string_view(candidate).substr(0, kLongest));
        if (distance < bestDistance) {
            best = candidate;
            bestDistance = distance;
        }
    }
    return best;
}

std::string didYouMean(std::string_view word, const std::vector<std::string>& candidates, std::string otherwise)
{
    const int limit = std::max(1, static_cast<int>(std::min<std::size_t>(word.size(), 12)) / 3);
    const std::string near = nearestName(word, candidates, limit);
    return near.empty() ? std::move(otherwise) : fmt::format("did you mean '{}'?", near);
}

std::string joinNames(const std::vector<std::string>& names, std::size_t limit)
{
    if (names.size() <= limit)
        return fmt::format("{}", fmt::join(names, ", "));
    return fmt::format("{} and {} more", fmt::join(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(limit), ", "),
        names.size() - limit);
}

} // namespace qs::recipe
