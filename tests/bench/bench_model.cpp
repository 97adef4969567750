// SPDX-License-Identifier: Apache-2.0
// A real model: set QS_BENCH_MODEL to its path. Opening, decoding all layers, prefill.
#include "core/model/engine.h"
#include "core/model/model.h"

#include <benchmark/benchmark.h>
#include <cstdlib>
#include <random>

namespace {

using namespace qs;

std::string modelPath()
{
    const char* path = std::getenv("QS_BENCH_MODEL");
    return path ? path : "";
}

void openModelFile(benchmark::State& state)
{
    for (auto _ : state) {
        auto model = model::openModel(modelPath());
        if (!model) {
            state.SkipWithError("set QS_BENCH_MODEL to a model");
            return;
        }
        benchmark::DoNotOptimize(model);
    }
}
BENCHMARK(openModelFile)->Unit(benchmark::kMillisecond)->UseRealTime();

void decodeAllLayers(benchmark::State& state)
{
    const auto model = model::openModel(modelPath());
    if (!model) {
        state.SkipWithError("set QS_BENCH_MODEL to a model");
        return;
    }
    Index weights = 0;
    for (auto _ : state) {
        weights = 0;
        for (const auto& layer : (*model)->spec().layers)
            weights += (*model)->loadWeight(layer).value().size();
    }
    state.SetBytesProcessed(state.iterations() * weights * 4);
}
BENCHMARK(decodeAllLayers)->Unit(benchmark::kMillisecond)->UseRealTime();

void prefill(benchmark::State& state)
{
    const auto opened = model::openModel(modelPath());
    if (!opened) {
        state.SkipWithError("set QS_BENCH_MODEL to a model");
        return;
    }
    std::mt19937 engine(1);
    model::Windows windows;
    windows.length = 512;
    for (int w = 0; w < 8; ++w) {
        auto& ids = windows.ids.emplace_back();
        for (int t = 0; t < 512; ++t)
            ids.push_back(static_cast<std::int32_t>(engine() % static_cast<unsigned>((*opened)->spec().vocab)));
    }
    const model::Engine forward(*opened, cpuBackend());
    for (auto _ : state) {
        auto hidden = forward.run(windows, nullptr, nullptr, {});
        if (!hidden)
            state.SkipWithError(hidden.error().line().c_str());
        benchmark::DoNotOptimize(hidden);
    }
    state.counters["tokens/s"]
        = benchmark::Counter(static_cast<double>(windows.tokens()), benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(prefill)->Unit(benchmark::kSecond)->UseRealTime()->Iterations(1);

} // namespace

BENCHMARK_MAIN();
