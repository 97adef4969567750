// SPDX-License-Identifier: Apache-2.0
#include "core/exec/parallel.h"
#include "core/quant/packing.h"
#include "tests/support/test_files.h"

#include <QtTest>
#include <random>

using namespace qs;
using namespace qs::quant;
using namespace qs::test;
using nlohmann::json;

namespace {

std::vector<std::uint8_t> randomCodes(Index count, int bits, unsigned seed)
{
    std::mt19937 random(seed);
    std::vector<std::uint8_t> codes(static_cast<std::size_t>(count));
    for (auto& code : codes)
        code = static_cast<std::uint8_t>(random() & ((1U << bits) - 1U));
    return codes;
}

} // namespace

class PackingTest : public QObject {
    Q_OBJECT

private Q_SLOTS:
    void byHand()
    {
        const std::vector<std::uint8_t> codes{1, 2, 3, 4, 5, 6, 7, 8, 9};
        const auto four = packBits(codes, 1, 9, 4, PackAxis::Columns);
        QS_VERIFY_OK(four);
        QVERIFY((*four == std::vector<std::uint32_t>{0x87654321U, 0x9U}));
        const auto down = packBits(codes, 9, 1, 4, PackAxis::Rows);
        QS_VERIFY_OK(down);
        QVERIFY(*down == *four);
        // Eleven 3-bit codes: the last one spans both words.
        const std::vector<std::uint8_t> sevens(11, 7);
        QVERIFY((*packBits(sevens, 1, 11, 3, PackAxis::Columns) == std::vector<std::uint32_t>{0xffffffffU, 1U}));
    }

    void compressedTensors_data()
    {
        QTest::addColumn<int>("bits");
        for (int bits = 1; bits <= 8; ++bits)
            QTest::addRow("%d", bits) << bits;
    }
    void compressedTensors() // words of compressed-tensors' pack_to_int32
    {
        QFETCH(int, bits);
        const json golden = goldenJson("formats/packing.json").at("ct_pack_to_int32").at("cases").at(std::to_string(bits));
        const auto shape = golden.at("shape").get<std::vector<Index>>();
        std::vector<std::uint8_t> codes;
        for (const std::int8_t value : fromHexAs<std::int8_t>(golden.at("values_i8_hex")))
            codes.push_back(static_cast<std::uint8_t>(value + (1 << (bits - 1)))); // q + 2^(bits-1) is stored
        for (const auto& [axis, key] :
            {std::pair(PackAxis::Columns, "packed_dim1_u32le_hex"), std::pair(PackAxis::Rows, "packed_dim0_u32le_hex")}) {
            const auto expected = fromHexAs<std::uint32_t>(golden.at(key));
            const auto packed = packBits(codes, shape[0], shape[1], bits, axis);
            QS_VERIFY_OK(packed);
            QVERIFY(*packed == expected);
            const auto unpacked = unpackBits(expected, shape[0], shape[1], bits, axis);
            QS_VERIFY_OK(unpacked);
            QVERIFY(*unpacked == codes);
        }
    }

    void roundTrips_data()
    {
        QTest::addColumn<int>("bits");
        QTest::addColumn<int>("rows");
        QTest::addColumn<int>("cols");
        for (int bits = 1; bits <= 8; ++bits)
            for (const auto& [rows, cols] :
                {std::pair(1, 1), std::pair(3, 31), std::pair(65, 33), std::pair(130, 700), std::pair(0, 5), std::pair(5, 0)})
                QTest::addRow("%d bits, %d x %d", bits, rows, cols) << bits << rows << cols;
    }
    void roundTrips() // and the same words for one and two threads; parts of a stream agree with the whole
    {
        QFETCH(int, bits);
        QFETCH(int, rows);
        QFETCH(int, cols);
        const auto codes = randomCodes(Index{rows} * cols, bits, 7);
        const int before = threadCount();
        for (const PackAxis axis : {PackAxis::Columns, PackAxis::Rows}) {
            setThreadCount(1);
            const auto one = packBits(codes, rows, cols, bits, axis);
            setThreadCount(2);
            const auto two = packBits(codes, rows, cols, bits, axis);
            setThreadCount(before);
            QS_VERIFY_OK(one);
            QVERIFY(*one == *two);
            const Index streams = axis == PackAxis::Columns ? rows : cols;
            QCOMPARE(static_cast<Index>(one->size()), streams * packedWords(axis == PackAxis::Columns ? cols : rows, bits));
            QVERIFY(*unpackBits(*one, rows, cols, bits, axis) == codes);
        }
        if (rows == 0 || cols < 20)
            return;
        const auto words = packBits(std::span(codes).first(static_cast<std::size_t>(cols)), 1, cols, bits, PackAxis::Columns);
        std::vector<std::uint8_t> part(10);
        for (Index first = 0; first + 10 <= cols; first += 7) {
            unpackStream(*words, first, 10, bits, part.data());
            QVERIFY(std::equal(part.begin(), part.end(), codes.begin() + first));
        }
    }

    void refusals()
    {
        const std::vector<std::uint8_t> codes{1, 2, 3, 16};
        QS_VERIFY_ERROR(packBits(codes, 2, 2, 4, PackAxis::Columns), Errc::InvalidArgument, "code 16 at (1, 1)");
        QS_VERIFY_ERROR(packBits(codes, 2, 2, 0, PackAxis::Columns), Errc::InvalidArgument, "0 bits");
        QS_VERIFY_ERROR(packBits(codes, 2, 2, 9, PackAxis::Columns), Errc::InvalidArgument, "9 bits");
        QS_VERIFY_ERROR(packBits(codes, 2, 3, 8, PackAxis::Columns), Errc::InvalidArgument, "2 x 3");
        const std::vector<std::uint32_t> words(3);
        QS_VERIFY_ERROR(unpackBits(words, 2, 8, 4, PackAxis::Columns), Errc::InvalidArgument, "3 words");
        QS_VERIFY_ERROR(unpackBits(words, 8, 2, 4, PackAxis::Rows), Errc::InvalidArgument, "3 words");
        QS_VERIFY_ERROR(unpackBits(words, -1, 2, 4, PackAxis::Rows), Errc::InvalidArgument, "-1 x 2");
    }
};

QTEST_GUILESS_MAIN(PackingTest)
#include "tst_packing.moc"
