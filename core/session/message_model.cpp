// SPDX-License-Identifier: Apache-2.0
#include "core/session/message_model.h"

namespace qs::session {

namespace {
constexpr int kKept = 1000;
}

void MessageModel::add(Message::Severity severity, const QString& text)
{
    beginInsertRows({}, 0, 0);
    m_messages.prepend({severity, QDateTime::currentDateTime(), text});
    endInsertRows();
    if (m_messages.size() > kKept) {
        beginRemoveRows({}, kKept, kKept);
        m_messages.removeLast();
        endRemoveRows();
    }
    Q_EMIT added(Message(m_messages.first()));
}

void MessageModel::add(const Error& error)
{
    if (error.code == Errc::Cancelled)
        add(Message::Severity::Info, QStringLiteral("cancelled"));
    else
        add(Message::Severity::Error, QString::fromStdString(error.line()).simplified());
}

int MessageModel::rowCount(const QModelIndex& parent) const
{
    return parent.isValid() ? 0 : static_cast<int>(m_messages.size());
}

QVariant MessageModel::data(const QModelIndex& index, int role) const
{
    if (!checkIndex(index, CheckIndexOption::IndexIsValid))
        return {};
    const Message& message = m_messages[index.row()];
    switch (role) {
    case Qt::DisplayRole:
    case Qt::ToolTipRole: return message.text;
    case SeverityRole: return static_cast<int>(message.severity);
    case TimeRole: return message.time;
    default: return {};
    }
}

} // namespace qs::session
