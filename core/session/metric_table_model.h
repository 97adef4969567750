// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <QAbstractTableModel>
#include <QStringList>
#include <QVariant>

#include <vector>

namespace qs::session {

/// A column of a MetricTableModel.
struct MetricColumn {
    enum class Kind { Text, Number, Percent, Integer };
    QString title; ///< With its unit: "error, %".
    QString toolTip; ///< The formula.
    Kind kind = Kind::Text;
    int digits = 3; ///< Significant ones of a Number.
};

/// Any table of results: typed columns, one QVariant per cell (invalid: not available, shown as a dash).
class MetricTableModel : public QAbstractTableModel {
    Q_OBJECT
public:
    enum Role { SortRole = Qt::UserRole + 1, KeyRole };

    explicit MetricTableModel(QObject* parent = nullptr)
        : QAbstractTableModel(parent)
    {
    }
    /// Replaces everything. `keys` (one per row, optional) is what KeyRole gives: a layer, a channel.
    void set(std::vector<MetricColumn> columns, std::vector<std::vector<QVariant>> rows, std::vector<QVariant> keys = {});
    const std::vector<MetricColumn>& columns() const { return m_columns; }

    int rowCount(const QModelIndex& parent = {}) const override;
    int columnCount(const QModelIndex& parent = {}) const override;
    QVariant data(const QModelIndex& index, int role = Qt::DisplayRole) const override;
    QVariant headerData(int section, Qt::Orientation orientation, int role = Qt::DisplayRole) const override;

    QString toCsv() const;

private:
    std::vector<MetricColumn> m_columns;
    std::vector<std::vector<QVariant>> m_rows;
    std::vector<QVariant> m_keys;
};

/// One CSV field, quoted where needed.
QString csvField(const QString& text);

} // namespace qs::session
