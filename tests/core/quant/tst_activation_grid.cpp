// SPDX-License-Identifier: Apache-2.0
#include "core/exec/backend.h"
#include "core/exec/parallel.h"
#include "core/quant/uniform_grid.h"
#include "tests/support/synthetic.h"

#include <QtTest>
#include <algorithm>
#include <cmath>
#include <limits>

using namespace qs::quant;
using qs::cpuBackend;
using qs::Index;
using qs::RowMatrix;

namespace {

float absMax(std::span<const float> values)
{
    float most = 0;
    for (const float v : values)
        most = std::max(most, std::fabs(v));
    return most;
}

} // namespace

class TestActivationGrid : public QObject {
    Q_OBJECT

private Q_SLOTS:
    void byHand() // token 1: scale 3 / 1 = 3 at 2 bits; token 2: scale 0.5
    {
        RowMatrix x(2, 3);
        const float source[] = {3.0F, -1.4F, 1.6F, 0.5F, -0.2F, -0.3F};
        std::copy(std::begin(source), std::end(source), x.data());
        ActivationGridOptions options;
        options.bits = 2;
        quantizeActivations(x.mut(), options, 0, cpuBackend());
        const float expected[] = {3.0F, 0.0F, 3.0F, 0.5F, 0.0F, -0.5F};
        QVERIFY(std::equal(x.values().begin(), x.values().end(), std::begin(expected)));
    }

    void granularities_data()
    {
        QTest::addColumn<int>("granularity");
        QTest::addColumn<Index>("group");
        QTest::newRow("tensor") << static_cast<int>(ActivationGranularity::Tensor) << Index{0};
        QTest::newRow("token") << static_cast<int>(ActivationGranularity::Token) << Index{0};
        QTest::newRow("token-group") << static_cast<int>(ActivationGranularity::TokenGroup) << Index{32};
        QTest::newRow("short last group") << static_cast<int>(ActivationGranularity::TokenGroup) << Index{48};
    }
    void granularities()
    {
        QFETCH(int, granularity);
        QFETCH(Index, group);
        const RowMatrix x = qs::test::gaussianMatrix(37, 160, 41, 2.0);
        ActivationGridOptions options;
        options.granularity = static_cast<ActivationGranularity>(granularity);
        options.group = group;
        RowMatrix q(x.view());
        quantizeActivations(q.mut(), options, 0, cpuBackend());
        const bool whole = options.granularity == ActivationGranularity::Tensor;
        const Index width = group > 0 ? group : 160;
        for (Index t = 0; t < x.rows(); ++t)
            for (Index c = 0; c < x.cols(); ++c) {
                const Index begin = c / width * width;
                const auto part = x.row(t).subspan(
                    static_cast<std::size_t>(begin), static_cast<std::size_t>(std::min(width, x.cols() - begin)));
                const float scale = (whole ? absMax(x.values()) : absMax(part)) / 127.0F;
                QCOMPARE(q(t, c), scale * std::nearbyint(x(t, c) / scale));
            }
    }

    /// A tensor is one window: what is computed beside it does not matter.
    void windowsAreTensorsOfTheirOwn()
    {
        RowMatrix x = qs::test::gaussianMatrix(25, 48, 47);
        x(13, 5) = 40.0F; // in the second of three windows, the last of which is short
        for (const bool dynamic : {true, false}) {
            ActivationGridOptions options;
            options.bits = 4;
            options.granularity = ActivationGranularity::Tensor;
            options.dynamic = dynamic;
            options.lo = -3.0F;
            options.hi = 3.0F;
            RowMatrix together(x.view()), apart(x.view());
            quantizeActivations(together.mut(), options, 10, cpuBackend());
            for (const auto& [begin, count] : {std::pair<Index, Index>{0, 10}, {10, 10}, {20, 5}})
                quantizeActivations(apart.mut().rowRange(begin, count), options, 0, cpuBackend());
            QVERIFY(std::ranges::equal(together.values(), apart.values()));
            QCOMPARE(fitActivations(x, options, 10, cpuBackend()).ranges, Index{dynamic ? 3 : 1});
            QCOMPARE(fitActivations(x, options, 0, cpuBackend()).ranges, Index{1});
            const RowMatrix& scale = fitActivations(x, options, 10, cpuBackend()).scale;
            if (dynamic)
                QVERIFY(scale(13, 0) > 5 * scale(9, 0) && scale(19, 0) == scale(10, 0) && scale(20, 0) < scale(10, 0) / 5);
        }
    }

    void staticRangeAndClip()
    {
        RowMatrix x(1, 4);
        const float source[] = {-10.0F, -0.9F, 0.26F, 10.0F};
        std::copy(std::begin(source), std::end(source), x.data());
        ActivationGridOptions options;
        options.bits = 4;
        options.grid = GridId::Asym0;
        options.dynamic = false;
        options.lo = -2.0F;
        options.hi = 5.5F;
        options.clip = 0.5; // [-1, 2.75]: scale 0.25, zero 4
        quantizeActivations(x.mut(), options, 0, cpuBackend());
        const float expected[] = {-1.0F, -1.0F, 0.25F, 2.75F};
        QVERIFY(std::equal(x.values().begin(), x.values().end(), std::begin(expected)));
    }

    void nonFiniteStaysAndDoesNotCount()
    {
        RowMatrix x = qs::test::gaussianMatrix(2, 20, 42);
        RowMatrix clean(x.view());
        clean(0, 3) = 0.0F;
        x(0, 3) = std::numeric_limits<float>::quiet_NaN();
        clean(1, 19) = 0.0F;
        x(1, 19) = std::numeric_limits<float>::infinity();
        quantizeActivations(x.mut(), {}, 0, cpuBackend());
        quantizeActivations(clean.mut(), {}, 0, cpuBackend());
        QVERIFY(std::isnan(x(0, 3)) && std::isinf(x(1, 19)));
        x(0, 3) = x(1, 19) = 0.0F;
        QVERIFY(std::equal(x.values().begin(), x.values().end(), clean.values().begin()));
    }

    void perTokenIsScaleInvariant() // Q(a x) = a Q(x) for any positive power of two per token
    {
        const RowMatrix x = qs::test::gaussianMatrix(8, 64, 43);
        RowMatrix scaled(x.view()), q(x.view());
        for (Index t = 0; t < 8; ++t)
            for (float& v : scaled.row(t))
                v *= std::ldexp(1.0F, static_cast<int>(t) - 4);
        quantizeActivations(scaled.mut(), {}, 0, cpuBackend());
        quantizeActivations(q.mut(), {}, 0, cpuBackend());
        for (Index t = 0; t < 8; ++t)
            for (Index c = 0; c < 64; ++c)
                QCOMPARE(scaled(t, c), std::ldexp(q(t, c), static_cast<int>(t) - 4));
    }

    void perTokenHasTheSameCodesAtAnyScale() // Q(a x) = a Q(x): the level of every element is the same
    {
        const RowMatrix x = qs::test::gaussianMatrix(8, 64, 43);
        RowMatrix scaled(x.view()), q(x.view());
        for (float& v : scaled.values())
            v *= 1.7F;
        quantizeActivations(scaled.mut(), {}, 0, cpuBackend());
        quantizeActivations(q.mut(), {}, 0, cpuBackend());
        for (std::size_t i = 0; i < q.values().size(); ++i)
            QVERIFY(std::fabs(scaled.values()[i] - 1.7F * q.values()[i]) <= 1e-6F * std::fabs(scaled.values()[i]));
    }

    void sameBitsForAnyThreadCount()
    {
        const RowMatrix x = qs::test::gaussianMatrix(301, 512, 44);
        const int before = qs::threadCount();
        for (const auto granularity : {ActivationGranularity::Tensor, ActivationGranularity::Token}) {
            ActivationGridOptions options;
            options.granularity = granularity;
            RowMatrix one(x.view()), four(x.view());
            qs::setThreadCount(1);
            quantizeActivations(one.mut(), options, 0, cpuBackend());
            qs::setThreadCount(4);
            quantizeActivations(four.mut(), options, 0, cpuBackend());
            QVERIFY(std::equal(one.values().begin(), one.values().end(), four.values().begin()));
        }
        qs::setThreadCount(before);
    }

    void emptyInputIsFine()
    {
        RowMatrix x(0, 8);
        quantizeActivations(x.mut(), {}, 0, cpuBackend());
        QCOMPARE(x.size(), Index{0});
    }
};

QTEST_GUILESS_MAIN(TestActivationGrid)
#include "tst_activation_grid.moc"
