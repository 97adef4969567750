// SPDX-License-Identifier: Apache-2.0
#include "core/quant/uniform_grid.h"
#include "tests/support/synthetic.h"

#include <QtTest>
#include <algorithm>
#include <cmath>
#include <limits>

using namespace qs::quant;
using qs::Index;

namespace {

constexpr GridId kAll[] = {GridId::SymFullrangeMid, GridId::SymRestricted, GridId::SymNegAnchored, GridId::SymShifted,
    GridId::Asym0, GridId::AsymFree, GridId::AsymRealZero};

UniformGrid grid(GridId id, int bits, ScaleType type = ScaleType::Float32, RangeMethod range = RangeMethod::MinMax)
{
    UniformGridOptions options;
    options.grid = id;
    options.bits = bits;
    options.scaleType = type;
    options.range = range;
    return UniformGrid(options);
}

/// How far, in scales, a constant group may be from its value. At 2 bits 0 is 1 to 3 scales away, always further than this.
float constantError(GridId id, float value, ScaleType type, int bits)
{
    if (!isSymmetric(id))
        return 0.5F;
    // Half a unit in the last place of the stored scale, times the largest code.
    const int digits = type == ScaleType::Float32 ? 24 : type == ScaleType::Float16 ? 11 : 8;
    const float rounding = std::ldexp(1.0F, bits - 1 - digits) + 1e-5F;
    if (id == GridId::SymFullrangeMid) // max|w| is halfway between two levels
        return 0.5F + rounding;
    return (id == GridId::SymNegAnchored && value > 0.0F ? 1.0F : 0.0F) + rounding; // +max|w| is one code beyond the end
}

void addGridRows()
{
    QTest::addColumn<int>("id");
    QTest::addColumn<int>("bits");
    for (const GridId id : kAll)
        for (const int bits : {2, 3, 4, 8})
            QTest::addRow("%s %d", gridName(id), bits) << static_cast<int>(id) << bits;
}

} // namespace

class TestUniformGrid : public QObject {
    Q_OBJECT

private Q_SLOTS:
    void namesRoundTrip()
    {
        for (const GridId id : kAll)
            QVERIFY(gridFromName(gridName(id)) == id);
        QVERIFY(!gridFromName("symmetric"));
        for (const RangeMethod method : {RangeMethod::MinMax, RangeMethod::Mse, RangeMethod::Percentile})
            QVERIFY(rangeFromName(rangeName(method)) == method);
        for (const ScaleType type : {ScaleType::Float32, ScaleType::Float16, ScaleType::BFloat16})
            QVERIFY(scaleTypeFromName(scaleTypeName(type)) == type);
        QVERIFY(!rangeFromName("max") && !scaleTypeFromName("half"));
    }

    // Values -1, 0, 0.4, 1.5 at 4 bits, worked by hand. max|w| = 1.5, min = -1.
    void byHand_data()
    {
        QTest::addColumn<int>("id");
        QTest::addColumn<float>("scale");
        QTest::addColumn<float>("zero");
        QTest::addColumn<QList<int>>("codes");
        const auto row = [](GridId id, float scale, float zero, QList<int> codes) {
            QTest::addRow("%s", gridName(id)) << static_cast<int>(id) << scale << zero << codes;
        };
        row(GridId::SymFullrangeMid, 0.2F, 8.0F, {3, 8, 10, 15}); // 1.5 / 0.2 = 7.5 -> 8, clipped to code 15 (+14/15 max)
        row(GridId::SymRestricted, 1.5F / 7, 0.0F, {-5, 0, 2, 7}); // -4.67, 0, 1.87, 7
        row(GridId::SymNegAnchored, 0.1875F, 0.0F, {-5, 0, 2, 7}); // -5.33, 0, 2.13, 8 -> 7 (7/8 max)
        row(GridId::SymShifted, 1.5F / 7, 7.0F, {2, 7, 9, 14});
        row(GridId::Asym0, 2.5F / 15, 6.0F, {0, 6, 8, 15}); // -min / s = 6; 0.4 / s = 2.4; 1.5 / s = 9
        row(GridId::AsymFree, 2.5F / 15, 6.0F, {0, 6, 8, 15});
        row(GridId::AsymRealZero, 2.5F / 15, 6.0F, {0, 6, 8, 15});
    }
    void byHand()
    {
        QFETCH(int, id);
        QFETCH(float, scale);
        QFETCH(float, zero);
        QFETCH(QList<int>, codes);
        const float w[] = {-1.0F, 0.0F, 0.4F, 1.5F};
        const UniformGrid g = grid(static_cast<GridId>(id), 4);
        const auto sz = g.fit(w);
        QVERIFY(sz);
        QCOMPARE(sz->scale, scale);
        QCOMPARE(sz->zero, zero);
        for (int i = 0; i < 4; ++i)
            QCOMPARE(g.encode(w[i], *sz), codes[i]);
    }

    void rangesAwayFromZero()
    {
        const float w[] = {2.0F, 2.5F, 3.5F}; // 4 bits: step 0.1, or 3.5 / 15 when the range holds 0
        QCOMPARE(grid(GridId::Asym0, 4).fit(w)->scale, 3.5F / 15.0F);
        QCOMPARE(grid(GridId::Asym0, 4).fit(w)->zero, 0.0F);
        QCOMPARE(grid(GridId::AsymFree, 4).fit(w)->scale, 1.5F / 15.0F);
        QCOMPARE(grid(GridId::AsymFree, 4).fit(w)->zero, 0.0F); // -20 is clamped: this is what AWQ's grid does
        QCOMPARE(grid(GridId::AsymRealZero, 4).fit(w)->zero, -20.0F);
        const UniformGrid real = grid(GridId::AsymRealZero, 4);
        QCOMPARE(real.project(2.5F, *real.fit(w)), 2.5F);
    }

    // T01
    void projectionIsIdempotent_data() { addGridRows(); }
    void projectionIsIdempotent()
    {
        QFETCH(int, id);
        QFETCH(int, bits);
        const qs::RowMatrix W = qs::test::gaussianMatrix(6, 64, 11, 0.05);
        for (const ScaleType type : {ScaleType::Float32, ScaleType::Float16, ScaleType::BFloat16}) {
            const UniformGrid g = grid(static_cast<GridId>(id), bits, type);
            for (Index r = 0; r < W.rows(); ++r) {
                const auto sz = g.fit(W.row(r));
                QVERIFY(sz);
                for (const float w : W.row(r)) {
                    const int code = g.encode(w, *sz);
                    QCOMPARE(g.encode(g.decode(code, *sz), *sz), code);
                    QCOMPARE(g.project(g.project(w, *sz), *sz), g.project(w, *sz));
                }
            }
        }
    }

    // T02: powers of two scale everything exactly.
    void projectionIsScaleEquivariant_data() { addGridRows(); }
    void projectionIsScaleEquivariant()
    {
        QFETCH(int, id);
        QFETCH(int, bits);
        const qs::RowMatrix W = qs::test::gaussianMatrix(1, 64, 12, 0.05);
        const UniformGrid g = grid(static_cast<GridId>(id), bits);
        const auto sz = g.fit(W.row(0));
        for (const float factor : {0x1p-6F, 0x1p9F}) {
            qs::RowMatrix scaled(W.view());
            for (float& w : scaled.values())
                w *= factor;
            const auto other = g.fit(scaled.row(0));
            QCOMPARE(other->scale, factor * sz->scale);
            QCOMPARE(other->zero, sz->zero);
            for (Index c = 0; c < W.cols(); ++c)
                QCOMPARE(g.project(scaled(0, c), *other), factor * g.project(W(0, c), *sz));
        }
    }

    // T02, any factor: Q(1.7 W) = 1.7 Q(W) within 1e-12 on the float64 formulas; and |w - w_hat| <= s / 2 between the ends.
    void float64ReferenceIsScaleEquivariant_data() { addGridRows(); }
    void float64ReferenceIsScaleEquivariant()
    {
        QFETCH(int, id);
        QFETCH(int, bits);
        using Formulas = GridFormulas<double>;
        const UniformGrid g = grid(static_cast<GridId>(id), bits);
        const UniformGridOptions& options = g.options();
        qs::test::Gaussian next(14);
        for (int round = 0; round < 20; ++round) {
            std::vector<double> w(64);
            for (double& value : w)
                value = 0.05 * next() + (round % 2 ? 0.02 : 0.0);
            // The largest magnitude is positive: at the negative end of sym-fullrange-mid w / s is -7.5, a tie that rounding
            // may break either way.
            *std::max_element(w.begin(), w.end()) += 1.0;
            const auto [lo, hi] = std::minmax_element(w.begin(), w.end());
            const auto sz = Formulas::fromRange(options, *lo, *hi);
            const auto other = Formulas::fromRange(options, 1.7 * *lo, 1.7 * *hi);
            QVERIFY(std::fabs(other.scale / (1.7 * sz.scale) - 1.0) < 1e-12);
            const double lowest = Formulas::decode(g.lowestCode(), sz), highest = Formulas::decode(g.highestCode(), sz);
            for (const double value : w) {
                const double level = Formulas::decode(Formulas::encode(options, value, sz), sz);
                const double scaled = Formulas::decode(Formulas::encode(options, 1.7 * value, other), other);
                QVERIFY(std::fabs(scaled - 1.7 * level) <= 1e-12 * std::max(1.7 * std::fabs(level), sz.scale));
                if (value >= lowest && value <= highest)
                    QVERIFY(std::fabs(value - level) <= 0.5 * sz.scale * (1.0 + 1e-12));
                else
                    QCOMPARE(level, value < lowest ? lowest : highest);
                const float fast = g.project(static_cast<float>(value),
                    {static_cast<float>(sz.scale), static_cast<float>(sz.zero)}); // the float path, on the same grid
                QVERIFY(std::fabs(static_cast<double>(fast) - level) <= 1.001 * sz.scale);
            }
        }
    }

    void unclippedErrorIsAtMostHalfAStep_data() { addGridRows(); }
    void unclippedErrorIsAtMostHalfAStep()
    {
        QFETCH(int, id);
        QFETCH(int, bits);
        const qs::RowMatrix W = qs::test::gaussianMatrix(4, 128, 13, 3.0);
        const UniformGrid g = grid(static_cast<GridId>(id), bits, ScaleType::Float16);
        for (Index r = 0; r < W.rows(); ++r) {
            const auto sz = g.fit(W.row(r));
            const float lowest = g.decode(g.lowestCode(), *sz), highest = g.decode(g.highestCode(), *sz);
            for (const float w : W.row(r)) {
                const float error = std::fabs(w - g.project(w, *sz));
                if (w >= lowest && w <= highest)
                    QVERIFY(error <= 0.5F * sz->scale * (1.0F + 1e-5F * 256));
                // Outside, the nearest end is the projection.
                else
                    QCOMPARE(g.project(w, *sz), w < lowest ? lowest : highest);
            }
        }
    }

    // T38: constant and one-signed groups.
    void constantAndOneSignedGroups_data() { addGridRows(); }
    void constantAndOneSignedGroups()
    {
        QFETCH(int, id);
        QFETCH(int, bits);
        const auto gridId = static_cast<GridId>(id);
        for (const ScaleType type : {ScaleType::Float32, ScaleType::Float16, ScaleType::BFloat16}) {
            const UniformGrid g = grid(gridId, bits, type);
            const float zeros[16] = {};
            const auto sz = g.fit(zeros);
            QVERIFY(std::isfinite(sz->scale) && sz->scale > 0.0F);
            QCOMPARE(g.project(0.0F, *sz), 0.0F);

            float constant[16];
            for (const float value : {0.5F, -0.5F}) {
                std::fill(std::begin(constant), std::end(constant), value);
                const auto c = g.fit(constant);
                QVERIFY(c);
                const float error = std::fabs(g.project(value, *c) - value) / c->scale;
                QVERIFY2(error <= constantError(gridId, value, type, bits), qPrintable(QString::number(error)));
            }
            const float positive[] = {0.1F, 0.2F, 0.6F, 1.0F};
            const auto p = g.fit(positive);
            // Public GPTQ code would clip everything above 7/15 of the maximum.
            QVERIFY(g.project(1.0F, *p) >= (bits == 2 ? 0.49F : 0.74F));
        }
    }

    void roundScaleStoresWhatItSays()
    {
        QCOMPARE(roundScale(0.1F, ScaleType::Float32), 0.1F);
        QCOMPARE(roundScale(0.1F, ScaleType::Float16), 0x1.998p-4F);
        QCOMPARE(roundScale(0.1F, ScaleType::BFloat16), 0x1.9ap-4F);
        QCOMPARE(roundScale(0.0F, ScaleType::Float16), 0x1p-14F);
        QCOMPARE(roundScale(1e-9F, ScaleType::Float16), 0x1p-14F); // underflows
        QCOMPARE(roundScale(3e-7F, ScaleType::Float16), 0x1.4p-22F); // a subnormal half is a scale
        QCOMPARE(roundScale(0.0F, ScaleType::BFloat16), 0x1p-126F);
        QCOMPARE(roundScale(1e6F, ScaleType::Float16), 65504.0F);
        QCOMPARE(roundScale(std::numeric_limits<float>::max(), ScaleType::BFloat16), 0x1.fep127F);
        QCOMPARE(roundScale(std::numeric_limits<float>::infinity(), ScaleType::Float32), std::numeric_limits<float>::max());
    }

    void mseRangeIsNeverWorseThanMinMax_data() { addGridRows(); }
    void mseRangeIsNeverWorseThanMinMax()
    {
        QFETCH(int, id);
        QFETCH(int, bits);
        const qs::RowMatrix W = qs::test::gaussianMatrix(8, 96, 14, 0.3);
        const qs::RowMatrix weights = qs::test::gaussianMatrix(1, 96, 15);
        std::vector<float> positive;
        for (const float value : weights.values())
            positive.push_back(value * value);
        const UniformGrid plain = grid(static_cast<GridId>(id), bits, ScaleType::Float16);
        const UniformGrid searching = grid(static_cast<GridId>(id), bits, ScaleType::Float16, RangeMethod::Mse);
        int better = 0;
        for (Index r = 0; r < W.rows(); ++r)
            for (const bool weighted : {false, true}) {
                const std::span<const float> w = weighted ? std::span<const float>(positive) : std::span<const float>();
                const double minmax = searching.shrinkLoss(W.row(r), *plain.fit(W.row(r)), w);
                const double best = searching.shrinkLoss(W.row(r), *searching.fit(W.row(r), w), w);
                QVERIFY(best <= minmax);
                better += best < minmax ? 1 : 0;
            }
        if (bits <= 4)
            QVERIFY(better > 0);
    }

    void shrinkLossIsThePowerSum()
    {
        const qs::RowMatrix W = qs::test::gaussianMatrix(1, 77, 16, 0.3);
        for (const double norm : {1.0, 2.0, 2.4, 4.0}) {
            UniformGridOptions options;
            options.mseNorm = norm;
            const UniformGrid g(options);
            const auto sz = g.fit(W.row(0));
            double extreme = 0, expected = 0;
            for (const float w : W.row(0))
                extreme = std::max(extreme, std::fabs(static_cast<double>(w)));
            for (const float w : W.row(0))
                expected += std::pow(std::fabs(static_cast<double>(w - g.project(w, *sz))) / extreme, norm);
            const double relative = std::fabs(g.shrinkLoss(W.row(0), *sz) / expected - 1.0);
            QVERIFY2(relative < 1e-5, qPrintable(QString::number(relative)));
        }
    }

    /// Where the outliers cost more than they are worth the tail goes, else the whole range stays.
    void percentileDropsTheTail()
    {
        std::vector<float> w(1001);
        for (int i = 0; i < 1001; ++i)
            w[static_cast<std::size_t>(i)] = static_cast<float>(i - 500) / 10.0F; // |w| sorted: 0, 0.1, 0.1 ... 50, 50
        UniformGridOptions options;
        options.scaleType = ScaleType::Float32;
        options.grid = GridId::SymRestricted;
        options.range = RangeMethod::Percentile;
        options.percentile = 0.9;
        // Squared errors, worked apart: 4252 with the whole range, 4127 at 0.99, 3741 at 0.9.
        QCOMPARE(UniformGrid(options).fit(w)->scale, 45.0F / 7.0F); // order statistic 900 of |w|
        w[0] = -5000.0F;
        w[1000] = 5000.0F; // 8.3e5 with the whole range, 4.9e7 without these two
        QCOMPARE(UniformGrid(options).fit(w)->scale, 5000.0F / 7.0F);
        options.percentile = 0.0;
        QVERIFY(UniformGrid(options).fit(w).error().code == qs::Errc::InvalidArgument);
    }

    /// Every search has the whole range as a candidate.
    void percentileIsNeverWorseThanMinmax_data() { addGridRows(); }
    void percentileIsNeverWorseThanMinmax()
    {
        QFETCH(int, id);
        QFETCH(int, bits);
        const qs::RowMatrix W = qs::test::gaussianMatrix(24, 128, 17, 0.4);
        UniformGridOptions options = grid(static_cast<GridId>(id), bits).options();
        options.mseNorm = 2.0; // the percentile search is one of squares
        const UniformGrid plain(options);
        options.range = RangeMethod::Percentile;
        options.percentile = 0.95;
        const UniformGrid searching(options);
        for (Index r = 0; r < W.rows(); ++r)
            QVERIFY(
                searching.shrinkLoss(W.row(r), *searching.fit(W.row(r))) <= plain.shrinkLoss(W.row(r), *plain.fit(W.row(r))));
    }

    void refusesWhatItCannotFit()
    {
        const float bad[] = {1.0F, 2.0F, std::numeric_limits<float>::quiet_NaN()};
        const auto notFinite = grid(GridId::Asym0, 4).fit(bad);
        QVERIFY(!notFinite && notFinite.error().code == qs::Errc::NotFinite);
        QVERIFY(notFinite.error().message.find("position 2") != std::string::npos);
        const float good[] = {1.0F, 2.0F};
        QVERIFY(grid(GridId::Asym0, 1).fit(good).error().code == qs::Errc::InvalidArgument);
        QVERIFY(grid(GridId::Asym0, 9).fit(good).error().code == qs::Errc::InvalidArgument);
        QVERIFY(grid(GridId::Asym0, 4).fit(good, bad).error().code == qs::Errc::Mismatch);
    }
};

QTEST_GUILESS_MAIN(TestUniformGrid)
#include "tst_uniform_grid.moc"
