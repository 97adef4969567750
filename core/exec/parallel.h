// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/types.h"

#include <algorithm>
#include <functional>

namespace qs {

/// Number of worker threads that parallelFor uses, the caller included. Default: the number of processors available to this
/// process.
int threadCount();
/// Sets it (>= 1). Not while parallelFor runs elsewhere.
void setThreadCount(int count);

/// Runs body(b, e) over disjoint chunks [b, e) that cover [begin, end), each of `grain` items (the last may be short).
///
/// The chunks depend only on begin, end and grain, never on the number of threads, so a kernel that reduces per chunk and then
/// over chunks in order gives the same bits for any thread count. Chunks run concurrently in any order; the call returns when
/// all are done. Nested calls run serially on the calling thread. An exception in a chunk is rethrown here after the others
/// ended.
void parallelFor(Index begin, Index end, Index grain, const std::function<void(Index, Index)>& body);

/// Rows of a chunk of elementwise work: about 64 Ki elements.
inline Index rowGrain(Index cols)
{
    return std::max<Index>(1, 65536 / std::max<Index>(1, cols));
}

} // namespace qs
