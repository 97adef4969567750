// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "core/base/error.h"

#include <filesystem>
#include <string>
#include <vector>

namespace qs::cli {

/// Checks of the place that a command will write to, made before the work: its folder is there and can be written to, and what
/// lies there already is of the same kind. An empty file is of any kind.
/// `inputs`: what the command reads (files or a model's folder; empty paths are none): none of them is overwritten, nor a
/// safetensors file in such a folder.
/// Errors   NotFound for a missing folder; Io for one that cannot be written to; InvalidArgument for a folder in the place of a
/// file, a file of another kind, or an input. Each names the option and the path as given.
enum class OutputKind { Dump, Safetensors, AnalysisJson, AnalysisCsv, Any };
Expected<void> checkOutputFile(
    const std::string& option, const std::string& path, OutputKind kind, const std::vector<std::string>& inputs);

/// The same for a folder, which may be there. With `empty`, it must hold nothing.
Expected<void> checkOutputFolder(const std::string& option, const std::string& path, bool empty);

} // namespace qs::cli
