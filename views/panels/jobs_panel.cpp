// SPDX-License-Identifier: GPL-3.0-or-later
#include "views/panels/jobs_panel.h"

#include "views/theme/theme.h"

#include <QApplication>
#include <QClipboard>
#include <QHBoxLayout>
#include <QListView>
#include <QProgressBar>
#include <QScrollArea>
#include <QStyledItemDelegate>
#include <QToolButton>
#include <QVBoxLayout>

namespace qs::views {

namespace {

class MessageDelegate : public QStyledItemDelegate {
public:
    using QStyledItemDelegate::QStyledItemDelegate;

protected:
    void initStyleOption(QStyleOptionViewItem* option, const QModelIndex& index) const override
    {
        QStyledItemDelegate::initStyleOption(option, index);
        using Severity = session::Message::Severity;
        switch (static_cast<Severity>(index.data(session::MessageModel::SeverityRole).toInt())) {
        case Severity::Error:
            option->palette.setColor(QPalette::Text, tokens().bad);
            option->text = QStringLiteral("✕  ") + option->text;
            break;
        case Severity::Warning:
            option->palette.setColor(QPalette::Text, tokens().warning);
            option->text = QStringLiteral("!  ") + option->text;
            break;
        case Severity::Info: option->palette.setColor(QPalette::Text, tokens().dim); break;
        }
        option->features |= QStyleOptionViewItem::WrapText;
    }
};

} // namespace

JobsPanel::JobsPanel(PanelContext context, QWidget* parent)
    : QWidget(parent)
    , m_context(context)
    , m_list(new QVBoxLayout)
    , m_none(makeLabel(tr("nothing runs"), "dim"))
    , m_messages(new QListView)
{
    auto* layout = new QVBoxLayout(this);
    layout->setContentsMargins(0, 0, 0, 0);
    layout->setSpacing(kGrid);
    // The list scrolls, so that nothing else moves when a job starts.
    auto* rows = new QWidget;
    rows->setObjectName(QStringLiteral("page"));
    auto* rowsLayout = new QVBoxLayout(rows);
    rowsLayout->setContentsMargins(0, 0, 0, 0);
    m_list->setSpacing(kGrid);
    rowsLayout->addWidget(m_none);
    rowsLayout->addLayout(m_list);
    rowsLayout->addStretch(1);
    auto* area = new QScrollArea;
    area->setWidget(rows);
    area->setWidgetResizable(true);
    area->setFrameShape(QFrame::NoFrame);
    area->setFocusPolicy(Qt::NoFocus);
    area->setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
    area->setMinimumHeight(34);
    layout->addWidget(area, 1);
    layout->addSpacing(kGrid);
    auto* title = makeLabel(tr("MESSAGES"), "slot");
    title->setSizePolicy(QSizePolicy::Preferred, QSizePolicy::Fixed);
    layout->addWidget(title);
    m_messages->setModel(&m_context.bench.messages());
    m_messages->setItemDelegate(new MessageDelegate(m_messages));
    m_messages->setMinimumHeight(28);
    m_messages->setWordWrap(true);
    m_messages->setResizeMode(QListView::Adjust);
    m_messages->setStyleSheet(QStringLiteral("background: transparent; border: none;"));
    m_messages->setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
    m_messages->setAccessibleName(tr("Messages"));
    m_messages->setToolTip(tr("Double click copies a message"));
    connect(m_messages, &QListView::doubleClicked, this,
        [](const QModelIndex& index) { QApplication::clipboard()->setText(index.data().toString()); });
    layout->addWidget(m_messages, 1);

    session::JobQueue& jobs = m_context.bench.jobs();
    connect(&jobs, &session::JobQueue::added, this, &JobsPanel::add);
    connect(&jobs, &session::JobQueue::changed, this, &JobsPanel::refresh);
    connect(&jobs, &session::JobQueue::finished, this, &JobsPanel::remove);
    m_clock.setInterval(1000);
    connect(&m_clock, &QTimer::timeout, this, [this] {
        for (const auto& [id, row] : m_rows)
            refresh(id);
    });
}

void JobsPanel::add(session::JobId id)
{
    const session::JobInfo* info = m_context.bench.jobs().info(id);
    if (!info || !info->listed)
        return;
    Row row{};
    row.widget = new QWidget;
    auto* layout = new QVBoxLayout(row.widget);
    layout->setContentsMargins(0, 0, 0, 2);
    layout->setSpacing(2);
    auto* top = new QHBoxLayout;
    row.text = new ElidedLabel(info->title, "dim");
    row.cancel = new QToolButton;
    row.cancel->setText(QStringLiteral("✕"));
    row.cancel->setToolTip(tr("Cancel"));
    row.cancel->setAccessibleName(tr("Cancel %1").arg(info->title));
    connect(row.cancel, &QToolButton::clicked, this, [this, id] { m_context.bench.jobs().cancel(id); });
    row.left = makeLabel({}, "dim");
    top->addWidget(row.text, 1);
    top->addWidget(row.left);
    top->addWidget(row.cancel);
    row.bar = new QProgressBar;
    row.bar->setRange(0, 1000);
    row.bar->setTextVisible(false);
    layout->addLayout(top);
    layout->addWidget(row.bar);
    m_list->addWidget(row.widget);
    m_rows.emplace(id, row);
    m_none->hide();
    m_clock.start();
    refresh(id);
}

void JobsPanel::refresh(session::JobId id)
{
    const auto it = m_rows.find(id);
    const session::JobInfo* info = m_context.bench.jobs().info(id);
    if (it == m_rows.end() || !info)
        return;
    QString text = info->title;
    QString left = tr("waiting");
    if (info->state != session::JobState::Queued) {
        if (!info->text.isEmpty())
            text += QStringLiteral("  ·  ") + info->text;
        left = QStringLiteral("%1 %").arg(static_cast<int>(info->fraction * 100));
        const QString time = session::durationText(info->etaSeconds());
        if (!time.isEmpty())
            left += tr("  ·  %1 left").arg(time);
    }
    it->second.text->setFullText(text);
    it->second.left->setText(left);
    it->second.bar->setValue(static_cast<int>(info->fraction * 1000));
}

void JobsPanel::remove(session::JobId id)
{
    const auto it = m_rows.find(id);
    if (it == m_rows.end())
        return;
    it->second.widget->deleteLater();
    it->second.widget->hide();
    m_rows.erase(it);
    m_none->setVisible(m_rows.empty());
    if (m_rows.empty())
        m_clock.stop();
}

QString JobsPanel::remaining(session::JobId id) const
{
    const auto it = m_rows.find(id);
    return it == m_rows.end() ? QString() : it->second.left->text();
}

QToolButton* JobsPanel::cancelButton(session::JobId id) const
{
    const auto it = m_rows.find(id);
    return it == m_rows.end() ? nullptr : it->second.cancel;
}

} // namespace qs::views
