// SPDX-License-Identifier: Apache-2.0
#include "core/exec/backend.h"
#include "core/exec/parallel.h"
#include "core/quant/uniform_grid.h"
#include "tests/support/synthetic.h"

#include <QtTest>
#include <cmath>
#include <limits>

using namespace qs::quant;
using qs::cpuBackend;
using qs::Errc;
using qs::Index;
using qs::RowMatrix;

class TestQuantizedTensor : public QObject {
    Q_OBJECT

private Q_SLOTS:
    void resolvesGroups()
    {
        QCOMPARE(*resolveGroup(0, 4096), Index{128});
        QCOMPARE(*resolveGroup(0, 576), Index{64});
        QCOMPARE(*resolveGroup(0, 96), Index{32});
        QCOMPARE(*resolveGroup(0, 48), Index{16});
        QCOMPARE(*resolveGroup(0, 20), Index{20});
        QCOMPARE(*resolveGroup(kWholeRow, 576), Index{576});
        QCOMPARE(*resolveGroup(kWholeTensor, 576), Index{576});
        QCOMPARE(*resolveGroup(36, 576), Index{36});
        for (const Index bad : {Index{128}, Index{-3}, Index{1152}}) {
            const auto group = resolveGroup(bad, 576);
            QVERIFY(!group && group.error().code == Errc::InvalidArgument);
            QVERIFY(group.error().message.find(std::to_string(bad)) != std::string::npos);
        }
        const auto group = resolveGroup(128, 576);
        QVERIFY(group.error().message.find("576") != std::string::npos);
        QVERIFY(group.error().hint.find("64, 32, 16") != std::string::npos);
    }

    /// A whole tensor is one row of all its values.
    void wholeTensorIsOneLongRow_data()
    {
        QTest::addColumn<QString>("grid");
        QTest::addColumn<int>("range");
        for (const char* grid :
            {"sym-fullrange-mid", "sym-restricted", "sym-neg-anchored", "sym-shifted", "asym-0", "asym-free", "asym-realzero"})
            for (const RangeMethod range : {RangeMethod::MinMax, RangeMethod::Mse, RangeMethod::Percentile})
                QTest::addRow("%s, %s", grid, std::string(rangeName(range)).c_str())
                    << QString::fromLatin1(grid) << static_cast<int>(range);
    }
    void wholeTensorIsOneLongRow()
    {
        QFETCH(QString, grid);
        QFETCH(int, range);
        RowMatrix W = qs::test::gaussianMatrix(13, 64, 27, 0.02);
        for (float& w : W.row(4))
            w *= 3.0F;
        RowMatrix flat(1, W.size());
        std::ranges::copy(W.values(), flat.values().begin());
        std::vector<float> weights(64), flatWeights;
        for (std::size_t c = 0; c < weights.size(); ++c)
            weights[c] = 1.0F + static_cast<float>(c % 7);
        for (Index r = 0; r < W.rows(); ++r)
            flatWeights.insert(flatWeights.end(), weights.begin(), weights.end());
        UniformGridOptions options;
        options.grid = *gridFromName(grid.toStdString());
        options.range = static_cast<RangeMethod>(range);
        for (const bool weighted : {false, true}) {
            const auto q = quantizeNearest(W, kWholeTensor, options, cpuBackend(), weighted ? weights : std::vector<float>());
            const auto row
                = quantizeNearest(flat, kWholeRow, options, cpuBackend(), weighted ? flatWeights : std::vector<float>());
            QVERIFY(q && row && q->wholeTensor && !row->wholeTensor);
            QVERIFY(std::ranges::equal(q->codes.values(), row->codes.values()));
            for (Index r = 0; r < W.rows(); ++r)
                QVERIFY(q->scale(r, 0) == row->scale(0, 0) && q->zero(r, 0) == row->zero(0, 0));
            QVERIFY(std::ranges::equal(q->dequantize(cpuBackend()).values(), row->dequantize(cpuBackend()).values()));
            QCOMPARE(countBits(*q).total(), countBits(*row).total()); // one scale, and one zero where there is one
        }
        options.range = RangeMethod::MinMax;
        double errors[3];
        int at = 0;
        for (const Index group : {kWholeTensor, kWholeRow, Index{16}}) {
            const RowMatrix What = quantizeNearest(W, group, options, cpuBackend())->dequantize(cpuBackend());
            double error = 0;
            for (std::size_t i = 0; i < What.values().size(); ++i)
                error += std::pow(static_cast<double>(What.values()[i]) - static_cast<double>(W.values()[i]), 2);
            errors[at++] = error;
        }
        QVERIFY(errors[0] > errors[1] && errors[1] > errors[2]);
        W(7, 3) = std::numeric_limits<float>::quiet_NaN();
        const auto bad = quantizeNearest(W, kWholeTensor, options, cpuBackend());
        QVERIFY(!bad && bad.error().code == Errc::NotFinite && bad.error().message.find("(7, 3)") != std::string::npos);
    }

    void agreesWithTheGridElementByElement_data()
    {
        QTest::addColumn<Index>("group");
        QTest::addColumn<int>("bits");
        for (const Index group : {Index{-1}, Index{0}, Index{5}, Index{35}})
            for (const int bits : {2, 4, 8})
                QTest::addRow("group %d, %d bits", static_cast<int>(group), bits) << group << bits;
    }
    void agreesWithTheGridElementByElement()
    {
        QFETCH(Index, group);
        QFETCH(int, bits);
        const RowMatrix W = qs::test::gaussianMatrix(9, 70, 21, 0.02);
        for (const char* name : {"sym-fullrange-mid", "sym-restricted", "asym-0", "asym-realzero"}) {
            UniformGridOptions options;
            options.bits = bits;
            options.grid = *gridFromName(name);
            const auto q = quantizeNearest(W, group, options, cpuBackend());
            QVERIFY(q);
            const UniformGrid grid(options);
            const RowMatrix decoded = q->dequantize(cpuBackend());
            const Index width = q->group;
            QCOMPARE(q->groups() * width, W.cols());
            for (Index r = 0; r < W.rows(); ++r)
                for (Index c = 0; c < W.cols(); ++c) {
                    const auto sz = grid.fit(
                        W.row(r).subspan(static_cast<std::size_t>(c / width * width), static_cast<std::size_t>(width)));
                    QCOMPARE(q->scale(r, c / width), sz->scale);
                    QCOMPARE(static_cast<int>(q->codes(r, c)), grid.encode(W(r, c), *sz));
                    QCOMPARE(decoded(r, c), grid.project(W(r, c), *sz));
                }
        }
    }

    void columnOrderIsFollowed()
    {
        const RowMatrix W = qs::test::gaussianMatrix(3, 8, 22);
        QuantizedTensor q;
        q.group = 4;
        q.groupOf = {0, 1, 0, 1, 1, 0, 1, 0};
        q.codes = qs::BasicMatrix<std::int16_t>(3, 8);
        q.scale = RowMatrix(3, 2);
        q.zero = RowMatrix(3, 2);
        for (Index r = 0; r < 3; ++r)
            for (Index g = 0; g < 2; ++g) {
                q.scale(r, g) = g == 0 ? 0.5F : 0.125F;
                q.zero(r, g) = 8.0F;
            }
        encodeNearest(W, q, cpuBackend());
        const RowMatrix decoded = q.dequantize(cpuBackend());
        for (Index r = 0; r < 3; ++r)
            for (Index c = 0; c < 8; ++c) {
                const float s = q.groupOf[static_cast<std::size_t>(c)] == 0 ? 0.5F : 0.125F;
                const float steps = std::min(7.0F, std::max(-8.0F, std::nearbyint(W(r, c) / s)));
                QCOMPARE(decoded(r, c), s * steps);
            }
    }

    void columnWeightsSteerTheSearch()
    {
        // One outlier per row: with all weight on it, it is kept; with none on it, it is clipped.
        RowMatrix W = qs::test::gaussianMatrix(4, 32, 23, 0.1);
        for (Index r = 0; r < 4; ++r)
            W(r, 5) = 0.7F;
        UniformGridOptions options;
        options.bits = 3;
        options.grid = GridId::SymRestricted;
        options.range = RangeMethod::Mse;
        std::vector<float> keep(32, 1e-6F), drop(32, 1.0F);
        keep[5] = 1.0F;
        drop[5] = 0.0F;
        const RowMatrix kept = quantizeNearest(W, -1, options, cpuBackend(), keep)->dequantize(cpuBackend());
        const RowMatrix dropped = quantizeNearest(W, -1, options, cpuBackend(), drop)->dequantize(cpuBackend());
        for (Index r = 0; r < 4; ++r) {
            QVERIFY(std::fabs(kept(r, 5) - 0.7F) < 1e-3F);
            QVERIFY(dropped(r, 5) < 0.6F);
        }
        QVERIFY(quantizeNearest(W, -1, options, cpuBackend(), std::vector<float>(31)).error().code == Errc::Mismatch);
    }

    void countsEveryBit()
    {
        const RowMatrix W = qs::test::gaussianMatrix(4, 256, 24);
        UniformGridOptions options;
        options.grid = GridId::Asym0;
        auto q = *quantizeNearest(W, 128, options, cpuBackend());
        BitsCount bits = countBits(q);
        QCOMPARE(bits.total(), 4.0 * 1024 + 8 * 16 + 8 * 4);
        QCOMPARE(bits.perWeight(), 4.0 + (16.0 + 4.0) / 128); // b + (16 + b) / g
        options.grid = GridId::SymFullrangeMid;
        options.scaleType = ScaleType::Float32;
        bits = countBits(*quantizeNearest(W, 128, options, cpuBackend()));
        QCOMPARE(bits.perWeight(), 4.0 + 32.0 / 128);
        QCOMPARE(bits.zeros, 0.0);
        options.grid = GridId::AsymRealZero;
        QCOMPARE(countBits(*quantizeNearest(W, 128, options, cpuBackend())).zeros, 8.0 * 16);
        q.groupOf.assign(256, 0);
        QCOMPARE(countBits(q).indices, 256.0 * 32);
        QCOMPARE(BitsCount().perWeight(), 0.0);
    }

    void namesTheFirstBadElement()
    {
        RowMatrix W = qs::test::gaussianMatrix(300, 512, 25);
        W(250, 3) = std::numeric_limits<float>::infinity();
        W(131, 400) = std::numeric_limits<float>::quiet_NaN();
        W(131, 17) = std::numeric_limits<float>::infinity();
        const auto q = quantizeNearest(W, 128, {}, cpuBackend());
        QVERIFY(!q && q.error().code == Errc::NotFinite);
        QVERIFY2(q.error().message.find("Inf at (131, 17)") != std::string::npos, q.error().message.c_str());
    }

    void sameBitsForAnyThreadCount()
    {
        const RowMatrix W = qs::test::gaussianMatrix(257, 384, 26);
        UniformGridOptions options;
        options.range = RangeMethod::Mse;
        const int before = qs::threadCount();
        qs::setThreadCount(1);
        const auto one = quantizeNearest(W, 64, options, cpuBackend());
        qs::setThreadCount(4);
        const auto four = quantizeNearest(W, 64, options, cpuBackend());
        qs::setThreadCount(before);
        QVERIFY(std::equal(one->codes.values().begin(), one->codes.values().end(), four->codes.values().begin()));
        QVERIFY(std::equal(one->scale.values().begin(), one->scale.values().end(), four->scale.values().begin()));
    }

    // Gaussian weights, minmax, float32 scales: known constants of the grids.
    void gaussianSqnr_data()
    {
        QTest::addColumn<QByteArray>("grid");
        QTest::addColumn<int>("bits");
        QTest::addColumn<Index>("group");
        QTest::addColumn<double>("decibel");
        QTest::addColumn<double>("tolerance");
        const auto row = [](const char* grid, int bits, Index group, double decibel, double tolerance) {
            QTest::addRow("%s %d g%d", grid, bits, static_cast<int>(group))
                << QByteArray(grid) << bits << group << decibel << tolerance;
        };
        row("sym-restricted", 2, 128, 2.3, 0.2);
        row("sym-restricted", 3, 128, 11.2, 0.2);
        row("sym-restricted", 4, 128, 18.7, 0.2);
        row("sym-restricted", 8, 128, 43.8, 0.2);
        row("asym-0", 2, 128, 6.0, 0.2);
        row("asym-0", 3, 128, 13.4, 0.2);
        row("asym-0", 4, 128, 20.0, 0.2);
        row("asym-0", 8, 128, 44.6, 0.2);
        row("sym-restricted", 4, 32, 20.29, 0.05); // T05
    }
    void gaussianSqnr()
    {
        QFETCH(QByteArray, grid);
        QFETCH(int, bits);
        QFETCH(Index, group);
        QFETCH(double, decibel);
        QFETCH(double, tolerance);
        static const RowMatrix W = qs::test::gaussianMatrix(1024, 1024, 27);
        UniformGridOptions options;
        options.bits = bits;
        options.scaleType = ScaleType::Float32;
        options.grid = *gridFromName(grid.toStdString());
        const RowMatrix What = quantizeNearest(W, group, options, cpuBackend())->dequantize(cpuBackend());
        double signal = 0, noise = 0;
        for (std::size_t i = 0; i < W.values().size(); ++i) {
            const double w = W.values()[i], e = w - static_cast<double>(What.values()[i]);
            signal += w * w;
            noise += e * e;
        }
        const double sqnr = 10.0 * std::log10(signal / noise);
        QVERIFY2(std::fabs(sqnr - decibel) < tolerance, qPrintable(QString::number(sqnr)));
    }
};

QTEST_GUILESS_MAIN(TestQuantizedTensor)
#include "tst_quantized_tensor.moc"
