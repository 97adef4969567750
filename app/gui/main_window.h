// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "core/session/workbench.h"
#include "views/panels/panel.h"

#include <QMainWindow>
#include <QUndoStack>

class QLabel;
class QLineEdit;
class QPushButton;
class QSplitter;
class QTabBar;
class QStackedWidget;

namespace qs::views {
class ChannelsPanel;
class ComparePanel;
class DistributionPanel;
class HessianPanel;
class JobsPanel;
class LayersPanel;
class PipelineEditor;
class QsurPanel;
} // namespace qs::views

namespace qs::app {

/// Assembles the panels around one Workbench and maps files, menus and shortcuts to it. No logic of its own.
class MainWindow : public QMainWindow {
    Q_OBJECT
public:
    explicit MainWindow(QWidget* parent = nullptr);
    ~MainWindow() override;

    session::Workbench& bench() { return m_bench; }
    QUndoStack& undoStack() { return m_undo; }
    void openPath(const QString& path, const QString& dump = {}); ///< Model, dump or session, by what it is.
    bool showView(const QString& name); ///< False when there is no such view.
    QStringList viewNames() const;
    bool idle() const; ///< Nothing runs and every visible heatmap is drawn.

    views::LayersPanel* layersPanel() const { return m_layers; }
    views::ChannelsPanel* channelsPanel() const { return m_channels; }
    views::DistributionPanel* distributionPanel() const { return m_distribution; }
    views::HessianPanel* hessianPanel() const { return m_hessian; }
    views::QsurPanel* qsurPanel() const { return m_qsur; }
    views::ComparePanel* comparePanel() const { return m_compare; }
    views::PipelineEditor* pipelineEditor() const { return m_editor; }
    views::JobsPanel* jobsPanel() const { return m_jobs; }
    QTabBar* tabs() const { return m_tabs; }
    QPushButton* exportButton() const { return m_export; }

    static QString samplePath(); ///< The bundled sample, or empty.

public Q_SLOTS:
    void askOpen();
    void askOpenFile();
    void calibrate();
    void evaluate();
    void exportRecipe();
    void setDark(bool dark);

protected:
    void dragEnterEvent(QDragEnterEvent* event) override;
    void dropEvent(QDropEvent* event) override;
    void showEvent(QShowEvent* event) override;
    void closeEvent(QCloseEvent* event) override;

private:
    void buildTopBar();
    void buildCentre();
    void buildRight();
    void buildMenus();
    void fillSearch();
    void runSearch(const QString& text);
    void updateTexts();
    void saveSession(bool as);
    void fillRecent();
    void remember(const QString& path);
    void about();
    void showPlugins();

    session::Workbench m_bench;
    QUndoStack m_undo;
    std::shared_ptr<const model::Model> m_shown; ///< The model that the undo steps belong to.
    views::PanelContext m_context{m_bench, m_undo};
    QSplitter* m_splitter = nullptr;
    bool m_placed = false; ///< The panes got their widths when the window was first shown.
    QFrame* m_top = nullptr;
    QLabel* m_info = nullptr;
    QLineEdit* m_search = nullptr;
    QPushButton* m_calibrate = nullptr;
    QPushButton* m_export = nullptr;
    QWidget* m_centre = nullptr;
    QTabBar* m_tabs = nullptr;
    QStackedWidget* m_stack = nullptr;
    QMenu* m_recent = nullptr;
    QAction* m_darkAction = nullptr;
    QLabel* m_status = nullptr;
    std::vector<views::LayerPanel*> m_panels;
    views::LayersPanel* m_layers = nullptr;
    views::ChannelsPanel* m_channels = nullptr;
    views::DistributionPanel* m_distribution = nullptr;
    views::HessianPanel* m_hessian = nullptr;
    views::QsurPanel* m_qsur = nullptr;
    views::ComparePanel* m_compare = nullptr;
    views::PipelineEditor* m_editor = nullptr;
    views::JobsPanel* m_jobs = nullptr;
};

} // namespace qs::app
