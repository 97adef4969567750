// SPDX-License-Identifier: GPL-3.0-or-later
#include "views/panels/channels_panel.h"

#include "core/session/format_number.h"
#include "views/heatmap/heatmap_view.h"
#include "views/plot/plot_view.h"
#include "views/theme/tokens.h"
#include "views/widgets/choice_box.h"
#include "views/widgets/table_view.h"

#include <QHBoxLayout>
#include <QToolButton>
#include <QVBoxLayout>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace qs::views {

using session::LayerView;
using session::MetricColumn;

namespace {

enum Show { InputsAndWeights, Inputs, Weights, Spread };
constexpr int kChoiceWidth = 176;
constexpr int kSideBySide = 640; ///< Pixels that the heatmap and the table need beside each other.

/// The criteria that a channel meets, in words that fit a column; the header explains them.
QString criteria(const analysis::OutlierChannel& channel)
{
    QStringList words;
    if (channel.reason.find("massive") != std::string::npos)
        words << QObject::tr("massive");
    if (channel.reason.find("shift") != std::string::npos)
        words << QObject::tr("shifted");
    if (channel.reason.find("spikes") != std::string::npos)
        words << QObject::tr("spikes");
    if (channel.int8)
        words << QObject::tr("≥ 6");
    if (channel.overMedian > analysis::OutlierOptions().overMedian)
        words << QObject::tr("> 5 ×");
    return words.join(QStringLiteral(", "));
}

QToolButton* makeToggle(const QString& text, const QString& tip, bool on)
{
    auto* button = new QToolButton;
    button->setText(text);
    button->setToolTip(tip);
    button->setCheckable(true);
    button->setChecked(on);
    return button;
}

} // namespace

ChannelsPanel::ChannelsPanel(PanelContext context, QWidget* parent)
    : LayerPanel(context, tr("Channels"), parent)
    , m_chartCard(new Card(tr("Per input channel")))
    , m_plot(new PlotView)
    , m_what(new ChoiceBox)
    , m_sorted(makeToggle(tr("sorted"), tr("Order the channels by the first series, largest first"), true))
    , m_log(makeToggle(tr("log"), tr("Logarithmic values"), true))
    , m_heatCard(new Card)
    , m_heatmap(new HeatmapView(&bench().jobs()))
    , m_tableCard(new Card(tr("Outlier channels")))
    , m_table(new TableView(new session::MetricTableModel(this), true))
{
    m_what->setObjectName(QStringLiteral("channelsWhat"));
    m_what->addItem(tr("inputs and weights"), InputsAndWeights);
    m_what->addItem(tr("inputs: max and mean |x|"), Inputs);
    m_what->addItem(tr("weights: max |W|"), Weights);
    m_what->addItem(tr("standard deviation and mean"), Spread);
    m_what->setMaximumWidth(kChoiceWidth);
    m_chartCard->header()->addWidget(m_what);
    m_chartCard->header()->addWidget(m_sorted);
    m_chartCard->header()->addWidget(m_log);
    m_chartCard->addWidget(m_plot);
    m_chartCard->setExport(m_plot);
    m_plot->setMinimumHeight(230);
    m_heatCard->addWidget(m_heatmap);
    m_heatCard->setExport(m_heatmap);
    m_heatmap->setMinimumHeight(260);
    m_tableCard->addWidget(m_table);
    m_tableCard->setExport([this] { return m_table->metrics()->toCsv(); });
    page()->addWidget(m_chartCard, 4);
    page()->addWidget(makeRow({m_heatCard, m_tableCard}, {1, 1}, kSideBySide), 5);

    connect(m_what, &QComboBox::currentIndexChanged, this, &ChannelsPanel::drawChart);
    connect(m_sorted, &QToolButton::toggled, this, &ChannelsPanel::drawChart);
    connect(m_log, &QToolButton::toggled, this, &ChannelsPanel::drawChart);
    connect(
        m_plot, &PlotView::pointClicked, this, [this](int, int channel) { bench().selection().selectChannel(channel, this); });
    connect(m_heatmap, &HeatmapView::cellClicked, this, [this](qlonglong row, qlonglong column) {
        session::SelectionState state = bench().selection().state();
        state.channel = column;
        state.row = m_view && m_view->rawTokens ? -1 : row;
        bench().selection().set(state, this);
    });
    connect(m_table, &TableView::keyClicked, this,
        [this](const QVariant& key) { bench().selection().selectChannel(key.toLongLong(), this); });
}

void ChannelsPanel::refresh(const LayerView& view)
{
    m_view = bench().layerView().value;
    drawChart();
    if (view.rawTokens) {
        m_heatCard->setTitle(tr("Tokens × channels"));
        m_heatCard->setSubtitle(tr("|x| of the first %1 tokens of the dump").arg(view.rawTokens->rows()));
        m_heatmap->setSource(reduce::matrixTiles(view.rawTokens), reduce::Reduction::AbsMax, HeatmapView::Scale::Log,
            {tr("token"), tr("input channel"), QStringLiteral("|x|")});
    } else {
        m_heatCard->setTitle(tr("Weight |W|"));
        m_heatCard->setSubtitle(bench().dump() ? tr("output rows × input channels; the dump holds no raw tokens")
                                               : tr("output rows × input channels; no dump yet"));
        m_heatmap->setSource(reduce::matrixTiles(view.W), reduce::Reduction::AbsMax, HeatmapView::Scale::Log,
            {tr("row"), tr("input channel"), QStringLiteral("|W|")});
    }
    fillTable(view);
}

void ChannelsPanel::drawChart()
{
    if (!m_view)
        return;
    const LayerView& view = *m_view;
    const analysis::InputAnalysis* input = view.analysis.input.get();
    const int wanted = m_what->currentData().toInt();
    struct Source {
        QString name;
        const std::vector<double>* values;
        int colour;
    };
    std::vector<Source> sources;
    if (input && (wanted == InputsAndWeights || wanted == Inputs)) {
        sources.push_back({tr("max |x|"), &input->table.absMax, 0});
        sources.push_back({tr("mean |x|"), &input->table.meanAbs, 1});
    }
    if (input && wanted == Spread) {
        sources.push_back({tr("standard deviation"), &input->table.std, 0});
        sources.push_back({tr("mean"), &input->table.mean, 1});
    }
    if (!input || wanted == InputsAndWeights || wanted == Weights)
        sources.push_back({tr("max |W| of the column"), &view.weightColumnMax, 2});

    const std::vector<double>& key = *sources.front().values;
    m_order.resize(key.size());
    std::iota(m_order.begin(), m_order.end(), 0);
    const bool sorted = m_sorted->isChecked();
    if (sorted) {
        std::stable_sort(m_order.begin(), m_order.end(),
            [&key](int a, int b) { return key[static_cast<std::size_t>(a)] > key[static_cast<std::size_t>(b)]; });
    }
    PlotData chart;
    chart.x.title = sorted ? tr("input channels, sorted by %1").arg(sources.front().name) : tr("input channel");
    chart.x.integer = true;
    chart.x.hover = sorted ? tr("rank") : tr("channel");
    chart.y.title = sources.size() == 1 ? sources.front().name
        : wanted == InputsAndWeights    ? tr("|x| and |W|, as in the model")
        : wanted == Inputs              ? tr("|x|, as in the model")
                                        : tr("x, as in the model");
    chart.y.log = m_log->isChecked() && wanted != Spread;
    for (const Source& source : sources) {
        PlotSeries series;
        series.name = source.name;
        series.colour = source.colour;
        series.directLabel = true;
        for (std::size_t i = 0; i < m_order.size(); ++i) {
            series.points.emplace_back(static_cast<double>(i), (*source.values)[static_cast<std::size_t>(m_order[i])]);
            series.keys.push_back(m_order[i]);
            if (sorted)
                series.labels.push_back(tr("channel %1").arg(session::integerText(m_order[i])));
        }
        chart.series.push_back(std::move(series));
    }
    if (input && wanted != Weights && wanted != Spread && input->outliers.int8Channels > 0)
        chart.markers.push_back({6.0, tr("6: LLM.int8 threshold"), false, -1});
    m_chartCard->setSubtitle(input
            ? tr("%1 channels, %2 tokens, sinks included")
                  .arg(session::integerText(input->channels), session::integerText(input->tokens))
            : tr("%1 columns of the weight; inputs need a calibration").arg(session::integerText(view.W->cols())));
    m_plot->setData(std::move(chart));
    selectionChanged();
}

void ChannelsPanel::fillTable(const LayerView& view)
{
    std::vector<std::vector<QVariant>> rows;
    std::vector<QVariant> keys;
    const analysis::InputAnalysis* input = view.analysis.input.get();
    if (input) {
        m_tableCard->setTitle(tr("Outlier channels"));
        for (const analysis::OutlierChannel& channel : input->outliers.table) {
            rows.push_back({QVariant::fromValue<qlonglong>(channel.channel), channel.absMax, channel.overMedian,
                channel.kurtosis, criteria(channel)});
            keys.emplace_back(QVariant::fromValue<qlonglong>(channel.channel));
        }
        m_tableCard->setSubtitle(rows.empty()
                ? tr("none meets a criterion")
                : tr("max over median %1, kurtosis %2, %3 with max |x| ≥ 6")
                      .arg(session::numberText(input->outliers.maxOverMedian), session::numberText(input->outliers.kurtosis))
                      .arg(input->outliers.int8Channels));
        m_table->metrics()->set(
            {{tr("channel"), tr("Number of the input channel, from 0"), MetricColumn::Kind::Integer},
                {tr("max |x|"), tr("max over tokens of |x_j|, sinks included"), MetricColumn::Kind::Number},
                {tr("÷ median"), tr("max |x_j| / median over the channels of max |x|"), MetricColumn::Kind::Number},
                {tr("kurtosis"), tr("m4 / m2² of the centred values of the channel; a Gaussian has 3"),
                    MetricColumn::Kind::Number},
                {tr("why"),
                    tr("massive: max |x| > 100 and > 1000 × the median channel's mean |x|\nshifted: the mean is more than 3 "
                       "standard "
                       "deviations from 0, which a shift removes\nspikes: kurtosis above 50\n≥ 6: the LLM.int8() criterion\n"
                       "> 5 ×: max |x| against the median channel's"),
                    MetricColumn::Kind::Text}},
            std::move(rows), std::move(keys));
        return;
    }
    // Without a dump the widest weight columns are what can be said.
    m_tableCard->setTitle(tr("Widest weight columns"));
    m_tableCard->setSubtitle(tr("inputs need a calibration"));
    std::vector<Index> order(view.weightColumnMax.size());
    std::iota(order.begin(), order.end(), Index{0});
    const auto count = std::min<std::size_t>(order.size(), 32);
    std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count), order.end(), [&](Index a, Index b) {
        return view.weightColumnMax[static_cast<std::size_t>(a)] > view.weightColumnMax[static_cast<std::size_t>(b)];
    });
    const double median = analysis::median(view.weightColumnMax);
    for (std::size_t i = 0; i < count; ++i) {
        const double value = view.weightColumnMax[static_cast<std::size_t>(order[i])];
        rows.push_back({QVariant::fromValue<qlonglong>(order[i]), value, median > 0 ? QVariant(value / median) : QVariant()});
        keys.emplace_back(QVariant::fromValue<qlonglong>(order[i]));
    }
    m_table->metrics()->set({{tr("channel"), tr("Number of the input channel, from 0"), MetricColumn::Kind::Integer},
                                {tr("max |W|"), tr("max over rows of |W_rj|"), MetricColumn::Kind::Number},
                                {tr("÷ median"), tr("max |W_rj| / median over the columns"), MetricColumn::Kind::Number}},
        std::move(rows), std::move(keys));
}

void ChannelsPanel::selectionChanged()
{
    const Index channel = bench().selection().state().channel;
    m_heatmap->setSelectedColumn(channel);
    m_heatmap->setSelectedRow(bench().selection().state().row);
    m_table->selectKey(channel < 0 ? QVariant() : QVariant::fromValue<qlonglong>(channel));
    const auto place = std::find(m_order.begin(), m_order.end(), static_cast<int>(channel));
    m_plot->setSelectedX(channel < 0 || place == m_order.end() ? std::nan("") : static_cast<double>(place - m_order.begin()));
}

} // namespace qs::views
