// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/tensor/matrix.h"

#include <cmath>
#include <random>

namespace qs::test {

/// Standard normal numbers that are the same with every standard library (Box-Muller).
class Gaussian {
public:
    explicit Gaussian(std::uint64_t seed)
        : m_engine(seed)
    {
    }
    double operator()()
    {
        const double radius = std::sqrt(-2.0 * std::log(uniform()));
        return radius * std::cos(6.283185307179586 * uniform());
    }
    double uniform() { return (static_cast<double>(m_engine() >> 11) + 0.5) * 0x1p-53; }

private:
    std::mt19937_64 m_engine;
};

inline RowMatrix gaussianMatrix(Index rows, Index cols, std::uint64_t seed, double sd = 1.0)
{
    Gaussian next(seed);
    RowMatrix matrix(rows, cols);
    for (float& value : matrix.values())
        value = static_cast<float>(sd * next());
    return matrix;
}

/// B^T B / rows of a Gaussian (rows, d) matrix whose channel j is scaled by spread^(j / d): positive definite when rows >= d.
inline MatrixD randomSecondMoment(Index rows, Index d, std::uint64_t seed, double spread = 1.0)
{
    Gaussian next(seed);
    MatrixD B(rows, d), C(d, d);
    for (Index r = 0; r < rows; ++r)
        for (Index c = 0; c < d; ++c)
            B(r, c) = next() * std::pow(spread, static_cast<double>(c) / static_cast<double>(d));
    for (Index i = 0; i < d; ++i)
        for (Index j = 0; j <= i; ++j) {
            double sum = 0;
            for (Index r = 0; r < rows; ++r)
                sum += B(r, i) * B(r, j);
            C(i, j) = C(j, i) = sum / static_cast<double>(rows);
        }
    return C;
}

} // namespace qs::test
