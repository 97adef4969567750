// SPDX-License-Identifier: GPL-3.0-or-later
#include "views/widgets/choice_box.h"

#include "views/theme/theme.h"

#include <QStyleOptionComboBox>
#include <QStylePainter>

#include <algorithm>
#include <array>

namespace qs::views {

namespace {

constexpr double kHalf = 3.5; ///< Half the width of the chevron.
constexpr int kFromRight = 14;
constexpr int kTextRoom = 34; ///< Padding, border and the chevron.

} // namespace

void ChoiceBox::paintEvent(QPaintEvent* /*event*/)
{
    QStylePainter painter(this);
    QStyleOptionComboBox option;
    initStyleOption(&option);
    option.currentText = fontMetrics().elidedText(option.currentText, Qt::ElideRight, std::max(0, width() - kTextRoom));
    painter.drawComplexControl(QStyle::CC_ComboBox, option);
    if (!isEditable())
        painter.drawControl(QStyle::CE_ComboBoxLabel, option);
    painter.setRenderHint(QPainter::Antialiasing);
    painter.setPen(QPen(isEnabled() ? tokens().dim : tokens().line, 1.4, Qt::SolidLine, Qt::RoundCap, Qt::RoundJoin));
    const QPointF tip(width() - kFromRight, height() / 2.0 + kHalf / 2);
    const std::array<QPointF, 3> chevron{tip + QPointF(-kHalf, -kHalf), tip, tip + QPointF(kHalf, -kHalf)};
    painter.drawPolyline(chevron.data(), static_cast<int>(chevron.size()));
}

} // namespace qs::views
