// SPDX-License-Identifier: Apache-2.0
#include "core/recipe/runner.h"

#include "core/recipe/obs_sweep.h"
#include "tiny_model.h"

#include <QTemporaryDir>
#include <cmath>
#include <limits>
#include <thread>

using namespace qs;
using namespace qs::recipe;

namespace {

bool sameBits(const RowMatrix& a, const RowMatrix& b)
{
    return a.rows() == b.rows() && a.cols() == b.cols()
        && std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.size()) * sizeof(float)) == 0;
}

/// sum over tokens of |(W - What) x|^2, the plain definition.
double loss(MatrixView W, MatrixView What, MatrixView tokens)
{
    double total = 0;
    for (Index t = 0; t < tokens.rows(); ++t)
        for (Index r = 0; r < W.rows(); ++r) {
            double y = 0;
            for (Index c = 0; c < W.cols(); ++c)
                y += (static_cast<double>(W(r, c)) - static_cast<double>(What(r, c))) * static_cast<double>(tokens(t, c));
            total += y * y;
        }
    return total;
}

double relativeLoss(MatrixView W, MatrixView What, MatrixView tokens)
{
    const RowMatrix zero(W.rows(), W.cols());
    return loss(W, What, tokens) / loss(W, zero, tokens);
}

const StageReport* reportOf(const CompressedLayer& layer, const std::string& stage)
{
    for (const StageReport& report : layer.reports)
        if (report.stage == stage)
            return &report;
    return nullptr;
}

const ParameterValue* entryOf(const StageReport* report, const std::string& name)
{
    if (report)
        for (const auto& [key, value] : report->entries)
            if (key == name)
                return &value;
    return nullptr;
}

} // namespace

class TestRunner : public QObject {
    Q_OBJECT
private Q_SLOTS:
    void initTestCase()
    {
        test::fill(m_registry);
        QVERIFY(m_dir.isValid());
        m_W = test::randomMatrix(77, 24, 64);
        QS_REQUIRE(plain, test::plainModel(path("plain.safetensors"), {{"layer", m_W}}));
        m_plain = plain;
        QS_REQUIRE(llama, test::tinyLlama(path("llama")));
        m_llama = llama;
        m_plainDump = test::dumpFor(*m_plain);
        m_llamaDump = test::dumpFor(*m_llama);
    }

    void nearestOnAPlainMatrix()
    {
        const Runner runner = plainRunner();
        QS_REQUIRE(layer, runner.compress(0, pipeline("plain(bits=3, group=16)"), {}));
        const auto expected = quant::quantizeNearest(m_W, 16, test::gridOptions(3), cpuBackend());
        QVERIFY(sameBits(layer.What, expected->dequantize(cpuBackend())));
        QCOMPARE(layer.layer, std::string("layer"));
        QCOMPARE(layer.bits.total(), quant::countBits(*expected).total());
        QCOMPARE(layer.bits.perWeight(), 3.0 + 32.0 / 16.0);
        QVERIFY(!layer.inputTransform && layer.outputScale.empty() && layer.keep.empty() && !layer.activation);
        QCOMPARE(layer.reports.size(), std::size_t{1});
        QVERIFY(layer.seconds > 0 && !layer.fromCache && layer.cacheKey.empty());
        QS_REQUIRE(automatic, runner.compress(0, pipeline("plain"), {}));
        QCOMPARE(formatPipeline(automatic.pipeline), std::string("- | - | grid(bits=4, group=64) | nearest() | - | -"));
    }

    void emptyPipelineLeavesTheLayer()
    {
        const Runner runner = plainRunner();
        QS_REQUIRE(layer, runner.compress(0, Pipeline{}, {}));
        QVERIFY(layer.untouched());
        QVERIFY(sameBits(layer.What, m_W));
        QCOMPARE(layer.bits.perWeight(), 32.0);
        QS_REQUIRE(metrics, runner.measure(0, layer, {}));
        QCOMPARE(metrics.outputError, 0.0);
        QVERIFY(std::isinf(metrics.weightSqnrDb) && metrics.weightSqnrDb > 0);
        QCOMPARE(*metrics.outputErrorWA, 0.0);
    }

    void metricsAreTheirFormulas()
    {
        const Runner runner = plainRunner();
        QS_REQUIRE(layer, runner.compress(0, pipeline("solver(bits=3, group=16)"), {}));
        QS_REQUIRE(metrics, runner.measure(0, layer, {}));
        QVERIFY(metrics.hasOutput && metrics.holdout);
        const RowMatrix tokens = m_plainDump->rawTokens("layer", 0).value();
        const double fit = relativeLoss(m_W, layer.What, tokens.view().rowRange(0, 270));
        const double holdout = relativeLoss(m_W, layer.What, tokens.view().rowRange(270, 30));
        QVERIFY(std::abs(metrics.outputErrorFit - fit) <= 1e-6 * fit);
        QVERIFY(std::abs(metrics.outputError - holdout) <= 1e-6 * holdout);
        QVERIFY(metrics.outputErrorFit != metrics.outputError);
        QCOMPARE(metrics.outputSqnrDb, -10.0 * std::log10(metrics.outputError));
        const double all = relativeLoss(m_W, layer.What, tokens);
        QVERIFY(metrics.outputErrorWA
            && std::abs(*metrics.outputErrorWA - all) <= 1e-5 * all); // no activation grid: Q is the identity
        double signal = 0;
        double noise = 0;
        for (std::size_t i = 0; i < m_W.values().size(); ++i) {
            signal += std::pow(static_cast<double>(m_W.values()[i]), 2);
            noise += std::pow(static_cast<double>(m_W.values()[i]) - static_cast<double>(layer.What.values()[i]), 2);
        }
        QVERIFY(std::abs(metrics.weightSqnrDb - 10.0 * std::log10(signal / noise)) < 1e-9);
        QCOMPARE(metrics.nonFinite, Index{0});
    }

    void metricsTellTheShareOfTheFirstPositions()
    {
        stats::InputStats made;
        const Index d = m_W.cols();
        const auto fill = [d](stats::InputPart& part, stats::ChannelSums& sinks, double share) {
            part.channels = sinks = stats::ChannelSums(d);
            part.channels.count = 100;
            sinks.count = 4;
            part.gram = MatrixD(d, d);
            for (Index j = 0; j < d; ++j) {
                part.gram(j, j) = part.channels.sumsq[static_cast<std::size_t>(j)] = 8.0;
                sinks.sumsq[static_cast<std::size_t>(j)] = 8.0 * share;
            }
        };
        fill(made.fit, made.sink, 0.75);
        const auto shareOf = [&]() -> double {
            const auto dump = std::make_shared<test::MemoryDump>();
            dump->add("layer", made);
            const Runner runner(m_plain, {dump}, m_registry, cpuBackend());
            return runner.measure(0, runner.compress(0, pipeline("plain"), {}).value(), {}).value().sinkShare;
        };
        QCOMPARE(shareOf(), 0.75); // without a holdout the error is of the fit part
        fill(made.holdout, made.holdoutSink, 0.25);
        QCOMPARE(shareOf(), 0.25);
        made.holdoutSink = stats::ChannelSums(d);
        QCOMPARE(shareOf(), 0.0); // not known
    }

    void metricsWithoutADump()
    {
        const Runner runner(m_plain, {}, m_registry, cpuBackend());
        QS_REQUIRE(layer, runner.compress(0, pipeline("plain"), {}));
        QS_REQUIRE(metrics, runner.measure(0, layer, {}));
        QVERIFY(!metrics.hasOutput && !metrics.holdout && !metrics.outputErrorWA);
        QCOMPARE(metrics.whyNoWA, std::string("there is no dump"));
        QVERIFY(metrics.weightSqnrDb > 10.0);
        auto silent = test::dumpFor(*m_plain);
        silent->dropTokens();
        const Runner other(m_plain, {silent}, m_registry, cpuBackend());
        QS_REQUIRE(again, other.measure(0, layer, {}));
        QVERIFY(again.hasOutput && !again.outputErrorWA);
        QVERIFY(again.whyNoWA.find("no raw tokens") != std::string::npos);
    }

    /// A transform without rounding changes nothing: powers of two, so bit for bit.
    void transformAloneIsExact()
    {
        const Runner runner = llamaRunner();
        for (const char* name : {"q_proj", "o_proj", "up_proj", "down_proj"}) {
            QS_REQUIRE(layer, runner.compress(index(name), pipeline("scale"), {}));
            QVERIFY(layer.inputTransform && !layer.inputTransform->identity());
            QVERIFY(sameBits(layer.What, weight(name)));
        }
    }

    void transformBelongsToTheSite()
    {
        const Runner runner = llamaRunner();
        const int before = test::TestTransform::fits;
        QS_REQUIRE(q, runner.compress(index("q_proj"), pipeline("scale | - | grid"), {}));
        QS_REQUIRE(v, runner.compress(index("v_proj"), pipeline("scale | - | grid"), {}));
        QCOMPARE(test::TestTransform::fits - before, 1); // fitted once for the three
        QCOMPARE(q.siteLayers.size(), std::size_t{3});
        QCOMPARE(std::get<std::int64_t>(*entryOf(reportOf(q, "scale"), "consumers")), std::int64_t{3});
        QVERIFY(q.inputTransform == v.inputTransform);
        QVERIFY(!entryOf(reportOf(q, "scale"), "online_cost")); // the norm takes it
        QVERIFY(v.outputScale.empty()); // one layer compared: nothing is folded from behind
        const Runner plain = plainRunner();
        QS_REQUIRE(alone, plain.compress(0, pipeline("scale | - | grid"), {}));
        QCOMPARE(std::get<double>(*entryOf(reportOf(alone, "scale"), "online_cost")), 64.0);
        QVERIFY(reportOf(alone, "scale")->notes.front().find("stays online") != std::string::npos);
    }

    /// The solver must see W T^-1 and T C T^T of the fit part: done by hand here.
    void statisticsAreConjugated()
    {
        const Runner runner = plainRunner();
        QS_REQUIRE(layer, runner.compress(0, pipeline("scale(alpha=0.75) | - | grid(bits=3, group=16) | sweep"), {}));
        const std::vector<double> d = layer.inputTransform->diagonal();
        const auto stats = m_plainDump->stats("layer").value();
        MatrixD C = stats::InputStats::secondMoment(stats->fit).value();
        RowMatrix W = m_W;
        for (Index j = 0; j < 64; ++j) {
            for (Index i = 0; i < 64; ++i)
                C(i, j) *= d[static_cast<std::size_t>(i)] * d[static_cast<std::size_t>(j)];
            for (Index r = 0; r < W.rows(); ++r)
                W(r, j) = static_cast<float>(static_cast<double>(W(r, j)) / d[static_cast<std::size_t>(j)]);
        }
        InputView input;
        input.channels = 64;
        input.tokens = 270;
        input.secondMoment = &C;
        const JobContext job;
        test::PlainSession session(24, 64, 16, test::gridOptions(3));
        QS_REQUIRE(expected, obsSweep({"layer", W, input, FitContext{cpuBackend(), job}}, &session, nullptr, {}));
        for (Index r = 0; r < W.rows(); ++r)
            for (Index j = 0; j < 64; ++j)
                QCOMPARE(layer.What(r, j),
                    static_cast<float>(static_cast<double>(expected.What(r, j)) * d[static_cast<std::size_t>(j)]));
        QVERIFY(std::equal(layer.quantized.codes.values().begin(), layer.quantized.codes.values().end(),
            expected.quantized.codes.values().begin()));
    }

    /// v's rows take o's transform, up's rows take down's.
    void transformsBehindAreFoldedIntoRows()
    {
        const Runner runner = llamaRunner();
        QS_REQUIRE(assignment,
            assign(uniformRecipe(pipeline("scale | - | grid(bits=4, group=16) | sweep")), m_llama->spec(), m_registry));
        for (const auto& [producer, consumer] : {std::pair{"v_proj", "o_proj"}, std::pair{"up_proj", "down_proj"}}) {
            QS_REQUIRE(front, runner.compress(index(producer), assignment, {}));
            QS_REQUIRE(back, runner.compress(index(consumer), assignment, {}));
            QVERIFY(back.outputScale.empty());
            QVERIFY(front.outputScale == back.inputTransform->diagonal());
            const RowMatrix stored = front.quantized.dequantize(cpuBackend());
            const std::vector<double> d = front.inputTransform->diagonal();
            for (Index r = 0; r < stored.rows(); ++r)
                for (Index c = 0; c < stored.cols(); ++c)
                    QCOMPARE(front.What(r, c),
                        static_cast<float>(static_cast<double>(stored(r, c)) * d[static_cast<std::size_t>(c)]
                            / front.outputScale[static_cast<std::size_t>(r)]));
            // Factors that are powers of two do not change what a scale-free grid does to a row.
            QS_REQUIRE(
                alone, runner.compress(index(producer), *assignment.layers[static_cast<std::size_t>(index(producer))], {}));
            QVERIFY(sameBits(alone.What, front.What));
        }
        QS_REQUIRE(q, runner.compress(index("q_proj"), assignment, {}));
        QVERIFY(q.outputScale.empty());
    }

    void floatLayerBeforeATransformIsScaledToo()
    {
        const Runner runner = llamaRunner();
        Recipe recipe;
        recipe.rules = {{"down_proj", pipeline("scale | - | grid")}};
        QS_REQUIRE(assignment, assign(recipe, m_llama->spec(), m_registry));
        QS_REQUIRE(up, runner.compress(index("up_proj"), assignment, {}));
        QVERIFY(up.untouched());
        QCOMPARE(up.outputScale.size(), std::size_t{32});
        QVERIFY(sameBits(up.What, weight("up_proj")));
    }

    void assignmentThatSplitsASite()
    {
        const Runner runner = llamaRunner();
        Assignment assignment;
        assignment.layers.resize(m_llama->spec().layers.size());
        assignment.layers[static_cast<std::size_t>(index("up_proj"))]
            = std::make_shared<Pipeline>(pipeline("scale | - | grid"));
        QS_FAILS(Mismatch, "read the same input", runner.compress(index("up_proj"), assignment, {}));
        QS_FAILS(Mismatch, "read the same input", runner.compress(index("gate_proj"), assignment, {}));
        assignment.layers.pop_back();
        QS_FAILS(Mismatch, "the assignment is for", runner.compress(index("up_proj"), assignment, {}));
    }

    void prunedLayersAreStoredDense()
    {
        const Runner runner = plainRunner();
        for (const char* text : {"- | mask", "- | mask | - | nearest"}) {
            QS_REQUIRE(layer, runner.compress(0, pipeline(text), {}));
            QCOMPARE(layer.sparsity, 0.5);
            QCOMPARE(layer.bits.perWeight(), 32.0);
            QVERIFY(layer.quantized.empty() && layer.keep.size() == m_W.size());
            for (std::size_t i = 0; i < m_W.values().size(); ++i)
                QCOMPARE(layer.What.values()[i], layer.keep.values()[i] ? m_W.values()[i] : 0.0F);
            QCOMPARE(std::get<double>(*entryOf(reportOf(layer, "mask"), "ideal_bits")), 32.0 * 0.5 + 1.0);
        }
        QS_REQUIRE(sparse, runner.compress(0, pipeline("sparse"), {}));
        QCOMPARE(sparse.sparsity, 0.5);
        QS_REQUIRE(joint, runner.compress(0, pipeline("- | mask | grid(group=16) | sweep"), {}));
        QCOMPARE(joint.bits.perWeight(), 4.0 + 2.0);
        QVERIFY(sameBits(joint.What, joint.quantized.dequantize(cpuBackend())));
        QVERIFY(joint.sparsity >= 0.5);
        QS_FAILS(
            Unsupported, "leaves the choice to a rounding stage", runner.compress(0, pipeline("- | mask(adaptive=true)"), {}));
    }

    void storedTypeIsWhatCounts()
    {
        QS_REQUIRE(half, test::plainModel(path("half.safetensors"), {{"layer", m_W}}, DType::BF16));
        const Runner runner(half, {m_plainDump}, m_registry, cpuBackend());
        QS_REQUIRE(layer, runner.compress(0, pipeline("sparse"), {})); // updated weights, rounded to what the file will hold
        QCOMPARE(layer.bits.perWeight(), 16.0);
        for (const float value : layer.What.values())
            QCOMPARE(value, bfloat16ToFloat(floatToBfloat16(value)));
        QCOMPARE(denseStorageType(DType::F64), DType::F32);
        QCOMPARE(denseStorageType(DType::Q4_1), DType::F16);
        QCOMPARE(denseStorageType(DType::BF16), DType::BF16);
    }

    void compensatorsActOnTheStoredWeight()
    {
        const Runner runner = plainRunner();
        QS_REQUIRE(plain, runner.compress(0, pipeline("- | - | grid | nearest"), {}));
        QS_REQUIRE(shifted, runner.compress(0, pipeline("- | - | grid | nearest | shift(add=0.5)"), {}));
        for (std::size_t i = 0; i < plain.What.values().size(); ++i)
            QCOMPARE(shifted.What.values()[i], plain.What.values()[i] + 0.5F);
    }

    /// y = What T^-1 Q(T x), by hand.
    void activationGridsAreMeasuredAndSimulated()
    {
        const Runner runner = plainRunner();
        QS_REQUIRE(layer, runner.compress(0, pipeline("smooth(a_bits=4)"), {}));
        QVERIFY(layer.activation && layer.activation->bits == 4);
        const RowMatrix tokens = m_plainDump->rawTokens("layer", 0).value();
        const std::vector<double> d = layer.inputTransform->diagonal();
        RowMatrix x = tokens;
        for (Index t = 0; t < x.rows(); ++t)
            for (Index c = 0; c < x.cols(); ++c)
                x(t, c) = static_cast<float>(static_cast<double>(x(t, c)) * d[static_cast<std::size_t>(c)]);
        const Index window = m_plainDump->info().seqLen; // a tensor is a window of the capture
        quant::quantizeActivations(x.mut(), *layer.activation, window, cpuBackend());
        double error = 0;
        double power = 0;
        for (Index t = 0; t < x.rows(); ++t)
            for (Index r = 0; r < m_W.rows(); ++r) {
                double y = 0;
                double approximate = 0;
                for (Index c = 0; c < x.cols(); ++c) {
                    y += static_cast<double>(m_W(r, c)) * static_cast<double>(tokens(t, c));
                    approximate += static_cast<double>(layer.What(r, c)) * static_cast<double>(x(t, c))
                        / d[static_cast<std::size_t>(c)];
                }
                error += (y - approximate) * (y - approximate);
                power += y * y;
            }
        QS_REQUIRE(metrics, runner.measure(0, layer, {}));
        QVERIFY(metrics.outputErrorWA);
        QVERIFY2(std::abs(*metrics.outputErrorWA - error / power) <= 1e-4 * error / power,
            qPrintable(QString::number(*metrics.outputErrorWA * power / error)));
        QVERIFY(*metrics.outputErrorWA > metrics.outputErrorFit);

        RowMatrix simulated = tokens;
        quantizeInput(layer, simulated.mut(), 0, cpuBackend());
        for (Index c = 0; c < x.cols(); ++c)
            QCOMPARE(simulated(3, c), static_cast<float>(static_cast<double>(x(3, c)) / d[static_cast<std::size_t>(c)]));
    }

    void needsCalibration()
    {
        const Runner runner(m_plain, {}, m_registry, cpuBackend());
        QS_FAILS(NotFound, "layer: stage 'sweep' needs calibration", runner.compress(0, pipeline("solver"), {}));
        QS_FAILS(NotFound, "stage 'scale' needs calibration", runner.compress(0, pipeline("smooth"), {}));
        QVERIFY(runner.compress(0, pipeline("plain"), {}));
        auto other = std::make_shared<test::MemoryDump>();
        other->add("another layer", test::randomMatrix(1, 20, 64));
        const Runner uncovered(m_plain, {other}, m_registry, cpuBackend());
        QS_FAILS(NotFound, "stage 'sweep' needs calibration", uncovered.compress(0, pipeline("solver"), {}));
        auto narrow = std::make_shared<test::MemoryDump>();
        narrow->add("layer", test::randomMatrix(1, 20, 32));
        const Runner wrong(m_plain, {narrow}, m_registry, cpuBackend());
        QS_FAILS(Mismatch, "32 channels, the layer 64 inputs", wrong.compress(0, pipeline("solver"), {}));
    }

    void nanInAWeight()
    {
        RowMatrix W = m_W;
        W(3, 5) = std::numeric_limits<float>::quiet_NaN();
        W(7, 1) = std::numeric_limits<float>::infinity();
        QS_REQUIRE(model, test::plainModel(path("nan.safetensors"), {{"layer", W}}));
        const Runner runner(model, {}, m_registry, cpuBackend());
        QS_FAILS(NotFinite, "layer.weight: the weight holds NaN at (3, 5)", runner.compress(0, pipeline("plain"), {}));
    }

    void otherErrors()
    {
        const Runner runner = plainRunner();
        QS_FAILS(NotFound, "no layer number 7", runner.compress(7, pipeline("plain"), {}));
        QS_FAILS(NotFound, "no layer number -1", runner.compress(-1, pipeline("plain"), {}));
        QS_FAILS(InvalidArgument, "layer", runner.compress(0, pipeline("plain(group=48)"), {}));
        JobContext job;
        std::stop_source source;
        job.stop = source.get_token();
        source.request_stop();
        QS_FAILS(Cancelled, "cancelled", runner.compress(0, pipeline("plain"), job));
    }

    void concurrentCallsShareTheFit()
    {
        const Runner runner = llamaRunner();
        const int before = test::TestTransform::fits;
        std::vector<Expected<CompressedLayer>> results(3, fail(Errc::Internal, "not run"));
        {
            std::vector<std::jthread> threads;
            int i = 0;
            for (const char* name : {"q_proj", "k_proj", "v_proj"}) {
                threads.emplace_back([&, name, i] {
                    results[static_cast<std::size_t>(i)] = runner.compress(index(name), pipeline("smooth"), {});
                });
                ++i;
            }
        }
        for (const auto& result : results)
            QVERIFY2(result, result ? "" : result.error().line().c_str());
        QCOMPARE(test::TestTransform::fits - before, 1);
    }

    void replacementsFeedTheEngine()
    {
        auto runner = std::make_shared<Runner>(m_llama, Calibration{m_llamaDump}, m_registry, cpuBackend());
        QS_REQUIRE(assignment, assign(uniformRecipe(pipeline("smooth(group=16)")), m_llama->spec(), m_registry));
        const auto& layers = m_llama->spec().layers;
        const RecipeReplacements replacements(runner, assignment);
        Index weights = 0;
        for (std::size_t i = 0; i < layers.size(); ++i) {
            const auto at = static_cast<model::LayerIndex>(i);
            QS_REQUIRE(replacement, replacements.layer(at, weight(layers[i].module), {}));
            QVERIFY(replacement);
            QS_REQUIRE(layer, runner->compress(at, assignment, {}));
            QVERIFY(sameBits(replacement->weight, layer.What));
            QVERIFY(replacement->quantizeInput);
            RowMatrix a = test::randomMatrix(5, 4, layers[i].in);
            RowMatrix b = a;
            replacement->quantizeInput(a.mut(), 2);
            quantizeInput(layer, b.mut(), 2, cpuBackend());
            QVERIFY(sameBits(a, b));
            weights += layer.bits.weights;
        }
        QCOMPARE(replacements.bits().weights, weights);
        QCOMPARE(replacements.bits().perWeight(), 4.0 + 32.0 / 16.0);
        const RecipeSize size = replacements.size();
        QCOMPARE(size.bitsLayers, 6.0);
        const double others = 24 * 16 + 3 * 16; // embedding and norms, float32
        QCOMPARE(size.bytesFile,
            static_cast<double>(weights) * 6.0 / 8.0 + 16.0 * static_cast<double>(layers.size()) + others * 4.0);
        QCOMPARE(size.bitsFile, size.bytesFile * 8.0 / (static_cast<double>(weights) + others));

        Assignment none;
        none.layers.resize(layers.size());
        const RecipeReplacements untouched(runner, none);
        QS_REQUIRE(nothing, untouched.layer(0, weight(layers[0].module), {}));
        QVERIFY(!nothing);
        const RecipeSize same = untouched.size();
        QCOMPARE(same.bitsLayers, 0.0);
        QCOMPARE(same.bitsFile, 32.0);
        QCOMPARE(same.bytesFile, checkpointSize(*m_llama).bytesFile);
    }

private:
    Runner plainRunner() const { return Runner(m_plain, {m_plainDump}, m_registry, cpuBackend()); }
    Runner llamaRunner() const { return Runner(m_llama, {m_llamaDump}, m_registry, cpuBackend()); }
    std::string path(const char* name) const { return m_dir.filePath(QString::fromLatin1(name)).toStdString(); }
    Pipeline pipeline(const std::string& text) const { return parsePipeline(text, m_registry).value(); }
    model::LayerIndex index(const std::string& module) const
    {
        for (std::size_t i = 0; i < m_llama->spec().layers.size(); ++i)
            if (m_llama->spec().layers[i].name.ends_with(module))
                return static_cast<model::LayerIndex>(i);
        return -1;
    }
    RowMatrix weight(const std::string& module) const
    {
        return m_llama->loadWeight(m_llama->spec().layers[static_cast<std::size_t>(index(module))]).value();
    }

    QTemporaryDir m_dir;
    StageRegistry m_registry;
    RowMatrix m_W;
    std::shared_ptr<const model::Model> m_plain, m_llama;
    std::shared_ptr<test::MemoryDump> m_plainDump, m_llamaDump;
};

QTEST_GUILESS_MAIN(TestRunner)
#include "tst_runner.moc"
