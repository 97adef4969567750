// SPDX-License-Identifier: GPL-3.0-or-later
#include "views/panels/layers_panel.h"

#include "views/theme/theme.h"
#include "views/undo/edit_command.h"

#include <QAction>
#include <QApplication>
#include <QClipboard>
#include <QHBoxLayout>
#include <QHeaderView>
#include <QLineEdit>
#include <QMenu>
#include <QPainter>
#include <QStyledItemDelegate>
#include <QToolButton>
#include <QTreeView>
#include <QVBoxLayout>

#include <algorithm>
#include <cmath>
#include <utility>

namespace qs::views {

using session::LayerTreeModel;

namespace {

constexpr int kWidePipeline = 104;
constexpr int kBitsWidth = 54; ///< "16.00"
constexpr int kTitlePadding = 14; ///< Of a header, with a little air.
constexpr int kNameWidth = 132; ///< At least; the text of the pipeline gives way to names.
constexpr int kSmallest = 44;
constexpr int kItemPadding = 12; ///< Of a cell, by the style sheet.
constexpr int kBar = 2;
constexpr int kBadgePad = 5;
constexpr int kBadgeGap = 6; ///< Between a name and its badge.
constexpr int kWidestNames = 200; ///< Longer names are shortened in the middle.
constexpr int kBadgePx = 10;

/// Draws errors far above the median in the colour for trouble, errors with a bar, and how many outlier channels a layer has
/// beside its name.
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
        if (index.column() == LayerTreeModel::Layer && option->rect.isValid()
            && option->fontMetrics.horizontalAdvance(option->text) > option->rect.width() - kItemPadding - badgeWidth(index)) {
            // The block and the last word tell layers apart, not what stands between: "2.…k_proj".
            const QString first = option->text.section(u'.', 0, 0);
            bool block = false;
            first.toInt(&block);
            if (const QString last = option->text.section(u'.', -1); last != option->text)
                option->text = (block ? first + u'.' : QString()) + u'…' + last;
        }
    }

    /// 0 without outlier channels.
    static int badgeWidth(const QModelIndex& index)
    {
        const int outliers = index.data(LayerTreeModel::OutlierRole).toInt();
        if (outliers <= 0)
            return 0;
        const QFontMetrics metrics(Theme::instance().font(kBadgePx));
        return std::max(metrics.horizontalAdvance(QString::number(outliers)) + 2 * kBadgePad, 16) + kBadgeGap;
    }

    QSize sizeHint(const QStyleOptionViewItem& option, const QModelIndex& index) const override
    {
        const QSize size = QStyledItemDelegate::sizeHint(option, index);
        return index.column() == LayerTreeModel::Layer ? size + QSize(badgeWidth(index), 0) : size;
    }

    void paint(QPainter* painter, const QStyleOptionViewItem& option, const QModelIndex& index) const override
    {
        QStyledItemDelegate::paint(painter, option, index);
        const bool selected = option.state & QStyle::State_Selected;
        const double share = index.data(LayerTreeModel::BarRole).toDouble();
        if (share > 0) {
            const QRect room = option.rect.adjusted(6, 0, -6, 0);
            const int width = std::max(1, static_cast<int>(std::lround(room.width() * std::min(share, 1.0))));
            painter->fillRect(QRect(room.right() + 1 - width, room.bottom() - kBar, width, kBar),
                selected                                             ? tokens().onAccent
                    : index.data(LayerTreeModel::WorstRole).toBool() ? tokens().bad
                                                                     : tokens().line);
        }
        const int outliers = index.data(LayerTreeModel::OutlierRole).toInt();
        if (index.column() != LayerTreeModel::Layer || outliers <= 0)
            return;
        const QString text = QString::number(outliers);
        const QFont font = Theme::instance().font(kBadgePx);
        const QSize size(badgeWidth(index) - kBadgeGap, 15);
        const QRectF badge(
            QPointF(option.rect.right() - size.width() - 4, option.rect.center().y() - size.height() / 2.0 + 0.5),
            QSizeF(size));
        painter->save();
        painter->setRenderHint(QPainter::Antialiasing);
        painter->setPen(QPen(selected ? tokens().onAccent : tokens().line, 1));
        painter->setBrush(selected ? QBrush(Qt::NoBrush) : QBrush(tokens().raised));
        painter->drawRoundedRect(badge, size.height() / 2.0, size.height() / 2.0);
        painter->setFont(font);
        painter->setPen(selected ? tokens().onAccent : tokens().dim);
        painter->drawText(badge, Qt::AlignCenter, text);
        painter->restore();
    }
};

} // namespace

LayersPanel::LayersPanel(PanelContext context, QWidget* parent)
    : QWidget(parent)
    , m_context(context)
    , m_proxy(new session::LayerFilterModel(this))
    , m_filter(new QLineEdit)
    , m_blocks(new QToolButton)
    , m_columns(new QToolButton)
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
    m_columns->setText(tr("Columns"));
    m_columns->setToolTip(tr("Which numbers the list shows and sorts by; also by a right click on its header"));
    m_problem->hide();
    m_problem->setWordWrap(true);
    m_problem->setContentsMargins(10, 2, 10, 4);

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
    header->setMinimumSectionSize(kSmallest);
    header->setDefaultSectionSize(kSmallest); // fitColumns() gives them the place of their titles
    for (int column = LayerTreeModel::Error + 1; column < LayerTreeModel::ColumnCount; ++column)
        header->setSectionHidden(column, true);
    header->setSectionResizeMode(QHeaderView::Interactive);
    header->setSectionResizeMode(LayerTreeModel::Layer, QHeaderView::Stretch);
    header->setContextMenuPolicy(Qt::CustomContextMenu);
    m_tree->sortByColumn(LayerTreeModel::Error, Qt::DescendingOrder);

    m_state = new StateView(m_tree);
    auto* top = new QHBoxLayout;
    top->setContentsMargins(8, 8, 8, 4);
    top->addWidget(m_filter, 1);
    top->addWidget(m_blocks);
    top->addWidget(m_columns);
    auto* layout = new QVBoxLayout(this);
    layout->setContentsMargins(0, 0, 0, 0);
    layout->setSpacing(0);
    layout->addLayout(top);
    layout->addWidget(m_problem);
    layout->addWidget(m_state, 1);

    connect(m_filter, &QLineEdit::textChanged, this, [this](const QString& text) {
        const QString problem = m_proxy->setFilterText(text);
        const bool none = problem.isEmpty() && !text.isEmpty() && m_proxy->rowCount() == 0;
        m_problem->setText(none ? tr("No layer matches. Esc shows all again.") : problem);
        setRole(m_problem, none ? "dim" : "bad");
        m_problem->setVisible(none || !problem.isEmpty());
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
    connect(header, &QHeaderView::customContextMenuRequested, this,
        [this](const QPoint& position) { chooseColumns(m_tree->header()->mapToGlobal(position)); });
    connect(m_columns, &QToolButton::clicked, this,
        [this] { chooseColumns(m_columns->mapToGlobal(QPoint(0, m_columns->height()))); });
    connect(header, &QHeaderView::sortIndicatorChanged, this, &LayersPanel::fitColumns);
    connect(m_proxy, &QAbstractItemModel::headerDataChanged, this, &LayersPanel::fitColumns);
    // After another order the old scroll position shows layers that nobody asked for.
    m_reveal.setSingleShot(true);
    m_reveal.setInterval(0);
    connect(&m_reveal, &QTimer::timeout, this, [this] {
        const bool toTop = std::exchange(m_toTop, false);
        if (const QModelIndex current = m_tree->currentIndex(); current.isValid() && !toTop)
            m_tree->scrollTo(current);
        else
            m_tree->scrollToTop();
    });
    connect(m_proxy, &QAbstractItemModel::layoutChanged, &m_reveal, qOverload<>(&QTimer::start));
    // Who sorts by a click wants to see the first rows.
    connect(header, &QHeaderView::sectionClicked, this, [this] {
        m_toTop = true;
        m_reveal.start();
    });
    m_fit.setSingleShot(true);
    m_fit.setInterval(0);
    connect(&m_fit, &QTimer::timeout, this, &LayersPanel::fitColumns);
    connect(m_proxy, &QAbstractItemModel::dataChanged, &m_fit, qOverload<>(&QTimer::start));
    connect(m_proxy, &QAbstractItemModel::modelReset, &m_fit, qOverload<>(&QTimer::start));
    connect(m_tree->selectionModel(), &QItemSelectionModel::selectionChanged, this, &LayersPanel::pushSelection);
    connect(m_tree->selectionModel(), &QItemSelectionModel::currentChanged, this, &LayersPanel::pushSelection);
    connect(&m_context.bench.selection(), &session::SelectionModel::changed, this,
        [this](const session::SelectionState&, QObject* origin) {
            if (origin != this)
                pullSelection();
        });
    connect(&m_context.bench, &session::Workbench::modelChanged, this, [this] {
        const auto model = m_context.bench.model();
        m_newModel = m_newModel || m_model.lock() != model;
        m_model = model;
        updateState();
    });
    connect(&m_context.bench, &session::Workbench::rankingChanged, this, [this] {
        // The first ranking puts the worst layer on top; select it when nothing was chosen yet.
        if (!m_context.bench.ranking().ready())
            return;
        m_proxy->invalidate();
        if (std::exchange(m_newModel, false)) // the worst first, as far as the selected layer allows
            m_tree->scrollToTop();
        // With a dump that came along another one may be the worst.
        const model::LayerIndex current = m_context.bench.selection().state().current;
        if ((current < 0 || current == m_chosenHere) && m_proxy->rowCount() > 0
            && m_context.bench.layers().mode() == LayerTreeModel::Mode::Flat) {
            m_tree->setCurrentIndex(m_proxy->index(0, 0));
            m_chosenHere = m_context.bench.selection().state().current;
        } else {
            pullSelection();
        }
    });
    connect(&m_context.bench, &session::Workbench::dumpChanged, this, [this] {
        for (int column = 0; column < LayerTreeModel::ColumnCount; ++column) {
            if (LayerTreeModel::needsSpectra(column) && !m_tree->isColumnHidden(column))
                m_context.bench.measureSpectra();
        }
    });
    m_filter->setAcceptDrops(false); // files dropped on it are for the window
    m_filter->setToolTip(
        tr("Words that must all hold: a block or a range (3, 0-5), a storage type (bf16), or a regular expression on "
           "the name"));
    setFocusProxy(m_tree);
    m_tree->setContextMenuPolicy(Qt::CustomContextMenu);
    connect(m_tree, &QTreeView::customContextMenuRequested, this, &LayersPanel::showRowMenu);
    connect(&m_context.bench.document(), &session::SessionDocument::changed, this, &LayersPanel::fitColumns);
    connect(&m_context.bench, &session::Workbench::assignedChanged, this, &LayersPanel::fitColumns);
    auto* clear = new QAction(m_filter);
    clear->setShortcut(Qt::Key_Escape);
    clear->setShortcutContext(Qt::WidgetShortcut);
    connect(clear, &QAction::triggered, m_filter, &QLineEdit::clear);
    m_filter->addAction(clear);
    updateState();
}

void LayersPanel::resizeEvent(QResizeEvent* event)
{
    QWidget::resizeEvent(event);
    fitColumns();
}

int LayersPanel::titleWidth(int column) const
{
    const QFontMetrics metrics(Theme::instance().font(kSmallPx));
    return metrics.horizontalAdvance(m_proxy->headerData(column, Qt::Horizontal).toString()) + kTitlePadding;
}

void LayersPanel::fitColumns()
{
    QHeaderView* header = m_tree->header();
    const bool assigned = !m_context.bench.state().recipe.rules.empty();
    if (!m_columnsChosen) // the order stays: what is assigned gets a column of its own
        m_tree->setColumnHidden(LayerTreeModel::Assigned, !assigned);
    m_context.bench.layers().setBrief(!header->isSectionHidden(LayerTreeModel::Assigned));
    const int names = std::clamp(
        static_cast<QAbstractItemView*>(m_tree)->sizeHintForColumn(LayerTreeModel::Layer), kNameWidth, kWidestNames);
    int taken = names;
    for (int column = LayerTreeModel::Bits; column < LayerTreeModel::ColumnCount; ++column) {
        if (header->isSectionHidden(column))
            continue;
        // A title that is cut says something else; a width that the user dragged stays.
        int& fitted = m_fitted[static_cast<std::size_t>(column)];
        if (fitted == 0 || fitted == header->sectionSize(column)) {
            fitted = std::max(titleWidth(column), column == LayerTreeModel::Bits ? kBitsWidth : kSmallest);
            if (column != LayerTreeModel::Assigned) // a number that is cut is another number
                fitted = std::max(fitted, static_cast<QAbstractItemView*>(m_tree)->sizeHintForColumn(column));
            header->resizeSection(column, fitted);
        }
        taken += header->sectionSize(column);
    }
    // The names take what is left, and where that is too little the list scrolls sideways.
    const bool scrolls = taken > m_tree->viewport()->width();
    header->setSectionResizeMode(LayerTreeModel::Layer, scrolls ? QHeaderView::Fixed : QHeaderView::Stretch);
    if (scrolls)
        header->resizeSection(LayerTreeModel::Layer, names);
    // Names need their place more than the pipeline's does.
    const int left = m_tree->viewport()->width() - taken;
    const int least = titleWidth(LayerTreeModel::Pipeline);
    if (!m_columnsChosen)
        m_tree->setColumnHidden(LayerTreeModel::Pipeline, left < least);
    header->resizeSection(LayerTreeModel::Pipeline, std::clamp(left, least, std::max(least, assigned ? kWidePipeline : 0)));
}

void LayersPanel::showRowMenu(const QPoint& position)
{
    const QModelIndex index = m_tree->indexAt(position);
    const model::LayerSpec* layer
        = index.isValid() ? m_context.bench.layerSpec(index.data(LayerTreeModel::LayerRole).toInt()) : nullptr;
    const auto pipeline = static_cast<std::size_t>(std::max(m_context.bench.selection().state().pipeline, 0));
    auto* menu = new QMenu(this);
    menu->setObjectName(QStringLiteral("rowMenu"));
    menu->setAttribute(Qt::WA_DeleteOnClose);
    const auto selected = m_context.bench.selection().state().layers;
    if (!selected.empty() && pipeline < m_context.bench.state().pipelines.size()) {
        const auto all = m_context.bench.withPartners(selected).size();
        QAction* assign
            = menu->addAction(all == 1 ? tr("Assign pipeline %1").arg(session::pipelineLetter(pipeline))
                                       : tr("Assign pipeline %1 to %2 layers").arg(session::pipelineLetter(pipeline)).arg(all));
        connect(assign, &QAction::triggered, this, [this, selected, pipeline] {
            const recipe::Pipeline copy = m_context.bench.state().pipelines[pipeline];
            pushEdit(
                m_context.undo, m_context.bench.document(), tr("assign"), {}, [&] { m_context.bench.assign(selected, &copy); });
        });
        menu->addAction(tr("Keep as stored"), this, [this, selected] {
            pushEdit(m_context.undo, m_context.bench.document(), tr("keep as stored"), {},
                [&] { m_context.bench.assign(selected, nullptr); });
        });
    }
    if (layer)
        menu->addAction(
            tr("Copy name"), this, [name = QString::fromStdString(layer->name)] { QApplication::clipboard()->setText(name); });
    if (layer && layer->block >= 0)
        menu->addAction(tr("Only block %1").arg(layer->block), this,
            [this, block = layer->block] { m_filter->setText(QString::number(block)); });
    if (!m_filter->text().isEmpty())
        menu->addAction(tr("Clear the filter"), m_filter, &QLineEdit::clear);
    if (menu->isEmpty())
        delete menu;
    else
        menu->popup(m_tree->viewport()->mapToGlobal(position));
}

void LayersPanel::updateState()
{
    m_state->follow(m_context.bench.opened(), tr("Opening"), tr("No model"), tr("Open a model, or drop one on the window."));
}

void LayersPanel::pushSelection()
{
    if (m_pulling)
        return;
    m_chosenHere = -1; // whoever set it automatically says so afterwards
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

void LayersPanel::chooseColumns(const QPoint& globalPosition)
{
    auto* menu = new QMenu(this);
    menu->setAttribute(Qt::WA_DeleteOnClose);
    menu->setObjectName(QStringLiteral("columnMenu"));
    menu->setToolTipsVisible(true);
    for (int column = LayerTreeModel::Pipeline; column < LayerTreeModel::ColumnCount; ++column) {
        if (column >= LayerTreeModel::FirstCompared + m_context.bench.layers().comparedCount())
            break;
        if (column == LayerTreeModel::FirstCompared)
            menu->addSection(tr("Error of a pipeline over all layers"));
        QAction* action = menu->addAction(m_proxy->headerData(column, Qt::Horizontal).toString());
        action->setToolTip(m_proxy->headerData(column, Qt::Horizontal, Qt::ToolTipRole).toString());
        action->setCheckable(true);
        action->setChecked(!m_tree->isColumnHidden(column));
        connect(action, &QAction::toggled, this, [this, column](bool on) {
            m_columnsChosen = true;
            m_tree->setColumnHidden(column, !on);
            if (!on) {
                if (column == m_proxy->sortColumn()) // a list sorted by what is not there explains nothing
                    m_tree->sortByColumn(LayerTreeModel::Error, Qt::DescendingOrder);
                return;
            }
            m_tree->sortByColumn(column, column == LayerTreeModel::TokensPerChannel ? Qt::AscendingOrder : Qt::DescendingOrder);
            if (LayerTreeModel::needsSpectra(column))
                m_context.bench.measureSpectra();
            if (column >= LayerTreeModel::FirstCompared)
                m_context.bench.compareModel();
        });
    }
    menu->popup(globalPosition);
}

} // namespace qs::views
