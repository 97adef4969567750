// SPDX-License-Identifier: Apache-2.0
#include "core/recipe/pipeline.h"
#include "core/session/workbench.h"

#include <QAbstractItemModelTester>
#include <QDir>
#include <QFile>
#include <QTemporaryDir>
#include <QTest>

using namespace qs;
using namespace qs::session;

class TestPluginManager : public QObject {
    Q_OBJECT
private Q_SLOTS:
    void loadsOurFamilies()
    {
        PluginManager plugins;
        plugins.load({QStringLiteral(QS_BINARY_DIR "/plugins")});
        QCOMPARE(plugins.errors(), QStringList());
        for (const char* stage : {"int", "nearest"})
            QVERIFY2(plugins.stages().stage(stage), stage);
        for (const char* method : {"rtn", "gptq", "awq", "smoothquant", "magnitude", "wanda", "sparsegpt"}) {
            QVERIFY2(plugins.stages().method(method), method);
            QVERIFY2(recipe::parsePipeline(method, plugins.stages()).has_value(), method);
        }
        QVERIFY(!plugins.exporters().all().empty());
    }

    void brokenPluginsAreListedWithTheReason()
    {
        QTemporaryDir folder;
        QVERIFY(QDir(folder.path()).mkpath(QStringLiteral("broken")));
        QFile file(folder.path() + QStringLiteral("/broken/broken.so"));
        QVERIFY(file.open(QIODevice::WriteOnly));
        file.write("this is not a shared library");
        file.close();
        PluginManager plugins;
        plugins.load({folder.path()});
        QCOMPARE(plugins.records().size(), std::size_t{1});
        QVERIFY(!plugins.records()[0].loaded);
        QVERIFY(plugins.errors().first().contains(QStringLiteral("broken.so")));
        PluginModel model(plugins);
        QAbstractItemModelTester tester(&model);
        QCOMPARE(model.rowCount(), 1);
    }

    void missingMethodsAreToldAndNotReplaced()
    {
        // A copy of the program whose methods/ folders were forgotten.
        QTemporaryDir folder;
        for (const char* family : {"rounding", "smoothing"}) {
            const QString name = QLatin1String(family);
            QVERIFY(QDir(folder.path()).mkpath(name));
            QVERIFY(QFile::copy(QStringLiteral(QS_BINARY_DIR "/plugins/%1/%1.so").arg(name),
                folder.filePath(QStringLiteral("%1/%1.so").arg(name))));
        }
        Workbench bench;
        bench.loadPlugins({folder.path()});
        QVERIFY(bench.registry().stage("awq"));
        QVERIFY(!bench.registry().method("awq"));
        QVERIFY(bench.state().pipelines.empty()); // not the bare stage 'awq'
        QStringList lines;
        for (const Message& message : bench.messages().messages())
            lines << message.text;
        const QString all = lines.join(u'\n');
        QVERIFY2(
            all.contains(QStringLiteral("rtn, gptq")) && all.contains(QStringLiteral("awq, smoothquant")), qPrintable(all));
        QCOMPARE(lines.size(), 2);
        QVERIFY(PluginModel(bench.plugins())
                    .index(0, PluginModel::State)
                    .data()
                    .toString()
                    .startsWith(QStringLiteral("loaded, but its methods")));
    }

    void wrongInterfaceIsRefusedBeforeLoading()
    {
        // A real module whose embedded interface id is changed in place: one digit of the version.
        QTemporaryDir folder;
        QVERIFY(QDir(folder.path()).mkpath(QStringLiteral("old")));
        QFile source(QStringLiteral(QS_BINARY_DIR "/plugins/rounding/rounding.so"));
        QVERIFY(source.open(QIODevice::ReadOnly));
        QByteArray bytes = source.readAll();
        const QByteArray iid(QS_STAGE_PLUGIN_IID);
        QVERIFY(bytes.contains(iid));
        QByteArray other = iid;
        other.back() = '0';
        bytes.replace(iid, other);
        QFile target(folder.path() + QStringLiteral("/old/old.so"));
        QVERIFY(target.open(QIODevice::WriteOnly));
        target.write(bytes);
        target.close();
        PluginManager plugins;
        plugins.load({folder.path()});
        QCOMPARE(plugins.records().size(), std::size_t{1});
        QVERIFY2(plugins.records()[0].error.contains(QString::fromLatin1(other)), qPrintable(plugins.records()[0].error));
        QVERIFY(plugins.stages().stages().empty());
    }

    void sameIdIsTakenOnce()
    {
        PluginManager plugins;
        const QString folder = QStringLiteral(QS_BINARY_DIR "/plugins");
        plugins.load({folder, folder + QStringLiteral("/../plugins"), QStringLiteral("/does/not/exist")});
        QCOMPARE(plugins.errors(), QStringList());
    }
};

QTEST_GUILESS_MAIN(TestPluginManager)
#include "tst_plugin_manager.moc"
