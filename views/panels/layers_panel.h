// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "views/panels/panel.h"

class QLineEdit;
class QToolButton;
class QTreeView;

namespace qs::views {

/// The model's layers: a flat list, worst first, or by block; filter, sort by any column, select several.
class LayersPanel : public QWidget {
    Q_OBJECT
public:
    explicit LayersPanel(PanelContext context, QWidget* parent = nullptr);
    QTreeView* tree() const { return m_tree; }
    QLineEdit* filter() const { return m_filter; }
    QToolButton* blocksButton() const { return m_blocks; }
    QToolButton* columnsButton() const { return m_columns; }

protected:
    void resizeEvent(QResizeEvent* event) override;

private:
    void fitColumns();
    int titleWidth(int column) const; ///< What a column needs for its title.
    void showRowMenu(const QPoint& position);
    model::LayerIndex m_chosenHere = -1; ///< Selected by the panel as the worst, not by the user.
    bool m_columnsChosen = false; ///< By the user: then the panel leaves them alone.
    void pushSelection();
    void pullSelection();
    void updateState();
    void chooseColumns(const QPoint& globalPosition);

    PanelContext m_context;
    session::LayerFilterModel* m_proxy;
    QLineEdit* m_filter;
    QToolButton* m_blocks;
    QToolButton* m_columns;
    QLabel* m_problem;
    QTreeView* m_tree;
    StateView* m_state;
    bool m_pulling = false;
    std::weak_ptr<const model::Model> m_model; ///< The one that was open last.
    bool m_newModel = false; ///< Not yet ranked.
    std::array<int, session::LayerTreeModel::ColumnCount> m_fitted{}; ///< Widths that the panel gave; 0: none yet.
    QTimer m_fit;
    bool m_toTop = false; ///< m_reveal shows the first row instead.
    QTimer m_reveal; ///< Shows the current row after the order changed.
};

} // namespace qs::views
