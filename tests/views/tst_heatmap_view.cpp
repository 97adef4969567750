// SPDX-License-Identifier: GPL-3.0-or-later
#include "views/heatmap/colour_map.h"
#include "views/heatmap/heatmap_view.h"
#include "views/theme/theme.h"

#include <QSignalSpy>
#include <QTest>

#include <cmath>

using namespace qs;
using namespace qs::views;

namespace {

std::shared_ptr<RowMatrix> ramp(Index rows, Index cols)
{
    auto matrix = std::make_shared<RowMatrix>(rows, cols);
    for (Index r = 0; r < rows; ++r) {
        for (Index c = 0; c < cols; ++c)
            (*matrix)(r, c) = static_cast<float>(c + 1) / static_cast<float>(cols);
    }
    return matrix;
}

bool close(QRgb a, QRgb b)
{
    return std::abs(qRed(a) - qRed(b)) < 8 && std::abs(qGreen(a) - qGreen(b)) < 8 && std::abs(qBlue(a) - qBlue(b)) < 8;
}

} // namespace

class TestHeatmapView : public QObject {
    Q_OBJECT
private Q_SLOTS:
    void initTestCase() { Theme::instance().apply(false); }

    void mapsHaveTheirEnds()
    {
        QCOMPARE(QColor(ColourMap::viridis().at(0)).name(), QStringLiteral("#440154"));
        QCOMPARE(QColor(ColourMap::viridis().at(1)).name(), QStringLiteral("#fde725"));
        QCOMPARE(ColourMap::viridis().at(-3), ColourMap::viridis().at(0));
        const QColor middle(ColourMap::diverging().at(0.5));
        QVERIFY(middle.lightness() > 230);
    }

    void drawsValuesAndReportsClicks()
    {
        session::JobQueue jobs;
        HeatmapView view(&jobs);
        view.resize(418, 244);
        view.setSource(reduce::matrixTiles(ramp(20, 40)), reduce::Reduction::AbsMax, HeatmapView::Scale::Linear,
            {"token", "channel", "|x|"});
        view.show();
        QVERIFY(QTest::qWaitForWindowExposed(&view));
        QTRY_VERIFY(view.complete());
        const QImage image = view.grab().toImage();
        QVERIFY(close(image.pixel(view.positionOf(10, 39)), ColourMap::viridis().at(1)));
        QVERIFY(close(image.pixel(view.positionOf(3, 19)), ColourMap::viridis().at(0.5)));
        QSignalSpy clicked(&view, &HeatmapView::cellClicked);
        QTest::mouseClick(&view, Qt::LeftButton, {}, view.positionOf(7, 31));
        QCOMPARE(clicked.size(), 1);
        QCOMPARE(clicked[0][0].toLongLong(), 7);
        QCOMPARE(clicked[0][1].toLongLong(), 31);
        QVERIFY2(view.toolTipAt(view.positionOf(7, 31)).contains(QStringLiteral("= 0.800")),
            qPrintable(view.toolTipAt(view.positionOf(7, 31))));
        QCOMPARE(view.legendText(), QStringLiteral("cell = one value"));
    }

    void oneOutlierSurvivesTheReduction()
    {
        session::JobQueue jobs;
        auto matrix = std::make_shared<RowMatrix>(3000, 3000);
        (*matrix)(1234, 2345) = 7.0F;
        HeatmapView view(&jobs);
        view.resize(318, 244);
        view.setSource(
            reduce::matrixTiles(matrix), reduce::Reduction::AbsMax, HeatmapView::Scale::Linear, {"row", "column", "|w|"});
        view.show();
        view.grab();
        QTRY_VERIFY(view.complete());
        const QImage image = view.grab().toImage();
        QVERIFY(close(image.pixel(view.positionOf(1234, 2345)), ColourMap::viridis().at(1)));
        QVERIFY2(view.legendText().startsWith(QStringLiteral("cell = max |w| of")), qPrintable(view.legendText()));
    }

    void nanIsHatchedAndCounted()
    {
        session::JobQueue jobs;
        auto matrix = ramp(10, 10);
        (*matrix)(4, 5) = std::nanf("");
        (*matrix)(8, 1) = std::numeric_limits<float>::infinity();
        HeatmapView view(&jobs);
        view.resize(418, 244);
        view.setSource(
            reduce::matrixTiles(matrix), reduce::Reduction::AbsMax, HeatmapView::Scale::Linear, {"row", "column", "|w|"});
        view.show();
        view.grab();
        QTRY_VERIFY(view.complete());
        QCOMPARE(view.nonFinite(), std::uint64_t{2});
        QVERIFY2(view.legendText().contains(QStringLiteral("2 NaN or Inf")), qPrintable(view.legendText()));
        const QImage image = view.grab().toImage();
        const QPoint at = view.positionOf(4, 5);
        bool magenta = false;
        for (int dy = -6; dy <= 6; ++dy) {
            for (int dx = -6; dx <= 6; ++dx)
                magenta = magenta || close(image.pixel(at + QPoint(dx, dy)), tokens().nonFinite.rgb());
        }
        QVERIFY(magenta);
    }

    void newRangeRecolours()
    {
        session::JobQueue jobs;
        HeatmapView view(&jobs);
        view.resize(418, 244);
        view.setSource(
            reduce::matrixTiles(ramp(10, 10)), reduce::Reduction::AbsMax, HeatmapView::Scale::Linear, {"row", "column", "|w|"});
        view.show();
        view.grab();
        QTRY_VERIFY(view.complete());
        QSignalSpy asked(&jobs, &session::JobQueue::added);
        view.setValueRange(std::pair(0.0F, 2.0F));
        const QImage image = view.grab().toImage();
        QVERIFY(close(image.pixel(view.positionOf(5, 9)), ColourMap::viridis().at(0.5)));
        QCOMPARE(asked.size(), 0); // colours only, no numbers again
    }
};

QTEST_MAIN(TestHeatmapView)
#include "tst_heatmap_view.moc"
