// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "core/analysis/layer_analysis.h"

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace qs::cli {

/// Names, without ending, of the files that `analyze --out` writes per layer: the layer's name where that is a plain file name;
/// otherwise other characters become '_' and a digest of the name is added, as it is for names that would meet another file
/// (also on file systems that do not tell cases apart). They depend on the list only, not on what is analysed.
std::vector<std::string> fileStems(const std::vector<std::string>& layers);

/// Adds `channel_stats`, `hessian.diagonal` and `hessian.eigenvalues` to an entry of layerToJson().
void addVectors(nlohmann::json& entry, const analysis::InputAnalysis& input);

/// One line per input channel: its statistics and C_jj, with all digits; "nan" and "inf" where a figure is not finite.
std::string channelsCsv(const analysis::InputAnalysis& input);

/// layers.csv: the scalars of one layer a line.
std::string layersCsvHead();
std::string layersCsvLine(const std::string& name, const analysis::LayerAnalysis& layer);

} // namespace qs::cli
