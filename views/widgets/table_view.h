// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "core/session/metric_table_model.h"

#include <QSortFilterProxyModel>
#include <QTableView>

namespace qs::views {

/// A calm table of a MetricTableModel: no grid, numbers right, sorting on request, height of its rows.
class TableView : public QTableView {
    Q_OBJECT
public:
    explicit TableView(session::MetricTableModel* model, bool sortable, QWidget* parent = nullptr);
    session::MetricTableModel* metrics() const { return m_model; }
    /// Limits the height to all rows, at most `maxRows`.
    void fitHeight(int maxRows);

Q_SIGNALS:
    void keyClicked(const QVariant& key);

private:
    session::MetricTableModel* m_model;
    QSortFilterProxyModel* m_proxy;
};

} // namespace qs::views
