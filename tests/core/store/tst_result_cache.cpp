// SPDX-License-Identifier: Apache-2.0
#include "core/store/result_cache.h"

#include <QTemporaryDir>
#include <QtTest>

#include <cstring>
#include <fmt/format.h>
#include <fstream>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

using namespace qs;
using namespace qs::store;
namespace fs = std::filesystem;

namespace {

std::string keyOf(int i)
{
    return fmt::format("{:032x}", static_cast<unsigned>(i) * 2654435761U);
}

CacheEntry entryOf(int i, std::size_t bytes = 1000)
{
    return {fmt::format("{{\"i\": {}}}", i), {{"a", std::vector<std::byte>(bytes, static_cast<std::byte>(i))}, {"empty", {}}}};
}

bool same(const CacheEntry& a, const CacheEntry& b)
{
    if (a.json != b.json || a.sections.size() != b.sections.size())
        return false;
    for (std::size_t i = 0; i < a.sections.size(); ++i)
        if (a.sections[i].name != b.sections[i].name || a.sections[i].bytes != b.sections[i].bytes)
            return false;
    return true;
}

std::vector<fs::path> filesOf(const fs::path& folder)
{
    std::vector<fs::path> files;
    for (const auto& entry : fs::recursive_directory_iterator(folder))
        if (entry.is_regular_file())
            files.push_back(entry.path());
    return files;
}

/// Makes a file look as if it was last used `seconds` ago.
void age(const fs::path& file, int seconds)
{
    fs::last_write_time(file, fs::file_time_type::clock::now() - std::chrono::seconds(seconds));
}

} // namespace

class TestResultCache : public QObject {
    Q_OBJECT
private Q_SLOTS:
    void init()
    {
        m_dir = std::make_unique<QTemporaryDir>();
        m_folder = fs::path(m_dir->path().toStdString()) / "cache";
    }

    void keepsEntries()
    {
        const auto cache = ResultCache::open(m_folder).value();
        QVERIFY(!cache->get(keyOf(1)));
        QVERIFY(cache->put(keyOf(1), entryOf(1)));
        QVERIFY(cache->put(keyOf(2), entryOf(2, 0)));
        const auto one = cache->get(keyOf(1));
        QVERIFY(one && same(*one, entryOf(1)));
        QVERIFY(one->find("empty") && one->find("empty")->empty() && !one->find("none"));
        const auto again = ResultCache::open(m_folder).value(); // another process, later
        QVERIFY(again->get(keyOf(2)) && same(*again->get(keyOf(2)), entryOf(2, 0)));
        QVERIFY(cache->put(keyOf(1), entryOf(7))); // the newer value wins
        QVERIFY(same(*cache->get(keyOf(1)), entryOf(7)));
        cache->drop(keyOf(1));
        QVERIFY(!cache->get(keyOf(1)));
        cache->clear();
        QVERIFY(!cache->get(keyOf(2)));
        QCOMPARE(cache->bytes(), std::uint64_t{0});
        QVERIFY(filesOf(m_folder).empty());
    }

    void leastRecentlyUsedGoesFirst()
    {
        const auto cache = ResultCache::open(m_folder, 10500).value(); // room for nine entries of about 1.1 kB
        for (int i = 0; i < 9; ++i) {
            QVERIFY(cache->put(keyOf(i), entryOf(i)));
            age(filesOfKey(keyOf(i)), 1000 - i);
        }
        QVERIFY(cache->get(keyOf(0))); // used just now: 1 and 2 are the oldest
        QVERIFY(cache->put(keyOf(9), entryOf(9)));
        QVERIFY(cache->get(keyOf(0)));
        QVERIFY(cache->get(keyOf(9)));
        QVERIFY(!cache->get(keyOf(1)));
        QVERIFY(cache->get(keyOf(8)));
        QVERIFY(cache->bytes() <= cache->maxBytes());
    }

    void staysWithinItsLimit()
    {
        const auto cache = ResultCache::open(m_folder, 20000).value();
        for (int i = 0; i < 100; ++i) {
            QVERIFY(cache->put(keyOf(i), entryOf(i, 500)));
            QVERIFY(cache->bytes() <= cache->maxBytes());
        }
        QVERIFY(cache->get(keyOf(99)));
        QVERIFY(cache->put(keyOf(1000), entryOf(1, 30000))); // larger than the whole cache: not kept, not an error
        QVERIFY(!cache->get(keyOf(1000)));
        QVERIFY(cache->get(keyOf(99)));
    }

    /// Any single damaged byte, any truncation, a foreign key: never trusted, removed.
    void damageIsNoticed()
    {
        const auto cache = ResultCache::open(m_folder).value();
        QVERIFY(cache->put(keyOf(1), entryOf(1, 64)));
        const fs::path file = filesOfKey(keyOf(1));
        std::ifstream in(file, std::ios::binary);
        const std::string good((std::istreambuf_iterator<char>(in)), {});
        in.close();
        const auto write = [&](const std::string& bytes) {
            fs::create_directories(file.parent_path());
            std::ofstream(file, std::ios::binary) << bytes;
        };
        for (std::size_t i = 0; i < good.size(); ++i) {
            std::string bad = good;
            bad[i] = static_cast<char>(bad[i] ^ 1);
            write(bad);
            QVERIFY(!cache->get(keyOf(1)));
            QVERIFY(!fs::exists(file));
        }
        for (std::size_t size = 0; size < good.size(); ++size) {
            write(good.substr(0, size));
            QVERIFY(!cache->get(keyOf(1)));
        }
        write(good + "x");
        QVERIFY(!cache->get(keyOf(1)));
        write(good);
        QVERIFY(cache->get(keyOf(1)));
        const fs::path other = m_folder / keyOf(2).substr(0, 2) / (keyOf(2) + ".qsr");
        fs::create_directories(other.parent_path());
        fs::copy_file(file, other);
        QVERIFY(!cache->get(keyOf(2))); // it says that it is key 1
        QVERIFY(!fs::exists(other));
    }

    void refusesKeysThatAreNotDigests()
    {
        const auto cache = ResultCache::open(m_folder).value();
        for (const char* key : {"", "short", "../../../etc/passwd", "ABCDEF0123456789", "0123456789abcdeg"}) {
            QVERIFY(!cache->put(key, entryOf(1)));
            QVERIFY(!cache->get(key));
        }
        QVERIFY(filesOf(m_folder).empty());
    }

    void cannotBeMade()
    {
        std::ofstream(m_folder) << "a file where the folder should be";
        const auto cache = ResultCache::open(m_folder / "below");
        QVERIFY(!cache);
        QVERIFY(cache.error().code == Errc::Io);
    }

    void leftoversOfACrashGo()
    {
        fs::create_directories(m_folder / "aa");
        const fs::path old = m_folder / "aa" / "aabbccddeeff0011.qsr.tmp-1-0";
        const fs::path fresh = m_folder / "aa" / "aabbccddeeff0022.qsr.tmp-2-0"; // perhaps being written by another process
        std::ofstream(old) << "x";
        std::ofstream(fresh) << "x";
        age(old, 2 * 24 * 3600);
        QVERIFY(ResultCache::open(m_folder));
        QVERIFY(!fs::exists(old));
        QVERIFY(fs::exists(fresh));
    }

    void defaultFolderFollowsTheEnvironment()
    {
        const QByteArray home = qgetenv("HOME");
        const QByteArray xdg = qgetenv("XDG_CACHE_HOME");
        qputenv("HOME", "/home/somebody");
        qunsetenv("XDG_CACHE_HOME");
        QCOMPARE(ResultCache::defaultFolder(), fs::path("/home/somebody/.cache/quantscope/results"));
        qputenv("XDG_CACHE_HOME", "relative");
        QCOMPARE(ResultCache::defaultFolder(), fs::path("/home/somebody/.cache/quantscope/results"));
        qputenv("XDG_CACHE_HOME", QByteArray::fromStdString(m_folder.string()));
        QCOMPARE(ResultCache::defaultFolder(), m_folder / "quantscope" / "results");
        qunsetenv("QS_NO_CACHE");
        QVERIFY(ResultCache::openDefault());
        qputenv("QS_NO_CACHE", "0");
        QVERIFY(ResultCache::openDefault());
        qputenv("QS_NO_CACHE", "1");
        QVERIFY(!ResultCache::openDefault());
        qunsetenv("QS_NO_CACHE");
        qunsetenv("XDG_CACHE_HOME");
        qunsetenv("HOME");
        QVERIFY(ResultCache::defaultFolder().empty());
        QVERIFY(!ResultCache::openDefault());
        qputenv("HOME", home);
        if (!xdg.isEmpty())
            qputenv("XDG_CACHE_HOME", xdg);
    }

    void threadsShareOne()
    {
        const auto cache = ResultCache::open(m_folder, 50000).value();
        std::atomic<int> wrong{0};
        {
            std::vector<std::jthread> threads;
            for (int t = 0; t < 4; ++t)
                threads.emplace_back([&, t] {
                    for (int i = 0; i < 100; ++i) {
                        const int which = (i * 7 + t) % 40;
                        if (const auto found = cache->get(keyOf(which)); found && !same(*found, entryOf(which)))
                            ++wrong;
                        if (!cache->put(keyOf(which), entryOf(which)))
                            ++wrong;
                    }
                });
        }
        QCOMPARE(wrong.load(), 0);
        QVERIFY(cache->bytes() <= cache->maxBytes());
    }

    void processesShareAFolder()
    {
        constexpr int kChildren = 3;
        for (int child = 0; child < kChildren; ++child) {
            const pid_t pid = ::fork();
            QVERIFY(pid >= 0);
            if (pid > 0)
                continue;
            int wrong = 0;
            if (const auto cache = ResultCache::open(m_folder, 30000)) {
                for (int i = 0; i < 60; ++i) {
                    const int which = (i * 5 + child) % 40;
                    if (const auto found = (*cache)->get(keyOf(which)); found && !same(*found, entryOf(which)))
                        wrong = 1;
                    if (!(*cache)->put(keyOf(which), entryOf(which)))
                        wrong = 1;
                }
            } else {
                wrong = 1;
            }
            ::_exit(wrong);
        }
        for (int child = 0; child < kChildren; ++child) {
            int status = 1;
            QVERIFY(::wait(&status) > 0);
            QVERIFY(WIFEXITED(status));
            QCOMPARE(WEXITSTATUS(status), 0);
        }
        const auto cache = ResultCache::open(m_folder, 30000).value();
        int found = 0;
        for (int i = 0; i < 40; ++i)
            if (const auto entry = cache->get(keyOf(i))) {
                ++found;
                QVERIFY(same(*entry, entryOf(i)));
            }
        QVERIFY(found > 5);
    }

private:
    fs::path filesOfKey(const std::string& key) const { return m_folder / key.substr(0, 2) / (key + ".qsr"); }

    std::unique_ptr<QTemporaryDir> m_dir;
    fs::path m_folder;
};

QTEST_GUILESS_MAIN(TestResultCache)
#include "tst_result_cache.moc"
