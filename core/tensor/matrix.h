// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/types.h"

#include <cassert>
#include <cstdlib>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

namespace qs {

/// Non-owning row-major matrix: rows x cols elements, consecutive rows `stride` elements apart.
template <class T> class BasicView {
public:
    using Value = std::remove_const_t<T>;

    BasicView() = default;
    BasicView(T* data, Index rows, Index cols)
        : BasicView(data, rows, cols, cols)
    {
    }
    BasicView(T* data, Index rows, Index cols, Index stride)
        : m_data(data)
        , m_rows(rows)
        , m_cols(cols)
        , m_stride(stride)
    {
        assert(rows >= 0 && cols >= 0 && stride >= cols);
    }
    /// A mutable view is also a const view.
    template <class U>
    requires(std::is_const_v<T>&& std::is_same_v<const U, T>)
        BasicView(const BasicView<U>& other) // NOLINT(google-explicit-constructor): conversion to const is always safe
        : BasicView(other.data(), other.rows(), other.cols(), other.stride())
    {
    }

    T* data() const { return m_data; }
    Index rows() const { return m_rows; }
    Index cols() const { return m_cols; }
    Index stride() const { return m_stride; }
    Index size() const { return m_rows * m_cols; }
    bool empty() const { return m_rows == 0 || m_cols == 0; }
    bool contiguous() const { return m_stride == m_cols || m_rows <= 1; }

    T& operator()(Index row, Index col) const
    {
        assert(row >= 0 && row < m_rows && col >= 0 && col < m_cols);
        return m_data[row * m_stride + col];
    }
    std::span<T> row(Index index) const
    {
        assert(index >= 0 && index < m_rows);
        return {m_data + index * m_stride, static_cast<std::size_t>(m_cols)};
    }
    BasicView block(Index row, Index col, Index rows, Index cols) const
    {
        assert(row >= 0 && col >= 0 && row + rows <= m_rows && col + cols <= m_cols);
        return BasicView(m_data + row * m_stride + col, rows, cols, m_stride);
    }
    BasicView rowRange(Index first, Index count) const { return block(first, 0, count, m_cols); }

private:
    T* m_data = nullptr;
    Index m_rows = 0;
    Index m_cols = 0;
    Index m_stride = 0;
};

/// Owning row-major matrix, contiguous, 64-byte aligned, zero-initialised.
template <class T> class BasicMatrix {
public:
    BasicMatrix() = default;
    BasicMatrix(Index rows, Index cols)
        : m_rows(rows)
        , m_cols(cols)
    {
        assert(rows >= 0 && cols >= 0);
        allocate();
    }
    explicit BasicMatrix(BasicView<const T> view)
        : BasicMatrix(view.rows(), view.cols())
    {
        for (Index r = 0; r < m_rows; ++r)
            std::copy(view.row(r).begin(), view.row(r).end(), m_data.get() + r * m_cols);
    }
    BasicMatrix(const BasicMatrix& other)
        : BasicMatrix(other.view())
    {
    }
    BasicMatrix(BasicMatrix&& other) noexcept
        : m_data(std::move(other.m_data))
        , m_rows(std::exchange(other.m_rows, 0))
        , m_cols(std::exchange(other.m_cols, 0))
    {
    }
    BasicMatrix& operator=(BasicMatrix other) noexcept
    {
        std::swap(m_data, other.m_data);
        std::swap(m_rows, other.m_rows);
        std::swap(m_cols, other.m_cols);
        return *this;
    }
    ~BasicMatrix() = default;

    Index rows() const { return m_rows; }
    Index cols() const { return m_cols; }
    Index size() const { return m_rows * m_cols; }
    bool empty() const { return size() == 0; }
    T* data() { return m_data.get(); }
    const T* data() const { return m_data.get(); }
    T& operator()(Index row, Index col)
    {
        assert(row >= 0 && row < m_rows && col >= 0 && col < m_cols);
        return m_data[row * m_cols + col];
    }
    const T& operator()(Index row, Index col) const
    {
        assert(row >= 0 && row < m_rows && col >= 0 && col < m_cols);
        return m_data[row * m_cols + col];
    }
    std::span<T> row(Index index) { return mut().row(index); }
    std::span<const T> row(Index index) const { return view().row(index); }
    std::span<const T> values() const { return {m_data.get(), static_cast<std::size_t>(size())}; }
    std::span<T> values() { return {m_data.get(), static_cast<std::size_t>(size())}; }

    BasicView<const T> view() const { return BasicView<const T>(m_data.get(), m_rows, m_cols); }
    BasicView<T> mut() { return BasicView<T>(m_data.get(), m_rows, m_cols); }
    operator BasicView<const T>() const { return view(); } // NOLINT(google-explicit-constructor): reads as the matrix itself

private:
    struct Free {
        void operator()(T* data) const { std::free(data); }
    };
    void allocate();

    std::unique_ptr<T[], Free> m_data;
    Index m_rows = 0;
    Index m_cols = 0;
};

using MatrixView = BasicView<const float>;
using MutMatrixView = BasicView<float>;
using MatrixViewD = BasicView<const double>;
using MutMatrixViewD = BasicView<double>;
using RowMatrix = BasicMatrix<float>; ///< float32 storage: weights, activations.
using MatrixD = BasicMatrix<double>; ///< float64: Gram matrices, factors.

} // namespace qs

#include "core/tensor/matrix_impl.h"
