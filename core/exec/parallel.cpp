// SPDX-License-Identifier: Apache-2.0
#include "core/exec/parallel.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <sched.h>
#include <thread>
#include <utility>
#include <vector>

namespace qs {
namespace {

thread_local bool insideParallelFor = false;

int availableProcessors()
{
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        return std::max(1, CPU_COUNT(&set));
    return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

std::atomic<int>& configuredThreads()
{
    static std::atomic<int> count{availableProcessors()};
    return count;
}

/// One call of parallelFor: chunks are handed out by an atomic counter, the caller waits for the last one.
struct Batch {
    Index begin;
    Index end;
    Index grain;
    Index chunks;
    const std::function<void(Index, Index)>* body;
    std::atomic<Index> next{0};
    std::atomic<Index> done{0};
    std::mutex mutex;
    std::condition_variable finished;
    std::exception_ptr error; // guarded by mutex

    void work()
    {
        const bool outer = std::exchange(insideParallelFor, true);
        for (Index chunk = next.fetch_add(1); chunk < chunks; chunk = next.fetch_add(1)) {
            const Index b = begin + chunk * grain;
            try {
                (*body)(b, std::min(end, b + grain));
            } catch (...) {
                const std::lock_guard lock(mutex);
                if (!error)
                    error = std::current_exception();
            }
            if (done.fetch_add(1) + 1 == chunks) {
                const std::lock_guard lock(mutex);
                finished.notify_all();
            }
        }
        insideParallelFor = outer;
    }
};

class Pool {
public:
    static Pool& instance()
    {
        static Pool pool;
        return pool;
    }

    void run(const std::shared_ptr<Batch>& batch, int helpers)
    {
        {
            const std::lock_guard lock(m_mutex);
            while (static_cast<int>(m_threads.size()) < helpers)
                m_threads.emplace_back([this](const std::stop_token& stop) { loop(stop); });
            for (int i = 0; i < helpers; ++i)
                m_queue.push_back(batch);
        }
        m_wake.notify_all();
        batch->work();
        std::unique_lock lock(batch->mutex);
        batch->finished.wait(lock, [&] { return batch->done.load() == batch->chunks; });
    }

    Pool() = default;
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;
    ~Pool()
    {
        for (auto& thread : m_threads)
            thread.request_stop();
        m_wake.notify_all();
    }

private:
    void loop(const std::stop_token& stop)
    {
        while (true) {
            std::shared_ptr<Batch> batch;
            {
                std::unique_lock lock(m_mutex);
                m_wake.wait(lock, stop, [&] { return !m_queue.empty(); });
                if (m_queue.empty())
                    return; // stop was requested
                batch = std::move(m_queue.front());
                m_queue.pop_front();
            }
            batch->work();
        }
    }

    std::mutex m_mutex;
    std::condition_variable_any m_wake;
    std::deque<std::shared_ptr<Batch>> m_queue;
    std::vector<std::jthread> m_threads; // last: joins before what it uses goes
};

} // namespace

int threadCount()
{
    return configuredThreads().load();
}

void setThreadCount(int count)
{
    configuredThreads().store(std::max(1, count));
}

void parallelFor(Index begin, Index end, Index grain, const std::function<void(Index, Index)>& body)
{
    if (begin >= end)
        return;
    grain = std::max<Index>(1, grain);
    const Index chunks = (end - begin + grain - 1) / grain;
    const int helpers = static_cast<int>(std::min<Index>(threadCount(), chunks)) - 1;
    if (helpers <= 0 || insideParallelFor) {
        for (Index b = begin; b < end; b += grain)
            body(b, std::min(end, b + grain));
        return;
    }
    auto batch = std::make_shared<Batch>();
    batch->begin = begin;
    batch->end = end;
    batch->grain = grain;
    batch->chunks = chunks;
    batch->body = &body;
    Pool::instance().run(batch, helpers);
    if (batch->error)
        std::rethrow_exception(batch->error);
}

} // namespace qs
