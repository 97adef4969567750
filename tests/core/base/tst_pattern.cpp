// SPDX-License-Identifier: Apache-2.0
#include "core/base/pattern.h"

#include <QTest>

using namespace qs;

class TestPattern : public QObject {
    Q_OBJECT
private Q_SLOTS:
    void matches_data()
    {
        QTest::addColumn<QString>("expression");
        QTest::addColumn<QString>("text");
        QTest::addColumn<bool>("expected");
        QTest::newRow("anywhere") << "down_proj"
                                  << "model.layers.3.mlp.down_proj" << true;
        QTest::newRow("anchored") << "^mlp"
                                  << "model.layers.3.mlp.down_proj" << false;
        QTest::newRow("class") << R"(layers\.[0-4]\.)"
                               << "model.layers.3.mlp" << true;
        QTest::newRow("look-behind") << R"((?<!self_attn\.)q_proj)"
                                     << "a.self_attn.q_proj" << false;
        QTest::newRow("letters beyond ASCII") << R"(^\w+$)"
                                              << "schicht_äöü" << true;
        QTest::newRow("empty") << ""
                               << "x" << true;
        QTest::newRow("case") << "MLP"
                              << "mlp" << false;
        QTest::newRow("case, told not to mind") << "(?i)MLP"
                                                << "mlp" << true;
    }
    void matches()
    {
        QFETCH(QString, expression);
        QFETCH(QString, text);
        QFETCH(bool, expected);
        const auto pattern = Pattern::compile(expression.toStdString());
        QVERIFY2(pattern, pattern ? "" : pattern.error().line().c_str());
        QCOMPARE(pattern->matches(text.toStdString()), expected);
        QCOMPARE(pattern->expression(), expression.toStdString());
    }

    void refusals()
    {
        for (const char* expression : {"(", "[", "a{2,1}", "\xff", "(?<n>a)(?<n>b)"}) {
            const auto pattern = Pattern::compile(expression);
            QVERIFY2(!pattern, expression);
            QCOMPARE(pattern.error().code, Errc::InvalidArgument);
        }
        QVERIFY(!Pattern::compile(std::string(5000, 'a')));
    }

    void endlessBacktrackingEnds()
    {
        const auto evil = Pattern::compile(R"(^(\w+\s?)*$)");
        QVERIFY(evil);
        QVERIFY(!evil->matches(std::string(60, 'a') + "!"));
        QVERIFY(!evil->matches("not UTF-8: \xff"));
    }
};

QTEST_GUILESS_MAIN(TestPattern)
#include "tst_pattern.moc"
