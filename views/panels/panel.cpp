// SPDX-License-Identifier: GPL-3.0-or-later
#include "views/panels/panel.h"

#include "views/theme/tokens.h"

#include <QBoxLayout>
#include <QGridLayout>
#include <QScrollArea>
#include <QScrollBar>
#include <QVBoxLayout>

#include <algorithm>
#include <map>
#include <utility>

namespace qs::views {

namespace {
constexpr int kLoadingDelay = 250; ///< Milliseconds that the old picture stays while a new one is made.
constexpr int kSettled = 100; ///< Milliseconds after which a page that was filled anew has its layout.

/// What a number is called where its whole name does not fit.
QString briefName(const QString& name)
{
    static const std::map<QString, QString> briefs{
        {NumberList::tr("error on fit"), NumberList::tr("on fit")},
        {NumberList::tr("bits / weight"), NumberList::tr("bits")},
        {NumberList::tr("weight SQNR"), NumberList::tr("SQNR")},
        {NumberList::tr("perplexity"), NumberList::tr("ppl")},
        {NumberList::tr("KL, all layers"), NumberList::tr("KL")},
        {NumberList::tr("weights only"), NumberList::tr("W only")},
        {NumberList::tr("weights only, fit"), NumberList::tr("W, on fit")},
        {NumberList::tr("entropy of the codes"), NumberList::tr("entropy")},
        {NumberList::tr("NaN or Inf"), NumberList::tr("NaN, Inf")},
        {NumberList::tr("kurtosis, one mean"), NumberList::tr("kurtosis¹")},
        {NumberList::tr("standard deviation"), NumberList::tr("std. dev.")},
        {NumberList::tr("already on a grid"), NumberList::tr("on a grid")},
    };
    const auto it = briefs.find(name);
    return it == briefs.end() ? QString() : it->second;
}
} // namespace

LayerPanel::LayerPanel(PanelContext context, const QString& name, QWidget* parent)
    : QWidget(parent)
    , m_context(context)
    , m_name(name)
{
    auto* area = m_area = new QScrollArea;
    area->setWidgetResizable(true);
    area->setFrameShape(QFrame::NoFrame);
    area->setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
    auto* body = new QWidget;
    body->setObjectName(QStringLiteral("page"));
    m_page = new QVBoxLayout(body);
    m_page->setContentsMargins(kCardPadding, kCardGap, kCardPadding, kCardGap);
    m_page->setSpacing(kCardGap);
    area->setWidget(body);
    m_state = new StateView(area);
    m_wait.setSingleShot(true);
    m_wait.setInterval(kLoadingDelay);
    connect(&m_wait, &QTimer::timeout, this, [this] {
        m_waited = true;
        markDirty();
    });
    auto* layout = new QVBoxLayout(this);
    layout->setContentsMargins(0, 0, 0, 0);
    layout->addWidget(m_state);
    connect(&m_context.bench, &session::Workbench::layerViewChanged, this, &LayerPanel::markDirty);
    connect(&m_context.bench, &session::Workbench::dumpChanged, this, &LayerPanel::markDirty);
    connect(&m_context.bench, &session::Workbench::rankingChanged, this, [this] {
        if (!bench().currentLayer())
            markDirty();
    });
    connect(&m_context.bench, &session::Workbench::modelChanged, this, [this] {
        const auto model = bench().model();
        if (m_model.lock() != model)
            m_area->verticalScrollBar()->setValue(0);
        m_model = model;
    });
    connect(&m_context.bench.selection(), &session::SelectionModel::changed, this,
        [this](const session::SelectionState&, QObject*) {
            if (shown() && m_context.bench.layerView().ready())
                selectionChanged();
        });
    connect(m_state, &StateView::helpClicked, this, [this] {
        if (!bench().model())
            Q_EMIT openRequested();
        else if (m_calibrates)
            Q_EMIT calibrateRequested();
        else
            bench().retryLayer();
    });
}

void LayerPanel::markDirty()
{
    m_dirty = true;
    if (shown())
        updateNow();
}

void LayerPanel::reveal(QWidget* part)
{
    // Text that wraps tells its height late, and what stands below the fold moves once more.
    QTimer::singleShot(kSettled, part, [this, part] { m_area->ensureWidgetVisible(part, 0, kCardPadding); });
}

void LayerPanel::setOnScreen(bool onScreen)
{
    if (onScreen == m_onScreen)
        return;
    m_onScreen = onScreen;
    if (shown())
        catchUp();
}

void LayerPanel::showEvent(QShowEvent* event)
{
    QWidget::showEvent(event);
    if (m_onScreen)
        catchUp();
}

void LayerPanel::catchUp()
{
    if (m_dirty)
        updateNow();
    else if (bench().layerView().ready() && m_state->message().isEmpty())
        selectionChanged();
}

void LayerPanel::showNeedsCalibration(const QString& what, const QString& why)
{
    m_calibrates = true;
    m_state->showEmpty(what, why, tr("Calibrate…"));
}

void LayerPanel::updateNow()
{
    m_dirty = false;
    m_calibrates = false;
    if (!bench().model()) {
        using State = session::Loadable<session::OpenedModel>::State;
        const auto& opened = bench().opened();
        if (opened.state == State::Loading)
            m_state->showLoading(tr("Opening the model"));
        else if (opened.state == State::Failed)
            m_state->showError(opened.error, {});
        else
            m_state->showEmpty(tr("No model is open"),
                tr("Open a Hugging Face folder, a .safetensors or a .gguf file, or drop one on the window."), tr("Open…"));
        return;
    }
    if (!bench().currentLayer()) {
        using State = session::Loadable<session::Ranking>::State;
        const auto& ranking = bench().ranking();
        const auto layers = bench().model()->spec().layers.size();
        if (!ranking.value && layers > 0 && (ranking.state == State::Loading || ranking.state == State::Empty))
            m_state->showLoading(tr("Ranking %1 layers").arg(layers));
        else
            m_state->showEmpty(tr("No layer is selected"),
                ranking.value ? tr("Choose one in the list at the left; the worst is at the top.")
                              : tr("Choose one in the list at the left."));
        return;
    }
    const auto& view = bench().layerView();
    // What is there stays for a moment while the next layer is analysed: a page that flashes by helps nobody.
    if (view.state == session::Loadable<session::LayerView>::State::Loading && m_state->message().isEmpty() && m_refreshes > 0
        && !m_wait.isActive() && !m_waited) {
        m_wait.start();
        return;
    }
    if (m_wait.isActive() && view.state == session::Loadable<session::LayerView>::State::Loading)
        return;
    m_wait.stop();
    m_waited = false;
    if (!m_state->follow(view, tr("Analysing the layer"), tr("Nothing to show"), {}))
        return;
    if (needsDump() && !view.value->analysis.input) {
        if (!bench().dump())
            showNeedsCalibration(tr("Needs activations"),
                tr("This view describes what the layer receives. Calibrate with a text, or load a dump."));
        else
            showNeedsCalibration(tr("The dump does not cover this layer"),
                tr("It was captured with a layer pattern. Calibrate again for all layers."));
        return;
    }
    ++m_refreshes;
    refresh(*view.value);
    if (m_state->message().isEmpty()) // the panel itself may have found that there is nothing to show
        selectionChanged();
}

NumberList::NumberList(QWidget* parent)
    : QWidget(parent)
    , m_grid(new QGridLayout(this))
{
    m_grid->setContentsMargins(0, 0, 0, 0);
    m_grid->setHorizontalSpacing(3 * kGrid);
    m_grid->setVerticalSpacing(kGrid);
}

void NumberList::set(const std::vector<Item>& items, int columns)
{
    while (QLayoutItem* item = m_grid->takeAt(0)) {
        delete item->widget();
        delete item;
    }
    m_items = items;
    m_columns = columns;
    const int perColumn = (static_cast<int>(items.size()) + columns - 1) / columns;
    for (int i = 0; i < static_cast<int>(items.size()); ++i) {
        const Item& item = items[static_cast<std::size_t>(i)];
        const QString brief = item.brief.isEmpty() ? briefName(item.name) : item.brief;
        auto* name = new ElidedLabel(m_brief && !brief.isEmpty() ? brief : item.name, "dim");
        name->setBrief(brief);
        auto* value = makeLabel(item.value, item.role);
        value->setAlignment(Qt::AlignRight | Qt::AlignVCenter);
        value->setTextInteractionFlags(Qt::TextSelectableByMouse);
        name->setToolTip(item.toolTip.isEmpty() ? item.name : item.toolTip);
        value->setToolTip(item.toolTip);
        const int column = i / perColumn * 3;
        m_grid->addWidget(name, i % perColumn, column);
        m_grid->addWidget(value, i % perColumn, column + 1);
        m_grid->setColumnStretch(column, 1);
        if (column > 0)
            m_grid->setColumnMinimumWidth(column - 1, 5 * kGrid);
    }
}

void NumberList::setBriefNames(bool brief)
{
    if (std::exchange(m_brief, brief) != brief)
        set(std::vector<Item>(m_items), m_columns);
}

QString NumberList::value(const QString& name) const
{
    for (const Item& item : m_items) {
        if (item.name == name)
            return item.value;
    }
    return {};
}

namespace {

class FoldingRow : public QWidget {
public:
    explicit FoldingRow(int sideBySide)
        : m_layout(new QBoxLayout(QBoxLayout::LeftToRight, this))
        , m_sideBySide(sideBySide)
    {
    }
    QBoxLayout* boxes() const { return m_layout; }
    QSize minimumSizeHint() const override
    {
        // Folded, it is as narrow as its widest part: else the row itself would keep the window from becoming narrow.
        QSize size = m_layout->minimumSize();
        if (m_sideBySide > 0) {
            int widest = 0;
            for (int i = 0; i < m_layout->count(); ++i)
                widest = std::max(widest, m_layout->itemAt(i)->minimumSize().width());
            size.setWidth(widest);
        }
        return size;
    }

protected:
    void resizeEvent(QResizeEvent* event) override
    {
        m_layout->setDirection(width() < m_sideBySide ? QBoxLayout::TopToBottom : QBoxLayout::LeftToRight);
        QWidget::resizeEvent(event);
    }

private:
    QBoxLayout* m_layout;
    int m_sideBySide;
};

} // namespace

QWidget* makeRow(const std::vector<QWidget*>& widgets, const std::vector<int>& stretches, int sideBySide)
{
    auto* row = new FoldingRow(sideBySide);
    QBoxLayout* layout = row->boxes();
    layout->setContentsMargins(0, 0, 0, 0);
    layout->setSpacing(kCardGap);
    for (std::size_t i = 0; i < widgets.size(); ++i)
        layout->addWidget(widgets[i], i < stretches.size() ? stretches[i] : 1);
    return row;
}

} // namespace qs::views
