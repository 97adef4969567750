// SPDX-License-Identifier: Apache-2.0
// Goldens: tests/golden/gen/analysis_reference.py (NumPy, SciPy).
#include "core/analysis/layer_analysis.h"
#include "tests/core/analysis/token_stats.h"
#include "tests/support/golden_arrays.h"
#include "tests/support/synthetic.h"

#include <QtTest>
#include <cmath>
#include <nlohmann/json.hpp>

using namespace qs::analysis;
using qs::cpuBackend;
using qs::Errc;
using qs::Index;
using qs::test::goldenArray;
using qs::test::readGolden;

namespace {

qs::stats::InputStats goldenStats(const nlohmann::json& entry)
{
    const auto x = goldenArray<float>(entry["x"]);
    const Index tokens = entry["tokens"].get<Index>();
    return qs::test::statsOf(qs::MatrixView(x.data(), tokens, static_cast<Index>(x.size()) / tokens),
        entry["sequence"].get<Index>(), entry["holdout"].get<Index>());
}

/// Every key of `expected` is in `actual` with the same number.
void compareNumbers(const nlohmann::json& actual, const nlohmann::json& expected, double tolerance)
{
    for (const auto& [key, value] : expected.items()) {
        QVERIFY2(actual.contains(key), key.c_str());
        if (value.is_number()) {
            const double want = value.get<double>(), have = actual[key].get<double>();
            QVERIFY2(std::fabs(have - want) <= tolerance * std::max(1.0, std::fabs(want)),
                qPrintable(QString("%1: %2 instead of %3").arg(key.c_str()).arg(have, 0, 'g', 15).arg(want, 0, 'g', 15)));
        } else {
            QVERIFY2(actual[key] == value, key.c_str());
        }
    }
}

qs::MatrixView goldenWeight(const std::vector<float>& w)
{
    return {w.data(), static_cast<Index>(w.size()) / 32, 32};
}

} // namespace

class TestLayerAnalysis : public QObject {
    Q_OBJECT

private Q_SLOTS:
    void againstNumPy_data()
    {
        QTest::addColumn<QString>("name");
        QTest::newRow("regular") << "regular";
        QTest::newRow("deficient") << "deficient";
    }
    void againstNumPy()
    {
        QFETCH(QString, name);
        const auto golden = readGolden("analysis/analysis.json")[name.toStdString()];
        const auto input = analyzeInput(goldenStats(golden), cpuBackend());
        QVERIFY(input);
        QCOMPARE(input->tokens, golden["tokens"].get<Index>());
        auto hessian = golden["hessian"];
        const double damped = hessian["damped_condition"].get<double>();
        hessian.erase("damped_condition");
        const double condition = hessian["condition"].is_null() ? 0.0 : hessian["condition"].get<double>();
        if (condition > 0.0) // relative accuracy of the smallest eigenvalue: eps times the condition
            hessian.erase("condition");
        compareNumbers(hessianToJson(*input->hessian), hessian, 1e-11);
        if (condition > 0.0)
            QVERIFY(std::fabs(*input->hessian->condition / condition - 1.0) < 1e-7);
        QVERIFY(std::fabs(input->hessian->damping[2].condition / damped - 1.0) < 1e-9);
        compareNumbers(outliersToJson(input->outliers), golden["outliers"], 1e-11);
        compareNumbers(qsurToJson(*input->qsur), golden["qsur"], 1e-8);
        const auto channels = channelsToJson(input->table);
        for (const auto& [key, values] : golden["channels"].items())
            for (std::size_t j = 0; j < values.size(); ++j)
                QVERIFY2(std::fabs(channels[key][j].get<double>() / values[j].get<double>() - 1.0) < 1e-9, key.c_str());
    }

    /// One entry per channel, of the tokens themselves; eigenvalues of the live channels only.
    void vectorsAreOfEveryChannel()
    {
        qs::RowMatrix x = qs::test::gaussianMatrix(200, 9, 142);
        for (Index t = 0; t < x.rows(); ++t)
            x(t, 4) = 0.0F;
        const auto input = analyzeInput(qs::test::statsOf(x, 20, 40), cpuBackend());
        QVERIFY(input);
        QVERIFY(!hessianToJson(*input->hessian).contains("diagonal"));
        const auto hessian = hessianToJson(*input->hessian, true), channels = channelsToJson(input->table);
        QCOMPARE(hessian["eigenvalues"].size(), std::size_t{8});
        QCOMPARE(hessian["diagonal"].size(), std::size_t{9});
        for (const char* key : {"abs_max", "abs_max_no_sinks", "min", "max", "mean", "mean_abs", "rms", "std", "kurtosis"})
            QVERIFY2(channels[key].size() == 9, key);
        double trace = 0;
        for (std::size_t j = 0; j < 9; ++j) {
            double squares = 0, largest = 0;
            for (Index t = 0; t < x.rows(); ++t) {
                const double v = x(t, static_cast<Index>(j));
                squares += v * v;
                largest = std::max(largest, std::fabs(v));
            }
            QVERIFY(std::fabs(hessian["diagonal"][j].get<double>() - squares / 200.0) < 1e-13);
            QCOMPARE(channels["abs_max"][j].get<double>(), largest);
            QVERIFY(std::fabs(channels["rms"][j].get<double>() - std::sqrt(squares / 200.0)) < 1e-13);
            trace += squares / 200.0;
        }
        double sum = 0;
        for (const auto& value : hessian["eigenvalues"])
            sum += value.get<double>();
        QVERIFY(std::fabs(sum / trace - 1.0) < 1e-12);
        // All digits survive the text.
        QCOMPARE(nlohmann::json::parse(hessian.dump()), hessian);
    }

    void sensitivityIsOfTheHoldout()
    {
        const auto golden = readGolden("analysis/analysis.json");
        const auto w = goldenArray<float>(golden["weight"]["w"]);
        const auto stats = goldenStats(golden["regular"]);
        const auto sensitivity = rtnSensitivity(goldenWeight(w), &stats, cpuBackend());
        QVERIFY(sensitivity && sensitivity->outputError);
        QVERIFY(sensitivity->holdout);
        QVERIFY(std::fabs(*sensitivity->outputError / golden["weight"]["sensitivity"].get<double>() - 1.0) < 1e-10);
        QVERIFY(std::fabs(sensitivity->weightError / golden["weight"]["weight_error"].get<double>() - 1.0) < 1e-10);
        const auto dataFree = rtnSensitivity(goldenWeight(w), nullptr, cpuBackend());
        QVERIFY(!dataFree->outputError);
        QCOMPARE(dataFree->weightError, sensitivity->weightError);
    }

    void theContractsKeys()
    {
        const auto golden = readGolden("analysis/analysis.json");
        const auto w = goldenArray<float>(golden["weight"]["w"]);
        const auto stats = goldenStats(golden["regular"]);
        const auto layer = analyzeLayer(goldenWeight(w), &stats, cpuBackend());
        QVERIFY(layer);
        const auto json = layerToJson("model.layers.0.mlp.down_proj", *layer);
        for (const char* key : {"name", "channels", "tokens", "outliers", "hessian", "sensitivity", "qsur"})
            QVERIFY2(json.contains(key), key);
        for (const char* key : {"int8_channels", "max_over_median", "kurtosis", "sink_energy"})
            QVERIFY2(json["outliers"][key].is_number(), key);
        for (const char* key : {"trace", "lambda_max", "rank", "condition", "dead_channels", "tokens_per_channel"})
            QVERIFY2(json["hessian"][key].is_number(), key);
        for (const char* key : {"r", "lost_bits", "ceiling_scaling", "ceiling_rotation", "published"})
            QVERIFY2(json["qsur"][key].is_number(), key);
        QVERIFY(json["qsur"]["published_stable"].is_boolean());
        QCOMPARE(json["channels"].get<int>(), 32);
        QCOMPARE(json["tokens"].get<int>(), 600);
        QVERIFY(json["weight_qsur"]["deficient"].get<bool>()); // 24 rows, 32 columns
    }

    void nullsWhereThereIsNothing()
    {
        const auto golden = readGolden("analysis/analysis.json");
        const auto w = goldenArray<float>(golden["weight"]["w"]);
        const auto stats = goldenStats(golden["deficient"]);
        const auto json = layerToJson("x", *analyzeLayer(goldenWeight(w), &stats, cpuBackend()));
        QVERIFY(json["hessian"]["condition"].is_null());
        QCOMPARE(json["hessian"]["rank"].get<int>(), 20);
        QCOMPARE(json["qsur"]["r"].get<double>(), 0.0);
        QVERIFY(json["qsur"]["lost_bits"].is_null());
        QVERIFY(json["qsur"]["deficient"].get<bool>() && json["qsur"]["published_stable"].is_null());
        QVERIFY(!json["sensitivity_holdout"].get<bool>());
        QVERIFY(json.dump().find("NaN") == std::string::npos);

        const auto blind = layerToJson("x", *analyzeLayer(goldenWeight(w), nullptr, cpuBackend()));
        for (const char* key : {"outliers", "hessian", "sensitivity", "qsur"})
            QVERIFY2(blind[key].is_null(), key);
        QVERIFY(blind["weight_error"].is_number());

        auto noGram = goldenStats(golden["regular"]);
        noGram.holdout.gram = qs::MatrixD();
        noGram.fit.gram = qs::MatrixD();
        const auto partial = layerToJson("x", *analyzeLayer(goldenWeight(w), &noGram, cpuBackend()));
        QVERIFY(partial["outliers"].is_object() && partial["hessian"].is_null() && partial["qsur"].is_null());
        QVERIFY(partial["why"].get<std::string>().find("Gram") != std::string::npos);
    }

    void firstPositionsThatHoldTheEnergyAreNamed()
    {
        qs::RowMatrix x = qs::test::gaussianMatrix(640, 8, 140);
        for (Index t = 0; t < x.rows(); t += 64)
            x(t, 3) = 100.0F; // 10 tokens of 640
        const auto stats = qs::test::statsOf(x, 64, 0);
        double first = 0, all = 0;
        for (std::size_t j = 0; j < 8; ++j) {
            first += stats.sink.sumsq[j];
            all += stats.fit.channels.sumsq[j];
        }
        const auto input = analyzeInput(stats, cpuBackend());
        QVERIFY(input && input->hessian);
        QCOMPARE(input->outliers.sinkEnergy, first / all);
        QCOMPARE(outliersToJson(input->outliers)["sink_energy"].get<double>(), first / all);
        QVERIFY2(input->hessian->verdict.find("The first 4 positions of each window hold 9") != std::string::npos,
            input->hessian->verdict.c_str());
        const auto calm = analyzeInput(qs::test::statsOf(qs::test::gaussianMatrix(640, 8, 141), 64, 0), cpuBackend());
        QVERIFY(calm->hessian->verdict.find("positions") == std::string::npos);
    }

    void inputsThatNeverVaryAreNoError()
    {
        qs::RowMatrix x(40, 16);
        for (float& value : x.values())
            value = 0.5F;
        const auto input = analyzeInput(qs::test::statsOf(x, 20, 0), cpuBackend());
        QVERIFY(input && input->hessian && !input->qsur);
        QVERIFY(!input->why.empty());
    }

    void sharedInputsAreNotComputedAgain()
    {
        const auto golden = readGolden("analysis/analysis.json");
        const auto w = goldenArray<float>(golden["weight"]["w"]);
        const auto stats = goldenStats(golden["regular"]);
        const auto first = analyzeLayer(goldenWeight(w), &stats, cpuBackend());
        const auto second = analyzeLayer(goldenWeight(w), &stats, cpuBackend(), {}, {}, first->input);
        QCOMPARE(second->input.get(), first->input.get());
        QVERIFY(analyzeLayer(qs::RowMatrix(4, 16), nullptr, cpuBackend(), {}, {}, first->input).error().code == Errc::Mismatch);
    }

    void failuresAreNamed()
    {
        const auto golden = readGolden("analysis/analysis.json");
        auto w = goldenArray<float>(golden["weight"]["w"]);
        const auto stats = goldenStats(golden["regular"]);
        QVERIFY(analyzeLayer(qs::RowMatrix(4, 16), &stats, cpuBackend()).error().code == Errc::Mismatch);
        w[35] = std::nanf("");
        const auto bad = analyzeLayer(goldenWeight(w), &stats, cpuBackend());
        QVERIFY(bad.error().code == Errc::NotFinite);
        QVERIFY(bad.error().message.find("(1, 3)") != std::string::npos);
        std::stop_source stop;
        stop.request_stop();
        qs::JobContext job;
        job.stop = stop.get_token();
        QVERIFY(analyzeInput(stats, cpuBackend(), {}, job).error().code == Errc::Cancelled);
    }
};

QTEST_GUILESS_MAIN(TestLayerAnalysis)
#include "tst_layer_analysis.moc"
