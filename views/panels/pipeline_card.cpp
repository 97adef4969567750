// SPDX-License-Identifier: GPL-3.0-or-later
#include "views/panels/pipeline_card.h"

#include "core/session/format_number.h"
#include "views/theme/theme.h"

#include <QKeyEvent>
#include <QMouseEvent>
#include <QPainter>
#include <QToolButton>
#include <QVBoxLayout>

#include <cmath>

namespace qs::views {

using session::numberText;
using session::percentText;

QString pipelineSummary(const recipe::Pipeline& pipeline)
{
    QStringList parts;
    auto add = [&parts](const recipe::StageCall& stage, const char* name, const char* label) {
        const auto it = stage.parameters.find(name);
        if (it != stage.parameters.end())
            parts << QStringLiteral("%1%2").arg(
                QString::fromLatin1(label), QString::fromStdString(recipe::formatValue(it->second)));
    };
    for (const recipe::StageCall& stage : pipeline[recipe::Slot::Pruner]) {
        add(stage, "sparsity", "sparsity ");
        add(stage, "pattern", "");
    }
    for (const recipe::StageCall& stage : pipeline[recipe::Slot::Grid]) {
        add(stage, "bits", "bits ");
        add(stage, "group", "group ");
        add(stage, "grid", "");
    }
    return parts.join(QStringLiteral("  "));
}

PipelineCard::PipelineCard(std::size_t index, QWidget* parent)
    : QFrame(parent)
    , m_index(index)
    , m_name(new ElidedLabel({}, "cardtitle"))
    , m_summary(new ElidedLabel({}, "dim"))
    , m_headline(makeLabel({}, "headline"))
    , m_unit(new ElidedLabel({}, "dim"))
    , m_numbers(new NumberList)
    , m_remove(new QToolButton)
{
    setObjectName(QStringLiteral("card"));
    setFocusPolicy(Qt::TabFocus);
    setCursor(Qt::PointingHandCursor);
    setMinimumWidth(150);
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
    auto* big = new QHBoxLayout;
    big->addWidget(m_headline);
    big->addWidget(m_unit, 1);
    layout->addLayout(big);
    layout->addWidget(m_numbers);
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
    m_name->setFullText(session::pipelineLetter(m_index) + QStringLiteral("  ") + bench.label(pipeline));
    m_name->setToolTip(QString::fromStdString(recipe::formatPipeline(pipeline)));
    m_summary->setFullText(pipelineSummary(pipeline));
    const auto result = bench.layerResult(m_index);
    std::vector<NumberList::Item> items;
    const char* role = "headline";
    m_headline->setStyleSheet({});
    if (result.state == State::Ready) {
        const session::LayerResult& r = *result.value;
        const recipe::LayerMetrics& m = r.metrics;
        if (m.hasOutput) {
            m_headline->setText(percentText(m.outputError));
            m_unit->setFullText(m.holdout ? tr("output error, holdout") : tr("output error, fit (no holdout)"));
            const bool apart = m.outputErrorFit > 0 && std::abs(m.outputError / m.outputErrorFit - 1) > 0.2;
            items.push_back({tr("error on fit"), percentText(m.outputErrorFit),
                apart ? tr("holdout and fit differ by more than 20 %: too few calibration tokens")
                      : tr("the same with C of the fit part"),
                apart ? "warning" : nullptr});
        } else {
            m_headline->setText(percentText(std::pow(10.0, -m.weightSqnrDb / 10)));
            m_unit->setFullText(tr("weight error, no dump"));
        }
        items.push_back(
            {tr("bits / weight"), QString::number(r.bits.perWeight(), 'f', 2), tr("codes, scales, zeros and indices counted")});
        items.push_back({tr("weight SQNR"), tr("%1 dB").arg(numberText(m.weightSqnrDb)), tr("10 log10(Σ W² / Σ dW²)")});
        if (r.sparsity > 0.001)
            items.push_back({tr("zeros"), percentText(r.sparsity), {}});
        if (m.outputErrorWA && !pipeline[recipe::Slot::ActivationGrid].empty())
            items.push_back(
                {tr("with inputs quantized"), percentText(*m.outputErrorWA), tr("E|Wx − ŴQ(x)|² / E|Wx|² over raw tokens")});
        if (m.nonFinite > 0)
            items.push_back({tr("NaN or Inf"), session::integerText(m.nonFinite), {}, "bad"});
        items.push_back({tr("seconds"), numberText(r.seconds),
            r.siteLayers.size() > 1 ? tr("fitted over the %1 layers of the site").arg(r.siteLayers.size()) : QString()});
        if (best)
            m_headline->setStyleSheet(QStringLiteral("color: %1").arg(tokens().good.name()));
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
    setRole(m_headline, role);
    m_numbers->set(items);
    setAccessibleName(m_name->fullText() + QStringLiteral(", ") + m_headline->text());
    update();
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
