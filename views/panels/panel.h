// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "core/session/workbench.h"
#include "views/widgets/card.h"
#include "views/widgets/state_view.h"

#include <QTimer>
#include <QUndoStack>
#include <QWidget>

#include <array>
#include <vector>

class QGridLayout;
class QScrollArea;
class QVBoxLayout;

namespace qs::views {

/// What every panel is given; panels know each other only through the selection.
struct PanelContext {
    session::Workbench& bench;
    QUndoStack& undo;
};

/// A view of the current layer: follows the selection and the analysis, and is refreshed only while it is visible.
class LayerPanel : public QWidget {
    Q_OBJECT
public:
    LayerPanel(PanelContext context, const QString& name, QWidget* parent = nullptr);
    const QString& name() const { return m_name; }
    StateView* stateView() const { return m_state; }
    /// False while the panel is closed or behind a tab: then it follows nothing and computes nothing, and catches up later.
    void setOnScreen(bool onScreen);
    bool shown() const { return m_onScreen && isVisible(); }
    QScrollArea* scrollArea() const { return m_area; }
    void reveal(QWidget* part); ///< Scrolls to a part of the page once it has its place.
    int refreshes() const { return m_refreshes; } ///< How often it was drawn anew, for tests.

protected:
    session::Workbench& bench() const { return m_context.bench; }
    QUndoStack& undo() const { return m_context.undo; }
    QVBoxLayout* page() const { return m_page; } ///< Cards go here, inside a scroll area.
    virtual void refresh(const session::LayerView& view) = 0;
    virtual void selectionChanged() { } ///< Channel or row changed; the layer is the same.
    /// True when the panel needs a dump; then it explains and offers to calibrate instead of showing the content.
    virtual bool needsDump() const { return false; }
    /// Instead of the content: what is missing, why, and the button that calibrates.
    void showNeedsCalibration(const QString& what, const QString& why);
    void markDirty(); ///< Refresh now, or when shown.
    void showEvent(QShowEvent* event) override;

Q_SIGNALS:
    void calibrateRequested();
    void openRequested();

private:
    void updateNow();
    void catchUp();

    PanelContext m_context;
    QString m_name;
    StateView* m_state = nullptr;
    QScrollArea* m_area = nullptr;
    QVBoxLayout* m_page = nullptr;
    std::weak_ptr<const model::Model> m_model; ///< The one that was open last.
    bool m_dirty = true;
    bool m_calibrates = false; ///< The button of the state calibrates.
    bool m_onScreen = true;
    int m_refreshes = 0;
    QTimer m_wait;
    bool m_waited = false;
};

/// Names at the left, values at the right, one line each.
class NumberList : public QWidget {
    Q_OBJECT
public:
    struct Item {
        QString name;
        QString value;
        QString toolTip; ///< The formula.
        const char* role = nullptr;
        QString brief = {}; ///< The name where there is little room; empty: the common one, if any.
    };
    explicit NumberList(QWidget* parent = nullptr);
    void set(const std::vector<Item>& items, int columns = 1);
    /// Brief names for all items, not only for those that do not fit: lists side by side call things alike.
    void setBriefNames(bool brief);
    QString value(const QString& name) const; ///< For tests.

private:
    QGridLayout* m_grid;
    std::vector<Item> m_items;
    int m_columns = 1;
    bool m_brief = false;
};

inline constexpr int kRowOfCards = 520; ///< Pixels that charts need beside each other.
/// A row of widgets; one above the other where it is narrower than `sideBySide`.
QWidget* makeRow(const std::vector<QWidget*>& widgets, const std::vector<int>& stretches = {}, int sideBySide = kRowOfCards);

} // namespace qs::views
