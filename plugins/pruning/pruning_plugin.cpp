// SPDX-License-Identifier: Apache-2.0
#include "core/session/plugin_interfaces.h"
#include "plugins/pruning/pruning.h"

#include <QObject>

class PruningPlugin : public QObject, public qs::recipe::StagePlugin {
    Q_OBJECT
    Q_PLUGIN_METADATA(IID QS_STAGE_PLUGIN_IID FILE "pruning.json")
    Q_INTERFACES(qs::recipe::StagePlugin)
public:
    qs::Expected<void> registerStages(qs::recipe::StageRegistry& registry) override
    {
        return qs::plugins::registerPruning(registry);
    }
};

#include "pruning_plugin.moc"
