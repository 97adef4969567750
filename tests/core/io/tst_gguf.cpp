// SPDX-License-Identifier: Apache-2.0
#include "core/io/checkpoint.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/test_files.h"

#include <QElapsedTimer>
#include <QTemporaryDir>
#include <QtTest>
#include <cmath>
#include <functional>
#include <limits>

using namespace qs;
using namespace qs::io;
using namespace qs::test;
namespace fs = std::filesystem;

namespace {

GgufWriter::Tensor floatTensor(const std::string& name, std::vector<std::int64_t> extents)
{
    std::int64_t count = 1;
    for (const auto extent : extents)
        count *= extent;
    std::vector<float> values(static_cast<std::size_t>(count));
    for (std::size_t i = 0; i < values.size(); ++i)
        values[i] = static_cast<float>(i);
    return {name, std::move(extents), 0, GgufWriter::raw(values), 0};
}

GgufWriter small()
{
    GgufWriter writer;
    writer.add("general.architecture", "llama");
    writer.addTensor(floatTensor("a", {3, 2})).addTensor(floatTensor("b", {5}));
    return writer;
}

struct Broken {
    const char* name;
    std::function<std::string()> bytes;
    const char* rule;
    Errc code = Errc::Format;
};

std::string header(std::int64_t tensors, std::int64_t pairs)
{
    std::string out = "GGUF";
    GgufWriter::number(out, std::uint32_t{3});
    GgufWriter::number(out, tensors);
    GgufWriter::number(out, pairs);
    return out;
}

const std::vector<Broken>& brokenFiles()
{
    const auto withTensor = [](GgufWriter::Tensor tensor) { return [tensor] { return small().addTensor(tensor).bytes(); }; };
    const auto withVersion = [](std::uint32_t version) {
        return [version] {
            GgufWriter writer = small();
            writer.version = version;
            return writer.bytes();
        };
    };
    const auto withPair = [](const char* key, std::int32_t type, std::string value) {
        return [=] { return small().addRaw(key, type, value).bytes() + std::string(64, '\0'); };
    };
    const auto withAlignment
        = [](std::uint32_t alignment) { return [alignment] { return small().addAlignment(alignment).bytes(); }; };
    std::string huge;
    GgufWriter::number(huge, std::uint64_t{1} << 62);
    std::string nested;
    GgufWriter::number(nested, std::int32_t{9});
    GgufWriter::number(nested, std::uint64_t{1});
    std::string manyWords;
    GgufWriter::number(manyWords, std::int32_t{8});
    GgufWriter::number(manyWords, std::uint64_t{1000});
    static const std::vector<Broken> cases = {
        {"empty", [] { return std::string(); }, "ends at byte 0"},
        {"magic", [] { return std::string("GGUX").append(small().bytes(), 4); }, "does not begin with"},
        {"version 1", withVersion(1), "version 1", Errc::Unsupported},
        {"version 4", withVersion(4), "version 4", Errc::Unsupported},
        {"version 0", withVersion(0), "big-endian", Errc::Unsupported},
        {"big-endian", withVersion(0x03000000), "big-endian", Errc::Unsupported},
        {"cut in the header", [] { return small().header().substr(0, small().header().size() - 10); }, "inside its header"},
        {"cut in the data", [] { return small().bytes().substr(0, small().header().size() + 40); }, "but the file has"},
        {"negative tensors", [] { return header(-1, 0); }, "-1 tensors"},
        {"too many tensors", [] { return header(std::int64_t{1} << 40, 0) + std::string(100, '\0'); }, "tensors do not fit"},
        {"negative keys", [] { return header(0, -5); }, "-5 keys"},
        {"too many keys", [] { return header(0, std::int64_t{1} << 60) + std::string(100, '\0'); }, "keys do not fit"},
        {"empty key", [] { return small().add("", "x").bytes(); }, "is empty"},
        {"key twice", [] { return small().add("k", "x").add("k", "y").bytes(); }, "'k': occurs twice"},
        {"key not UTF-8", [] { return small().add("\xff\xfe", "x").bytes(); }, "not UTF-8"},
        {"long key", [] { return small().add(std::string(65'536, 'k'), "x").bytes(); }, "65536 bytes"},
        {"value type", withPair("k", 13, ""), "unknown value type 13"},
        {"negative value type", withPair("k", -1, ""), "unknown value type -1"},
        {"huge string", withPair("k", 8, huge), "string of 4611686018427387904 bytes"},
        {"nested array", withPair("k", 9, nested), "array of arrays"},
        {"huge array", withPair("k", 9, std::string("\x05\0\0\0", 4) + huge), "does not fit"},
        {"huge word array", withPair("k", 9, manyWords), "does not fit"},
        {"unknown element type", withPair("k", 9, std::string("\x4d\0\0\0", 4) + huge), "unknown value type 77"},
        {"u64 array above 2^63", withPair("k", 9, std::string("\x0a\0\0\0\1\0\0\0\0\0\0\0", 12) + std::string(8, '\xff')),
            "above 2^63"},
        {"alignment type", [] { return small().add("general.alignment", 10, std::uint64_t{32}).bytes(); },
            "must be of type u32"},
        {"alignment 0", withAlignment(0), "power of two"},
        {"alignment 4", withAlignment(4), "multiple of 8"},
        {"alignment 48", withAlignment(48), "power of two"},
        {"long tensor name", withTensor(floatTensor(std::string(64, 'n'), {1})), "64 bytes; 63 are the limit"},
        {"empty tensor name", withTensor(floatTensor("", {1})), "empty name"},
        {"NUL in tensor name", withTensor(floatTensor(std::string("a\0b", 3), {1})), "no UTF-8 text"},
        {"tensor twice", withTensor(floatTensor("a", {1})), "'a': occurs twice"},
        {"five dimensions", withTensor(floatTensor("t", {1, 1, 1, 1, 1})), "5 dimensions"},
        {"negative extent", withTensor({"t", {-1, 1}, 0, "xxxx", 0}), "extent 0 is -1"},
        {"product overflow", withTensor({"t", {std::int64_t{1} << 40, std::int64_t{1} << 40}, 0, "xxxx", 0}), "overflows"},
        {"byte overflow", withTensor({"t", {std::int64_t{1} << 62}, 28, "xxxx", 0}), "overflows"},
        {"removed type", withTensor({"t", {32}, 4, std::string(20, 'x'), 0}), "ggml type 4"},
        {"unknown type", withTensor({"t", {32}, 1000, std::string(20, 'x'), 0}), "ggml type 1000"},
        {"part of a block", withTensor({"t", {33}, 2, std::string(36, 'x'), 0}), "no multiple of the 32"},
        {"offset too small", withTensor({"t", {1}, 0, "xxxx", -32}), "is at offset 32, but the tensors before it end at 64"},
        {"offset too large", withTensor({"t", {1}, 0, "xxxx", 32}), "end at 64"},
        {"offset unaligned", withTensor({"t", {1}, 0, "xxxx", 4}), "end at 64"},
        {"more data than file", withTensor({"t", {1000}, 0, "xxxx", 0}), "end of the file"},
        {"far more data than file", withTensor({"t", {std::int64_t{1} << 50}, 0, "xxxx", 0}), "end of the file"},
    };
    return cases;
}

} // namespace

class GgufTest : public QObject {
    Q_OBJECT

private Q_SLOTS:
    void init()
    {
        m_dir = std::make_unique<QTemporaryDir>();
        m_folder = m_dir->path().toStdString();
        m_path = m_folder / "model.gguf";
    }

    void byHand()
    {
        writeFile(m_path, small().bytes());
        const auto checkpoint = openCheckpoint(m_path);
        QS_VERIFY_OK(checkpoint);
        QCOMPARE((*checkpoint)->format(), std::string("gguf"));
        const TensorInfo* a = (*checkpoint)->find("a");
        QVERIFY((a->shape == Shape{2, 3})); // outermost first
        const auto values = (*checkpoint)->readMatrix(*a);
        QS_VERIFY_OK(values);
        QCOMPARE((*values)(1, 0), 3.0F);
        const auto b = (*checkpoint)->readMatrix(*(*checkpoint)->find("b"));
        QS_VERIFY_OK(b);
        QCOMPARE((*b)(0, 4), 4.0F);
        QCOMPARE(std::get<std::string>((*checkpoint)->metadata().at("general.architecture")), std::string("llama"));
    }

    void everyValueType()
    {
        GgufWriter writer;
        writer.add("u8", 0, std::uint8_t{200}).add("i8", 1, std::int8_t{-100}).add("u16", 2, std::uint16_t{60'000});
        writer.add("i16", 3, std::int16_t{-30'000})
            .add("u32", 4, 4'000'000'000U)
            .add("i32", 5, -2'000'000'000)
            .add("f32", 6, 0.5F);
        writer.add("bool", 7, std::uint8_t{1}).add("text", "hello").add("u64", 10, ~std::uint64_t{0});
        writer.add("i64", 11, std::int64_t{-1} << 60).add("f64", 12, 1e300);
        writer.addTexts("words", {"a", "", "b c"}).addNumbers("ints", 5, std::vector<std::int32_t>{1, -2});
        writer.addNumbers("floats", 6, std::vector<float>{0.25F}).addNumbers("flags", 7, std::vector<std::uint8_t>{1, 0});
        writer.addNumbers("none", 4, std::vector<std::uint32_t>{});
        writeFile(m_path, writer.bytes());
        const auto checkpoint = openCheckpoint(m_path);
        QS_VERIFY_OK(checkpoint);
        const auto& meta = (*checkpoint)->metadata();
        QCOMPARE(std::get<std::uint64_t>(meta.at("u8")), std::uint64_t{200});
        QCOMPARE(std::get<std::int64_t>(meta.at("i8")), std::int64_t{-100});
        QCOMPARE(std::get<std::uint64_t>(meta.at("u16")), std::uint64_t{60'000});
        QCOMPARE(std::get<std::int64_t>(meta.at("i16")), std::int64_t{-30'000});
        QCOMPARE(std::get<std::uint64_t>(meta.at("u32")), std::uint64_t{4'000'000'000});
        QCOMPARE(std::get<std::int64_t>(meta.at("i32")), std::int64_t{-2'000'000'000});
        QCOMPARE(std::get<double>(meta.at("f32")), 0.5);
        QCOMPARE(std::get<bool>(meta.at("bool")), true);
        QCOMPARE(std::get<std::string>(meta.at("text")), std::string("hello"));
        QCOMPARE(std::get<std::uint64_t>(meta.at("u64")), ~std::uint64_t{0});
        QCOMPARE(std::get<std::int64_t>(meta.at("i64")), std::int64_t{-1} << 60);
        QCOMPARE(std::get<double>(meta.at("f64")), 1e300);
        QVERIFY((std::get<std::vector<std::string>>(meta.at("words")) == std::vector<std::string>{"a", "", "b c"}));
        QVERIFY((std::get<std::vector<std::int64_t>>(meta.at("ints")) == std::vector<std::int64_t>{1, -2}));
        QVERIFY((std::get<std::vector<double>>(meta.at("floats")) == std::vector<double>{0.25}));
        QVERIFY((std::get<std::vector<bool>>(meta.at("flags")) == std::vector<bool>{true, false}));
        QVERIFY(std::get<std::vector<std::int64_t>>(meta.at("none")).empty());
    }

    void referenceLibraryFile() // written and dequantized by gguf-py
    {
        const auto golden = goldenJson("formats/blocks.json");
        const auto checkpoint = openCheckpoint(fs::path(QS_GOLDEN_DIR) / "formats/blocks.gguf");
        QS_VERIFY_OK(checkpoint);
        QCOMPARE((*checkpoint)->tensors().size(), golden.size());
        for (const auto& [name, expected] : golden.items()) {
            const TensorInfo* tensor = (*checkpoint)->find(name);
            QVERIFY2(tensor, name.c_str());
            QCOMPARE(std::string(dtypeName(tensor->dtype)), expected.at("type").get<std::string>());
            const auto values = (*checkpoint)->readMatrix(*tensor);
            QS_VERIFY_OK(values);
            const auto wanted = fromHexAs<float>(expected.at("f32_hex"));
            QVERIFY2(firstDifference(values->values(), wanted) == -1, name.c_str());
            RowMatrix wide(1, 100); // the same through the path for rows with gaps
            QS_VERIFY_OK((*checkpoint)->readRows(*tensor, 2, wide.mut().block(0, 10, 1, 64)));
            QVERIFY2(firstDifference(wide.row(0).subspan(10, 64), std::span(wanted).subspan(128)) == -1, name.c_str());
        }
        QCOMPARE(std::get<bool>((*checkpoint)->metadata().at("test.flag")), true);
        QCOMPARE(std::get<std::vector<std::string>>((*checkpoint)->metadata().at("test.words")).at(2),
            std::string("Gr\xc3\xbc\xc3\x9f"
                        "e"));
    }

    void otherVersionAndAlignment()
    {
        GgufWriter writer;
        writer.version = 2;
        writer.alignment = 8;
        writer.addAlignment(8)
            .addTensor(floatTensor("a", {3}))
            .addTensor(floatTensor("s", {}))
            .addTensor(floatTensor("d", {2, 3, 4}));
        writeFile(m_path, writer.bytes());
        const auto checkpoint = openCheckpoint(m_path);
        QS_VERIFY_OK(checkpoint);
        const TensorInfo* d = (*checkpoint)->find("d");
        QCOMPARE(d->rows(), Index{12});
        QCOMPARE(d->cols(), Index{2});
        const auto values = (*checkpoint)->readMatrix(*d);
        QS_VERIFY_OK(values);
        QCOMPARE((*values)(11, 1), 23.0F);
        QVERIFY((*checkpoint)->find("s")->shape.empty());
    }

    void unreadableTypeIsListed()
    {
        GgufWriter writer;
        writer.addTensor({"iq", {256, 2}, 16, std::string(132, '\1'), 0});
        writeFile(m_path, writer.bytes());
        const auto checkpoint = openCheckpoint(m_path);
        QS_VERIFY_OK(checkpoint);
        const TensorInfo* tensor = (*checkpoint)->find("iq");
        QCOMPARE(tensor->bytes, std::uint64_t{132});
        QS_VERIFY_ERROR((*checkpoint)->readMatrix(*tensor), Errc::Unsupported, "IQ2_XXS");
        QS_VERIFY_OK((*checkpoint)->readRaw(*tensor));
        QS_VERIFY_OK((*checkpoint)->tensorDigest(*tensor));
    }

    void brokenFilesAreRefused_data()
    {
        QTest::addColumn<int>("index");
        for (std::size_t i = 0; i < brokenFiles().size(); ++i)
            QTest::newRow(brokenFiles()[i].name) << static_cast<int>(i);
    }
    void brokenFilesAreRefused()
    {
        QFETCH(int, index);
        const Broken& broken = brokenFiles()[static_cast<std::size_t>(index)];
        writeFile(m_path, broken.bytes());
        const auto checkpoint = openCheckpoint(m_path);
        QS_VERIFY_ERROR(checkpoint, broken.code, broken.rule);
        QVERIFY(checkpoint.error().line().find("model.gguf") != std::string::npos);
    }

    void everyTruncationIsAnError()
    {
        const std::string bytes = small().bytes();
        // The padding behind the last tensor (20 bytes) is not needed.
        for (std::size_t size = 0; size < bytes.size() - 12; ++size) {
            writeFile(m_path, bytes.substr(0, size));
            QVERIFY2(!openCheckpoint(m_path), std::to_string(size).c_str());
        }
        writeFile(m_path, bytes.substr(0, bytes.size() - 12));
        QS_VERIFY_OK(openCheckpoint(m_path));
    }

    void splitModel()
    {
        for (int no = 0; no < 3; ++no)
            writeFile(m_folder / partName(no, 3), part(no, 3, 3));
        std::string id;
        for (int no = 0; no < 3; ++no) { // by any of its parts
            const auto checkpoint = openCheckpoint(m_folder / partName(no, 3));
            QS_VERIFY_OK(checkpoint);
            QCOMPARE((*checkpoint)->files().size(), std::size_t{3});
            QCOMPARE((*checkpoint)->tensors().size(), std::size_t{3});
            QCOMPARE((*checkpoint)->find("t2")->file, 2);
            QCOMPARE(std::get<std::string>((*checkpoint)->metadata().at("only.first")), std::string("yes"));
            const auto values = (*checkpoint)->readMatrix(*(*checkpoint)->find("t1"));
            QS_VERIFY_OK(values);
            QCOMPARE((*values)(0, 3), 3.0F);
            QVERIFY(id.empty() || id == (*checkpoint)->id());
            id = (*checkpoint)->id();
        }
        QS_VERIFY_OK(openCheckpoint(m_folder)); // a folder with nothing else
    }

    void brokenSplits()
    {
        writeFile(m_folder / partName(0, 2), part(0, 2, 2));
        QS_VERIFY_ERROR(openCheckpoint(m_folder / partName(0, 2)), Errc::NotFound, "00002-of-00002");
        writeFile(m_folder / partName(1, 2), part(0, 2, 2));
        QS_VERIFY_ERROR(openCheckpoint(m_folder / partName(0, 2)), Errc::Format, "split.no");
        writeFile(m_folder / partName(1, 2), part(1, 3, 2));
        QS_VERIFY_ERROR(openCheckpoint(m_folder / partName(0, 2)), Errc::Format, "split.count");
        writeFile(m_folder / partName(1, 2), part(1, 2, 5));
        QS_VERIFY_ERROR(openCheckpoint(m_folder / partName(0, 2)), Errc::Format, "split.tensors.count");
        writeFile(m_folder / partName(1, 2), part(1, 2, 2, "t0"));
        QS_VERIFY_ERROR(openCheckpoint(m_folder / partName(0, 2)), Errc::Format, "stored twice");
        writeFile(m_path, part(0, 2, 2));
        QS_VERIFY_ERROR(openCheckpoint(m_path), Errc::Format, "file name");
        writeFile(m_path, GgufWriter().add("split.count", 2, std::uint16_t{60'000}).bytes());
        QS_VERIFY_ERROR(openCheckpoint(m_path), Errc::Format, "60000");
        writeFile(m_path, GgufWriter().add("split.count", "two").bytes());
        QS_VERIFY_ERROR(openCheckpoint(m_path), Errc::Format, "split.count");
        for (int no = 0; no < 2; ++no)
            writeFile(m_folder / partName(no, 2), part(no, 2, 7));
        QS_VERIFY_ERROR(openCheckpoint(m_folder / partName(1, 2)), Errc::Format, "the parts hold 2 tensors");
    }

    void hugeFileOpensFromItsHeader() // 10 GB, sparse
    {
        constexpr std::int64_t kCols = 4096;
        constexpr std::int64_t kRows = (std::int64_t{10} << 30) / 2 / kCols;
        GgufWriter writer;
        writer.add("general.architecture", "llama");
        writer.addTensor({"w", {kCols, kRows}, 30, "", 0});
        writeFile(m_path, writer.bytes());
        std::error_code code;
        fs::resize_file(m_path, fs::file_size(m_path) + (std::uint64_t{10} << 30), code);
        if (code)
            QSKIP("the temporary folder cannot hold a sparse file of 10 GB");
        auto checkpoint = openCheckpoint(m_path);
        QS_VERIFY_OK(checkpoint);
        qint64 best = std::numeric_limits<qint64>::max(); // of several: other processes may hold the processor
        for (int i = 0; i < 5; ++i) {
            QElapsedTimer timer;
            timer.start();
            checkpoint = openCheckpoint(m_path);
            best = std::min(best, timer.elapsed());
        }
        QVERIFY2(best < 100, qPrintable(QString::number(best) + " ms"));
        RowMatrix row(1, kCols);
        QS_VERIFY_OK((*checkpoint)->readRows(*(*checkpoint)->find("w"), kRows - 1, row.mut()));
    }

    void smolLm2()
    {
        const QByteArray path = qgetenv("QS_SMOLLM2");
        if (path.isEmpty())
            QSKIP("QS_SMOLLM2 does not name the SmolLM2-135M GGUF file");
        const auto checkpoint = openCheckpoint(path.toStdString());
        QS_VERIFY_OK(checkpoint);
        QCOMPARE(std::get<std::string>((*checkpoint)->metadata().at("general.architecture")), std::string("llama"));
        QCOMPARE((*checkpoint)->tensors().size(), std::size_t{272});
        QVERIFY(((*checkpoint)->find("blk.0.ffn_down.weight")->shape == Shape{576, 1536}));
        for (const TensorInfo& tensor : (*checkpoint)->tensors()) {
            const auto values = (*checkpoint)->readMatrix(tensor);
            QS_VERIFY_OK(values);
            double sum = 0;
            for (const float value : values->values())
                sum += static_cast<double>(value) * static_cast<double>(value);
            QVERIFY2(std::isfinite(sum) && sum > 0, tensor.name.c_str());
        }
    }

private:
    static std::string partName(int no, int count)
    {
        char text[64];
        std::snprintf(text, sizeof text, "m-%05d-of-%05d.gguf", no + 1, count);
        return text;
    }
    static std::string part(int no, int count, int total, const char* tensor = nullptr)
    {
        GgufWriter writer;
        if (no == 0)
            writer.add("only.first", "yes");
        writer.add("split.no", 2, static_cast<std::uint16_t>(no)).add("split.count", 2, static_cast<std::uint16_t>(count));
        writer.add("split.tensors.count", 5, std::int32_t{total});
        writer.addTensor(floatTensor(tensor ? std::string(tensor) : std::string("t").append(std::to_string(no)), {4}));
        return writer.bytes();
    }

    std::unique_ptr<QTemporaryDir> m_dir;
    fs::path m_folder;
    fs::path m_path;
};

QTEST_GUILESS_MAIN(GgufTest)
#include "tst_gguf.moc"
