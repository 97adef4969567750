// SPDX-License-Identifier: GPL-3.0-or-later
#include "app/gui/view_dock.h"

#include "views/theme/tokens.h"
#include "views/widgets/card.h"

#include <QHBoxLayout>
#include <QLabel>
#include <QToolButton>

namespace qs::app {

namespace {

constexpr int kTitleHeight = 26;

QToolButton* makeButton(const QString& text, const QString& tip)
{
    auto* button = new QToolButton;
    button->setText(text);
    button->setToolTip(tip);
    button->setAccessibleName(tip);
    button->setFixedSize(22, 20);
    return button;
}

} // namespace

DockTitle::DockTitle(QDockWidget* dock)
    : QWidget(dock)
    , m_dock(dock)
    , m_name(views::makeLabel(dock->windowTitle().toUpper()))
    , m_float(makeButton(QStringLiteral("↗"), tr("Float or dock %1").arg(dock->windowTitle())))
    , m_close(makeButton(QStringLiteral("×"), tr("Close %1; the View menu opens it again").arg(dock->windowTitle())))
{
    setObjectName(QStringLiteral("docktitle"));
    setAttribute(Qt::WA_StyledBackground);
    setToolTip(tr("Drag to move, double click to float"));
    // The label leaves mouse events to the dock, which moves by them.
    m_name->setAttribute(Qt::WA_TransparentForMouseEvents);
    auto* layout = new QHBoxLayout(this);
    layout->setContentsMargins(views::kCardPadding, 2, 6, 2);
    layout->setSpacing(2);
    layout->addWidget(m_name, 1);
    layout->addWidget(m_float);
    layout->addWidget(m_close);
    connect(m_float, &QToolButton::clicked, m_dock, [this] { m_dock->setFloating(!m_dock->isFloating()); });
    connect(m_close, &QToolButton::clicked, m_dock, &QDockWidget::close);
}

void DockTitle::setCollapsed(bool collapsed)
{
    if (collapsed == m_collapsed)
        return;
    m_collapsed = collapsed;
    for (QWidget* part : {static_cast<QWidget*>(m_name), static_cast<QWidget*>(m_float), static_cast<QWidget*>(m_close)})
        part->setVisible(!collapsed);
    updateGeometry();
    if (QLayout* layout = m_dock->layout())
        layout->invalidate();
    m_dock->updateGeometry();
}

QSize DockTitle::sizeHint() const
{
    return {120, m_collapsed ? 0 : kTitleHeight};
}

QSize DockTitle::minimumSizeHint() const
{
    return {60, m_collapsed ? 0 : kTitleHeight};
}

ViewDock::ViewDock(const QString& name, QWidget* content, QWidget* parent)
    : QDockWidget(name, parent)
    , m_name(name)
{
    setObjectName(QStringLiteral("dock") + name);
    setFeatures(DockWidgetClosable | DockWidgetMovable | DockWidgetFloatable);
    m_title = new DockTitle(this);
    setTitleBarWidget(m_title);
    setWidget(content);
    connect(this, &QDockWidget::visibilityChanged, this, [this](bool visible) {
        if (m_onScreen != visible) {
            m_onScreen = visible;
            Q_EMIT onScreenChanged(visible);
        }
        Q_EMIT arrangementChanged();
    });
    connect(this, &QDockWidget::topLevelChanged, this, &ViewDock::arrangementChanged);
    connect(this, &QDockWidget::dockLocationChanged, this, &ViewDock::arrangementChanged);
}

} // namespace qs::app
