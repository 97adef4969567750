// SPDX-License-Identifier: Apache-2.0
#include "core/exec/parallel.h"
#include "core/model/attention.h"
#include "core/model/kernels.h"
#include "core/model/rope.h"

#include <QTest>
#include <algorithm>
#include <cmath>
#include <hwy/targets.h>
#include <limits>
#include <random>

using namespace qs;
using namespace qs::model;

namespace {

RowMatrix randomMatrix(Index rows, Index cols, unsigned seed, float scale = 1.0F)
{
    std::mt19937 engine(seed);
    std::normal_distribution<float> normal(0.0F, scale);
    RowMatrix result(rows, cols);
    for (float& value : result.values())
        value = normal(engine);
    return result;
}

/// Runs `body` with every set of vector instructions that this processor has, from all of them down to the least.
template <class Body> void onEveryTarget(Body body)
{
    for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
        hwy::SetSupportedTargetsForTest(target);
        body(hwy::TargetName(target));
    }
    hwy::SetSupportedTargetsForTest(0);
}

RowMatrix naiveAttention(const AttentionShape& s, MatrixView qkv)
{
    RowMatrix out(s.sequences * s.length, s.heads * s.headDim);
    const Index D = s.headDim;
    for (Index seq = 0; seq < s.sequences; ++seq)
        for (Index head = 0; head < s.heads; ++head)
            for (Index i = 0; i < s.length; ++i) {
                const Index keyHead = head / (s.heads / s.kvHeads);
                const Index first = s.window > 0 ? std::max<Index>(0, i - s.window + 1) : 0;
                std::vector<double> weight;
                double sum = 0.0;
                for (Index j = first; j <= i; ++j) {
                    double dot = 0.0;
                    for (Index c = 0; c < D; ++c)
                        dot += static_cast<double>(qkv(seq * s.length + i, head * D + c))
                            * static_cast<double>(qkv(seq * s.length + j, (s.heads + keyHead) * D + c));
                    weight.push_back(std::exp(dot / std::sqrt(static_cast<double>(D))));
                    sum += weight.back();
                }
                for (Index c = 0; c < D; ++c) {
                    double value = 0.0;
                    for (Index j = first; j <= i; ++j)
                        value += weight[static_cast<std::size_t>(j - first)] / sum
                            * static_cast<double>(qkv(seq * s.length + j, (s.heads + s.kvHeads + keyHead) * D + c));
                    out(seq * s.length + i, head * D + c) = static_cast<float>(value);
                }
            }
    return out;
}

} // namespace

class TestKernels : public QObject {
    Q_OBJECT
private Q_SLOTS:
    void productByHand()
    {
        const float A[] = {1, 2, 3, 4, 5, 6}; // 2 x 3
        const float B[] = {1, 0, 0, 1, 1, 1}; // 3 x 2
        float C[] = {10, 0, 0, 100}; // + {4, 5, 10, 11}
        addProduct(A, 3, B, 2, C, 2, 2, 2, 3);
        QCOMPARE(C[0], 14.0F);
        QCOMPARE(C[1], 5.0F);
        QCOMPARE(C[2], 10.0F);
        QCOMPARE(C[3], 111.0F);
    }

    void sameBitsOnEveryTarget()
    {
        const RowMatrix A = randomMatrix(7, 19, 1), B = randomMatrix(19, 45, 2);
        const RowMatrix wide = randomMatrix(1, 203, 3, 4.0F), up = randomMatrix(1, 203, 4);
        RowMatrix firstC, firstE, firstS;
        std::vector<double> firstD;
        int targets = 0;
        onEveryTarget([&](const char* name) {
            RowMatrix C(7, 45);
            addProduct(A.data(), 19, B.data(), 45, C.data(), 45, 7, 45, 19);
            RowMatrix E(wide), S(wide);
            const double sum = expScaled(E.row(0), 0.7F);
            siluProduct(S.row(0), up.row(0));
            std::vector<double> D(203);
            expShifted(wide.row(0), 30.0, D);
            D.push_back(sum);
            if (targets++ == 0) {
                firstC = C, firstE = E, firstS = S, firstD = D;
                return;
            }
            QVERIFY2(std::ranges::equal(C.values(), firstC.values()), name);
            QVERIFY2(std::ranges::equal(E.values(), firstE.values()), name);
            QVERIFY2(std::ranges::equal(S.values(), firstS.values()), name);
            QVERIFY2(std::ranges::equal(D, firstD), name);
        });
        QVERIFY(targets >= 2);
        for (Index r = 0; r < 7; ++r) // and what they agree on is the plain loop
            for (Index c = 0; c < 45; ++c) {
                float sum = 0.0F;
                for (Index k = 0; k < 19; ++k)
                    sum += A(r, k) * B(k, c);
                QCOMPARE(firstC(r, c), sum);
            }
    }

    void exponentialsAreAccurate()
    {
        RowMatrix x(1, 4001);
        for (Index i = 0; i < x.cols(); ++i)
            x(0, i) = -static_cast<float>(i) / 50.0F;
        RowMatrix e(x);
        std::vector<double> d(static_cast<std::size_t>(x.cols()));
        expScaled(e.row(0), 1.0F);
        expShifted(x.row(0), 0.25, d);
        for (Index i = 0; i < x.cols(); ++i) {
            const double truth = std::exp(static_cast<double>(x(0, i)));
            QVERIFY2(std::abs(static_cast<double>(e(0, i)) - truth) <= 3e-7 * truth, qPrintable(QString::number(x(0, i))));
            const double shifted = std::exp(static_cast<double>(x(0, i)) - 0.25);
            QVERIFY(std::abs(d[static_cast<std::size_t>(i)] - shifted) <= 1e-15 * shifted);
        }
    }

    void extremesAndNan()
    {
        const float inf = std::numeric_limits<float>::infinity();
        RowMatrix x(1, 21), up(1, 21);
        std::fill(up.values().begin(), up.values().end(), 1.0F);
        std::fill(x.values().begin(), x.values().end(), -200.0F);
        x(0, 3) = 200.0F;
        x(0, 7) = std::nanf("");
        siluProduct(x.row(0), up.row(0));
        QCOMPARE(x(0, 0), 0.0F);
        QCOMPARE(x(0, 3), 200.0F);
        QVERIFY(std::isnan(x(0, 7)));
        RowMatrix s(1, 20);
        s(0, 2) = -inf;
        s(0, 19) = std::nanf("");
        QVERIFY(std::isnan(expScaled(s.row(0), 1.0F)));
        RowMatrix far(1, 2);
        far(0, 1) = -1000.0F;
        QCOMPARE(expScaled(far.row(0), 1.0F), 1.0);
        far(0, 1) = -1000.0F;
        std::vector<double> d(2);
        expShifted(far.row(0), 0.0, d);
        QCOMPARE(d[1], 0.0);
    }

    void attentionEqualsTheDefinition_data()
    {
        QTest::addColumn<int>("length");
        QTest::addColumn<int>("heads");
        QTest::addColumn<int>("kvHeads");
        QTest::addColumn<int>("dim");
        QTest::addColumn<int>("window");
        QTest::newRow("one token") << 1 << 2 << 1 << 4 << 0;
        QTest::newRow("short") << 13 << 3 << 3 << 6 << 0;
        QTest::newRow("several chunks") << 300 << 4 << 2 << 16 << 0;
        QTest::newRow("window of one") << 40 << 2 << 1 << 8 << 1;
        QTest::newRow("window within a panel") << 70 << 2 << 2 << 8 << 5;
        QTest::newRow("window over chunks") << 600 << 2 << 1 << 8 << 270;
        QTest::newRow("odd window") << 333 << 6 << 2 << 10 << 97;
    }
    void attentionEqualsTheDefinition()
    {
        QFETCH(int, length);
        QFETCH(int, heads);
        QFETCH(int, kvHeads);
        QFETCH(int, dim);
        QFETCH(int, window);
        const AttentionShape shape{2, length, heads, kvHeads, dim, window};
        const RowMatrix qkv = randomMatrix(2 * length, (heads + 2 * kvHeads) * dim, 17);
        RowMatrix out(2 * length, heads * dim), again(2 * length, heads * dim);
        causalAttention(shape, qkv, out.mut());
        const RowMatrix expected = naiveAttention(shape, qkv);
        for (Index i = 0; i < out.size(); ++i)
            QVERIFY(std::abs(out.data()[i] - expected.data()[i]) < 3e-6F);
        const int threads = threadCount();
        setThreadCount(threads == 1 ? 3 : 1);
        causalAttention(shape, qkv, again.mut());
        setThreadCount(threads);
        QVERIFY(std::ranges::equal(out.values(), again.values()));
    }

    void rotationByHand()
    {
        RopeSpec rope;
        rope.theta = 100.0;
        rope.dims = 4; // frequencies 1 and 0.1
        const auto table = RopeTable::create(rope, 3, {});
        QVERIFY(table);
        float head[] = {1.0F, 2.0F, 3.0F, 4.0F}; // pairs (1, 3) and (2, 4)
        table->rotate(head, 2);
        QCOMPARE(head[0], static_cast<float>(std::cos(2.0) - 3 * std::sin(2.0)));
        QCOMPARE(head[2], static_cast<float>(3 * std::cos(2.0) + std::sin(2.0)));
        QCOMPARE(head[1], static_cast<float>(2 * std::cos(0.2) - 4 * std::sin(0.2)));
        rope.scaling = "dynamic";
        const auto refused = RopeTable::create(rope, 3, {});
        QVERIFY(!refused);
        QCOMPARE(refused.error().code, Errc::Unsupported);
    }
};

QTEST_GUILESS_MAIN(TestKernels)
#include "tst_kernels.moc"
