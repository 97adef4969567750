// SPDX-License-Identifier: GPL-3.0-or-later
#include "views/panels/pipeline_card.h"

#include "core/recipe/storage.h"
#include "core/session/format_number.h"
#include "views/panels/pipeline_text.h"
#include "views/theme/theme.h"
#include "views/widgets/number_text.h"

#include <QKeyEvent>
#include <QMouseEvent>
#include <QPainter>
#include <QToolButton>
#include <QVBoxLayout>

#include <cmath>

namespace qs::views {

using session::numberText;
using session::percentText;

namespace {

constexpr int kFloatWidth = 112;
constexpr int kNarrowest = 128; ///< Of a pipeline's card; more of them scroll.
constexpr int kFullNames = 200; ///< Width from which names of pipelines and numbers fit.

/// What the last evaluation says of a pipeline on all layers; null when it was not in it.
const session::Evaluation::Candidate* evaluated(const session::Workbench& bench, const recipe::Pipeline& pipeline)
{
    if (!bench.evaluation().value)
        return nullptr;
    const std::string text = recipe::formatPipeline(pipeline);
    for (const auto& candidate : bench.evaluation().value->candidates) {
        if (candidate.pipelineText == text)
            return &candidate;
    }
    return nullptr;
}

QString secondsText(double seconds)
{
    return seconds < 1 ? QObject::tr("%1 ms").arg(numberText(seconds * 1000)) : QObject::tr("%1 s").arg(numberText(seconds));
}

/// Everything that a headline number depends on.
QString provenance(const session::Workbench& bench, const session::LayerResult& result, const ShownError& error)
{
    QString text
        = QStringLiteral("%1 %2\n%3\n%4")
              .arg(error.name, percentText(error.value), error.formula,
                  QString::fromStdString(result.pipelineText).replace(QStringLiteral(" | "), QStringLiteral("\n    | ")));
    if (const auto& dump = bench.dump())
        text += QObject::tr("\ndump %1: %2 tokens, policy %3")
                    .arg(QString::fromStdString(dump->path().filename().string()), session::integerText(dump->info().tokens),
                        QString::fromStdString(dump->info().policy));
    text += result.siteLayers.size() > 1 ? QObject::tr("\nfirst computed in %1, fitted over the %2 layers of the site")
                                               .arg(secondsText(result.seconds))
                                               .arg(result.siteLayers.size())
                                         : QObject::tr("\nfirst computed in %1").arg(secondsText(result.seconds));
    return text + QObject::tr("\nseed 0");
}

} // namespace

FloatCard::FloatCard(QWidget* parent)
    : QFrame(parent)
    , m_title(makeLabel(tr("Float"), "cardtitle"))
    , m_summary(new ElidedLabel({}, "dim"))
    , m_headline(makeLabel(tr("0 %"), "headline"))
    , m_numbers(new NumberList)
{
    setObjectName(QStringLiteral("card"));
    setFixedWidth(kFloatWidth);
    auto* layout = new QVBoxLayout(this);
    layout->setContentsMargins(kCardPadding, kCardPadding + 3, kCardPadding, kCardPadding);
    layout->setSpacing(kGrid);
    layout->addWidget(m_title);
    layout->addWidget(m_summary);
    layout->addWidget(m_headline);
    layout->addWidget(new ElidedLabel(tr("reference"), "small"));
    layout->addWidget(m_numbers);
    layout->addStretch(1);
    setToolTip(tr("The layer as it is stored; errors are measured against it"));
}

void FloatCard::display(const session::Workbench& bench)
{
    const model::LayerSpec* layer = bench.currentLayer();
    const auto model = bench.model();
    if (!layer || !model)
        return;
    m_title->setText(isPlain(layer->dtype) ? tr("Float") : tr("As stored"));
    m_summary->setFullText(
        layer->dtype == DType::Packed ? tr("integers") : tr("%1 stored").arg(QString::fromLatin1(dtypeName(layer->dtype))));
    std::vector<NumberList::Item> items;
    if (model->tensor(layer->weight)) {
        const quant::BitsCount stored = recipe::storedBits(*model, *layer);
        items.push_back({tr("bits"), QString::number(stored.perWeight(), 'f', 2),
            tr("bits per weight: stored bytes of the layer × 8 / number of weights")});
        items.push_back({tr("size"), session::bytesText(stored.total() / 8), tr("stored bytes of the layer")});
    }
    if (const auto& evaluation = bench.evaluation().value)
        items.push_back({tr("ppl"), numberText(evaluation->reference.perplexity, 4),
            tr("perplexity: exp(mean negative log likelihood) of the whole model on the evaluated text")});
    m_numbers->set(items);
}

PipelineCard::PipelineCard(std::size_t index, QWidget* parent)
    : QFrame(parent)
    , m_index(index)
    , m_name(new ElidedLabel({}, "cardtitle"))
    , m_summary(new ElidedLabel({}, "dim"))
    , m_headline(makeLabel({}, "headline"))
    , m_unit(new ElidedLabel({}, "small"))
    , m_numbers(new NumberList)
    , m_note(makeLabel({}, "small"))
    , m_remove(new QToolButton)
{
    setObjectName(QStringLiteral("card"));
    setFocusPolicy(Qt::TabFocus);
    setCursor(Qt::PointingHandCursor);
    setMinimumWidth(kNarrowest);
    m_remove->setText(QStringLiteral("×"));
    m_remove->setToolTip(tr("Remove this pipeline from the comparison"));
    m_remove->setAccessibleName(tr("Remove pipeline %1").arg(session::pipelineLetter(index)));
    auto* layout = new QVBoxLayout(this);
    layout->setContentsMargins(kCardPadding, kCardPadding + 3, kCardPadding, kCardPadding);
    layout->setSpacing(kGrid);
    auto* top = new QHBoxLayout;
    top->addWidget(m_name, 1);
    top->addWidget(m_remove);
    layout->addLayout(top);
    layout->addWidget(m_summary);
    layout->addWidget(m_headline);
    layout->addWidget(m_unit);
    layout->addWidget(m_numbers);
    layout->addWidget(m_note);
    layout->addStretch(1);
    m_note->setWordWrap(true);
    connect(m_remove, &QToolButton::clicked, this, [this] { Q_EMIT removeRequested(static_cast<int>(m_index)); });
}

QString PipelineCard::headline() const
{
    return m_headline->text();
}

void PipelineCard::display(const session::Workbench& bench, bool best)
{
    using State = session::Loadable<session::LayerResult>::State;
    const recipe::Pipeline& pipeline = bench.state().pipelines[m_index];
    m_selected = const_cast<session::Workbench&>(bench).selection().state().pipeline == static_cast<int>(m_index);
    m_title = session::pipelineLetter(m_index) + QStringLiteral("  ") + pipelineName(bench, pipeline);
    m_options = pipelineSummary(bench, pipeline);
    showTitle();
    m_name->setToolTip(QString::fromStdString(recipe::formatPipeline(pipeline)));
    const auto result = bench.layerResult(m_index);
    const QString none = QStringLiteral("–");
    std::vector<NumberList::Item> items;
    QStringList notes;
    const char* role = "headline";
    m_headline->setStyleSheet({});
    if (result.state == State::Ready) {
        const session::LayerResult& r = *result.value;
        const recipe::LayerMetrics& m = r.metrics;
        const ShownError error = shownError(m, pipeline);
        m_headline->setText(percentText(error.value));
        m_unit->setFullText(error.name);
        m_unit->setToolTip(error.formula);
        m_headline->setToolTip(
            provenance(bench, r, error) + (best ? tr("\ngreen: the lowest of those with as many bits") : QString()));
        const bool apart = m.hasOutput && m.outputErrorFit > 0 && std::abs(m.outputError / m.outputErrorFit - 1) > 0.2;
        const QString fit = m.hasOutput ? percentText(m.outputErrorFit) : none;
        const bool inputs = !pipeline[recipe::Slot::ActivationGrid].empty();
        items.push_back({inputs ? tr("weights only, fit") : tr("error on fit"),
            apart ? tr("%1  ! %2×").arg(fit, numberText(m.outputError / m.outputErrorFit, 2)) : fit,
            apart ? tr("tr(dW C dWᵀ) / tr(W C Wᵀ) with C of the fit part; the holdout's error is %1 times that: more than 20 % "
                       "apart says too few calibration tokens")
                        .arg(numberText(m.outputError / m.outputErrorFit, 2))
                  : tr("tr(dW C dWᵀ) / tr(W C Wᵀ) with C of the fit part"),
            apart ? "warning" : nullptr});
        items.push_back({tr("bits / weight"), QString::number(r.bits.perWeight(), 'f', 2),
            tr("(codes + scales + zeros + indices, in bits) / number of weights")});
        items.push_back({tr("weight SQNR"), tr("%1 dB").arg(numberText(m.weightSqnrDb)), tr("10 log10(Σ W² / Σ dW²)")});
        if (!pipeline[recipe::Slot::Pruner].empty())
            items.push_back({tr("zeros"), percentText(r.sparsity), tr("weights of Ŵ that are 0 / all weights")});
        if (inputs)
            items.push_back({tr("weights only"), m.hasOutput ? percentText(m.outputError) : none,
                tr("tr(dW C dWᵀ) / tr(W C Wᵀ): the error without quantizing the inputs")});
        if (m.nonFinite > 0)
            items.push_back(
                {tr("NaN or Inf"), session::integerText(m.nonFinite), tr("values of Ŵ that are not finite"), "bad"});
        if (bench.evaluation().value) {
            const auto* whole = evaluated(bench, pipeline);
            items.push_back({tr("perplexity"), whole ? numberText(whole->scores.perplexity, 4) : none,
                tr("exp(mean negative log likelihood) with this pipeline on all layers")});
            items.push_back({tr("KL, all layers"), whole ? humanText(whole->scores.klMean) : none,
                tr("Σ p ln(p / q) per predicted token in nats, p the float model, q with this pipeline on all layers")});
        }
        if (m.hasOutput && m.sinkShare > stats::kMostlySinks)
            notes << tr("%1 % of the input energy is in the first %2 positions: the error speaks of them")
                         .arg(static_cast<int>(m.sinkShare * 100))
                         .arg(stats::kSinkPositions);
        if (best)
            m_headline->setStyleSheet(QStringLiteral("QLabel { color: %1 }").arg(tokens().good.name())); // not its tooltip
    } else if (result.state == State::Loading) {
        m_headline->setText(QStringLiteral("…"));
        m_unit->setFullText(tr("computing"));
    } else if (result.state == State::Failed) {
        m_headline->setText(QStringLiteral("–"));
        m_unit->setFullText(QString::fromStdString(result.error.message));
        m_unit->setToolTip(QString::fromStdString(result.error.line()));
    } else if (result.state == State::Cancelled) {
        m_headline->setText(QStringLiteral("–"));
        m_unit->setFullText(tr("cancelled; click to run again"));
    } else {
        m_headline->setText(QStringLiteral("–"));
        m_unit->setFullText({});
    }
    if (const auto verdict = targetVerdict(bench, pipeline)) {
        items.push_back({tr("%1 loads it").arg(verdict->runtime), verdict->word(), verdict->full,
            verdict->loads() ? nullptr : "warning", verdict->runtime});
        if (!verdict->loads())
            notes << verdict->why;
    }
    m_note->setText(notes.join(u'\n'));
    m_note->setVisible(!notes.isEmpty());
    setRole(m_headline, role);
    m_numbers->set(items);
    setAccessibleName(m_name->fullText() + QStringLiteral(", ") + m_headline->text());
    update();
}

void PipelineCard::showTitle()
{
    // A narrow card splits the name over both lines: "A  gptq", "4 bit g128".
    const bool narrow = width() < kFullNames;
    m_numbers->setBriefNames(narrow);
    m_name->setFullText(narrow ? m_title.section(u' ', 0, 2) : m_title);
    m_summary->setFullText(narrow ? m_title.section(u' ', 3) : m_options);
}

void PipelineCard::resizeEvent(QResizeEvent* event)
{
    QFrame::resizeEvent(event);
    showTitle();
}

void PipelineCard::paintEvent(QPaintEvent* event)
{
    QFrame::paintEvent(event);
    QPainter painter(this);
    const QColor colour = Theme::instance().series(m_index);
    painter.fillRect(QRect(kCardPadding, 10, width() - 2 * kCardPadding, 3), colour);
    if (m_selected || hasFocus()) {
        painter.setRenderHint(QPainter::Antialiasing);
        painter.setPen(QPen(hasFocus() ? tokens().accent : colour, 1.4));
        painter.drawRoundedRect(QRectF(rect()).adjusted(1, 1, -1, -1), kRadius, kRadius);
    }
}

void PipelineCard::mouseReleaseEvent(QMouseEvent* event)
{
    if (event->button() == Qt::LeftButton)
        Q_EMIT clicked(static_cast<int>(m_index));
}

void PipelineCard::keyPressEvent(QKeyEvent* event)
{
    if (event->key() == Qt::Key_Return || event->key() == Qt::Key_Space)
        Q_EMIT clicked(static_cast<int>(m_index));
    else if (event->key() == Qt::Key_Delete)
        Q_EMIT removeRequested(static_cast<int>(m_index));
    else
        QFrame::keyPressEvent(event);
}

} // namespace qs::views
