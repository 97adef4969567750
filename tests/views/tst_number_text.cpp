// SPDX-License-Identifier: GPL-3.0-or-later
#include "views/widgets/number_text.h"

#include <QTest>

#include <cmath>
#include <limits>

using qs::views::humanText;

class TestNumberText : public QObject {
    Q_OBJECT
private Q_SLOTS:
    void saysNumbersAsPeopleDo_data()
    {
        QTest::addColumn<double>("value");
        QTest::addColumn<QString>("text");
        QTest::newRow("zero") << 0.0 << "0";
        QTest::newRow("condition") << 160.0 << "160";
        QTest::newRow("thousands") << 12345.0 << "12,345";
        QTest::newRow("below a million") << 999400.0 << "999,400";
        QTest::newRow("rounds up to a million") << 999600.0 << "1.00 × 10⁶";
        QTest::newRow("million") << 1.6e6 << "1.60 × 10⁶";
        QTest::newRow("ten million") << 1.6e7 << "16.0 × 10⁶";
        QTest::newRow("billion, negative") << -2.5e9 << "-2.50 × 10⁹";
        QTest::newRow("carries") << 9.999e8 << "1.00 × 10⁹";
        QTest::newRow("small") << 0.0192 << "0.0192";
        QTest::newRow("tiny") << 4.5e-5 << "45.0 × 10⁻⁶";
        QTest::newRow("tiny with two digits") << 3e-12 << "3.00 × 10⁻¹²";
    }
    void saysNumbersAsPeopleDo()
    {
        QFETCH(double, value);
        QTEST(humanText(value), "text");
    }
    void neverSaysE() // property: no "e+06" over 40 decades
    {
        for (int power = -20; power <= 20; ++power)
            QVERIFY(!humanText(3.3 * std::pow(10.0, power)).contains(u'e'));
    }
    void notFinite()
    {
        QCOMPARE(humanText(std::numeric_limits<double>::quiet_NaN()), QStringLiteral("–"));
        QCOMPARE(humanText(std::numeric_limits<double>::infinity()), QStringLiteral("inf"));
    }
};

QTEST_GUILESS_MAIN(TestNumberText)
#include "tst_number_text.moc"
