// SPDX-License-Identifier: Apache-2.0
#include "core/session/job_queue.h"
#include "core/session/jobs_model.h"

#include <QAbstractItemModelTester>
#include <QCoreApplication>
#include <QSignalSpy>
#include <QTest>

#include <atomic>
#include <latch>
#include <semaphore>
#include <stdexcept>
#include <thread>

using namespace qs;
using namespace qs::session;

namespace {

JobQueue::Spec spec(const char* tag, Lane lane = Lane::Background)
{
    return {QString::fromLatin1(tag), QString::fromLatin1(tag), lane, true};
}

} // namespace

class TestJobQueue : public QObject {
    Q_OBJECT
private Q_SLOTS:
    void deliversOnTheOwnersThread()
    {
        std::atomic<std::thread::id> worker;
        std::thread::id owner;
        int value = 0;
        JobQueue queue;
        queue.submit<int>(
            spec("a"), this,
            [&](const JobContext&) -> Expected<int> {
                worker = std::this_thread::get_id();
                return 42;
            },
            [&](Expected<int> result) {
                owner = std::this_thread::get_id();
                value = result.value_or(-1);
            });
        QTRY_COMPARE(value, 42);
        QCOMPARE(owner, std::this_thread::get_id());
        QVERIFY(worker.load() != owner);
        QVERIFY(queue.idle());
    }

    void newestOfATagWins()
    {
        std::vector<int> delivered;
        std::latch started(1);
        std::atomic<bool> sawStop = false;
        JobQueue queue;
        queue.submit<int>(
            spec("same"), this,
            [&](const JobContext& job) -> Expected<int> {
                started.count_down();
                while (!job.stopRequested())
                    std::this_thread::yield();
                sawStop = true;
                return 1;
            },
            [&](Expected<int> result) { delivered.push_back(result.value_or(-1)); });
        started.wait();
        for (int i = 2; i <= 5; ++i) {
            queue.submit<int>(
                spec("same"), this, [i](const JobContext&) -> Expected<int> { return i; },
                [&](Expected<int> result) { delivered.push_back(result.value_or(-1)); });
        }
        QTRY_VERIFY(queue.idle());
        QVERIFY(sawStop);
        QCOMPARE(delivered, std::vector<int>{5});
    }

    void cancelledJobDeliversCancelled_data()
    {
        QTest::addColumn<bool>("running");
        QTest::newRow("while it runs") << true;
        QTest::newRow("while it waits") << false;
    }
    void cancelledJobDeliversCancelled()
    {
        QFETCH(bool, running);
        std::latch started(1);
        std::binary_semaphore release(0);
        std::optional<Errc> code;
        int units = 0;
        JobQueue queue;
        if (!running) { // something else holds the lane
            queue.submit<int>(spec("blocker"), this,
                [&](const JobContext&) -> Expected<int> {
                    started.count_down();
                    release.acquire();
                    return 0;
                },
                {});
        }
        queue.submit<int>(
            spec("work"), this,
            [&](const JobContext& job) -> Expected<int> {
                started.count_down();
                while (true) {
                    QS_CHECK(job.poll());
                    ++units;
                    if (units == 1)
                        release.release();
                }
            },
            [&](Expected<int> result) { code = result ? Errc::Internal : result.error().code; });
        started.wait();
        if (running)
            release.acquire();
        queue.cancel(QStringLiteral("work"));
        QTRY_VERIFY(code.has_value());
        QCOMPARE(*code, Errc::Cancelled);
        if (!running) {
            QCOMPARE(units, 0);
            release.release();
        }
        QTRY_VERIFY(queue.idle());
    }

    void exceptionBecomesInternal()
    {
        Error error;
        JobQueue queue;
        QSignalSpy finished(&queue, &JobQueue::finished);
        const JobId id = queue.submit<int>(
            spec("throws"), this, [](const JobContext&) -> Expected<int> { throw std::runtime_error("boom"); },
            [&](Expected<int> result) { error = result.error(); });
        QTRY_COMPARE(finished.size(), 1);
        QCOMPARE(error.code, Errc::Internal);
        QCOMPARE(error.message, std::string("boom"));
        QCOMPARE(queue.info(id)->state, JobState::Failed);
        QVERIFY(queue.info(id)->message.contains(QStringLiteral("boom")));
    }

    void deadReceiverIsNotCalled()
    {
        std::atomic<bool> called = false;
        std::latch started(1);
        std::binary_semaphore release(0);
        JobQueue queue;
        auto receiver = std::make_unique<QObject>();
        queue.submit<int>(
            spec("a"), receiver.get(),
            [&](const JobContext&) -> Expected<int> {
                started.count_down();
                release.acquire();
                return 1;
            },
            [&](Expected<int>) { called = true; });
        started.wait();
        receiver.reset();
        release.release();
        QTRY_VERIFY(queue.idle());
        QVERIFY(!called);
    }

    void progressIsThrottled()
    {
        constexpr int kReports = 200000;
        int changes = 0;
        JobQueue queue;
        connect(&queue, &JobQueue::changed, this, [&] { ++changes; });
        QElapsedTimer clock;
        clock.start();
        queue.submit<int>(spec("chatty"), this,
            [](const JobContext& job) -> Expected<int> {
                for (int i = 0; i < kReports; ++i)
                    job.progress(static_cast<double>(i) / kReports, "unit");
                return 0;
            },
            {});
        QTRY_VERIFY(queue.idle());
        const double seconds = static_cast<double>(clock.elapsed()) / 1000;
        // Start, end, and at most 20 reports a second.
        QVERIFY2(changes <= 3 + static_cast<int>(20 * seconds + 1), qPrintable(QString::number(changes)));
    }

    void lanesDoNotWaitForEachOther()
    {
        std::binary_semaphore release(0);
        bool quick = false;
        JobQueue queue;
        queue.submit<int>(spec("long"), this,
            [&](const JobContext&) -> Expected<int> {
                release.acquire();
                return 0;
            },
            {});
        queue.submit<int>(
            spec("short", Lane::Interactive), this, [](const JobContext&) -> Expected<int> { return 0; },
            [&](Expected<int>) { quick = true; });
        QTRY_VERIFY(quick);
        QVERIFY(queue.isRunning(QStringLiteral("long")));
        release.release();
        QTRY_VERIFY(queue.idle());
    }

    void destructionStopsAndJoins()
    {
        std::atomic<bool> stopped = false;
        std::latch started(1);
        {
            JobQueue queue;
            queue.submit<int>(spec("a"), this,
                [&](const JobContext& job) -> Expected<int> {
                    started.count_down();
                    while (!job.stopRequested())
                        std::this_thread::yield();
                    stopped = true;
                    return 0;
                },
                {});
            started.wait();
        }
        QVERIFY(stopped);
    }

    void remainingTime()
    {
        JobInfo info;
        info.state = JobState::Running;
        info.started = std::chrono::steady_clock::now() - std::chrono::seconds(10);
        info.fraction = 0.25; // 10 s for a quarter: 30 s to go
        QVERIFY(std::abs(info.etaSeconds() - 30) < 0.5);
        info.fraction = 0.001;
        QCOMPARE(info.etaSeconds(), -1.0);
    }

    void jobsModelFollows()
    {
        JobQueue queue;
        JobsModel model(&queue);
        QAbstractItemModelTester tester(&model);
        queue.submit<int>(spec("a"), this, [](const JobContext&) -> Expected<int> { return 0; }, {});
        queue.submit<int>(
            spec("b"), this, [](const JobContext&) -> Expected<int> { return fail(Errc::Io, "disk full", "out.h5"); }, {});
        JobQueue::Spec hidden = spec("c");
        hidden.listed = false;
        queue.submit<int>(hidden, this, [](const JobContext&) -> Expected<int> { return 0; }, {});
        QCOMPARE(model.rowCount(), 2);
        QTRY_COMPARE(model.index(0, JobsModel::State).data().toString(), QStringLiteral("failed"));
        QCOMPARE(model.index(0, 0).data(JobsModel::MessageRole).toString(), QStringLiteral("out.h5: disk full"));
        QTRY_COMPARE(model.index(1, JobsModel::State).data().toString(), QStringLiteral("done"));
        model.clearFinished();
        QCOMPARE(model.rowCount(), 0);
    }
};

QTEST_GUILESS_MAIN(TestJobQueue)
#include "tst_job_queue.moc"
