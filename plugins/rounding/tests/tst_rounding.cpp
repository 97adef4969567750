// SPDX-License-Identifier: Apache-2.0
#include "core/exec/parallel.h"
#include "plugins/rounding/clip_search.h"
#include "plugins/rounding/rounding.h"
#include "plugins/rounding/tests/problem.h"

using namespace qs;
using qs::test::makeStage;
using qs::test::Problem;
using qs::test::text;
using qs::test::whole;

namespace {

const char* const kGrids[]
    = {"sym-fullrange-mid", "sym-restricted", "sym-neg-anchored", "sym-shifted", "asym-0", "asym-free", "asym-realzero"};

/// Counts the groups that a solver has fitted, and tells before each.
class CountingGrid final : public recipe::GridStage {
public:
    CountingGrid(std::shared_ptr<const recipe::GridStage> inner, std::function<void()> onFit)
        : m_inner(std::move(inner))
        , m_onFit(std::move(onFit))
    {
    }
    Expected<std::unique_ptr<recipe::GridSession>> begin(
        const recipe::LayerProblem& problem, recipe::StageReport& report) const override
    {
        QS_TRY(session, m_inner->begin(problem, report));
        return std::make_unique<Session>(std::move(session), m_onFit);
    }
    Expected<quant::QuantizedTensor> nearest(const recipe::LayerProblem& problem) const override
    {
        return m_inner->nearest(problem);
    }
    Expected<recipe::Parameters> resolved(Index cols) const override { return m_inner->resolved(cols); }

private:
    class Session final : public recipe::GridSession {
    public:
        Session(std::unique_ptr<recipe::GridSession> inner, std::function<void()> onFit)
            : m_inner(std::move(inner))
            , m_onFit(std::move(onFit))
        {
        }
        Index groupSize() const override { return m_inner->groupSize(); }
        Expected<void> fitGroup(Index group, MatrixView W, std::span<const Index> columns) override
        {
            m_onFit();
            return m_inner->fitGroup(group, W, columns);
        }
        void quantizeColumn(Index group, Index column, std::span<const float> values, std::span<float> projected) override
        {
            m_inner->quantizeColumn(group, column, values, projected);
        }
        quant::QuantizedTensor finish(std::vector<std::int32_t> groupOf) override
        {
            return m_inner->finish(std::move(groupOf));
        }

    private:
        std::unique_ptr<recipe::GridSession> m_inner;
        std::function<void()> m_onFit;
    };
    std::shared_ptr<const recipe::GridStage> m_inner;
    std::function<void()> m_onFit;
};

} // namespace

class RoundingTest : public QObject {
    Q_OBJECT
private Q_SLOTS:
    void initTestCase();
    void cleanup() { setThreadCount(m_threads); }
    void handComputed();
    void frozenGridIsIdempotent_data();
    void frozenGridIsIdempotent();
    void scalesWithTheWeight_data();
    void scalesWithTheWeight();
    void sessionAndWholeMatrixAgree_data();
    void sessionAndWholeMatrixAgree();
    void nearestWithoutGridOrMaskIsTheWeight();
    void prunedWeightsAreExactlyZero();
    void gridWithoutZeroRefusesMask();
    void adaptiveMaskIsRefused();
    void automaticGroup_data();
    void automaticGroup();
    void groupOfNothingIsRefused();
    void badGroupNamesLayer();
    void badWeightNamesRowAndGroup();
    void clippingIsNeverWorse_data();
    void clippingIsNeverWorse();
    void clipLossIsTheTokenLoss();
    void clippingSparesExcludedLayers();
    void clippingNeedsCalibration();
    void weightedRangeDiffersFromUnweighted();
    void sameBitsForOneAndTwoThreads();
    void cancelsAfterOneGroup();
    void clipSearchCancelsAfterOneProduct();
    void dynamicInputsNeedNothing();
    void staticInputRange_data();
    void staticInputRange();
    void staticInputFailures();

private:
    Expected<recipe::RoundingResult> nearest(
        const Problem& problem, const recipe::Parameters& grid, const recipe::MaskPlan* mask = nullptr)
    {
        QS_TRY(gridStage, makeStage(m_registry, "int", grid));
        QS_TRY(rounding, makeStage(m_registry, "nearest"));
        recipe::StageReport report;
        return rounding.rounding->solve(problem.layer(), gridStage.grid.get(), mask, report);
    }
    recipe::StageRegistry m_registry;
    int m_threads = threadCount();
};

void RoundingTest::initTestCase()
{
    QVERIFY(plugins::registerRounding(m_registry));
    QCOMPARE(m_registry.stages().size(), std::size_t{4});
    const auto again = plugins::registerRounding(m_registry);
    QVERIFY(!again);
    QCOMPARE(again.error().code, Errc::InvalidArgument);
}

void RoundingTest::handComputed() // 2 bits, asym-0, lo = -1, hi = 2: s = 3 / 3 = 1, z = 1, levels -1 0 1 2
{
    Problem problem;
    problem.W = RowMatrix(1, 4);
    const float w[] = {-1.0F, 0.4F, 0.6F, 2.0F};
    std::copy(std::begin(w), std::end(w), problem.W.data());
    QS_REQUIRE(result, nearest(problem, {{"bits", whole(2)}, {"group", whole(-1)}, {"grid", text("asym-0")}}));
    const float expected[] = {-1.0F, 0.0F, 1.0F, 2.0F};
    const int codes[] = {0, 1, 2, 3};
    for (Index c = 0; c < 4; ++c) {
        QCOMPARE(result.What(0, c), expected[c]);
        QCOMPARE(static_cast<int>(result.quantized.codes(0, c)), codes[c]);
    }
    QCOMPARE(result.quantized.scale(0, 0), 1.0F);
    QCOMPARE(result.quantized.zero(0, 0), 1.0F);
}

void RoundingTest::frozenGridIsIdempotent_data()
{
    QTest::addColumn<QString>("grid");
    QTest::addColumn<int>("bits");
    for (const char* grid : kGrids)
        for (const int bits : {2, 3, 4, 8})
            QTest::newRow(qPrintable(QString("%1 %2").arg(grid).arg(bits))) << QString(grid) << bits;
}

void RoundingTest::frozenGridIsIdempotent() // T01: a second pass on the fitted grid changes neither codes nor values
{
    QFETCH(QString, grid);
    QFETCH(int, bits);
    Problem problem(7, 9, 32, 0);
    QS_REQUIRE(stage,
        makeStage(m_registry, "int", {{"bits", whole(bits)}, {"group", whole(16)}, {"grid", text(grid.toUtf8().constData())}}));
    recipe::StageReport report;
    const recipe::LayerProblem layer = problem.layer();
    QS_REQUIRE(session, stage.grid->begin(layer, report));
    QCOMPARE(session->groupSize(), Index{16});
    std::vector<float> values(9), once(9), twice(9);
    RowMatrix first(9, 32);
    for (int pass = 0; pass < 2; ++pass) {
        for (Index g = 0; g < 2; ++g) {
            std::vector<Index> columns(16);
            for (Index c = 0; c < 16; ++c)
                columns[static_cast<std::size_t>(c)] = g * 16 + c;
            if (pass == 0)
                QVERIFY(session->fitGroup(g, problem.W.view().block(0, g * 16, 9, 16), columns));
            for (const Index c : columns) {
                for (Index r = 0; r < 9; ++r)
                    values[static_cast<std::size_t>(r)] = pass == 0 ? problem.W(r, c) : first(r, c);
                session->quantizeColumn(g, c, values, pass == 0 ? once : twice);
                for (Index r = 0; r < 9; ++r) {
                    const auto i = static_cast<std::size_t>(r);
                    if (pass == 0)
                        first(r, c) = once[i];
                    else
                        QCOMPARE(twice[i], values[i]);
                }
            }
        }
    }
    const quant::QuantizedTensor tensor = session->finish({});
    QVERIFY(test::sameBits(tensor.dequantize(cpuBackend()), first));
}

void RoundingTest::scalesWithTheWeight_data()
{
    QTest::addColumn<QString>("grid");
    QTest::addColumn<float>("factor");
    for (const char* grid : kGrids)
        for (const float factor : {0.25F, 2.0F, 64.0F})
            QTest::newRow(qPrintable(QString("%1 %2").arg(grid).arg(static_cast<double>(factor)))) << QString(grid) << factor;
}

void RoundingTest::scalesWithTheWeight() // T02: Q(aW) = a Q(W) bit for bit for powers of two
{
    QFETCH(QString, grid);
    QFETCH(float, factor);
    Problem problem(8, 6, 64, 0);
    const recipe::Parameters parameters{{"grid", text(grid.toUtf8().constData())}};
    QS_REQUIRE(plain, nearest(problem, parameters));
    for (float& w : problem.W.values())
        w *= factor;
    QS_REQUIRE(scaled, nearest(problem, parameters));
    QVERIFY(test::sameBits(plain.quantized.codes, scaled.quantized.codes));
    for (Index i = 0; i < problem.W.size(); ++i)
        QCOMPARE(scaled.What.values()[static_cast<std::size_t>(i)], factor * plain.What.values()[static_cast<std::size_t>(i)]);
}

void RoundingTest::sessionAndWholeMatrixAgree_data()
{
    QTest::addColumn<QString>("range");
    QTest::addColumn<int>("group");
    for (const char* range : {"minmax", "mse", "percentile"})
        for (const int group : {static_cast<int>(quant::kWholeTensor), -1, 16, 64})
            QTest::newRow(qPrintable(QString("%1 %2").arg(range).arg(group))) << QString(range) << group;
}

void RoundingTest::sessionAndWholeMatrixAgree() // the solver's view of a grid and its preview are the same grid
{
    QFETCH(QString, range);
    QFETCH(int, group);
    const Problem problem(9, 33, 192, 0);
    const bool wholeTensor = group == quant::kWholeTensor;
    const recipe::Parameters parameters{{"bits", whole(3)}, {"group", wholeTensor ? text("tensor") : whole(group)},
        {"range", text(range.toUtf8().constData())}};
    QS_REQUIRE(solved, nearest(problem, parameters));
    QS_REQUIRE(stage, makeStage(m_registry, "int", parameters));
    QS_REQUIRE(preview, stage.grid->nearest(problem.layer()));
    QVERIFY(test::sameBits(solved.quantized.codes, preview.codes));
    QVERIFY(test::sameBits(solved.quantized.scale, preview.scale));
    QVERIFY(test::sameBits(solved.quantized.zero, preview.zero));
    QVERIFY(test::sameBits(solved.What, preview.dequantize(cpuBackend())));
    QCOMPARE(solved.quantized.group, group < 0 ? Index{192} : Index{group});
    QCOMPARE(solved.quantized.wholeTensor, wholeTensor);
    QCOMPARE(solved.quantized.scale(0, 0) == solved.quantized.scale(1, 0), wholeTensor);
    QS_REQUIRE(resolved, stage.grid->resolved(192));
    QCOMPARE(recipe::groupValue(resolved, "group"), static_cast<Index>(group));
}

void RoundingTest::nearestWithoutGridOrMaskIsTheWeight()
{
    const Problem problem(10, 5, 7, 0);
    QS_REQUIRE(stage, makeStage(m_registry, "nearest"));
    recipe::StageReport report;
    QS_REQUIRE(result, stage.rounding->solve(problem.layer(), nullptr, nullptr, report));
    QVERIFY(test::sameBits(result.What, problem.W));
    QVERIFY(result.quantized.empty());
    QVERIFY(result.keep.empty());
}

void RoundingTest::prunedWeightsAreExactlyZero()
{
    const Problem problem(11, 12, 64, 0);
    recipe::MaskPlan mask;
    mask.keep = BasicMatrix<std::uint8_t>(12, 64);
    for (Index i = 0; i < mask.keep.size(); ++i)
        mask.keep.values()[static_cast<std::size_t>(i)] = test::mix(static_cast<std::uint64_t>(i)) % 2;
    for (const char* grid : {"sym-fullrange-mid", "sym-restricted", "sym-neg-anchored", "sym-shifted", "asym-0", "asym-free"}) {
        QS_REQUIRE(result, nearest(problem, {{"grid", text(grid)}}, &mask));
        for (Index i = 0; i < mask.keep.size(); ++i) {
            const auto at = static_cast<std::size_t>(i);
            if (!mask.keep.values()[at])
                QCOMPARE(result.What.values()[at], 0.0F);
        }
        QVERIFY(test::sameBits(result.keep, mask.keep));
        QVERIFY(test::sameBits(result.quantized.dequantize(cpuBackend()), result.What)); // what is stored is what is simulated
    }
}

void RoundingTest::gridWithoutZeroRefusesMask()
{
    const Problem problem(12, 4, 16, 0);
    recipe::MaskPlan mask;
    mask.keep = BasicMatrix<std::uint8_t>(4, 16);
    std::fill(mask.keep.values().begin(), mask.keep.values().end(), std::uint8_t{1});
    mask.keep(2, 5) = 0;
    const auto result = nearest(problem, {{"grid", text("asym-realzero")}}, &mask);
    // The range of mixed signs holds 0, but on a real-valued zero point it need not be a level.
    QVERIFY(!result);
    QCOMPARE(result.error().code, Errc::InvalidArgument);
    QVERIFY(result.error().message.find("row 2, column 5") != std::string::npos);
}

void RoundingTest::adaptiveMaskIsRefused()
{
    const Problem problem(13, 4, 16, 0);
    recipe::MaskPlan mask;
    mask.adaptive = true;
    mask.sparsity = 0.5;
    const auto result = nearest(problem, {}, &mask);
    QVERIFY(!result);
    QCOMPARE(result.error().code, Errc::Unsupported);
    mask.adaptive = false;
    mask.keep = BasicMatrix<std::uint8_t>(4, 15);
    const auto shape = nearest(problem, {}, &mask);
    QVERIFY(!shape);
    QCOMPARE(shape.error().code, Errc::InvalidArgument);
}

void RoundingTest::automaticGroup_data()
{
    QTest::addColumn<int>("columns");
    QTest::addColumn<int>("group");
    QTest::addRow("576") << 576 << 64;
    QTest::addRow("1536") << 1536 << 128;
    QTest::addRow("128") << 128 << 128;
    QTest::addRow("48") << 48 << 16;
    QTest::addRow("33") << 33 << -1;
}

void RoundingTest::automaticGroup()
{
    QFETCH(int, columns);
    QFETCH(int, group);
    QS_REQUIRE(stage, makeStage(m_registry, "int"));
    QS_REQUIRE(resolved, stage.grid->resolved(columns));
    QCOMPARE(recipe::intValue(resolved, "group"), std::int64_t{group});
    QCOMPARE(recipe::intValue(resolved, "bits"), std::int64_t{4});
    const auto clipped = makeStage(m_registry, "int", {{"group", text("tensor")}, {"clip", text("awq")}});
    QVERIFY(!clipped && clipped.error().line().find("set clip=none") != std::string::npos);
}

void RoundingTest::groupOfNothingIsRefused()
{
    const auto weights = makeStage(m_registry, "int", {{"group", whole(0)}});
    QVERIFY(!weights);
    QCOMPARE(QString::fromStdString(weights.error().message),
        QString("group=0 is not allowed: it takes -1, a number of columns from 1 to 1048576, or auto, tensor"));
    const auto inputs = makeStage(m_registry, "act", {{"a_granularity", text("token-group")}, {"a_group", whole(0)}});
    QVERIFY(!inputs);
    QCOMPARE(QString::fromStdString(inputs.error().message),
        QString("a_group=0 is not allowed: it takes -1, a number of channels from 1 to 1048576, or auto"));
}

void RoundingTest::badGroupNamesLayer()
{
    const Problem problem(14, 4, 60, 0);
    const auto result = nearest(problem, {{"group", whole(32)}});
    QVERIFY(!result);
    QCOMPARE(result.error().code, Errc::InvalidArgument);
    QVERIFY(result.error().where.find("layer") != std::string::npos);
}

void RoundingTest::badWeightNamesRowAndGroup()
{
    Problem problem(15, 40, 64, 0);
    problem.W(33, 20) = std::numeric_limits<float>::quiet_NaN();
    problem.W(35, 2) = std::numeric_limits<float>::infinity();
    const auto result = nearest(problem, {{"group", whole(16)}});
    QVERIFY(!result);
    QCOMPARE(result.error().code, Errc::NotFinite);
    QCOMPARE(QString::fromStdString(result.error().where), QString("layer, row 35, group 0")); // groups are walked in order
}

void RoundingTest::clippingIsNeverWorse_data()
{
    QTest::addColumn<QString>("grid");
    QTest::addColumn<int>("bits");
    QTest::addColumn<int>("group");
    for (const char* grid : kGrids)
        for (const int bits : {2, 3, 4})
            QTest::newRow(qPrintable(QString("%1 %2").arg(grid).arg(bits))) << QString(grid) << bits << (bits == 3 ? -1 : 16);
}

void RoundingTest::clippingIsNeverWorse()
{
    QFETCH(QString, grid);
    QFETCH(int, bits);
    QFETCH(int, group);
    const Problem problem(16, 20, 32, 256);
    recipe::Parameters parameters{{"bits", whole(bits)}, {"group", whole(group)}, {"grid", text(grid.toUtf8().constData())}};
    QS_REQUIRE(plain, nearest(problem, parameters));
    parameters["clip"] = text("awq");
    QS_REQUIRE(clipped, nearest(problem, parameters));
    // Per (row, group), on the group's own block of C: that is what the search minimises.
    const Index width = plain.quantized.group;
    for (Index r = 0; r < 20; ++r)
        for (Index g = 0; g * width < 32; ++g) {
            MatrixD Cgg(width, width);
            for (Index i = 0; i < width; ++i)
                for (Index j = 0; j < width; ++j)
                    Cgg(i, j) = problem.C(g * width + i, g * width + j);
            const auto part = [&](MatrixView m) { return RowMatrix(m.block(r, g * width, 1, width)); };
            const double before = test::trace(test::difference(part(problem.W), part(plain.What)), Cgg);
            const double after = test::trace(test::difference(part(problem.W), part(clipped.What)), Cgg);
            QVERIFY2(after <= before * (1.0 + 1e-12) + 1e-15,
                qPrintable(QString("row %1 group %2: %3 > %4").arg(r).arg(g).arg(after).arg(before)));
        }
    if (bits == 2)
        QVERIFY(!test::sameBits(plain.What, clipped.What)); // at two bits something is worth clipping
}

void RoundingTest::clipLossIsTheTokenLoss()
{
    const Problem problem(17, 5, 24, 128);
    quant::UniformGridOptions options;
    options.bits = 3;
    const quant::UniformGrid grid(options);
    QS_REQUIRE(found, plugins::searchClip(grid, problem.W, problem.C, {}, cpuBackend(), {}));
    for (Index r = 0; r < 5; ++r) {
        const auto row = static_cast<std::size_t>(r);
        double loss = 0.0;
        for (Index t = 0; t < 128; ++t) {
            double y = 0.0;
            for (Index c = 0; c < 24; ++c)
                y += static_cast<double>(problem.X(t, c))
                    * static_cast<double>(problem.W(r, c) - grid.project(problem.W(r, c), found.fitted[row]));
            loss += y * y / 128.0;
        }
        QVERIFY(std::fabs(loss - found.loss[row]) <= 1e-6 * loss);
        QVERIFY(found.loss[row] <= found.lossUnclipped[row]);
        QVERIFY(found.factor[row] >= 0.55 - 1e-12 && found.factor[row] <= 1.0);
    }
}

void RoundingTest::clippingSparesExcludedLayers()
{
    const Problem problem(18, 8, 32, 64);
    QS_REQUIRE(stage, makeStage(m_registry, "int", {{"bits", whole(2)}, {"clip", text("awq")}}));
    QS_REQUIRE(rounding, makeStage(m_registry, "nearest"));
    QS_REQUIRE(plain, nearest(problem, {{"bits", whole(2)}}));
    recipe::LayerProblem layer = problem.layer();
    for (const model::LayerRole role : {model::LayerRole::Query, model::LayerRole::Key}) {
        layer.role = role;
        recipe::StageReport report;
        QS_REQUIRE(excluded, rounding.rounding->solve(layer, stage.grid.get(), nullptr, report));
        QVERIFY(test::sameBits(excluded.What, plain.What));
        QCOMPARE(report.notes.size(), std::size_t{1});
    }
    for (const model::LayerRole role : {model::LayerRole::Value, model::LayerRole::Output, model::LayerRole::Gate,
             model::LayerRole::Up, model::LayerRole::Down, model::LayerRole::Other}) {
        layer.role = role;
        recipe::StageReport report;
        QVERIFY(rounding.rounding->solve(layer, stage.grid.get(), nullptr, report));
        QCOMPARE(report.entries.size(), std::size_t{1});
        QCOMPARE(report.entries[0].first, std::string("clipped_share"));
        QVERIFY(std::get<double>(report.entries[0].second) > 0.0);
    }
}

void RoundingTest::clippingNeedsCalibration()
{
    const Problem problem(19, 4, 16, 0);
    for (const recipe::Parameters& parameters :
        {recipe::Parameters{{"clip", text("awq")}}, recipe::Parameters{{"range", text("mse")}, {"mse_weighted", true}}}) {
        const auto result = nearest(problem, parameters);
        QVERIFY(!result);
        QCOMPARE(result.error().code, Errc::NotFound);
        QVERIFY(result.error().message.find("needs calibration") != std::string::npos);
        QCOMPARE(result.error().where, std::string("layer"));
    }
}

void RoundingTest::weightedRangeDiffersFromUnweighted()
{
    // One channel carries all the signal: the weighted search must not sacrifice it.
    Problem problem(20, 6, 16, 64);
    for (Index t = 0; t < 64; ++t)
        for (Index c = 1; c < 16; ++c)
            problem.X(t, c) *= 1e-3F;
    problem.C = test::secondMoment(problem.X);
    const recipe::Parameters plain{{"bits", whole(3)}, {"range", text("mse")}, {"mse_norm", 2.0}};
    recipe::Parameters weighted = plain;
    weighted["mse_weighted"] = true;
    QS_REQUIRE(a, nearest(problem, plain));
    QS_REQUIRE(b, nearest(problem, weighted));
    QVERIFY(test::outputError(problem.W, b.What, problem.C) < test::outputError(problem.W, a.What, problem.C));
}

void RoundingTest::sameBitsForOneAndTwoThreads()
{
    const Problem problem(21, 150, 96, 64);
    for (const recipe::Parameters& parameters : {recipe::Parameters{}, recipe::Parameters{{"range", text("mse")}},
             recipe::Parameters{{"bits", whole(3)}, {"clip", text("awq")}}}) {
        setThreadCount(1);
        QS_REQUIRE(one, nearest(problem, parameters));
        setThreadCount(2);
        QS_REQUIRE(two, nearest(problem, parameters));
        QVERIFY(test::sameBits(one.What, two.What));
        QVERIFY(test::sameBits(one.quantized.codes, two.quantized.codes));
    }
}

void RoundingTest::cancelsAfterOneGroup()
{
    Problem problem(22, 8, 160, 0);
    std::stop_source source;
    problem.job.stop = source.get_token();
    QS_REQUIRE(stage, makeStage(m_registry, "int", {{"group", whole(16)}}));
    int fits = 0;
    const CountingGrid counting(stage.grid, [&] {
        if (++fits == 3)
            source.request_stop();
    });
    QS_REQUIRE(rounding, makeStage(m_registry, "nearest"));
    recipe::StageReport report;
    const auto result = rounding.rounding->solve(problem.layer(), &counting, nullptr, report);
    QVERIFY(!result);
    QCOMPARE(result.error().code, Errc::Cancelled);
    QCOMPARE(fits, 3);
}

void RoundingTest::clipSearchCancelsAfterOneProduct()
{
    Problem problem(23, 8, 64, 64);
    std::stop_source source;
    problem.job.stop = source.get_token();
    test::CountingBackend backend;
    backend.onProduct = [&] {
        if (backend.products == 4)
            source.request_stop();
    };
    problem.backend = &backend;
    const auto result = nearest(problem, {{"clip", text("awq")}});
    QVERIFY(!result);
    QCOMPARE(result.error().code, Errc::Cancelled);
    QCOMPARE(backend.products, 4);
}

void RoundingTest::dynamicInputsNeedNothing()
{
    const Problem problem(24, 4, 48, 0);
    QS_REQUIRE(
        stage, makeStage(m_registry, "act", {{"a_bits", whole(6)}, {"a_granularity", text("token-group")}, {"a_clip", 0.9}}));
    recipe::StageReport report;
    QS_REQUIRE(options, stage.activation->fit(problem.layer(), report));
    QCOMPARE(options.bits, 6);
    QCOMPARE(options.group, Index{16});
    QCOMPARE(options.clip, 0.9);
    QVERIFY(options.dynamic);
    QVERIFY(options.granularity == quant::ActivationGranularity::TokenGroup);
}

void RoundingTest::staticInputRange_data()
{
    QTest::addColumn<QString>("grid");
    QTest::addColumn<float>("lo");
    QTest::addColumn<float>("hi");
    QTest::addRow("symmetric") << "sym-restricted" << -5.0F << 5.0F;
    QTest::addRow("asymmetric") << "asym-0" << -5.0F << 3.0F;
}

void RoundingTest::staticInputRange()
{
    QFETCH(QString, grid);
    QFETCH(float, lo);
    QFETCH(float, hi);
    Problem problem(25, 2, 3, 4);
    const float x[] = {1, -5, 0, 2, 0, 0, 3, -1, -2, 0, 0, 0};
    std::copy(std::begin(x), std::end(x), problem.X.data());
    const recipe::Parameters parameters{
        {"a_grid", text(grid.toUtf8().constData())}, {"a_granularity", text("tensor")}, {"a_dynamic", false}};
    QS_REQUIRE(stage, makeStage(m_registry, "act", parameters));
    recipe::StageReport report;
    QS_REQUIRE(options, stage.activation->fit(problem.layer(), report));
    QCOMPARE(options.lo, lo);
    QCOMPARE(options.hi, hi);
    QVERIFY(!options.dynamic);
}

void RoundingTest::staticInputFailures()
{
    const auto perToken = makeStage(m_registry, "act", {{"a_dynamic", false}});
    QVERIFY(!perToken);
    QCOMPARE(perToken.error().code, Errc::InvalidArgument);

    QS_REQUIRE(stage,
        makeStage(m_registry, "act", {{"a_dynamic", false}, {"a_granularity", text("tensor")}, {"a_grid", text("asym-0")}}));
    recipe::StageReport report;
    const auto without = stage.activation->fit(Problem(26, 2, 4, 0).layer(), report);
    QVERIFY(!without);
    QCOMPARE(without.error().code, Errc::NotFound);

    const Problem problem(27, 2, 4, 8);
    recipe::LayerProblem layer = problem.layer();
    layer.input.min.clear();
    layer.input.max.clear();
    const auto dense = stage.activation->fit(layer, report);
    QVERIFY(!dense);
    QCOMPARE(dense.error().code, Errc::Unsupported);
}

QTEST_GUILESS_MAIN(RoundingTest)
#include "tst_rounding.moc"
