// SPDX-License-Identifier: GPL-3.0-or-later
// Docks of MainWindow: which there are, how they are arranged, and how the arrangement is kept.
#include "app/gui/main_window.h"

#include "app/gui/view_dock.h"
#include "views/panels/channels_panel.h"
#include "views/panels/compare_panel.h"
#include "views/panels/distribution_panel.h"
#include "views/panels/hessian_panel.h"
#include "views/panels/jobs_panel.h"
#include "views/panels/layer_header.h"
#include "views/panels/layers_panel.h"
#include "views/panels/pipeline_editor.h"
#include "views/panels/qsur_panel.h"
#include "views/theme/tokens.h"
#include "views/widgets/table_view.h"

#include <QApplication>
#include <QEvent>
#include <QMenu>
#include <QMouseEvent>
#include <QScreen>
#include <QScrollArea>
#include <QSettings>
#include <QTabBar>
#include <QTimer>
#include <QVBoxLayout>

#include <algorithm>
#include <utility>

namespace qs::app {

using namespace qs::views; // NOLINT(google-build-using-namespace): this file only arranges views

namespace {

constexpr int kLayoutVersion = 1; ///< Raise it when docks come or go: an older layout is then not restored.
constexpr int kTitleBar = 32; ///< What window managers put around a window, before it is known.
constexpr int kLowWindow = 800;
const auto kLayoutKey = QStringLiteral("layout");
const auto kGeometryKey = QStringLiteral("geometry");

QWidget* padded(QWidget* content, int left, int top, int right, int bottom)
{
    auto* holder = new QWidget;
    auto* layout = new QVBoxLayout(holder);
    layout->setContentsMargins(left, top, right, bottom);
    layout->addWidget(content);
    return holder;
}

bool behindATab(const QWidget* widget)
{
    for (; widget; widget = widget->parentWidget()) {
        if (const auto* view = qobject_cast<const ViewDock*>(widget))
            return !view->onScreen();
    }
    return false;
}

} // namespace

ViewDock* MainWindow::addDock(const QString& name, QWidget* content)
{
    auto* dock = new ViewDock(name, content, this);
    m_docks.push_back(dock);
    connect(dock, &ViewDock::arrangementChanged, m_arrange, qOverload<>(&QTimer::start));
    return dock;
}

void MainWindow::buildViews()
{
    m_arrange = new QTimer(this);
    m_arrange->setSingleShot(true);
    m_arrange->setInterval(0);
    connect(m_arrange, &QTimer::timeout, this, &MainWindow::arrangementChanged);
    setDockOptions(AnimatedDocks | AllowNestedDocks | AllowTabbedDocks | GroupedDragging);
    setTabPosition(Qt::AllDockWidgetAreas, QTabWidget::North);
    setDocumentMode(true);
    for (const auto& [corner, area] :
        {std::pair(Qt::TopLeftCorner, Qt::LeftDockWidgetArea), std::pair(Qt::BottomLeftCorner, Qt::LeftDockWidgetArea),
            std::pair(Qt::TopRightCorner, Qt::RightDockWidgetArea), std::pair(Qt::BottomRightCorner, Qt::RightDockWidgetArea)})
        setCorner(corner, area);

    // The fixed middle only names the selection; everything else can be moved, also to below it, where the views start.
    m_header = new LayerHeader(m_context);
    QWidget* centre = padded(m_header, 3 * kGrid + 2, 3 * kGrid, 3 * kGrid + 2, kGrid);
    centre->setMaximumHeight(centre->sizeHint().height());
    setCentralWidget(centre);

    m_layers = new LayersPanel(m_context);
    m_layersDock = addDock(tr("Layers"), m_layers);
    m_channels = new ChannelsPanel(m_context);
    m_distribution = new DistributionPanel(m_context);
    m_hessian = new HessianPanel(m_context);
    m_qsur = new QsurPanel(m_context);
    m_compare = new ComparePanel(m_context);
    m_panels = {m_channels, m_distribution, m_hessian, m_qsur, m_compare};
    for (LayerPanel* panel : m_panels) {
        ViewDock* view = addDock(panel->name(), panel);
        m_views.push_back(view);
        panel->setOnScreen(view->onScreen());
        connect(view, &ViewDock::onScreenChanged, panel, &LayerPanel::setOnScreen);
        connect(panel, &LayerPanel::calibrateRequested, this, &MainWindow::calibrate);
        connect(panel, &LayerPanel::openRequested, this, &MainWindow::askOpen);
    }
    connect(m_compare, &ComparePanel::evaluateRequested, this, &MainWindow::evaluate);
    connect(&m_bench, &session::Workbench::evaluationChanged, this, [this] {
        // The scores are far down: whoever asked for them in the window sees them.
        if (m_bench.evaluation().ready() && std::exchange(m_awaitsScores, false))
            m_compare->reveal(m_compare->endToEnd());
    });
    m_editor = new PipelineEditor(m_context);
    m_editorDock = addDock(tr("Pipeline"), padded(m_editor, kCardPadding, 0, kCardPadding, 2 * kGrid));
    m_editor->setOnScreen(m_editorDock->onScreen());
    connect(m_editorDock, &ViewDock::onScreenChanged, m_editor, &PipelineEditor::setOnScreen);
    m_jobs = new JobsPanel(m_context);
    m_jobsDock = addDock(tr("Jobs"), padded(m_jobs, kCardPadding, 0, kCardPadding, 2 * kGrid));
    for (ViewDock* each : m_docks)
        each->setAllowedAreas(Qt::AllDockWidgetAreas);
    connect(qApp, &QApplication::focusChanged, this, [this](QWidget*, QWidget* now) {
        for (ViewDock* view : m_views) {
            if (now && view->isAncestorOf(now))
                m_current = view;
        }
    });
    resetLayout();
}

void MainWindow::resetLayout()
{
    for (ViewDock* each : m_docks) {
        each->setFloating(false);
        removeDockWidget(each);
    }
    addDockWidget(Qt::LeftDockWidgetArea, m_layersDock);
    addDockWidget(Qt::RightDockWidgetArea, m_editorDock);
    splitDockWidget(m_editorDock, m_jobsDock, Qt::Vertical);
    addDockWidget(Qt::BottomDockWidgetArea, m_views.front());
    for (std::size_t i = 1; i < m_views.size(); ++i)
        tabifyDockWidget(m_views[i - 1], m_views[i]);
    for (ViewDock* each : m_docks)
        each->show();
    m_current = m_views.back();
    showView(m_current->name());
    setDockSizes();
    m_arrange->start();
}

void MainWindow::setDockSizes()
{
    const int left = std::clamp(width() * 26 / 100, 300, 430);
    const int right = std::clamp(width() * 21 / 100, 290, 345);
    resizeDocks({m_layersDock, m_editorDock}, {left, right}, Qt::Horizontal);
    // Four jobs and a message of several lines, where there is room: small windows need theirs for the pipeline.
    const int jobs = std::clamp(height() * 24 / 100 + std::max(height() - kLowWindow, 0) * 3 / 10, 170, 340);
    resizeDocks({m_editorDock, m_jobsDock}, {height() - jobs, jobs}, Qt::Vertical);
}

bool MainWindow::restoreLayout()
{
    m_keepLayout = true;
    const QSettings settings;
    if (settings.contains(kGeometryKey))
        restoreGeometry(settings.value(kGeometryKey).toByteArray());
    const QByteArray layout = settings.value(kLayoutKey).toByteArray();
    if (layout.isEmpty() || !restoreState(layout, kLayoutVersion))
        return false;
    m_placed = true;
    m_raiseOnShow.clear();
    for (ViewDock* view : m_views) {
        if (!view->isHidden() && !tabBarOf(view))
            m_current = view;
    }
    m_arrange->start();
    return true;
}

void MainWindow::place(std::optional<QSize> size)
{
    resize(kWantedSize);
    restoreLayout();
    if (size) {
        setWindowState(windowState() & ~Qt::WindowMaximized);
        resize(*size);
        return;
    }
    const QRect free = screen()->availableGeometry();
    if (free.contains(QRect(free.topLeft(), this->size() + QSize(0, kTitleBar))))
        return;
    // The size that it gets when it is no longer maximized fits as well.
    resize(this->size().boundedTo(free.size() - QSize(0, kTitleBar)));
    setWindowState(windowState() | Qt::WindowMaximized);
}

void MainWindow::saveLayout() const
{
    QSettings settings;
    settings.setValue(kGeometryKey, saveGeometry());
    settings.setValue(kLayoutKey, saveState(kLayoutVersion));
}

ViewDock* MainWindow::dock(const QString& name) const
{
    for (ViewDock* each : m_docks) {
        if (each->name().compare(name, Qt::CaseInsensitive) == 0)
            return each;
    }
    return nullptr;
}

QStringList MainWindow::viewNames() const
{
    QStringList names;
    for (const ViewDock* view : m_views)
        names << view->name();
    return names;
}

bool MainWindow::showView(const QString& name)
{
    ViewDock* wanted = dock(name);
    if (!wanted)
        return false;
    wanted->show();
    wanted->raise();
    // raise() does nothing for a dock that is already the topmost sibling, also when another tab is in front.
    if (QTabBar* tabs = tabBarOf(wanted)) {
        for (int i = 0; i < tabs->count(); ++i) {
            if (tabs->tabText(i) == wanted->windowTitle())
                tabs->setCurrentIndex(i);
        }
    }
    if (wanted->isFloating())
        wanted->activateWindow();
    if (!isVisible())
        m_raiseOnShow = wanted->name();
    if (std::find(m_views.begin(), m_views.end(), wanted) != m_views.end())
        m_current = wanted;
    return true;
}

void MainWindow::placeBeside(ViewDock* other, Qt::Orientation orientation)
{
    ViewDock* anchor = m_current;
    if (!anchor || anchor == other || anchor->isHidden() || anchor->isFloating()) {
        const auto open = std::find_if(m_views.begin(), m_views.end(),
            [other](const ViewDock* view) { return view != other && view->onScreen() && !view->isFloating(); });
        if (open == m_views.end()) {
            showView(other->name());
            return;
        }
        anchor = *open;
    }
    other->setFloating(false);
    // Beside a dock that is behind or before tabs Qt would only add a tab: then beside the whole group.
    if (tabifiedDockWidgets(anchor).isEmpty()) {
        splitDockWidget(anchor, other, orientation);
    } else {
        removeDockWidget(other);
        addDockWidget(dockWidgetArea(anchor), other, orientation);
    }
    other->show();
    const int extent = orientation == Qt::Horizontal ? anchor->width() : anchor->height();
    resizeDocks({anchor, other}, {extent / 2, extent / 2}, orientation);
    m_arrange->start();
}

void MainWindow::stepView(int step)
{
    std::vector<ViewDock*> open;
    std::copy_if(
        m_views.begin(), m_views.end(), std::back_inserter(open), [](const ViewDock* view) { return !view->isHidden(); });
    if (open.empty())
        return;
    const auto at = std::find(open.begin(), open.end(), m_current);
    const auto count = static_cast<int>(open.size());
    const int from = at == open.end() ? 0 : static_cast<int>(at - open.begin());
    showView(open[static_cast<std::size_t>((from + step + count) % count)]->name());
}

ViewDock* MainWindow::dockOfTab(const QTabBar* tabs, int index) const
{
    return index < 0 ? nullptr : dock(tabs->tabText(index));
}

QTabBar* MainWindow::tabBarOf(const ViewDock* wanted) const
{
    if (wanted->isHidden())
        return nullptr;
    for (QTabBar* tabs : findChildren<QTabBar*>()) {
        if (!tabs->isVisibleTo(tabs->window()) || qobject_cast<QMainWindow*>(tabs->parentWidget()) == nullptr)
            continue;
        for (int i = 0; i < tabs->count(); ++i) {
            if (tabs->tabText(i) == wanted->windowTitle())
                return tabs;
        }
    }
    return nullptr;
}

void MainWindow::arrangementChanged()
{
    for (QTabBar* tabs : findChildren<QTabBar*>()) {
        if (qobject_cast<QMainWindow*>(tabs->parentWidget()) == nullptr || tabs->property("watched").toBool())
            continue;
        tabs->setProperty("watched", true);
        tabs->setAccessibleName(tr("Views"));
        tabs->setToolTip(tr("Drag to move, double click to float, right click for more"));
        tabs->setDrawBase(false);
        tabs->installEventFilter(this);
    }
    for (ViewDock* each : m_docks)
        each->title()->setCollapsed(!each->isFloating() && !each->isHidden() && !tabifiedDockWidgets(each).isEmpty());
    // The keyboard does not stay with what went behind a tab.
    if (QWidget* focus = focusWidget(); focus && isVisible() && behindATab(focus)) {
        for (ViewDock* each : m_docks) {
            if (QTabBar* tabs = each->isAncestorOf(focus) ? tabBarOf(each) : nullptr)
                tabs->setFocus(Qt::OtherFocusReason);
        }
    }
    // The last one behind a tab may have become the one on top.
    if (m_current && m_current->isHidden()) {
        const auto open = std::find_if(m_views.begin(), m_views.end(), [](const ViewDock* view) { return view->onScreen(); });
        m_current = open == m_views.end() ? m_current : *open;
    }
}

bool MainWindow::focusNextPrevChild(bool next)
{
    // Qt would also stop at what lies behind a tab: nothing shows there, and the arrow keys would change it.
    QWidget* from = focusWidget() ? focusWidget() : this;
    auto step = [next](const QWidget* at) { return next ? at->nextInFocusChain() : at->previousInFocusChain(); };
    for (QWidget* to = step(from); to && to != from; to = step(to)) {
        if (to->window() != this || to->focusProxy() || !(to->focusPolicy() & Qt::TabFocus) || !to->isVisibleTo(this)
            || !to->isEnabled() || behindATab(to))
            continue;
        to->setFocus(next ? Qt::TabFocusReason : Qt::BacktabFocusReason);
        for (QWidget* above = to->parentWidget(); above; above = above->parentWidget()) {
            if (auto* area = qobject_cast<QScrollArea*>(above))
                area->ensureWidgetVisible(to);
        }
        return true;
    }
    return false;
}

void MainWindow::tabMenu(ViewDock* wanted, const QPoint& position)
{
    auto* menu = new QMenu(this);
    menu->setAttribute(Qt::WA_DeleteOnClose);
    menu->setObjectName(QStringLiteral("tabMenu"));
    menu->addAction(tr("Float %1").arg(wanted->name()), wanted, [wanted] { wanted->setFloating(true); });
    menu->addAction(tr("Place at the right"), this, [this, wanted] {
        if (m_current == wanted)
            stepView(1);
        placeBeside(wanted);
    });
    menu->addAction(tr("Place below"), this, [this, wanted] {
        if (m_current == wanted)
            stepView(1);
        placeBeside(wanted, Qt::Vertical);
    });
    menu->addSeparator();
    menu->addAction(tr("Close %1").arg(wanted->name()), wanted, &QDockWidget::close);
    menu->popup(position);
}

bool MainWindow::eventFilter(QObject* object, QEvent* event)
{
    auto* tabs = qobject_cast<QTabBar*>(object);
    if (!tabs)
        return QMainWindow::eventFilter(object, event);
    switch (event->type()) {
    case QEvent::MouseButtonPress:
        if (ViewDock* pressed = dockOfTab(tabs, tabs->tabAt(static_cast<QMouseEvent*>(event)->pos()));
            pressed && std::find(m_views.begin(), m_views.end(), pressed) != m_views.end())
            m_current = pressed;
        break;
    case QEvent::MouseButtonDblClick:
        if (ViewDock* clicked = dockOfTab(tabs, tabs->tabAt(static_cast<QMouseEvent*>(event)->pos()))) {
            // After the tab bar is through with the event: floating deletes the tab.
            QMetaObject::invokeMethod(
                clicked, [clicked] { clicked->setFloating(true); }, Qt::QueuedConnection);
            return true;
        }
        break;
    case QEvent::MouseButtonRelease: {
        const auto* mouse = static_cast<QMouseEvent*>(event);
        if (mouse->button() == Qt::MiddleButton) {
            if (ViewDock* clicked = dockOfTab(tabs, tabs->tabAt(mouse->pos()))) {
                QMetaObject::invokeMethod(clicked, &QDockWidget::close, Qt::QueuedConnection);
                return true;
            }
        }
        break;
    }
    case QEvent::ContextMenu: {
        const auto* context = static_cast<QContextMenuEvent*>(event);
        const bool keyboard = context->reason() == QContextMenuEvent::Keyboard;
        const int index = keyboard ? tabs->currentIndex() : tabs->tabAt(context->pos());
        if (ViewDock* clicked = dockOfTab(tabs, index)) {
            tabMenu(clicked, keyboard ? tabs->mapToGlobal(tabs->tabRect(index).bottomLeft()) : context->globalPos());
            return true;
        }
        break;
    }
    default: break;
    }
    return QMainWindow::eventFilter(object, event);
}

} // namespace qs::app
