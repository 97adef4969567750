// SPDX-License-Identifier: GPL-3.0-or-later
#include "views/widgets/table_view.h"

#include "views/theme/tokens.h"

#include <QHeaderView>

#include <algorithm>

namespace qs::views {

namespace {
constexpr int kNumberWidth = 62; ///< Of a number column beside a text that takes the rest.
}

TableView::TableView(session::MetricTableModel* model, bool sortable, QWidget* parent)
    : QTableView(parent)
    , m_model(model)
    , m_proxy(new QSortFilterProxyModel(this))
{
    m_proxy->setSourceModel(model);
    m_proxy->setSortRole(session::MetricTableModel::SortRole);
    setModel(m_proxy);
    setShowGrid(false);
    setSelectionBehavior(QAbstractItemView::SelectRows);
    setSelectionMode(QAbstractItemView::SingleSelection);
    setEditTriggers(QAbstractItemView::NoEditTriggers);
    setVerticalScrollMode(QAbstractItemView::ScrollPerPixel);
    setSortingEnabled(sortable);
    if (sortable) {
        horizontalHeader()->setSortIndicator(-1, Qt::DescendingOrder);
    }
    setWordWrap(false);
    verticalHeader()->hide();
    verticalHeader()->setDefaultSectionSize(kRowHeight);
    verticalHeader()->setMinimumSectionSize(kRowHeight);
    horizontalHeader()->setHighlightSections(false);
    horizontalHeader()->setSectionResizeMode(QHeaderView::Stretch);
    // A last column of text takes what is left; without one the first column is as wide as its names.
    connect(model, &QAbstractItemModel::modelReset, this, [this] {
        const auto& columns = m_model->columns();
        const bool textLast = columns.size() > 1 && columns.back().kind == session::MetricColumn::Kind::Text
            && columns.front().kind != session::MetricColumn::Kind::Text;
        for (int i = 0; i < static_cast<int>(columns.size()); ++i) {
            const bool last = i + 1 == static_cast<int>(columns.size());
            if (textLast && !last) {
                horizontalHeader()->setSectionResizeMode(i, QHeaderView::Interactive);
                horizontalHeader()->resizeSection(i, kNumberWidth);
            } else {
                horizontalHeader()->setSectionResizeMode(
                    i, !textLast && i == 0 ? QHeaderView::ResizeToContents : QHeaderView::Stretch);
            }
        }
    });
    connect(this, &QTableView::clicked, this, [this](const QModelIndex& index) {
        const QVariant key = index.data(session::MetricTableModel::KeyRole);
        if (key.isValid())
            Q_EMIT keyClicked(key);
    });
}

void TableView::fitHeight(int maxRows)
{
    const int rows = std::clamp(m_proxy->rowCount(), 1, maxRows);
    const int height = horizontalHeader()->sizeHint().height() + rows * kRowHeight + 4;
    setMinimumHeight(height);
    setMaximumHeight(m_proxy->rowCount() <= maxRows ? height : QWIDGETSIZE_MAX);
}

} // namespace qs::views
