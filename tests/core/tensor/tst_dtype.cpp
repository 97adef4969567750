// SPDX-License-Identifier: Apache-2.0
#include "core/tensor/dtype.h"
#include "core/tensor/matrix.h"

#include <QtTest>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

using namespace qs;

class DTypeTest : public QObject {
    Q_OBJECT

private Q_SLOTS:
    void tableIsConsistent()
    {
        for (int i = 0; i <= static_cast<int>(DType::Unknown); ++i) {
            const auto type = static_cast<DType>(i);
            const DTypeInfo& info = dtypeInfo(type);
            QVERIFY(info.name != nullptr);
            if (type == DType::Packed || type == DType::Unknown) {
                QCOMPARE(info.blockElements, Index{0});
                QVERIFY(!storageBytes(type, 32));
            } else {
                QVERIFY(info.blockElements >= 1);
                QVERIFY(info.blockBits >= 1);
                const bool plain = type <= DType::F6E3M2;
                QCOMPARE(dtypeFromSafetensors(info.name).has_value(), plain);
                if (plain)
                    QVERIFY(dtypeFromSafetensors(info.name) == type);
            }
        }
        QVERIFY(!dtypeFromSafetensors("F33"));
        QVERIFY(!dtypeFromSafetensors(""));
        QVERIFY(!dtypeFromSafetensors("Q4_0")); // a ggml type is no safetensors type
    }

    void ggmlIds_data()
    {
        QTest::addColumn<unsigned>("id");
        QTest::addColumn<QByteArray>("name");
        QTest::addColumn<int>("elements");
        QTest::addColumn<int>("bytes");
        QTest::newRow("F32") << 0U << QByteArray("F32") << 1 << 4;
        QTest::newRow("Q4_0") << 2U << QByteArray("Q4_0") << 32 << 18;
        QTest::newRow("Q8_1") << 9U << QByteArray("Q8_1") << 32 << 36;
        QTest::newRow("Q6_K") << 14U << QByteArray("Q6_K") << 256 << 210;
        QTest::newRow("Q8_K") << 15U << QByteArray("Q8_K") << 256 << 292;
        QTest::newRow("IQ4_XS") << 23U << QByteArray("IQ4_XS") << 256 << 136;
        QTest::newRow("BF16") << 30U << QByteArray("BF16") << 1 << 2;
        QTest::newRow("NVFP4") << 40U << QByteArray("NVFP4") << 64 << 36;
        QTest::newRow("Q2_0") << 42U << QByteArray("Q2_0") << 64 << 18;
    }
    void ggmlIds()
    {
        QFETCH(unsigned, id);
        QFETCH(QByteArray, name);
        QFETCH(int, elements);
        QFETCH(int, bytes);
        const auto type = dtypeFromGgml(id);
        QVERIFY(type.has_value());
        QCOMPARE(QByteArray(dtypeName(*type)), name);
        QCOMPARE(dtypeInfo(*type).blockElements, Index{elements});
        QCOMPARE(*storageBytes(*type, elements), static_cast<std::uint64_t>(bytes));
    }

    void removedAndUnknownGgmlIds()
    {
        for (const std::uint32_t id : {4U, 5U, 31U, 32U, 33U, 36U, 37U, 38U, 43U, 0xffffffffU})
            QVERIFY(!dtypeFromGgml(id));
    }

    void counts()
    {
        constexpr Index kMax = std::numeric_limits<Index>::max();
        QCOMPARE(*elementCount({}), Index{1});
        QCOMPARE(*elementCount({3, 4}), Index{12});
        QCOMPARE(*elementCount({3, 0, 4}), Index{0});
        QVERIFY(!elementCount({-1}));
        QVERIFY(!elementCount({kMax, 2}));
        QVERIFY(!elementCount({0, kMax, 2})); // rows() multiplies all but the last extent
        QCOMPARE(*elementCount({kMax}), kMax);
    }

    void storageOfPartialBlocks()
    {
        QVERIFY(!storageBytes(DType::Q4_0, 33));
        QVERIFY(!storageBytes(DType::F4, 3)); // twelve bits
        QCOMPARE(*storageBytes(DType::F4, 4), std::uint64_t{2});
        QCOMPARE(*storageBytes(DType::F6E2M3, 4), std::uint64_t{3});
        QVERIFY(!storageBytes(DType::F32, -1));
        QVERIFY(!storageBytes(DType::F64, std::numeric_limits<Index>::max()));
    }

    void shapes()
    {
        QCOMPARE(shapeText({576, 1536}), std::string("576 x 1536"));
        QCOMPARE(shapeText({7}), std::string("7"));
        QCOMPARE(shapeText({}), std::string("scalar"));
    }

    void halfByHand()
    {
        QCOMPARE(halfToFloat(0x3c00), 1.0F);
        QCOMPARE(halfToFloat(0xc000), -2.0F);
        QCOMPARE(halfToFloat(0x7bff), 65504.0F);
        QCOMPARE(halfToFloat(0x0001), 0x1p-24F);
        QCOMPARE(halfToFloat(0x03ff), 1023 * 0x1p-24F);
        QVERIFY(std::isinf(halfToFloat(0x7c00)));
        QVERIFY(std::isnan(halfToFloat(0x7e00)));
        QVERIFY(std::signbit(halfToFloat(0x8000)));
        QCOMPARE(floatToHalf(65519.996F), std::uint16_t{0x7bff}); // below the middle of 65504 and 65536
        QCOMPARE(floatToHalf(65520.0F), std::uint16_t{0x7c00});
        QCOMPARE(floatToHalf(0x1p-25F), std::uint16_t{0}); // tie to even
        QCOMPARE(floatToHalf(std::nextafter(0x1p-25F, 1.0F)), std::uint16_t{1});
        QCOMPARE(floatToHalf(3 * 0x1p-25F), std::uint16_t{2}); // tie to even
        QCOMPARE(floatToHalf(1.0F + 0x1p-11F), std::uint16_t{0x3c00});
        QCOMPARE(floatToHalf(1.0F + 3 * 0x1p-11F), std::uint16_t{0x3c02});
        QVERIFY(std::isnan(halfToFloat(floatToHalf(std::numeric_limits<float>::quiet_NaN()))));
        QVERIFY(std::isnan(halfToFloat(floatToHalf(std::bit_cast<float>(0x7f800001U)))));
        QCOMPARE(floatToHalf(-1e30F), std::uint16_t{0xfc00});
    }

    void everyHalfRoundTrips()
    {
        for (unsigned bits = 0; bits < 0x10000; ++bits) {
            const float value = halfToFloat(static_cast<std::uint16_t>(bits));
            if (!std::isnan(value))
                QCOMPARE(unsigned{floatToHalf(value)}, bits);
        }
    }

    void halfIsTheNearest() // between every two neighbours: the middle goes to even, its float neighbours to their sides
    {
        for (unsigned bits = 0; bits < 0x7bff; ++bits) {
            const double low = halfToFloat(static_cast<std::uint16_t>(bits));
            const double high = halfToFloat(static_cast<std::uint16_t>(bits + 1));
            const auto middle = static_cast<float>((low + high) / 2);
            QCOMPARE(unsigned{floatToHalf(middle)}, bits + (bits & 1U));
            QCOMPARE(unsigned{floatToHalf(std::nextafter(middle, 0.0F))}, bits);
            QCOMPARE(unsigned{floatToHalf(std::nextafter(middle, 1e9F))}, bits + 1);
            QCOMPARE(unsigned{floatToHalf(-middle)}, 0x8000U | (bits + (bits & 1U)));
        }
    }

    void bfloat16()
    {
        QCOMPARE(bfloat16ToFloat(0x3f80), 1.0F);
        QCOMPARE(floatToBfloat16(1.0F + 0x1p-8F), std::uint16_t{0x3f80}); // tie to even
        QCOMPARE(floatToBfloat16(1.0F + 3 * 0x1p-8F), std::uint16_t{0x3f82});
        QCOMPARE(floatToBfloat16(std::numeric_limits<float>::max()), std::uint16_t{0x7f80});
        QVERIFY(std::isnan(bfloat16ToFloat(floatToBfloat16(std::bit_cast<float>(0x7f800001U)))));
        for (unsigned bits = 0; bits < 0x10000; ++bits) {
            const float value = bfloat16ToFloat(static_cast<std::uint16_t>(bits));
            if (!std::isnan(value))
                QCOMPARE(unsigned{floatToBfloat16(value)}, bits);
        }
    }

    void matrixViews()
    {
        RowMatrix matrix(3, 4);
        for (Index r = 0; r < 3; ++r)
            for (Index c = 0; c < 4; ++c)
                matrix(r, c) = static_cast<float>(10 * r + c);
        const MatrixView block = matrix.view().block(1, 1, 2, 2);
        QCOMPARE(block(1, 1), 22.0F);
        QVERIFY(!block.contiguous());
        const RowMatrix copy(block);
        QCOMPARE(copy(1, 0), 21.0F);
        QVERIFY(reinterpret_cast<std::uintptr_t>(copy.data()) % 64 == 0);
        RowMatrix moved(std::move(matrix));
        QCOMPARE(moved(2, 3), 23.0F);
        QVERIFY(RowMatrix(0, 5).empty());
    }
};

QTEST_GUILESS_MAIN(DTypeTest)
#include "tst_dtype.moc"
