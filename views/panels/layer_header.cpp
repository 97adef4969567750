// SPDX-License-Identifier: GPL-3.0-or-later
#include "views/panels/layer_header.h"

#include "core/session/format_number.h"
#include "views/theme/tokens.h"

#include <QHBoxLayout>
#include <QToolButton>
#include <QVBoxLayout>

#include <algorithm>

namespace qs::views {

namespace {

constexpr double kThinTokens = 10; ///< Tokens per channel below which the second moment is thin.
constexpr std::size_t kFewChannels = 3;

/// "3 of 1536 input channels carry 71 % of the error", when so few carry much of it.
QString concentration(const metrics::ErrorShares& shares, const QString& pipeline)
{
    if (shares.total <= 0 || shares.byInput.size() <= 4 * kFewChannels)
        return {};
    std::vector<double> largest(shares.byInput);
    std::partial_sort(largest.begin(), largest.begin() + kFewChannels, largest.end(), std::greater<>());
    double sum = 0;
    std::size_t count = 0;
    while (count < kFewChannels && sum < shares.total / 2) // no more of them than carry half
        sum += largest[count++];
    const double share = sum / shares.total;
    if (share < 0.15)
        return QObject::tr("%1's error is spread over the channels").arg(pipeline);
    const QString channels = session::integerText(static_cast<Index>(shares.byInput.size()));
    return count == 1
        ? QObject::tr("1 of %1 channels carries %2 of %3's error").arg(channels, session::percentText(share), pipeline)
        : QObject::tr("%1 of %2 channels carry %3 of %4's error")
              .arg(QString::number(count), channels, session::percentText(share), pipeline);
}

} // namespace

LayerHeader::LayerHeader(PanelContext context, QWidget* parent)
    : QWidget(parent)
    , m_context(context)
    , m_title(new ElidedLabel({}, "title"))
    , m_channel(new QToolButton)
    , m_sentence(new ElidedLabel({}, "dim"))
{
    auto* layout = new QVBoxLayout(this);
    layout->setContentsMargins(0, 0, 0, 0);
    layout->setSpacing(2 * kGrid);
    auto* top = new QHBoxLayout;
    top->setContentsMargins(0, 0, 0, 0);
    top->addWidget(m_title, 1);
    top->addWidget(m_channel);
    layout->addLayout(top);
    m_channel->setProperty("role", QByteArray("chip"));
    m_channel->setToolTip(tr("Selected in every view; click to forget it"));
    QSizePolicy keep = m_channel->sizePolicy();
    keep.setRetainSizeWhenHidden(true);
    m_channel->setSizePolicy(keep);
    m_channel->hide();
    connect(m_channel, &QToolButton::clicked, this, [this] { m_context.bench.selection().selectChannel(-1, this); });
    layout->addWidget(m_sentence);
    for (auto signal :
        {&session::Workbench::layerViewChanged, &session::Workbench::layerResultsChanged, &session::Workbench::modelChanged})
        connect(&m_context.bench, signal, this, &LayerHeader::refresh);
    connect(&m_context.bench.selection(), &session::SelectionModel::changed, this, &LayerHeader::refresh);
    refresh();
}

void LayerHeader::refresh()
{
    const session::Workbench& bench = m_context.bench;
    const Index channel = m_context.bench.selection().state().channel;
    m_channel->setVisible(channel >= 0);
    m_channel->setText(tr("channel %1  ×").arg(channel));
    const model::LayerSpec* layer = bench.currentLayer();
    if (!layer) {
        const auto model = bench.model();
        m_title->setFullText(model ? QString::fromStdString(model->spec().name) : tr("Quantscope"));
        m_sentence->setFullText(model ? tr("choose a layer at the left")
                                      : tr("see why a layer is hard to compress, try methods on it, compare, export"));
        return;
    }
    m_title->setFullText(QString::fromStdString(layer->name));
    QStringList parts;
    QString stored = tr("%1 → %2, stored %3")
                         .arg(session::integerText(layer->in), session::integerText(layer->out),
                             QString::fromLatin1(dtypeName(layer->dtype)));
    const session::LayerView* view = bench.layerView().value.get();
    if (view && view->analysis.existingGrid)
        stored += tr(" (source already on a %1-bit grid)").arg(view->analysis.existingGrid->bits);
    if (const auto selected = m_context.bench.selection().state().layers.size(); selected > 1)
        parts << tr("%1 layers selected, this one:").arg(selected);
    parts << stored;
    const auto pipeline = static_cast<std::size_t>(std::max(m_context.bench.selection().state().pipeline, 0));
    const auto result = bench.layerResult(pipeline);
    if (result.value && result.value->shares) {
        if (const QString text = concentration(*result.value->shares, session::pipelineLetter(pipeline)); !text.isEmpty())
            parts << text;
    }
    if (view && view->analysis.input) {
        const analysis::InputAnalysis& input = *view->analysis.input;
        if (input.hessian && input.hessian->tokensPerChannel < kThinTokens) // first: it bounds what the rest is worth
            parts.prepend(tr("only %1 tokens per channel").arg(session::numberText(input.hessian->tokensPerChannel)));
        if (input.outliers.maxOverMedian > 5)
            parts << tr("largest channel %1 × the median").arg(session::numberText(input.outliers.maxOverMedian));
        if (input.hessian) {
            const double tokens = input.hessian->tokensPerChannel;
            if (tokens >= kThinTokens)
                parts << tr("%1 tokens per channel").arg(session::numberText(tokens));
            if (!input.hessian->dead.empty())
                parts << tr("%1 dead channels").arg(input.hessian->dead.size());
        }
    } else if (view) {
        parts << tr("no calibration yet: only the weights are known");
    }
    m_sentence->setFullText(parts.join(QStringLiteral("   ·   ")));
}

} // namespace qs::views
