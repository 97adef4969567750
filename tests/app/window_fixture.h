// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "app/gui/main_window.h"
#include "app/gui/view_dock.h"
#include "views/panels/layers_panel.h"
#include "views/theme/theme.h"

#include <QDir>
#include <QSettings>
#include <QStandardPaths>
#include <QTabBar>
#include <QTemporaryDir>
#include <QTest>
#include <QTreeView>

namespace qs::test {

/// A fresh window on the bundled sample for every test function, and what people do with it.
class WindowTest : public QObject {
    Q_OBJECT
protected:
    static constexpr int kLong = 120000;
    QTemporaryDir m_folder;
    std::unique_ptr<app::MainWindow> m_window;

    session::Workbench& bench() { return m_window->bench(); }
    /// For people to look at: numbers and fonts of dialogs differ too much between systems for a comparison.
    static bool keepPicture(QWidget* widget, const QString& name)
    {
        const QString folder = QStringLiteral(QS_BINARY_DIR "/screenshots");
        return QDir().mkpath(folder) && widget->grab().save(folder + u'/' + name + QStringLiteral(".png"));
    }
    void clickLayer(const char* name)
    {
        QTreeView* tree = m_window->layersPanel()->tree();
        const int layer = bench().model()->spec().find(name);
        for (int row = 0; row < tree->model()->rowCount(); ++row) {
            const QModelIndex index = tree->model()->index(row, 0);
            if (index.data(session::LayerTreeModel::LayerRole).toInt() != layer)
                continue;
            tree->scrollTo(index);
            QTest::mouseClick(tree->viewport(), Qt::LeftButton, {}, tree->visualRect(index).center());
            return;
        }
        QFAIL("layer is not in the tree");
    }
    static void clickTabOf(QTabBar* tabs, const QString& name, Qt::MouseButton button = Qt::LeftButton)
    {
        for (int i = 0; i < tabs->count(); ++i) {
            if (tabs->tabText(i) == name) {
                QTest::mouseClick(tabs, button, {}, tabs->tabRect(i).center());
                return;
            }
        }
        QFAIL("there is no such tab");
    }
    void clickTab(const QString& name)
    {
        app::ViewDock* view = m_window->dock(name);
        QTRY_VERIFY(m_window->tabBarOf(view));
        clickTabOf(m_window->tabBarOf(view), name);
        QTRY_VERIFY(view->onScreen());
    }

public Q_SLOTS:
    void initTestCase()
    {
        QStandardPaths::setTestModeEnabled(true);
        QCoreApplication::setOrganizationName(QStringLiteral("quantscope-test"));
        views::Theme::instance().apply(false);
    }
    void init()
    {
        QSettings().clear();
        m_window = std::make_unique<app::MainWindow>();
        m_window->resize(1500, 950);
        m_window->show();
        QVERIFY(QTest::qWaitForWindowExposed(m_window.get()));
        // The file, not the folder: the dump beside it stays away, and tests that need one make it.
        m_window->openPath(QStringLiteral(QS_SAMPLE_DIR "/model.safetensors"));
        QTRY_VERIFY_WITH_TIMEOUT(bench().ranking().ready(), kLong);
        QTRY_VERIFY_WITH_TIMEOUT(bench().jobs().idle(), kLong);
    }
    void cleanup() { m_window.reset(); }
};

} // namespace qs::test
