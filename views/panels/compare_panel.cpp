// SPDX-License-Identifier: GPL-3.0-or-later
#include "views/panels/compare_panel.h"

#include "views/panels/pipeline_card.h"
#include "views/panels/pipeline_text.h"
#include "views/plot/plot_view.h"
#include "views/theme/theme.h"
#include "views/undo/edit_command.h"
#include "views/widgets/row_scroll.h"
#include "views/widgets/table_view.h"

#include <QHBoxLayout>
#include <QMenu>
#include <QPushButton>
#include <QTimer>
#include <QToolButton>
#include <QVBoxLayout>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>

namespace qs::views {

using session::pipelineLetter;

namespace {

constexpr int kChartHeight = 170;
constexpr int kOptionWidth = 124;
constexpr int kScoreName = 130; ///< Pixels that the names of the end-to-end table keep.
constexpr int kOptionRows = 40; ///< More scroll.

} // namespace

ComparePanel::ComparePanel(PanelContext context, QWidget* parent)
    : LayerPanel(context, tr("Compare"), parent)
    , m_float(new FloatCard)
    , m_cardRow(new QHBoxLayout)
    , m_add(new QToolButton)
    , m_compareAll(new QPushButton(tr("Compare on all layers")))
    , m_blockCard(new Card(tr("Error by block")))
    , m_blocks(new PlotView)
    , m_paretoCard(new Card(tr("Size against quality")))
    , m_pareto(new PlotView)
    , m_shareCard(new Card(tr("Why"), tr("which input channels the error comes from; click selects")))
    , m_shares(new PlotView)
    , m_optionCard(new Card(tr("Options that differ")))
    , m_same(makeLabel({}, "dim"))
    , m_options(new TableView(new session::MetricTableModel(this), false))
    , m_scoreCard(new Card(tr("End to end")))
    , m_scores(new TableView(new session::MetricTableModel(this), false))
    , m_protocol(makeLabel({}, "dim"))
    , m_evaluate(new QPushButton(tr("Evaluate…")))
{
    auto* cards = new QWidget;
    cards->setObjectName(QStringLiteral("page"));
    auto* cardLayout = new QHBoxLayout(cards);
    cardLayout->setContentsMargins(0, 0, 0, 0);
    cardLayout->setSpacing(kCardGap);
    m_cardRow->setSpacing(kCardGap);
    cardLayout->addWidget(m_float);
    cardLayout->addLayout(m_cardRow, 1);
    m_row = new RowScroll(cards);
    m_add->setText(QStringLiteral("+"));
    m_add->setProperty("role", QByteArray("button"));
    m_add->setToolTip(tr("Add a pipeline to the comparison: a published method, or a copy of the selected one"));
    m_add->setAccessibleName(tr("Add pipeline"));
    m_add->setPopupMode(QToolButton::InstantPopup);
    m_add->setMenu(new QMenu(m_add));
    connect(m_add->menu(), &QMenu::aboutToShow, this, &ComparePanel::fillAddMenu);
    fillAddMenu();
    cardLayout->addWidget(m_add, 0, Qt::AlignTop);

    m_blockCard->header()->addWidget(m_compareAll);
    m_blockCard->addWidget(m_blocks);
    m_blockCard->setExport(m_blocks);
    m_paretoCard->addWidget(m_pareto);
    m_paretoCard->setExport(m_pareto);
    m_shareCard->addWidget(m_shares);
    m_shareCard->setExport(m_shares);
    m_optionCard->addWidget(m_same, 0);
    m_optionCard->addWidget(m_options, 0);
    m_optionCard->setExport([this] { return m_options->metrics()->toCsv(); });
    m_scoreCard->header()->addWidget(m_evaluate);
    m_scoreCard->addWidget(m_scores, 0);
    m_protocol->setWordWrap(true);
    m_protocol->setTextInteractionFlags(Qt::TextSelectableByMouse);
    m_scoreCard->addWidget(m_protocol, 0);
    m_compareAll->setToolTip(tr("Compress every layer of the blocks with every pipeline (Ctrl+Return)"));
    m_evaluate->setToolTip(
        tr("Perplexity and KL of the whole model with each pipeline on all layers, on a text (Ctrl+Shift+E)"));
    m_options->setMinimumColumnWidth(kOptionWidth);
    m_scores->fitColumns(kScoreName);
    m_same->setWordWrap(true);
    m_scoreCard->setExport([this] { return m_scores->metrics()->toCsv(); });
    for (PlotView* plot : {m_blocks, m_pareto, m_shares})
        plot->setMinimumHeight(kChartHeight);
    page()->addWidget(m_row, 0);
    page()->addWidget(makeRow({m_blockCard, m_paretoCard}, {11, 10}), 3);
    page()->addWidget(m_shareCard, 2);
    page()->addWidget(m_optionCard, 0);
    page()->addWidget(m_scoreCard, 0);

    connect(&bench(), &session::Workbench::layerResultsChanged, this, &ComparePanel::markDirty);
    connect(&bench(), &session::Workbench::modelResultsChanged, this, &ComparePanel::markDirty);
    connect(&bench(), &session::Workbench::evaluationChanged, this, &ComparePanel::markDirty);
    connect(&bench().document(), &session::SessionDocument::changed, this, &ComparePanel::markDirty);
    connect(&Theme::instance(), &Theme::changed, this, &ComparePanel::markDirty);
    connect(m_compareAll, &QPushButton::clicked, this, [this] { bench().compareModel(); });
    connect(m_evaluate, &QPushButton::clicked, this, &ComparePanel::evaluateRequested);
    connect(m_shares, &PlotView::pointClicked, this,
        [this](int, int channel) { bench().selection().selectChannel(channel, this); });
    connect(m_blocks, &PlotView::pointClicked, this, [this](int, int layer) { bench().selection().selectLayer(layer, this); });
    connect(m_pareto, &PlotView::pointClicked, this, [this](int, int index) {
        if (index >= 0 && index < static_cast<int>(bench().state().pipelines.size()))
            bench().selection().selectPipeline(index, this);
    });
}

void ComparePanel::fillAddMenu()
{
    QMenu* menu = m_add->menu();
    menu->clear();
    menu->setToolTipsVisible(true);
    for (const recipe::Method& method : bench().registry().methods()) {
        auto* action = menu->addAction(
            QStringLiteral("%1   (%2)").arg(QString::fromStdString(method.name), QString::fromStdString(method.fidelity)));
        action->setToolTip(QString::fromStdString(method.summary + "\n" + method.citation + "\n" + method.fidelityNote));
        connect(action, &QAction::triggered, this, [this, id = method.id] {
            auto pipeline = recipe::parsePipeline(id, bench().registry());
            if (!pipeline) {
                bench().messages().add(pipeline.error());
                return;
            }
            pushEdit(undo(), bench().document(), tr("add %1").arg(QString::fromStdString(id)), {},
                [&] { bench().addPipeline(std::move(*pipeline)); });
        });
    }
    const auto current = static_cast<std::size_t>(std::max(bench().selection().state().pipeline, 0));
    if (current < bench().state().pipelines.size()) {
        menu->addSeparator();
        menu->addAction(tr("Copy of %1").arg(pipelineLetter(current)), this, [this, current] {
            const recipe::Pipeline copy = bench().state().pipelines[current];
            pushEdit(undo(), bench().document(), tr("copy pipeline"), {}, [&] { bench().addPipeline(copy); });
        });
    }
}

QString ComparePanel::nameOf(std::size_t pipeline) const
{
    return pipelineLetter(pipeline) + u' ' + pipelineNameOverModel(bench(), bench().state().pipelines[pipeline]);
}

void ComparePanel::refresh(const session::LayerView& /*view*/)
{
    drawCards();
    drawBlocks();
    drawPareto();
    drawShares();
    fillOptions();
    fillScores();
}

void ComparePanel::selectionChanged()
{
    drawCards();
    if (static_cast<std::size_t>(std::max(bench().selection().state().pipeline, 0)) != m_sharesOf)
        drawShares();
    markChannel();
    m_blocks->setSelectedX(bench().currentLayer() ? bench().currentLayer()->block : std::nan(""));
}

void ComparePanel::drawCards()
{
    const std::size_t count = bench().state().pipelines.size();
    m_float->display(bench());
    const bool grows = !m_cards.empty() && m_cards.size() < count;
    while (m_cards.size() > count) {
        m_cards.back()->deleteLater();
        m_cards.pop_back();
    }
    while (m_cards.size() < count) {
        auto* card = new PipelineCard(m_cards.size());
        m_cardRow->addWidget(card, 1);
        m_cards.push_back(card);
        connect(card, &PipelineCard::clicked, this, [this](int index) {
            using State = session::Loadable<session::LayerResult>::State;
            bench().selection().selectPipeline(index, this);
            if (bench().layerResult(static_cast<std::size_t>(index)).state == State::Cancelled)
                bench().retryLayer();
        });
        connect(card, &PipelineCard::removeRequested, this, [this](int index) {
            pushEdit(undo(), bench().document(), tr("remove pipeline"), {},
                [&] { bench().removePipeline(static_cast<std::size_t>(index)); });
        });
    }
    // The best of those that cost the same bits, where there are several: 8 bits do not beat 4.
    std::map<long, std::vector<std::pair<double, std::size_t>>> classes;
    for (std::size_t i = 0; i < count; ++i) {
        const auto result = bench().layerResult(i);
        if (result.ready() && result.value->metrics.hasOutput)
            classes[std::lround(result.value->bits.perWeight())].emplace_back(
                shownError(result.value->metrics, bench().state().pipelines[i]).value, i);
    }
    std::set<std::size_t> best;
    for (const auto& [bits, members] : classes) {
        if (members.size() > 1)
            best.insert(std::min_element(members.begin(), members.end())->second);
    }
    for (std::size_t i = 0; i < count; ++i)
        m_cards[i]->display(bench(), best.contains(i));
    m_row->updateGeometry();
    const auto selected = static_cast<std::size_t>(std::max(bench().selection().state().pipeline, 0));
    const bool other = selected < count && selected != m_visibleCard;
    m_visibleCard = selected;
    if (grows || other) {
        PipelineCard* card = grows ? m_cards.back() : m_cards[selected];
        // A new card has no place before the row was laid out.
        QTimer::singleShot(0, card, [this, card] { m_row->ensureWidgetVisible(card, kCardGap, 0); });
    }
}

void ComparePanel::fillOptions()
{
    const auto& pipelines = bench().state().pipelines;
    const std::size_t count = pipelines.size();
    std::vector<recipe::Pipeline> here; // automatic values as they are on this layer
    for (const recipe::Pipeline& pipeline : pipelines)
        here.push_back(resolvedHere(bench(), pipeline));
    // key -> value per pipeline; keys in slot order, then by name.
    std::vector<QString> keys;
    std::map<QString, std::vector<QString>> values;
    auto put = [&](const QString& key, std::size_t pipeline, const QString& value) {
        if (!values.contains(key)) {
            keys.push_back(key);
            values[key].assign(count, QStringLiteral("–"));
        }
        values[key][pipeline] = value;
    };
    for (int slot = 0; slot < recipe::kSlotCount; ++slot) {
        for (std::size_t i = 0; i < count; ++i) {
            QStringList stages;
            for (const recipe::StageCall& stage : here[i].slots[static_cast<std::size_t>(slot)])
                stages << QString::fromStdString(stage.id);
            put(QString::fromLatin1(recipe::slotName(static_cast<recipe::Slot>(slot))), i,
                stages.isEmpty() ? QStringLiteral("–") : stages.join(QStringLiteral(" + ")));
        }
        for (std::size_t i = 0; i < count; ++i) {
            for (const recipe::StageCall& stage : here[i].slots[static_cast<std::size_t>(slot)]) {
                const auto range = stage.parameters.find("range");
                const std::string rule = range == stage.parameters.end() ? std::string() : recipe::formatValue(range->second);
                for (const auto& [name, value] : stage.parameters) {
                    // Parameters of another range rule have no effect.
                    if (!rule.empty()
                        && ((name.starts_with("mse_") && rule != "mse") || (name == "percentile" && rule != "percentile")))
                        continue;
                    put(QString::fromStdString(name), i, QString::fromStdString(recipe::formatValue(value)));
                }
            }
        }
    }
    using session::MetricColumn;
    std::vector<MetricColumn> columns{
        {tr("option"), tr("Slots and parameters that are not the same in all"), MetricColumn::Kind::Text}};
    for (std::size_t i = 0; i < count; ++i)
        columns.push_back({pipelineLetter(i), nameOf(i), MetricColumn::Kind::Text});
    std::vector<std::vector<QVariant>> rows;
    QStringList same;
    for (const QString& key : keys) {
        const auto& cells = values[key];
        if (std::set<QString>(cells.begin(), cells.end()).size() <= 1) {
            if (!cells.empty() && cells.front() != QStringLiteral("–"))
                same << QStringLiteral("%1 %2").arg(key, cells.front());
            continue;
        }
        std::vector<QVariant> row{key};
        for (const QString& cell : cells)
            row.emplace_back(cell);
        rows.push_back(std::move(row));
    }
    m_options->metrics()->set(std::move(columns), std::move(rows));
    m_optionCard->setSubtitle(count < 2 ? tr("add a second pipeline to see a difference") : tr("on this layer"));
    m_same->setText(tr("The same in all: %1.").arg(same.join(QStringLiteral(", "))));
    m_same->setVisible(count > 1 && !same.isEmpty());
    m_options->fitHeight(kOptionRows);
}

} // namespace qs::views
