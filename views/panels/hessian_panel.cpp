// SPDX-License-Identifier: GPL-3.0-or-later
#include "views/panels/hessian_panel.h"

#include "core/session/format_number.h"
#include "views/plot/plot_view.h"
#include "views/theme/tokens.h"
#include "views/widgets/number_text.h"

#include <QRegularExpression>
#include <QVBoxLayout>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace qs::views {

using session::integerText;

namespace {

constexpr double kUsualDamp = 0.01;

/// The core's sentence serves the command line too, where 1.6e+02 and 1536 are usual; here they are 160 and 1,536, and a
/// condition has the digits that it has in the table below.
QString verdictText(const analysis::HessianReport& report)
{
    QString text = QString::fromStdString(report.verdict);
    auto exact = [&text](const QString& pattern, double value) {
        const auto match = QRegularExpression(pattern).match(text);
        if (match.hasMatch())
            text.replace(match.capturedStart(1), match.capturedLength(1), humanText(value));
    };
    const QString number = QStringLiteral("(\\d+(?:\\.\\d+)?(?:e[+-]\\d+)?)");
    if (report.conditionLive)
        exact(QStringLiteral("condition ") + number, *report.conditionLive);
    for (const auto& step : report.damping)
        if (step.damp == kUsualDamp)
            exact(QStringLiteral("the condition to ") + number, step.condition);
    static const QRegularExpression scientific(QStringLiteral("\\d(?:\\.\\d+)?e[+-]\\d+"));
    for (auto match = scientific.match(text); match.hasMatch(); match = scientific.match(text))
        text.replace(match.capturedStart(), match.capturedLength(), humanText(match.captured().toDouble()));
    static const QRegularExpression plain(QStringLiteral("(?<![\\d.,])\\d{4,}(?![\\d,]|\\.\\d)"));
    for (auto match = plain.match(text); match.hasMatch(); match = plain.match(text))
        text.replace(match.capturedStart(), match.capturedLength(), integerText(match.captured().toLongLong()));
    return text;
}

/// Where channels are dead, C is singular, but solvers set them aside: then the number is of the rest, and its name says so.
NumberList::Item conditionItem(const analysis::HessianReport& h)
{
    const QString formula = QObject::tr("λ max / λ min: how much an error in a weak direction is amplified");
    if (!h.rank)
        return {QObject::tr("condition, undamped"), QStringLiteral("–"), formula};
    if (h.dead.empty() || !h.conditionLive)
        return {QObject::tr("condition, undamped"),
            h.conditionLive ? humanText(*h.conditionLive) : QObject::tr("rank deficient"), formula};
    return {QObject::tr("condition, live channels"), humanText(*h.conditionLive),
        QObject::tr("%1, undamped, of the channels that are not dead; C with them is singular and has no condition")
            .arg(formula)};
}

} // namespace

HessianPanel::HessianPanel(PanelContext context, QWidget* parent)
    : LayerPanel(context, tr("Hessian"), parent)
    , m_verdict(makeLabel({}))
    , m_numbers(new NumberList)
    , m_diagonalCard(new Card(tr("Diagonal"), tr("C_jj, sorted; click selects the channel")))
    , m_diagonal(new PlotView)
    , m_spectrumCard(new Card(tr("Spectrum"), tr("eigenvalues of C, descending")))
    , m_spectrum(new PlotView)
    , m_dampingCard(new Card(tr("What damping does"), tr("damp × mean(diag C) is added to the diagonal")))
    , m_damping(new PlotView)
    , m_numberCard(new Card(tr("Second moment C = Σ x xᵀ / T"), {}))
{
    m_verdict->setWordWrap(true);
    m_numberCard->addWidget(m_verdict, 0);
    m_numberCard->addWidget(m_numbers, 0);
    m_diagonalCard->addWidget(m_diagonal);
    m_diagonalCard->setExport(m_diagonal);
    m_spectrumCard->addWidget(m_spectrum);
    m_spectrumCard->setExport(m_spectrum);
    m_dampingCard->addWidget(m_damping);
    m_dampingCard->setExport(m_damping);
    for (PlotView* plot : {m_diagonal, m_spectrum, m_damping})
        plot->setMinimumHeight(210);
    page()->addWidget(m_numberCard, 0);
    page()->addWidget(makeRow({m_diagonalCard, m_spectrumCard}), 3);
    page()->addWidget(m_dampingCard, 2);
    page()->addStretch(0);
    connect(m_diagonal, &PlotView::pointClicked, this,
        [this](int, int channel) { bench().selection().selectChannel(channel, this); });
}

void HessianPanel::refresh(const session::LayerView& view)
{
    const analysis::InputAnalysis& input = *view.analysis.input;
    if (!input.hessian) {
        showNeedsCalibration(tr("No Gram matrix in the dump"), QString::fromStdString(input.why));
        return;
    }
    const analysis::HessianReport& h = *input.hessian;
    m_verdict->setText(verdictText(h));
    m_numberCard->setSubtitle(
        tr("%1 input channels, %2 tokens, the whole dump; the loss has 2C").arg(integerText(h.dims), integerText(h.tokens)));
    const auto optional
        = [](const auto& value) { return value ? humanText(static_cast<double>(*value)) : QStringLiteral("–"); };
    std::vector<NumberList::Item> items{
        {tr("tokens per channel"), humanText(h.tokensPerChannel),
            tr("T / d; below 1 the matrix is singular, below 10 it is thin"),
            h.tokensPerChannel < 1        ? "bad"
                : h.tokensPerChannel < 10 ? "warning"
                                          : nullptr},
        {tr("rank"), h.rank ? QStringLiteral("%1 of %2").arg(integerText(*h.rank), integerText(h.live())) : QStringLiteral("–"),
            tr("eigenvalues above 1e-7 of the largest, of the channels that are not dead"),
            h.rank && *h.rank < h.live() ? "warning" : nullptr},
        {tr("effective rank"), humanText(h.effectiveRank),
            tr("exp(−Σ p ln p), p = λ / Σ λ: how many directions share the energy")},
        conditionItem(h),
        {tr("trace"), humanText(h.trace), tr("Σ C_jj = mean |x|²")},
        {tr("λ max"), humanText(h.lambdaMax), tr("largest eigenvalue of C, units of x²")},
        {tr("λ min"), h.lambdaMin && *h.lambdaMin <= 0 ? QStringLiteral("0") : optional(h.lambdaMin),
            h.lambdaMin && *h.lambdaMin <= 0
                ? tr("smallest eigenvalue of C: computed as %1, which is 0 to rounding").arg(humanText(*h.lambdaMin))
                : h.dead.empty() ? tr("smallest eigenvalue of C, units of x²")
                                 : tr("smallest eigenvalue of C without the dead channels, units of x²")},
        {tr("share of the largest"), h.trace > 0 ? session::percentText(h.lambdaMax / h.trace) : QStringLiteral("–"),
            tr("λ max / trace")},
        {tr("dead channels"), integerText(static_cast<Index>(h.dead.size())),
            tr("C_jj = 0: never used by the calibration text"), h.dead.empty() ? nullptr : "warning"},
        {tr("sensitivity"),
            view.analysis.sensitivity.outputError ? session::percentText(*view.analysis.sensitivity.outputError)
                                                  : QStringLiteral("–"),
            tr("output error of rtn(bits=4, group=auto, grid=asym-0) on the %1; it screens, only rank compares layers")
                .arg(view.analysis.sensitivity.holdout ? tr("holdout") : tr("whole dump"))},
    };
    m_numbers->set(items, 2);

    m_order.resize(h.diagonal.size());
    std::iota(m_order.begin(), m_order.end(), 0);
    std::stable_sort(m_order.begin(), m_order.end(),
        [&](int a, int b) { return h.diagonal[static_cast<std::size_t>(a)] > h.diagonal[static_cast<std::size_t>(b)]; });
    PlotData diagonal;
    diagonal.x = {tr("input channels, sorted by C_jj"), false, false, true, {}, {}, {}, tr("rank")};
    diagonal.y = {tr("C_jj, units of x²"), true, false, false, {}, {}, {}};
    PlotSeries line;
    line.name = tr("C_jj");
    for (std::size_t i = 0; i < m_order.size(); ++i) {
        line.points.emplace_back(static_cast<double>(i), h.diagonal[static_cast<std::size_t>(m_order[i])]);
        line.keys.push_back(m_order[i]);
        line.labels.push_back(tr("channel %1").arg(integerText(m_order[i])));
    }
    diagonal.series.push_back(std::move(line));
    m_diagonal->setData(std::move(diagonal));

    PlotData spectrum;
    spectrum.x = {tr("number of the eigenvalue, largest first"), false, false, true, {}, {}, {}, tr("rank")};
    spectrum.y = {tr("λ, units of x²"), true, false, false, {}, {}, {}};
    PlotSeries values;
    values.name = tr("λ");
    values.colour = 3;
    const double floor = h.lambdaMax * 1e-12;
    Index below = 0;
    for (std::size_t i = 0; i < h.eigenvalues.size(); ++i) {
        if (h.eigenvalues[i] > floor)
            values.points.emplace_back(static_cast<double>(i), h.eigenvalues[i]);
        else
            ++below;
    }
    spectrum.series.push_back(std::move(values));
    if (h.rank && *h.rank < h.live())
        spectrum.markers.push_back({static_cast<double>(*h.rank), tr("rank %1").arg(integerText(*h.rank)), true, -2});
    if (below > 0)
        spectrum.note = tr("%1 below 10⁻¹² of the largest not drawn").arg(integerText(below));
    if (h.eigenvalues.empty())
        spectrum.note = tr("not computed above %1 channels").arg(analysis::HessianOptions().spectrumLimit);
    m_spectrum->setData(std::move(spectrum));

    PlotData damping;
    damping.x = {tr("damp, share of mean(diag C)"), true, false, false, {}, {}, {}};
    if (!h.damping.empty()) { // whole dots at both ends
        damping.x.lo = h.damping.front().damp / 1.4;
        damping.x.hi = h.damping.back().damp * 1.4;
    }
    damping.y = {tr("condition, λ max / λ min"), true, false, false, {}, {}, {}};
    PlotSeries curve;
    curve.name = tr("condition after damping");
    PlotSeries dots = curve;
    dots.kind = PlotSeries::Kind::Points;
    for (const auto& step : h.damping) {
        curve.points.emplace_back(step.damp, step.condition);
        dots.points.emplace_back(step.damp, step.condition);
        dots.labels.push_back(tr("added to the diagonal: %1").arg(humanText(step.lambda)));
    }
    damping.series = {std::move(curve), std::move(dots)};
    damping.markers.push_back({kUsualDamp, tr("default 0.01"), true, -1});
    m_damping->setData(std::move(damping));
}

void HessianPanel::selectionChanged()
{
    const Index channel = bench().selection().state().channel;
    const auto place = std::find(m_order.begin(), m_order.end(), static_cast<int>(channel));
    m_diagonal->setSelectedX(
        channel < 0 || place == m_order.end() ? std::nan("") : static_cast<double>(place - m_order.begin()));
}

} // namespace qs::views
