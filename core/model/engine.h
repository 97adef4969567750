// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/exec/backend.h"
#include "core/exec/job_context.h"
#include "core/model/model.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace qs::model {

/// Equal-length windows of token ids.
struct Windows {
    Index length = 0;
    std::vector<std::vector<std::int32_t>> ids;
    Index count() const { return static_cast<Index>(ids.size()); }
    Index tokens() const { return length * count(); }
};

/// Cuts token ids into consecutive windows without overlap; the tail is dropped; at most `maxWindows` (0: all).
Windows cutWindows(std::span<const std::int32_t> ids, Index length, Index maxWindows = 0);

/// What a linear layer computes with in a simulated forward pass.
struct LayerReplacement {
    RowMatrix weight; ///< Effective weight in W's own input and output space; empty: keep the original.
    /// Simulates the quantization of the layer's input in place, x (tokens, in), windows of so many tokens; null: none.
    std::function<void(MutMatrixView, Index)> quantizeInput;
};

/// Supplies replacements layer by layer, when the engine reaches them.
class Replacements {
public:
    virtual ~Replacements() = default;
    /// Nothing when the layer is not touched. `original` is the decoded weight.
    virtual Expected<std::optional<LayerReplacement>> layer(
        LayerIndex index, MatrixView original, const JobContext& job) const = 0;
};

/// Receives layer inputs while a model runs: x (tokens of one window, in), once per shared input and window, in order of
/// windows within an input. Calls come from the thread that runs the engine, one at a time.
class InputObserver {
public:
    virtual ~InputObserver() = default;
    virtual bool wants(const std::string& inputId) const = 0;
    virtual Expected<void> observe(const std::string& inputId, Index window, MatrixView x) = 0;
    /// After all windows went through a block: its inputs are complete.
    virtual Expected<void> blockDone(int block, const JobContext& job) = 0;
};

/// Runs a Llama-family model on the CPU in float32, block by block: all windows through one block, then the next.
///
/// Windows are stacked, up to about 4096 tokens, so that matrix products are large.
///
/// Memory   one decoded block, the hidden states of all windows, and the scratch of one stack (at most 256 MiB, or one window).
/// Errors   Unsupported for a spec that cannot be run (the reason is named); Mismatch for a replacement of another shape or a
/// token id
///          outside the vocabulary; NotFinite for NaN or Inf in a weight (the tensor and place are named); Cancelled.
/// Threads  const: runs on different threads share the cores; matrix products use all of them.
class Engine {
public:
    Engine(std::shared_ptr<const Model> model, Backend& backend);

    /// Hidden states after the final norm: (windows * length, hidden), windows in order.
    Expected<RowMatrix> run(
        const Windows& windows, const Replacements* replacements, InputObserver* observer, const JobContext& job) const;
    /// The output head (vocab, hidden) as float32: the tied embedding or lm_head.
    Expected<RowMatrix> head() const;
    const Model& model() const { return *m_model; }
    Backend& backend() const { return m_backend; }

private:
    std::shared_ptr<const Model> m_model;
    Backend& m_backend;
};

} // namespace qs::model
