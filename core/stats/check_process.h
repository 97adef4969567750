// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/error.h"

#include <chrono>
#include <filesystem>

namespace qs::stats {

/// Lets the program `quantscope-h5check` walk and read an HDF5 file under limits of time and memory before this process opens
/// it. The program is looked for in the environment's QS_H5CHECK, beside this executable, in ../bin of that, and where it was
/// built.
///
/// Errors   Format with what the check refused, or that it broke or took more processor time than `timeout` (0: 30 s and 1 s
/// per
///          20 MB); Io when it did not end within ten times that by the clock; NotFound when the program is not there.
/// Cost     reads the file once.   Threads   any.
Expected<void> checkByChild(const std::filesystem::path& file, std::chrono::milliseconds timeout = {});

} // namespace qs::stats
