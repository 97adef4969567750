// SPDX-License-Identifier: Apache-2.0
#include "core/model/evaluation.h"
#include "tests/core/model/golden_model.h"

#include <QTest>
#include <cmath>
#include <cstdlib>

using namespace qs;
using namespace qs::model;
namespace fs = std::filesystem;

namespace {

/// Adds seeded noise of a relative size to every layer.
class Noise final : public Replacements {
public:
    explicit Noise(float size)
        : m_size(size)
    {
    }
    Expected<std::optional<LayerReplacement>> layer(LayerIndex index, MatrixView original, const JobContext&) const override
    {
        RowMatrix weight(original);
        std::uint64_t state = 88172645463325252ULL + static_cast<std::uint64_t>(index);
        for (float& value : weight.values()) {
            state ^= state << 13, state ^= state >> 7, state ^= state << 17;
            value *= 1.0F + m_size * (static_cast<float>(state >> 40) / 8388608.0F - 1.0F);
        }
        return LayerReplacement{std::move(weight), {}};
    }

private:
    float m_size;
};

} // namespace

class TestEvaluation : public QObject {
    Q_OBJECT
private Q_SLOTS:
    void initTestCase()
    {
        const auto opened = openModel(fs::path(QS_SAMPLE_DIR));
        QVERIFY2(opened, opened ? "" : opened.error().line().c_str());
        m_model = *opened;
        const auto text = readTextFile(fs::path(QS_SAMPLE_DIR) / "evaluation.txt");
        QVERIFY(text);
        m_text = *text;
    }

    void perplexityEqualsTheReference() // tests/golden/gen/sample_reference.py
    {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
        QSKIP("52,000 tokens take minutes under a sanitizer; the other tests go the same way");
#endif
        const auto text = readTextFile(fs::path(QS_GOLDEN_DIR) / "sample" / "logits.json");
        QVERIFY(text);
        const auto golden = nlohmann::json::parse(*text).at("evaluation");
        const auto report = evaluate(m_model, m_text, {}, {.seqLen = golden.at("window").get<Index>()}, cpuBackend(), {});
        QVERIFY2(report, report ? "" : report.error().line().c_str());
        QCOMPARE(report->reference.tokens, golden.at("tokens_predicted").get<Index>());
        QCOMPARE(report->protocol.at("windows"), std::to_string(golden.at("windows").get<int>()));
        qInfo("perplexity %.6f, reference %.6f", report->reference.perplexity, golden.at("perplexity").get<double>());
        QVERIFY(std::abs(report->reference.nll - golden.at("mean_nll").get<double>()) < 2e-6);
        QVERIFY(report->reference.perplexitySe > 0.0 && report->reference.perplexitySe < 2.0);
        QVERIFY(!report->reference.hasReference);
    }

    void smolLm2PerplexityEqualsTheReference() // tests/golden/gen/smollm2_reference.py
    {
        const char* path = std::getenv("QS_SMOLLM2");
        const char* text = std::getenv("QS_WIKITEXT");
        const auto recorded = readTextFile(fs::path(QS_GOLDEN_DIR) / "smollm2" / "logits.json");
        if (!path || !text || !recorded)
            QSKIP("QS_SMOLLM2 and QS_WIKITEXT do not name the GGUF file and wiki.test.raw, or there is no recorded reference");
        const auto golden = nlohmann::json::parse(*recorded).at("perplexity");
        const auto model = openModel(path);
        const auto content = readTextFile(text);
        QVERIFY(model && content);
        const auto report = evaluate(*model, *content, {},
            {.seqLen = golden.at("window").get<Index>(), .maxTokens = golden.at("tokens").get<Index>()}, cpuBackend(), {});
        QVERIFY2(report, report ? "" : report.error().line().c_str());
        QCOMPARE(report->reference.tokens, golden.at("tokens_predicted").get<Index>());
        qInfo("perplexity %.6f +- %.3f, reference %.6f, %.1f s", report->reference.perplexity, report->reference.perplexitySe,
            golden.at("perplexity").get<double>(), report->reference.seconds);
        QVERIFY(std::abs(report->reference.nll - golden.at("mean_nll").get<double>()) < 1e-5);
    }

    void sameModelDiffersInNothing()
    {
        const auto report = evaluate(m_model, m_text, {{"same", nullptr, nullptr}, {"same, opened again", nullptr, m_model}},
            {.seqLen = 64, .maxTokens = 1000}, cpuBackend(), {});
        QVERIFY(report);
        for (const EvalScores& scores : report->candidates) {
            QVERIFY(scores.hasReference);
            QCOMPARE(scores.tokens, Index{15 * 63});
            QCOMPARE(scores.klMean, 0.0);
            QCOMPARE(scores.klP99, 0.0);
            QCOMPARE(scores.klSe, 0.0);
            QCOMPARE(scores.top1Agreement, 1.0);
            QCOMPARE(scores.deltaNll, 0.0);
            QCOMPARE(scores.deltaNllSe, 0.0);
            QCOMPARE(scores.perplexity, report->reference.perplexity);
        }
    }

    void scoresEqualTheDefinition()
    {
        const Noise noise(0.2F);
        const auto report
            = evaluate(m_model, m_text, {{"noisy", &noise, nullptr}}, {.seqLen = 20, .maxTokens = 79}, cpuBackend(), {});
        QVERIFY(report);
        const EvalScores& scores = report->candidates.at(0);
        const auto ids = (*m_model->tokenizer())->encode(m_text);
        const Windows windows = cutWindows(ids, 20, 3);
        const auto p = test::logitsOf(m_model, windows), q = test::logitsOf(m_model, windows, &noise);
        QVERIFY(p && q);
        const auto logSum = [](std::span<const float> row) {
            long double sum = 0;
            for (const float value : row)
                sum += std::exp(static_cast<long double>(value));
            return static_cast<double>(std::log(sum));
        };
        std::vector<double> kl, nll, delta(3);
        int same = 0;
        for (Index t = 0; t < windows.tokens(); ++t) {
            if (t % 20 == 19)
                continue;
            const auto a = p->row(t), b = q->row(t);
            const double la = logSum(a), lb = logSum(b);
            double sum = 0;
            for (std::size_t v = 0; v < a.size(); ++v)
                sum += std::exp(static_cast<double>(a[v]) - la)
                    * (static_cast<double>(a[v]) - la - static_cast<double>(b[v]) + lb);
            kl.push_back(sum);
            const auto next = static_cast<std::size_t>(ids[static_cast<std::size_t>(t) + 1]);
            nll.push_back(lb - static_cast<double>(b[next]));
            delta[static_cast<std::size_t>(t / 20)] += (nll.back() - la + static_cast<double>(a[next])) / 19;
            same
                += std::max_element(a.begin(), a.end()) - a.begin() == std::max_element(b.begin(), b.end()) - b.begin() ? 1 : 0;
        }
        const auto mean = [](const std::vector<double>& values) {
            double sum = 0;
            for (const double value : values)
                sum += value;
            return sum / static_cast<double>(values.size());
        };
        const auto error = [&](const std::vector<double>& values) {
            double sum = 0;
            for (const double value : values)
                sum += (value - mean(values)) * (value - mean(values));
            return std::sqrt(sum / static_cast<double>(values.size() - 1) / static_cast<double>(values.size()));
        };
        const auto near = [](double a, double b) { return std::abs(a - b) <= 1e-9 * std::max(1.0, std::abs(b)); };
        QCOMPARE(scores.tokens, Index{57});
        QVERIFY(near(scores.nll, mean(nll)) && near(scores.perplexity, std::exp(mean(nll))));
        QVERIFY(near(scores.perplexitySe, std::exp(mean(nll)) * error(nll)));
        QVERIFY(near(scores.klMean, mean(kl)) && near(scores.klSe, error(kl)));
        QVERIFY(near(scores.deltaNll, mean(delta)) && near(scores.deltaNllSe, error(delta)));
        QVERIFY(near(scores.top1Agreement, same / 57.0));
        std::sort(kl.begin(), kl.end());
        QVERIFY(near(scores.klP99, kl[56])); // ceil(0.99 * 57) = 57th
        QVERIFY(kl.front() > 0.0);
    }

    void moreNoiseMoreKl()
    {
        const Noise little(0.02F), some(0.1F), much(0.5F);
        const auto report = evaluate(m_model, m_text, {{"a", &little, nullptr}, {"b", &some, nullptr}, {"c", &much, nullptr}},
            {.seqLen = 128, .maxTokens = 1024}, cpuBackend(), {});
        QVERIFY(report);
        QVERIFY(report->candidates[0].klMean > 0.0);
        QVERIFY(report->candidates[0].klMean < report->candidates[1].klMean
            && report->candidates[1].klMean < report->candidates[2].klMean);
        QVERIFY(report->candidates[2].top1Agreement < report->candidates[0].top1Agreement);
    }

    void oneWindowHasNoPairedError()
    {
        const Noise noise(0.1F);
        const auto report
            = evaluate(m_model, m_text, {{"a", &noise, nullptr}}, {.seqLen = 32, .maxTokens = 32}, cpuBackend(), {});
        QVERIFY(report);
        QVERIFY(std::isnan(report->candidates[0].deltaNllSe));
        QVERIFY(std::isfinite(report->candidates[0].klSe));
    }

    void refusals()
    {
        const auto code = [&](std::string_view text, EvalOptions options, const std::vector<EvalCandidate>& candidates = {}) {
            const auto report = evaluate(m_model, text, candidates, options, cpuBackend(), {});
            return report ? Errc::Internal : report.error().code;
        };
        QCOMPARE(code("short", {}), Errc::InvalidArgument);
        QCOMPARE(code(m_text, {.seqLen = 1}), Errc::InvalidArgument);
        QCOMPARE(code(m_text, {.seqLen = 100000}), Errc::InvalidArgument);
        QCOMPARE(code(m_text, {.seqLen = 64, .maxTokens = 63}), Errc::InvalidArgument);
        const auto other = openModel(test::goldenModel("llama_gqa")); // 64 tokens
        QVERIFY(other);
        QCOMPARE(code(m_text, {.seqLen = 32}, {{"other", nullptr, *other}}), Errc::Mismatch);
        std::stop_source stop;
        stop.request_stop();
        JobContext job;
        job.stop = stop.get_token();
        const auto cancelled = evaluate(m_model, m_text, {}, {.seqLen = 32}, cpuBackend(), job);
        QVERIFY(!cancelled && cancelled.error().code == Errc::Cancelled);
    }

private:
    std::shared_ptr<const Model> m_model;
    std::string m_text;
};

QTEST_GUILESS_MAIN(TestEvaluation)
#include "tst_evaluation.moc"
