// SPDX-License-Identifier: Apache-2.0
#include "core/recipe/parameters.h"
#include "stages.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <locale>
#include <random>

using namespace qs;
using namespace qs::recipe;

namespace {

/// A decimal comma and thousands points, as in German.
class Comma : public std::numpunct<char> {
    char do_decimal_point() const override { return ','; }
    char do_thousands_sep() const override { return '.'; }
    std::string do_grouping() const override { return "\3"; }
};

ParameterSpec whole()
{
    return {.name = "bits", .type = ParameterType::Int, .defaultValue = std::int64_t{4}, .min = 2, .max = 8};
}
ParameterSpec group()
{
    return {.name = "group",
        .type = ParameterType::Int,
        .defaultValue = std::string("auto"),
        .min = -1,
        .max = 4096,
        .choices = {"auto"},
        .unit = "columns"};
}
ParameterSpec share()
{
    return {.name = "damp", .type = ParameterType::Real, .defaultValue = 0.01, .min = 0, .max = 10};
}
ParameterSpec choice()
{
    return {.name = "order", .type = ParameterType::Choice, .defaultValue = std::string("none"), .choices = {"none", "static"}};
}

} // namespace

class TestParameters : public QObject {
    Q_OBJECT
private Q_SLOTS:
    void initTestCase() { std::locale::global(std::locale(std::locale(), new Comma)); }

    void fillsInDefaults()
    {
        QS_REQUIRE(p, resolve({whole(), group(), share(), choice()}, {{"bits", std::int64_t{3}}}, "grid"));
        QCOMPARE(p.size(), std::size_t{4});
        QCOMPARE(intValue(p, "bits"), std::int64_t{3});
        QCOMPARE(intValue(p, "group"), std::int64_t{0});
        QCOMPARE(formatValue(p.at("group")), std::string("auto"));
        QCOMPARE(realValue(p, "damp"), 0.01);
        QCOMPARE(textValue(p, "order"), std::string("none"));
    }

    void convertsNumbers()
    {
        QS_REQUIRE(p,
            resolve(
                {whole(), share(), group()}, {{"bits", 3.0}, {"damp", std::int64_t{1}}, {"group", std::string("auto")}}, "x"));
        QVERIFY(p.at("bits") == ParameterValue(std::int64_t{3}));
        QVERIFY(p.at("damp") == ParameterValue(1.0));
        QVERIFY(p.at("group") == ParameterValue(std::string("auto")));
        for (const ParameterValue& zero :
            {ParameterValue(std::int64_t{0}), ParameterValue(0.0)}) // auto reads as 0, 0 is refused
            QS_FAILS(InvalidArgument, "group=0 is not allowed: it takes -1, a number of columns from 1 to 4096, or auto",
                resolve({group()}, {{"group", zero}}, "x"));
    }

    void refuses_data()
    {
        QTest::addColumn<int>("spec");
        QTest::addColumn<QString>("text");
        QTest::addColumn<QString>("message");
        QTest::newRow("below") << 0 << "1"
                               << "bits=1 is not allowed: it takes a whole number from 2 to 8";
        QTest::newRow("above") << 0 << "9"
                               << "from 2 to 8";
        QTest::newRow("fraction") << 0 << "3.5"
                                  << "whole number";
        QTest::newRow("trailing") << 0 << "4x"
                                  << "bits=4x";
        QTest::newRow("overflow") << 0 << "99999999999999999999"
                                  << "whole number";
        QTest::newRow("empty") << 0 << ""
                               << "whole number";
        QTest::newRow("zero") << 1 << "0"
                              << "group=0 is not allowed: it takes -1, a number of columns from 1 to 4096, or auto";
        QTest::newRow("word") << 1 << "all"
                              << "or auto";
        QTest::newRow("comma") << 2 << "0,5"
                               << "a number from 0 to 10";
        QTest::newRow("nan") << 2 << "nan"
                             << "a number";
        QTest::newRow("inf") << 2 << "inf"
                             << "a number";
        QTest::newRow("huge") << 2 << "1e999"
                              << "a number";
        QTest::newRow("choice") << 3 << "statics"
                                << "did you mean 'static'?";
    }
    void refuses()
    {
        QFETCH(int, spec);
        QFETCH(QString, text);
        QFETCH(QString, message);
        const ParameterSpec specs[] = {whole(), group(), share(), choice()};
        QS_FAILS(InvalidArgument, message.toStdString(), parseValue(specs[spec], text.toStdString()));
    }

    void unknownNameListsWhatThereIs()
    {
        QS_FAILS(InvalidArgument, "it takes bits, damp", resolve({whole(), share()}, {{"bit", std::int64_t{4}}}, "grid"));
        QS_FAILS(InvalidArgument, "did you mean 'bits'?", resolve({whole(), share()}, {{"bit", std::int64_t{4}}}, "grid"));
        QS_FAILS(InvalidArgument, "grid: bits", resolve({whole()}, {{"bits", true}}, "grid"));
        QS_FAILS(InvalidArgument, "bits", resolve({whole()}, {{"bits", std::numeric_limits<double>::quiet_NaN()}}, "grid"));
    }

    void doublesRoundTripExactly()
    {
        const ParameterSpec spec{.name = "x", .type = ParameterType::Real, .defaultValue = 0.0};
        std::mt19937_64 random(7);
        int finite = 0;
        for (int i = 0; i < 20000; ++i) {
            const std::uint64_t bits = random();
            double value = 0;
            std::memcpy(&value, &bits, sizeof value);
            if (!std::isfinite(value))
                continue;
            ++finite;
            const auto back = parseValue(spec, formatValue(value));
            QVERIFY(back);
            const double read = std::get<double>(*back);
            QVERIFY(std::memcmp(&read, &value, sizeof value) == 0);
        }
        QVERIFY(finite > 19000);
        QCOMPARE(formatValue(0.1), std::string("0.1"));
        QCOMPARE(formatValue(1234567.5), std::string("1234567.5")); // no thousands points, no comma
    }

    void textIsQuotedWhereNeeded()
    {
        QCOMPARE(formatValue(std::string("2:4")), std::string("2:4"));
        QCOMPARE(formatValue(std::string("")), std::string("\"\""));
        QCOMPARE(formatValue(std::string("a b")), std::string("\"a b\""));
        QCOMPARE(formatValue(std::string("a\"\\\n")), std::string("\"a\\\"\\\\\\n\""));
        QCOMPARE(formatValue(true), std::string("true"));
        QCOMPARE(formatValue(std::int64_t{-1}), std::string("-1"));
    }

    void readingAnUndeclaredParameterIsABug()
    {
        const Parameters p{{"bits", std::int64_t{4}}};
        QVERIFY_THROWS_EXCEPTION(std::logic_error, intValue(p, "group"));
        QVERIFY_THROWS_EXCEPTION(std::logic_error, realValue(p, "bits"));
    }
};

QTEST_GUILESS_MAIN(TestParameters)
#include "tst_parameters.moc"
