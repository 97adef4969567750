// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/recipe/registry.h"

namespace qs::plugins {

/// Adds the stage `random`. Errors: InvalidArgument for an id that is taken.
Expected<void> registerExample(recipe::StageRegistry& registry);

} // namespace qs::plugins
