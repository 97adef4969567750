// SPDX-License-Identifier: Apache-2.0
#include "core/recipe/storage.h"

#include "tests/support/test_files.h"
#include "tiny_model.h"

#include <QTemporaryDir>
#include <QTest>
#include <cmath>

using namespace qs;
using namespace qs::recipe;

class TestStorage : public QObject {
    Q_OBJECT
private Q_SLOTS:
    void initTestCase()
    {
        test::fill(m_registry);
        QVERIFY(m_dir.isValid());
        QS_REQUIRE(model, test::tinyLlama(m_dir.filePath(QStringLiteral("llama")).toStdString(), DType::BF16));
        m_model = model;
    }

    void storageTypes()
    {
        for (const DType type : {DType::BF16, DType::F16, DType::F32})
            QCOMPARE(denseStorageType(type), type);
        QCOMPARE(denseStorageType(DType::F64), DType::F32);
        for (const DType type : {DType::Q4_1, DType::Q8_0, DType::Q6_K, DType::Packed, DType::F8E4M3})
            QCOMPARE(denseStorageType(type), DType::F16);
        for (const DType type : {DType::I64, DType::U8, DType::Bool})
            QVERIFY(travelsRaw(type));
        for (const DType type : {DType::BF16, DType::Q4_0, DType::Packed, DType::F8E5M2})
            QVERIFY(!travelsRaw(type));
    }

    /// What is rounded is what the bytes decode to, and rounding again changes nothing.
    void roundedIsWhatIsEncoded()
    {
        const RowMatrix values = test::randomMatrix(5, 37, 129);
        for (const DType type : {DType::F32, DType::F16, DType::BF16}) {
            RowMatrix rounded = values;
            QS_VERIFY_OK(roundToStored(type, rounded.mut()));
            const std::vector<std::byte> bytes = encodeStored(type, values);
            QCOMPARE(bytes.size(), static_cast<std::size_t>(values.size()) * (type == DType::F32 ? 4U : 2U));
            RowMatrix decoded(values.rows(), values.cols());
            QS_VERIFY_OK(decodeToFloat(type, bytes, decoded.values()));
            QCOMPARE(test::firstDifference(decoded.values(), rounded.values()), -1L);
            RowMatrix again = rounded;
            QS_VERIFY_OK(roundToStored(type, again.mut()));
            QCOMPARE(test::firstDifference(again.values(), rounded.values()), -1L);
            QCOMPARE(test::firstDifference(rounded.values(), values.values()) == -1, type == DType::F32);
        }
    }

    void valuesBeyondTheType()
    {
        RowMatrix values(2, 3);
        values(0, 0) = 1.0F;
        values(1, 1) = -70000.0F;
        values(1, 2) = 1e30F;
        RowMatrix copy = values;
        QS_VERIFY_ERROR(roundToStored(DType::F16, copy.mut()), Errc::NotFinite, "(1, 1) is beyond the range of F16");
        copy = values;
        QS_VERIFY_OK(roundToStored(DType::BF16, copy.mut()));
        QS_VERIFY_OK(roundToStored(DType::F32, copy.mut()));
        values(1, 1) = std::numeric_limits<float>::infinity(); // was there before: not a loss
        values(1, 2) = 0.0F;
        QS_VERIFY_OK(roundToStored(DType::F16, values.mut()));
    }

    void packedBitsByHand()
    {
        const auto count = [](int bits, quant::GridId grid, Index rows, Index cols, Index group) {
            return packedBits(
                quant::quantizeNearest(test::randomMatrix(9, rows, cols), group, test::gridOptions(bits, grid), cpuBackend())
                    .value());
        };
        // 6 rows of 64 codes of 4 bits fill 8 words each; 4 groups of float32 scales.
        quant::BitsCount bits = count(4, quant::GridId::SymFullrangeMid, 6, 64, 16);
        QCOMPARE(bits.codes, 6.0 * 64 * 4);
        QCOMPARE(bits.scales, 6.0 * 4 * 32);
        QCOMPARE(bits.zeros, 0.0);
        QCOMPARE(bits.other, 0.0);
        // Zero points are packed down the columns: 6 of 4 bits need one word of 32 for each of the 4 groups.
        bits = count(4, quant::GridId::Asym0, 6, 64, 16);
        QCOMPARE(bits.zeros, 6.0 * 4 * 4);
        QCOMPARE(bits.other, 4.0 * (32 - 24));
        // A symmetric grid whose zero no symmetric scheme can state.
        QVERIFY(storesZeroPoints(quant::GridId::SymShifted) && !storesZeroPoints(quant::GridId::SymRestricted));
        bits = count(4, quant::GridId::SymShifted, 8, 64, 16);
        QCOMPARE(bits.zeros, 8.0 * 4 * 4);
        QCOMPARE(bits.other, 0.0);
        // 3 bits of 50 codes: 150 bits in 5 words.
        bits = count(3, quant::GridId::SymFullrangeMid, 7, 50, -1);
        QCOMPARE(bits.codes, 7.0 * 50 * 3);
        QCOMPARE(bits.other, 7.0 * (160 - 150));
        QCOMPARE(bits.total(), 7.0 * (160 + 32));
        QCOMPARE(denseBits(m_model->spec().layers.front()).perWeight(), 16.0);
    }

    /// A snapped factor is one that the stored norm takes without rounding, at most half a unit of the type away.
    void snappedFactorsFoldExactly()
    {
        RowMatrix norm = test::randomMatrix(21, 1, 500);
        std::vector<double> d;
        const RowMatrix factors = test::randomMatrix(22, 1, 500);
        for (const float value : factors.values())
            d.push_back(std::exp(static_cast<double>(value)));
        for (const DType type : {DType::F32, DType::BF16, DType::F16}) {
            RowMatrix stored = norm;
            QS_VERIFY_OK(roundToStored(type, stored.mut()));
            const std::vector<double> snapped = snapToNorm(d, stored, type);
            const RowMatrix folded = foldIntoNorm(stored, snapped, type);
            const double unit = type == DType::BF16 ? 0x1p-8 : type == DType::F16 ? 0x1p-10 : 0x1p-23;
            for (std::size_t j = 0; j < d.size(); ++j) {
                const double product = static_cast<double>(stored.values()[j]) * snapped[j];
                QVERIFY(std::abs(product - static_cast<double>(folded.values()[j])) <= 1e-15 * std::abs(product));
                QVERIFY(std::abs(snapped[j] / d[j] - 1.0) <= unit);
            }
            QVERIFY(snapToNorm(snapped, stored, type) == snapped);
        }
        // Channels without a norm, and factors that leave the range, are left alone; the latter show where they are folded.
        RowMatrix edge(1, 3);
        edge(0, 0) = 0.5F;
        edge(0, 2) = 60000.0F;
        const std::vector<double> kept = snapToNorm({1.3, 7.0, 2.0}, edge, DType::F16);
        QCOMPARE(kept[0], static_cast<double>(halfToFloat(floatToHalf(0.65F))) / 0.5);
        QCOMPARE(kept[1], 7.0);
        QCOMPARE(kept[2], 2.0);
        QVERIFY(std::isinf(foldIntoNorm(edge, kept, DType::F16)(0, 2)));
    }

    void layersThatAnExportTouches()
    {
        const auto& spec = m_model->spec();
        const auto find = [&](const std::string& name) { return spec.find("model.layers.0." + name); };
        Recipe recipe;
        recipe.rules = {{"o_proj", parsePipeline("scale | - | grid", m_registry).value()}};
        QS_REQUIRE(assignment, assign(recipe, spec, m_registry));
        QVERIFY(takesRowFactors(spec, assignment, find("self_attn.v_proj")));
        QVERIFY(!takesRowFactors(spec, assignment, find("self_attn.o_proj")));
        QVERIFY(!takesRowFactors(spec, assignment, find("mlp.up_proj")));
        QVERIFY((touchedLayers(spec, assignment)
            == std::vector<model::LayerIndex>{find("self_attn.v_proj"), find("self_attn.o_proj")}));
        recipe.rules = {{"o_proj", parsePipeline("plain", m_registry).value()}};
        QS_REQUIRE(plain, assign(recipe, spec, m_registry));
        QVERIFY(touchedLayers(spec, plain) == std::vector<model::LayerIndex>{find("self_attn.o_proj")});
    }

    void sizesByHand()
    {
        double elements = 24 * 16 + 3 * 16; // embedding and norms
        for (const auto& layer : m_model->spec().layers)
            elements += static_cast<double>(layer.in) * static_cast<double>(layer.out);
        const RecipeSize size = checkpointSize(*m_model);
        QCOMPARE(size.bytesFile, 2.0 * elements);
        QCOMPARE(size.bitsFile, 16.0);
        QCOMPARE(size.bitsLayers, 16.0);
        // One layer of 16 x 16 with one float32 scale per row, and weight_shape.
        const auto first = m_model->spec().layers.front();
        quant::BitsCount bits;
        bits.codes = 16 * 16 * 4;
        bits.scales = 16 * 32;
        bits.weights = 16 * 16;
        Assignment assignment;
        assignment.layers.resize(m_model->spec().layers.size());
        assignment.layers.front() = std::make_shared<Pipeline>(parsePipeline("plain(group=-1)", m_registry).value());
        const RecipeSize smaller = recipeSize(*m_model, assignment, {{0, bits}});
        QCOMPARE(smaller.bytesFile, 2.0 * (elements - 256) + 128 + 64 + 16);
        QCOMPARE(smaller.bitsLayers, 6.0);
        QCOMPARE(smaller.bitsFile, 8.0 * smaller.bytesFile / elements);
    }

private:
    QTemporaryDir m_dir;
    StageRegistry m_registry;
    std::shared_ptr<const model::Model> m_model;
};

QTEST_GUILESS_MAIN(TestStorage)
#include "tst_storage.moc"
