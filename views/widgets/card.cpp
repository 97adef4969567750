// SPDX-License-Identifier: GPL-3.0-or-later
#include "views/widgets/card.h"

#include "core/base/atomic_file.h"
#include "views/heatmap/heatmap_view.h"
#include "views/plot/plot_view.h"
#include "views/theme/theme.h"

#include <QFileDialog>
#include <QHBoxLayout>
#include <QMenu>
#include <QMessageBox>
#include <QPainter>
#include <QStyle>
#include <QStyleOption>
#include <QToolButton>
#include <QVBoxLayout>

namespace qs::views {

void setRole(QWidget* widget, const char* role)
{
    if (widget->property("role").toByteArray() == role)
        return;
    widget->setProperty("role", QByteArray(role));
    widget->style()->unpolish(widget);
    widget->style()->polish(widget);
}

QLabel* makeLabel(const QString& text, const char* role, QWidget* parent)
{
    auto* label = new QLabel(text, parent);
    label->setTextFormat(Qt::PlainText);
    if (role)
        label->setProperty("role", QByteArray(role));
    return label;
}

ElidedLabel::ElidedLabel(const QString& text, const char* role, QWidget* parent)
    : QLabel(parent)
{
    if (role)
        setProperty("role", QByteArray(role));
    setSizePolicy(QSizePolicy::Ignored, QSizePolicy::Preferred);
    setFullText(text);
}

void ElidedLabel::setFullText(const QString& text)
{
    m_text = text;
    setToolTip(text);
    setAccessibleName(text);
    updateGeometry();
    update();
}

void ElidedLabel::setBrief(const QString& text)
{
    m_brief = text;
    update();
}

QSize ElidedLabel::minimumSizeHint() const
{
    return {sizePolicy().horizontalPolicy() == QSizePolicy::Fixed ? minimumWidth() : 40, fontMetrics().height()};
}

QSize ElidedLabel::sizeHint() const
{
    return {fontMetrics().horizontalAdvance(m_text) + 2, fontMetrics().height()};
}

void ElidedLabel::paintEvent(QPaintEvent* /*event*/)
{
    QPainter painter(this);
    QStyleOption option;
    option.initFrom(this);
    painter.setPen(option.palette.color(foregroundRole()));
    const bool brief = !m_brief.isEmpty() && fontMetrics().horizontalAdvance(m_text) > width();
    painter.drawText(
        rect(), Qt::AlignVCenter | Qt::AlignLeft, fontMetrics().elidedText(brief ? m_brief : m_text, Qt::ElideRight, width()));
}

Card::Card(const QString& title, const QString& subtitle, QWidget* parent)
    : QFrame(parent)
{
    setObjectName(QStringLiteral("card"));
    m_content = new QVBoxLayout(this);
    m_content->setContentsMargins(kCardPadding, kCardPadding - 2, kCardPadding, kCardPadding);
    m_content->setSpacing(kGrid);
    m_header = new QHBoxLayout;
    m_header->setSpacing(2 * kGrid);
    m_title = makeLabel(title, "cardtitle");
    m_subtitle = new ElidedLabel(subtitle, "dim");
    m_header->addWidget(m_title);
    m_header->addWidget(m_subtitle, 1);
    m_content->addLayout(m_header);
    m_title->setVisible(!title.isEmpty());
}

void Card::setTitle(const QString& title)
{
    m_title->setText(title);
    m_title->setVisible(!title.isEmpty());
}

void Card::setSubtitle(const QString& subtitle)
{
    m_subtitle->setFullText(subtitle);
}

QString Card::subtitle() const
{
    return m_subtitle->fullText();
}

void Card::addWidget(QWidget* widget, int stretch)
{
    m_content->addWidget(widget, stretch);
}

void Card::addExportAction(const QString& text, const QString& suffix, std::function<bool(const QString&)> save)
{
    if (!m_save) {
        m_save = new QToolButton;
        m_save->setText(QStringLiteral("⤓"));
        m_save->setToolTip(tr("Save this card"));
        m_save->setAccessibleName(tr("Save this card"));
        m_save->setPopupMode(QToolButton::InstantPopup);
        m_save->setMenu(new QMenu(m_save));
        m_header->addWidget(m_save);
    }
    m_save->menu()->addAction(text, this, [this, suffix, save = std::move(save)] {
        QString file = QFileDialog::getSaveFileName(this, tr("Save"), m_title->text().toLower().replace(u' ', u'-') + suffix);
        if (!file.isEmpty() && !save(file))
            QMessageBox(QMessageBox::NoIcon, tr("Save"),
                tr("%1 could not be written: check the folder's permissions and free space").arg(file), QMessageBox::Ok, this)
                .exec();
    });
}

void Card::setExport(PlotView* plot)
{
    addExportAction(tr("Save as PNG…"), QStringLiteral(".png"), [plot](const QString& file) { return plot->savePng(file); });
    addExportAction(tr("Save as SVG…"), QStringLiteral(".svg"), [plot](const QString& file) { return plot->saveSvg(file); });
    setExport([plot] { return plot->toCsv(); });
}

void Card::setExport(HeatmapView* heatmap)
{
    addExportAction(tr("Save as PNG…"), QStringLiteral(".png"),
        [heatmap](const QString& file) { return heatmap->grab().save(file, "PNG"); });
}

void Card::setExport(std::function<QString()> csv)
{
    addExportAction(tr("Save as CSV…"), QStringLiteral(".csv"), [csv = std::move(csv)](const QString& file) {
        return qs::writeTextFile(file.toStdString(), csv().toStdString()).has_value();
    });
}

} // namespace qs::views
