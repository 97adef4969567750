// SPDX-License-Identifier: Apache-2.0
#include "core/tensor/dtype.h"
#include "tests/support/test_files.h"

#include <QtTest>
#include <cmath>
#include <hwy/targets.h>

using namespace qs;
using namespace qs::test;

namespace {

std::span<const std::byte> bytesOf(const std::string& text)
{
    return std::as_bytes(std::span(text));
}

std::optional<DType> typeByName(const std::string& name)
{
    for (int i = 0; i < static_cast<int>(DType::Packed); ++i)
        if (name == dtypeName(static_cast<DType>(i)))
            return static_cast<DType>(i);
    return std::nullopt;
}

/// Runs a body once per instruction set of this machine.
template <class Body> void onEveryTarget(const Body& body)
{
    for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
        hwy::GetChosenTarget().Update(target);
        body(hwy::TargetName(target));
    }
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

} // namespace

class DecodeTest : public QObject {
    Q_OBJECT

private Q_SLOTS:
    void ggmlBlocks_data()
    {
        QTest::addColumn<QString>("name");
        for (const char* name : {"Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"})
            QTest::newRow(name) << QString(name);
    }
    void ggmlBlocks() // bit for bit what libggml gives, on every instruction set
    {
        QFETCH(QString, name);
        const auto golden = goldenJson("formats/ggml_blocks.json").at(name.toStdString());
        const DType type = *typeByName(name.toStdString());
        QVERIFY(dtypeFromGgml(golden.at("type").get<std::uint32_t>()) == type);
        const std::string packed = fromHex(golden.at("packed_hex"));
        const auto expected = fromHexAs<float>(golden.at("dequant_f32_hex"));
        QCOMPARE(expected.size(), std::size_t{512});
        onEveryTarget([&](const char* target) {
            std::vector<float> values(512, 7.0F);
            const auto done = decodeToFloat(type, bytesOf(packed), values);
            QS_VERIFY_OK(done);
            QVERIFY2(firstDifference(values, expected) == -1, target);
        });
    }

    void q4_0ByHand() // x[i] = (i - 16) / 4; d = -16/4 / -8 = 0.5
    {
        const std::string packed = fromHex("0038809191a2a2b3b3c4c4d5d5e6e6f7f7f8");
        std::vector<float> values(32);
        QS_VERIFY_OK(decodeToFloat(DType::Q4_0, bytesOf(packed), values));
        QCOMPARE(values[0], -4.0F);
        QCOMPARE(values[1], -3.5F);
        QCOMPARE(values[16], 0.0F);
        QCOMPARE(values[31], 3.5F);
    }

    void halvesMatchTheScalarConversion() // all 65536 codes, odd addresses and odd counts
    {
        std::string bytes(1, 'x');
        for (unsigned bits = 0; bits < 0x10000; ++bits) {
            bytes.push_back(static_cast<char>(bits & 255U));
            bytes.push_back(static_cast<char>(bits >> 8));
        }
        std::vector<float> half(0x10000);
        std::vector<float> brain(0x10000);
        for (unsigned bits = 0; bits < 0x10000; ++bits) {
            half[bits] = halfToFloat(static_cast<std::uint16_t>(bits));
            brain[bits] = bfloat16ToFloat(static_cast<std::uint16_t>(bits));
        }
        onEveryTarget([&](const char* target) {
            for (const std::size_t count : {std::size_t{0x10000}, std::size_t{1}, std::size_t{37}}) {
                std::vector<float> values(count);
                const auto source = bytesOf(bytes).subspan(1, 2 * count);
                QS_VERIFY_OK(decodeToFloat(DType::F16, source, values));
                QVERIFY2(std::memcmp(values.data(), half.data(), 4 * count) == 0, target);
                QS_VERIFY_OK(decodeToFloat(DType::BF16, source, values));
                QVERIFY2(std::memcmp(values.data(), brain.data(), 4 * count) == 0, target);
            }
        });
    }

    void smallFloatsByHand()
    {
        const auto one = [](DType type, unsigned code) {
            const std::string bytes(1, static_cast<char>(code));
            float value = -1;
            return decodeToFloat(type, bytesOf(bytes), {&value, 1}) ? value : -12345.0F;
        };
        QCOMPARE(one(DType::F8E4M3, 0x7e), 448.0F);
        QVERIFY(std::isnan(one(DType::F8E4M3, 0x7f)));
        QCOMPARE(one(DType::F8E4M3, 0x01), 0x1p-9F);
        QCOMPARE(one(DType::F8E5M2, 0x7b), 57344.0F);
        QVERIFY(std::isinf(one(DType::F8E5M2, 0xfc)));
        QCOMPARE(one(DType::F8E8M0, 127), 1.0F);
        QCOMPARE(one(DType::F8E8M0, 0), 0x1p-127F);
        QVERIFY(std::isnan(one(DType::F8E8M0, 255)));
        QCOMPARE(one(DType::F8E4M3Fnuz, 0x7f), 240.0F);
        QVERIFY(std::isnan(one(DType::F8E5M2Fnuz, 0x80)));
        QCOMPARE(one(DType::Bool, 1), 1.0F);
    }

    void undecodableTypesSaySo()
    {
        const std::string packed(84, '\0');
        std::vector<float> values(256);
        const auto done = decodeToFloat(DType::Q2_K, bytesOf(packed), values);
        QS_VERIFY_ERROR(done, Errc::Unsupported, "Q2_K");
        for (const DType type : {DType::Unknown, DType::Packed, DType::C64, DType::F4})
            QVERIFY(!decodeToFloat(type, {}, {}));
    }

    void wrongSizes()
    {
        std::vector<float> values(32);
        const std::string packed(17, '\0');
        QS_VERIFY_ERROR(decodeToFloat(DType::Q4_0, bytesOf(packed), values), Errc::InvalidArgument, "17 bytes");
        const std::string whole(18, '\0');
        QS_VERIFY_ERROR(
            decodeToFloat(DType::Q4_0, bytesOf(whole), std::span(values).first(31)), Errc::InvalidArgument, "31 values");
    }
};

QTEST_GUILESS_MAIN(DecodeTest)
#include "tst_decode.moc"
