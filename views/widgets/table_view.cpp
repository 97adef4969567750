// SPDX-License-Identifier: GPL-3.0-or-later
#include "views/widgets/table_view.h"

#include "views/theme/theme.h"

#include <QHeaderView>
#include <QResizeEvent>
#include <QScrollBar>
#include <QSignalBlocker>

#include <algorithm>
#include <vector>

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
    connect(model, &QAbstractItemModel::modelReset, this, &TableView::layoutColumns);
    auto report = [this](const QModelIndex& index) {
        const QVariant key = index.data(session::MetricTableModel::KeyRole);
        if (key.isValid())
            Q_EMIT keyClicked(key);
    };
    connect(this, &QTableView::clicked, this, report);
    connect(this, &QTableView::activated, this, report); // Enter
    setTabKeyNavigation(false); // Tab goes on to the next widget
}

// A last column of text takes what is left; without one the first column is as wide as its names.
void TableView::layoutColumns()
{
    const auto& columns = m_model->columns();
    const auto count = static_cast<int>(columns.size());
    if (m_narrowestFirst > 0) {
        layoutToContents();
        return;
    }
    const bool textLast = count > 1 && columns.back().kind == session::MetricColumn::Kind::Text
        && columns.front().kind != session::MetricColumn::Kind::Text;
    QHeaderView* header = horizontalHeader();
    for (int i = 0; i < count; ++i) {
        if (textLast && i + 1 < count) {
            header->setSectionResizeMode(i, QHeaderView::Interactive);
            header->resizeSection(i, kNumberWidth);
        } else {
            header->setSectionResizeMode(i, !textLast && i == 0 ? QHeaderView::ResizeToContents : QHeaderView::Stretch);
        }
    }
    if (textLast || m_minimumColumn == 0 || count < 2)
        return;
    const int rest = viewport()->width() - header->sectionSize(0);
    if (rest >= m_minimumColumn * (count - 1))
        return;
    for (int i = 1; i < count; ++i) {
        header->setSectionResizeMode(i, QHeaderView::Interactive);
        header->resizeSection(i, m_minimumColumn);
    }
}

void TableView::layoutToContents()
{
    QHeaderView* header = horizontalHeader();
    const auto& columns = m_model->columns();
    const auto count = static_cast<int>(columns.size());
    if (count == 0)
        return;
    std::vector<int> widths;
    int sum = 0;
    for (int i = 0; i < count; ++i) {
        const int title
            = QFontMetrics(Theme::instance().font(kSmallPx)).horizontalAdvance(columns[static_cast<std::size_t>(i)].title);
        widths.push_back(std::max(title + 4 * kGrid, sizeHintForColumn(i)));
        sum += widths.back();
    }
    int spare = viewport()->width() - sum;
    if (spare < 0)
        widths[0] = std::max(std::min(widths[0], m_narrowestFirst), widths[0] + spare);
    for (int i = 0; i < count; ++i) {
        const int share = spare > 0 ? spare / (count - i) : 0;
        spare -= share;
        header->setSectionResizeMode(i, QHeaderView::Interactive);
        header->resizeSection(i, widths[static_cast<std::size_t>(i)] + share);
    }
    layoutHeight();
}

void TableView::fitColumns(int narrowestFirst)
{
    m_narrowestFirst = narrowestFirst;
    layoutColumns();
}

void TableView::setMinimumColumnWidth(int pixels)
{
    m_minimumColumn = pixels;
    layoutColumns();
}

void TableView::resizeEvent(QResizeEvent* event)
{
    QTableView::resizeEvent(event);
    if ((m_minimumColumn > 0 || m_narrowestFirst > 0) && event->oldSize().width() != event->size().width())
        layoutColumns();
    layoutHeight();
}

void TableView::selectKey(const QVariant& key)
{
    const QSignalBlocker blocker(this);
    for (int row = 0; row < m_proxy->rowCount(); ++row) {
        if (key.isValid() && m_proxy->index(row, 0).data(session::MetricTableModel::KeyRole) == key) {
            selectRow(row);
            return;
        }
    }
    clearSelection();
}

void TableView::fitHeight(int maxRows)
{
    m_maxRows = maxRows;
    layoutHeight();
}

void TableView::layoutHeight()
{
    if (m_maxRows == 0)
        return;
    const int rows = std::clamp(m_proxy->rowCount(), 1, m_maxRows);
    // A bar for the columns must not hide a row.
    const bool bar = horizontalHeader()->length() > viewport()->width();
    const int height = horizontalHeader()->sizeHint().height() + rows * kRowHeight + 4
        + (bar ? horizontalScrollBar()->sizeHint().height() : 0);
    setMinimumHeight(height);
    setMaximumHeight(m_proxy->rowCount() <= m_maxRows ? height : QWIDGETSIZE_MAX);
}

} // namespace qs::views
