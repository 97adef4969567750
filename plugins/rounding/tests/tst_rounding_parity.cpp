// SPDX-License-Identifier: Apache-2.0
// Against NumPy implementations written from the papers' equations (tests/golden/gen/gptq_reference.py, methods_reference.py).
#include "plugins/rounding/rounding.h"
#include "plugins/rounding/tests/problem.h"

using namespace qs;
using qs::test::makeStage;
using qs::test::Problem;

class RoundingParityTest : public QObject {
    Q_OBJECT
private Q_SLOTS:
    void initTestCase() { QVERIFY(plugins::registerRounding(m_registry)); }
    void nearest_data();
    void nearest();
    void gptq_data();
    void gptq();

private:
    recipe::StageRegistry m_registry;
};

void RoundingParityTest::nearest_data()
{
    QTest::addColumn<QString>("text");
    for (const nlohmann::json& entry : test::golden("simple.json", "rtn"))
        QTest::addRow("%s %d bits", entry.at("grid").get<std::string>().c_str(), entry.at("bits").get<int>())
            << QString::fromStdString(entry.dump());
}

void RoundingParityTest::nearest() // every code, and the sum of all values to the last bit of float32
{
    QFETCH(QString, text);
    const auto entry = nlohmann::json::parse(text.toStdString());
    const Problem problem(entry.at("seed"), entry.at("rows"), entry.at("cols"), 0);
    const recipe::Parameters parameters{{"bits", entry.at("bits").get<std::int64_t>()},
        {"group", entry.at("group").get<std::int64_t>()}, {"grid", entry.at("grid").get<std::string>()}};
    QS_REQUIRE(grid, makeStage(m_registry, "int", parameters));
    QS_REQUIRE(rounding, makeStage(m_registry, "nearest"));
    recipe::StageReport report;
    QS_REQUIRE(result, rounding.rounding->solve(problem.layer(), grid.grid.get(), nullptr, report));
    double sum = 0.0;
    for (Index r = 0; r < problem.W.rows(); ++r) {
        const std::string row = entry.at("codes").at(static_cast<std::size_t>(r));
        for (Index c = 0; c < problem.W.cols(); ++c) {
            QCOMPARE(static_cast<int>(result.quantized.codes(r, c)),
                test::letter(row[static_cast<std::size_t>(c)]) + entry.at("first").get<int>());
            sum += static_cast<double>(result.What(r, c));
        }
    }
    QVERIFY(std::fabs(sum - entry.at("sum").get<double>()) <= 1e-12);
}

void RoundingParityTest::gptq_data()
{
    QTest::addColumn<QString>("text");
    for (const nlohmann::json& entry : test::golden("gptq.json", "gptq"))
        QTest::addRow("seed %d", entry.at("seed").get<int>()) << QString::fromStdString(entry.dump());
}

void RoundingParityTest::gptq() // float32 sweep against float64: at least 99.9 % of the codes, output error within 1e-3
{
    QFETCH(QString, text);
    const auto entry = nlohmann::json::parse(text.toStdString());
    const Problem problem(entry.at("seed"), entry.at("rows"), entry.at("cols"), entry.at("tokens"));
    const recipe::Parameters gridParameters{{"bits", entry.at("bits").get<std::int64_t>()},
        {"group", entry.at("group").get<std::int64_t>()}, {"grid", entry.at("grid").get<std::string>()}};
    const recipe::Parameters sweepParameters{
        {"damp", entry.at("damp").get<double>()}, {"actorder", entry.at("actorder").get<std::string>()}};
    QS_REQUIRE(grid, makeStage(m_registry, "int", gridParameters));
    QS_REQUIRE(rounding, makeStage(m_registry, "obs", sweepParameters));
    recipe::StageReport report;
    QS_REQUIRE(result, rounding.rounding->solve(problem.layer(), grid.grid.get(), nullptr, report));
    Index equal = 0;
    for (Index r = 0; r < problem.W.rows(); ++r) {
        const std::string row = entry.at("codes").at(static_cast<std::size_t>(r));
        for (Index c = 0; c < problem.W.cols(); ++c)
            equal += result.quantized.codes(r, c)
                == test::letter(row[static_cast<std::size_t>(c)]) + entry.at("first").get<int>();
    }
    const double share = static_cast<double>(equal) / static_cast<double>(problem.W.size());
    QVERIFY2(share >= 0.999, qPrintable(QString("%1 of the codes agree").arg(share)));
    const double expected = entry.at("output_error");
    const double error = test::outputError(problem.W, result.What, problem.C);
    QVERIFY2(std::fabs(error - expected) <= 1e-3 * expected, qPrintable(QString("%1 against %2").arg(error).arg(expected)));
}

QTEST_GUILESS_MAIN(RoundingParityTest)
#include "tst_rounding_parity.moc"
