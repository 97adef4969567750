// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/error.h"
#include "core/base/types.h"

#include <limits>
#include <mutex>
#include <utility>

namespace qs {

/// Keeps the error of the lowest row of a parallel loop, whatever order the chunks run in. put() may be called concurrently,
/// take() after the loop.
class FirstError {
public:
    void put(Index row, Error error)
    {
        const std::lock_guard lock(m_mutex);
        if (row < m_row) {
            m_row = row;
            m_error = std::move(error);
        }
    }
    Expected<void> take() const
    {
        if (m_row == std::numeric_limits<Index>::max())
            return {};
        return tl::unexpected(m_error);
    }

private:
    std::mutex m_mutex;
    Index m_row = std::numeric_limits<Index>::max();
    Error m_error;
};

} // namespace qs
