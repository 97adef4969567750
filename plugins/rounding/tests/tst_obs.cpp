// SPDX-License-Identifier: Apache-2.0
#include "core/exec/parallel.h"
#include "plugins/rounding/obs.h"
#include "plugins/rounding/rounding.h"
#include "plugins/rounding/tests/problem.h"

#include <numeric>

using namespace qs;
using qs::test::makeStage;
using qs::test::Problem;
using qs::test::text;
using qs::test::whole;

class ObsTest : public QObject {
    Q_OBJECT
private Q_SLOTS:
    void initTestCase() { QVERIFY(plugins::registerRounding(m_registry)); }
    void cleanup() { setThreadCount(m_threads); }
    void isotropicInputsGiveNearest_data();
    void isotropicInputsGiveNearest();
    void scaleOfTheHessianDoesNotMatter_data();
    void scaleOfTheHessianDoesNotMatter();
    void blockSizeDoesNotMatter_data();
    void blockSizeDoesNotMatter();
    void staticOrderIsAPermutedProblem();
    void groupOrderIsStored();
    void lossIsTheSumOfErrors_data();
    void lossIsTheSumOfErrors();
    void beatsNearestInTheMedian();
    void deadChannelBecomesZero();
    void constantAndOneSidedRows();
    void asPublishedDiffersInsideBlocks();
    void fixedMaskStaysZeroAndUpdateHelps();
    void nothingToDoIsTheIdentity();
    void needsCalibration();
    void storedEqualsSimulated();
    void sameBitsForOneAndTwoThreads();
    void cancelsAfterOneBlock();

private:
    Expected<recipe::RoundingResult> solve(const char* rounding, const recipe::LayerProblem& layer,
        const recipe::Parameters& grid, const recipe::Parameters& options = {}, recipe::StageReport* report = nullptr)
    {
        QS_TRY(gridStage, makeStage(m_registry, "int", grid));
        QS_TRY(stage, makeStage(m_registry, rounding, options));
        recipe::StageReport local;
        return stage.rounding->solve(layer, gridStage.grid.get(), nullptr, report ? *report : local);
    }
    static double entry(const recipe::StageReport& report, const std::string& name)
    {
        for (const auto& [key, value] : report.entries)
            if (key == name)
                return std::get<double>(value);
        return std::numeric_limits<double>::quiet_NaN();
    }
    recipe::StageRegistry m_registry;
    int m_threads = threadCount();
};

void ObsTest::isotropicInputsGiveNearest_data()
{
    QTest::addColumn<QString>("grid");
    QTest::addColumn<QString>("actorder");
    for (const char* grid : {"sym-fullrange-mid", "sym-restricted", "asym-0", "asym-free"})
        for (const char* order : {"none", "static"})
            QTest::newRow(qPrintable(QString("%1 %2").arg(grid, order))) << QString(grid) << QString(order);
}

void ObsTest::isotropicInputsGiveNearest() // T10: H = cI
{
    QFETCH(QString, grid);
    QFETCH(QString, actorder);
    Problem problem(30, 17, 160, 8);
    std::fill(problem.C.values().begin(), problem.C.values().end(), 0.0);
    for (Index j = 0; j < 160; ++j)
        problem.C(j, j) = 0.7;
    const recipe::Parameters parameters{{"group", whole(32)}, {"grid", text(grid.toUtf8().constData())}};
    QS_REQUIRE(nearest, solve("nearest", problem.layer(), parameters));
    QS_REQUIRE(swept, solve("obs", problem.layer(), parameters, {{"actorder", text(actorder.toUtf8().constData())}}));
    QVERIFY(test::sameBits(nearest.quantized.codes, swept.quantized.codes));
    QVERIFY(test::sameBits(nearest.What, swept.What));
}

void ObsTest::scaleOfTheHessianDoesNotMatter_data()
{
    QTest::addColumn<double>("factor");
    QTest::newRow("a power of two: not even rounding differs") << 1024.0;
    QTest::newRow("any factor") << 1.7;
}

void ObsTest::scaleOfTheHessianDoesNotMatter() // T10: H -> cH
{
    QFETCH(double, factor);
    Problem problem(31, 12, 96, 256);
    QS_REQUIRE(before, solve("obs", problem.layer(), {}));
    for (double& value : problem.C.values())
        value *= factor;
    QS_REQUIRE(after, solve("obs", problem.layer(), {}));
    QVERIFY(test::sameBits(before.quantized.codes, after.quantized.codes));
    if (factor == 1024.0) {
        QVERIFY(test::sameBits(before.What, after.What));
        return;
    }
    for (Index i = 0; i < before.What.size(); ++i) { // ranges are fitted to weights that differ by rounding
        const float a = before.What.values()[static_cast<std::size_t>(i)], b = after.What.values()[static_cast<std::size_t>(i)];
        QVERIFY(std::fabs(a - b) <= 0x1p-10F * std::fabs(a)); // a float16 scale may be its neighbour
    }
}

void ObsTest::blockSizeDoesNotMatter_data()
{
    QTest::addColumn<int>("block");
    for (const int block : {1, 7, 64, 200})
        QTest::addRow("%d", block) << block;
}

void ObsTest::blockSizeDoesNotMatter() // T10, with one scale per row: only the order of float32 additions differs
{
    QFETCH(int, block);
    const Problem problem(32, 24, 200, 512);
    QS_REQUIRE(reference, solve("obs", problem.layer(), {{"group", whole(-1)}}));
    QS_REQUIRE(other, solve("obs", problem.layer(), {{"group", whole(-1)}}, {{"block", whole(block)}}));
    Index different = 0;
    for (Index i = 0; i < reference.quantized.codes.size(); ++i)
        different += reference.quantized.codes.values()[static_cast<std::size_t>(i)]
            != other.quantized.codes.values()[static_cast<std::size_t>(i)];
    QVERIFY2(static_cast<double>(different) <= 0.002 * 24 * 200, qPrintable(QString::number(different)));
    const double a = test::outputError(problem.W, reference.What, problem.C);
    const double b = test::outputError(problem.W, other.What, problem.C);
    QVERIFY(std::fabs(a - b) <= 1e-3 * a);

    // The float64 reference has no such freedom: the same codes.
    QS_REQUIRE(grid, makeStage(m_registry, "int", {{"group", whole(-1)}}));
    const recipe::LayerProblem layer = problem.layer();
    recipe::StageReport report;
    recipe::SweepOptions options;
    QS_REQUIRE(firstSession, grid.grid->begin(layer, report));
    QS_REQUIRE(first, recipe::obsSweepReference(layer, firstSession.get(), nullptr, options));
    options.block = block;
    QS_REQUIRE(secondSession, grid.grid->begin(layer, report));
    QS_REQUIRE(second, recipe::obsSweepReference(layer, secondSession.get(), nullptr, options));
    QVERIFY(test::sameBits(first.quantized.codes, second.quantized.codes));
}

void ObsTest::staticOrderIsAPermutedProblem() // T10: permuting columns of W and X by the activation order, then sweeping in
                                              // order
{
    const Problem problem(33, 15, 72, 256);
    QS_REQUIRE(ordered, solve("obs", problem.layer(), {{"group", whole(-1)}}, {{"actorder", text("static")}}));
    std::vector<Index> order(72);
    std::iota(order.begin(), order.end(), Index{0});
    std::stable_sort(order.begin(), order.end(), [&](Index a, Index b) { return problem.C(a, a) > problem.C(b, b); });
    QVERIFY(!std::is_sorted(order.begin(), order.end()));
    Problem permuted = Problem(33, 15, 72, 256);
    for (Index p = 0; p < 72; ++p) {
        for (Index r = 0; r < 15; ++r)
            permuted.W(r, p) = problem.W(r, order[static_cast<std::size_t>(p)]);
        for (Index q = 0; q < 72; ++q)
            permuted.C(p, q) = problem.C(order[static_cast<std::size_t>(p)], order[static_cast<std::size_t>(q)]);
    }
    QS_REQUIRE(plain, solve("obs", permuted.layer(), {{"group", whole(-1)}}));
    for (Index p = 0; p < 72; ++p)
        for (Index r = 0; r < 15; ++r)
            QCOMPARE(plain.quantized.codes(r, p), ordered.quantized.codes(r, order[static_cast<std::size_t>(p)]));
}

void ObsTest::groupOrderIsStored()
{
    const Problem problem(34, 10, 64, 256);
    QS_REQUIRE(result, solve("obs", problem.layer(), {{"group", whole(16)}}, {{"actorder", text("group")}}));
    QCOMPARE(result.quantized.groupOf.size(), std::size_t{64});
    for (std::int32_t g = 0; g < 4; ++g)
        QCOMPARE(std::count(result.quantized.groupOf.begin(), result.quantized.groupOf.end(), g), std::ptrdiff_t{16});
    QVERIFY(test::sameBits(result.quantized.dequantize(cpuBackend()), result.What));
}

void ObsTest::lossIsTheSumOfErrors_data()
{
    QTest::addColumn<int>("group");
    QTest::addColumn<double>("damp");
    for (const int group : {-1, 16})
        for (const double damp : {0.01, 0.1})
            QTest::addRow("%d %g", group, damp) << group << damp;
}

void ObsTest::lossIsTheSumOfErrors() // T11: sum e^2 = tr(dW (C + lambda I) dW^T)
{
    QFETCH(int, group);
    QFETCH(double, damp);
    const Problem problem(35, 13, 80, 256);
    QS_REQUIRE(grid, makeStage(m_registry, "int", {{"group", whole(group)}}));
    const recipe::LayerProblem layer = problem.layer();
    recipe::StageReport unused;
    QS_REQUIRE(session, grid.grid->begin(layer, unused));
    recipe::SweepOptions options;
    options.damp = damp;
    QS_REQUIRE(sweep, recipe::obsSweepReference(layer, session.get(), nullptr, options));
    const auto dampedTrace = [&](MatrixView What, double lambda) {
        MatrixD H(problem.C);
        for (Index j = 0; j < 80; ++j)
            H(j, j) += lambda;
        MatrixD D(13, 80); // dW in float64: the difference of two float32 is not a float32
        double total = 0.0;
        for (Index r = 0; r < 13; ++r)
            for (Index i = 0; i < 80; ++i)
                for (Index j = 0; j < 80; ++j)
                    total += (static_cast<double>(problem.W(r, i)) - static_cast<double>(What(r, i))) * H(i, j)
                        * (static_cast<double>(problem.W(r, j)) - static_cast<double>(What(r, j)));
        return total;
    };
    const double exact = dampedTrace(sweep.What, sweep.lambda);
    QVERIFY2(std::fabs(sweep.lossDamped - exact) <= 1e-10 * exact, qPrintable(QString::number(sweep.lossDamped / exact - 1.0)));

    recipe::StageReport report;
    QS_REQUIRE(fast, solve("obs", layer, {{"group", whole(group)}}, {{"damp", damp}}, &report));
    const double fastExact = dampedTrace(fast.What, entry(report, "lambda"));
    QVERIFY(std::fabs(entry(report, "loss_damped") - fastExact) <= 1e-3 * fastExact);
}

void ObsTest::beatsNearestInTheMedian()
{
    for (const int bits : {2, 3, 4}) {
        std::vector<double> ratios;
        for (std::uint64_t seed = 0; seed < 24; ++seed) {
            const Problem problem(1000 + 10 * seed, 16, 64, 192);
            QS_REQUIRE(nearest, solve("nearest", problem.layer(), {{"bits", whole(bits)}}));
            QS_REQUIRE(swept, solve("obs", problem.layer(), {{"bits", whole(bits)}}));
            ratios.push_back(
                test::outputError(problem.W, swept.What, problem.C) / test::outputError(problem.W, nearest.What, problem.C));
        }
        std::sort(ratios.begin(), ratios.end());
        QVERIFY2(ratios[12] < 0.9, qPrintable(QString("%1 bits: median ratio %2").arg(bits).arg(ratios[12])));
    }
}

void ObsTest::deadChannelBecomesZero() // T38
{
    Problem problem(36, 9, 48, 128);
    for (Index t = 0; t < 128; ++t)
        problem.X(t, 7) = problem.X(t, 40) = 0.0F;
    problem.C = test::secondMoment(problem.X);
    recipe::StageReport report;
    QS_REQUIRE(result, solve("obs", problem.layer(), {}, {}, &report));
    for (Index r = 0; r < 9; ++r) {
        QCOMPARE(result.What(r, 7), 0.0F);
        QCOMPARE(result.What(r, 40), 0.0F);
    }
    for (const float value : result.What.values())
        QVERIFY(std::isfinite(value));
    QCOMPARE(report.notes.size(), std::size_t{1});
}

void ObsTest::constantAndOneSidedRows() // T38
{
    Problem problem(37, 3, 32, 128);
    for (Index c = 0; c < 32; ++c) {
        problem.W(0, c) = 0.0F;
        problem.W(1, c) = 0.125F;
        problem.W(2, c) = std::fabs(problem.W(2, c)) + 0.01F;
    }
    for (const char* rounding : {"nearest", "obs"}) {
        QS_REQUIRE(result, solve(rounding, problem.layer(), {{"group", whole(-1)}}));
        for (Index c = 0; c < 32; ++c)
            QCOMPARE(result.What(0, c), 0.0F);
        float largest = 0.0F;
        float peak = 0.0F;
        for (Index c = 0; c < 32; ++c) {
            largest = std::max(largest, result.What(2, c));
            peak = std::max(peak, problem.W(2, c));
        }
        // The mirrored range keeps the top of an all-positive row; the unmirrored one of public code would cut it at 7/15.
        QVERIFY(largest >= 0.9F * peak);
    }
}

void ObsTest::asPublishedDiffersInsideBlocks()
{
    const Problem problem(38, 16, 64, 256);
    QS_REQUIRE(fresh, solve("obs", problem.layer(), {{"group", whole(16)}}));
    QS_REQUIRE(published, solve("obs", problem.layer(), {{"group", whole(16)}}, {{"as_published", true}}));
    QVERIFY(!test::sameBits(fresh.quantized.scale, published.quantized.scale));
    for (Index r = 0; r < 16; ++r)
        QCOMPARE(fresh.quantized.scale(r, 0), published.quantized.scale(r, 0)); // the first group begins with its block
}

void ObsTest::fixedMaskStaysZeroAndUpdateHelps()
{
    const Problem problem(39, 16, 64, 256);
    recipe::MaskPlan mask;
    mask.keep = BasicMatrix<std::uint8_t>(16, 64);
    for (Index i = 0; i < mask.keep.size(); ++i)
        mask.keep.values()[static_cast<std::size_t>(i)] = test::mix(static_cast<std::uint64_t>(i)) % 2;
    QS_REQUIRE(nearest, makeStage(m_registry, "nearest"));
    QS_REQUIRE(obs, makeStage(m_registry, "obs"));
    QS_REQUIRE(grid, makeStage(m_registry, "int"));
    recipe::StageReport report;
    for (const recipe::GridStage* stage : {static_cast<const recipe::GridStage*>(nullptr), grid.grid.get()}) {
        QS_REQUIRE(masked, nearest.rounding->solve(problem.layer(), stage, &mask, report));
        QS_REQUIRE(updated, obs.rounding->solve(problem.layer(), stage, &mask, report));
        QVERIFY(test::sameBits(updated.keep, mask.keep));
        for (Index i = 0; i < mask.keep.size(); ++i)
            if (!mask.keep.values()[static_cast<std::size_t>(i)])
                QCOMPARE(updated.What.values()[static_cast<std::size_t>(i)], 0.0F);
        QVERIFY(test::outputError(problem.W, updated.What, problem.C) < test::outputError(problem.W, masked.What, problem.C));
    }
}

void ObsTest::nothingToDoIsTheIdentity()
{
    Problem problem(40, 8, 32, 64);
    for (Index t = 0; t < 64; ++t)
        problem.X(t, 3) = 0.0F; // a dead channel must not be touched either
    problem.C = test::secondMoment(problem.X);
    QS_REQUIRE(obs, makeStage(m_registry, "obs"));
    recipe::StageReport report;
    recipe::MaskPlan adaptive;
    adaptive.adaptive = true;
    recipe::MaskPlan fixed;
    fixed.keep = BasicMatrix<std::uint8_t>(8, 32);
    std::fill(fixed.keep.values().begin(), fixed.keep.values().end(), std::uint8_t{1});
    for (const recipe::MaskPlan* mask : {static_cast<const recipe::MaskPlan*>(nullptr),
             static_cast<const recipe::MaskPlan*>(&adaptive), static_cast<const recipe::MaskPlan*>(&fixed)}) {
        QS_REQUIRE(result, obs.rounding->solve(problem.layer(), nullptr, mask, report));
        QVERIFY(test::sameBits(result.What, problem.W));
    }
}

void ObsTest::needsCalibration()
{
    const auto result = solve("obs", Problem(41, 4, 16, 0).layer(), {});
    QVERIFY(!result);
    QCOMPARE(result.error().code, Errc::NotFound);
    QVERIFY(result.error().message.find("needs calibration") != std::string::npos);
}

void ObsTest::storedEqualsSimulated()
{
    const Problem problem(42, 12, 96, 128);
    for (const char* grid : {"sym-fullrange-mid", "sym-restricted", "asym-0", "asym-free", "asym-realzero"}) {
        QS_REQUIRE(result, solve("obs", problem.layer(), {{"grid", text(grid)}, {"bits", whole(3)}, {"clip", text("awq")}}));
        QVERIFY(test::sameBits(result.quantized.dequantize(cpuBackend()), result.What));
        for (const float scale : result.quantized.scale.values())
            QCOMPARE(scale, quant::roundScale(scale, quant::ScaleType::Float16));
    }
}

void ObsTest::sameBitsForOneAndTwoThreads()
{
    const Problem problem(43, 600, 160, 256);
    setThreadCount(1);
    QS_REQUIRE(one, solve("obs", problem.layer(), {}));
    setThreadCount(2);
    QS_REQUIRE(two, solve("obs", problem.layer(), {}));
    QVERIFY(test::sameBits(one.What, two.What));
    QVERIFY(test::sameBits(one.quantized.codes, two.quantized.codes));
}

void ObsTest::cancelsAfterOneBlock()
{
    Problem problem(44, 8, 160, 64);
    std::stop_source source;
    problem.job.stop = source.get_token();
    test::CountingBackend backend;
    backend.onProduct = [&] {
        if (backend.products == 3)
            source.request_stop();
    };
    problem.backend = &backend;
    const auto result = solve("obs", problem.layer(), {{"group", whole(16)}}, {{"block", whole(16)}});
    QVERIFY(!result);
    QCOMPARE(result.error().code, Errc::Cancelled);
    QVERIFY2(backend.products <= 4, qPrintable(QString::number(backend.products)));
}

QTEST_GUILESS_MAIN(ObsTest)
#include "tst_obs.moc"
