// SPDX-License-Identifier: Apache-2.0
// Seeded mutations of small valid files. Whatever they become, opening and reading them must end in a value or an error.
#include "core/io/checkpoint.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/test_files.h"

#include <QTemporaryDir>
#include <QtTest>
#include <random>

using namespace qs;
using namespace qs::io;
using namespace qs::test;
namespace fs = std::filesystem;

namespace {

constexpr int kCases = 4000; // per seed file

std::string safetensorsSeed()
{
    const std::string header
        = R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
          R"("b.weight":{"dtype":"BF16","shape":[4],"data_offsets":[24,32]},"c":{"dtype":"F8_E4M3","shape":[1,2],"data_offsets":[32,34]}}  )";
    return safetensorsBytes(header, std::string(34, '\x3c'));
}

std::string packedSeed()
{
    const std::string header = R"({"m.weight_packed":{"dtype":"I32","shape":[3,2],"data_offsets":[0,24]},)"
                               R"("m.weight_scale":{"dtype":"F32","shape":[3,2],"data_offsets":[24,48]},)"
                               R"("m.weight_shape":{"dtype":"I64","shape":[2],"data_offsets":[48,64]}})";
    return safetensorsBytes(header, std::string(48, '\x3c') + GgufWriter::raw(std::vector<std::int64_t>{3, 16}));
}

const std::string kConfig
    = R"({"quantization_config":{"quant_method":"compressed-tensors","format":"pack-quantized","config_groups":{"g":{
"targets":["re:^m$"],"weights":{"num_bits":4,"type":"int","symmetric":true,"strategy":"group","group_size":8}}}}})";

std::string ggufSeed()
{
    GgufWriter writer;
    writer.add("general.architecture", "llama").addAlignment(32).add("x.f", 6, 1.5F).add("x.b", 7, std::uint8_t{1});
    writer.addTexts("tokenizer.ggml.tokens", {"a", "bc", ""}).addNumbers("x.n", 5, std::vector<std::int32_t>{1, 2, 3});
    writer.addTensor({"q", {32, 2}, 3, std::string(40, '\x11'), 0}).addTensor({"k", {256}, 14, std::string(210, '\x22'), 0});
    writer.addTensor({"f", {2, 2}, 0, std::string(16, '\x33'), 0});
    return writer.bytes();
}

class Mutator {
public:
    explicit Mutator(std::uint64_t seed)
        : m_random(seed)
    {
    }

    std::string operator()(std::string bytes, std::size_t headerBytes)
    {
        const std::size_t count = 1 + below(4);
        for (std::size_t i = 0; i < count && !bytes.empty(); ++i)
            mutate(bytes, std::min(headerBytes, bytes.size()));
        return bytes;
    }

private:
    std::size_t below(std::size_t limit) { return limit == 0 ? 0 : static_cast<std::size_t>(m_random() % limit); }

    void mutate(std::string& bytes, std::size_t header)
    {
        static const std::vector<std::uint64_t> kNumbers = {0, 1, 7, 8, 255, 256, 65535, 0x7fffffff, 0x80000000, 0xffffffff,
            0x100000000, 0x7fffffffffffffff, 0x8000000000000000, 0xffffffffffffffff, 100'000'000, 100'000'001};
        static const std::vector<std::string> kTexts
            = {"{", "}", "[", "]", "\"", ",", ":", "-1", "1e99", "18446744073709551616", "null", "true", "\\u0000", "\xff",
                "F4", "\"shape\":", "[[[[[[[[", "9223372036854775807", std::string("\0", 1), "re:(a+)+$"};
        const std::size_t at = below(header);
        switch (below(8)) {
        case 0: bytes[at] = static_cast<char>(m_random()); break;
        case 1: bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(8))); break;
        case 2: bytes.resize(below(bytes.size() + 1)); break; // cut off
        case 3: bytes.erase(at, 1 + below(16)); break;
        case 4: bytes.insert(at, bytes.substr(below(header), 1 + below(32))); break; // a piece twice
        case 5: bytes.insert(at, kTexts[below(kTexts.size())]); break;
        case 6: { // a field of 4 or 8 bytes becomes a border case
            const std::uint64_t value = kNumbers[below(kNumbers.size())];
            const std::size_t size = below(2) ? 4 : 8;
            for (std::size_t i = 0; i < size && at + i < bytes.size(); ++i)
                bytes[at + i] = static_cast<char>(value >> (8 * i));
            break;
        }
        default: { // a digit run becomes another number
            const std::size_t digit = bytes.find_first_of("0123456789", at);
            if (digit < header)
                bytes.replace(digit, 1, std::to_string(kNumbers[below(kNumbers.size())]));
        }
        }
    }

    std::mt19937_64 m_random;
};

} // namespace

class HeaderMutations : public QObject {
    Q_OBJECT

private Q_SLOTS:
    void initTestCase()
    {
        QVERIFY(m_dir.isValid());
        m_folder = m_dir.path().toStdString();
    }

    void mutatedFiles_data()
    {
        QTest::addColumn<QString>("kind");
        for (const char* kind : {"safetensors", "gguf", "packed", "config", "index"})
            QTest::newRow(kind) << QString(kind);
    }
    void mutatedFiles()
    {
        QFETCH(QString, kind);
        const fs::path folder = m_folder / kind.toStdString();
        fs::create_directory(folder);
        fs::path mutated = folder / "model.safetensors";
        std::string seed = safetensorsSeed();
        if (kind == "gguf") {
            mutated = folder / "model.gguf";
            seed = ggufSeed();
        } else if (kind == "packed") {
            seed = packedSeed();
            writeFile(folder / "config.json", kConfig);
        } else if (kind == "config") {
            writeFile(mutated, packedSeed());
            mutated = folder / "config.json";
            seed = kConfig;
        } else if (kind == "index") {
            writeFile(folder / "one.safetensors", safetensorsSeed());
            mutated = folder / "model.safetensors.index.json";
            seed
                = R"({"metadata":{"total_size":34},"weight_map":{"a":"one.safetensors","b.weight":"one.safetensors","c":"one.safetensors"}})";
        }
        writeFile(mutated, seed);
        QS_VERIFY_OK(openCheckpoint(folder)); // the seed itself is right
        Mutator mutate(0x51 + static_cast<std::uint64_t>(kind.size()));
        int opened = 0;
        int refused = 0;
        for (int i = 0; i < kCases; ++i) {
            fs::remove(mutated); // a new file: overwriting makes some file systems flush each time
            writeFile(mutated, mutate(seed, seed.size()));
            const auto checkpoint = openCheckpoint(folder);
            if (!checkpoint) {
                ++refused;
                QVERIFY2(!checkpoint.error().message.empty() && !checkpoint.error().where.empty(), std::to_string(i).c_str());
                QVERIFY(checkpoint.error().code != Errc::Internal);
                continue;
            }
            ++opened;
            const std::uint64_t size = fs::file_size(mutated) + 4096;
            for (const TensorInfo& tensor : (*checkpoint)->tensors()) {
                QVERIFY(tensor.bytes <= size);
                if (tensor.rows() * std::max<Index>(1, tensor.cols()) > 1'000'000)
                    continue; // empty ones may be wide
                [[maybe_unused]] const auto matrix = (*checkpoint)->readMatrix(tensor);
                QVERIFY(matrix || matrix.error().code != Errc::Internal);
                QVERIFY((*checkpoint)->tensorDigest(tensor).has_value());
            }
        }
        qInfo("%s: %d opened, %d refused", qPrintable(kind), opened, refused);
        QVERIFY(refused > kCases / 4); // the mutations do reach the checks
        QVERIFY(opened > 0);
    }

private:
    QTemporaryDir m_dir;
    fs::path m_folder;
};

QTEST_GUILESS_MAIN(HeaderMutations)
#include "tst_header_mutations.moc"
