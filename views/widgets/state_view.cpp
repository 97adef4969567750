// SPDX-License-Identifier: GPL-3.0-or-later
#include "views/widgets/state_view.h"

#include "views/theme/tokens.h"
#include "views/widgets/card.h"

#include <QProgressBar>
#include <QPushButton>
#include <QVBoxLayout>

namespace qs::views {

StateView::StateView(QWidget* content, QWidget* parent)
    : QStackedWidget(parent)
    , m_content(content)
    , m_page(new QWidget)
    , m_what(makeLabel({}, "cardtitle"))
    , m_why(makeLabel({}, "dim"))
    , m_busy(new QProgressBar)
    , m_button(new QPushButton)
{
    m_page->setObjectName(QStringLiteral("state"));
    auto* layout = new QVBoxLayout(m_page);
    layout->setSpacing(2 * kGrid);
    layout->addStretch(1);
    m_what->setAlignment(Qt::AlignCenter);
    m_why->setAlignment(Qt::AlignCenter);
    m_why->setWordWrap(true);
    m_what->setWordWrap(true);
    m_busy->setRange(0, 0);
    m_busy->setTextVisible(false);
    m_busy->setMaximumWidth(160);
    layout->addWidget(m_what);
    layout->addWidget(m_why);
    layout->addWidget(m_busy, 0, Qt::AlignHCenter);
    layout->addWidget(m_button, 0, Qt::AlignHCenter);
    layout->addStretch(1);
    addWidget(content);
    addWidget(m_page);
    connect(m_button, &QPushButton::clicked, this, &StateView::helpClicked);
    showContent();
}

void StateView::showContent()
{
    setCurrentWidget(m_content);
}

void StateView::showPage(const QString& what, const QString& why, const QString& button, bool busy, const char* role)
{
    m_what->setText(what);
    m_why->setText(why);
    m_why->setVisible(!why.isEmpty());
    setRole(m_what, role);
    m_busy->setVisible(busy);
    m_button->setText(button);
    m_button->setVisible(!button.isEmpty());
    setCurrentWidget(m_page);
}

void StateView::showEmpty(const QString& what, const QString& why, const QString& button)
{
    showPage(what, why, button, false, "cardtitle");
}

void StateView::showLoading(const QString& what)
{
    showPage(what, {}, {}, true, "dim");
}

void StateView::showError(const Error& error, const QString& button)
{
    showPage(tr("Failed"), QString::fromStdString(error.line()), button, false, "bad");
}

void StateView::showCancelled(const QString& what, const QString& button)
{
    showPage(tr("Cancelled"), what, button, false, "dim");
}

QString StateView::message() const
{
    if (currentWidget() == m_content)
        return {};
    return m_what->text() + (m_why->text().isEmpty() ? QString() : QStringLiteral(": ") + m_why->text());
}

} // namespace qs::views
