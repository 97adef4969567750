// SPDX-License-Identifier: Apache-2.0
// Kernels without a model: Gram, GPTQ, RTN, decoding. `bench_core --benchmark_repetitions=5
// --benchmark_report_aggregates_only=true`
#include "core/exec/backend.h"
#include "core/exec/parallel.h"
#include "core/quant/uniform_grid.h"
#include "core/recipe/pipeline.h"
#include "core/recipe/stage.h"
#include "plugins/rounding/rounding.h"

#include <benchmark/benchmark.h>
#include <cmath>
#include <random>

namespace {

using namespace qs;

RowMatrix gaussian(Index rows, Index cols, std::uint64_t seed)
{
    RowMatrix matrix(rows, cols);
    parallelFor(0, rows, 64, [&](Index begin, Index end) {
        for (Index r = begin; r < end; ++r) {
            std::mt19937_64 engine(seed + static_cast<std::uint64_t>(r));
            std::normal_distribution<float> normal;
            for (float& value : matrix.row(r))
                value = normal(engine);
        }
    });
    return matrix;
}

/// The Gram of 8192 tokens of 4096 channels with unequal scales: a positive definite, realistic second moment.
const MatrixD& secondMoment4096()
{
    static const MatrixD C = [] {
        RowMatrix X = gaussian(8192, 4096, 7);
        for (Index t = 0; t < X.rows(); ++t)
            for (Index j = 0; j < X.cols(); ++j)
                X(t, j) *= static_cast<float>(std::exp(std::sin(0.37 * static_cast<double>(j))))
                    + (j > 0 ? 0.3F * X(t, j - 1) : 0.0F);
        MatrixD G(4096, 4096);
        cpuBackend().gram(X, G.mut());
        for (double& value : G.values())
            value /= 8192.0;
        return G;
    }();
    return C;
}

void gram(benchmark::State& state)
{
    const RowMatrix X = gaussian(8192, 4096, 1);
    MatrixD G(4096, 4096);
    for (auto _ : state)
        cpuBackend().gram(X, G.mut());
    // The symmetric half is what has to be computed; PyTorch's figure counts the full product, so this one does too.
    state.counters["GFLOP/s"]
        = benchmark::Counter(2.0 * 8192.0 * 4096.0 * 4096.0 / 1e9, benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(gram)->Unit(benchmark::kMillisecond)->UseRealTime();

void gemm(benchmark::State& state)
{
    const RowMatrix A = gaussian(4096, 4096, 1);
    const RowMatrix B = gaussian(4096, 4096, 2);
    RowMatrix C(4096, 4096);
    for (auto _ : state)
        cpuBackend().linear(A, B, C.mut());
    state.counters["GFLOP/s"]
        = benchmark::Counter(2.0 * std::pow(4096.0, 3) / 1e9, benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(gemm)->Unit(benchmark::kMillisecond)->UseRealTime();

void gptq4096(benchmark::State& state)
{
    recipe::StageRegistry registry;
    if (!plugins::registerRounding(registry)) {
        state.SkipWithError("stages");
        return;
    }
    const RowMatrix W = gaussian(4096, 4096, 3);
    const MatrixD& C = secondMoment4096();
    const auto pipeline = recipe::resolveFor(
        recipe::parsePipeline("- | - | int(bits=4, group=128) | obs | - | -", registry).value(), registry, 4096)
                              .value();
    const auto stage = [&](recipe::Slot slot) {
        const auto& call = pipeline[slot].front();
        return registry.stage(call.id)->create(call.parameters).value();
    };
    const auto grid = stage(recipe::Slot::Grid).grid;
    const auto solver = stage(recipe::Slot::Rounding).rounding;
    const JobContext job;
    recipe::LayerProblem problem{"layer", W, {}, {cpuBackend(), job}};
    problem.input.channels = 4096;
    problem.input.tokens = 8192;
    problem.input.secondMoment = &C;
    for (auto _ : state) {
        recipe::StageReport report;
        auto result = solver->solve(problem, grid.get(), nullptr, report);
        if (!result)
            state.SkipWithError(result.error().line().c_str());
        benchmark::DoNotOptimize(result);
    }
}
BENCHMARK(gptq4096)->Unit(benchmark::kSecond)->UseRealTime()->Iterations(1);

void rtn4096(benchmark::State& state)
{
    const RowMatrix W = gaussian(4096, 4096, 3);
    quant::UniformGridOptions options;
    options.range = static_cast<quant::RangeMethod>(state.range(0));
    for (auto _ : state) {
        auto result = quant::quantizeNearest(W, 128, options, cpuBackend());
        benchmark::DoNotOptimize(result);
    }
    state.SetBytesProcessed(state.iterations() * W.size() * 4);
    state.SetLabel(quant::rangeName(options.range));
}
BENCHMARK(rtn4096)->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond)->UseRealTime();

/// Decoding 4096 x 4096 weights on all cores; the limit beside it is a plain float32 copy of the same result.
void decode(benchmark::State& state)
{
    const auto type = static_cast<DType>(state.range(0));
    constexpr Index kRows = 4096;
    constexpr Index kCols = 4096;
    const auto rowBytes = static_cast<std::size_t>(storageBytes(type, kCols).value());
    std::vector<std::byte> source(rowBytes * kRows);
    std::mt19937 engine(5);
    for (std::byte& byte : source)
        byte = static_cast<std::byte>(engine() & 0x3B); // keeps half-precision scales finite
    RowMatrix target(kRows, kCols);
    for (auto _ : state) {
        parallelFor(0, kRows, 64, [&](Index begin, Index end) {
            for (Index r = begin; r < end; ++r)
                if (!decodeToFloat(
                        type, std::span(source).subspan(static_cast<std::size_t>(r) * rowBytes, rowBytes), target.row(r)))
                    std::abort();
        });
        benchmark::ClobberMemory();
    }
    state.SetBytesProcessed(state.iterations() * kRows * kCols * 4);
    state.SetLabel(dtypeName(type));
}
BENCHMARK(decode)
    ->Arg(static_cast<int>(DType::F32))
    ->Arg(static_cast<int>(DType::F16))
    ->Arg(static_cast<int>(DType::BF16))
    ->Arg(static_cast<int>(DType::Q4_0))
    ->Arg(static_cast<int>(DType::Q4_1))
    ->Arg(static_cast<int>(DType::Q8_0))
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

void copyLimit(benchmark::State& state)
{
    const RowMatrix source = gaussian(4096, 4096, 9);
    RowMatrix target(4096, 4096);
    for (auto _ : state) {
        parallelFor(0, 4096, 64, [&](Index begin, Index end) {
            std::copy(source.row(begin).begin(), source.row(begin).begin() + (end - begin) * 4096, target.row(begin).begin());
        });
        benchmark::ClobberMemory();
    }
    state.SetBytesProcessed(state.iterations() * source.size() * 4);
}
BENCHMARK(copyLimit)->Unit(benchmark::kMillisecond)->UseRealTime();

} // namespace

BENCHMARK_MAIN();
