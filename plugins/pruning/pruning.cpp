// SPDX-License-Identifier: Apache-2.0
#include "plugins/pruning/pruning.h"

#include "plugins/pruning/pruners.h"

namespace qs::plugins {

Expected<void> registerPruning(recipe::StageRegistry& registry)
{
    QS_CHECK(registry.add(makeMagnitude()));
    QS_CHECK(registry.add(makeWanda()));
    QS_CHECK(registry.add(makeSparseGpt()));
    return {};
}

} // namespace qs::plugins
