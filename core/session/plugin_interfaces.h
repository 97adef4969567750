// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/recipe/exporter.h"
#include "core/recipe/registry.h"

#include <QtPlugin>

// Tells Qt's meta-object system about the Qt-free plugin interfaces. A plugin's entry file includes it next to
// Q_PLUGIN_METADATA.
Q_DECLARE_INTERFACE(qs::recipe::StagePlugin, QS_STAGE_PLUGIN_IID)
Q_DECLARE_INTERFACE(qs::recipe::ExporterPlugin, QS_EXPORTER_PLUGIN_IID)
