// SPDX-License-Identifier: Apache-2.0
// Goldens: tests/golden/gen/quant_reference.py (compressed-tensors 0.19.0; NumPy).
#include "core/exec/backend.h"
#include "core/quant/uniform_grid.h"
#include "tests/support/golden_arrays.h"

#include <QtTest>
#include <cmath>
#include <limits>

using namespace qs::quant;
using qs::cpuBackend;
using qs::Index;
using qs::test::goldenArray;
using qs::test::readGolden;

namespace {

struct Weights {
    explicit Weights(const nlohmann::json& file)
        : data(goldenArray<float>(file["w"]))
        , view(data.data(), file["rows"].get<Index>(), file["cols"].get<Index>())
    {
    }
    std::vector<float> data;
    qs::MatrixView view;
};

UniformGridOptions optionsOf(const nlohmann::json& entry, ScaleType type)
{
    UniformGridOptions options;
    options.bits = entry["bits"].get<int>();
    options.grid = *gridFromName(entry["grid"].get<std::string>());
    options.scaleType = type;
    return options;
}

QString label(const nlohmann::json& entry)
{
    return QString::fromStdString(entry["grid"].get<std::string>())
        + QString(" b%1 g%2").arg(entry["bits"].get<int>()).arg(entry["group"].get<int>());
}

} // namespace

class TestGridGolden : public QObject {
    Q_OBJECT

private Q_SLOTS:
    void compressedTensors()
    {
        const auto file = readGolden("quant/compressed_tensors.json");
        const Weights W(file);
        int compared = 0;
        for (const auto& entry : file["cases"]) {
            const auto q
                = quantizeNearest(W.view, entry["group"].get<Index>(), optionsOf(entry, ScaleType::Float32), cpuBackend());
            QVERIFY(q);
            const auto scale = goldenArray<float>(entry["scale"]), zero = goldenArray<float>(entry["zero"]);
            const auto codes = goldenArray<std::int16_t>(entry["codes"]);
            const auto decoded = goldenArray<float>(entry["decoded"]);
            const qs::RowMatrix What = q->dequantize(cpuBackend());
            QCOMPARE(static_cast<Index>(scale.size()), q->scale.size());
            for (Index r = 0; r < q->rows(); ++r)
                for (Index c = 0; c < q->cols(); ++c) {
                    const auto g = static_cast<std::size_t>(r * q->groups() + c / q->group);
                    const auto i = static_cast<std::size_t>(r * q->cols() + c);
                    // An all-zero group has a placeholder scale and zero in both (theirs: the type's epsilon, and 0 / 0 as an
                    // integer).
                    if (scale[g] != std::numeric_limits<float>::epsilon()) {
                        QVERIFY2(q->scale(r, c / q->group) == scale[g], qPrintable(label(entry)));
                        QVERIFY2(q->zero(r, c / q->group) == zero[g], qPrintable(label(entry)));
                        QVERIFY2(q->codes(r, c) == codes[i], qPrintable(label(entry)));
                    }
                    QVERIFY2(What(r, c) == decoded[i], qPrintable(label(entry)));
                    ++compared;
                }
        }
        QCOMPARE(compared, 24 * 8 * 64);
    }

    void numpy()
    {
        const auto file = readGolden("quant/numpy_grids.json");
        const Weights W(file);
        int cases = 0;
        for (const auto& entry : file["cases"]) {
            const ScaleType type = *scaleTypeFromName(entry["scale_dtype"].get<std::string>());
            const auto q = quantizeNearest(W.view, entry["group"].get<Index>(), optionsOf(entry, type), cpuBackend());
            QVERIFY(q);
            const auto scale = goldenArray<float>(entry["scale"]), zero = goldenArray<float>(entry["zero"]);
            const auto codes = goldenArray<std::int16_t>(entry["codes"]);
            const auto decoded = goldenArray<float>(entry["decoded"]);
            const qs::RowMatrix What = q->dequantize(cpuBackend());
            const QByteArray name = (label(entry) + " " + scaleTypeName(type)).toUtf8();
            QVERIFY2(std::equal(scale.begin(), scale.end(), q->scale.values().begin()), name);
            QVERIFY2(std::equal(zero.begin(), zero.end(), q->zero.values().begin()), name);
            QVERIFY2(std::equal(codes.begin(), codes.end(), q->codes.values().begin()), name);
            QVERIFY2(std::equal(decoded.begin(), decoded.end(), What.values().begin()), name);
            ++cases;
        }
        QCOMPARE(cases, 7 * 4 * 3);
    }

    void ranges()
    {
        const auto file = readGolden("quant/numpy_grids.json");
        const Weights W(file);
        for (const auto& entry : file["ranges"]) {
            UniformGridOptions options = optionsOf(entry, ScaleType::Float16);
            const auto group = entry["group"].get<std::size_t>();
            std::size_t index = 0;
            for (Index r = 0; r < W.view.rows(); ++r)
                for (std::size_t g = 0; g < static_cast<std::size_t>(W.view.cols()); g += group, ++index) {
                    const auto part = W.view.row(r).subspan(g, group);
                    options.range = RangeMethod::Mse;
                    const UniformGrid search(options);
                    const double loss = search.shrinkLoss(part, *search.fit(part));
                    const double best = entry["mse_best"][index].get<double>();
                    // Ours is chosen in float32: it may take another candidate of (nearly) the same loss.
                    QVERIFY2(std::fabs(loss - best) <= 1e-5 * std::max(best, 1e-12) + 1e-15, qPrintable(label(entry)));
                    options.range = RangeMethod::Percentile;
                    options.percentile = entry["percentile"].get<double>();
                    options.mseNorm = 2.0; // what shrinkLoss measures; the percentile search is one of squares
                    const UniformGrid shares(options);
                    const double least = entry["percentile_best"][index].get<double>();
                    QVERIFY2(
                        std::fabs(shares.shrinkLoss(part, *shares.fit(part)) - least) <= 1e-5 * std::max(least, 1e-12) + 1e-15,
                        qPrintable(label(entry)));
                    options.mseNorm = 2.4;
                }
        }
    }
};

QTEST_GUILESS_MAIN(TestGridGolden)
#include "tst_grid_golden.moc"
