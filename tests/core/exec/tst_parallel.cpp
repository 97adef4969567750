// SPDX-License-Identifier: Apache-2.0
#include "core/exec/job_context.h"
#include "core/exec/parallel.h"

#include <QtTest>
#include <algorithm>
#include <atomic>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

using namespace qs;

namespace {

struct Threads {
    explicit Threads(int count)
        : m_before(threadCount())
    {
        setThreadCount(count);
    }
    ~Threads() { setThreadCount(m_before); }
    Threads(const Threads&) = delete;
    Threads& operator=(const Threads&) = delete;

private:
    int m_before;
};

/// A sum whose value depends on the order of the additions: one partial sum per chunk, then the chunks in order.
double orderedSum(Index count, Index grain)
{
    std::vector<double> partial(static_cast<std::size_t>((count + grain - 1) / grain));
    parallelFor(0, count, grain, [&](Index begin, Index end) {
        double sum = 0;
        for (Index i = begin; i < end; ++i)
            sum += 1.0 / static_cast<double>(i * i + 1) - 1.0 / static_cast<double>(3 * i + 2);
        partial[static_cast<std::size_t>(begin / grain)] = sum;
    });
    double total = 0;
    for (const double sum : partial)
        total += sum;
    return total;
}

} // namespace

class ParallelTest : public QObject {
    Q_OBJECT

private Q_SLOTS:
    void coversOnceWithTheSameChunks_data()
    {
        QTest::addColumn<int>("begin");
        QTest::addColumn<int>("end");
        QTest::addColumn<int>("grain");
        QTest::newRow("even") << 0 << 100 << 10;
        QTest::newRow("short last") << 0 << 101 << 10;
        QTest::newRow("one chunk") << 5 << 9 << 100;
        QTest::newRow("offset") << -7 << 50 << 3;
        QTest::newRow("grain 0 is 1") << 0 << 20 << 0;
        QTest::newRow("empty") << 4 << 4 << 1;
        QTest::newRow("reversed") << 4 << 2 << 1;
        QTest::newRow("many") << 0 << 5000 << 1;
    }
    void coversOnceWithTheSameChunks()
    {
        QFETCH(int, begin);
        QFETCH(int, end);
        QFETCH(int, grain);
        std::set<std::pair<Index, Index>> expected;
        for (Index b = begin; b < end; b += std::max(1, grain))
            expected.emplace(b, std::min<Index>(end, b + std::max(1, grain)));
        for (const int threads : {1, 2, 7}) {
            const Threads scope(threads);
            std::mutex mutex;
            std::set<std::pair<Index, Index>> seen;
            Index calls = 0;
            parallelFor(begin, end, grain, [&](Index b, Index e) {
                const std::lock_guard lock(mutex);
                seen.emplace(b, e);
                ++calls;
            });
            QVERIFY(seen == expected);
            QCOMPARE(calls, static_cast<Index>(expected.size()));
        }
    }

    void sameBitsForAnyThreads()
    {
        double first = 0;
        for (const int threads : {1, 2, 3, 8}) {
            const Threads scope(threads);
            for (int repeat = 0; repeat < 5; ++repeat) {
                const double sum = orderedSum(123'457, 1000);
                if (first == 0)
                    first = sum;
                QVERIFY(sum == first);
            }
        }
        const Threads scope(1);
        QVERIFY(orderedSum(123'457, 999) != first); // the value does depend on the order
    }

    void usesSeveralThreads()
    {
        const Threads scope(3);
        std::mutex mutex;
        std::set<std::thread::id> ids;
        std::atomic<int> arrived{0};
        parallelFor(0, 3, 1, [&](Index, Index) {
            {
                const std::lock_guard lock(mutex);
                ids.insert(std::this_thread::get_id());
            }
            // Nobody leaves before all have come, so one thread cannot take two chunks.
            for (++arrived; arrived.load() < 3;)
                std::this_thread::yield();
        });
        QCOMPARE(ids.size(), std::size_t{3});
    }

    void nestedCallsRunOnTheSameThread()
    {
        const Threads scope(4);
        std::atomic<int> wrong{0};
        std::atomic<Index> total{0};
        parallelFor(0, 16, 1, [&](Index, Index) {
            const auto outer = std::this_thread::get_id();
            Index next = 0;
            parallelFor(0, 100, 7, [&](Index b, Index e) {
                if (std::this_thread::get_id() != outer || b != next)
                    ++wrong;
                next = e;
                total += e - b;
            });
        });
        QCOMPARE(wrong.load(), 0);
        QCOMPARE(total.load(), Index{1600});
    }

    void exceptionReachesTheCaller()
    {
        for (const int threads : {1, 4}) {
            const Threads scope(threads);
            std::atomic<int> ran{0};
            const auto run = [&] {
                parallelFor(0, 50, 1, [&](Index b, Index) {
                    ++ran;
                    if (b == 10)
                        throw std::runtime_error("chunk 10");
                });
            };
            QVERIFY_THROWS_EXCEPTION(std::runtime_error, run());
            QVERIFY(ran.load() >= 11 || threads > 1);
            QCOMPARE(orderedSum(1000, 10), orderedSum(1000, 10)); // the pool still works
        }
        const Threads scope(4);
        std::atomic<Index> total{0};
        try {
            parallelFor(0, 4, 1, [&](Index, Index) {
                try {
                    parallelFor(0, 3, 1, [](Index b, Index) {
                        if (b == 1)
                            throw std::logic_error("inner");
                    });
                } catch (const std::logic_error&) {
                    ++total;
                }
            });
        } catch (...) {
            QFAIL("an inner exception was caught where it belongs");
        }
        QCOMPARE(total.load(), Index{4});
    }

    void callersDoNotDisturbEachOther()
    {
        const Threads scope(3);
        const double expected = orderedSum(20'000, 100);
        std::atomic<int> wrong{0};
        std::vector<std::jthread> callers;
        for (int i = 0; i < 4; ++i)
            callers.emplace_back([&] {
                for (int repeat = 0; repeat < 50; ++repeat)
                    if (orderedSum(20'000, 100) != expected)
                        ++wrong;
            });
        callers.clear();
        QCOMPARE(wrong.load(), 0);
    }

    void threadCountIsAtLeastOne()
    {
        const Threads scope(-3);
        QCOMPARE(threadCount(), 1);
        QCOMPARE(orderedSum(100, 10), orderedSum(100, 10));
    }

    void jobContext()
    {
        std::stop_source source;
        JobContext job;
        job.stop = source.get_token();
        std::vector<double> seen;
        job.onProgress = [&](double fraction, std::string_view) { seen.push_back(fraction); };
        const JobContext part = job.part(0.5, 1.0).part(0.0, 0.5);
        part.progress(0.0);
        part.progress(1.0);
        QVERIFY((seen == std::vector<double>{0.5, 0.75}));
        QVERIFY(part.poll().has_value());
        source.request_stop();
        QVERIFY(part.stopRequested());
        QVERIFY(part.poll().error().code == Errc::Cancelled);
        JobContext().progress(0.5); // no sink: nothing happens
    }
};

QTEST_GUILESS_MAIN(ParallelTest)
#include "tst_parallel.moc"
