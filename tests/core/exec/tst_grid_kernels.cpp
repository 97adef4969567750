// SPDX-License-Identifier: Apache-2.0
#include "core/exec/grid_kernels.h"
#include "core/quant/uniform_grid.h"
#include "tests/support/synthetic.h"

#include <QtTest>
#include <bit>
#include <cmath>
#include <hwy/highway.h>
#include <hwy/targets.h>
#include <limits>

using namespace qs::quant;
namespace gridkernels = qs::gridkernels;

namespace {

/// Every instruction set that this machine and the build have.
std::vector<std::uint32_t> targets()
{
    hwy::SetSupportedTargetsForTest(0);
    std::vector<std::uint32_t> list;
    for (std::uint32_t all = hwy::SupportedTargets(); all != 0; all &= all - 1)
        list.push_back(all & (~all + 1));
    return list;
}

void useTarget(std::uint32_t target)
{
    hwy::SetSupportedTargetsForTest(static_cast<std::int64_t>(target));
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

/// Values around every threshold: ties, neighbours of ties, far outside, signed zeros, subnormals.
std::vector<float> nastyValues(const UniformGrid& grid, ScaleZero sz)
{
    std::vector<float> values{0.0F, -0.0F, 1e-42F, -1e-42F, 1e30F, -1e30F, std::numeric_limits<float>::max()};
    for (int code = grid.lowestCode() - 2; code <= grid.highestCode() + 2; ++code)
        for (const float offset : {0.0F, 0.25F, 0.5F, 0.75F}) {
            const float v = sz.scale * (static_cast<float>(code) + offset - sz.zero);
            values.push_back(v);
            values.push_back(std::nextafter(v, 1e30F));
            values.push_back(std::nextafter(v, -1e30F));
        }
    qs::test::Gaussian next(31);
    for (int i = 0; i < 203; ++i)
        values.push_back(static_cast<float>(next()) * sz.scale * 8.0F);
    return values;
}

} // namespace

class TestGridKernels : public QObject {
    Q_OBJECT

private Q_SLOTS:
    void cleanup()
    {
        hwy::SetSupportedTargetsForTest(0);
        hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    }

    void sameBitsOnEveryTarget()
    {
        QVERIFY(targets().size() >= 1);
        for (const std::uint32_t target : targets()) {
            useTarget(target);
            for (const char* name : {"sym-fullrange-mid", "sym-restricted", "asym-0", "asym-realzero"})
                for (const int bits : {2, 4, 8}) {
                    UniformGridOptions options;
                    options.bits = bits;
                    options.grid = *gridFromName(name);
                    const UniformGrid grid(options);
                    const ScaleZero sz = grid.fromRange(-0.71F, 1.3F);
                    const std::vector<float> values = nastyValues(grid, sz);
                    std::vector<std::int16_t> codes(values.size()), columnCodes(values.size());
                    std::vector<float> projected(values.size()), columnProjected(values.size());
                    const std::vector<float> scale(values.size(), sz.scale), zero(values.size(), sz.zero);
                    grid.encode(values, sz, codes);
                    grid.project(values, sz, projected);
                    grid.encodeColumn(values, scale, zero, columnCodes, columnProjected);
                    for (std::size_t i = 0; i < values.size(); ++i) {
                        const int code = grid.encode(values[i], sz);
                        QVERIFY2(codes[i] == code && columnCodes[i] == code, hwy::TargetName(target));
                        const auto expected = std::bit_cast<std::uint32_t>(grid.decode(code, sz));
                        QVERIFY2(std::bit_cast<std::uint32_t>(projected[i]) == expected, hwy::TargetName(target));
                        QVERIFY2(std::bit_cast<std::uint32_t>(columnProjected[i]) == expected, hwy::TargetName(target));
                    }
                }
        }
    }

    void sameLossOnEveryTarget()
    {
        const qs::RowMatrix W = qs::test::gaussianMatrix(1, 1237, 32);
        const qs::RowMatrix weights = qs::test::gaussianMatrix(1, 1237, 33);
        for (const std::size_t count : {std::size_t{1}, std::size_t{15}, std::size_t{16}, std::size_t{128}, std::size_t{1237}})
            for (const float exponent : {2.0F, 2.4F}) {
                std::vector<double> losses;
                for (const std::uint32_t target : targets()) {
                    useTarget(target);
                    const gridkernels::CodeParams params{0.11F, 3.0F, 0.0F, 15.0F, false};
                    losses.push_back(gridkernels::powerLoss(W.data(), nullptr, count, params, 0.25F, exponent));
                    losses.push_back(gridkernels::powerLoss(W.data(), weights.data(), count, params, 0.25F, exponent));
                }
                for (std::size_t i = 2; i < losses.size(); ++i)
                    QCOMPARE(std::bit_cast<std::uint64_t>(losses[i]), std::bit_cast<std::uint64_t>(losses[i % 2]));
                QVERIFY(losses[0] > 0.0);
            }
    }

    void rangeAndNonFinite()
    {
        for (const std::uint32_t target : targets()) {
            useTarget(target);
            for (const std::size_t count : {1U, 3U, 16U, 37U}) {
                std::vector<float> values(count);
                for (std::size_t i = 0; i < count; ++i)
                    values[i] = static_cast<float>(i) - 2.0F;
                float lo = 0, hi = 0;
                QVERIFY(gridkernels::rangeOf(values.data(), count, &lo, &hi));
                QCOMPARE(lo, -2.0F);
                QCOMPARE(hi, static_cast<float>(count) - 3.0F);
                for (std::size_t i = 0; i < count; ++i)
                    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
                        std::vector<float> broken = values;
                        broken[i] = bad;
                        QVERIFY(!gridkernels::rangeOf(broken.data(), count, &lo, &hi));
                        QVERIFY(std::isfinite(lo) && std::isfinite(hi) && lo <= hi);
                    }
            }
        }
    }

    void projectionPassesNonFiniteThrough()
    {
        const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
        for (const std::uint32_t target : targets()) {
            useTarget(target);
            std::vector<float> values(21, 0.3F);
            values[2] = nan;
            values[9] = inf;
            values[20] = -inf;
            const UniformGrid grid({});
            grid.project(values, {0.1F, 8.0F}, values);
            QVERIFY(std::isnan(values[2]));
            QCOMPARE(values[9], inf);
            QCOMPARE(values[20], -inf);
            QCOMPARE(values[0], 0.1F * 3.0F);
        }
    }
};

QTEST_GUILESS_MAIN(TestGridKernels)
#include "tst_grid_kernels.moc"
