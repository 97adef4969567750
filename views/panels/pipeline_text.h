// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "core/session/workbench.h"

#include <optional>

namespace qs::views {

/// Whether weights of this type are floating-point numbers, not blocks or integers of somebody's quantization.
bool isPlain(DType type);
/// "gptq 4 bit g128" on the current layer: an automatic group is written as what it is for this layer. Where no layer is
/// selected: what it is for all of them, or left out where they differ.
QString pipelineName(const session::Workbench& bench, const recipe::Pipeline& pipeline);
/// The same over all layers: "gptq 4 bit g64–128" where an automatic group differs between them.
QString pipelineNameOverModel(const session::Workbench& bench, const recipe::Pipeline& pipeline);
/// "bits 4  group 64  sym-fullrange-mid": what people ask first of a pipeline, on the current layer.
QString pipelineSummary(const session::Workbench& bench, const recipe::Pipeline& pipeline);
/// A pipeline with its automatic values as they are on the current layer; unchanged without one.
recipe::Pipeline resolvedHere(const session::Workbench& bench, const recipe::Pipeline& pipeline);

/// The error that a pipeline is judged by.
struct ShownError {
    double value = 0;
    QString name; ///< "output error, holdout".
    QString formula;
};
/// Where the pipeline quantizes the inputs: with them, as E|Wx − ŴQ(x)|² / E|Wx|², or "weights only" where the dump holds no
/// raw tokens. Without a dump: the weight error.
ShownError shownError(const recipe::LayerMetrics& metrics, const recipe::Pipeline& pipeline);

/// What the session's target runtime says to the current layer, and what must change with it, under a pipeline: from the
/// lints of the formats that it could load. Nothing without a model, a layer or an exporter. Cost  no work on weights.
struct TargetVerdict {
    QString runtime; ///< "vLLM".
    enum class State { Loads, Refused, Unknown, Unwritten };
    State state = State::Unknown; ///< Unwritten: no exporter here writes it, whatever the runtime could do.
    bool loads() const { return state == State::Loads; }
    QString word() const; ///< "yes", "no", "unknown", "no export".
    QString sentence() const; ///< "vLLM does not load it: 3-bit symmetric weights".
    QString why; ///< One clause: "3-bit symmetric weights".
    QString full; ///< All that is known, for a tool tip.
};
std::optional<TargetVerdict> targetVerdict(const session::Workbench& bench, const recipe::Pipeline& pipeline);

} // namespace qs::views
