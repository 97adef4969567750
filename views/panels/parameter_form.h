// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "core/recipe/parameters.h"

#include <QWidget>

#include <functional>
#include <vector>

class QGridLayout;

namespace qs::views {

/// A form made from parameter declarations: sliders for small ranges, spin boxes, combos, check boxes.
class ParameterForm : public QWidget {
    Q_OBJECT
public:
    ParameterForm(std::vector<recipe::ParameterSpec> specs, recipe::Parameters values, QWidget* parent = nullptr);
    /// Shows other values without telling anybody.
    void setValues(const recipe::Parameters& values);
    QWidget* editor(const std::string& name) const; ///< The slider, combo, ... of a parameter, for tests.
    bool hasAdvanced() const;
    void showAdvanced(bool show);

Q_SIGNALS:
    /// `settled` is false while a slider is dragged.
    void changed(const QString& name, const qs::recipe::ParameterValue& value, bool settled);

private:
    struct Row {
        recipe::ParameterSpec spec;
        QWidget* label = nullptr;
        QWidget* holder = nullptr;
        QWidget* editor = nullptr;
        std::function<void(const recipe::ParameterValue&)> show;
    };
    void addRow(const recipe::ParameterSpec& spec, const recipe::ParameterValue& value);
    Row makeSlider(const recipe::ParameterSpec& spec);
    Row makeSpin(const recipe::ParameterSpec& spec);
    Row makeCombo(const recipe::ParameterSpec& spec);
    Row makeCheck(const recipe::ParameterSpec& spec);
    Row makeText(const recipe::ParameterSpec& spec);

    QGridLayout* m_grid;
    std::vector<Row> m_rows;
};

} // namespace qs::views
