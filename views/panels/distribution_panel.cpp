// SPDX-License-Identifier: GPL-3.0-or-later
#include "views/panels/distribution_panel.h"

#include "core/session/format_number.h"
#include "views/panels/pipeline_text.h"
#include "views/plot/plot_view.h"
#include "views/widgets/choice_box.h"

#include <QPushButton>
#include <QVBoxLayout>

#include <cmath>

namespace qs::views {

using session::integerText;
using session::numberText;
using session::percentText;

namespace {

enum What { WeightValues, InputValues };

PlotSeries steps(const reduce::Histogram& histogram, const QString& name, int colour)
{
    PlotSeries series;
    series.kind = PlotSeries::Kind::Steps;
    series.name = name;
    series.colour = colour;
    for (std::size_t i = 0; i < histogram.counts.size(); ++i)
        series.points.emplace_back(
            histogram.lo + static_cast<double>(i) * histogram.binWidth(), static_cast<double>(histogram.counts[i]));
    return series;
}

} // namespace

DistributionPanel::DistributionPanel(PanelContext context, QWidget* parent)
    : LayerPanel(context, tr("Distribution"), parent)
    , m_what(new ChoiceBox)
    , m_calibrate(new QPushButton(tr("Calibrate…")))
    , m_weightCard(new Card(tr("Weights")))
    , m_weights(new PlotView)
    , m_codeCard(new Card(tr("In code units"), tr("w / s + z before rounding; dashed lines: lowest and highest code")))
    , m_codes(new PlotView)
    , m_errorCard(new Card(tr("Error W − Ŵ")))
    , m_error(new PlotView)
    , m_numberCard(new Card(tr("Numbers")))
    , m_numbers(new NumberList)
{
    m_what->addItem(tr("weights"), WeightValues);
    m_what->addItem(tr("inputs"), InputValues);
    m_what->setAccessibleName(tr("Weights or inputs"));
    m_what->setToolTip(tr("The weights W, or what the layer receives: the raw tokens of the dump"));
    m_weightCard->header()->addWidget(m_what);
    m_weightCard->addWidget(m_weights);
    m_weightCard->content()->addWidget(m_calibrate, 0, Qt::AlignHCenter);
    m_weightCard->setExport(m_weights);
    m_calibrate->hide();
    connect(m_what, &QComboBox::currentIndexChanged, this, &DistributionPanel::markDirty);
    connect(m_calibrate, &QPushButton::clicked, this, &DistributionPanel::calibrateRequested);
    m_codeCard->addWidget(m_codes);
    m_codeCard->setExport(m_codes);
    m_errorCard->addWidget(m_error);
    m_errorCard->setExport(m_error);
    m_numberCard->addWidget(m_numbers, 0);
    m_numberCard->content()->addStretch(1);
    m_weights->setMinimumHeight(240);
    m_codes->setMinimumHeight(200);
    m_error->setMinimumHeight(200);
    page()->addWidget(m_weightCard, 3);
    page()->addWidget(makeRow({m_codeCard, m_errorCard, m_numberCard}, {4, 4, 5}), 3);
    connect(&bench(), &session::Workbench::layerResultsChanged, this, &DistributionPanel::markDirty);
    connect(&bench().selection(), &session::SelectionModel::changed, this, &DistributionPanel::markDirty);
}

void DistributionPanel::refresh(const session::LayerView& /*view*/)
{
    draw();
}

void DistributionPanel::draw()
{
    const session::LayerView& view = *bench().layerView().value;
    const bool inputs = m_what->currentData().toInt() == InputValues;
    m_weightCard->setTitle(inputs ? tr("Inputs") : tr("Weights"));
    m_codeCard->setVisible(!inputs);
    m_errorCard->setTitle(inputs ? tr("Error x − x̂") : tr("Error W − Ŵ"));
    m_calibrate->setVisible(inputs && !view.inputs);
    if (inputs)
        drawInputs(view);
    else
        drawWeights(view);
}

DistributionPanel::Chosen DistributionPanel::chosen() const
{
    Chosen it;
    it.pipeline = static_cast<std::size_t>(std::max(bench().selection().state().pipeline, 0));
    it.result = bench().layerResult(it.pipeline);
    it.known = it.pipeline < bench().state().pipelines.size();
    if (it.known)
        it.name = session::pipelineLetter(it.pipeline) + u' ' + pipelineName(bench(), bench().state().pipelines[it.pipeline]);
    return it;
}

void DistributionPanel::drawInputs(const session::LayerView& view)
{
    const auto [pipeline, result, known, name] = chosen();
    const bool wantsGrid = known && !bench().state().pipelines[pipeline][recipe::Slot::ActivationGrid].empty();
    const session::InputDistribution* grid = result.value ? result.value->inputs.get() : nullptr;

    std::vector<NumberList::Item> numbers;
    PlotData plot;
    PlotData error;
    plot.x.title
        = grid && grid->transformed ? tr("input T x, after the transform of %1").arg(name) : tr("input x, as in the model");
    plot.y.title = tr("values per bin");
    plot.y.log = true;
    plot.y.lo = 0.5; // a bin that holds a single value has a height
    error.empty
        = wantsGrid ? tr("Not computed yet.") : tr("The pipeline keeps the inputs as they are: it has no activation grid.");
    if (!view.inputs) {
        plot.empty = !bench().dump()
            ? tr("No calibration yet: run a text through the model and keep raw tokens of every input.")
            : tr("The dump holds no raw tokens of this input. Calibrate again with raw tokens kept.");
        error.empty = tr("Needs raw tokens.");
        m_weightCard->setSubtitle({});
        m_errorCard->setSubtitle({});
    } else {
        const reduce::Histogram& raw = *view.inputs;
        const QString tokens = tr("%1 raw tokens of the dump × %2 channels")
                                   .arg(integerText(view.rawTokens->rows()), integerText(view.rawTokens->cols()));
        if (grid) {
            plot.series.push_back(steps(grid->before, tr("before"), -1));
            plot.series.push_back(steps(grid->after, tr("after %1").arg(name), static_cast<int>(pipeline)));
            for (const float level : grid->levels)
                plot.markers.push_back({level, {}, true, -4});
            m_weightCard->setSubtitle(tr("%1; grey: before, colour: on the grid of %2; dashed: its %3 levels%4")
                                          .arg(tokens, name)
                                          .arg(grid->levels.size())
                                          .arg(grid->ranges > 1 ? tr(" (median scale of %1)").arg(grid->ranges) : QString()));
            error.series.push_back(steps(grid->error, tr("x − x̂"), static_cast<int>(pipeline)));
            error.x.title = tr("x − x̂, as in the model");
            error.y.title = tr("values per bin");
            m_errorCard->setSubtitle(name);
            numbers.push_back({tr("clipped"), percentText(grid->clippedShare),
                tr("share of inputs outside their grid by more than half a step"),
                grid->clippedShare > 0.01 ? "warning" : nullptr});
        } else {
            plot.series.push_back(steps(raw, tr("inputs"), -1));
            using State = session::Loadable<session::LayerResult>::State;
            m_weightCard->setSubtitle(!wantsGrid     ? tokens
                    : result.state == State::Failed  ? QString::fromStdString(result.error.line())
                    : result.state == State::Loading ? tr("%1; %2 is being computed").arg(tokens, name)
                                                     : tokens);
            m_errorCard->setSubtitle({});
        }
        numbers.push_back({tr("kurtosis, one mean"),
            grid ? QStringLiteral("%1 → %2").arg(numberText(raw.kurtosis), numberText(grid->after.kurtosis))
                 : numberText(raw.kurtosis),
            grid ? tr(
                "m4 / m2² around the mean of all values, of x → on the grid; a Gaussian has 3. Channels centres every channel "
                "on its own mean")
                 : tr("m4 / m2² around the mean of all values; a Gaussian has 3. Channels centres every channel on its own "
                      "mean")});
        numbers.push_back(
            {tr("range"), QStringLiteral("%1 … %2").arg(numberText(raw.min), numberText(raw.max)), tr("min x … max x")});
        numbers.push_back({tr("standard deviation"), numberText(std::sqrt(raw.variance)), tr("of all values together")});
        numbers.push_back({tr("NaN or Inf"), integerText(static_cast<Index>(raw.nonFinite())),
            tr("raw values that are not finite"), raw.nonFinite() > 0 ? "bad" : nullptr});
    }
    m_weights->setData(std::move(plot));
    m_error->setData(std::move(error));
    m_codes->setData({});
    m_numbers->set(numbers);
}

void DistributionPanel::drawWeights(const session::LayerView& view)
{
    const auto [pipeline, result, known, name] = chosen();
    const session::DistributionResult* d = result.value ? result.value->distribution.get() : nullptr;

    std::vector<NumberList::Item> numbers;
    PlotData weights;
    weights.x.title = tr("weight w, as in the model");
    weights.y.title = tr("weights per bin");
    weights.y.log = true;
    weights.y.lo = 0.5; // a bin that holds a single weight has a height
    PlotData codes;
    PlotData error;
    if (d) {
        weights.series.push_back(steps(d->before, tr("before"), -1));
        weights.series.push_back(steps(d->after, tr("after %1").arg(name), static_cast<int>(pipeline)));
        for (const float level : d->levels)
            weights.markers.push_back({level, {}, true, -4});
        QString subtitle = tr("grey: as stored, colour: after %1").arg(name);
        if (!d->levels.empty())
            subtitle += tr("; dashed: the %1 levels of row %2, group %3 (median scale)")
                            .arg(d->levels.size())
                            .arg(d->levelsRow)
                            .arg(d->levelsGroup);
        m_weightCard->setSubtitle(subtitle);
        error.series.push_back(steps(d->error, tr("W − Ŵ"), static_cast<int>(pipeline)));
        error.x.title = tr("W − Ŵ, as in the model");
        error.y.title = tr("weights per bin");
        m_errorCard->setSubtitle(name);
        if (d->codes) {
            PlotSeries units = steps(d->codes->units, tr("before rounding"), static_cast<int>(pipeline));
            codes.series.push_back(std::move(units));
            codes.x.title = tr("code, steps of the grid");
            codes.x.integer = true;
            codes.y.title = tr("weights per bin");
            codes.markers.push_back({static_cast<double>(d->codes->lowestCode), tr("lowest"), true, -1});
            codes.markers.push_back(
                {static_cast<double>(d->codes->lowestCode) + static_cast<double>(d->codes->codes.size()) - 1, tr("highest"),
                    true, -1});
            numbers.push_back({tr("clipped"), percentText(d->codes->clippedShare),
                tr("share of weights outside the grid by more than half a step"),
                d->codes->clippedShare > 0.01 ? "warning" : nullptr});
            numbers.push_back({tr("entropy of the codes"), tr("%1 bits").arg(numberText(d->codes->entropyBits)),
                tr("−Σ p log2 p over the codes: what a perfect entropy coder would need per weight")});
        }
        numbers.push_back(
            {tr("kurtosis"), QStringLiteral("%1 → %2").arg(numberText(d->before.kurtosis), numberText(d->after.kurtosis)),
                tr("m4 / m2² of W → of Ŵ; a Gaussian has 3")});
        numbers.push_back({tr("range"), QStringLiteral("%1 … %2").arg(numberText(d->before.min), numberText(d->before.max)),
            tr("min W … max W")});
        const std::uint64_t bad = d->before.nonFinite() + d->after.nonFinite();
        numbers.push_back({tr("NaN or Inf"), integerText(static_cast<Index>(bad)), tr("values of W and Ŵ that are not finite"),
            bad > 0 ? "bad" : nullptr});
        numbers.push_back(
            {tr("weight SQNR"), tr("%1 dB").arg(numberText(result.value->metrics.weightSqnrDb)), tr("10 log10(Σ W² / Σ dW²)")});
        numbers.push_back({tr("zeros"), percentText(result.value->sparsity), tr("share of zeros in Ŵ")});
    } else {
        const reduce::Histogram& before = view.weights;
        weights.series.push_back(steps(before, tr("before"), -1));
        using State = session::Loadable<session::LayerResult>::State;
        m_weightCard->setSubtitle(result.state == State::Loading ? tr("as stored; %1 is being computed").arg(name)
                : result.state == State::Failed                  ? QString::fromStdString(result.error.line())
                                                                 : tr("as stored"));
        numbers.push_back({tr("kurtosis"), numberText(before.kurtosis), tr("m4 / m2²; a Gaussian has 3")});
        numbers.push_back(
            {tr("range"), QStringLiteral("%1 … %2").arg(numberText(before.min), numberText(before.max)), tr("min W … max W")});
    }
    if (view.analysis.existingGrid)
        numbers.push_back({tr("already on a grid"),
            tr("%1 bits, block %2").arg(view.analysis.existingGrid->bits).arg(view.analysis.existingGrid->block),
            QString::fromStdString(view.analysis.existingGrid->sentence), "warning"});
    codes.empty = tr("The pipeline has no grid, or is not computed yet.");
    error.empty = tr("Not computed yet.");
    m_weights->setData(std::move(weights));
    m_codes->setData(std::move(codes));
    m_error->setData(std::move(error));
    m_numbers->set(numbers);
}

} // namespace qs::views
