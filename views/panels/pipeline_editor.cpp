// SPDX-License-Identifier: GPL-3.0-or-later
#include "views/panels/pipeline_editor.h"

#include "core/session/format_number.h"
#include "views/panels/parameter_form.h"
#include "views/panels/pipeline_text.h"
#include "views/theme/theme.h"
#include "views/undo/edit_command.h"

#include <QHBoxLayout>
#include <QMenu>
#include <QPushButton>
#include <QScrollArea>
#include <QToolButton>
#include <QVBoxLayout>

#include <algorithm>
#include <map>

namespace qs::views {

using recipe::Slot;

namespace {

constexpr int kCommitDelay = 250; ///< Milliseconds without a change before the document takes it.
constexpr std::size_t kMostNamed = 8; ///< Layers that a tool tip names.
constexpr int kPreviewLines = 4; ///< Weight error, output error, and what the target says in up to two lines.
constexpr int kHeavyPreviewDelay = 400; ///< Before a preview that is not RTN-like starts.

QString slotTitle(Slot slot)
{
    switch (slot) {
    case Slot::Transform: return QObject::tr("TRANSFORM");
    case Slot::Pruner: return QObject::tr("PRUNING");
    case Slot::Grid: return QObject::tr("GRID");
    case Slot::Rounding: return QObject::tr("ROUNDING");
    case Slot::Compensator: return QObject::tr("COMPENSATION");
    case Slot::ActivationGrid: return QObject::tr("INPUTS");
    }
    return {};
}

bool single(Slot slot)
{
    return slot != Slot::Transform && slot != Slot::Compensator;
}

} // namespace

PipelineEditor::PipelineEditor(PanelContext context, QWidget* parent)
    : QWidget(parent)
    , m_context(context)
    , m_title(makeLabel({}, "title"))
    , m_method(new ElidedLabel({}, "dim"))
    , m_methods(new QToolButton)
    , m_preview(makeLabel({}, "cardtitle"))
    , m_previewOutput(makeLabel({}, "dim"))
    , m_target(makeLabel({}, "dim"))
    , m_problem(makeLabel({}, "bad"))
    , m_assign(new QPushButton(tr("Assign to selection")))
    , m_more(new QToolButton)
{
    m_methods->setText(tr("Methods…"));
    m_methods->setProperty("role", QByteArray("button"));
    m_methods->setPopupMode(QToolButton::InstantPopup);
    m_methods->setMenu(new QMenu(m_methods));
    m_methods->menu()->setToolTipsVisible(true);
    connect(m_methods->menu(), &QMenu::aboutToShow, this, &PipelineEditor::fillMethods);

    auto* body = new QWidget;
    body->setObjectName(QStringLiteral("page"));
    m_stages = new QVBoxLayout(body);
    m_stages->setContentsMargins(0, 0, 2, 0);
    m_stages->setSpacing(kCardGap - 2);
    auto* area = new QScrollArea;
    area->setWidget(body);
    area->setWidgetResizable(true);
    area->setFrameShape(QFrame::NoFrame);
    area->setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);

    m_preview->setObjectName(QStringLiteral("preview"));
    m_preview->setWordWrap(true);
    m_previewOutput->setObjectName(QStringLiteral("previewOutput"));
    m_previewOutput->setWordWrap(true);
    m_previewOutput->setAlignment(Qt::AlignTop | Qt::AlignLeft);
    m_target->setObjectName(QStringLiteral("target"));
    m_target->setWordWrap(true);
    m_target->setAlignment(Qt::AlignTop | Qt::AlignLeft);
    m_methods->setToolTip(tr("Replace the pipeline by a published method"));
    m_methods->setAccessibleName(tr("Methods"));
    m_problem->setWordWrap(true);
    m_problem->hide();
    m_more->setText(QStringLiteral("▾"));
    m_more->setProperty("role", QByteArray("button"));
    m_more->setPopupMode(QToolButton::InstantPopup);
    m_more->setToolTip(tr("Assign elsewhere"));
    m_more->setAccessibleName(tr("Assign elsewhere"));
    auto* more = new QMenu(m_more);
    m_more->setMenu(more);
    const auto layersOfBlocks = [this] {
        std::vector<model::LayerIndex> all;
        if (const auto model = m_context.bench.model()) {
            for (std::size_t i = 0; i < model->spec().layers.size(); ++i) {
                if (model->spec().inBlocks(model->spec().layers[i]))
                    all.push_back(static_cast<model::LayerIndex>(i));
            }
        }
        return all;
    };
    auto* toAll = more->addAction(tr("Assign to all layers"));
    connect(more, &QMenu::aboutToShow, this,
        [toAll, layersOfBlocks] { toAll->setText(tr("Assign to all %1 layers").arg(layersOfBlocks().size())); });
    connect(toAll, &QAction::triggered, this, [this, layersOfBlocks] {
        const std::vector<model::LayerIndex> all = layersOfBlocks();
        const recipe::Pipeline pipeline = m_pipeline;
        pushEdit(m_context.undo, m_context.bench.document(), tr("assign to all"), {},
            [&] { m_context.bench.assign(all, &pipeline); });
    });
    more->addAction(tr("Keep the selection as stored"), this, [this] {
        pushEdit(m_context.undo, m_context.bench.document(), tr("keep as stored"), {},
            [&] { m_context.bench.assign(m_context.bench.selection().state().layers, nullptr); });
    });

    auto* top = new QHBoxLayout;
    auto* names = new QVBoxLayout;
    names->setSpacing(0);
    names->addWidget(m_title);
    names->addWidget(m_method);
    top->addLayout(names, 1);
    top->addWidget(m_methods, 0, Qt::AlignTop);
    auto* assign = new QHBoxLayout;
    assign->addWidget(m_assign, 1);
    assign->addWidget(m_more);
    auto* layout = new QVBoxLayout(this);
    layout->setContentsMargins(0, 0, 0, 0);
    layout->setSpacing(2 * kGrid);
    layout->addLayout(top);
    layout->addWidget(area, 1);
    layout->addWidget(m_problem);
    auto* previewBox = new QWidget;
    auto* previews = new QVBoxLayout(previewBox);
    previews->setContentsMargins(0, 0, 0, 0);
    previews->setSpacing(2);
    previews->addWidget(m_preview);
    previews->addWidget(m_previewOutput);
    previews->addWidget(m_target);
    previews->addStretch(1);
    previewBox->setMinimumHeight(kPreviewLines * (m_previewOutput->fontMetrics().lineSpacing() + 2)); // nothing jumps
    layout->addWidget(previewBox);
    layout->addLayout(assign);

    m_commitTimer.setSingleShot(true);
    m_commitTimer.setInterval(kCommitDelay);
    connect(&m_commitTimer, &QTimer::timeout, this, &PipelineEditor::commit);
    m_previewTimer.setSingleShot(true);
    connect(&m_previewTimer, &QTimer::timeout, this, [this] { m_context.bench.requestPreview(m_pipeline); });
    connect(&m_context.bench.document(), &session::SessionDocument::changed, this, &PipelineEditor::pull);
    connect(&m_context.bench.selection(), &session::SelectionModel::changed, this, &PipelineEditor::pull);
    connect(&m_context.bench, &session::Workbench::modelChanged, this, &PipelineEditor::pull);
    connect(&m_context.bench, &session::Workbench::previewChanged, this, &PipelineEditor::showPreview);
    connect(&Theme::instance(), &Theme::changed, this, &PipelineEditor::pull); // the title has the pipeline's colour
    connect(&m_context.bench, &session::Workbench::layerViewChanged, this, [this] {
        if (m_context.bench.layerView().ready())
            preview();
        else
            showPreview();
    });
    connect(m_assign, &QPushButton::clicked, this, [this] {
        if (m_pending)
            commit();
        const recipe::Pipeline pipeline = m_pipeline;
        pushEdit(m_context.undo, m_context.bench.document(), tr("assign"), {},
            [&] { m_context.bench.assign(m_context.bench.selection().state().layers, &pipeline); });
    });
    fillMethods();
    rebuild();
    pull();
}

std::size_t PipelineEditor::index() const
{
    return static_cast<std::size_t>(std::max(m_context.bench.selection().state().pipeline, 0));
}

void PipelineEditor::fillMethods()
{
    QMenu* menu = m_methods->menu();
    menu->clear();
    std::map<std::string, std::vector<const recipe::Method*>> families;
    for (const recipe::Method& method : m_context.bench.registry().methods())
        families[method.family].push_back(&method);
    for (const auto& [family, methods] : families) {
        menu->addSection(QString::fromStdString(family));
        for (const recipe::Method* method : methods) {
            auto* action = menu->addAction(
                tr("%1   (%2)").arg(QString::fromStdString(method->name), QString::fromStdString(method->fidelity)));
            action->setToolTip(QString::fromStdString(method->summary + "\n" + method->citation + "\n" + method->fidelityNote));
            connect(action, &QAction::triggered, this, [this, id = method->id, name = method->name] {
                auto pipeline = recipe::parsePipeline(id, m_context.bench.registry());
                if (!pipeline) {
                    m_context.bench.messages().add(pipeline.error());
                    return;
                }
                if (index() < m_context.bench.state().pipelines.size())
                    replace(std::move(*pipeline), tr("use %1").arg(QString::fromStdString(name)), {});
                else
                    pushEdit(m_context.undo, m_context.bench.document(), tr("add pipeline"), {},
                        [&] { m_context.bench.addPipeline(std::move(*pipeline)); });
            });
        }
    }
}

void PipelineEditor::pull()
{
    if (m_pending && index() < m_context.bench.state().pipelines.size())
        return; // our own change is on its way
    const auto& pipelines = m_context.bench.state().pipelines;
    const recipe::Pipeline now = index() < pipelines.size() ? pipelines[index()] : recipe::Pipeline{};
    const auto count = m_context.bench.selection().state().layers.size();
    m_assign->setEnabled(count > 0 && !now.empty());
    nameAssign();
    m_more->setEnabled(m_context.bench.model() != nullptr && !now.empty());
    m_methods->setEnabled(m_context.bench.model() != nullptr);
    m_title->setText(index() < pipelines.size() ? tr("Pipeline %1").arg(session::pipelineLetter(index())) : tr("No pipeline"));
    m_title->setStyleSheet(
        QStringLiteral("color: %1")
            .arg(index() < pipelines.size() ? Theme::instance().series(index()).name() : tokens().text.name()));
    m_method->setFullText(now.empty() ? tr("choose a method") : pipelineName(m_context.bench, now));
    if (now == m_pipeline)
        return;
    // Forms stay where they are when only values differ: a rebuilt slider would be torn from the mouse.
    bool sameStages = true;
    for (int slot = 0; slot < recipe::kSlotCount; ++slot) {
        const auto& a = now.slots[static_cast<std::size_t>(slot)];
        const auto& b = m_pipeline.slots[static_cast<std::size_t>(slot)];
        sameStages = sameStages && a.size() == b.size()
            && std::equal(a.begin(), a.end(), b.begin(), [](const auto& x, const auto& y) { return x.id == y.id; });
    }
    m_pipeline = now;
    if (!sameStages) {
        rebuild();
    } else {
        for (const auto& stages : m_pipeline.slots) {
            for (const recipe::StageCall& stage : stages) {
                if (const auto it = m_forms.find(stage.id); it != m_forms.end())
                    it->second->setValues(stage.parameters);
            }
        }
    }
    preview();
}

void PipelineEditor::nameAssign()
{
    const auto& selected = m_context.bench.selection().state().layers;
    const auto all = m_context.bench.withPartners(selected);
    const auto more = all.size() - std::min(all.size(), selected.size());
    m_assign->setText(selected.empty() ? tr("Assign to selection")
            : more > 0                 ? tr("Assign to %1 + %2 fused layers").arg(selected.size()).arg(more)
            : all.size() == 1          ? tr("Assign to this layer")
                                       : tr("Assign to %1 layers").arg(all.size()));
    QString tip = tr("The selected layers and what must change with them: their fusion groups (q, k, v; gate, up) and the "
                     "other consumers of a transformed input");
    for (std::size_t i = 0, named = 0; i < all.size() && more > 0; ++i) {
        if (std::find(selected.begin(), selected.end(), all[i]) != selected.end())
            continue;
        if (++named > kMostNamed) {
            tip += QStringLiteral("\n…");
            break;
        }
        if (const model::LayerSpec* layer = m_context.bench.layerSpec(all[i]))
            tip += tr("\nalso %1").arg(QString::fromStdString(layer->name));
    }
    m_assign->setToolTip(tip);
}

void PipelineEditor::rebuild()
{
    while (QLayoutItem* item = m_stages->takeAt(0)) {
        if (QWidget* widget = item->widget()) {
            widget->hide();
            widget->deleteLater();
        }
        delete item;
    }
    m_forms.clear();
    for (int slot = 0; slot < recipe::kSlotCount; ++slot) {
        const auto& stages = m_pipeline.slots[static_cast<std::size_t>(slot)];
        for (std::size_t i = 0; i < stages.size(); ++i)
            addStageCard(static_cast<Slot>(slot), i);
        if (stages.empty())
            addEmptySlot(static_cast<Slot>(slot));
    }
    m_stages->addStretch(1);
}

void PipelineEditor::addStageCard(Slot slot, std::size_t position)
{
    const recipe::StageCall& call = m_pipeline[slot][position];
    const recipe::StageFactory* factory = m_context.bench.registry().stage(call.id);
    auto* card = new QFrame;
    card->setObjectName(QStringLiteral("stage"));
    auto* layout = new QVBoxLayout(card);
    layout->setContentsMargins(kCardPadding - 2, 8, kCardPadding - 2, 10);
    layout->setSpacing(kGrid);
    auto* top = new QHBoxLayout;
    top->addWidget(makeLabel(slotTitle(slot), "slot"), 1);
    auto* remove = new QToolButton;
    remove->setText(QStringLiteral("×"));
    remove->setToolTip(tr("Remove this stage"));
    remove->setAccessibleName(tr("Remove stage %1").arg(QString::fromStdString(call.id)));
    connect(remove, &QToolButton::clicked, this, [this, slot, position] {
        recipe::Pipeline next = m_pipeline;
        next[slot].erase(next[slot].begin() + static_cast<std::ptrdiff_t>(position));
        replace(std::move(next), tr("remove stage"), {});
    });
    top->addWidget(remove);
    layout->addLayout(top);
    auto* name = new QHBoxLayout;
    if (factory) {
        name->addWidget(makeLabel(QString::fromStdString(factory->info().title), "cardtitle"));
        name->addWidget(new ElidedLabel(QString::fromStdString(factory->info().citation), "dim"), 1);
        layout->addLayout(name);
        auto* form = new ParameterForm(factory->info().parameters, call.parameters);
        layout->addWidget(form);
        connect(form, &ParameterForm::changed, this,
            [this, slot, position](const QString& parameter, const recipe::ParameterValue& value, bool settled) {
                setParameter(slot, position, parameter, value, settled);
            });
        if (form->hasAdvanced()) {
            auto* advanced = new QToolButton;
            advanced->setText(tr("more options"));
            advanced->setCheckable(true);
            connect(advanced, &QToolButton::toggled, form, [form, advanced](bool on) {
                form->showAdvanced(on);
                advanced->setText(on ? QObject::tr("fewer options") : QObject::tr("more options"));
            });
            layout->addWidget(advanced, 0, Qt::AlignLeft);
        }
        m_forms[call.id] = form;
    } else {
        name->addWidget(makeLabel(tr("%1 is not installed").arg(QString::fromStdString(call.id)), "bad"), 1);
        layout->addLayout(name);
    }
    m_stages->addWidget(card);
}

void PipelineEditor::addEmptySlot(Slot slot)
{
    std::vector<const recipe::StageFactory*> choices;
    for (const recipe::StageFactory* factory : m_context.bench.registry().stages()) {
        if (factory->info().slot == slot)
            choices.push_back(factory);
    }
    if (choices.empty())
        return;
    auto* row = new QWidget;
    auto* layout = new QHBoxLayout(row);
    layout->setContentsMargins(kCardPadding - 2, 0, 0, 0);
    layout->addWidget(makeLabel(slotTitle(slot), "small"), 1);
    auto* add = new QToolButton;
    add->setText(tr("+ add stage"));
    add->setAccessibleName(tr("Add %1").arg(slotTitle(slot).toLower()));
    add->setPopupMode(QToolButton::InstantPopup);
    auto* menu = new QMenu(add);
    for (const recipe::StageFactory* factory : choices) {
        auto* action = menu->addAction(QStringLiteral("%1   %2").arg(
            QString::fromStdString(factory->info().title), QString::fromStdString(factory->info().citation)));
        connect(action, &QAction::triggered, this, [this, slot, id = factory->info().id, specs = factory->info().parameters] {
            auto parameters = recipe::resolve(specs, {}, id);
            if (!parameters) {
                m_context.bench.messages().add(parameters.error());
                return;
            }
            recipe::Pipeline next = m_pipeline;
            if (single(slot))
                next[slot].clear();
            next[slot].push_back({id, std::move(*parameters)});
            replace(std::move(next), tr("add stage"), {});
        });
    }
    add->setMenu(menu);
    layout->addWidget(add);
    m_stages->addWidget(row);
}

void PipelineEditor::setParameter(
    Slot slot, std::size_t position, const QString& name, const recipe::ParameterValue& value, bool settled)
{
    if (position >= m_pipeline[slot].size())
        return;
    recipe::StageCall& call = m_pipeline[slot][position];
    if (call.parameters[name.toStdString()] == value && !m_pending)
        return;
    call.parameters[name.toStdString()] = value;
    m_pending = true;
    m_pendingKey = QStringLiteral("%1/%2/%3/%4").arg(index()).arg(static_cast<int>(slot)).arg(position).arg(name);
    preview();
    if (settled)
        m_commitTimer.start();
    else
        m_commitTimer.stop(); // while the slider is held only the preview follows
}

void PipelineEditor::replace(recipe::Pipeline pipeline, const QString& text, const QString& mergeKey)
{
    m_commitTimer.stop();
    m_pending = false;
    const auto valid = recipe::checkPipeline(pipeline, m_context.bench.registry());
    m_problem->setVisible(!valid);
    if (!valid)
        m_problem->setText(QString::fromStdString(valid.error().line()));
    pushEdit(m_context.undo, m_context.bench.document(), text, mergeKey,
        [&] { m_context.bench.setPipeline(index(), std::move(pipeline)); });
}

void PipelineEditor::commit()
{
    if (!m_pending)
        return;
    replace(m_pipeline, tr("change %1").arg(m_pendingKey.section(u'/', -1)), m_pendingKey);
}

bool PipelineEditor::interactive() const
{
    for (const auto& stages : m_pipeline.slots) {
        for (const recipe::StageCall& stage : stages) {
            const recipe::StageFactory* factory = m_context.bench.registry().stage(stage.id);
            if (!factory || !factory->info().interactive)
                return false;
        }
    }
    return true;
}

void PipelineEditor::setOnScreen(bool onScreen)
{
    m_onScreen = onScreen;
    if (onScreen && m_previewDue)
        preview();
}

void PipelineEditor::preview()
{
    showTarget();
    if (m_pipeline.empty() || !m_context.bench.layerView().ready()) {
        showPreview();
        return;
    }
    m_previewDue = !m_onScreen;
    if (m_onScreen)
        m_previewTimer.start(interactive() ? 0 : kHeavyPreviewDelay);
}

void PipelineEditor::showTarget()
{
    const auto verdict = targetVerdict(m_context.bench, m_pipeline);
    m_target->setText(verdict ? verdict->sentence() : QString());
    m_target->setToolTip(verdict ? verdict->full : QString());
    setRole(m_target, verdict && !verdict->loads() ? "warning" : "dim");
}

void PipelineEditor::showPreview()
{
    showTarget();
    using State = session::Loadable<session::Preview>::State;
    using session::percentText;
    const auto& preview = m_context.bench.preview();
    setRole(m_preview, "cardtitle");
    setRole(m_previewOutput, "dim");
    m_previewOutput->clear();
    if (m_pipeline.empty() || !m_context.bench.currentLayer()) {
        m_preview->clear();
        return;
    }
    if (preview.state == State::Failed) {
        setRole(m_preview, "bad");
        m_preview->setText(QString::fromStdString(preview.error.line()));
        return;
    }
    if (!preview.value) {
        m_preview->setText(tr("Preview …"));
        return;
    }
    const session::Preview& p = *preview.value;
    const bool loading = preview.state == State::Loading;
    m_preview->setText(
        tr("Weight error %1 in full  ·  %2 bits").arg(percentText(p.weightError), QString::number(p.bits, 'f', 2)));
    const session::LayerView* view = m_context.bench.layerView().value.get();
    const bool holdout = view && view->holdout;
    if (!p.outputError)
        m_previewOutput->setText(m_context.bench.dump()
                ? tr("Output error needs this layer's Gram matrix, which the dump lacks")
                : tr("Output error needs a calibration"));
    else if (p.full)
        m_previewOutput->setText(tr("Output error %1 in full, all %2 rows").arg(percentText(*p.outputError)).arg(p.rows));
    else
        m_previewOutput->setText(
            tr("Output error %1 on %2 seeded rows; the full value follows").arg(percentText(*p.outputError)).arg(p.rows));
    if (!m_pipeline[Slot::ActivationGrid].empty() && p.outputError)
        m_previewOutput->setText(m_previewOutput->text() + tr(", weights only"));
    if (loading)
        m_previewOutput->setText(m_previewOutput->text() + QStringLiteral("  ·  …"));
    m_preview->setToolTip(tr("Σ dW² / Σ W² over all weights of the layer, dW = W − Ŵ"));
    m_previewOutput->setToolTip(
        tr("tr(dW C dWᵀ) / tr(W C Wᵀ), C of the %1; first over %2 rows chosen by seed 0, then over all; %3 ms")
            .arg(holdout ? tr("holdout") : tr("whole dump"))
            .arg(session::kPreviewRows)
            .arg(qRound(p.milliseconds)));
}

ParameterForm* PipelineEditor::form(const std::string& stage) const
{
    const auto it = m_forms.find(stage);
    return it == m_forms.end() ? nullptr : it->second;
}

QString PipelineEditor::previewText() const
{
    return m_previewOutput->text().isEmpty() ? m_preview->text() : m_preview->text() + u'\n' + m_previewOutput->text();
}

} // namespace qs::views
