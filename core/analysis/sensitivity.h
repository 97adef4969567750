// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/error.h"
#include "core/exec/backend.h"
#include "core/exec/job_context.h"
#include "core/quant/uniform_grid.h"
#include "core/stats/input_stats.h"
#include "core/tensor/matrix.h"

#include <optional>

namespace qs::analysis {

/// Relative layer error under a yardstick compression: rtn(bits=4, group=auto, grid=asym-0, range=minmax, scale_dtype=float16).
struct Sensitivity {
    std::optional<double>
        outputError; ///< tr(dW C dW^T) / tr(W C W^T); absent without a Gram. It screens; only `rank` compares layers.
    bool holdout = false; ///< C is the holdout's.
    double weightError = 0; ///< sum dW^2 / sum W^2: the data-free reading.
    double weightSqnrDb = 0;
};
struct SensitivityOptions {
    quant::UniformGridOptions grid{.bits = 4, .grid = quant::GridId::Asym0};
    Index group = 0; ///< 0: auto.
};
/// stats may be null. Errors   NotFinite naming the first (row, col) of W; Mismatch of widths; those of resolveGroup.
Expected<Sensitivity> rtnSensitivity(MatrixView W, const stats::InputStats* stats, Backend& backend,
    const SensitivityOptions& options = {}, const JobContext& job = {});

} // namespace qs::analysis
