// SPDX-License-Identifier: Apache-2.0
#include "core/session/jobs_model.h"

#include <algorithm>
#include <cmath>

namespace qs::session {

QString jobStateText(JobState state)
{
    switch (state) {
    case JobState::Queued: return QStringLiteral("queued");
    case JobState::Running: return QStringLiteral("running");
    case JobState::Done: return QStringLiteral("done");
    case JobState::Failed: return QStringLiteral("failed");
    case JobState::Cancelled: return QStringLiteral("cancelled");
    }
    return {};
}

QString durationText(double seconds)
{
    if (!(seconds >= 0))
        return {};
    if (seconds < 10)
        return QStringLiteral("%1 s").arg(seconds, 0, 'f', 1);
    if (seconds < 120)
        return QStringLiteral("%1 s").arg(std::lround(seconds));
    const long whole = std::lround(seconds);
    if (whole < 7200)
        return QStringLiteral("%1 min %2 s").arg(whole / 60).arg(whole % 60);
    return QStringLiteral("%1 h %2 min").arg(whole / 3600).arg(whole % 3600 / 60);
}

JobsModel::JobsModel(JobQueue* queue, QObject* parent)
    : QAbstractTableModel(parent)
    , m_queue(queue)
{
    connect(queue, &JobQueue::added, this, &JobsModel::add);
    connect(queue, &JobQueue::changed, this, &JobsModel::refresh);
}

int JobsModel::rowCount(const QModelIndex& parent) const
{
    return parent.isValid() ? 0 : static_cast<int>(m_rows.size());
}

int JobsModel::columnCount(const QModelIndex& parent) const
{
    return parent.isValid() ? 0 : static_cast<int>(ColumnCount);
}

QVariant JobsModel::data(const QModelIndex& index, int role) const
{
    if (!checkIndex(index, CheckIndexOption::IndexIsValid))
        return {};
    const JobInfo& job = m_rows[index.row()];
    switch (role) {
    case IdRole: return QVariant::fromValue(job.id);
    case StateRole: return static_cast<int>(job.state);
    case FractionRole: return job.fraction;
    case EtaRole: return job.etaSeconds();
    case TextRole: return job.text;
    case MessageRole: return job.message;
    case Qt::ToolTipRole: return job.message.isEmpty() ? job.text : job.message;
    case Qt::DisplayRole: break;
    default: return {};
    }
    switch (index.column()) {
    case Title: return job.title;
    case State: return jobStateText(job.state);
    case Progress: return QStringLiteral("%1 %").arg(std::lround(job.fraction * 100));
    case Remaining: return durationText(job.etaSeconds());
    default: return {};
    }
}

QVariant JobsModel::headerData(int section, Qt::Orientation orientation, int role) const
{
    if (orientation != Qt::Horizontal || role != Qt::DisplayRole)
        return {};
    switch (section) {
    case Title: return QStringLiteral("job");
    case State: return QStringLiteral("state");
    case Progress: return QStringLiteral("progress");
    case Remaining: return QStringLiteral("left");
    default: return {};
    }
}

void JobsModel::add(JobId id)
{
    const JobInfo* info = m_queue->info(id);
    if (!info || !info->listed)
        return;
    beginInsertRows({}, 0, 0);
    m_rows.prepend(*info);
    endInsertRows();
}

void JobsModel::refresh(JobId id)
{
    const JobInfo* info = m_queue->info(id);
    const auto it = std::find_if(m_rows.begin(), m_rows.end(), [id](const JobInfo& row) { return row.id == id; });
    if (!info || it == m_rows.end())
        return;
    *it = *info;
    const int row = static_cast<int>(it - m_rows.begin());
    Q_EMIT dataChanged(index(row, 0), index(row, ColumnCount - 1));
}

void JobsModel::clearFinished()
{
    for (int row = static_cast<int>(m_rows.size()) - 1; row >= 0; --row) {
        const JobState state = m_rows[row].state;
        if (state == JobState::Queued || state == JobState::Running)
            continue;
        beginRemoveRows({}, row, row);
        m_rows.removeAt(row);
        endRemoveRows();
    }
}

} // namespace qs::session
