// SPDX-License-Identifier: Apache-2.0
// Goldens: NumPy implementations from the papers' equations (tests/golden/gen/methods_reference.py).
#include "plugins/smoothing/smoothing.h"

#include "core/exec/parallel.h"
#include "core/metrics/error_metrics.h"
#include "plugins/rounding/rounding.h"
#include "plugins/rounding/tests/problem.h"
#include "plugins/smoothing/awq.h"
#include "plugins/smoothing/channel_scaling.h"
#include "plugins/smoothing/smooth.h"

using namespace qs;
using qs::test::makeStage;
using qs::test::Problem;
using qs::test::text;
using qs::test::whole;

namespace {

/// A site of one or two layers that read the same input.
struct Site {
    Problem problem; ///< Input, and the first layer.
    RowMatrix second;
    model::SiteSpec spec;
    recipe::StageInstance grid; ///< Empty: no grid in the pipeline.
    std::function<void()> onProject;
    std::function<std::vector<double>(std::vector<double>)> storable;

    Site(std::uint64_t seed, Index rows, Index cols, Index tokens, Index secondRows = 0)
        : problem(seed, rows, cols, tokens)
        , second(secondRows > 0 ? test::hashedWeights(seed + 100, secondRows, cols) : RowMatrix())
    {
        spec.kind = model::SiteKind::MlpIn;
        spec.diagonalFolds = true;
    }
    std::vector<MatrixView> weights() const
    {
        std::vector<MatrixView> list{problem.W};
        if (!second.empty())
            list.push_back(second);
        return list;
    }
    RowMatrix nearest(MatrixView W) const
    {
        const recipe::LayerProblem layer{"layer", W, {}, {*problem.backend, problem.job}};
        return grid.grid->nearest(layer)->dequantize(cpuBackend());
    }
    recipe::SiteContext context() const
    {
        recipe::SiteContext site{spec, {}, problem.input(), {*problem.backend, problem.job}, storable};
        for (const MatrixView W : weights()) {
            recipe::SiteConsumer consumer;
            consumer.layer = site.consumers.empty() ? "first" : "second";
            consumer.W = W;
            if (grid.grid)
                consumer.projectNearest = [this](MatrixView candidate) -> Expected<RowMatrix> {
                    if (onProject)
                        onProject();
                    return nearest(candidate);
                };
            site.consumers.push_back(std::move(consumer));
        }
        return site;
    }
    /// Loss of the site under a transform, by the plain definition.
    double loss(const recipe::SiteTransform& transform) const
    {
        double total = 0.0;
        for (const MatrixView W : weights())
            total
                += test::trace(test::difference(W, transform.fromTransformed(nearest(transform.toTransformed(W)))), problem.C);
        return total;
    }
};

double entry(const recipe::StageReport& report, const std::string& name)
{
    for (const auto& [key, value] : report.entries)
        if (key == name)
            return std::get<double>(value);
    return std::numeric_limits<double>::quiet_NaN();
}

bool near(double a, double b, double tolerance)
{
    return std::fabs(a - b) <= tolerance * std::max(std::fabs(a), std::fabs(b));
}

} // namespace

class SmoothingTest : public QObject {
    Q_OBJECT
private Q_SLOTS:
    void initTestCase();
    void cleanup() { setThreadCount(m_threads); }
    void lossesAreTheTokenLoss();
    void ratioZeroIsNearest();
    void awqIsNeverWorseThanNearest_data();
    void awqIsNeverWorseThanNearest();
    void scalesAreScoredAsStored();
    void awqWinsInTheMedian();
    void awqAgainstNumpy_data();
    void awqAgainstNumpy();
    void awqDoesNotSeeTheScaleOfItsInput_data();
    void awqDoesNotSeeTheScaleOfItsInput();
    void awqLeavesClosedSitesAlone();
    void awqScalesPlainMatrices();
    void awqWithoutGridIsTheIdentity();
    void needsCalibration_data();
    void needsCalibration();
    void awqCancelsAfterOneCandidate();
    void smoothAgainstNumpy_data();
    void smoothAgainstNumpy();
    void smoothLimits_data();
    void smoothLimits();
    void smoothActsBehindNormsOnly();
    void smoothLeavesOutSinks();
    void deadChannelsStayFinite();
    void outputsArePreserved_data();
    void outputsArePreserved();
    void sameBitsForOneAndTwoThreads();

private:
    Expected<std::unique_ptr<recipe::SiteTransform>> fit(
        const Site& site, const char* id, const recipe::Parameters& given, recipe::StageReport& report)
    {
        QS_TRY(stage, makeStage(m_registry, id, given));
        return stage.transform->fit(site.context(), report);
    }
    void useGrid(Site& site, const recipe::Parameters& given = {})
    {
        QS_REQUIRE(stage, makeStage(m_registry, "int", given));
        site.grid = stage;
    }
    recipe::StageRegistry m_registry;
    int m_threads = threadCount();
};

void SmoothingTest::initTestCase()
{
    QVERIFY(plugins::registerRounding(m_registry));
    QVERIFY(plugins::registerSmoothing(m_registry));
}

void SmoothingTest::lossesAreTheTokenLoss() // T15: Gram loss = token loss; the search's in float32
{
    const Problem problem(50, 700, 24, 128); // more rows than one block of the product
    const RowMatrix dW = test::hashedWeights(51, 700, 24);
    double tokens = 0.0;
    for (Index t = 0; t < 128; ++t)
        for (Index r = 0; r < 700; ++r) {
            double y = 0.0;
            for (Index c = 0; c < 24; ++c)
                y += static_cast<double>(dW(r, c)) * static_cast<double>(problem.X(t, c));
            tokens += y * y / 128.0;
        }
    QVERIFY(near(*metrics::traceLoss(dW, problem.C, cpuBackend()), tokens, 1e-10));
    RowMatrix C(24, 24);
    std::transform(problem.C.values().begin(), problem.C.values().end(), C.values().begin(),
        [](double value) { return static_cast<float>(value); });
    QVERIFY(near(plugins::awqSearchLoss(dW, C, cpuBackend()), tokens, 1e-5));
}

void SmoothingTest::ratioZeroIsNearest() // T15: r = 0 = RTN, through the candidate's own arithmetic
{
    Site site(52, 16, 32, 128);
    useGrid(site);
    std::vector<double> meanAbs = site.problem.input().meanAbs;
    meanAbs[3] = 0.0; // a dead channel
    meanAbs[4] = 1e-30;
    const std::vector<double> ones = plugins::awqScale(meanAbs, {}, 0.0);
    QVERIFY(ones == std::vector<double>(32, 1.0));
    QVERIFY(plugins::awqScale(meanAbs, {}, 0.5) != ones);
    QS_REQUIRE(transform, plugins::ChannelScaling::make(ones));
    const RowMatrix scaled = transform->toTransformed(site.problem.W);
    QVERIFY(test::sameBits(scaled, site.problem.W));
    QVERIFY(test::sameBits(transform->fromTransformed(site.nearest(scaled)), site.nearest(site.problem.W)));
    const plugins::AwqTransform onlyZero({.nGrid = 1});
    recipe::StageReport report;
    QVERIFY(onlyZero.fit(site.context(), report));
    QVERIFY(near(entry(report, "loss_nearest"), site.loss(*transform), 1e-10));
}

void SmoothingTest::awqIsNeverWorseThanNearest_data()
{
    QTest::addColumn<int>("seed");
    QTest::addColumn<int>("bits");
    QTest::addColumn<bool>("duo");
    for (int seed = 60; seed < 72; ++seed)
        for (const int bits : {2, 3, 4})
            QTest::addRow("%d %d", seed, bits) << seed << bits << (seed % 2 == 0);
}

void SmoothingTest::awqIsNeverWorseThanNearest() // T15
{
    QFETCH(int, seed);
    QFETCH(int, bits);
    QFETCH(bool, duo);
    Site site(static_cast<std::uint64_t>(seed), 16, 48, 128, 8);
    useGrid(site, {{"bits", whole(bits)}});
    recipe::StageReport report;
    QS_REQUIRE(transform, fit(site, "awq", {{"duo_scaling", duo}, {"duo_group", whole(16)}}, report));
    const double nearest = site.loss(*plugins::AwqTransform({.nGrid = 1}).fit(site.context(), report).value());
    const double chosen = site.loss(*transform);
    QVERIFY2(chosen <= nearest, qPrintable(QString("%1 > %2").arg(chosen).arg(nearest)));
    QVERIFY(near(entry(report, "loss"), chosen, 1e-9));
    QVERIFY(near(entry(report, "loss_nearest"), nearest, 1e-9));
}

void SmoothingTest::scalesAreScoredAsStored() // a store that holds powers of two alone
{
    for (std::uint64_t seed = 90; seed < 98; ++seed) {
        Site site(seed, 16, 48, 128, 8);
        useGrid(site, {{"bits", whole(3)}});
        site.storable = [](std::vector<double> d) {
            for (double& value : d)
                value = std::exp2(std::round(std::log2(value)));
            return d;
        };
        for (const char* id : {"awq", "smooth"}) {
            recipe::StageReport report;
            QS_REQUIRE(transform, fit(site, id, {}, report));
            const std::vector<double> d = transform->diagonal();
            QVERIFY(d == site.storable(d));
            QCOMPARE(entry(report, "scale_min"), 1.0 / *std::max_element(d.begin(), d.end()));
            QCOMPARE(entry(report, "scale_max"), 1.0 / *std::min_element(d.begin(), d.end()));
            if (id == std::string("awq")) {
                QVERIFY(near(entry(report, "loss"), site.loss(*transform), 1e-9));
                QVERIFY(entry(report, "loss") <= entry(report, "loss_nearest"));
            }
        }
    }
}

void SmoothingTest::awqWinsInTheMedian() // with outlier channels and few bits there is something to win, if not in every case
{
    std::vector<double> ratios;
    for (std::uint64_t seed = 3000; seed < 3240; seed += 10) {
        Site site(seed, 16, 48, 128, 8);
        useGrid(site, {{"bits", whole(3)}});
        recipe::StageReport report;
        QVERIFY(fit(site, "awq", {}, report));
        ratios.push_back(entry(report, "loss") / entry(report, "loss_nearest"));
    }
    std::sort(ratios.begin(), ratios.end());
    QVERIFY2(ratios[12] < 0.95, qPrintable(QString::number(ratios[12])));
}

void SmoothingTest::awqAgainstNumpy_data()
{
    QTest::addColumn<QString>("text");
    for (const nlohmann::json& item : test::golden("simple.json", "awq"))
        QTest::addRow("%s", item.at("grid").get<std::string>().c_str()) << QString::fromStdString(item.dump());
}

void SmoothingTest::awqAgainstNumpy()
{
    QFETCH(QString, text);
    const auto golden = nlohmann::json::parse(text.toStdString());
    Site site(golden.at("seed"), golden.at("rows"), golden.at("cols"), golden.at("tokens"));
    useGrid(site,
        {{"bits", golden.at("bits").get<std::int64_t>()}, {"group", golden.at("group").get<std::int64_t>()},
            {"grid", golden.at("grid").get<std::string>()}});
    recipe::StageReport report;
    QVERIFY(fit(site, "awq", {}, report));
    QCOMPARE(entry(report, "ratio"), golden.at("ratio").get<double>());
    QVERIFY(near(entry(report, "loss"), golden.at("loss"), 1e-6));
    QVERIFY(near(entry(report, "loss_nearest"), golden.at("loss_nearest"), 1e-9));
}

void SmoothingTest::awqDoesNotSeeTheScaleOfItsInput_data()
{
    QTest::addColumn<float>("factor");
    QTest::addColumn<double>("limit");
    QTest::newRow("a power of two: not even rounding differs") << 16.0F << 1e-12;
    QTest::newRow("any factor") << 1.7F << 1e-6;
}

void SmoothingTest::awqDoesNotSeeTheScaleOfItsInput()
{
    QFETCH(float, factor);
    QFETCH(double, limit);
    Site site(73, 16, 32, 128);
    useGrid(site, {{"bits", whole(3)}});
    recipe::StageReport before, after;
    QS_REQUIRE(a, fit(site, "awq", {}, before));
    for (float& x : site.problem.X.values())
        x *= factor;
    site.problem.C = test::secondMoment(site.problem.X);
    QS_REQUIRE(b, fit(site, "awq", {}, after));
    QCOMPARE(entry(before, "ratio"), entry(after, "ratio"));
    QVERIFY(entry(before, "ratio") > 0.0);
    for (std::size_t j = 0; j < 32; ++j)
        QVERIFY(near(a->diagonal()[j], b->diagonal()[j], limit));
}

void SmoothingTest::awqLeavesClosedSitesAlone()
{
    Site site(74, 8, 16, 64);
    useGrid(site, {{"bits", whole(2)}});
    site.spec.kind = model::SiteKind::ValueOut;
    site.spec.diagonalFolds = false;
    site.spec.whyNot = "v has 3 heads for 9 query heads";
    recipe::StageReport report;
    QS_REQUIRE(transform, fit(site, "awq", {}, report));
    QVERIFY(transform->identity());
    QCOMPARE(report.notes.size(), std::size_t{1});
    QVERIFY(report.notes[0].find("v has 3 heads for 9 query heads") != std::string::npos);
}

void SmoothingTest::awqScalesPlainMatrices()
{
    Site site(74, 8, 16, 64);
    useGrid(site, {{"bits", whole(2)}});
    site.spec.kind = model::SiteKind::Alone;
    site.spec.diagonalFolds = false;
    recipe::StageReport report;
    QS_REQUIRE(transform, fit(site, "awq", {}, report));
    QVERIFY(!transform->identity());
    QCOMPARE(transform->onlineCost(), 16.0);
}

void SmoothingTest::awqWithoutGridIsTheIdentity()
{
    const Site site(75, 8, 16, 64);
    recipe::StageReport report;
    QS_REQUIRE(transform, fit(site, "awq", {}, report));
    QVERIFY(transform->identity());
    QCOMPARE(report.notes.size(), std::size_t{1});
}

void SmoothingTest::needsCalibration_data()
{
    QTest::addColumn<QString>("id");
    QTest::addRow("awq") << "awq";
    QTest::addRow("smooth") << "smooth";
}

void SmoothingTest::needsCalibration()
{
    QFETCH(QString, id);
    Site site(76, 4, 16, 0);
    useGrid(site);
    recipe::StageReport report;
    const auto result = fit(site, id.toUtf8().constData(), {}, report);
    QVERIFY(!result);
    QCOMPARE(result.error().code, Errc::NotFound);
    QVERIFY(result.error().message.find("needs calibration") != std::string::npos);
    QCOMPARE(result.error().where, std::string("first"));
}

void SmoothingTest::awqCancelsAfterOneCandidate()
{
    Site site(77, 8, 32, 64, 4);
    useGrid(site);
    std::stop_source source;
    site.problem.job.stop = source.get_token();
    int projected = 0;
    site.onProject = [&] {
        if (++projected == 5)
            source.request_stop();
    };
    recipe::StageReport report;
    const auto result = fit(site, "awq", {}, report);
    QVERIFY(!result);
    QCOMPARE(result.error().code, Errc::Cancelled);
    QCOMPARE(projected, 5);
}

void SmoothingTest::smoothAgainstNumpy_data()
{
    QTest::addColumn<QString>("text");
    for (const nlohmann::json& item : test::golden("simple.json", "smooth"))
        QTest::addRow("alpha %g", item.at("alpha").get<double>()) << QString::fromStdString(item.dump());
}

void SmoothingTest::smoothAgainstNumpy()
{
    QFETCH(QString, text);
    const auto golden = nlohmann::json::parse(text.toStdString());
    const Site site(
        golden.at("seed"), golden.at("rows").at(0), golden.at("cols"), golden.at("tokens"), golden.at("rows").at(1));
    recipe::StageReport report;
    QS_REQUIRE(transform, fit(site, "smooth", {{"alpha", golden.at("alpha").get<double>()}}, report));
    const std::vector<double> diagonal = transform->diagonal();
    QCOMPARE(diagonal.size(), golden.at("scale").size());
    for (std::size_t j = 0; j < diagonal.size(); ++j)
        QVERIFY(near(1.0 / diagonal[j], golden.at("scale").at(j), 1e-12));
}

void SmoothingTest::smoothLimits_data()
{
    QTest::addColumn<double>("alpha");
    for (const double alpha : {0.0, 0.5, 1.0})
        QTest::addRow("%g", alpha) << alpha;
}

void SmoothingTest::smoothLimits() // T16
{
    QFETCH(double, alpha);
    const Site site(78, 12, 24, 64, 6);
    recipe::StageReport report;
    QS_REQUIRE(transform, fit(site, "smooth", {{"alpha", alpha}}, report));
    const std::vector<double> d = transform->diagonal();
    const std::vector<double> inputMax = site.problem.input().absMax;
    for (std::size_t j = 0; j < d.size(); ++j) {
        double weightMax = 0.0;
        for (const MatrixView W : site.weights())
            for (Index r = 0; r < W.rows(); ++r)
                weightMax = std::max(weightMax, std::fabs(static_cast<double>(W(r, static_cast<Index>(j)))));
        const double x = inputMax[j] * d[j];
        const double w = weightMax / d[j];
        if (alpha == 0.0)
            QVERIFY(near(w, 1.0, 1e-12));
        else if (alpha == 1.0)
            QVERIFY(near(x, 1.0, 1e-12));
        else
            QVERIFY(near(x, w, 1e-12));
    }
}

void SmoothingTest::smoothActsBehindNormsOnly()
{
    Site site(79, 8, 16, 64);
    const std::pair<model::SiteKind, bool> kinds[] = {{model::SiteKind::AttentionIn, true}, {model::SiteKind::MlpIn, true},
        {model::SiteKind::Alone, true}, {model::SiteKind::ValueOut, false}, {model::SiteKind::UpDown, false}};
    for (const auto& [kind, acts] : kinds) {
        site.spec.kind = kind;
        site.spec.diagonalFolds = kind != model::SiteKind::Alone;
        recipe::StageReport report;
        QS_REQUIRE(transform, fit(site, "smooth", {}, report));
        QCOMPARE(!transform->identity(), acts);
        QCOMPARE(report.notes.empty(), acts);
    }
}

void SmoothingTest::smoothLeavesOutSinks()
{
    Site site(80, 8, 16, 64);
    recipe::SiteContext context = site.context();
    context.input.absMaxNoSinks[3] /= 100.0; // channel 3 is large at the first positions only
    QS_REQUIRE(stage, makeStage(m_registry, "smooth", {{"sinks", text("exclude")}}));
    recipe::StageReport report;
    QS_REQUIRE(excluded, stage.transform->fit(context, report));
    QS_REQUIRE(included, fit(site, "smooth", {}, report));
    for (std::size_t j = 0; j < 16; ++j)
        QVERIFY(near(excluded->diagonal()[j], included->diagonal()[j] * (j == 3 ? 10.0 : 1.0), 1e-12));
    context.input.absMaxNoSinks.clear();
    const auto unknown = stage.transform->fit(context, report);
    QVERIFY(!unknown);
    QCOMPARE(unknown.error().code, Errc::NotFound);
}

void SmoothingTest::deadChannelsStayFinite()
{
    Site site(81, 8, 16, 64);
    useGrid(site, {{"bits", whole(3)}});
    for (Index t = 0; t < 64; ++t)
        site.problem.X(t, 5) = 0.0F;
    for (Index r = 0; r < 8; ++r)
        site.problem.W(r, 6) = 0.0F;
    site.problem.C = test::secondMoment(site.problem.X);
    for (const char* id : {"awq", "smooth"}) {
        recipe::StageReport report;
        QS_REQUIRE(transform, fit(site, id, {}, report));
        for (const double d : transform->diagonal())
            QVERIFY(std::isfinite(d) && d > 0.0);
    }
}

void SmoothingTest::outputsArePreserved_data()
{
    needsCalibration_data();
}

void SmoothingTest::outputsArePreserved() // W' x' = W x before anything is rounded
{
    QFETCH(QString, id);
    Site site(82, 8, 32, 64);
    useGrid(site, {{"bits", whole(3)}});
    recipe::StageReport report;
    QS_REQUIRE(transform, fit(site, id.toUtf8().constData(), {}, report));
    QVERIFY(!transform->identity());
    const RowMatrix W = transform->toTransformed(site.problem.W);
    RowMatrix x(site.problem.X);
    transform->applyToTokens(x.mut());
    const MatrixD conjugated = transform->conjugate(site.problem.C);
    QVERIFY(near(test::trace(W, conjugated), test::trace(site.problem.W, site.problem.C), 1e-6));
    for (Index t = 0; t < 64; ++t)
        for (Index r = 0; r < 8; ++r) {
            double before = 0.0, after = 0.0, size = 0.0;
            for (Index c = 0; c < 32; ++c) {
                const double term = static_cast<double>(site.problem.W(r, c)) * static_cast<double>(site.problem.X(t, c));
                before += term;
                size += std::fabs(term);
                after += static_cast<double>(W(r, c)) * static_cast<double>(x(t, c));
            }
            QVERIFY(std::fabs(before - after) <= 2e-7 * size); // two roundings to float32 per term
        }
    transform->unapplyToTokens(x.mut());
    for (Index i = 0; i < x.size(); ++i)
        QVERIFY(std::fabs(x.values()[static_cast<std::size_t>(i)] - site.problem.X.values()[static_cast<std::size_t>(i)])
            <= 2e-7F * std::fabs(site.problem.X.values()[static_cast<std::size_t>(i)]));
}

void SmoothingTest::sameBitsForOneAndTwoThreads()
{
    Site site(83, 200, 64, 128, 100);
    useGrid(site, {{"bits", whole(3)}});
    for (const char* id : {"awq", "smooth"}) {
        recipe::StageReport one, two;
        setThreadCount(1);
        QS_REQUIRE(a, fit(site, id, {}, one));
        setThreadCount(2);
        QS_REQUIRE(b, fit(site, id, {}, two));
        QVERIFY(a->diagonal() == b->diagonal());
        QVERIFY(one.entries == two.entries);
    }
}

QTEST_GUILESS_MAIN(SmoothingTest)
#include "tst_smoothing.moc"
