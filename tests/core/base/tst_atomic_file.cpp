// SPDX-License-Identifier: Apache-2.0
#include "core/base/atomic_file.h"
#include "tests/support/test_files.h"

#include <QTemporaryDir>
#include <QtTest>
#include <csignal>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace qs;
using namespace qs::test;
namespace fs = std::filesystem;

class AtomicFileTest : public QObject {
    Q_OBJECT

private Q_SLOTS:
    void init()
    {
        m_dir = std::make_unique<QTemporaryDir>();
        m_folder = m_dir->path().toStdString();
        m_path = m_folder / "target";
    }

    void appearsWhole()
    {
        writeFile(m_path, "old");
        {
            auto file = AtomicFile::create(m_path);
            QS_VERIFY_OK(file);
            QS_VERIFY_OK(file->write(std::string_view("new ")));
            QCOMPARE(readFile(m_path), std::string("old")); // until commit()
            QS_VERIFY_OK(file->write(std::string_view("text")));
            QS_VERIFY_OK(file->commit());
        }
        QCOMPARE(readFile(m_path), std::string("new text"));
        QCOMPARE(filesIn(m_folder), std::size_t{1});
    }

    void withoutCommitNothingIsLeft()
    {
        {
            auto file = AtomicFile::create(m_path);
            QS_VERIFY_OK(file);
            QS_VERIFY_OK(file->write(std::string_view("text")));
            AtomicFile moved(std::move(*file)); // the moved-from one must not remove what the other writes
            QS_VERIFY_OK(moved.write(std::string_view("more")));
        }
        QCOMPARE(filesIn(m_folder), std::size_t{0});
    }

    void twoWritersOfOneTarget()
    {
        auto first = AtomicFile::create(m_path);
        auto second = AtomicFile::create(m_path);
        QS_VERIFY_OK(first);
        QS_VERIFY_OK(second);
        QS_VERIFY_OK(first->write(std::string_view("1")));
        QS_VERIFY_OK(second->write(std::string_view("2")));
        QS_VERIFY_OK(second->commit());
        QS_VERIFY_OK(first->commit());
        QCOMPARE(readFile(m_path), std::string("1")); // the last one to commit
        QCOMPARE(filesIn(m_folder), std::size_t{1});
    }

    void missingFolder() { QS_VERIFY_ERROR(AtomicFile::create(m_folder / "no" / "x"), Errc::Io, "no/x"); }

    void targetIsAFolder()
    {
        fs::create_directory(m_path);
        auto file = AtomicFile::create(m_path);
        QS_VERIFY_OK(file);
        QS_VERIFY_ERROR(file->commit(), Errc::Io, "put in place");
        QCOMPARE(filesIn(m_folder), std::size_t{1});
    }

    void fullDisk() // a limit on the file's size: write() fails in the middle in the same way
    {
        const pid_t child = ::fork();
        QVERIFY(child >= 0);
        if (child == 0) {
            ::signal(SIGXFSZ, SIG_IGN);
            const rlimit limit{1000, 1000};
            if (::setrlimit(RLIMIT_FSIZE, &limit) != 0)
                ::_exit(10);
            const auto done = writeTextFile(m_path, std::string(5000, 'x'));
            ::_exit(done ? 11 : done.error().code == Errc::Io ? 0 : 12);
        }
        int status = 0;
        QCOMPARE(::waitpid(child, &status, 0), child);
        QVERIFY(WIFEXITED(status));
        QCOMPARE(WEXITSTATUS(status), 0);
        QCOMPARE(filesIn(m_folder), std::size_t{0});
    }

    void textFiles()
    {
        QS_VERIFY_OK(writeTextFile(m_path, "some\ntext"));
        QCOMPARE(*readTextFile(m_path), std::string("some\ntext"));
        QS_VERIFY_ERROR(readTextFile(m_path, 8), Errc::Format, "larger than the 8 bytes");
        QCOMPARE(readTextFile(m_path, 9)->size(), std::size_t{9});
        QS_VERIFY_ERROR(readTextFile(m_folder / "nothing"), Errc::NotFound, "nothing");
        QS_VERIFY_ERROR(readTextFile(m_folder), Errc::NotFound, "not a file");
    }

    void folderAppearsWhole()
    {
        {
            auto folder = AtomicFolder::create(m_path);
            QS_VERIFY_OK(folder);
            writeFile(folder->path() / "a", "1");
            fs::create_directory(folder->path() / "sub");
            writeFile(folder->path() / "sub" / "b", "2");
            QVERIFY(!fs::exists(m_path));
            QS_VERIFY_OK(folder->commit());
        }
        QCOMPARE(readFile(m_path / "sub" / "b"), std::string("2"));
        QCOMPARE(filesIn(m_folder), std::size_t{1});
    }

    void folderWithoutCommit()
    {
        {
            auto folder = AtomicFolder::create(m_path);
            QS_VERIFY_OK(folder);
            writeFile(folder->path() / "a", "1");
            const AtomicFolder moved(std::move(*folder));
            QVERIFY(fs::exists(moved.path() / "a"));
        }
        QCOMPARE(filesIn(m_folder), std::size_t{0});
    }

    void folderOverwritesNothing()
    {
        fs::create_directory(m_path);
        {
            auto onEmpty = AtomicFolder::create(m_path); // an empty folder may be filled
            QS_VERIFY_OK(onEmpty);
            writeFile(onEmpty->path() / "a", "1");
            QS_VERIFY_OK(onEmpty->commit());
        }
        QS_VERIFY_ERROR(AtomicFolder::create(m_path), Errc::InvalidArgument, "not an empty folder");
        writeFile(m_folder / "file", "x");
        QS_VERIFY_ERROR(AtomicFolder::create(m_folder / "file"), Errc::InvalidArgument, "not an empty folder");
        QCOMPARE(readFile(m_path / "a"), std::string("1"));
    }

private:
    std::unique_ptr<QTemporaryDir> m_dir;
    fs::path m_folder;
    fs::path m_path;
};

QTEST_GUILESS_MAIN(AtomicFileTest)
#include "tst_atomic_file.moc"
