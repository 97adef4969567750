// SPDX-License-Identifier: Apache-2.0
#include "core/io/checkpoint.h"
#include "tests/support/test_files.h"

#include <QTemporaryDir>
#include <QtTest>
#include <csignal>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace qs;
using namespace qs::io;
using namespace qs::test;
namespace fs = std::filesystem;

namespace {

TensorToWrite tensorOf(std::string name, DType dtype, Shape shape, std::string bytes)
{
    return {
        std::move(name), dtype, std::move(shape), [bytes](const auto& sink) { return sink(std::as_bytes(std::span(bytes))); }};
}

} // namespace

class SafetensorsWriterTest : public QObject {
    Q_OBJECT

private Q_SLOTS:
    void init()
    {
        m_dir = std::make_unique<QTemporaryDir>();
        m_folder = m_dir->path().toStdString();
        m_path = m_folder / "out.safetensors";
    }

    void roundTrip()
    {
        std::vector<TensorToWrite> tensors;
        tensors.push_back(tensorOf("z.half", DType::F16, {2}, std::string("\0\x3c\0\xc0", 4)));
        tensors.push_back(tensorOf("b \"quoted\"", DType::F32, {1, 1}, std::string("\0\0\x80\x3f", 4)));
        tensors.push_back(tensorOf("a", DType::F32, {}, std::string("\0\0\0\x40", 4)));
        tensors.push_back(tensorOf("long", DType::I64, {1}, std::string(8, '\1')));
        tensors.push_back(tensorOf("none", DType::U8, {0, 5}, ""));
        double last = -1;
        JobContext job;
        job.onProgress = [&](double fraction, std::string_view) { last = fraction; };
        QS_VERIFY_OK(writeSafetensors(m_path, std::move(tensors), job));
        QCOMPARE(last, 1.0);
        const std::string bytes = readFile(m_path);
        std::uint64_t header = 0;
        std::memcpy(&header, bytes.data(), 8);
        QCOMPARE((8 + header) % 8, std::uint64_t{0});
        const auto checkpoint = openCheckpoint(m_path);
        QS_VERIFY_OK(checkpoint);
        std::vector<std::string> names;
        for (const TensorInfo& tensor : (*checkpoint)->tensors())
            names.push_back(tensor.name);
        QVERIFY((names == std::vector<std::string>{"long", "a", "b \"quoted\"", "z.half", "none"})); // by size, then by name
        QCOMPARE(std::get<std::string>((*checkpoint)->metadata().at("format")), std::string("pt"));
        const auto half = (*checkpoint)->readMatrix(*(*checkpoint)->find("z.half"));
        QS_VERIFY_OK(half);
        QCOMPARE((*half)(0, 1), -2.0F);
        QCOMPARE(filesIn(m_folder), std::size_t{1});
    }

    void noTensors()
    {
        QS_VERIFY_OK(writeSafetensors(m_path, {}, {}));
        const auto checkpoint = openCheckpoint(m_path);
        QS_VERIFY_OK(checkpoint);
        QVERIFY((*checkpoint)->tensors().empty());
    }

    void refusals_data()
    {
        QTest::addColumn<QString>("name");
        QTest::addColumn<int>("dtype");
        QTest::addColumn<int>("extent");
        QTest::addColumn<QString>("reason");
        QTest::newRow("no name") << "" << int(DType::U8) << 1 << "not a name";
        QTest::newRow("metadata") << "__metadata__" << int(DType::U8) << 1 << "not a name";
        QTest::newRow("block type") << "a" << int(DType::Q4_0) << 32 << "no type Q4_0";
        QTest::newRow("packed") << "a" << int(DType::Packed) << 32 << "no type PACKED";
        QTest::newRow("half a byte") << "a" << int(DType::F4) << 1 << "whole number of bytes";
        QTest::newRow("negative") << "a" << int(DType::U8) << -1 << "whole number of bytes";
        QTest::newRow("twice") << "other" << int(DType::U8) << 1 << "twice";
    }
    void refusals()
    {
        QFETCH(QString, name);
        QFETCH(int, dtype);
        QFETCH(int, extent);
        QFETCH(QString, reason);
        std::vector<TensorToWrite> tensors;
        tensors.push_back(tensorOf("other", DType::U8, {1}, "x"));
        tensors.push_back(tensorOf(name.toStdString(), static_cast<DType>(dtype), {extent}, "x"));
        QS_VERIFY_ERROR(writeSafetensors(m_path, std::move(tensors), {}), Errc::InvalidArgument, reason.toStdString());
        QCOMPARE(filesIn(m_folder), std::size_t{0});
    }

    void invalidUtf8Name()
    {
        std::vector<TensorToWrite> tensors;
        tensors.push_back(tensorOf("\xff", DType::U8, {1}, "x"));
        QS_VERIFY_ERROR(writeSafetensors(m_path, std::move(tensors), {}), Errc::InvalidArgument, "not a name");
    }

    void wrongAmounts()
    {
        for (const char* bytes : {"xyz", "wxyz1"}) {
            std::vector<TensorToWrite> tensors;
            tensors.push_back(tensorOf("a", DType::U8, {4}, bytes));
            QS_VERIFY_ERROR(writeSafetensors(m_path, std::move(tensors), {}), Errc::Internal, "produced");
            QCOMPARE(filesIn(m_folder), std::size_t{0});
        }
    }

    void producerErrorLeavesTheOldFile()
    {
        writeFile(m_path, "old");
        std::vector<TensorToWrite> tensors;
        tensors.push_back({"a", DType::U8, {4}, [](const auto& sink) -> Expected<void> {
                               QS_CHECK(sink(std::as_bytes(std::span("xy", 2))));
                               return fail(Errc::NotFinite, "weight holds NaN");
                           }});
        QS_VERIFY_ERROR(writeSafetensors(m_path, std::move(tensors), {}), Errc::NotFinite, "NaN");
        QCOMPARE(readFile(m_path), std::string("old"));
        QCOMPARE(filesIn(m_folder), std::size_t{1});
    }

    void cancelledAfterOneUnit()
    {
        std::stop_source source;
        JobContext job;
        job.stop = source.get_token();
        int produced = 0;
        std::vector<TensorToWrite> tensors;
        for (const char* name : {"a", "b", "c"})
            tensors.push_back({name, DType::U8, {2}, [&](const auto& sink) -> Expected<void> {
                                   ++produced;
                                   QS_CHECK(sink(std::as_bytes(std::span("x", 1))));
                                   source.request_stop();
                                   return sink(std::as_bytes(std::span("y", 1)));
                               }});
        QS_VERIFY_ERROR(writeSafetensors(m_path, std::move(tensors), job), Errc::Cancelled, "cancelled");
        QCOMPARE(produced, 1);
        QCOMPARE(filesIn(m_folder), std::size_t{0});
    }

    void fullDisk() // a limit on the file's size stands for the full disk: write() fails in the middle in the same way
    {
        const pid_t child = ::fork();
        QVERIFY(child >= 0);
        if (child == 0) {
            ::signal(SIGXFSZ, SIG_IGN);
            const rlimit limit{10'000, 10'000};
            if (::setrlimit(RLIMIT_FSIZE, &limit) != 0)
                ::_exit(10);
            std::vector<TensorToWrite> tensors;
            tensors.push_back(tensorOf("a", DType::U8, {50'000}, std::string(50'000, 'x')));
            const auto done = writeSafetensors(m_path, std::move(tensors), {});
            ::_exit(done                                                                                                ? 11
                    : done.error().code == Errc::Io && done.error().line().find("out.safetensors") != std::string::npos ? 0
                                                                                                                        : 12);
        }
        int status = 0;
        QCOMPARE(::waitpid(child, &status, 0), child);
        QVERIFY(WIFEXITED(status));
        QCOMPARE(WEXITSTATUS(status), 0);
        QCOMPARE(filesIn(m_folder), std::size_t{0});
    }

    void missingFolder()
    {
        QS_VERIFY_ERROR(writeSafetensors(m_folder / "no" / "x.safetensors", {}, {}), Errc::Io, "cannot be created");
    }

private:
    std::unique_ptr<QTemporaryDir> m_dir;
    fs::path m_folder;
    fs::path m_path;
};

QTEST_GUILESS_MAIN(SafetensorsWriterTest)
#include "tst_safetensors_writer.moc"
