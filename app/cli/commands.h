// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "context.h"

#include <string>
#include <vector>

namespace qs::cli {

struct InspectOptions {
    std::string model;
};
Expected<Outcome> inspect(const InspectOptions& options, Context& context);

struct CaptureOptions {
    std::string model, text, out, layers;
    Index samples = 0, seqLen = 0, keepTokens = 0;
    bool gramFloat32 = false;
    std::vector<std::string> merge; ///< Dumps to merge instead of running a model.
};
Expected<Outcome> capture(const CaptureOptions& options, Context& context);

struct AnalyzeOptions {
    std::string model, dump, layers, out;
    bool vectors = false; ///< Channel statistics, Hessian diagonal and eigenvalues in the JSON document.
};
/// With `out`: layers.json (the JSON document), layers.csv (scalars) and, per layer, NAME.json (its entry with vectors) and
/// NAME.channels.csv.
Expected<Outcome> analyze(const AnalyzeOptions& options, Context& context);

Expected<Outcome> methods(Context& context);

struct CompareOptions {
    std::string model, dump, layers, saveTensors;
    std::vector<std::string> pipelines;
};
Expected<Outcome> compare(const CompareOptions& options, Context& context);

struct EvalOptions {
    std::string model, text, dump, reference;
    std::vector<std::string> recipes;
    Index seqLen = 0, maxTokens = 0;
};
Expected<Outcome> eval(const EvalOptions& options, Context& context);

struct ExportOptions {
    std::string model, recipe, dump, format, out;
};
Expected<Outcome> exportModel(const ExportOptions& options, Context& context);
/// The formats that `export --help` lists.
std::string exportFormats(Context& context);

struct ValidateOptions {
    std::string path;
};
Expected<Outcome> validate(const ValidateOptions& options, Context& context);

} // namespace qs::cli
