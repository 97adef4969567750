// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/error.h"

#include <cstdint>
#include <functional>
#include <stop_token>
#include <string_view>

namespace qs {

/// What long work is given: a stop token to poll between work units, a place to report progress, and the seed.
///
/// Passed down by const reference, never global. After a stop request at most one further unit runs.
struct JobContext {
    std::stop_token stop;
    /// Called with a fraction in 0..1 and a short text; from any thread, one at a time. May be empty.
    std::function<void(double, std::string_view)> onProgress;
    std::uint64_t seed = 0;

    bool stopRequested() const { return stop.stop_requested(); }
    /// Error Cancelled once a stop was requested. Poll it between work units: `QS_CHECK(job.poll());`
    Expected<void> poll() const
    {
        if (stop.stop_requested())
            return fail(Errc::Cancelled, "cancelled");
        return {};
    }
    void progress(double fraction, std::string_view text = {}) const
    {
        if (onProgress)
            onProgress(fraction, text);
    }
    /// A context whose 0..1 is the part lo..hi of this one. Keeps a copy of the sink, so it may outlive this object.
    JobContext part(double lo, double hi) const
    {
        JobContext sub = *this;
        if (onProgress)
            sub.onProgress = [sink = onProgress, lo, hi](double f, std::string_view text) { sink(lo + (hi - lo) * f, text); };
        return sub;
    }
};

} // namespace qs
