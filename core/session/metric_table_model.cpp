// SPDX-License-Identifier: Apache-2.0
#include "core/session/metric_table_model.h"

#include "core/session/format_number.h"

namespace qs::session {

QString csvField(const QString& text)
{
    if (!text.contains(u',') && !text.contains(u'"') && !text.contains(u'\n'))
        return text;
    QString quoted = text;
    quoted.replace(u'"', QStringLiteral("\"\""));
    return u'"' + quoted + u'"';
}

void MetricTableModel::set(
    std::vector<MetricColumn> columns, std::vector<std::vector<QVariant>> rows, std::vector<QVariant> keys)
{
    beginResetModel();
    m_columns = std::move(columns);
    m_rows = std::move(rows);
    for (auto& row : m_rows)
        row.resize(m_columns.size());
    m_keys = std::move(keys);
    m_keys.resize(m_rows.size());
    endResetModel();
}

int MetricTableModel::rowCount(const QModelIndex& parent) const
{
    return parent.isValid() ? 0 : static_cast<int>(m_rows.size());
}

int MetricTableModel::columnCount(const QModelIndex& parent) const
{
    return parent.isValid() ? 0 : static_cast<int>(m_columns.size());
}

QVariant MetricTableModel::data(const QModelIndex& index, int role) const
{
    if (!checkIndex(index, CheckIndexOption::IndexIsValid))
        return {};
    const QVariant& value = m_rows[static_cast<std::size_t>(index.row())][static_cast<std::size_t>(index.column())];
    const MetricColumn& column = m_columns[static_cast<std::size_t>(index.column())];
    switch (role) {
    case SortRole: return value;
    case KeyRole: return m_keys[static_cast<std::size_t>(index.row())];
    case Qt::TextAlignmentRole:
        return QVariant::fromValue(
            (column.kind == MetricColumn::Kind::Text ? Qt::AlignLeft : Qt::AlignRight) | Qt::AlignVCenter);
    case Qt::ToolTipRole:
        if (column.kind == MetricColumn::Kind::Text)
            return value.toString();
        return value.isValid() ? QVariant(QString::number(value.toDouble(), 'g', 9)) : QVariant();
    case Qt::DisplayRole: break;
    default: return {};
    }
    if (!value.isValid())
        return QStringLiteral("–");
    switch (column.kind) {
    case MetricColumn::Kind::Text: return value.toString();
    case MetricColumn::Kind::Number: return numberText(value.toDouble(), column.digits);
    case MetricColumn::Kind::Percent: return percentText(value.toDouble());
    case MetricColumn::Kind::Integer: return integerText(value.toLongLong());
    }
    return {};
}

QVariant MetricTableModel::headerData(int section, Qt::Orientation orientation, int role) const
{
    if (orientation != Qt::Horizontal || section < 0 || section >= columnCount())
        return {};
    const MetricColumn& column = m_columns[static_cast<std::size_t>(section)];
    switch (role) {
    case Qt::DisplayRole: return column.title;
    case Qt::ToolTipRole: return column.toolTip;
    case Qt::TextAlignmentRole:
        return QVariant::fromValue(
            (column.kind == MetricColumn::Kind::Text ? Qt::AlignLeft : Qt::AlignRight) | Qt::AlignVCenter);
    default: return {};
    }
}

QString MetricTableModel::toCsv() const
{
    QString csv;
    for (std::size_t c = 0; c < m_columns.size(); ++c)
        csv += (c ? QStringLiteral(",") : QString()) + csvField(m_columns[c].title);
    csv += u'\n';
    for (const auto& row : m_rows) {
        for (std::size_t c = 0; c < row.size(); ++c) {
            const bool text = m_columns[c].kind == MetricColumn::Kind::Text;
            const QString cell = !row[c].isValid() ? QString()
                : text                             ? row[c].toString()
                                                   : QString::number(row[c].toDouble(), 'g', 17);
            csv += (c ? QStringLiteral(",") : QString()) + csvField(cell);
        }
        csv += u'\n';
    }
    return csv;
}

} // namespace qs::session
