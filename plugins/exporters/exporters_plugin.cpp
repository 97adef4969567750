// SPDX-License-Identifier: Apache-2.0
#include "core/session/plugin_interfaces.h"
#include "exporters.h"

#include <QObject>

namespace {

class ExportersPlugin : public QObject, public qs::recipe::ExporterPlugin {
    Q_OBJECT
    Q_PLUGIN_METADATA(IID QS_EXPORTER_PLUGIN_IID FILE "exporters.json")
    Q_INTERFACES(qs::recipe::ExporterPlugin)

public:
    qs::Expected<void> registerExporters(qs::recipe::ExporterRegistry& registry) override
    {
        return qs::plugins::registerExporters(registry);
    }
};

} // namespace

#include "exporters_plugin.moc"
