// SPDX-License-Identifier: Apache-2.0
#include "core/session/job_queue.h"

#include <QCoreApplication>
#include <QEvent>

#include <algorithm>

namespace qs::session {

namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kProgressInterval = std::chrono::milliseconds(50);
constexpr std::size_t kRecentJobs = 200;

QEvent::Type wakeUpType()
{
    static const int type = QEvent::registerEventType();
    return static_cast<QEvent::Type>(type);
}

} // namespace

double JobInfo::elapsedSeconds() const
{
    if (state == JobState::Queued)
        return 0;
    const auto end = state == JobState::Running ? Clock::now() : ended;
    return std::chrono::duration<double>(end - started).count();
}

double JobInfo::etaSeconds() const
{
    if (state != JobState::Running || fraction < 0.02)
        return -1;
    return elapsedSeconds() * (1.0 - fraction) / fraction;
}

JobQueue::JobQueue(QObject* parent)
    : QObject(parent)
{
    wakeUpType();
    for (Worker& lane : m_workers)
        lane.thread = std::thread([this, &lane] { loop(lane); });
}

JobQueue::~JobQueue()
{
    for (auto& [id, entry] : m_entries)
        entry.task->stop.request_stop();
    {
        const std::lock_guard lock(m_mutex);
        m_quit = true;
    }
    for (Worker& lane : m_workers) {
        lane.wake.notify_all();
        lane.thread.join();
    }
}

JobId JobQueue::enqueue(Spec spec, Run run, std::function<void()> finish)
{
    if (const auto it = m_byTag.constFind(spec.tag); it != m_byTag.cend()) {
        Entry& old = m_entries.at(*it);
        old.replaced = true;
        old.info.withdrawn = true;
        stop(old);
    }
    const JobId id = m_nextId++;
    auto task = std::make_shared<Task>();
    task->id = id;
    task->run = std::move(run);

    Entry entry;
    entry.info.id = id;
    entry.info.tag = spec.tag;
    entry.info.title = spec.title;
    entry.info.lane = spec.lane;
    entry.info.listed = spec.listed;
    entry.task = task;
    entry.finish = std::move(finish);
    m_entries.emplace(id, std::move(entry));
    m_byTag.insert(spec.tag, id);
    {
        const std::lock_guard lock(m_mutex);
        worker(spec.lane).tasks.push_back(std::move(task));
        worker(spec.lane).wake.notify_one();
    }
    Q_EMIT added(id);
    return id;
}

void JobQueue::cancel(const QString& tag)
{
    if (const auto it = m_byTag.constFind(tag); it != m_byTag.cend()) {
        m_entries.at(*it).info.withdrawn = true;
        stop(m_entries.at(*it));
    }
}

void JobQueue::cancel(JobId id)
{
    if (const auto it = m_entries.find(id); it != m_entries.end())
        stop(it->second);
}

void JobQueue::cancelAll()
{
    for (auto& [id, entry] : m_entries)
        stop(entry);
}

void JobQueue::stop(Entry& entry)
{
    entry.task->stop.request_stop();
    // A job that still waits ends at once instead of when its turn comes.
    const std::lock_guard lock(m_mutex);
    auto& tasks = worker(entry.info.lane).tasks;
    const auto it = std::find(tasks.begin(), tasks.end(), entry.task);
    if (it == tasks.end())
        return;
    tasks.erase(it);
    m_outcomes.push_back({entry.info.id, Error{Errc::Cancelled, "cancelled", {}, {}}});
    post();
}

const JobInfo* JobQueue::info(JobId id) const
{
    if (const auto it = m_entries.find(id); it != m_entries.end())
        return &it->second.info;
    const auto it = std::find_if(m_recent.begin(), m_recent.end(), [id](const JobInfo& info) { return info.id == id; });
    return it == m_recent.end() ? nullptr : &*it;
}

bool JobQueue::event(QEvent* event)
{
    if (event->type() == wakeUpType()) {
        drain();
        return true;
    }
    return QObject::event(event);
}

void JobQueue::post()
{
    if (m_posted || m_quit)
        return;
    m_posted = true;
    QCoreApplication::postEvent(this, new QEvent(wakeUpType()));
}

void JobQueue::loop(Worker& lane)
{
    std::unique_lock lock(m_mutex);
    while (true) {
        lane.wake.wait(lock, [&] { return m_quit || !lane.tasks.empty(); });
        if (m_quit)
            return;
        std::shared_ptr<Task> task = std::move(lane.tasks.front());
        lane.tasks.pop_front();
        m_progress.push_back({task->id, 0.0, {}, true});
        post();
        lock.unlock();

        JobContext context;
        context.stop = task->stop.get_token();
        // Throttled here, so that a chatty job costs neither locks nor events.
        auto last = std::make_shared<Clock::time_point>(Clock::now() - kProgressInterval);
        auto guard = std::make_shared<std::mutex>();
        context.onProgress = [this, id = task->id, last, guard](double fraction, std::string_view text) {
            {
                const std::lock_guard own(*guard);
                const auto now = Clock::now();
                if (now - *last < kProgressInterval && fraction < 1.0)
                    return;
                *last = now;
            }
            const std::lock_guard inner(m_mutex);
            m_progress.push_back({id, std::clamp(fraction, 0.0, 1.0), std::string(text), false});
            post();
        };
        std::optional<Error> error = task->run(context);
        task->run = nullptr;
        context = {};
        const JobId id = task->id;
        task.reset();

        lock.lock();
        m_outcomes.push_back({id, std::move(error)});
        post();
    }
}

void JobQueue::drain()
{
    std::deque<Progress> progress;
    std::deque<Outcome> outcomes;
    {
        const std::lock_guard lock(m_mutex);
        m_posted = false;
        progress.swap(m_progress);
        outcomes.swap(m_outcomes);
    }
    for (Progress& item : progress) {
        const auto it = m_entries.find(item.id);
        if (it == m_entries.end() || it->second.replaced)
            continue;
        JobInfo& info = it->second.info;
        if (item.started) {
            info.state = JobState::Running;
            info.started = Clock::now();
        } else {
            info.fraction = item.fraction;
            info.text = QString::fromStdString(item.text);
        }
        Q_EMIT changed(item.id);
    }
    const QPointer<JobQueue> self(this);
    for (Outcome& outcome : outcomes) {
        const auto it = m_entries.find(outcome.id);
        if (it == m_entries.end())
            continue;
        Entry entry = std::move(it->second);
        m_entries.erase(it);
        JobInfo& info = entry.info;
        info.ended = Clock::now();
        if (info.state == JobState::Queued)
            info.started = info.ended;
        if (!outcome.error) {
            info.state = JobState::Done;
            info.fraction = 1.0;
        } else if (outcome.error->code == Errc::Cancelled || entry.replaced) {
            info.state = JobState::Cancelled;
        } else {
            info.state = JobState::Failed;
            info.message = QString::fromStdString(outcome.error->line());
        }
        m_recent.push_back(info);
        if (m_recent.size() > kRecentJobs)
            m_recent.pop_front();
        if (m_byTag.value(info.tag) == outcome.id)
            m_byTag.remove(info.tag);
        if (!entry.replaced && entry.finish)
            entry.finish();
        if (!self)
            return; // the callback closed the window
        Q_EMIT changed(outcome.id);
        Q_EMIT finished(outcome.id);
    }
    if (!outcomes.empty() && m_byTag.isEmpty())
        Q_EMIT becameIdle();
}

} // namespace qs::session
