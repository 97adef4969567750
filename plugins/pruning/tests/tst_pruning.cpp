// SPDX-License-Identifier: Apache-2.0
// Goldens: NumPy implementations from the papers' equations (tests/golden/gen/methods_reference.py, gptq_reference.py).
#include "plugins/pruning/pruning.h"

#include "core/exec/parallel.h"
#include "plugins/pruning/masks.h"
#include "plugins/rounding/rounding.h"
#include "plugins/rounding/tests/problem.h"

using namespace qs;
using qs::test::makeStage;
using qs::test::Problem;
using qs::test::text;
using qs::test::whole;

namespace {

Index zeros(const BasicMatrix<std::uint8_t>& keep)
{
    return std::count(keep.values().begin(), keep.values().end(), std::uint8_t{0});
}

} // namespace

class PruningTest : public QObject {
    Q_OBJECT
private Q_SLOTS:
    void initTestCase();
    void cleanup() { setThreadCount(m_threads); }
    void handComputed();
    void countIsExact_data();
    void countIsExact();
    void tiesGoInOrder();
    void masksAgainstNumpy_data();
    void masksAgainstNumpy();
    void sparseGptAgainstNumpy_data();
    void sparseGptAgainstNumpy();
    void wandaRowsHaveTheSameCount();
    void wandaDoesNotSeeScales_data();
    void wandaDoesNotSeeScales();
    void wandaOnEqualNormsIsMagnitudePerRow();
    void groupsKeepTheirCount_data();
    void groupsKeepTheirCount();
    void zeroSparsityIsTheIdentity_data();
    void zeroSparsityIsTheIdentity();
    void updateIsNoWorseThanTheMaskAlone_data();
    void updateIsNoWorseThanTheMaskAlone();
    void wandaBeatsMagnitudeOnItsOwnObjective();
    void jointWithAGrid();
    void patternFailures_data();
    void patternFailures();
    void needsCalibration();
    void sameBitsForOneAndTwoThreads();
    void cancelled();

private:
    Expected<recipe::MaskPlan> plan(const Problem& problem, const char* id, const recipe::Parameters& given)
    {
        QS_TRY(stage, makeStage(m_registry, id, given));
        recipe::StageReport report;
        return stage.pruner->plan(problem.layer(), report);
    }
    Expected<recipe::RoundingResult> prune(const Problem& problem, const char* id, const recipe::Parameters& given,
        const char* rounding, const recipe::GridStage* grid = nullptr)
    {
        QS_TRY(mask, plan(problem, id, given));
        QS_TRY(stage, makeStage(m_registry, rounding));
        recipe::StageReport report;
        return stage.rounding->solve(problem.layer(), grid, &mask, report);
    }
    recipe::StageRegistry m_registry;
    int m_threads = threadCount();
};

void PruningTest::initTestCase()
{
    QVERIFY(plugins::registerRounding(m_registry));
    QVERIFY(plugins::registerPruning(m_registry));
}

void PruningTest::handComputed() // |w| = 1 4 | 3 2, norms 5 1: Wanda scores 5 4 | 15 2
{
    Problem problem;
    problem.W = RowMatrix(2, 2);
    const float w[] = {1, -4, -3, 2};
    std::copy(std::begin(w), std::end(w), problem.W.data());
    problem.X = RowMatrix(1, 2);
    problem.X(0, 0) = 5;
    problem.X(0, 1) = 1;
    problem.C = test::secondMoment(problem.X);
    QS_REQUIRE(magnitude, plan(problem, "magnitude", {}));
    QS_REQUIRE(wanda, plan(problem, "wanda", {}));
    const std::uint8_t byMagnitude[] = {0, 1, 1, 0};
    const std::uint8_t byWanda[] = {1, 0, 1, 0};
    for (std::size_t i = 0; i < 4; ++i) {
        QCOMPARE(magnitude.keep.values()[i], byMagnitude[i]);
        QCOMPARE(wanda.keep.values()[i], byWanda[i]);
    }
}

void PruningTest::countIsExact_data()
{
    QTest::addColumn<double>("sparsity");
    for (const double sparsity : {0.0, 0.01, 0.29, 0.3, 0.5, 0.7, 0.999, 1.0})
        QTest::addRow("%g", sparsity) << sparsity;
}

void PruningTest::countIsExact()
{
    QFETCH(double, sparsity);
    const Problem problem(90, 10, 100, 16);
    QS_REQUIRE(magnitude, plan(problem, "magnitude", {{"sparsity", sparsity}}));
    QCOMPARE(zeros(magnitude.keep), static_cast<Index>(std::llround(sparsity * 1000.0)));
    QS_REQUIRE(wanda, plan(problem, "wanda", {{"sparsity", sparsity}}));
    QCOMPARE(zeros(wanda.keep), 10 * static_cast<Index>(std::floor(sparsity * 100.0 + 1e-9)));
    QCOMPARE(magnitude.sparsity, sparsity);
}

void PruningTest::tiesGoInOrder() // equal weights: the first ones in row order go, and no more than asked for
{
    Problem problem;
    problem.W = RowMatrix(3, 4);
    std::fill(problem.W.values().begin(), problem.W.values().end(), 0.5F);
    problem.W(0, 1) = 0.1F;
    QS_REQUIRE(mask, plan(problem, "magnitude", {{"sparsity", 0.5}}));
    const std::uint8_t expected[] = {0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1};
    for (std::size_t i = 0; i < 12; ++i)
        QCOMPARE(mask.keep.values()[i], expected[i]);
}

void PruningTest::masksAgainstNumpy_data()
{
    QTest::addColumn<QString>("text");
    for (const nlohmann::json& item : test::golden("simple.json", "masks"))
        QTest::newRow(
            qPrintable(QString("%1 %2").arg(item.at("sparsity").get<double>()).arg(QString::fromStdString(item.at("pattern")))))
            << QString::fromStdString(item.dump());
}

void PruningTest::masksAgainstNumpy()
{
    QFETCH(QString, text);
    const auto golden = nlohmann::json::parse(text.toStdString());
    const Problem problem(golden.at("seed"), golden.at("rows"), golden.at("cols"), golden.at("tokens"));
    for (const char* id : {"magnitude", "wanda"}) {
        QS_REQUIRE(mask,
            plan(problem, id,
                {{"sparsity", golden.at("sparsity").get<double>()}, {"pattern", golden.at("pattern").get<std::string>()}}));
        for (Index r = 0; r < problem.W.rows(); ++r) {
            const std::string row = golden.at(id).at(static_cast<std::size_t>(r));
            for (Index c = 0; c < problem.W.cols(); ++c)
                QCOMPARE(static_cast<int>(mask.keep(r, c)), test::letter(row[static_cast<std::size_t>(c)]));
        }
    }
}

void PruningTest::sparseGptAgainstNumpy_data()
{
    QTest::addColumn<QString>("text");
    for (const nlohmann::json& item : test::golden("gptq.json", "sparsegpt"))
        QTest::addRow("seed %d", item.at("seed").get<int>()) << QString::fromStdString(item.dump());
}

void PruningTest::sparseGptAgainstNumpy() // float32 sweep against float64: at least 99.9 % of the mask, output error within
                                          // 1e-3
{
    QFETCH(QString, text);
    const auto golden = nlohmann::json::parse(text.toStdString());
    const Problem problem(golden.at("seed"), golden.at("rows"), golden.at("cols"), golden.at("tokens"));
    QS_REQUIRE(result,
        prune(problem, "sparsegpt",
            {{"sparsity", golden.at("sparsity").get<double>()}, {"pattern", golden.at("pattern").get<std::string>()}}, "obs"));
    Index equal = 0;
    for (Index r = 0; r < problem.W.rows(); ++r) {
        const std::string row = golden.at("keep").at(static_cast<std::size_t>(r));
        for (Index c = 0; c < problem.W.cols(); ++c)
            equal += result.keep(r, c) == test::letter(row[static_cast<std::size_t>(c)]);
    }
    QVERIFY2(static_cast<double>(equal) >= 0.999 * static_cast<double>(problem.W.size()), qPrintable(QString::number(equal)));
    const double expected = golden.at("output_error");
    const double error = test::outputError(problem.W, result.What, problem.C);
    QVERIFY2(std::fabs(error - expected) <= 1e-3 * expected, qPrintable(QString("%1 against %2").arg(error).arg(expected)));
}

void PruningTest::wandaRowsHaveTheSameCount()
{
    const Problem problem(91, 20, 75, 64);
    QS_REQUIRE(mask, plan(problem, "wanda", {{"sparsity", 0.6}}));
    for (Index r = 0; r < 20; ++r)
        QCOMPARE(std::count(mask.keep.row(r).begin(), mask.keep.row(r).end(), std::uint8_t{0}), std::ptrdiff_t{45});
}

void PruningTest::wandaDoesNotSeeScales_data()
{
    QTest::addColumn<float>("ofW");
    QTest::addColumn<float>("ofX");
    QTest::newRow("powers of two: not even rounding differs") << 2.0F << 8.0F;
    QTest::newRow("any factors") << 1.3F << 1.7F;
}

void PruningTest::wandaDoesNotSeeScales() // of a row of W, nor of all of X
{
    QFETCH(float, ofW);
    QFETCH(float, ofX);
    Problem problem(92, 12, 64, 64);
    QS_REQUIRE(before, plan(problem, "wanda", {}));
    for (Index r = 0; r < 12; ++r)
        for (float& w : problem.W.row(r))
            w *= std::pow(ofW, static_cast<float>(r % 5));
    for (float& x : problem.X.values())
        x *= ofX;
    QS_REQUIRE(after, plan(problem, "wanda", {}));
    QVERIFY(test::sameBits(before.keep, after.keep));
}

void PruningTest::wandaOnEqualNormsIsMagnitudePerRow()
{
    const Problem problem(93, 8, 32, 16);
    recipe::LayerProblem layer = problem.layer();
    std::fill(layer.input.l2Norm.begin(), layer.input.l2Norm.end(), 3.0);
    QS_REQUIRE(stage, makeStage(m_registry, "wanda"));
    recipe::StageReport report;
    QS_REQUIRE(mask, stage.pruner->plan(layer, report));
    QVERIFY(test::sameBits(mask.keep, plugins::lowestOfRows({problem.W, {}}, 0.5)));
}

void PruningTest::groupsKeepTheirCount_data()
{
    QTest::addColumn<QString>("id");
    QTest::addColumn<QString>("pattern");
    QTest::addColumn<int>("n");
    QTest::addColumn<int>("m");
    for (const char* id : {"magnitude", "wanda", "sparsegpt"}) {
        QTest::newRow(qPrintable(QString("%1 2:4").arg(id))) << QString(id) << "2:4" << 2 << 4;
        QTest::newRow(qPrintable(QString("%1 4:8").arg(id))) << QString(id) << "4:8" << 4 << 8;
        QTest::newRow(qPrintable(QString("%1 1:16").arg(id))) << QString(id) << "1:16" << 1 << 16;
    }
}

void PruningTest::groupsKeepTheirCount() // pruning test matrix, item 5
{
    QFETCH(QString, id);
    QFETCH(QString, pattern);
    QFETCH(int, n);
    QFETCH(int, m);
    const Problem problem(94, 9, 160, 256);
    const char* rounding = id == "sparsegpt" ? "obs" : "nearest";
    QS_REQUIRE(result, prune(problem, id.toUtf8().constData(), {{"pattern", pattern.toStdString()}}, rounding));
    for (Index r = 0; r < 9; ++r)
        for (Index first = 0; first < 160; first += m) {
            int kept = 0;
            for (Index c = first; c < first + m; ++c) {
                kept += result.keep(r, c);
                if (!result.keep(r, c))
                    QCOMPARE(result.What(r, c), 0.0F);
            }
            QCOMPARE(kept, n);
        }
}

void PruningTest::zeroSparsityIsTheIdentity_data()
{
    QTest::addColumn<QString>("id");
    QTest::addColumn<QString>("rounding");
    QTest::addColumn<QString>("pattern");
    for (const char* pattern : {"free", "4:4"}) {
        QTest::newRow(qPrintable(QString("magnitude %1").arg(pattern))) << "magnitude"
                                                                        << "nearest" << pattern;
        QTest::newRow(qPrintable(QString("wanda %1").arg(pattern))) << "wanda"
                                                                    << "nearest" << pattern;
        QTest::newRow(qPrintable(QString("wanda + update %1").arg(pattern))) << "wanda"
                                                                             << "obs" << pattern;
        QTest::newRow(qPrintable(QString("sparsegpt %1").arg(pattern))) << "sparsegpt"
                                                                        << "obs" << pattern;
    }
}

void PruningTest::zeroSparsityIsTheIdentity() // pruning test matrix, item 1, bit for bit
{
    QFETCH(QString, id);
    QFETCH(QString, rounding);
    QFETCH(QString, pattern);
    const Problem problem(95, 11, 64, 128);
    QS_REQUIRE(result,
        prune(problem, id.toUtf8().constData(), {{"sparsity", 0.0}, {"pattern", pattern.toStdString()}},
            rounding.toUtf8().constData()));
    QVERIFY(test::sameBits(result.What, problem.W));
    QCOMPARE(zeros(result.keep), Index{0});
}

void PruningTest::updateIsNoWorseThanTheMaskAlone_data()
{
    QTest::addColumn<int>("seed");
    QTest::addColumn<QString>("id");
    QTest::addColumn<QString>("pattern");
    for (int seed = 0; seed < 8; ++seed)
        for (const char* id : {"wanda", "sparsegpt"})
            for (const char* pattern : {"free", "2:4"})
                QTest::newRow(qPrintable(QString("%1 %2 %3").arg(seed).arg(id, pattern)))
                    << seed << QString(id) << QString(pattern);
}

void PruningTest::updateIsNoWorseThanTheMaskAlone() // pruning test matrix, item 3
{
    QFETCH(int, seed);
    QFETCH(QString, id);
    QFETCH(QString, pattern);
    const Problem problem(2000 + 10 * static_cast<std::uint64_t>(seed), 16, 64, 256);
    QS_REQUIRE(updated, prune(problem, id.toUtf8().constData(), {{"pattern", pattern.toStdString()}}, "obs"));
    RowMatrix masked(problem.W);
    for (Index i = 0; i < masked.size(); ++i)
        if (!updated.keep.values()[static_cast<std::size_t>(i)])
            masked.values()[static_cast<std::size_t>(i)] = 0.0F;
    QVERIFY(test::outputError(problem.W, updated.What, problem.C) < test::outputError(problem.W, masked, problem.C));
    if (pattern == "free" && id == "sparsegpt") // 64 columns are one block: half of all its entries
        QCOMPARE(zeros(updated.keep), Index{16 * 64 / 2});
}

void PruningTest::wandaBeatsMagnitudeOnItsOwnObjective() // pruning test matrix, item 3, on diag(C): optimal per row, so never
                                                         // above magnitude per row
{
    const Problem problem(96, 16, 64, 128);
    QS_REQUIRE(wanda, plan(problem, "wanda", {}));
    const BasicMatrix<std::uint8_t> magnitude = plugins::lowestOfRows({problem.W, {}}, 0.5);
    const auto lost = [&](const BasicMatrix<std::uint8_t>& keep, Index r) {
        double loss = 0.0;
        for (Index c = 0; c < 64; ++c)
            if (!keep(r, c))
                loss += static_cast<double>(problem.W(r, c)) * static_cast<double>(problem.W(r, c)) * problem.C(c, c);
        return loss;
    };
    double byWanda = 0.0, byMagnitude = 0.0;
    for (Index r = 0; r < 16; ++r) {
        QVERIFY(lost(wanda.keep, r) <= lost(magnitude, r));
        byWanda += lost(wanda.keep, r);
        byMagnitude += lost(magnitude, r);
    }
    QVERIFY(byWanda < byMagnitude);
}

void PruningTest::jointWithAGrid() // SparseGPT and GPTQ in one sweep
{
    const Problem problem(97, 12, 64, 256);
    QS_REQUIRE(grid, makeStage(m_registry, "int"));
    QS_REQUIRE(result, prune(problem, "sparsegpt", {{"pattern", text("2:4")}}, "obs", grid.grid.get()));
    QVERIFY(test::sameBits(result.quantized.dequantize(cpuBackend()), result.What));
    QCOMPARE(zeros(result.keep), Index{12 * 32});
    for (Index i = 0; i < result.What.size(); ++i)
        if (!result.keep.values()[static_cast<std::size_t>(i)])
            QCOMPARE(result.What.values()[static_cast<std::size_t>(i)], 0.0F);
}

void PruningTest::patternFailures_data()
{
    QTest::addColumn<QString>("id");
    QTest::addColumn<QString>("pattern");
    for (const char* pattern : {"2", "0:4", "5:4", "2:", ":4", "2:4x", "a:b", "2:256", "-1:4", ""})
        QTest::newRow(qPrintable(QString("'%1'").arg(pattern))) << "wanda" << pattern;
    QTest::newRow("3 does not divide the columns") << "magnitude"
                                                   << "1:3";
    QTest::newRow("5 does not divide the sweep's block") << "sparsegpt"
                                                         << "2:5";
}

void PruningTest::patternFailures()
{
    QFETCH(QString, id);
    QFETCH(QString, pattern);
    const auto mask = plan(Problem(98, 4, 40, 8), id.toUtf8().constData(), {{"pattern", pattern.toStdString()}});
    QVERIFY(!mask);
    QCOMPARE(mask.error().code, Errc::InvalidArgument);
    QVERIFY(!mask.error().where.empty());
}

void PruningTest::needsCalibration()
{
    const Problem problem(99, 4, 16, 0);
    const auto wanda = plan(problem, "wanda", {});
    QVERIFY(!wanda);
    QCOMPARE(wanda.error().code, Errc::NotFound);
    QCOMPARE(wanda.error().where, std::string("layer"));
    QVERIFY(plan(problem, "magnitude", {}));

    const Problem known(99, 4, 16, 8);
    recipe::LayerProblem layer = known.layer();
    layer.input.l2Norm[2] = std::numeric_limits<double>::infinity();
    QS_REQUIRE(stage, makeStage(m_registry, "wanda"));
    recipe::StageReport report;
    const auto broken = stage.pruner->plan(layer, report);
    QVERIFY(!broken);
    QCOMPARE(broken.error().code, Errc::NotFinite);
}

void PruningTest::sameBitsForOneAndTwoThreads()
{
    const Problem problem(100, 300, 64, 128);
    for (const char* id : {"magnitude", "wanda"}) {
        for (const char* pattern : {"free", "2:4"}) {
            setThreadCount(1);
            QS_REQUIRE(one, plan(problem, id, {{"pattern", text(pattern)}}));
            setThreadCount(2);
            QS_REQUIRE(two, plan(problem, id, {{"pattern", text(pattern)}}));
            QVERIFY(test::sameBits(one.keep, two.keep));
        }
    }
    setThreadCount(1);
    QS_REQUIRE(one, prune(problem, "sparsegpt", {}, "obs"));
    setThreadCount(2);
    QS_REQUIRE(two, prune(problem, "sparsegpt", {}, "obs"));
    QVERIFY(test::sameBits(one.What, two.What));
}

void PruningTest::cancelled()
{
    Problem problem(101, 4, 16, 8);
    std::stop_source source;
    source.request_stop();
    problem.job.stop = source.get_token();
    for (const char* id : {"magnitude", "wanda"}) {
        const auto mask = plan(problem, id, {});
        QVERIFY(!mask);
        QCOMPARE(mask.error().code, Errc::Cancelled);
    }
}

QTEST_GUILESS_MAIN(PruningTest)
#include "tst_pruning.moc"
