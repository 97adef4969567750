// SPDX-License-Identifier: Apache-2.0
#include "core/recipe/obs_sweep.h"

#include "core/exec/parallel.h"
#include "obs_fixture.h"

#include <QtTest>
#include <algorithm>
#include <numeric>

using namespace qs;
using namespace qs::recipe;
using namespace qs::test;

namespace {

using Order = SweepOptions::Order;

/// tr(dW (C + lambda I) dW^T), dead channels taken as dW = 0.
double dampedLoss(const Case& c, const SweepResult& result)
{
    MatrixD H(c.C.view());
    for (Index j = 0; j < H.rows(); ++j)
        H(j, j) += result.lambda;
    double total = 0;
    for (Index r = 0; r < c.W.rows(); ++r)
        for (Index i = 0; i < c.W.cols(); ++i)
            for (Index j = 0; j < c.W.cols(); ++j)
                total += (static_cast<double>(c.W(r, i)) - static_cast<double>(result.What(r, i))) * H(i, j)
                    * (static_cast<double>(c.W(r, j)) - static_cast<double>(result.What(r, j)));
    return total;
}

bool sameCodes(const quant::QuantizedTensor& a, const quant::QuantizedTensor& b)
{
    return std::equal(a.codes.values().begin(), a.codes.values().end(), b.codes.values().begin(), b.codes.values().end());
}

Index differentCodes(const quant::QuantizedTensor& a, const quant::QuantizedTensor& b)
{
    Index count = 0;
    for (std::size_t i = 0; i < a.codes.values().size(); ++i)
        count += a.codes.values()[i] != b.codes.values()[i] ? 1 : 0;
    return count;
}

/// Solves A X = I by Gauss-Jordan elimination with float64: an inverse that shares nothing with the code under test.
MatrixD inverse(MatrixD A)
{
    const Index n = A.rows();
    MatrixD X(n, n);
    for (Index i = 0; i < n; ++i)
        X(i, i) = 1.0;
    for (Index p = 0; p < n; ++p) {
        const double pivot = A(p, p);
        for (Index c = 0; c < n; ++c) {
            A(p, c) /= pivot;
            X(p, c) /= pivot;
        }
        for (Index r = 0; r < n; ++r) {
            const double f = A(r, p);
            if (r == p || f == 0.0)
                continue;
            for (Index c = 0; c < n; ++c) {
                A(r, c) -= f * A(p, c);
                X(r, c) -= f * X(p, c);
            }
        }
    }
    return X;
}

} // namespace

class TestObsSweep : public QObject {
    Q_OBJECT
private Q_SLOTS:
    /// The update by hand on two columns. C = [[2, 1], [1, 2]], no damping, so H^-1 = [[2, -1], [-1, 2]] / 3 and U_01 / U_00 =
    /// -1/2. Row (1, 1), keep only column 1: e_0 = 1, so w_1 = 1 + 1/2 = 1.5 (the least-squares value: C_01 / C_11 = 1/2 is
    /// added).
    void handComputed()
    {
        Case c(1, 1, 2, 4);
        c.W = RowMatrix(1, 2);
        c.W(0, 0) = c.W(0, 1) = 1.0F;
        c.C(0, 0) = c.C(1, 1) = 2.0;
        c.C(0, 1) = c.C(1, 0) = 1.0;
        MaskPlan mask;
        mask.keep = BasicMatrix<std::uint8_t>(1, 2);
        mask.keep(0, 1) = 1;
        QS_REQUIRE(result, obsSweepReference(c.problem(), nullptr, &mask, {.damp = 0.0}));
        QCOMPARE(result.What(0, 0), 0.0F);
        QCOMPARE(result.What(0, 1), 1.5F);
        QVERIFY(std::abs(result.lossDamped - 1.5) < 1e-14); // dW = (1, -1/2): 2 - 1 + 1/2
        QVERIFY(result.order.empty());
        QCOMPARE(result.deadChannels, Index{0});
    }

    void lossIdentity_data()
    {
        QTest::addColumn<int>("order");
        QTest::addColumn<int>("masking"); // none, fixed, adaptive, 2:4
        for (const int order : {0, 1, 2})
            for (const int masking : {0, 1, 2, 3})
                if (order == 0 || masking != 3)
                    QTest::addRow("order %d mask %d", order, masking) << order << masking;
    }
    /// T11, and item 2 of the pruning test matrix for scalar projectors: sum e^2 = tr(dW H dW^T) with the damped H, exactly in
    /// float64. (There is no projector of several columns at once yet.)
    void lossIdentity()
    {
        QFETCH(int, order);
        QFETCH(int, masking);
        const Case c(11, 24, 96, 400);
        const auto grid = session(c, 3, 32);
        const MaskPlan plans[] = {MaskPlan{}, smallestOfEachRow(c.W), adaptiveMask(0.5, 48), adaptiveNofM(2, 4)};
        const SweepOptions options{.block = 40, .damp = 0.01, .order = static_cast<Order>(order)};
        QS_REQUIRE(result, obsSweepReference(c.problem(), grid.get(), masking ? &plans[masking] : nullptr, options));
        const double direct = dampedLoss(c, result);
        QVERIFY(direct > 0);
        QVERIFY2(std::abs(result.lossDamped - direct) <= 1e-10 * direct,
            qPrintable(QString::number(result.lossDamped / direct - 1.0)));
        QVERIFY(result.quantized.dequantize(cpuBackend()).values().size() == result.What.values().size());
        QVERIFY(std::equal(result.What.values().begin(), result.What.values().end(),
            result.quantized.dequantize(cpuBackend()).values().begin()));
    }

    /// Against the textbook form: after each column the inverse Hessian loses it by elimination, all rest is updated at once.
    void equalsElimination()
    {
        const Case c(21, 16, 40, 200);
        const auto grid = session(c, 4, 40);
        QS_REQUIRE(result, obsSweepReference(c.problem(), grid.get(), nullptr, {.block = 16}));

        MatrixD H(c.C.view());
        for (Index j = 0; j < H.rows(); ++j)
            H(j, j) += result.lambda;
        MatrixD Hinv = inverse(H);
        MatrixD W(c.W.rows(), c.W.cols());
        std::copy(c.W.values().begin(), c.W.values().end(), W.values().begin());
        const quant::UniformGrid uniform(test::gridOptions(4));
        Index different = 0;
        for (Index j = 0; j < W.cols(); ++j) {
            for (Index r = 0; r < W.rows(); ++r) {
                const auto sz = uniform.fit(c.W.view().row(r));
                QVERIFY(sz);
                const int code = uniform.encode(static_cast<float>(W(r, j)), *sz);
                different += code != result.quantized.codes(r, j) ? 1 : 0;
                const double e = (W(r, j) - static_cast<double>(uniform.decode(code, *sz))) / Hinv(j, j);
                for (Index k = j + 1; k < W.cols(); ++k)
                    W(r, k) -= e * Hinv(j, k);
            }
            for (Index a = j + 1; a < W.cols(); ++a)
                for (Index b = j + 1; b < W.cols(); ++b)
                    Hinv(a, b) -= Hinv(a, j) * Hinv(j, b) / Hinv(j, j);
        }
        QCOMPARE(different, Index{0});
    }

    /// T10: with uncorrelated inputs of equal power there is nothing to compensate.
    void identityHessianIsRoundToNearest()
    {
        Case c(31, 20, 64, 64);
        for (Index i = 0; i < 64; ++i)
            for (Index j = 0; j < 64; ++j)
                c.C(i, j) = i == j ? 3.5 : 0.0;
        for (const Index group : {Index{16}, Index{64}}) {
            const auto nearest = quant::quantizeNearest(c.W, group, test::gridOptions(4), cpuBackend());
            QVERIFY(nearest);
            for (const auto order : {Order::None, Order::Group, Order::Static}) {
                const auto a = session(c, 4, group);
                const auto b = session(c, 4, group);
                QS_REQUIRE(fast, obsSweep(c.problem(), a.get(), nullptr, {.block = 32, .order = order}));
                QS_REQUIRE(reference, obsSweepReference(c.problem(), b.get(), nullptr, {.block = 32, .order = order}));
                QVERIFY(sameCodes(fast.quantized, *nearest));
                QVERIFY(sameCodes(reference.quantized, *nearest));
            }
        }
    }

    void scaleOfTheHessianIsIrrelevant_data()
    {
        QTest::addColumn<double>("factor");
        QTest::newRow("a power of two: not even rounding differs") << 8.0;
        QTest::newRow("any factor") << 1.7;
    }
    /// T10: H -> cH.
    void scaleOfTheHessianIsIrrelevant()
    {
        QFETCH(double, factor);
        const Case c(41, 16, 80, 300);
        Case scaled = c;
        for (double& value : scaled.C.values())
            value *= factor;
        const auto a = session(c, 3, 16);
        const auto b = session(c, 3, 16);
        QS_REQUIRE(one, obsSweepReference(c.problem(), a.get(), nullptr, {}));
        QS_REQUIRE(other, obsSweepReference(scaled.problem(), b.get(), nullptr, {}));
        QVERIFY(sameCodes(one.quantized, other.quantized));
        QVERIFY(std::abs(other.lambda - factor * one.lambda) <= 1e-12 * other.lambda);
    }

    /// With parameters per row the block size is only a matter of speed.
    void blockSizeDoesNotMatter()
    {
        const Case c(51, 24, 150, 500);
        const auto base = session(c, 4, 150);
        QS_REQUIRE(expected, obsSweepReference(c.problem(), base.get(), nullptr, {.block = 150}));
        for (const Index block : {1, 7, 128}) {
            const auto a = session(c, 4, 150);
            const auto b = session(c, 4, 150);
            QS_REQUIRE(reference, obsSweepReference(c.problem(), a.get(), nullptr, {.block = block}));
            QVERIFY(sameCodes(reference.quantized, expected.quantized));
            QS_REQUIRE(fast, obsSweep(c.problem(), b.get(), nullptr, {.block = block}));
            QVERIFY(differentCodes(fast.quantized, expected.quantized) <= expected.quantized.codes.size() / 100);
        }
    }

    /// Renaming the columns changes nothing for a sweep that chooses its own order (parameters per row).
    void permutedProblemIsTheSame()
    {
        const Case c(61, 16, 72, 300);
        std::vector<Index> p(72);
        std::iota(p.begin(), p.end(), Index{0});
        std::mt19937 random(3);
        for (std::size_t i = p.size() - 1; i > 0; --i)
            std::swap(p[i], p[random() % (i + 1)]);
        Case renamed = c;
        for (Index j = 0; j < 72; ++j) {
            for (Index r = 0; r < 16; ++r)
                renamed.W(r, j) = c.W(r, p[static_cast<std::size_t>(j)]);
            for (Index k = 0; k < 72; ++k)
                renamed.C(j, k) = c.C(p[static_cast<std::size_t>(j)], p[static_cast<std::size_t>(k)]);
        }
        for (const auto order : {Order::Group, Order::Static}) {
            const auto a = session(c, 3, 72);
            const auto b = session(c, 3, 72);
            QS_REQUIRE(one, obsSweepReference(c.problem(), a.get(), nullptr, {.order = order}));
            QS_REQUIRE(other, obsSweepReference(renamed.problem(), b.get(), nullptr, {.order = order}));
            for (Index r = 0; r < 16; ++r)
                for (Index j = 0; j < 72; ++j)
                    QCOMPARE(other.What(r, j), one.What(r, p[static_cast<std::size_t>(j)]));
            QVERIFY(std::is_sorted(one.order.begin(), one.order.end(), [&](auto i, auto j) { return c.C(i, i) > c.C(j, j); }));
        }
    }

    void orderedGroupsAreRecorded()
    {
        const Case c(71, 8, 64, 200);
        const auto byGroup = session(c, 4, 16);
        QS_REQUIRE(grouped, obsSweep(c.problem(), byGroup.get(), nullptr, {.order = Order::Group}));
        QCOMPARE(grouped.quantized.groupOf.size(), std::size_t{64});
        for (std::size_t step = 0; step < grouped.order.size(); ++step)
            QCOMPARE(
                grouped.quantized.groupOf[static_cast<std::size_t>(grouped.order[step])], static_cast<std::int32_t>(step / 16));
        QVERIFY(grouped.quantized.dequantize(cpuBackend()).values().size() == grouped.What.values().size());
        QVERIFY(std::equal(grouped.What.values().begin(), grouped.What.values().end(),
            grouped.quantized.dequantize(cpuBackend()).values().begin()));

        const auto fixed = session(c, 4, 16);
        QS_REQUIRE(still, obsSweep(c.problem(), fixed.get(), nullptr, {.order = Order::Static}));
        QVERIFY(still.quantized.groupOf.empty());
        QCOMPARE(fixed->fitted().size(), std::size_t{4});
        for (const auto& [group, columns] : fixed->fitted())
            for (std::size_t i = 0; i < columns.size(); ++i)
                QCOMPARE(columns[i], group * 16 + static_cast<Index>(i));
        const auto nearest
            = quant::quantizeNearest(c.W, 16, test::gridOptions(4), cpuBackend()); // scales of the untouched weight
        QVERIFY(std::equal(
            still.quantized.scale.values().begin(), still.quantized.scale.values().end(), nearest->scale.values().begin()));
    }

    /// Fresh: a group inside a block sees all updates, as if blocks were as small as groups. Compat: it sees the block's
    /// beginning.
    void groupsInsideABlock()
    {
        const Case c(81, 16, 96, 300);
        const auto run = [&](Index block, bool fresh, Index group) {
            const auto grid = session(c, 3, group);
            return obsSweepReference(c.problem(), grid.get(), nullptr, {.block = block, .freshGroups = fresh});
        };
        QS_REQUIRE(small, run(16, true, 16));
        QS_REQUIRE(large, run(96, true, 16));
        QVERIFY(sameCodes(small.quantized, large.quantized));
        QS_REQUIRE(stale, run(96, false, 16));
        QVERIFY(!sameCodes(stale.quantized, large.quantized));
        const auto untouched = quant::quantizeNearest(c.W, 16, test::gridOptions(3), cpuBackend());
        QVERIFY(std::equal(
            stale.quantized.scale.values().begin(), stale.quantized.scale.values().end(), untouched->scale.values().begin()));
        QS_REQUIRE(aligned, run(16, false, 16));
        QVERIFY(sameCodes(aligned.quantized, small.quantized));
        QS_REQUIRE(straddling, run(20, true, 48)); // a group that starts inside a block and ends beyond it
        QS_REQUIRE(whole, run(96, true, 48));
        QVERIFY(sameCodes(straddling.quantized, whole.quantized));
    }

    /// Per case greedy feedback may lose; in the median it must not.
    void beatsRoundToNearestInTheMedian()
    {
        std::vector<double> ratios;
        for (unsigned seed = 100; seed < 115; ++seed) {
            const Case c(seed, 16, 64, 256);
            const auto grid = session(c, 3, 32);
            QS_REQUIRE(result, obsSweep(c.problem(), grid.get(), nullptr, {}));
            const auto nearest = quant::quantizeNearest(c.W, 32, test::gridOptions(3), cpuBackend());
            ratios.push_back(outputError(c, result.What) / outputError(c, nearest->dequantize(cpuBackend())));
        }
        std::sort(ratios.begin(), ratios.end());
        QVERIFY2(ratios[ratios.size() / 2] < 0.8, qPrintable(QString::number(ratios[ratios.size() / 2])));
        QVERIFY(ratios.front() > 0.0);
    }

    void float32StaysNearTheReference()
    {
        for (const int masking : {0, 1, 2}) {
            const Case c(91, 48, 256, 1000);
            const MaskPlan plans[] = {MaskPlan{}, adaptiveMask(0.5), adaptiveNofM(2, 4)};
            const MaskPlan* mask = masking ? &plans[masking] : nullptr;
            const auto a = session(c, 4, 64);
            const auto b = session(c, 4, 64);
            QS_REQUIRE(fast, obsSweep(c.problem(), a.get(), mask, {}));
            QS_REQUIRE(reference, obsSweepReference(c.problem(), b.get(), mask, {}));
            const double error = outputError(c, reference.What);
            QVERIFY2(std::abs(outputError(c, fast.What) - error) <= 1e-3 * error,
                qPrintable(QString::number(outputError(c, fast.What) / error)));
            QVERIFY(std::abs(fast.lossDamped - reference.lossDamped) <= 1e-3 * reference.lossDamped);
        }
    }

    void deadChannelsBecomeZero_data()
    {
        QTest::addColumn<int>("order");
        QTest::addColumn<bool>("holdsZero");
        for (const int order : {0, 1, 2})
            for (const bool holdsZero : {true, false})
                QTest::addRow("order %d %s", order, holdsZero ? "sym" : "real zero") << order << holdsZero;
    }
    /// T38: dead inputs, and a constant row; with T11 over the live inputs. Where the grid cannot store a zero the result says
    /// so, and dead inputs do not widen the ranges of the others.
    void deadChannelsBecomeZero()
    {
        QFETCH(int, order);
        QFETCH(bool, holdsZero);
        Case c(341, 8, 32, 100);
        for (Index j = 0; j < 32; ++j)
            c.C(5, j) = c.C(j, 5) = c.C(9, j) = c.C(j, 9) = 0.0;
        if (!holdsZero)
            for (float& w : c.W.values())
                w = 0.5F + 0.1F * w; // far from zero
        std::fill(c.W.row(3).begin(), c.W.row(3).end(), 0.25F);
        const auto id = holdsZero ? quant::GridId::SymFullrangeMid : quant::GridId::AsymRealZero;
        const auto grid = session(c, 4, 16, id);
        const SweepOptions options{.order = static_cast<Order>(order)};
        QS_REQUIRE(result, obsSweepReference(c.problem(), grid.get(), nullptr, options));
        QCOMPARE(result.deadChannels, Index{2});
        double largest = 0.0;
        for (Index r = 0; r < 8; ++r)
            for (Index j = 0; j < 32; ++j) {
                QVERIFY(std::isfinite(result.What(r, j)));
                if (j == 5 || j == 9)
                    largest = std::max(largest, std::fabs(static_cast<double>(result.What(r, j))));
            }
        QCOMPARE(result.deadLargest, largest);
        QCOMPARE(largest == 0.0, holdsZero);
        for (const Index j : {5, 9}) // nothing is lost where the input is zero
            for (Index r = 0; r < 8; ++r)
                c.W(r, j) = result.What(r, j);
        const double direct = dampedLoss(c, result);
        QVERIFY(direct > 0.0);
        QVERIFY2(std::abs(result.lossDamped - direct) <= 1e-10 * direct,
            qPrintable(QString::number(result.lossDamped / direct - 1.0)));
        if (!holdsZero) { // ranges are those of the live weights: far below the 0.5 that a zero would add
            for (Index r = 0; r < 8; ++r)
                for (Index g = 0; g < 2; ++g)
                    QVERIFY(r == 3 || result.quantized.scale(r, g) < 0.5F / 15.0F);
        }
    }

    void singularHessianIsDampedHarder()
    {
        Case c(351, 8, 64, 12); // 12 tokens for 64 channels
        const auto grid = session(c, 4, 16);
        QS_REQUIRE(result, obsSweep(c.problem(), grid.get(), nullptr, {.damp = 0.0}));
        QVERIFY(result.escalations > 0);
        QVERIFY(result.lambda > 0.0);
        for (const float value : result.What.values())
            QVERIFY(std::isfinite(value));
    }

    void sameBitsForAnyThreadCount()
    {
        const Case c(361, 1100, 96, 300);
        const MaskPlan mask = adaptiveMask(0.5);
        const int before = threadCount();
        setThreadCount(1);
        const auto a = session(c, 4, 32);
        const auto one = obsSweep(c.problem(), a.get(), &mask, {});
        setThreadCount(3);
        const auto b = session(c, 4, 32);
        const auto three = obsSweep(c.problem(), b.get(), &mask, {});
        setThreadCount(before);
        QVERIFY(one && three);
        QVERIFY(std::equal(one->What.values().begin(), one->What.values().end(), three->What.values().begin()));
        QCOMPARE(one->lossDamped, three->lossDamped);
    }

    /// T12: with independent inputs only sampling noise correlates columns; the share of codes that differ from nearest falls
    /// as N^-1/2.
    void independentInputsApproachNearest()
    {
        const double published[] = {0.238, 0.055, 0.019, 0.0043};
        const Index counts[] = {100, 1000, 10000, 100000};
        Case c(371, 96, 96, 96);
        // Not a mid-rise grid: there the extreme of a row lies halfway between two codes, and any rounding decides.
        const auto nearest = quant::quantizeNearest(c.W, 96, test::gridOptions(4, quant::GridId::Asym0), cpuBackend());
        for (int i = 0; i < 4; ++i) {
            const RowMatrix x = test::randomMatrix(400 + static_cast<unsigned>(i), counts[i], 96);
            c.C = MatrixD(96, 96);
            cpuBackend().gram(x, c.C.mut());
            for (double& value : c.C.values())
                value /= static_cast<double>(counts[i]);
            const auto grid = session(c, 4, 96, quant::GridId::Asym0);
            QS_REQUIRE(result, obsSweep(c.problem(), grid.get(), nullptr, {}));
            const double share = static_cast<double>(differentCodes(result.quantized, *nearest)) / static_cast<double>(96 * 96);
            QVERIFY2(share > 0.5 * published[i] && share < 1.5 * published[i], qPrintable(QString::number(share)));
        }
    }

    void errors()
    {
        const Case c(381, 4, 16, 40);
        LayerProblem bare = c.problem();
        bare.input.secondMoment = nullptr;
        QS_FAILS(NotFound, "needs calibration", obsSweep(bare, nullptr, nullptr, {}));
        const Case other(382, 4, 12, 40);
        LayerProblem wrong = c.problem();
        wrong.input.secondMoment = &other.C;
        QS_FAILS(Mismatch, "12 x 12", obsSweep(wrong, nullptr, nullptr, {}));
        QS_FAILS(InvalidArgument, "damp", obsSweep(c.problem(), nullptr, nullptr, {.damp = -1.0}));
        QS_FAILS(InvalidArgument, "block=0", obsSweep(c.problem(), nullptr, nullptr, {.block = 0}));
        MaskPlan shape;
        shape.keep = BasicMatrix<std::uint8_t>(4, 15);
        QS_FAILS(InvalidArgument, "mask is 4 x 15", obsSweep(c.problem(), nullptr, &shape, {}));
        const MaskPlan share = adaptiveMask(1.5);
        QS_FAILS(InvalidArgument, "sparsity 1.5", obsSweep(c.problem(), nullptr, &share, {}));
        const MaskPlan pattern = adaptiveNofM(2, 4);
        QS_FAILS(Unsupported, "own order", obsSweep(c.problem(), nullptr, &pattern, {.order = Order::Static}));
        const MaskPlan five = adaptiveNofM(2, 5);
        QS_FAILS(InvalidArgument, "2:5 does not fit 16 columns", obsSweep(c.problem(), nullptr, &five, {}));
    }

    /// A grid whose range leaves out 0 cannot hold what was pruned: said, not hidden.
    void unstorableZeroIsRefused()
    {
        const Case c(391, 4, 16, 40);
        const MaskPlan mask = smallestOfEachRow(c.W);
        const auto real = session(c, 4, 16, quant::GridId::AsymRealZero);
        QS_FAILS(InvalidArgument, "cannot store a pruned zero", obsSweep(c.problem(), real.get(), &mask, {}));
        const auto whole = session(c, 4, 16, quant::GridId::Asym0);
        QVERIFY(obsSweep(c.problem(), whole.get(), &mask, {}));
    }

    void cancels()
    {
        std::stop_source source;
        Case c(401, 4, 256, 300);
        c.job.stop = source.get_token();
        int reports = 0;
        c.job.onProgress = [&](double, std::string_view) {
            ++reports;
            source.request_stop();
        };
        QS_FAILS(Cancelled, "cancelled", obsSweep(c.problem(), nullptr, nullptr, {.block = 16}));
        QVERIFY(reports <= 2); // the factorisation may have reported, then at most one block
    }
};

QTEST_GUILESS_MAIN(TestObsSweep)
#include "tst_obs_sweep.moc"
