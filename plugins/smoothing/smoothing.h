// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/recipe/registry.h"

namespace qs::plugins {

/// Adds the stages `awq` and `smooth`. Errors: InvalidArgument for an id that is taken.
Expected<void> registerSmoothing(recipe::StageRegistry& registry);

} // namespace qs::plugins
