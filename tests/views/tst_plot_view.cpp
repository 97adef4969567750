// SPDX-License-Identifier: GPL-3.0-or-later
#include "views/plot/plot_axes.h"
#include "views/plot/plot_view.h"
#include "views/theme/theme.h"

#include <QAbstractScrollArea>
#include <QFile>
#include <QSignalSpy>
#include <QTemporaryDir>
#include <QTest>

#include <cmath>

using namespace qs::views;

namespace {

PlotData line(int count)
{
    PlotData data;
    data.x = {QStringLiteral("channel"), false, false, true, {}, {}, {}};
    data.y.title = QStringLiteral("max |x|");
    PlotSeries series;
    series.name = QStringLiteral("a");
    for (int i = 0; i < count; ++i) {
        series.points.emplace_back(i, 1.0 + 0.5 * std::sin(i * 0.01));
        series.keys.push_back(1000 + i);
    }
    data.series.push_back(std::move(series));
    return data;
}

} // namespace

class TestPlotView : public QObject {
    Q_OBJECT
private Q_SLOTS:
    void initTestCase() { Theme::instance().apply(false); }

    void clickReportsTheKey()
    {
        PlotView plot;
        plot.resize(500, 260);
        plot.setData(line(20));
        plot.show();
        QVERIFY(QTest::qWaitForWindowExposed(&plot));
        QSignalSpy clicked(&plot, &PlotView::pointClicked);
        auto* area = plot.findChild<QAbstractScrollArea*>();
        QVERIFY(area);
        QWidget* viewport = area->viewport();
        const QPoint at = viewport->mapFrom(&plot, plot.positionOf(0, 7));
        QTest::mouseMove(viewport, at);
        QTest::mouseClick(viewport, Qt::LeftButton, {}, at);
        QCOMPARE(clicked.size(), 1);
        QCOMPARE(clicked[0][1].toInt(), 1007);
        QTRY_VERIFY2(plot.hoverText().contains(QStringLiteral("channel: 7")), qPrintable(plot.hoverText()));
    }

    void keyboardGoesFromPointToPoint()
    {
        PlotView plot;
        plot.resize(500, 260);
        plot.setData(line(20));
        plot.show();
        QVERIFY(QTest::qWaitForWindowExposed(&plot));
        QSignalSpy clicked(&plot, &PlotView::pointClicked);
        plot.setFocus();
        QTest::keyClick(&plot, Qt::Key_Return); // nothing is reached yet
        QCOMPARE(clicked.size(), 0);
        for (int i = 0; i < 3; ++i)
            QTest::keyClick(&plot, Qt::Key_Right);
        QVERIFY2(plot.hoverText().contains(QStringLiteral("channel: 2")), qPrintable(plot.hoverText()));
        QTest::keyClick(&plot, Qt::Key_Left);
        QTest::keyClick(&plot, Qt::Key_Return);
        QCOMPARE(clicked.size(), 1);
        QCOMPARE(clicked[0][1].toInt(), 1001);
        for (int i = 0; i < 5; ++i)
            QTest::keyClick(&plot, Qt::Key_Left); // stays at the first
        QVERIFY(plot.hoverText().contains(QStringLiteral("channel: 0")));
    }

    void aMillionPointsAreReduced()
    {
        PlotView plot;
        plot.resize(500, 260);
        PlotData data = line(1000000);
        data.series[0].points[123456].setY(50); // one spike must survive the reduction
        QElapsedTimer clock;
        clock.start();
        plot.setData(data);
        const QImage image = plot.grab().toImage();
        QVERIFY2(clock.elapsed() < 5000, qPrintable(QString::number(clock.elapsed())));
        const QPoint spike = plot.positionOf(0, 123456);
        const QColor colour = Theme::instance().series(0);
        bool found = false;
        for (int y = spike.y() - 2; y < spike.y() + 40; ++y) {
            for (int x = spike.x() - 2; x <= spike.x() + 2; ++x)
                found = found
                    || (image.valid(x, y) && std::abs(qRed(image.pixel(x, y)) - colour.red()) < 60
                        && std::abs(qBlue(image.pixel(x, y)) - colour.blue()) < 60);
        }
        QVERIFY(found);
        QCOMPARE(plot.data().series[0].points.size(), std::size_t{1000000}); // the data itself stays whole
    }

    void csvHoldsEverything()
    {
        PlotView plot;
        PlotData data = line(3);
        PlotSeries other = data.series[0];
        other.name = QStringLiteral("b, second");
        other.points.pop_back();
        data.series.push_back(other);
        plot.setData(data);
        const QStringList lines = plot.toCsv().trimmed().split(u'\n');
        QCOMPARE(lines.size(), 4);
        QCOMPARE(lines[0], QStringLiteral("channel,a,\"b, second\""));
        QVERIFY(lines[3].endsWith(u',')); // the second series has no third point
    }

    void saves()
    {
        QTemporaryDir folder;
        PlotView plot;
        plot.resize(300, 200);
        plot.setData(line(50));
        QVERIFY(plot.savePng(folder.path() + QStringLiteral("/a.png")));
        QVERIFY(plot.saveSvg(folder.path() + QStringLiteral("/a.svg")));
        QFile svg(folder.path() + QStringLiteral("/a.svg"));
        QVERIFY(svg.open(QIODevice::ReadOnly));
        QVERIFY(svg.readAll().contains("<svg"));
        QVERIFY(!plot.savePng(QStringLiteral("/does/not/exist/a.png")));
    }

    void ticksAreRound_data()
    {
        QTest::addColumn<double>("extent");
        QTest::addColumn<int>("count");
        QTest::addColumn<double>("step");
        QTest::newRow("tenths") << 1.0 << 5 << 0.2;
        QTest::newRow("hundreds") << 1536.0 << 6 << 500.0;
        QTest::newRow("small") << 0.0031 << 4 << 0.001;
        QTest::newRow("nothing") << 0.0 << 5 << 1.0;
    }
    void ticksAreRound()
    {
        QFETCH(double, extent);
        QFETCH(int, count);
        QFETCH(double, step);
        QVERIFY(std::abs(niceStep(extent, count) - step) < 1e-12);
    }

    void logAxisHoldsWholeDecades()
    {
        PlotData data = line(2);
        data.y.log = true;
        data.series[0].points = {{0, 0.03}, {1, 40}};
        const AxisRange range = rangeOf(data, data.y, false);
        QVERIFY(std::abs(range.lo - 0.01) < 1e-12);
        QVERIFY(std::abs(range.hi - 100) < 1e-9);
    }
};

QTEST_MAIN(TestPlotView)
#include "tst_plot_view.moc"
