// SPDX-License-Identifier: Apache-2.0
#include "core/session/plugin_manager.h"

#include "core/session/plugin_interfaces.h"

#include <QCoreApplication>
#include <QDir>
#include <QDirIterator>
#include <QFileInfo>
#include <QJsonArray>
#include <QLibrary>
#include <QPluginLoader>

#include <algorithm>

namespace qs::session {

PluginManager::PluginManager() = default;
PluginManager::~PluginManager() = default; // QPluginLoader does not unload in its destructor

QStringList PluginManager::defaultFolders()
{
    QStringList folders = qEnvironmentVariable("QS_PLUGIN_PATH").split(QDir::listSeparator(), Qt::SkipEmptyParts);
    const QDir program(QCoreApplication::applicationDirPath());
    folders << program.filePath(QStringLiteral("../plugins"));
    const QDir prefix(program.filePath(QStringLiteral("..")));
    const QStringList libs = prefix.entryList({QStringLiteral("lib*")}, QDir::Dirs | QDir::NoDotAndDotDot, QDir::Name);
    for (const QString& lib : libs) {
        folders << prefix.filePath(lib + QStringLiteral("/quantscope/plugins"));
        // Debian's multiarch folder.
        const QDir inner(prefix.filePath(lib));
        const QStringList archs
            = inner.entryList({QStringLiteral("*-linux-gnu*")}, QDir::Dirs | QDir::NoDotAndDotDot, QDir::Name);
        for (const QString& arch : archs)
            folders << inner.filePath(arch + QStringLiteral("/quantscope/plugins"));
    }
    return folders;
}

void PluginManager::load(const QStringList& folders)
{
    QStringList seenIds;
    QStringList seenFolders;
    QStringList methodFolders;
    for (const QString& folder : folders) {
        const QString canonical = QFileInfo(folder).canonicalFilePath();
        if (canonical.isEmpty() || seenFolders.contains(canonical))
            continue;
        seenFolders << canonical;
        const QDir dir(canonical);
        const QStringList families = dir.entryList(QDir::Dirs | QDir::NoDotAndDotDot, QDir::Name);
        for (const QString& family : families) {
            const QDir familyDir(dir.filePath(family));
            const QStringList files = familyDir.entryList(QDir::Files, QDir::Name);
            for (const QString& file : files) {
                if (!QLibrary::isLibrary(file))
                    continue;
                PluginRecord record;
                record.path = familyDir.filePath(file);
                QPluginLoader probe(record.path); // reads the embedded JSON only
                const QJsonObject meta = probe.metaData();
                record.iid = meta.value(QStringLiteral("IID")).toString();
                record.metadata = meta.value(QStringLiteral("MetaData")).toObject();
                record.id = record.metadata.value(QStringLiteral("id")).toString(family);
                record.name = record.metadata.value(QStringLiteral("name")).toString(record.id);
                if (seenIds.contains(record.id))
                    continue;
                seenIds << record.id;
                loadOne(record);
                if (record.loaded && familyDir.exists(QStringLiteral("methods")))
                    methodFolders << familyDir.filePath(QStringLiteral("methods"));
                m_records.push_back(std::move(record));
            }
        }
    }
    // A method may use stages of several families, so methods come after all stages.
    QStringList broken;
    for (const QString& folder : methodFolders) {
        if (const auto added = m_stages.addMethods(folder.toStdString()); !added) {
            PluginRecord record;
            record.id = QFileInfo(folder).dir().dirName() + QStringLiteral("/methods");
            record.name = record.id;
            record.path = folder;
            record.error = QString::fromStdString(added.error().line());
            broken << QFileInfo(folder).dir().path();
            m_records.push_back(std::move(record));
        }
    }
    checkMethods(broken);
}

void PluginManager::checkMethods(const QStringList& brokenFolders)
{
    for (PluginRecord& record : m_records) {
        if (brokenFolders.contains(QFileInfo(record.path).dir().path()))
            continue; // the file is there, and its error is told
        QStringList missing;
        const QJsonArray declared = record.metadata.value(QStringLiteral("methods")).toArray();
        for (const auto& id : declared) {
            if (!m_stages.method(id.toString().toStdString()))
                missing << id.toString();
        }
        if (record.loaded && !missing.isEmpty())
            record.error = QStringLiteral("its methods %1 are missing; they belong into %2 (install the plugin again)")
                               .arg(missing.join(QStringLiteral(", ")),
                                   QFileInfo(record.path).dir().filePath(QStringLiteral("methods")));
    }
}

void PluginManager::loadOne(PluginRecord& record)
{
    const bool stages = record.iid == QLatin1String(QS_STAGE_PLUGIN_IID);
    const bool exporters = record.iid == QLatin1String(QS_EXPORTER_PLUGIN_IID);
    if (record.iid.isEmpty()) {
        record.error = QStringLiteral("not a Quantscope plugin: no metadata");
        return;
    }
    if (!stages && !exporters) {
        record.error = QStringLiteral("interface %1 is not the one of this program (%2 or %3); rebuild the plugin")
                           .arg(record.iid, QLatin1String(QS_STAGE_PLUGIN_IID), QLatin1String(QS_EXPORTER_PLUGIN_IID));
        return;
    }
    auto loader = std::make_unique<QPluginLoader>(record.path);
    QObject* instance = loader->instance();
    if (!instance) {
        record.error = loader->errorString();
        return;
    }
    Expected<void> registered;
    if (auto* plugin = qobject_cast<recipe::StagePlugin*>(instance); stages && plugin)
        registered = plugin->registerStages(m_stages);
    else if (auto* exporter = qobject_cast<recipe::ExporterPlugin*>(instance); exporters && exporter)
        registered = exporter->registerExporters(m_exporters);
    else
        registered = fail(Errc::Internal, "declares an interface that it does not implement", record.path.toStdString());
    m_loaders.push_back(std::move(loader));
    if (!registered) {
        record.error = QString::fromStdString(registered.error().line());
        return;
    }
    record.loaded = true;
}

QStringList PluginManager::errors() const
{
    QStringList lines;
    for (const PluginRecord& record : m_records) {
        if (!record.error.isEmpty())
            lines << QStringLiteral("%1: %2").arg(record.path, record.error);
    }
    return lines;
}

PluginModel::PluginModel(const PluginManager& plugins, QObject* parent)
    : QAbstractTableModel(parent)
    , m_records(plugins.records())
{
}

int PluginModel::rowCount(const QModelIndex& parent) const
{
    return parent.isValid() ? 0 : static_cast<int>(m_records.size());
}

int PluginModel::columnCount(const QModelIndex& parent) const
{
    return parent.isValid() ? 0 : static_cast<int>(ColumnCount);
}

QVariant PluginModel::data(const QModelIndex& index, int role) const
{
    if (!checkIndex(index, CheckIndexOption::IndexIsValid) || (role != Qt::DisplayRole && role != Qt::ToolTipRole))
        return {};
    const PluginRecord& record = m_records[static_cast<std::size_t>(index.row())];
    switch (index.column()) {
    case Name: return record.name;
    case State:
        return !record.loaded        ? record.error
            : record.error.isEmpty() ? QStringLiteral("loaded")
                                     : QStringLiteral("loaded, but ") + record.error;
    case Path: return record.path;
    default: return {};
    }
}

QVariant PluginModel::headerData(int section, Qt::Orientation orientation, int role) const
{
    if (orientation != Qt::Horizontal || role != Qt::DisplayRole)
        return {};
    switch (section) {
    case Name: return QStringLiteral("plugin");
    case State: return QStringLiteral("state");
    case Path: return QStringLiteral("file");
    default: return {};
    }
}

} // namespace qs::session
