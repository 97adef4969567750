// SPDX-License-Identifier: GPL-3.0-or-later
#include "app/gui/shortcuts_dialog.h"

#include "views/theme/theme.h"

#include <QDialogButtonBox>
#include <QHeaderView>
#include <QMenu>
#include <QMenuBar>
#include <QPushButton>
#include <QTableWidget>
#include <QVBoxLayout>

namespace qs::app {

ShortcutsDialog::ShortcutsDialog(const QMenuBar* menus, QWidget* parent)
    : QDialog(parent)
    , m_table(new QTableWidget(0, 2))
{
    setWindowTitle(tr("Keyboard and mouse"));
    resize(620, 620);
    auto* layout = new QVBoxLayout(this);
    m_table->horizontalHeader()->hide();
    m_table->verticalHeader()->hide();
    m_table->setShowGrid(false);
    m_table->setEditTriggers(QAbstractItemView::NoEditTriggers);
    m_table->setSelectionMode(QAbstractItemView::NoSelection);
    m_table->setVerticalScrollMode(QAbstractItemView::ScrollPerPixel);
    m_table->horizontalHeader()->setSectionResizeMode(0, QHeaderView::Stretch);
    m_table->horizontalHeader()->setSectionResizeMode(1, QHeaderView::ResizeToContents);
    m_table->verticalHeader()->setDefaultSectionSize(views::kRowHeight);
    m_table->verticalHeader()->setMinimumSectionSize(views::kRowHeight);
    m_table->setAccessibleName(windowTitle());

    for (const QAction* top : menus->actions()) {
        if (!top->menu())
            continue;
        addSection(QString(top->text()).remove(u'&'));
        const std::function<void(const QMenu*)> walk = [&](const QMenu* menu) {
            for (const QAction* action : menu->actions()) {
                if (action->isSeparator() || action->text().isEmpty())
                    continue;
                if (action->menu())
                    walk(action->menu());
                else if (!action->shortcut().isEmpty())
                    addRow(QString(action->text()).remove(u'&'), action->shortcut().toString(QKeySequence::NativeText));
            }
        };
        walk(top->menu());
    }
    addSection(tr("Charts and heatmaps"));
    addRow(tr("Exact value"), tr("hover, or ← → on a focused chart"));
    addRow(tr("Select everywhere"), tr("click, or Enter"));
    addRow(tr("Zoom, and back"), tr("double click, Esc"));
    addRow(tr("Pan a zoomed heatmap"), tr("drag"));
    addRow(tr("Forget the selected channel"), tr("Esc, or × beside it"));
    addSection(tr("Layers"));
    addRow(tr("Select several"), tr("Shift or Ctrl with click or arrows"));
    addRow(tr("Sort"), tr("click a column"));
    addRow(tr("Choose columns"), tr("right click a column"));
    addSection(tr("Pipelines"));
    addRow(tr("Edit a card's pipeline"), tr("click, or Enter on the card"));
    addRow(tr("Remove it"), tr("× or Delete on the card"));
    addSection(tr("Docks"));
    addRow(tr("Move"), tr("drag the title or the tab"));
    addRow(tr("Float, and back"), tr("double click the title or the tab"));
    addRow(tr("Close"), tr("×, or middle click on the tab"));
    addRow(tr("Menu of a tab"), tr("right click, or the menu key"));

    layout->addWidget(m_table, 1);
    auto* buttons = new QDialogButtonBox(QDialogButtonBox::Close);
    connect(buttons, &QDialogButtonBox::rejected, this, &QDialog::reject);
    layout->addWidget(buttons);
}

void ShortcutsDialog::addSection(const QString& title)
{
    const int row = m_table->rowCount();
    m_table->insertRow(row);
    auto* item = new QTableWidgetItem(title);
    item->setFont(views::Theme::instance().font(views::kBodyPx, true));
    item->setForeground(views::tokens().accent);
    m_table->setItem(row, 0, item);
    m_table->setItem(row, 1, new QTableWidgetItem);
}

void ShortcutsDialog::addRow(const QString& what, const QString& keys)
{
    const int row = m_table->rowCount();
    m_table->insertRow(row);
    m_table->setItem(row, 0, new QTableWidgetItem(what));
    auto* item = new QTableWidgetItem(keys);
    item->setForeground(views::tokens().dim);
    m_table->setItem(row, 1, item);
}

} // namespace qs::app
