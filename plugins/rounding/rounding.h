// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/recipe/registry.h"

namespace qs::plugins {

/// Adds the stages `int`, `nearest`, `obs` and `act`. Errors: InvalidArgument for an id that is taken.
Expected<void> registerRounding(recipe::StageRegistry& registry);

} // namespace qs::plugins
