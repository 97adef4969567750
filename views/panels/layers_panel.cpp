// SPDX-License-Identifier: GPL-3.0-or-later
#include "views/panels/layers_panel.h"

#include "views/theme/theme.h"

#include <QHBoxLayout>
#include <QHeaderView>
#include <QLineEdit>
#include <QMenu>
#include <QStyledItemDelegate>
#include <QToolButton>
#include <QTreeView>
#include <QVBoxLayout>

#include <algorithm>

namespace qs::views {

using session::LayerTreeModel;

namespace {

/// Draws errors far above the median in the colour for trouble.
class LayerDelegate : public QStyledItemDelegate {
public:
    using QStyledItemDelegate::QStyledItemDelegate;

protected:
    void initStyleOption(QStyleOptionViewItem* option, const QModelIndex& index) const override
    {
        QStyledItemDelegate::initStyleOption(option, index);
        if (index.data(LayerTreeModel::WorstRole).toBool())
            option->palette.setColor(QPalette::Text, tokens().bad);
        else if (index.column() != LayerTreeModel::Layer && index.column() != LayerTreeModel::Error
            && index.data(LayerTreeModel::LayerRole).toInt() < 0)
            option->palette.setColor(QPalette::Text, tokens().dim);
    }
};

} // namespace

LayersPanel::LayersPanel(PanelContext context, QWidget* parent)
    : QWidget(parent)
    , m_context(context)
    , m_proxy(new session::LayerFilterModel(this))
    , m_filter(new QLineEdit)
    , m_blocks(new QToolButton)
    , m_problem(makeLabel({}, "bad"))
    , m_tree(new QTreeView)
{
    setObjectName(QStringLiteral("sidebar"));
    setAttribute(Qt::WA_StyledBackground);
    m_filter->setPlaceholderText(tr("Filter layers (regex, block range, type)"));
    m_filter->setClearButtonEnabled(true);
    m_filter->setAccessibleName(tr("Filter layers"));
    m_blocks->setText(tr("Blocks"));
    m_blocks->setCheckable(true);
    m_blocks->setToolTip(tr("Group by block instead of one ranked list"));
    m_problem->hide();
    m_problem->setWordWrap(true);

    m_proxy->setSourceModel(&m_context.bench.layers());
    m_tree->setModel(m_proxy);
    m_tree->setItemDelegate(new LayerDelegate(m_tree));
    m_tree->setSelectionMode(QAbstractItemView::ExtendedSelection);
    m_tree->setUniformRowHeights(true);
    m_tree->setRootIsDecorated(false);
    m_tree->setSortingEnabled(true);
    m_tree->setAllColumnsShowFocus(true);
    m_tree->setIndentation(12);
    m_tree->setAccessibleName(tr("Layers"));
    m_tree->setFrameShape(QFrame::NoFrame);
    QHeaderView* header = m_tree->header();
    header->setStretchLastSection(false);
    for (const int hidden : {LayerTreeModel::Sensitivity, LayerTreeModel::Outliers, LayerTreeModel::Shape, LayerTreeModel::Type,
             LayerTreeModel::Size})
        header->setSectionHidden(hidden, true);
    header->setSectionResizeMode(QHeaderView::Interactive);
    header->setSectionResizeMode(LayerTreeModel::Layer, QHeaderView::Stretch);
    header->resizeSection(LayerTreeModel::Pipeline, 84);
    header->resizeSection(LayerTreeModel::Bits, 58);
    header->resizeSection(LayerTreeModel::Error, 128);
    header->setMinimumSectionSize(44);
    header->setContextMenuPolicy(Qt::CustomContextMenu);
    m_tree->sortByColumn(LayerTreeModel::Error, Qt::DescendingOrder);

    m_state = new StateView(m_tree);
    auto* top = new QHBoxLayout;
    top->setContentsMargins(8, 8, 8, 4);
    top->addWidget(m_filter, 1);
    top->addWidget(m_blocks);
    auto* layout = new QVBoxLayout(this);
    layout->setContentsMargins(0, 0, 0, 0);
    layout->setSpacing(0);
    layout->addLayout(top);
    layout->addWidget(m_problem);
    layout->addWidget(m_state, 1);

    connect(m_filter, &QLineEdit::textChanged, this, [this](const QString& text) {
        const QString problem = m_proxy->setFilterText(text);
        m_problem->setText(problem);
        m_problem->setVisible(!problem.isEmpty());
        if (m_context.bench.layers().mode() == LayerTreeModel::Mode::Blocks)
            m_tree->expandAll();
    });
    connect(m_blocks, &QToolButton::toggled, this, [this](bool blocks) {
        m_pulling = true;
        m_context.bench.layers().setMode(blocks ? LayerTreeModel::Mode::Blocks : LayerTreeModel::Mode::Flat);
        m_tree->setRootIsDecorated(blocks);
        m_tree->sortByColumn(
            blocks ? LayerTreeModel::Layer : LayerTreeModel::Error, blocks ? Qt::AscendingOrder : Qt::DescendingOrder);
        m_pulling = false;
        pullSelection();
    });
    connect(header, &QHeaderView::customContextMenuRequested, this, &LayersPanel::chooseColumns);
    connect(m_tree->selectionModel(), &QItemSelectionModel::selectionChanged, this, &LayersPanel::pushSelection);
    connect(m_tree->selectionModel(), &QItemSelectionModel::currentChanged, this, &LayersPanel::pushSelection);
    connect(&m_context.bench.selection(), &session::SelectionModel::changed, this,
        [this](const session::SelectionState&, QObject* origin) {
            if (origin != this)
                pullSelection();
        });
    connect(&m_context.bench, &session::Workbench::modelChanged, this, &LayersPanel::updateState);
    connect(&m_context.bench, &session::Workbench::rankingChanged, this, [this] {
        // The first ranking puts the worst layer on top; select it when nothing was chosen yet.
        if (!m_context.bench.ranking().ready())
            return;
        m_proxy->invalidate();
        if (m_context.bench.selection().state().current < 0 && m_proxy->rowCount() > 0
            && m_context.bench.layers().mode() == LayerTreeModel::Mode::Flat)
            m_tree->setCurrentIndex(m_proxy->index(0, 0));
        else
            pullSelection();
    });
    updateState();
}

void LayersPanel::updateState()
{
    m_state->follow(m_context.bench.opened(), tr("Opening"), tr("No model"), tr("Open a model, or drop one on the window."));
}

void LayersPanel::pushSelection()
{
    if (m_pulling)
        return;
    session::SelectionState state = m_context.bench.selection().state();
    const model::LayerIndex before = state.current;
    state.layers.clear();
    const QModelIndexList rows = m_tree->selectionModel()->selectedRows();
    for (const QModelIndex& index : rows) {
        const int layer = index.data(LayerTreeModel::LayerRole).toInt();
        if (layer >= 0) {
            state.layers.push_back(layer);
        } else { // a block stands for its layers
            for (int row = 0; row < m_proxy->rowCount(index); ++row)
                state.layers.push_back(m_proxy->index(row, 0, index).data(LayerTreeModel::LayerRole).toInt());
        }
    }
    std::sort(state.layers.begin(), state.layers.end());
    state.layers.erase(std::unique(state.layers.begin(), state.layers.end()), state.layers.end());
    if (state.layers.empty())
        return;
    const QModelIndex current = m_tree->currentIndex();
    const int layer = current.isValid() ? current.data(LayerTreeModel::LayerRole).toInt() : -1;
    const bool inside = std::binary_search(state.layers.begin(), state.layers.end(), layer);
    const bool keep = std::binary_search(state.layers.begin(), state.layers.end(), before);
    state.current = inside ? layer : keep ? before : state.layers.front();
    if (state.current != before) {
        state.channel = -1;
        state.row = -1;
    }
    m_context.bench.selection().set(std::move(state), this);
}

void LayersPanel::pullSelection()
{
    m_pulling = true;
    const session::SelectionState& state = m_context.bench.selection().state();
    QItemSelection selection;
    for (const model::LayerIndex layer : state.layers) {
        const QModelIndex index = m_proxy->mapFromSource(m_context.bench.layers().indexOf(layer));
        if (index.isValid())
            selection.select(index, index);
    }
    m_tree->selectionModel()->select(selection, QItemSelectionModel::ClearAndSelect | QItemSelectionModel::Rows);
    const QModelIndex current = m_proxy->mapFromSource(m_context.bench.layers().indexOf(state.current));
    if (current.isValid()) {
        m_tree->selectionModel()->setCurrentIndex(current, QItemSelectionModel::NoUpdate);
        m_tree->scrollTo(current);
    }
    m_pulling = false;
}

void LayersPanel::chooseColumns(const QPoint& position)
{
    QMenu menu(this);
    for (int column = LayerTreeModel::Pipeline; column < LayerTreeModel::ColumnCount; ++column) {
        QAction* action = menu.addAction(m_proxy->headerData(column, Qt::Horizontal).toString());
        action->setCheckable(true);
        action->setChecked(!m_tree->isColumnHidden(column));
        connect(action, &QAction::toggled, this, [this, column](bool on) { m_tree->setColumnHidden(column, !on); });
    }
    menu.exec(m_tree->header()->mapToGlobal(position));
}

} // namespace qs::views
