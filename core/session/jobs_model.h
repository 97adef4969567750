// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/session/job_queue.h"

#include <QAbstractTableModel>

namespace qs::session {

/// The listed jobs of a queue, newest first; finished ones stay until clearFinished().
class JobsModel : public QAbstractTableModel {
    Q_OBJECT
public:
    enum Column { Title, State, Progress, Remaining, ColumnCount };
    enum Role { IdRole = Qt::UserRole + 1, StateRole, FractionRole, EtaRole, TextRole, MessageRole };

    explicit JobsModel(JobQueue* queue, QObject* parent = nullptr);

    int rowCount(const QModelIndex& parent = {}) const override;
    int columnCount(const QModelIndex& parent = {}) const override;
    QVariant data(const QModelIndex& index, int role = Qt::DisplayRole) const override;
    QVariant headerData(int section, Qt::Orientation orientation, int role = Qt::DisplayRole) const override;

    void clearFinished();

private:
    void add(JobId id);
    void refresh(JobId id);

    JobQueue* m_queue;
    QList<JobInfo> m_rows;
};

/// "queued", "running", "done", "failed", "cancelled".
QString jobStateText(JobState state);
/// "41 s", "3 min 20 s"; empty for a negative time.
QString durationText(double seconds);

} // namespace qs::session
