// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "core/session/workbench.h"
#include "views/panels/panel.h"

#include <QMainWindow>
#include <QSize>
#include <QUndoStack>

#include <optional>

class QLabel;
class QLineEdit;
class QPushButton;
class QTabBar;
class QTimer;

namespace qs::views {
class ChannelsPanel;
class ComparePanel;
class DistributionPanel;
class HessianPanel;
class JobsPanel;
class LayerHeader;
class LayersPanel;
class PipelineEditor;
class QsurPanel;
} // namespace qs::views

namespace qs::app {

class ViewDock;

/// Assembles the panels around one Workbench and maps files, docks, menus and shortcuts to it. No logic of its own.
class MainWindow : public QMainWindow {
    Q_OBJECT
public:
    explicit MainWindow(QWidget* parent = nullptr);
    ~MainWindow() override;

    session::Workbench& bench() { return m_bench; }
    QUndoStack& undoStack() { return m_undo; }
    bool idle() const; ///< Nothing runs and every heatmap that can be seen is drawn.

    // Files
    /// Folder, model, dump, recipe, pipeline or session, by what it is. What is not understood becomes one message.
    void openPath(const QString& givenPath, const QString& givenDump = {});
    void openPaths(const QStringList& paths); ///< What was dropped together: at most one model, with its dump.
    static QString samplePath(); ///< The bundled sample, or empty.
    QString noticeText() const; ///< The latest message in the status bar, while it is there.
    QString statusText() const;

    // Docks
    bool showView(const QString& name); ///< Opens and raises a view or panel. False when there is none of this name.
    QStringList viewNames() const;
    ViewDock* dock(const QString& name) const; ///< Views, and "Layers", "Pipeline", "Jobs".
    ViewDock* currentView() const { return m_current; } ///< The view that the keyboard or the mouse used last.
    void placeBeside(ViewDock* dock, Qt::Orientation orientation = Qt::Horizontal); ///< Next to the current view.
    QTabBar* tabBarOf(const ViewDock* dock) const; ///< Null while the dock stands alone.
    void resetLayout();
    bool restoreLayout(); ///< From the settings; they are written again when the window closes.
    void saveLayout() const;
    static constexpr QSize kWantedSize{1660, 1046};
    /// As it was last time, or of kWantedSize; never larger than the screen, unless `size` was asked for. Call before show().
    void place(std::optional<QSize> size);

    views::LayerHeader* header() const { return m_header; }
    views::LayersPanel* layersPanel() const { return m_layers; }
    views::ChannelsPanel* channelsPanel() const { return m_channels; }
    views::DistributionPanel* distributionPanel() const { return m_distribution; }
    views::HessianPanel* hessianPanel() const { return m_hessian; }
    views::QsurPanel* qsurPanel() const { return m_qsur; }
    views::ComparePanel* comparePanel() const { return m_compare; }
    views::PipelineEditor* pipelineEditor() const { return m_editor; }
    views::JobsPanel* jobsPanel() const { return m_jobs; }
    QPushButton* exportButton() const { return m_export; }

    /// The theme was asked for: a session that is opened does not change it.
    void keepTheme() { m_themeFixed = true; }

public Q_SLOTS:
    void askOpen();
    void calibrate();
    void evaluate();
    void exportRecipe();
    void showShortcuts();
    void setDark(bool dark); ///< Also for the next start.

protected:
    void dragEnterEvent(QDragEnterEvent* event) override;
    void dropEvent(QDropEvent* event) override;
    void showEvent(QShowEvent* event) override;
    void closeEvent(QCloseEvent* event) override;
    bool eventFilter(QObject* object, QEvent* event) override;
    bool focusNextPrevChild(bool next) override;

private:
    void buildTopBar();
    void buildViews();
    void buildStatus();
    void buildMenus();
    QAction* addCommand(QMenu* menu, const QString& text, const QKeySequence& key, std::function<void()> slot);
    void buildFileMenu();
    void buildViewMenu();
    void fillSearch();
    void runSearch(const QString& text);
    void runFirstMatch(); ///< Enter in the search.
    void showDark(bool dark);
    void updateTexts();
    QStringList statusParts();
    void showNotice(const session::Message& message);
    bool saveSession(bool as); ///< False when it was not saved.
    bool mayDiscard(); ///< Asks when there are unsaved edits; true to go on.
    bool mayStop(); ///< Asks when work that somebody waits for is running; true to go on.
    void fillRecent();
    void remember(const QString& path);
    void openRecipe(const QString& path);
    void openJson(const QString& path);
    void lookAtCompanion();
    void complain(const QString& path, const QString& what, const QString& hint);
    void about();
    void showPlugins();

    // Docks
    ViewDock* addDock(const QString& name, QWidget* content);
    void setDockSizes();
    void arrangementChanged(); ///< Titles disappear where a tab shows the name.
    void tabMenu(ViewDock* dock, const QPoint& position);
    void stepView(int step);
    ViewDock* dockOfTab(const QTabBar* tabs, int index) const;

    session::Workbench m_bench;
    QUndoStack m_undo;
    std::shared_ptr<const model::Model> m_shown; ///< The model that the undo steps belong to.
    bool m_awaitsScores = false; ///< An evaluation was asked for in the dialog.
    views::PanelContext m_context{m_bench, m_undo};
    QString m_companion; ///< The only dump in the folder that is being opened.
    QString m_companionUsed; ///< It was opened because its model id matches.
    bool m_placed = false; ///< The docks got their sizes when the window was first shown.
    QString m_raiseOnShow; ///< Tabs exist only once the window is shown.
    bool m_themeFixed = false;
    bool m_keepLayout = false; ///< Write the layout to the settings at the end.
    QLabel* m_info = nullptr;
    QLineEdit* m_search = nullptr;
    QPushButton* m_open = nullptr;
    QPushButton* m_calibrate = nullptr;
    QPushButton* m_export = nullptr;
    QMenu* m_recent = nullptr;
    QAction* m_darkAction = nullptr;
    QAction* m_measure = nullptr;
    QLabel* m_status = nullptr;
    views::ElidedLabel* m_notice = nullptr;
    QTimer* m_noticeClock = nullptr;
    QTimer* m_arrange = nullptr;
    std::vector<views::LayerPanel*> m_panels;
    std::vector<ViewDock*> m_views; ///< Docks of m_panels.
    std::vector<ViewDock*> m_docks; ///< All of them.
    ViewDock* m_current = nullptr;
    ViewDock* m_layersDock = nullptr;
    ViewDock* m_editorDock = nullptr;
    ViewDock* m_jobsDock = nullptr;
    views::LayerHeader* m_header = nullptr;
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
