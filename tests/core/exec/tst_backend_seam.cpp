// SPDX-License-Identifier: Apache-2.0
// What computes takes the backend it is given: a backend that counts sees the work, and the results are those of the CPU.
#include "core/analysis/moments.h"
#include "core/base/atomic_file.h"
#include "core/model/capture.h"
#include "core/model/evaluation.h"
#include "core/quant/uniform_grid.h"
#include "core/stats/dump.h"
#include "tests/core/exec/counting_backend.h"
#include "tests/support/synthetic.h"

#include <QTemporaryDir>
#include <QtTest>
#include <cstring>

using namespace qs;
using qs::test::CountingBackend;

namespace {

bool sameBits(const RowMatrix& a, const RowMatrix& b)
{
    return a.rows() == b.rows() && a.cols() == b.cols()
        && std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.size()) * sizeof(float)) == 0;
}

} // namespace

class BackendSeamTest : public QObject {
    Q_OBJECT

private Q_SLOTS:
    void initTestCase()
    {
        auto opened = model::openModel(QS_SAMPLE_DIR);
        QVERIFY2(opened, opened ? "" : opened.error().line().c_str());
        m_model = *opened;
    }

    void quantizeNearest()
    {
        const RowMatrix W = test::gaussianMatrix(12, 64, 3);
        quant::UniformGridOptions options;
        CountingBackend backend;
        const auto q = quant::quantizeNearest(W, 16, options, backend);
        QVERIFY(q);
        QCOMPARE(backend.ranges, 1);
        QCOMPARE(backend.encodes, 1);
        const RowMatrix What = q->dequantize(backend);
        QCOMPARE(backend.decodes, 1);
        QVERIFY(sameBits(What, quant::quantizeNearest(W, 16, options, cpuBackend())->dequantize(cpuBackend())));
        options.range = quant::RangeMethod::Mse; // a search: host code, but codes are the backend's
        QVERIFY(quant::quantizeNearest(W, 16, options, backend));
        QCOMPARE(backend.ranges, 1);
        QCOMPARE(backend.encodes, 2);
    }

    void quantizeActivations()
    {
        for (const auto granularity : {quant::ActivationGranularity::Tensor, quant::ActivationGranularity::Token,
                 quant::ActivationGranularity::TokenGroup}) {
            quant::ActivationGridOptions options;
            options.granularity = granularity;
            options.group = 8;
            RowMatrix x = test::gaussianMatrix(5, 24, 4), y = x;
            CountingBackend backend;
            quant::quantizeActivations(x.mut(), options, 0, backend);
            QCOMPARE(backend.ranges, 1);
            QCOMPARE(backend.projections, 1);
            quant::quantizeActivations(y.mut(), options, 0, cpuBackend());
            QVERIFY(sameBits(x, y));
        }
    }

    void capture()
    {
        const QTemporaryDir folder;
        CountingBackend backend;
        const std::filesystem::path target = folder.filePath("a.h5").toStdString();
        const auto done = model::capture(
            m_model, QS_SAMPLE_DIR "/calibration.txt", target, {.samples = 4, .seqLen = 32, .keepTokens = 16}, backend, {});
        QVERIFY2(done, done ? "" : done.error().line().c_str());
        const auto layers = static_cast<int>(m_model->spec().layers.size());
        QVERIFY(backend.products >= layers);
        QVERIFY(backend.grams >= 4); // an input at least per site of a block

        // Grams of raw tokens of a file without statistics.
        stats::DumpInfo info;
        const std::filesystem::path raw = folder.filePath("raw.h5").toStdString();
        auto writer = stats::createDump(raw, info);
        QVERIFY(writer);
        QVERIFY((*writer)->addRawTokens("layer", test::gaussianMatrix(9, 6, 8)));
        QVERIFY((*writer)->commit());
        const auto dump = stats::openDump(raw, backend);
        QVERIFY2(dump, dump ? "" : dump.error().line().c_str());
        const int before = backend.grams;
        const auto stats = (*dump)->stats("layer");
        QVERIFY2(stats, stats ? "" : stats.error().line().c_str());
        QCOMPARE(backend.grams, before + 1);
    }

    void evaluate()
    {
        CountingBackend backend;
        const auto text = readTextFile(QS_SAMPLE_DIR "/evaluation.txt");
        QVERIFY(text);
        const model::EvalOptions options{.seqLen = 32, .maxTokens = 128};
        const auto seen = model::evaluate(m_model, *text, {{"same", nullptr, m_model}}, options, backend, {});
        QVERIFY2(seen, seen ? "" : seen.error().line().c_str());
        const auto layers = static_cast<int>(m_model->spec().layers.size());
        QVERIFY(backend.products >= 2 * layers + 2); // both models, and their logits
        QCOMPARE(seen->protocol.at("backend"), std::string("counting: cpu underneath"));
        const auto cpu = model::evaluate(m_model, *text, {{"same", nullptr, m_model}}, options, cpuBackend(), {});
        QVERIFY(cpu);
        QCOMPARE(seen->reference.nll, cpu->reference.nll);
        QVERIFY(cpu->protocol.at("backend").starts_with("cpu: oneDNN"));
    }

    void rowCovariance()
    {
        CountingBackend backend;
        QVERIFY(analysis::rowCovariance(test::gaussianMatrix(8, 5, 6), backend));
        QCOMPARE(backend.products, 1);
    }

private:
    std::shared_ptr<const model::Model> m_model;
};

QTEST_GUILESS_MAIN(BackendSeamTest)
#include "tst_backend_seam.moc"
