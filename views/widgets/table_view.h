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
    /// Columns after the first are never narrower: the table scrolls sideways instead. 0: they share what there is.
    void setMinimumColumnWidth(int pixels);
    /// Every column as wide as what it holds; the first gives way, down to `narrowestFirst`, before the table scrolls sideways.
    void fitColumns(int narrowestFirst);
    void selectKey(const QVariant& key); ///< Marks the row of a key without telling anybody; no row when it has none.

Q_SIGNALS:
    void keyClicked(const QVariant& key);

protected:
    void resizeEvent(QResizeEvent* event) override;

private:
    void layoutColumns();
    void layoutToContents();
    void layoutHeight();

    int m_minimumColumn = 0;
    int m_narrowestFirst = 0; ///< 0: columns do not follow what they hold.
    int m_maxRows = 0; ///< 0: the height is free.
    session::MetricTableModel* m_model;
    QSortFilterProxyModel* m_proxy;
};

} // namespace qs::views
