// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <QFrame>
#include <QLabel>

#include <functional>

class QHBoxLayout;
class QToolButton;
class QVBoxLayout;

namespace qs::views {

class PlotView;
class HeatmapView;

/// A label with a role of the style sheet: "dim", "small", "title", "headline", "cardtitle", "slot", "good", "bad", "warning".
QLabel* makeLabel(const QString& text, const char* role = nullptr, QWidget* parent = nullptr);
void setRole(QWidget* widget, const char* role);

/// A label that cuts its text with an ellipsis and shows all of it as a tool tip.
class ElidedLabel : public QLabel {
    Q_OBJECT
public:
    explicit ElidedLabel(const QString& text = {}, const char* role = nullptr, QWidget* parent = nullptr);
    void setFullText(const QString& text);
    const QString& fullText() const { return m_text; }
    void setBrief(const QString& text); ///< What is written instead where the whole text does not fit, before it is cut.
    QSize minimumSizeHint() const override;
    QSize sizeHint() const override;

protected:
    void paintEvent(QPaintEvent* event) override;

private:
    QString m_text;
    QString m_brief;
};

/// White card: title, subtitle, content, and a button that saves what it shows.
class Card : public QFrame {
    Q_OBJECT
public:
    explicit Card(const QString& title = {}, const QString& subtitle = {}, QWidget* parent = nullptr);
    QVBoxLayout* content() const { return m_content; }
    void setTitle(const QString& title);
    void setSubtitle(const QString& subtitle);
    QString subtitle() const;
    QHBoxLayout* header() const { return m_header; }
    void addWidget(QWidget* widget, int stretch = 1);

    /// Offers "Save PNG / SVG / CSV" for a chart.
    void setExport(PlotView* plot);
    /// Offers "Save PNG" for a heatmap.
    void setExport(HeatmapView* heatmap);
    /// Offers "Save CSV".
    void setExport(std::function<QString()> csv);

private:
    void addExportAction(const QString& text, const QString& suffix, std::function<bool(const QString&)> save);

    QVBoxLayout* m_content = nullptr;
    QHBoxLayout* m_header = nullptr;
    QLabel* m_title = nullptr;
    ElidedLabel* m_subtitle = nullptr;
    QToolButton* m_save = nullptr;
};

} // namespace qs::views
