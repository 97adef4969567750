// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

namespace qs {

/// Signed index and extent of everything countable: rows, columns, tokens, bytes of a tensor.
using Index = std::int64_t;

} // namespace qs
