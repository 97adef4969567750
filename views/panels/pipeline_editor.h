// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "views/panels/panel.h"

#include <QTimer>

class QPushButton;
class QToolButton;

namespace qs::views {

class ParameterForm;

/// The selected pipeline as stage cards in slot order, with forms from the declarations, a live preview of the current layer,
/// and assignment.
class PipelineEditor : public QWidget {
    Q_OBJECT
public:
    explicit PipelineEditor(PanelContext context, QWidget* parent = nullptr);
    ParameterForm* form(const std::string& stage) const; ///< Of a stage id, for tests.
    QString previewText() const;
    QString targetText() const { return m_target->text(); } ///< Whether the target runtime loads it.
    QPushButton* assignButton() const { return m_assign; }
    /// False while the editor is closed or behind a tab: then no preview is computed.
    void setOnScreen(bool onScreen);

private:
    void rebuild();
    void nameAssign(); ///< The button says how many layers it sets.
    void pull(); ///< Document or selection changed.
    void addStageCard(recipe::Slot slot, std::size_t position);
    void addEmptySlot(recipe::Slot slot);
    void setParameter(
        recipe::Slot slot, std::size_t position, const QString& name, const recipe::ParameterValue& value, bool settled);
    void replace(recipe::Pipeline pipeline, const QString& text, const QString& mergeKey);
    void commit();
    void preview();
    void showPreview();
    void showTarget();
    void fillMethods();
    bool interactive() const;
    std::size_t index() const;

    PanelContext m_context;
    recipe::Pipeline m_pipeline; ///< As shown; ahead of the document while a slider moves.
    bool m_pending = false;
    bool m_onScreen = true;
    bool m_previewDue = false; ///< Asked for while nobody could see it.
    QString m_pendingKey;
    QTimer m_commitTimer;
    QTimer m_previewTimer;
    QLabel* m_title;
    ElidedLabel* m_method;
    QToolButton* m_methods;
    QVBoxLayout* m_stages;
    QLabel* m_preview; ///< Weight error, bits, time.
    QLabel* m_previewOutput; ///< Output error, and of which rows.
    QLabel* m_target; ///< What the target runtime says.
    QLabel* m_problem;
    QPushButton* m_assign;
    QToolButton* m_more;
    std::map<std::string, ParameterForm*> m_forms;
};

} // namespace qs::views
