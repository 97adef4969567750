// SPDX-License-Identifier: Apache-2.0
#include "core/analysis/sensitivity.h"

#include "core/metrics/error_metrics.h"

#include <fmt/format.h>

namespace qs::analysis {

Expected<Sensitivity> rtnSensitivity(
    MatrixView W, const stats::InputStats* stats, Backend& backend, const SensitivityOptions& options, const JobContext& job)
{
    if (stats && stats->channels() != W.cols())
        return fail(Errc::Mismatch,
            fmt::format("the weight has {} columns, its input {} channels", W.cols(), stats->channels()), {},
            "the dump belongs to another model");
    QS_TRY(quantized, quant::quantizeNearest(W, options.group, options.grid, backend));
    const RowMatrix What = quantized.dequantize(backend);
    Sensitivity result;
    result.weightError = metrics::weightError(W, What);
    result.weightSqnrDb = metrics::sqnrDb(result.weightError);
    if (!stats)
        return result;
    const stats::InputPart& part = stats->evaluation();
    if (!part.hasGram() || part.count() < 1)
        return result;
    QS_CHECK(job.poll());
    // The ratio does not depend on the divisor, so the Gram serves as it is.
    QS_TRY(error, metrics::outputError(W, What, part.gram, backend, job));
    result.outputError = error;
    result.holdout = stats->hasHoldout();
    return result;
}

} // namespace qs::analysis
