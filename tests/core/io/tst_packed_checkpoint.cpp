// SPDX-License-Identifier: Apache-2.0
#include "core/exec/parallel.h"
#include "core/io/checkpoint.h"
#include "core/quant/packing.h"
#include "tests/support/test_files.h"

#include <QTemporaryDir>
#include <QtTest>

using namespace qs;
using namespace qs::io;
using namespace qs::test;
using nlohmann::json;
namespace fs = std::filesystem;

namespace {

struct Part {
    std::string name;
    std::string dtype;
    Shape shape;
    std::string bytes;
};

template <class T> std::string raw(const std::vector<T>& values)
{
    return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

constexpr Index kOut = 3;
constexpr Index kIn = 16;

/// Codes (o * 5 + i) mod 16 of a 3 x 16 layer, 4 bits, groups of 8, scales 0.5 and 2 in every row.
std::vector<Part> layer()
{
    std::vector<std::uint8_t> codes;
    for (Index o = 0; o < kOut; ++o)
        for (Index i = 0; i < kIn; ++i)
            codes.push_back(static_cast<std::uint8_t>((o * 5 + i) % 16));
    return {
        {"m.weight_packed", "I32", {kOut, 2}, raw(*quant::packBits(codes, kOut, kIn, 4, quant::PackAxis::Columns))},
        {"m.weight_scale", "F32", {kOut, 2}, raw(std::vector<float>{0.5F, 2, 0.5F, 2, 0.5F, 2})},
        {"m.weight_shape", "I64", {2}, raw(std::vector<std::int64_t>{kOut, kIn})},
    };
}

Part zeros(const std::vector<std::uint8_t>& codes)
{
    return {"m.weight_zero_point", "I32", {1, 2}, raw(*quant::packBits(codes, kOut, 2, 4, quant::PackAxis::Rows))};
}

json config()
{
    return json::parse(
        R"({"quantization_config":{"quant_method":"compressed-tensors","format":"pack-quantized","config_groups":{"group_0":{
        "targets":["Linear"],"weights":{"num_bits":4,"type":"int","symmetric":true,"strategy":"group","group_size":8}}}}})");
}

json& weightsOf(json& document)
{
    return document["quantization_config"]["config_groups"]["group_0"]["weights"];
}

} // namespace

class PackedCheckpointTest : public QObject {
    Q_OBJECT

private Q_SLOTS:
    void init()
    {
        m_dir = std::make_unique<QTemporaryDir>();
        m_folder = m_dir->path().toStdString();
    }

    void byHand()
    {
        const auto checkpoint = open(layer(), config());
        QS_VERIFY_OK(checkpoint);
        QCOMPARE((*checkpoint)->format(), std::string("compressed-tensors"));
        QCOMPARE((*checkpoint)->tensors().size(), std::size_t{1});
        const TensorInfo* weight = (*checkpoint)->find("m.weight");
        QVERIFY(weight);
        QVERIFY(weight->dtype == DType::Packed);
        QVERIFY((weight->shape == Shape{kOut, kIn}));
        QCOMPARE(weight->bytes, std::uint64_t{24 + 24 + 16});
        const auto values = (*checkpoint)->readMatrix(*weight);
        QS_VERIFY_OK(values);
        for (Index o = 0; o < kOut; ++o)
            for (Index i = 0; i < kIn; ++i)
                QCOMPARE((*values)(o, i), static_cast<float>((o * 5 + i) % 16 - 8) * (i < 8 ? 0.5F : 2.0F));
        QVERIFY(!(*checkpoint)->find("m.weight_packed"));
        QS_VERIFY_ERROR((*checkpoint)->readRaw(*weight), Errc::InvalidArgument, "several");
        QCOMPARE((*checkpoint)->tensorDigest(*weight)->size(), std::size_t{32});
    }

    void referenceLibraryFolder() // compressed by compressed-tensors: 2 to 8 bits, groups and channels, with and without zeros
    {
        const auto golden = goldenJson("formats/packed.json");
        const auto checkpoint = openCheckpoint(fs::path(QS_GOLDEN_DIR) / "formats/packed");
        QS_VERIFY_OK(checkpoint);
        QCOMPARE((*checkpoint)->tensors().size(), golden.size() + 1); // and a norm
        for (const auto& [name, expected] : golden.items()) {
            const TensorInfo* tensor = (*checkpoint)->find(name);
            QVERIFY2(tensor, name.c_str());
            QVERIFY2(tensor->shape == expected.at("shape").get<Shape>(), name.c_str());
            const auto wanted = fromHexAs<float>(expected.at("f32_hex"));
            const auto values = (*checkpoint)->readMatrix(*tensor);
            QS_VERIFY_OK(values);
            QVERIFY2(firstDifference(values->values(), wanted) == -1, name.c_str());
            for (Index first = 0; first < tensor->rows(); ++first) { // any range of rows gives the same
                const Index count = std::min<Index>(2, tensor->rows() - first);
                RowMatrix part(count, tensor->cols());
                QS_VERIFY_OK((*checkpoint)->readRows(*tensor, first, part.mut()));
                const auto from
                    = std::span(wanted).subspan(static_cast<std::size_t>(first * tensor->cols()), part.values().size());
                QVERIFY2(firstDifference(part.values(), from) == -1, name.c_str());
            }
        }
        // The file itself, opened beside its config.json, means the same.
        const auto file = openCheckpoint(fs::path(QS_GOLDEN_DIR) / "formats/packed/model.safetensors");
        QS_VERIFY_OK(file);
        QCOMPARE((*file)->id(), (*checkpoint)->id());
    }

    void zeroPoints()
    {
        auto parts = layer();
        parts.push_back(zeros({1, 2, 3, 4, 5, 15}));
        json document = config();
        weightsOf(document)["symmetric"] = false;
        const auto checkpoint = open(parts, document);
        QS_VERIFY_OK(checkpoint);
        const auto values = (*checkpoint)->readMatrix(*(*checkpoint)->find("m.weight"));
        QS_VERIFY_OK(values);
        QCOMPARE((*values)(0, 3), (3 - 1) * 0.5F);
        QCOMPARE((*values)(2, 15), ((10 + 15) % 16 - 15) * 2.0F);
    }

    void groupIndex()
    {
        auto parts = layer();
        std::vector<std::int32_t> index(kIn);
        for (std::size_t i = 0; i < index.size(); ++i)
            index[i] = static_cast<std::int32_t>(i % 2);
        parts.push_back({"m.weight_g_idx", "I32", {kIn}, raw(index)});
        const auto checkpoint = open(parts, config());
        QS_VERIFY_OK(checkpoint);
        const auto values = (*checkpoint)->readMatrix(*(*checkpoint)->find("m.weight"));
        QS_VERIFY_OK(values);
        QCOMPARE((*values)(1, 0), (5 - 8) * 0.5F);
        QCOMPARE((*values)(1, 1), (6 - 8) * 2.0F);
        parts.back().bytes = raw(std::vector<std::int32_t>(kIn, -1)); // what producers write that do not reorder
        const auto inOrder = open(parts, config());
        QS_VERIFY_OK(inOrder);
        QCOMPARE((*(*inOrder)->readMatrix(*(*inOrder)->find("m.weight")))(1, 1), (6 - 8) * 0.5F);
        index[5] = 2;
        parts.back().bytes = raw(index);
        const auto bad = open(parts, config());
        QS_VERIFY_OK(bad); // the index is data: only headers are read when opening
        QS_VERIFY_ERROR((*bad)->readMatrix(*(*bad)->find("m.weight")), Errc::Format, "column 5 is in group 2");
    }

    void scalePerTensorAndPreset()
    {
        auto parts = layer();
        parts[1] = {"m.weight_scale", "BF16", {1}, std::string("\x80\x3f", 2)};
        json document = config();
        weightsOf(document) = {{"num_bits", 4}}; // no group size: one scale for the tensor
        const auto checkpoint = open(parts, document);
        QS_VERIFY_OK(checkpoint);
        QCOMPARE((*(*checkpoint)->readMatrix(*(*checkpoint)->find("m.weight")))(0, 1), -7.0F);

        parts[1] = {"m.weight_scale", "F16", {kOut, 1}, std::string("\0\x3c\0\x40\0\x44", 6)};
        json preset = config();
        preset["quantization_config"]["config_groups"] = {{"W4A16", {"Linear"}}};
        const auto grouped = open(parts, preset); // in < 128: one group
        QS_VERIFY_OK(grouped);
        QCOMPARE((*(*grouped)->readMatrix(*(*grouped)->find("m.weight")))(2, 0), 2 * 4.0F);
    }

    void namesComeBeforePatterns()
    {
        json document = config();
        auto& groups = document["quantization_config"]["config_groups"];
        groups["group_1"] = groups["group_0"];
        groups["group_0"]["targets"] = {"re:.*"};
        groups["group_0"]["weights"]["num_bits"] = 8; // would contradict the tensors
        groups["group_1"]["targets"] = {"m"};
        QS_VERIFY_OK(open(layer(), document));
        groups["group_1"]["targets"] = {"x"};
        QS_VERIFY_ERROR(open(layer(), document), Errc::Format, "codes of 8 bits");
    }

    void withoutConfigTheyArePlainTensors()
    {
        const auto checkpoint = open(layer(), nullptr);
        QS_VERIFY_OK(checkpoint);
        QCOMPARE((*checkpoint)->format(), std::string("safetensors"));
        QVERIFY((*checkpoint)->find("m.weight_packed"));
    }

    void disagreements_data()
    {
        QTest::addColumn<QString>("what");
        QTest::addColumn<int>("code");
        QTest::addColumn<QString>("rule");
        const auto row
            = [](const char* what, Errc code, const char* rule) { QTest::newRow(what) << what << int(code) << rule; };
        row("no scale", Errc::Format, "weight_scale' is missing");
        row("no shape", Errc::Format, "weight_shape' is missing");
        row("scale shape", Errc::Format, "2 groups of 8 columns need 3 x 2");
        row("scale type", Errc::Format, "scales of type I32");
        row("shape type", Errc::Format, "but must be I64 2");
        row("negative shape", Errc::Format, "-3 x 16");
        row("huge shape", Errc::Format, "no shape of a weight");
        row("wrong shape", Errc::Format, "3 x 17 codes");
        row("zeros of a symmetric scheme", Errc::Format, "no zero points");
        row("no zeros", Errc::Format, "zero_point' is missing");
        row("packed and plain", Errc::Format, "both a packed and a plain weight");
        row("no target", Errc::Format, "no group of config_groups");
        row("bad pattern", Errc::Format, "not a regular expression");
        row("nine bits", Errc::Format, "9 bits");
        row("float", Errc::Format, "'float' with 4 bits");
        row("block strategy", Errc::Unsupported, "'block'");
        row("group size 0", Errc::Format, "group_size is 0");
        row("bits a string", Errc::Format, "num_bits must be");
        row("no groups", Errc::Format, "no config_groups");
        row("other format", Errc::Unsupported, "'nvfp4-pack-quantized'");
        row("mixed with another", Errc::Unsupported, "'int-quantized'");
        row("config twice", Errc::Format, "occurs twice");
        row("padded words", Errc::Unsupported, "padded to whole words");
    }
    void disagreements()
    {
        QFETCH(QString, what);
        QFETCH(int, code);
        QFETCH(QString, rule);
        auto parts = layer();
        json document = config();
        auto& quantization = document["quantization_config"];
        json& weights = weightsOf(document);
        if (what == "no scale")
            parts.erase(parts.begin() + 1);
        else if (what == "no shape")
            parts.pop_back();
        else if (what == "scale shape")
            parts[1] = {"m.weight_scale", "F32", {kOut, 1}, std::string(12, '\0')};
        else if (what == "scale type")
            parts[1].dtype = "I32";
        else if (what == "shape type")
            parts[2] = {"m.weight_shape", "I32", {2}, std::string(8, '\1')};
        else if (what == "negative shape")
            parts[2].bytes = raw(std::vector<std::int64_t>{-3, 16});
        else if (what == "huge shape")
            parts[2].bytes = raw(std::vector<std::int64_t>{std::int64_t{1} << 62, std::int64_t{1} << 62});
        else if (what == "wrong shape")
            parts[2].bytes = raw(std::vector<std::int64_t>{3, 17});
        else if (what == "zeros of a symmetric scheme")
            parts.push_back(zeros({1, 2, 3, 4, 5, 6}));
        else if (what == "no zeros")
            weights["symmetric"] = false;
        else if (what == "packed and plain")
            parts.push_back({"m.weight", "F32", {1}, std::string(4, '\0')});
        else if (what == "no target")
            quantization["config_groups"]["group_0"]["targets"] = {"re:other"};
        else if (what == "bad pattern")
            quantization["config_groups"]["group_0"]["targets"] = {"re:(("};
        else if (what == "nine bits")
            weights["num_bits"] = 9;
        else if (what == "float")
            weights["type"] = "float";
        else if (what == "block strategy")
            weights["strategy"] = "block";
        else if (what == "group size 0")
            weights["group_size"] = 0;
        else if (what == "bits a string")
            weights["num_bits"] = "4";
        else if (what == "no groups")
            quantization.erase("config_groups");
        else if (what == "other format")
            quantization["format"] = "nvfp4-pack-quantized";
        else if (what == "mixed with another") {
            quantization["format"] = "mixed-precision";
            quantization["config_groups"]["group_0"]["format"] = "int-quantized";
        } else if (what == "padded words") {
            weights["num_bits"] = 3;
            parts[2].bytes = raw(std::vector<std::int64_t>{3, 22});
            parts[0] = {"m.weight_packed", "I32", {3, 3}, std::string(36, '\1')}; // 22 codes: 3 dense words as well
            parts[2].bytes = raw(std::vector<std::int64_t>{3, 32});
            parts[0] = {"m.weight_packed", "I32", {3, 4}, std::string(48, '\1')}; // 3 dense words, 4 of ten codes each
        }
        write(parts);
        std::string text = document.dump();
        if (what == "config twice")
            text.insert(1, R"("a":1,"a":2,)");
        writeFile(m_folder / "config.json", text);
        QS_VERIFY_ERROR(openCheckpoint(m_folder), static_cast<Errc>(code), rule.toStdString());
    }

    void scaledWeightsOfOtherFormatsAreRefused() // codes without their scales would look like weights
    {
        json document = config();
        document["quantization_config"]["format"] = "float-quantized";
        const std::vector<Part> parts{
            {"m.weight", "F8_E4M3", {1, 4}, "abcd"}, {"m.weight_scale", "F32", {1}, std::string(4, '\1')}};
        QS_VERIFY_ERROR(open(parts, document), Errc::Unsupported, "'float-quantized'");
        document["quantization_config"]["quant_method"] = "fp8"; // not ours to judge
        QS_VERIFY_OK(open(parts, document));
    }

    void sameBitsForAnyThreads()
    {
        constexpr Index kRows = 300;
        constexpr Index kCols = 512;
        std::vector<std::uint8_t> codes(kRows * kCols);
        std::uint32_t state = 1;
        for (auto& code : codes)
            code = static_cast<std::uint8_t>((state = state * 1664525U + 1013904223U) >> 27);
        const std::vector<Part> parts{
            {"m.weight_packed", "I32", {kRows, quant::packedWords(kCols, 5)},
                raw(*quant::packBits(codes, kRows, kCols, 5, quant::PackAxis::Columns))},
            {"m.weight_scale", "F32", {kRows, 1}, raw(std::vector<float>(kRows, 0.1F))},
            {"m.weight_shape", "I64", {2}, raw(std::vector<std::int64_t>{kRows, kCols})},
        };
        json document = config();
        weightsOf(document) = {{"num_bits", 5}, {"strategy", "channel"}, {"group_size", -1}};
        const auto checkpoint = open(parts, document);
        QS_VERIFY_OK(checkpoint);
        const TensorInfo* weight = (*checkpoint)->find("m.weight");
        const int before = threadCount();
        setThreadCount(1);
        const auto one = (*checkpoint)->readMatrix(*weight);
        setThreadCount(2);
        const auto two = (*checkpoint)->readMatrix(*weight);
        setThreadCount(before);
        QS_VERIFY_OK(one);
        QS_VERIFY_OK(two);
        QCOMPARE(firstDifference(one->values(), two->values()), -1L);
        for (std::size_t i = 0; i < codes.size(); ++i)
            QCOMPARE(one->values()[i], static_cast<float>(codes[i] - 16) * 0.1F);
    }

private:
    void write(const std::vector<Part>& parts)
    {
        json header = json::object();
        std::string data;
        for (const Part& part : parts) {
            header[part.name] = {
                {"dtype", part.dtype}, {"shape", part.shape}, {"data_offsets", {data.size(), data.size() + part.bytes.size()}}};
            data += part.bytes;
        }
        writeFile(m_folder / "model.safetensors", safetensorsBytes(header.dump(), data));
    }
    Expected<std::shared_ptr<const Checkpoint>> open(const std::vector<Part>& parts, const json& document)
    {
        write(parts);
        if (!document.is_null())
            writeFile(m_folder / "config.json", document.dump());
        return openCheckpoint(m_folder);
    }

    std::unique_ptr<QTemporaryDir> m_dir;
    fs::path m_folder;
};

QTEST_GUILESS_MAIN(PackedCheckpointTest)
#include "tst_packed_checkpoint.moc"
