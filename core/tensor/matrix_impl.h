// SPDX-License-Identifier: Apache-2.0
#pragma once

// Included by matrix.h only.

#include <algorithm>
#include <cstring>
#include <new>

namespace qs {

template <class T> void BasicMatrix<T>::allocate()
{
    static_assert(std::is_trivially_copyable_v<T>);
    constexpr std::size_t kAlign = 64;
    const std::size_t bytes = static_cast<std::size_t>(size()) * sizeof(T);
    if (bytes == 0)
        return;
    const std::size_t rounded = (bytes + kAlign - 1) / kAlign * kAlign;
    T* data = static_cast<T*>(std::aligned_alloc(kAlign, rounded));
    if (!data)
        throw std::bad_alloc();
    std::memset(data, 0, rounded);
    m_data.reset(data);
}

} // namespace qs
