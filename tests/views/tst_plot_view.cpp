// SPDX-License-Identifier: GPL-3.0-or-later
#include "views/plot/plot_axes.h"
#include "views/plot/plot_view.h"
#include "views/theme/theme.h"

#include <QAbstractScrollArea>
#include <QFile>
#include <QGraphicsSimpleTextItem>
#include <QGraphicsView>
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

    void logLabelsAreNumbersThatPeopleSay_data()
    {
        QTest::addColumn<double>("lo");
        QTest::addColumn<double>("hi");
        QTest::addColumn<int>("room");
        QTest::addColumn<bool>("percent");
        QTest::addColumn<QStringList>("labels");
        QTest::newRow("decades") << 0.001 << 10.0 << 9 << false << QStringList{"0.001", "0.01", "0.1", "1", "10"};
        QTest::newRow("thousands") << 100.0 << 1e7 << 9 << false
                                   << QStringList{"100", "1,000", "10,000", "100,000", "10⁶", "10⁷"};
        QTest::newRow("tiny") << 1e-7 << 0.001 << 9 << false << QStringList{"10⁻⁷", "10⁻⁶", "10⁻⁵", "0.0001", "0.001"};
        QTest::newRow("every third") << 1e-12 << 10.0 << 5 << false << QStringList{"10⁻¹²", "10⁻⁹", "10⁻⁶", "0.001", "1"};
        QTest::newRow("one decade") << 0.01 << 0.1 << 6 << false << QStringList{"0.01", "0.02", "0.05", "0.1"};
        QTest::newRow("one decade, little room") << 0.01 << 0.1 << 3 << false << QStringList{"0.01", "0.1"};
        QTest::newRow("inside a decade") << 2.5 << 4.0 << 4 << false << QStringList{"2.5", "3.0", "3.5", "4.0"};
        QTest::newRow("percent") << 0.001 << 1.0 << 4 << true << QStringList{"0.1 %", "1 %", "10 %", "100 %"};
    }
    void logLabelsAreNumbersThatPeopleSay()
    {
        QFETCH(double, lo);
        QFETCH(double, hi);
        QFETCH(int, room);
        QFETCH(bool, percent);
        QFETCH(QStringList, labels);
        QStringList said;
        for (const auto& [value, text] : logTicks({lo, hi}, room, percent)) {
            QVERIFY(value >= lo * 0.999 && value <= hi * 1.001);
            said << text;
        }
        QCOMPARE(said, labels);
    }

    /// On a log axis as well the point is where the mouse finds it.
    void logPointsAreFoundUnderTheMouse()
    {
        PlotView plot;
        plot.resize(500, 260);
        PlotData data = line(5);
        data.y.log = true;
        data.x.hover = QStringLiteral("rank");
        for (int i = 0; i < 5; ++i)
            data.series[0].points[static_cast<std::size_t>(i)] = {1000.0 + i, std::pow(10.0, -i)};
        plot.setData(data);
        plot.show();
        QVERIFY(QTest::qWaitForWindowExposed(&plot));
        const int step = plot.positionOf(0, 1).y() - plot.positionOf(0, 0).y();
        QVERIFY(step > 10);
        for (std::size_t i = 2; i < 5; ++i) // equal factors, equal distances
            QVERIFY(std::abs(plot.positionOf(0, i).y() - plot.positionOf(0, i - 1).y() - step) <= 1);
        QWidget* viewport = plot.findChild<QAbstractScrollArea*>()->viewport();
        QTest::mouseMove(viewport, viewport->mapFrom(&plot, plot.positionOf(0, 3)));
        QTRY_VERIFY2(
            plot.hoverText().contains(QStringLiteral("rank: 1,003\nmax |x|: 0.0010000")), qPrintable(plot.hoverText()));
    }

    void whatWasNotMeasuredIsAGap()
    {
        PlotView plot;
        plot.resize(500, 260);
        PlotData data = line(0);
        data.series[0].points = {{0, 1}, {1, 1}, {4, 1}, {6, 1}, {7, 1}}; // 4 stands alone
        data.series[0].joinWithin = 1.5;
        plot.setData(data);
        const QImage image = plot.grab().toImage();
        const QColor colour = Theme::instance().series(0);
        auto drawnAt = [&](QPoint at) {
            for (int y = at.y() - 3; y <= at.y() + 3; ++y) {
                const QColor pixel(image.pixel(at.x(), y));
                if (std::abs(pixel.red() - colour.red()) < 60 && std::abs(pixel.blue() - colour.blue()) < 60)
                    return true;
            }
            return false;
        };
        auto between = [&](std::size_t a, std::size_t b) { return (plot.positionOf(0, a) + plot.positionOf(0, b)) / 2; };
        QVERIFY(drawnAt(between(0, 1)) && drawnAt(between(3, 4)));
        QVERIFY(!drawnAt(between(1, 2)) && !drawnAt(between(2, 3)));
        QVERIFY(drawnAt(plot.positionOf(0, 2)));
    }

    void wordsNeverLieOnEachOther()
    {
        PlotView plot;
        plot.resize(420, 240);
        PlotData data = line(200);
        for (const char* name : {"mean |x| of the channel", "max |W| of the column"}) {
            data.series.push_back(data.series[0]);
            data.series.back().name = QString::fromLatin1(name);
        }
        for (PlotSeries& series : data.series)
            series.directLabel = true;
        data.markers = {{195, QStringLiteral("rank 195"), true, -2}, {198, QStringLiteral("rank 198"), true, -1},
            {1.49, QStringLiteral("6: LLM.int8 threshold"), false, -1}};
        data.note = QStringLiteral("263 of them are not drawn");
        plot.setData(data);
        plot.grab();
        QList<QRectF> words;
        QStringList said;
        for (const QGraphicsItem* item : plot.findChild<QGraphicsView*>()->scene()->items()) {
            const auto* text = dynamic_cast<const QGraphicsSimpleTextItem*>(item);
            if (text && text->isVisible() && !text->text().isEmpty()) {
                words << text->sceneBoundingRect().adjusted(0, 1, 0, -1);
                said << text->text();
            }
        }
        QVERIFY(words.size() >= 7);
        for (int a = 0; a < words.size(); ++a)
            for (int b = 0; b < a; ++b)
                QVERIFY2(!words[a].intersects(words[b]), qPrintable(said[a] + QStringLiteral(" on ") + said[b]));
    }
};

QTEST_MAIN(TestPlotView)
#include "tst_plot_view.moc"
