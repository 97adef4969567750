// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/error.h"
#include "core/exec/job_context.h"

#include <QHash>
#include <QObject>
#include <QPointer>
#include <QString>

#include <array>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

namespace qs::session {

using JobId = quint64;

/// Each lane has one worker, so that a preview or a view answers while a long job runs.
enum class Lane { Interactive, View, Background };
enum class JobState { Queued, Running, Done, Failed, Cancelled };

/// What is known of a job on the owner's thread.
struct JobInfo {
    JobId id = 0;
    QString tag; ///< At most one unfinished job per tag: a newer one replaces it.
    QString title; ///< For people: "GPTQ on 42 layers".
    Lane lane = Lane::Background;
    bool withdrawn = false; ///< Cancelled by tag: the program no longer needs it, so nobody has to be told.
    bool listed = true; ///< Shown in the job list (previews are not).
    JobState state = JobState::Queued;
    double fraction = 0; ///< 0..1.
    QString text; ///< Latest progress text.
    QString message; ///< Error line when failed.
    std::chrono::steady_clock::time_point started, ended;

    double elapsedSeconds() const;
    /// Remaining seconds by the share done so far; negative while there is nothing to extrapolate from.
    double etaSeconds() const;
};

/// Runs work on worker threads and delivers results on the owner's thread.
///
/// Newest wins: submitting a tag stops and forgets an unfinished job of the same tag; its result is never delivered. A job that
/// the user cancels delivers an error Cancelled. An exception in the work becomes an error Internal. Payloads cross under a
/// std::mutex; Qt carries only the wake-up. Progress reaches the owner at most 20 times a second.
///
/// Threads  all public members on the owner's thread. Members that workers touch must outlive the queue: declare them before
/// it.
class JobQueue : public QObject {
    Q_OBJECT
public:
    struct Spec {
        QString tag;
        QString title;
        Lane lane = Lane::Background;
        bool listed = true;
    };

    explicit JobQueue(QObject* parent = nullptr);
    ~JobQueue() override; ///< Stops everything, waits for the running units, delivers nothing more.

    /// `done` runs on the owner's thread unless `receiver` died or the job was replaced.
    template <class T>
    JobId submit(const Spec& spec, QObject* receiver, std::function<Expected<T>(const JobContext&)> work,
        std::function<void(Expected<T>)> done)
    {
        auto slot = std::make_shared<std::unique_ptr<Expected<T>>>();
        auto run = [slot, work = std::move(work)](const JobContext& job) -> std::optional<Error> {
            slot->reset(new Expected<T>(
                guarded<T>(work, job))); // constructed in place: GCC 12 warns falsely about a moved-from temporary
            if (**slot)
                return std::nullopt;
            return (*slot)->error();
        };
        auto finish = [slot, done = std::move(done), guard = QPointer<QObject>(receiver), hadReceiver = receiver != nullptr] {
            if (hadReceiver && !guard)
                return;
            if (!done)
                return;
            if (*slot)
                done(std::move(**slot));
            else // it never ran
                done(fail(Errc::Cancelled, "cancelled"));
        };
        return enqueue(spec, std::move(run), std::move(finish));
    }

    void cancel(const QString& tag); ///< The unfinished job of a tag, if any.
    void cancel(JobId id);
    void cancelAll();
    bool isRunning(const QString& tag) const { return m_byTag.contains(tag); }
    bool idle() const { return m_byTag.isEmpty(); } ///< Nothing queued or running.
    const JobInfo* info(JobId id) const;

Q_SIGNALS:
    void added(quint64 id);
    void changed(quint64 id); ///< State, progress or text.
    void finished(quint64 id); ///< Done, failed or cancelled; the result was delivered just before.
    void becameIdle();

protected:
    bool event(QEvent* event) override;

private:
    using Run = std::function<std::optional<Error>(const JobContext&)>;
    struct Task {
        JobId id = 0;
        Run run;
        std::stop_source stop;
    };
    struct Progress {
        JobId id = 0;
        double fraction = 0;
        std::string text;
        bool started = false;
    };
    struct Outcome {
        JobId id = 0;
        std::optional<Error> error;
    };
    struct Worker {
        std::condition_variable wake;
        std::deque<std::shared_ptr<Task>> tasks;
        std::thread thread;
    };
    struct Entry {
        JobInfo info;
        std::shared_ptr<Task> task;
        std::function<void()> finish;
        bool replaced = false;
    };

    template <class T>
    static Expected<T> guarded(const std::function<Expected<T>(const JobContext&)>& work, const JobContext& job)
    {
        try {
            if (job.stopRequested())
                return fail(Errc::Cancelled, "cancelled");
            return work(job);
        } catch (const std::bad_alloc&) {
            return fail(Errc::OutOfMemory, "not enough memory", {}, "close other models or choose fewer layers");
        } catch (const std::exception& exception) {
            return fail(Errc::Internal, exception.what());
        } catch (...) {
            return fail(Errc::Internal, "unknown exception");
        }
    }

    JobId enqueue(Spec spec, Run run, std::function<void()> finish);
    Worker& worker(Lane lane) { return m_workers[static_cast<std::size_t>(lane)]; }
    void stop(Entry& entry);
    void loop(Worker& lane);
    void post(); ///< Wakes the owner; called with m_mutex held.
    void drain();

    // Shared with the workers, guarded by m_mutex.
    std::mutex m_mutex;
    bool m_quit = false;
    bool m_posted = false;
    std::deque<Progress> m_progress;
    std::deque<Outcome> m_outcomes;
    std::array<Worker, 3> m_workers; ///< By Lane.

    // Owner's thread only.
    JobId m_nextId = 1;
    QHash<QString, JobId> m_byTag;
    std::map<JobId, Entry> m_entries;
    std::deque<JobInfo> m_recent; ///< The last finished jobs, for info().
};

} // namespace qs::session
