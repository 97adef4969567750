// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/recipe/exporter.h"

namespace qs::plugins {

/// Adds the exporters and the validator of this family.
Expected<void> registerExporters(recipe::ExporterRegistry& registry);

std::unique_ptr<recipe::Exporter> makeCompressedTensorsExporter();
std::unique_ptr<recipe::Exporter> makeLlmCompressorExporter();
std::unique_ptr<recipe::Exporter> makeQuantscopeExporter();
std::unique_ptr<recipe::Validator> makeValidator();

} // namespace qs::plugins
