// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/atomic_file.h"
#include "core/model/engine.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace qs::test {

/// A reference of tests/golden/gen/model_reference.py.
struct GoldenLogits {
    model::Windows windows;
    std::vector<double> logits; ///< windows x positions x vocabulary
    nlohmann::json root;
};

inline std::filesystem::path goldenModel(const std::string& name)
{
    return std::filesystem::path(QS_GOLDEN_DIR) / "model" / name;
}

inline Expected<GoldenLogits> readGolden(const std::filesystem::path& file)
{
    QS_TRY(text, readTextFile(file));
    GoldenLogits golden;
    golden.root = nlohmann::json::parse(text);
    for (const auto& window : golden.root.at("windows"))
        golden.windows.ids.push_back(window.get<std::vector<std::int32_t>>());
    golden.windows.length = static_cast<Index>(golden.windows.ids.at(0).size());
    golden.logits = golden.root.at("logits").get<std::vector<double>>();
    return golden;
}

inline Expected<RowMatrix> logitsOf(const std::shared_ptr<const model::Model>& model, const model::Windows& windows,
    const model::Replacements* replacements = nullptr, model::InputObserver* observer = nullptr)
{
    const model::Engine engine(model, cpuBackend());
    QS_TRY(hidden, engine.run(windows, replacements, observer, {}));
    QS_TRY(head, engine.head());
    RowMatrix logits(hidden.rows(), head.rows());
    cpuBackend().linear(hidden, head, logits.mut());
    return logits;
}

/// max |a - b| / max |b|
inline double relativeError(std::span<const float> a, std::span<const double> b)
{
    double worst = 0.0, largest = 0.0;
    for (std::size_t i = 0; i < b.size(); ++i) {
        const double difference = std::abs(static_cast<double>(a[i]) - b[i]);
        worst = difference <= worst ? worst : difference; // NaN counts as worst
        largest = std::max(largest, std::abs(b[i]));
    }
    return worst / largest;
}

} // namespace qs::test
