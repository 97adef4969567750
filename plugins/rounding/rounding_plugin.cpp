// SPDX-License-Identifier: Apache-2.0
#include "core/session/plugin_interfaces.h"
#include "plugins/rounding/rounding.h"

#include <QObject>

class RoundingPlugin : public QObject, public qs::recipe::StagePlugin {
    Q_OBJECT
    Q_PLUGIN_METADATA(IID QS_STAGE_PLUGIN_IID FILE "rounding.json")
    Q_INTERFACES(qs::recipe::StagePlugin)
public:
    qs::Expected<void> registerStages(qs::recipe::StageRegistry& registry) override
    {
        return qs::plugins::registerRounding(registry);
    }
};

#include "rounding_plugin.moc"
