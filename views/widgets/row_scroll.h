// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <QEvent>
#include <QScrollArea>
#include <QScrollBar>

namespace qs::views {

/// A row of any length: as high as its content, scrolled sideways where it is too long.
class RowScroll : public QScrollArea {
    Q_OBJECT
public:
    explicit RowScroll(QWidget* row, QWidget* parent = nullptr)
        : QScrollArea(parent)
    {
        setWidget(row);
        setWidgetResizable(true);
        setFrameShape(QFrame::NoFrame);
        setVerticalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
        setSizePolicy(QSizePolicy::Expanding, QSizePolicy::Fixed);
        setFocusPolicy(Qt::NoFocus);
    }
    QSize sizeHint() const override
    {
        const QSize content = widget()->sizeHint();
        const bool bar = widget()->minimumSizeHint().width() > width();
        return {content.width(), content.height() + (bar ? horizontalScrollBar()->sizeHint().height() : 0)};
    }
    QSize minimumSizeHint() const override { return {120, sizeHint().height()}; }

protected:
    bool eventFilter(QObject* object, QEvent* event) override
    {
        if (object == widget() && event->type() == QEvent::LayoutRequest)
            updateGeometry(); // the row may have become higher
        return QScrollArea::eventFilter(object, event);
    }
    void resizeEvent(QResizeEvent* event) override
    {
        QScrollArea::resizeEvent(event);
        updateGeometry();
    }
};

} // namespace qs::views
