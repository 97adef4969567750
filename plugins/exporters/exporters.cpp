// SPDX-License-Identifier: Apache-2.0
#include "exporters.h"

namespace qs::plugins {

Expected<void> registerExporters(recipe::ExporterRegistry& registry)
{
    QS_CHECK(registry.add(makeCompressedTensorsExporter()));
    QS_CHECK(registry.add(makeLlmCompressorExporter()));
    QS_CHECK(registry.add(makeQuantscopeExporter()));
    registry.add(makeValidator());
    return {};
}

} // namespace qs::plugins
