// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/exec/backend.h"
#include "core/recipe/registry.h"
#include "tests/core/exec/counting_backend.h"

#include <QtTest>
#include <algorithm>
#include <cmath>
#include <fstream>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

/// Binds `var` to the value of an Expected, or fails the test with its error.
#define QS_REQUIRE(var, ...)                                                                                                   \
    auto QS_CONCAT(required_, __LINE__) = (__VA_ARGS__);                                                                       \
    QVERIFY2(QS_CONCAT(required_, __LINE__),                                                                                   \
        QS_CONCAT(required_, __LINE__) ? "" : QS_CONCAT(required_, __LINE__).error().line().c_str());                          \
    auto& var = *QS_CONCAT(required_, __LINE__)

namespace qs::test {

/// SplitMix64's output function; tests/golden/gen/method_inputs.py has the same.
inline std::uint64_t mix(std::uint64_t x)
{
    x += 0x9e3779b97f4a7c15ULL;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
}

inline int hashedValue(std::uint64_t seed, Index i)
{
    const std::uint64_t h = mix(mix(seed) + static_cast<std::uint64_t>(i));
    return static_cast<int>((h & 255) + ((h >> 8) & 255) + ((h >> 16) & 255) + ((h >> 24) & 255)) - 510;
}

inline RowMatrix hashedWeights(std::uint64_t seed, Index rows, Index cols)
{
    RowMatrix W(rows, cols);
    for (Index i = 0; i < W.size(); ++i)
        W.values()[static_cast<std::size_t>(i)] = static_cast<float>(hashedValue(seed, i)) / 512.0F;
    return W;
}

/// Correlated tokens with a few channels nine times as large; sums of their products are exact in float64.
inline RowMatrix hashedTokens(std::uint64_t seed, Index count, Index cols)
{
    RowMatrix X(count, cols);
    for (Index t = 0; t < count; ++t) {
        for (Index j = 0; j < cols; ++j) {
            const int gain = mix(seed + 3 + static_cast<std::uint64_t>(j)) % 8 == 0 ? 9 : 1;
            const int z = hashedValue(seed + 1, t * cols + j);
            const int next = hashedValue(seed + 1, t * cols + (j + 1) % cols);
            const int shared = hashedValue(seed + 2, t * 4 + j % 4);
            X(t, j) = static_cast<float>(gain * (2 * z + next + 3 * shared)) / 1024.0F;
        }
    }
    return X;
}

inline MatrixD secondMoment(MatrixView X)
{
    MatrixD C(X.cols(), X.cols());
    for (Index t = 0; t < X.rows(); ++t)
        for (Index i = 0; i < X.cols(); ++i)
            for (Index j = 0; j < X.cols(); ++j)
                C(i, j) += static_cast<double>(X(t, i)) * static_cast<double>(X(t, j));
    for (double& value : C.values())
        value /= static_cast<double>(X.rows());
    return C;
}

/// Sum over all pairs: tr(A C A^T), the plain definition.
inline double trace(MatrixView A, MatrixViewD C)
{
    double total = 0.0;
    for (Index r = 0; r < A.rows(); ++r)
        for (Index i = 0; i < A.cols(); ++i) {
            double sum = 0.0;
            for (Index j = 0; j < A.cols(); ++j)
                sum += C(i, j) * static_cast<double>(A(r, j));
            total += static_cast<double>(A(r, i)) * sum;
        }
    return total;
}

inline RowMatrix difference(MatrixView A, MatrixView B)
{
    RowMatrix D(A);
    for (Index r = 0; r < A.rows(); ++r)
        for (Index c = 0; c < A.cols(); ++c)
            D(r, c) = A(r, c) - B(r, c);
    return D;
}

inline double outputError(MatrixView W, MatrixView What, MatrixViewD C)
{
    return trace(difference(W, What), C) / trace(W, C);
}

template <class T> bool sameBits(const BasicMatrix<T>& a, const BasicMatrix<T>& b)
{
    return a.rows() == b.rows() && a.cols() == b.cols()
        && std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.size()) * sizeof(T)) == 0;
}

/// A weight with the statistics of its input.
struct Problem {
    RowMatrix W, X;
    MatrixD C;
    JobContext job;
    Backend* backend = &cpuBackend();

    Problem() = default;
    Problem(std::uint64_t seed, Index rows, Index cols, Index tokens)
        : W(hashedWeights(seed, rows, cols))
        , X(hashedTokens(seed, tokens, cols))
        , C(secondMoment(X))
    {
    }
    recipe::InputView input() const
    {
        recipe::InputView view;
        view.channels = W.cols();
        view.tokens = X.rows();
        if (X.empty())
            return view;
        view.secondMoment = &C;
        const auto channels = static_cast<std::size_t>(W.cols());
        for (auto* list : {&view.absMax, &view.meanAbs, &view.l2Norm, &view.mean, &view.min, &view.max})
            list->assign(channels, 0.0);
        for (std::size_t j = 0; j < channels; ++j) {
            for (Index t = 0; t < X.rows(); ++t) {
                const double x = X(t, static_cast<Index>(j));
                view.absMax[j] = std::max(view.absMax[j], std::fabs(x));
                view.meanAbs[j] += std::fabs(x) / static_cast<double>(X.rows());
                view.mean[j] += x / static_cast<double>(X.rows());
                view.l2Norm[j] += x * x;
                view.min[j] = std::min(view.min[j], x);
                view.max[j] = std::max(view.max[j], x);
            }
            view.l2Norm[j] = std::sqrt(view.l2Norm[j]);
        }
        view.absMaxNoSinks = view.absMax;
        return view;
    }
    recipe::LayerProblem layer() const { return {"layer", W, input(), {*backend, job}}; }
};

/// A stage with these parameters, the others at their defaults.
inline Expected<recipe::StageInstance> makeStage(
    const recipe::StageRegistry& registry, const std::string& id, const recipe::Parameters& given = {})
{
    const recipe::StageFactory* factory = registry.stage(id);
    if (!factory)
        return fail(Errc::NotFound, "no stage " + id);
    QS_TRY(resolved, recipe::resolve(factory->info().parameters, given, id));
    return factory->create(resolved);
}

inline recipe::ParameterValue text(const char* value)
{
    return std::string(value);
}
inline recipe::ParameterValue whole(std::int64_t value)
{
    return value;
}

/// One list of a golden file, by value: loops run over it.
inline nlohmann::json golden(const std::string& file, const char* list)
{
    std::ifstream stream(std::string(QS_GOLDEN_DIR "/methods/") + file);
    return nlohmann::json::parse(stream).at(list);
}

/// The number that a letter of a golden stands for.
inline int letter(char c)
{
    return c <= '9' ? c - '0' : c - 'a' + 10;
}

} // namespace qs::test
