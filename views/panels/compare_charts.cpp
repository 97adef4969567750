// SPDX-License-Identifier: GPL-3.0-or-later
// Charts and the end-to-end table of ComparePanel.
#include "views/panels/compare_panel.h"

#include "core/session/format_number.h"
#include "views/panels/pipeline_card.h"
#include "views/panels/pipeline_text.h"
#include "views/plot/plot_view.h"
#include "views/widgets/table_view.h"

#include <QPushButton>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <limits>
#include <numeric>
#include <set>

namespace qs::views {

using session::MetricColumn;
using session::pipelineLetter;

namespace {

constexpr std::size_t kShareBars = 16;
constexpr int kScoreRows = 12;
constexpr double kLogRatio = 30; ///< Errors that lie closer together keep a linear axis; KL never does.
constexpr double kTwoDecades = 100; ///< Beyond this range of errors a linear axis shows only the largest.
constexpr double kBlockMargin = 0.05; ///< Of the axis at each end: the points of the first and last block are whole.
constexpr double kMegabyte = 1e6;

} // namespace

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
    if (model->spec().blocks > 1) { // all of them: a block that was not measured is seen to be missing
        const double last = static_cast<double>(model->spec().blocks - 1);
        chart.x.lo = -last * kBlockMargin;
        chart.x.hi = last * (1 + kBlockMargin);
    }
    const bool dump = bench().dump() != nullptr;
    chart.y.title = dump ? tr("output error") : tr("weight error");
    chart.y.percent = true;
    const auto& all = bench().state().pipelines;
    QStringList quantizing; // their error is that of quantized inputs as well
    for (std::size_t i = 0; dump && i < all.size(); ++i)
        if (!all[i][recipe::Slot::ActivationGrid].empty())
            quantizing << pipelineLetter(i);
    if (!quantizing.isEmpty())
        chart.y.title = tr("output error (%1: and inputs)").arg(quantizing.join(QStringLiteral(", ")));
    double lowest = std::numeric_limits<double>::infinity();
    double highest = 0;
    bool loading = false;
    bool any = false;
    Index skipped = 0;
    for (std::size_t i = 0; i < bench().state().pipelines.size(); ++i) {
        const auto* result = bench().modelResult(bench().state().pipelines[i]);
        loading = loading || (result && result->state == session::Loadable<session::ModelResult>::State::Loading);
        if (!result || !result->ready())
            continue;
        any = true;
        skipped = std::max(skipped, result->value->skipped);
        PlotSeries series;
        series.name = nameOf(i);
        series.colour = static_cast<int>(i);
        series.joinWithin = 1.5; // a block that was not measured is a gap
        for (const auto& [layer, value] : result->value->layers) {
            const model::LayerSpec& spec = model->spec().layers[static_cast<std::size_t>(layer)];
            if (spec.module != current->module || (dump && !value.metrics.hasOutput))
                continue;
            const double error = shownError(value.metrics, bench().state().pipelines[i]).value;
            series.points.emplace_back(spec.block, error);
            if (error > 0) {
                lowest = std::min(lowest, error);
                highest = std::max(highest, error);
            }
            series.keys.push_back(layer);
            series.labels.push_back(QString::fromStdString(spec.name));
        }
        if (!series.points.empty())
            chart.series.push_back(std::move(series));
    }
    for (PlotSeries& series : chart.series)
        series.tag = pipelineLetter(static_cast<std::size_t>(series.colour));
    chart.y.log = highest > kTwoDecades * lowest;
    m_blockCard->setSubtitle(any && skipped > 0
            ? tr("%1, holdout; no Gram for %2 of %3 layers").arg(module).arg(skipped).arg(model->spec().layers.size())
            : any     ? tr("%1, %2; same data for every pipeline").arg(module, dump ? tr("holdout") : tr("no dump"))
                : loading ? tr("%1; computing").arg(module)
                      : tr("%1; not computed yet").arg(module));
    const bool missing
        = std::any_of(bench().state().pipelines.begin(), bench().state().pipelines.end(), [this](const recipe::Pipeline& p) {
              const auto* result = bench().modelResult(p);
              return !result || result->state == session::Loadable<session::ModelResult>::State::Empty
                  || result->state == session::Loadable<session::ModelResult>::State::Cancelled;
          });
    m_compareAll->setVisible(missing);
    m_compareAll->setEnabled(!bench().state().pipelines.empty());
    chart.empty = loading ? tr("Computing; see the jobs.")
        : any             ? tr("The dump has no statistics for any %1: calibrate for all layers.").arg(module)
                          : tr("Not computed yet: compare on all layers.");
    m_blocks->setData(std::move(chart));
}

void ComparePanel::drawPareto()
{
    // KL of the whole model where it was measured, else the mean layer error of the comparison.
    const auto& evaluation = bench().evaluation();
    const bool measured = evaluation.value != nullptr;
    const bool dump = bench().dump() != nullptr;
    PlotData chart;
    chart.x.title = tr("bits per weight, compressed layers");
    chart.y.title = measured ? tr("KL to float, nats per token") : dump ? tr("mean output error") : tr("mean weight error");
    chart.y.percent = !measured;
    std::vector<QPointF> all;
    // Means over different layers do not compare: only those that every pipeline could measure in the same way.
    std::set<model::LayerIndex> common;
    std::size_t layers = 0; ///< That a pipeline was asked to compress.
    bool firstResult = true;
    for (const recipe::Pipeline& pipeline : bench().state().pipelines) {
        const auto* result = bench().modelResult(pipeline);
        if (!result || !result->ready())
            continue;
        std::set<model::LayerIndex> measurable;
        for (const auto& [layer, value] : result->value->layers) {
            if (!dump || value.metrics.hasOutput)
                measurable.insert(layer);
        }
        layers = std::max(layers, result->value->layers.size() + static_cast<std::size_t>(result->value->skipped));
        std::set<model::LayerIndex> both;
        std::set_intersection(
            common.begin(), common.end(), measurable.begin(), measurable.end(), std::inserter(both, both.end()));
        common = firstResult ? measurable : both;
        firstResult = false;
    }
    for (std::size_t i = 0; i < bench().state().pipelines.size(); ++i) {
        const recipe::Pipeline& pipeline = bench().state().pipelines[i];
        QPointF point(std::nan(""), 0);
        if (measured) {
            const std::string text = recipe::formatPipeline(pipeline);
            for (const auto& candidate : evaluation.value->candidates) {
                if (candidate.pipelineText == text)
                    point = {candidate.size.bitsLayers, candidate.scores.klMean};
            }
        } else if (const auto* result = bench().modelResult(pipeline); result && result->ready() && !common.empty()) {
            double sum = 0;
            for (const model::LayerIndex layer : common)
                sum += shownError(result->value->layers.at(layer).metrics, pipeline).value;
            point = {result->value->size.bitsLayers, sum / static_cast<double>(common.size())};
        }
        if (std::isnan(point.x()))
            continue;
        PlotSeries series;
        series.kind = PlotSeries::Kind::Points;
        series.name = nameOf(i);
        series.tag = pipelineLetter(i);
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
    chart.y.log = lowest > 0 && (measured || highest > kLogRatio * lowest);
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
        // One size only: the front is a single point, and half an empty chart would say nothing more.
        if (*chart.x.hi - *chart.x.lo < 3)
            chart.x.hi = *chart.x.lo + 3;
    }
    if (front.points.size() > 1)
        chart.series.insert(chart.series.begin(), std::move(front));
    m_paretoCard->setSubtitle(all.empty() ? tr("compare on all layers, or evaluate, to fill it")
            : measured                    ? tr("whole model; dashed: Pareto front; click selects")
            : common.size() < layers
            ? tr("mean of %1 of %2 layers: those that all could measure; dashed: Pareto front").arg(common.size()).arg(layers)
            : tr("mean over the layers; dashed: Pareto front; click selects"));
    chart.empty = tr("One point per pipeline, once it was compared on all layers or evaluated end to end.");
    m_pareto->setData(std::move(chart));
}

void ComparePanel::drawShares()
{
    const auto pipeline = static_cast<std::size_t>(std::max(bench().selection().state().pipeline, 0));
    const auto result = bench().layerResult(pipeline);
    m_sharesOf = pipeline;
    m_shareOrder.clear();
    PlotData chart;
    chart.x.title = tr("input channel, largest share first");
    chart.y.title = tr("share of the error");
    chart.y.percent = true;
    if (result.value && result.value->shares && result.value->shares->total > 0) {
        const metrics::ErrorShares& shares = *result.value->shares;
        m_shareOrder.resize(shares.byInput.size());
        std::iota(m_shareOrder.begin(), m_shareOrder.end(), 0);
        const std::size_t count = std::min(m_shareOrder.size(), kShareBars);
        std::partial_sort(m_shareOrder.begin(), m_shareOrder.begin() + static_cast<std::ptrdiff_t>(count), m_shareOrder.end(),
            [&](int a, int b) {
                return shares.byInput[static_cast<std::size_t>(a)] > shares.byInput[static_cast<std::size_t>(b)];
            });
        m_shareOrder.resize(count);
        PlotSeries bars;
        bars.kind = PlotSeries::Kind::Bars;
        bars.name = tr("share of the error of %1").arg(pipelineLetter(pipeline));
        bars.colour = static_cast<int>(pipeline);
        for (std::size_t i = 0; i < count; ++i) {
            const int channel = m_shareOrder[i];
            chart.x.categories << QString::number(channel);
            bars.points.emplace_back(static_cast<double>(i), shares.byInput[static_cast<std::size_t>(channel)] / shares.total);
            bars.keys.push_back(channel);
        }
        chart.series.push_back(std::move(bars));
        m_shareCard->setSubtitle(
            tr("which of %1 input channels the error of %2 comes from; click selects")
                .arg(session::integerText(static_cast<Index>(shares.byInput.size())), pipelineLetter(pipeline)));
    } else {
        m_shareCard->setSubtitle(tr("which input channels the error comes from"));
    }
    const session::LayerView* view = bench().layerView().value.get();
    chart.empty = bench().dump() && view && !view->C
        ? tr("The dump has no Gram matrix of this layer's input: calibrate for all layers.")
        : bench().dump() ? tr("Computed with the selected pipeline.")
                         : tr("Needs a calibration: the error of a channel depends on what it carries.");
    m_shares->setData(std::move(chart));
    markChannel();
}

void ComparePanel::markChannel()
{
    const auto place
        = std::find(m_shareOrder.begin(), m_shareOrder.end(), static_cast<int>(bench().selection().state().channel));
    m_shares->setSelectedX(place == m_shareOrder.end() ? std::nan("") : static_cast<double>(place - m_shareOrder.begin()));
}

void ComparePanel::fillScores()
{
    using State = session::Loadable<session::Evaluation>::State;
    const auto& evaluation = bench().evaluation();
    m_evaluate->setEnabled(
        evaluation.state != State::Loading && bench().model() && bench().model()->spec().family != model::Family::Plain);
    m_scores->setVisible(evaluation.value != nullptr);
    m_protocol->setVisible(evaluation.value != nullptr);
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
        if (std::find(first.begin(), first.end(), key) == first.end() && key != "delta_nll_se") // it has no column
            put(key, value);
    }
    // What the calibrated pipelines were made from; another dump drops the scores.
    if (const auto& dump = bench().dump())
        protocol << tr("calibration %1, %2 tokens, policy %3")
                        .arg(QString::fromStdString(dump->path().filename().string()),
                            session::integerText(dump->info().tokens), QString::fromStdString(dump->info().policy));
    else
        protocol << tr("no calibration");
    m_scoreCard->setSubtitle(tr("the whole model with each pipeline on all layers"));
    m_protocol->setText(tr("Protocol: %1.").arg(protocol.join(QStringLiteral("; "))));
    std::vector<MetricColumn> columns{
        {tr("pipeline on all layers"), tr("The last one is the assigned recipe, where there is one"), MetricColumn::Kind::Text},
        {tr("perplexity"), tr("exp(mean negative log likelihood of the next token)"), MetricColumn::Kind::Number, 4},
        {tr("± se"), tr("Standard error of the perplexity: ppl · sd(nll) / √n"), MetricColumn::Kind::Number},
        {tr("KL, nats"), tr("Mean over predicted tokens of Σ p ln(p / q), p the float model, q the candidate"),
            MetricColumn::Kind::Number},
        {tr("± se, nats"), tr("Standard error of the mean KL: sd(KL) / √n"), MetricColumn::Kind::Number},
        {tr("p99, nats"), tr("KL: 99 % of the tokens have at most this one (nearest rank)"), MetricColumn::Kind::Number},
        {tr("top-1"), tr("Same top-1: tokens whose most likely token agrees with float / all predicted tokens"),
            MetricColumn::Kind::Percent},
        {tr("Δ nll, nats"), tr("Mean negative log likelihood minus that of float, paired over windows"),
            MetricColumn::Kind::Number},
        {tr("bits"),
            tr("Bits per weight of the compressed layers only: all codes, scales, zeros and indices × 1 / number of weights"),
            MetricColumn::Kind::Number},
        {tr("file bits"), tr("Every tensor of the checkpoint, those between the layers as well: bits × 1 / number of elements"),
            MetricColumn::Kind::Number},
        {tr("file, MB"), tr("Bytes of all tensors of the checkpoint that an export writes, 1 MB = 10⁶ bytes"),
            MetricColumn::Kind::Number},
        {tr("seconds"), tr("Wall time of the run over the text"), MetricColumn::Kind::Number}};
    std::vector<std::vector<QVariant>> rows;
    const auto& layers = bench().model() ? bench().model()->spec().layers : std::vector<model::LayerSpec>();
    const bool quantized = std::ranges::any_of(layers, [](const model::LayerSpec& layer) { return !isPlain(layer.dtype); });
    rows.push_back({quantized ? tr("as stored, already quantized") : tr("float, as stored"), e.reference.perplexity,
        e.reference.perplexitySe, QVariant(), QVariant(), QVariant(), QVariant(), QVariant(), e.referenceSize.bitsLayers,
        e.referenceSize.bitsFile, e.referenceSize.bytesFile / kMegabyte, e.reference.seconds});
    const auto& pipelines = bench().state().pipelines;
    for (const auto& c : e.candidates) {
        // The evaluation may be older than the letters.
        QString name = QString::fromStdString(c.name);
        for (std::size_t i = 0; i < pipelines.size() && !c.pipelineText.empty(); ++i) {
            if (recipe::formatPipeline(pipelines[i]) == c.pipelineText)
                name = nameOf(i);
        }
        rows.push_back({name, c.scores.perplexity, c.scores.perplexitySe, c.scores.klMean, c.scores.klSe, c.scores.klP99,
            c.scores.top1Agreement, c.scores.deltaNll, c.size.bitsLayers, c.size.bitsFile, c.size.bytesFile / kMegabyte,
            c.scores.seconds});
    }
    m_scores->metrics()->set(std::move(columns), std::move(rows));
    m_scores->fitHeight(kScoreRows);
}

} // namespace qs::views
