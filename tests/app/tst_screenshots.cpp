// SPDX-License-Identifier: GPL-3.0-or-later
#include "app/gui/main_window.h"
#include "app/gui/view_dock.h"
#include "core/session/job_queue.h"
#include "tests/app/image_compare.h"
#include "views/theme/theme.h"

#include <QLabel>
#include <QStandardPaths>
#include <QTabBar>
#include <QTemporaryDir>
#include <QTest>

using namespace qs;
using namespace qs::app;

/// One picture per view, of the real window on the bundled sample with a small fixed calibration. Numbers that depend on the
/// clock are hidden.
class TestScreenshots : public QObject {
    Q_OBJECT
    static constexpr int kLong = 120000;
    QTemporaryDir m_folder;
    std::unique_ptr<MainWindow> m_window;

    bool settle()
    {
        int quiet = 0;
        QElapsedTimer clock;
        clock.start();
        while (quiet < 10 && clock.elapsed() < kLong) {
            QTest::qWait(50);
            quiet = m_window->idle() ? quiet + 1 : 0;
        }
        return quiet >= 10;
    }

private Q_SLOTS:
    void initTestCase()
    {
        QStandardPaths::setTestModeEnabled(true);
        views::Theme::instance().apply(false);
        m_window = std::make_unique<MainWindow>();
        m_window->resize(1660, 1046);
        m_window->show();
        m_window->openPath(QStringLiteral(QS_SAMPLE_DIR));
        QVERIFY(settle());
        session::Workbench& bench = m_window->bench();
        QVERIFY(bench.model());
        model::CaptureOptions options;
        options.samples = 8;
        options.seqLen = 64;
        options.keepTokens = 64;
        bench.calibrate(
            QS_SAMPLE_DIR "/calibration.txt", (m_folder.path() + QStringLiteral("/fixed.h5")).toStdString(), options);
        QVERIFY(settle());
        QVERIFY(bench.dump());
        bench.selection().selectLayer(bench.model()->spec().find("model.layers.3.mlp.down_proj"), nullptr);
        bench.compareModel();
        QVERIFY(settle());
    }

    void views_data()
    {
        QTest::addColumn<QString>("view");
        QTest::addColumn<bool>("dark");
        for (const char* view : {"Channels", "Distribution", "Hessian", "QSUR", "Compare"})
            QTest::newRow(view) << QString::fromLatin1(view) << false;
        QTest::newRow("Compare, dark") << "Compare" << true;
    }
    void views()
    {
        QFETCH(QString, view);
        QFETCH(bool, dark);
        m_window->setDark(dark);
        QVERIFY(m_window->showView(view));
        QVERIFY(settle());
        // The name of the layer, the tabs and the view, without what stands at the sides.
        const QRect area = m_window->centralWidget()->geometry().united(m_window->dock(view)->geometry());
        const QImage image = m_window->grab(area).toImage();
        const QString name = view.toLower() + (dark ? QStringLiteral("-dark") : QString());
        const QString problem = test::compareWithReference(
            image, QStringLiteral(QS_SCREENSHOT_DIR "/%1.png").arg(name), QStringLiteral(QS_BINARY_DIR "/screenshots"));
        QVERIFY2(problem.isEmpty(), qPrintable(problem));
    }

    void cleanupTestCase() { m_window.reset(); }
};

QTEST_MAIN(TestScreenshots)
#include "tst_screenshots.moc"
