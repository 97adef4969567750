// SPDX-License-Identifier: GPL-3.0-or-later
#include "views/panels/compare_panel.h"

#include "core/session/format_number.h"
#include "views/panels/pipeline_card.h"
#include "views/plot/plot_view.h"
#include "views/theme/theme.h"
#include "views/undo/edit_command.h"
#include "views/widgets/table_view.h"

#include <QHBoxLayout>
#include <QMenu>
#include <QPushButton>
#include <QToolButton>
#include <QVBoxLayout>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

namespace qs::views {

using session::MetricColumn;
using session::percentText;
using session::pipelineLetter;

namespace {

constexpr std::size_t kMostCards = 6;
constexpr std::size_t kShareBars = 8;

} // namespace

ComparePanel::ComparePanel(PanelContext context, QWidget* parent)
    : LayerPanel(context, tr("Compare"), parent)
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
    , m_options(new TableView(new session::MetricTableModel(this), false))
    , m_scoreCard(new Card(tr("End to end")))
    , m_scores(new TableView(new session::MetricTableModel(this), false))
    , m_evaluate(new QPushButton(tr("Evaluate…")))
{
    auto* cards = new QWidget;
    auto* cardLayout = new QHBoxLayout(cards);
    cardLayout->setContentsMargins(0, 0, 0, 0);
    cardLayout->setSpacing(kCardGap);
    m_cardRow->setSpacing(kCardGap);
    cardLayout->addLayout(m_cardRow, 1);
    m_add->setText(QStringLiteral("+"));
    m_add->setProperty("role", QByteArray("button"));
    m_add->setToolTip(tr("Add a pipeline to the comparison"));
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
    m_optionCard->addWidget(m_options, 0);
    m_optionCard->setExport([this] { return m_options->metrics()->toCsv(); });
    m_scoreCard->header()->addWidget(m_evaluate);
    m_scoreCard->addWidget(m_scores, 0);
    m_scoreCard->setExport([this] { return m_scores->metrics()->toCsv(); });
    for (PlotView* plot : {m_blocks, m_pareto, m_shares})
        plot->setMinimumHeight(165);
    page()->addWidget(cards, 0);
    page()->addWidget(makeRow({m_blockCard, m_paretoCard}, {11, 10}), 3);
    page()->addWidget(makeRow({m_shareCard, m_optionCard}, {11, 10}), 3);
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
    for (const recipe::Method& method : bench().registry().methods()) {
        auto* action = menu->addAction(
            QStringLiteral("%1   %2").arg(QString::fromStdString(method.name), QString::fromStdString(method.citation)));
        action->setToolTip(QString::fromStdString(method.summary));
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
    drawShares();
    m_blocks->setSelectedX(bench().currentLayer() ? bench().currentLayer()->block : std::nan(""));
}

void ComparePanel::drawCards()
{
    const std::size_t count = std::min(bench().state().pipelines.size(), kMostCards);
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
    m_add->setVisible(count < kMostCards);
    double lowest = std::numeric_limits<double>::infinity();
    std::size_t best = count;
    for (std::size_t i = 0; i < count; ++i) {
        const auto result = bench().layerResult(i);
        if (!result.ready() || !result.value->metrics.hasOutput)
            continue;
        if (result.value->metrics.outputError < lowest) {
            lowest = result.value->metrics.outputError;
            best = i;
        }
    }
    for (std::size_t i = 0; i < count; ++i)
        m_cards[i]->display(bench(), i == best && count > 1);
}

void ComparePanel::drawBlocks()
{
    const model::LayerSpec* current = bench().currentLayer();
    const auto model = bench().model();
    if (!current || !model)
        return;
    const QString module = QString::fromStdString(current->module);
    PlotData chart;
    chart.x.title = tr("block");
    chart.x.integer = true;
    const bool dump = bench().dump() != nullptr;
    chart.y.title = dump ? tr("output error") : tr("weight error");
    chart.y.percent = true;
    bool loading = false;
    bool any = false;
    for (std::size_t i = 0; i < bench().state().pipelines.size(); ++i) {
        const auto* result = bench().modelResult(bench().state().pipelines[i]);
        loading = loading || (result && result->state == session::Loadable<session::ModelResult>::State::Loading);
        if (!result || !result->ready())
            continue;
        any = true;
        PlotSeries series;
        series.name = pipelineLetter(i) + u' ' + bench().label(bench().state().pipelines[i]);
        series.colour = static_cast<int>(i);
        for (const auto& [layer, value] : result->value->layers) {
            const model::LayerSpec& spec = model->spec().layers[static_cast<std::size_t>(layer)];
            if (spec.module != current->module)
                continue;
            series.points.emplace_back(
                spec.block, dump ? value.metrics.outputError : std::pow(10.0, -value.metrics.weightSqnrDb / 10));
            series.keys.push_back(layer);
            series.labels.push_back(QString::fromStdString(spec.name));
        }
        chart.series.push_back(std::move(series));
    }
    m_blockCard->setSubtitle(any ? tr("%1; same data for every pipeline").arg(module)
            : loading            ? tr("%1; computing").arg(module)
                                 : tr("%1; not computed yet").arg(module));
    const bool missing
        = std::any_of(bench().state().pipelines.begin(), bench().state().pipelines.end(), [this](const recipe::Pipeline& p) {
              const auto* result = bench().modelResult(p);
              return !result || result->state == session::Loadable<session::ModelResult>::State::Empty
                  || result->state == session::Loadable<session::ModelResult>::State::Cancelled;
          });
    m_compareAll->setVisible(missing);
    m_compareAll->setEnabled(!bench().state().pipelines.empty());
    chart.empty = loading ? tr("Computing; see the jobs.") : tr("Not computed yet: compare on all layers.");
    m_blocks->setData(std::move(chart));
}

void ComparePanel::drawPareto()
{
    // KL of the whole model where it was measured, else the mean layer error of the comparison.
    const auto& evaluation = bench().evaluation();
    const bool measured = evaluation.value != nullptr;
    const bool dump = bench().dump() != nullptr;
    PlotData chart;
    chart.x.title = tr("bits per weight (layers)");
    chart.y.title = measured ? tr("KL to float") : dump ? tr("mean output error") : tr("mean weight error");
    std::vector<QPointF> all;
    for (std::size_t i = 0; i < bench().state().pipelines.size(); ++i) {
        const recipe::Pipeline& pipeline = bench().state().pipelines[i];
        QPointF point(std::nan(""), 0);
        if (measured) {
            const std::string text = recipe::formatPipeline(pipeline);
            for (const auto& candidate : evaluation.value->candidates) {
                if (candidate.pipelineText == text)
                    point = {candidate.bitsLayers, candidate.scores.klMean};
            }
        } else if (const auto* result = bench().modelResult(pipeline);
                   result && result->ready() && !result->value->layers.empty()) {
            double sum = 0;
            for (const auto& [layer, value] : result->value->layers)
                sum += dump ? value.metrics.outputError : std::pow(10.0, -value.metrics.weightSqnrDb / 10);
            point = {result->value->size.bitsLayers, sum / static_cast<double>(result->value->layers.size())};
        }
        if (std::isnan(point.x()))
            continue;
        PlotSeries series;
        series.kind = PlotSeries::Kind::Points;
        series.name = pipelineLetter(i) + u' ' + bench().label(pipeline);
        series.colour = static_cast<int>(i);
        series.points.push_back(point);
        series.keys.push_back(static_cast<int>(i));
        chart.series.push_back(std::move(series));
        all.push_back(point);
    }
    double lowest = std::numeric_limits<double>::infinity();
    double highest = 0;
    for (const QPointF& p : all) {
        lowest = std::min(lowest, p.y());
        highest = std::max(highest, p.y());
    }
    chart.y.log = lowest > 0 && highest > 30 * lowest;
    // The front: nothing else is both smaller and better.
    std::sort(all.begin(), all.end(),
        [](const QPointF& a, const QPointF& b) { return a.x() != b.x() ? a.x() < b.x() : a.y() < b.y(); });
    PlotSeries front;
    front.kind = PlotSeries::Kind::Dashed;
    front.name = tr("Pareto front");
    front.colour = -1;
    double best = std::numeric_limits<double>::infinity();
    for (const QPointF& p : all) {
        if (p.y() < best) {
            front.points.push_back(p);
            front.keys.push_back(-1);
            best = p.y();
        }
    }
    if (!all.empty()) {
        chart.x.lo = std::floor(all.front().x() - 0.5);
        chart.x.hi = std::ceil(all.back().x() + 0.5);
    }
    if (front.points.size() > 1)
        chart.series.insert(chart.series.begin(), std::move(front));
    m_paretoCard->setSubtitle(all.empty() ? tr("compare on all layers, or evaluate, to fill it")
                                          : tr("dashed: Pareto front; click selects the pipeline"));
    chart.empty = tr("One point per pipeline, once it was compared on all layers or evaluated end to end.");
    m_pareto->setData(std::move(chart));
}

void ComparePanel::drawShares()
{
    const auto pipeline = static_cast<std::size_t>(std::max(bench().selection().state().pipeline, 0));
    const auto result = bench().layerResult(pipeline);
    PlotData chart;
    chart.x.title = tr("input channel");
    chart.y.title = tr("share of error");
    chart.y.percent = true;
    if (result.value && result.value->shares && result.value->shares->total > 0) {
        const metrics::ErrorShares& shares = *result.value->shares;
        std::vector<int> order(shares.byInput.size());
        std::iota(order.begin(), order.end(), 0);
        const std::size_t count = std::min(order.size(), kShareBars);
        std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count), order.end(), [&](int a, int b) {
            return shares.byInput[static_cast<std::size_t>(a)] > shares.byInput[static_cast<std::size_t>(b)];
        });
        PlotSeries bars;
        bars.kind = PlotSeries::Kind::Bars;
        bars.colour = static_cast<int>(pipeline);
        for (std::size_t i = 0; i < count; ++i) {
            chart.x.categories << QString::number(order[i]);
            bars.points.emplace_back(static_cast<double>(i), shares.byInput[static_cast<std::size_t>(order[i])] / shares.total);
            bars.keys.push_back(order[i]);
        }
        chart.series.push_back(std::move(bars));
        m_shareCard->setSubtitle(tr("which of %1 input channels the error of %2 comes from; click selects")
                                     .arg(shares.byInput.size())
                                     .arg(pipelineLetter(pipeline)));
    } else {
        m_shareCard->setSubtitle(bench().dump() ? tr("computed with the selected pipeline") : tr("needs a calibration"));
    }
    chart.empty = bench().dump() ? tr("Computed with the selected pipeline.")
                                 : tr("Needs a calibration: the error of a channel depends on what it carries.");
    m_shares->setData(std::move(chart));
}

void ComparePanel::fillOptions()
{
    const auto& pipelines = bench().state().pipelines;
    const std::size_t count = std::min(pipelines.size(), kMostCards);
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
            for (const recipe::StageCall& stage : pipelines[i].slots[static_cast<std::size_t>(slot)])
                stages << QString::fromStdString(stage.id);
            put(QString::fromLatin1(recipe::slotName(static_cast<recipe::Slot>(slot))), i,
                stages.isEmpty() ? QStringLiteral("–") : stages.join(QStringLiteral(" + ")));
        }
        for (std::size_t i = 0; i < count; ++i) {
            for (const recipe::StageCall& stage : pipelines[i].slots[static_cast<std::size_t>(slot)]) {
                for (const auto& [name, value] : stage.parameters)
                    put(QString::fromStdString(name), i, QString::fromStdString(recipe::formatValue(value)));
            }
        }
    }
    std::vector<MetricColumn> columns{{tr("option"), {}, MetricColumn::Kind::Text}};
    for (std::size_t i = 0; i < count; ++i)
        columns.push_back({pipelineLetter(i), {}, MetricColumn::Kind::Text});
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
    m_optionCard->setSubtitle(same.isEmpty() ? QString() : tr("same in all: %1").arg(same.join(QStringLiteral(", "))));
    m_options->setMinimumHeight(120);
}

void ComparePanel::fillScores()
{
    using State = session::Loadable<session::Evaluation>::State;
    const auto& evaluation = bench().evaluation();
    m_evaluate->setEnabled(
        evaluation.state != State::Loading && bench().model() && bench().model()->spec().family != model::Family::Plain);
    m_scores->setVisible(evaluation.value != nullptr);
    if (evaluation.state == State::Loading) {
        m_scoreCard->setSubtitle(tr("running: see the jobs"));
        return;
    }
    if (evaluation.state == State::Failed || evaluation.state == State::Cancelled) {
        m_scoreCard->setSubtitle(
            evaluation.state == State::Cancelled ? tr("cancelled") : QString::fromStdString(evaluation.error.line()));
        return;
    }
    if (!evaluation.value) {
        m_scoreCard->setSubtitle(tr("layer error is a proxy: evaluate perplexity and KL of the whole model on a text"));
        return;
    }
    const session::Evaluation& e = *evaluation.value;
    QStringList protocol;
    auto put = [&](const std::string& key, const std::string& value) {
        protocol << QStringLiteral("%1 %2").arg(QString::fromStdString(key).replace(u'_', u' '), QString::fromStdString(value));
    };
    const std::array<const char*, 4> first{"windows", "seq_len", "tokens_predicted", "bos"};
    for (const char* key : first) {
        if (const auto it = e.protocol.find(key); it != e.protocol.end())
            put(it->first, it->second);
    }
    for (const auto& [key, value] : e.protocol) {
        if (std::find(first.begin(), first.end(), key) == first.end())
            put(key, value);
    }
    m_scoreCard->setSubtitle(protocol.join(QStringLiteral("; ")));
    std::vector<MetricColumn> columns{{tr("pipeline on all layers"), {}, MetricColumn::Kind::Text},
        {tr("perplexity"), tr("exp of the mean negative log likelihood"), MetricColumn::Kind::Number},
        {tr("± se"), tr("ppl · sd(nll) / sqrt(n)"), MetricColumn::Kind::Number},
        {tr("KL, nats"), tr("Σ p ln(p / q) per predicted token, p the float model"), MetricColumn::Kind::Number},
        {tr("± se "), {}, MetricColumn::Kind::Number}, {tr("KL, 99 %"), {}, MetricColumn::Kind::Number},
        {tr("same top-1"), tr("share of tokens whose most likely token agrees with float"), MetricColumn::Kind::Percent},
        {tr("Δ nll"), tr("candidate minus float, paired over windows"), MetricColumn::Kind::Number},
        {tr("bits (layers)"), {}, MetricColumn::Kind::Number}, {tr("seconds"), {}, MetricColumn::Kind::Number}};
    std::vector<std::vector<QVariant>> rows;
    rows.push_back({tr("float, as stored"), e.reference.perplexity, e.reference.perplexitySe, QVariant(), QVariant(),
        QVariant(), QVariant(), QVariant(), e.referenceBits, e.reference.seconds});
    for (const auto& c : e.candidates) {
        rows.push_back({QString::fromStdString(c.name), c.scores.perplexity, c.scores.perplexitySe, c.scores.klMean,
            c.scores.klSe, c.scores.klP99, c.scores.top1Agreement, c.scores.deltaNll, c.bitsLayers, c.scores.seconds});
    }
    m_scores->metrics()->set(std::move(columns), std::move(rows));
    m_scores->fitHeight(8);
}

} // namespace qs::views
