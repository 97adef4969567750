// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/recipe/exporter.h"
#include "core/recipe/registry.h"

#include <QAbstractTableModel>
#include <QJsonObject>
#include <QString>
#include <QStringList>

#include <memory>
#include <vector>

class QPluginLoader;

namespace qs::session {

/// One module that was found, loaded or not.
struct PluginRecord {
    QString id; ///< "rounding", from its JSON.
    QString name;
    QString path;
    QString iid;
    QString error; ///< Why it was not used, or what of it is missing; empty when all is well.
    bool loaded = false;
    QJsonObject metadata; ///< The plugin's own JSON: stages, needs, license, references.
};

/// Finds plugins, reads their JSON before any code is loaded, checks the interface version and fills the registries.
///
/// Folders, first found wins for an id: QS_PLUGIN_PATH (a list), `<program's folder>/../plugins`,
/// `<program's folder>/../lib*/quantscope/plugins`. Each family is a folder `<family>/<family>.so` with `methods/*.json` beside
/// it. A plugin that fails is listed with the reason and skipped; nothing else is affected. Methods that a plugin's JSON
/// declares ("methods") and that are not there are an error of the plugin as well.
class PluginManager {
public:
    PluginManager();
    ~PluginManager();
    PluginManager(const PluginManager&) = delete;
    PluginManager& operator=(const PluginManager&) = delete;

    static QStringList defaultFolders();
    /// Scans and loads. Call once, before the registries are shared.
    void load(const QStringList& folders = defaultFolders());

    const recipe::StageRegistry& stages() const { return m_stages; }
    const recipe::ExporterRegistry& exporters() const { return m_exporters; }
    const std::vector<PluginRecord>& records() const { return m_records; }
    QStringList errors() const; ///< One line per plugin or methods folder that failed.

private:
    void loadOne(PluginRecord& record);
    /// What a plugin's JSON declares must be there once all is loaded, except where a broken file was told.
    void checkMethods(const QStringList& brokenFolders);

    std::vector<std::unique_ptr<QPluginLoader>> m_loaders; ///< Declared first: the code must outlive what it registered.
    std::vector<PluginRecord> m_records;
    recipe::StageRegistry m_stages;
    recipe::ExporterRegistry m_exporters;
};

/// The records of a PluginManager for a table: name, state, path.
class PluginModel : public QAbstractTableModel {
    Q_OBJECT
public:
    enum Column { Name, State, Path, ColumnCount };
    explicit PluginModel(const PluginManager& plugins, QObject* parent = nullptr);
    int rowCount(const QModelIndex& parent = {}) const override;
    int columnCount(const QModelIndex& parent = {}) const override;
    QVariant data(const QModelIndex& index, int role = Qt::DisplayRole) const override;
    QVariant headerData(int section, Qt::Orientation orientation, int role = Qt::DisplayRole) const override;

private:
    std::vector<PluginRecord> m_records;
};

} // namespace qs::session
