// SPDX-License-Identifier: GPL-3.0-or-later
#include "views/panels/qsur_panel.h"

#include "core/session/format_number.h"
#include "views/plot/plot_view.h"
#include "views/theme/tokens.h"
#include "views/widgets/choice_box.h"
#include "views/widgets/number_text.h"

#include <QHBoxLayout>
#include <QSignalBlocker>
#include <QVBoxLayout>

#include <cmath>

namespace qs::views {

using session::integerText;

using session::percentText;

namespace {

constexpr double kNatsToBits = 1.4426950408889634;

/// Of a singular covariance: why r is 0, and the readings that still tell layers apart. Says what the core's note says.
QString singularVerdict(const analysis::Qsur& q, bool weights)
{
    const bool tooFew = q.samples > 0 && q.samples <= q.dims;
    QString text = tooFew
        ? (weights ? QObject::tr("%1 rows span at most %2 of %3 channels, so r is 0 whatever the transform.")
                   : QObject::tr("%1 tokens span at most %2 of %3 channels, so r is 0 whatever the transform."))
              .arg(integerText(q.samples), integerText(q.samples - 1), integerText(q.dims))
        : QObject::tr("The covariance is singular (a channel is constant or a combination of others), so r is 0 whatever the "
                      "transform.");
    if (q.rank)
        text += QObject::tr(" In the %1 of %2 directions that vary r is %3: %4 bits are lost in each.")
                    .arg(integerText(*q.rank), integerText(q.dims), humanText(q.rSub), humanText(-std::log2(q.rSub)));
    if (q.samples > 0)
        text += QObject::tr(" Of the covariance shrunk towards equal variances r is %1.").arg(humanText(q.rShrunk));
    if (tooFew && !weights)
        text += QObject::tr(" Calibrate with more tokens than channels to have r itself.");
    return text;
}

QString verdictOf(const analysis::Qsur& q, bool weights)
{
    if (q.deficient)
        return singularVerdict(q, weights);
    const double best = std::max(q.ceilingScaling, q.ceilingRotation);
    QString text
        = QObject::tr("%1 of the box is used: %2 bits per channel are lost. ").arg(percentText(q.r), humanText(q.lostBits));
    if (best < q.r * 1.15)
        text += QObject::tr("Neither scaling nor rotation alone helps much.");
    else if (q.ceilingRotation > q.ceilingScaling)
        text += QObject::tr("A rotation helps more (up to %1) than scaling (%2).")
                    .arg(percentText(q.ceilingRotation), percentText(q.ceilingScaling));
    else
        text += QObject::tr("Scaling helps more (up to %1) than a rotation (%2).")
                    .arg(percentText(q.ceilingScaling), percentText(q.ceilingRotation));
    if (!q.note.empty())
        text += u' ' + QString::fromStdString(q.note);
    return text;
}

} // namespace

QsurPanel::QsurPanel(PanelContext context, QWidget* parent)
    : LayerPanel(context, tr("QSUR"), parent)
    , m_of(new ChoiceBox)
    , m_barCard(new Card(tr("Use of the box"), tr("r now, and the best that each kind of transform could reach")))
    , m_bars(new PlotView)
    , m_splitCard(new Card(tr("Where the bits go"), tr("two exact splits of the same loss, bits per channel")))
    , m_split(new PlotView)
    , m_numberCard(new Card(tr("Numbers")))
    , m_verdict(makeLabel({}))
    , m_numbers(new NumberList)
{
    m_of->setObjectName(QStringLiteral("qsurOf"));
    m_of->addItem(tr("inputs"));
    m_of->addItem(tr("weights"));
    m_barCard->header()->addWidget(m_of);
    m_barCard->addWidget(m_bars);
    m_barCard->setExport(m_bars);
    m_splitCard->addWidget(m_split);
    m_splitCard->setExport(m_split);
    m_verdict->setWordWrap(true);
    m_numberCard->addWidget(m_verdict, 0);
    m_numberCard->addWidget(m_numbers, 0);
    m_bars->setMinimumHeight(260);
    m_split->setMinimumHeight(260);
    page()->addWidget(makeRow({m_barCard, m_splitCard}, {4, 5}), 1);
    page()->addWidget(m_numberCard, 0);
    page()->addStretch(0);
    connect(m_of, &QComboBox::currentIndexChanged, this, &QsurPanel::draw);
    connect(m_of, &QComboBox::activated, this, [this] { m_chosen = true; });
}

void QsurPanel::refresh(const session::LayerView& view)
{
    m_view = bench().layerView().value;
    const bool inputs = view.analysis.input && view.analysis.input->qsur;
    if (!inputs && !view.analysis.weightQsur) {
        showNeedsCalibration(tr("No covariance"),
            view.analysis.input ? QString::fromStdString(view.analysis.input->why)
                                : tr("Needs a calibration with Gram matrices."));
        return;
    }
    if (!m_chosen) { // inputs where there are any, until somebody chooses
        const QSignalBlocker blocker(m_of);
        m_of->setCurrentIndex(inputs ? 0 : 1);
    }
    draw();
}

void QsurPanel::draw()
{
    if (!m_view)
        return;
    const bool weights = m_of->currentIndex() == 1;
    const auto* input = m_view->analysis.input.get();
    const std::optional<analysis::Qsur> none;
    const auto& qsur = weights ? m_view->analysis.weightQsur : input ? input->qsur : none;
    m_barCard->setSubtitle(weights ? tr("rows of W as samples") : tr("centred inputs of the whole dump"));
    if (!qsur) {
        PlotData missing;
        missing.empty = weights ? tr("Not available for these weights.") : tr("Inputs need a calibration with Gram matrices.");
        m_bars->setData(missing);
        m_split->setData(missing);
        m_numbers->set({});
        m_verdict->setText(
            weights ? tr("Not available for these weights.") : tr("Inputs need a calibration with Gram matrices."));
        return;
    }
    const analysis::Qsur& q = *qsur;
    PlotData bars;
    bars.x.categories = {tr("now"), tr("scaling"), tr("rotation"), tr("both")};
    bars.x.title = tr("now, and the best reachable by");
    bars.y.title = tr("r, share of the box per channel");
    bars.y.percent = true;
    bars.y.lo = 0;
    bars.y.hi = 1;
    PlotSeries series;
    series.kind = PlotSeries::Kind::Bars;
    series.name = tr("r");
    const std::array<double, 4> values{q.r, q.ceilingScaling, q.ceilingRotation, q.ceilingBoth};
    for (std::size_t i = 0; i < values.size(); ++i)
        series.points.emplace_back(static_cast<double>(i), values[i]);
    bars.series.push_back(std::move(series));
    m_bars->setData(std::move(bars));

    PlotData split;
    split.x.categories = {tr("imbalance"), tr("correlation"), tr("basis"), tr("anisotropy")};
    split.x.title = tr("scaling first, then rotation   |   rotation first, then scaling");
    split.y.title = tr("bits per channel");
    PlotSeries parts;
    parts.kind = PlotSeries::Kind::Bars;
    parts.name = tr("lost bits");
    parts.colour = 1;
    // -2 ln r is split in nats; half of it in bits is log2(1 / r).
    const std::array<double, 4> nats{q.channelImbalance, q.correlation, q.basisImbalance, q.anisotropy};
    for (std::size_t i = 0; i < nats.size(); ++i)
        if (std::isfinite(nats[i])) // a singular covariance has infinite parts; the verdict below says so
            parts.points.emplace_back(static_cast<double>(i), nats[i] / 2 * kNatsToBits);
    split.series.push_back(std::move(parts));
    m_split->setData(std::move(split));

    m_verdict->setText(verdictOf(q, weights));
    std::vector<NumberList::Item> items{
        {tr("r"), humanText(q.r),
            tr("r = det(Σ)^(1/(2d)) / max_j √Σ_jj: the share of the quantization box that the data use, per channel")},
        {tr("lost bits per channel"), humanText(q.lostBits),
            tr("log2(1 / r): bits per channel that a perfectly fitting box would save")},
        {tr("best by scaling"), humanText(q.ceilingScaling),
            tr("det(Corr)^(1/(2d)): r after the best scaling of the channels")},
        {tr("best by rotation"), humanText(q.ceilingRotation), tr("√(GM(λ) / AM(λ)): r after the best rotation")},
        {tr("as published"), q.publishedStable ? humanText(q.published) : tr("%1, unstable").arg(humanText(q.published)),
            tr("relative to its own maximum (OSTQuant); unstable where λ1 / λ2 < 1.05, because it then depends on an arbitrary "
               "eigenvector"),
            q.publishedStable ? nullptr : "warning"},
        {tr("λ1 / λ2"), q.lambda2 > 0 ? humanText(q.lambda1 / q.lambda2) : QStringLiteral("–"),
            tr("largest / second largest eigenvalue of Σ")},
        {tr("with the mean, symmetric"), humanText(q.rMeanSymmetric), tr("r of a symmetric range of 6 sd around 0")},
        {tr("with the mean, asymmetric"), humanText(q.rMeanAsymmetric), tr("r of an asymmetric range of 6 sd around the mean")},
        {tr("widest channel"), integerText(q.widestChannel),
            tr("argmax_j Σ_jj: the channel that sets the size of the box; select it in Channels")},
        {tr("rank"), q.rank ? QStringLiteral("%1 of %2").arg(integerText(*q.rank), integerText(q.dims)) : QStringLiteral("–"),
            tr("number of eigenvalues above 1e-7 of the largest"), q.deficient ? "warning" : nullptr},
        {tr("r, shrunk covariance"), humanText(q.rShrunk), tr("OAS weight %1").arg(humanText(q.shrinkage))},
        {tr("sampling bias, nats"), q.samplingBias ? humanText(*q.samplingBias) : QStringLiteral("–"),
            tr("what too few samples alone pretend; not subtracted")},
    };
    if (q.deficient) { // what is left to read
        items.push_back({tr("r, subspace"), q.rank ? humanText(q.rSub) : QStringLiteral("–"),
            tr("√((rank / d) GM(λ) / max_j Σ_jj), GM over the eigenvalues above 1e-7 of the largest")});
        items.push_back({tr("rate, bits per channel"), humanText(q.rateBits),
            tr("Σ log2(1 + 12 λ / Δ²) / (2d): signal above the noise of a 4-bit grid of 6 sd of the widest channel, Δ its "
               "step")});
    }
    m_numbers->set(items, 2);
}

} // namespace qs::views
