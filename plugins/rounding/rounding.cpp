// SPDX-License-Identifier: Apache-2.0
#include "plugins/rounding/rounding.h"

#include "plugins/rounding/act_grid.h"
#include "plugins/rounding/int_grid.h"
#include "plugins/rounding/nearest.h"
#include "plugins/rounding/obs.h"

namespace qs::plugins {

Expected<void> registerRounding(recipe::StageRegistry& registry)
{
    QS_CHECK(registry.add(makeIntGrid()));
    QS_CHECK(registry.add(makeNearest()));
    QS_CHECK(registry.add(makeObs()));
    QS_CHECK(registry.add(makeActGrid()));
    return {};
}

} // namespace qs::plugins
