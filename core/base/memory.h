// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace qs {

/// Gives freed memory back to the system. The allocator keeps what was freed for the next allocation, in an arena for each
/// thread; after matrices of many sizes that is several times what is in use.
/// Cost   a few milliseconds: call it between blocks or layers, not in loops over values.   Threads   any.
void releaseFreeMemory();

} // namespace qs
