// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/error.h"

#include <QAbstractListModel>
#include <QDateTime>

namespace qs::session {

struct Message {
    enum class Severity { Info, Warning, Error };
    Severity severity = Severity::Info;
    QDateTime time;
    QString text; ///< One line: what, where, what to do.
};

/// What happened, newest first.
class MessageModel : public QAbstractListModel {
    Q_OBJECT
public:
    enum Role { SeverityRole = Qt::UserRole + 1, TimeRole };
    explicit MessageModel(QObject* parent = nullptr)
        : QAbstractListModel(parent)
    {
    }
    void add(Message::Severity severity, const QString& text);
    void add(const Error& error); ///< Cancelled is information, everything else an error.
    const QList<Message>& messages() const { return m_messages; }

    int rowCount(const QModelIndex& parent = {}) const override;
    QVariant data(const QModelIndex& index, int role = Qt::DisplayRole) const override;

Q_SIGNALS:
    void added(const qs::session::Message& message);

private:
    QList<Message> m_messages;
};

} // namespace qs::session
