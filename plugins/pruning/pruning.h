// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/recipe/registry.h"

namespace qs::plugins {

/// Adds the stages `magnitude`, `wanda` and `sparsegpt`. Errors: InvalidArgument for an id that is taken.
Expected<void> registerPruning(recipe::StageRegistry& registry);

} // namespace qs::plugins
