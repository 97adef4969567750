// SPDX-License-Identifier: Apache-2.0
#include "core/exec/parallel.h"
#include "core/io/checkpoint.h"
#include "core/io/mapped_file.h"
#include "tests/support/test_files.h"

#include <QTemporaryDir>
#include <QtTest>
#include <csignal>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace qs;
using namespace qs::io;
using namespace qs::test;
namespace fs = std::filesystem;

namespace {

constexpr int kForeignExit = 42;

} // namespace

class MappedFileTest : public QObject {
    Q_OBJECT

private Q_SLOTS:
    void initTestCase() // before the first file is mapped
    {
        ::signal(SIGBUS, [](int) { ::_exit(kForeignExit); });
    }
    void init()
    {
        m_dir = std::make_unique<QTemporaryDir>();
        m_path = fs::path(m_dir->path().toStdString()) / "data";
    }

    void readsWhatIsThere()
    {
        writeFile(m_path, "abcdef");
        const auto file = MappedFile::open(m_path);
        QS_VERIFY_OK(file);
        QCOMPARE((*file)->size(), std::uint64_t{6});
        std::string text(3, '\0');
        QS_VERIFY_OK((*file)->copy(2, std::as_writable_bytes(std::span(text))));
        QCOMPARE(text, std::string("cde"));
        QS_VERIFY_OK((*file)->copy(6, {}));
    }

    void refusesRangesOutside_data()
    {
        QTest::addColumn<quint64>("offset");
        QTest::addColumn<quint64>("size");
        QTest::newRow("behind") << quint64{7} << quint64{0};
        QTest::newRow("across") << quint64{4} << quint64{3};
        QTest::newRow("overflow") << ~quint64{0} << quint64{2};
        QTest::newRow("huge") << quint64{1} << ~quint64{0};
    }
    void refusesRangesOutside()
    {
        QFETCH(quint64, offset);
        QFETCH(quint64, size);
        writeFile(m_path, "abcdef");
        const auto file = MappedFile::open(m_path);
        QS_VERIFY_OK(file);
        bool called = false;
        QS_VERIFY_ERROR(
            (*file)->read(offset, size, [&](std::span<const std::byte>) { called = true; }), Errc::Io, "ends before");
        QVERIFY(!called);
    }

    void missingAndStrangeFiles()
    {
        QS_VERIFY_ERROR(MappedFile::open(m_path), Errc::NotFound, "data");
        QS_VERIFY_ERROR(MappedFile::open(m_path.parent_path()), Errc::Unsupported, "regular file");
        QCOMPARE(::mkfifo(m_path.c_str(), 0600), 0);
        QS_VERIFY_ERROR(MappedFile::open(m_path), Errc::Unsupported, "regular file"); // and does not wait for a writer
    }

    void emptyFile()
    {
        writeFile(m_path, "");
        const auto file = MappedFile::open(m_path);
        QS_VERIFY_OK(file);
        QCOMPARE((*file)->size(), std::uint64_t{0});
    }

    void vanishedPageIsAnError() // read() itself touches the mapping behind the new end: SIGBUS without the guard
    {
        writeFile(m_path, std::string(1 << 20, 'x'));
        const auto file = MappedFile::open(m_path);
        QS_VERIFY_OK(file);
        fs::resize_file(m_path, 5000);
        std::string text(1000, '\0');
        QS_VERIFY_OK((*file)->copy(0, std::as_writable_bytes(std::span(text))));
        QS_VERIFY_ERROR((*file)->copy(500'000, std::as_writable_bytes(std::span(text))), Errc::Io, "shrunk to 5000 bytes");
        QS_VERIFY_ERROR((*file)->copy(4500, std::as_writable_bytes(std::span(text))), Errc::Io,
            "shrunk"); // in the last page: zeros, no signal
        QS_VERIFY_OK((*file)->copy(4000, std::as_writable_bytes(std::span(text))));
    }

    void vanishedPageInManyThreads()
    {
        const std::string header = R"({"w":{"dtype":"F32","shape":[4096,256],"data_offsets":[0,4194304]}})";
        writeFile(m_path, safetensorsBytes(header, std::string(4 << 20, '\1')));
        const auto checkpoint = openCheckpoint(m_path);
        QS_VERIFY_OK(checkpoint);
        const TensorInfo* tensor = (*checkpoint)->find("w");
        QVERIFY(tensor);
        QS_VERIFY_OK((*checkpoint)->readMatrix(*tensor));
        fs::resize_file(m_path, 1 << 20);
        const int before = threadCount();
        setThreadCount(4);
        for (int i = 0; i < 20; ++i)
            QS_VERIFY_ERROR((*checkpoint)->readMatrix(*tensor), Errc::Io, "shrunk");
        setThreadCount(before);
        QS_VERIFY_ERROR((*checkpoint)->readRaw(*tensor), Errc::Io, "shrunk");
        QS_VERIFY_ERROR((*checkpoint)->tensorDigest(*tensor), Errc::Io, "shrunk");
        RowMatrix part(16, 256);
        QS_VERIFY_OK((*checkpoint)->readRows(*tensor, 0, part.mut())); // what is still there can be read
    }

    void foreignFaultsGoToTheHandlerBefore() // not every SIGBUS is ours to swallow
    {
        writeFile(m_path, std::string(1 << 16, 'x'));
        const auto file = MappedFile::open(m_path);
        QS_VERIFY_OK(file);
        const pid_t child = ::fork();
        QVERIFY(child >= 0);
        if (child == 0) {
            const int fd = ::open(m_path.c_str(), O_RDWR);
            const auto* data = static_cast<volatile char*>(::mmap(nullptr, 1 << 16, PROT_READ, MAP_SHARED, fd, 0));
            if (::ftruncate(fd, 0) == 0)
                ::_exit(data[0] == 'x' ? 3 : 4);
            ::_exit(5);
        }
        int status = 0;
        QCOMPARE(::waitpid(child, &status, 0), child);
        QVERIFY(WIFEXITED(status));
        QCOMPARE(WEXITSTATUS(status), kForeignExit);
    }

private:
    std::unique_ptr<QTemporaryDir> m_dir;
    fs::path m_path;
};

QTEST_GUILESS_MAIN(MappedFileTest)
#include "tst_mapped_file.moc"
