// SPDX-License-Identifier: Apache-2.0
#include "plugins/smoothing/smoothing.h"

#include "plugins/smoothing/awq.h"
#include "plugins/smoothing/smooth.h"

namespace qs::plugins {

Expected<void> registerSmoothing(recipe::StageRegistry& registry)
{
    QS_CHECK(registry.add(makeAwq()));
    QS_CHECK(registry.add(makeSmooth()));
    return {};
}

} // namespace qs::plugins
