// SPDX-License-Identifier: GPL-3.0-or-later
#include "views/panels/parameter_form.h"

#include "views/theme/tokens.h"
#include "views/widgets/card.h"
#include "views/widgets/choice_box.h"

#include <QCheckBox>
#include <QDoubleSpinBox>
#include <QGridLayout>
#include <QHBoxLayout>
#include <QLineEdit>
#include <QSignalBlocker>
#include <QSlider>
#include <QSpinBox>

#include <algorithm>
#include <cmath>

namespace qs::views {

using recipe::ParameterSpec;
using recipe::ParameterType;
using recipe::ParameterValue;

namespace {

constexpr int kSliderSteps = 200; ///< Positions of a slider over real numbers.
constexpr double kWidestIntSlider = 64;

double numeric(const ParameterValue& value)
{
    if (const auto* i = std::get_if<std::int64_t>(&value))
        return static_cast<double>(*i);
    if (const auto* d = std::get_if<double>(&value))
        return *d;
    return 0;
}

bool bounded(const ParameterSpec& spec)
{
    return spec.min < spec.max;
}

/// Two significant digits on a logarithmic slider, else a step of the range: values that people would type.
double sliderValue(const ParameterSpec& spec, int position)
{
    if (spec.type == ParameterType::Int)
        return position;
    const double t = static_cast<double>(position) / kSliderSteps;
    if (spec.logarithmic) {
        const double lo = spec.min > 0 ? spec.min : spec.max * 1e-6;
        const double v = lo * std::pow(spec.max / lo, t);
        const double unit = std::pow(10.0, std::floor(std::log10(v)) - 1);
        return std::clamp(std::round(v / unit) * unit, spec.min, spec.max);
    }
    const double step = (spec.max - spec.min) / kSliderSteps;
    return std::clamp(spec.min + std::round(t * kSliderSteps) * step, spec.min, spec.max);
}

int sliderPosition(const ParameterSpec& spec, double value)
{
    if (spec.type == ParameterType::Int)
        return static_cast<int>(value);
    if (spec.logarithmic) {
        const double lo = spec.min > 0 ? spec.min : spec.max * 1e-6;
        return value <= lo ? 0 : static_cast<int>(std::lround(std::log(value / lo) / std::log(spec.max / lo) * kSliderSteps));
    }
    return static_cast<int>(std::lround((value - spec.min) / (spec.max - spec.min) * kSliderSteps));
}

ParameterValue typed(const ParameterSpec& spec, double value)
{
    if (spec.type == ParameterType::Int)
        return static_cast<std::int64_t>(std::llround(value));
    return value;
}

} // namespace

ParameterForm::ParameterForm(std::vector<ParameterSpec> specs, recipe::Parameters values, QWidget* parent)
    : QWidget(parent)
    , m_grid(new QGridLayout(this))
{
    m_grid->setContentsMargins(0, 0, 0, 0);
    m_grid->setHorizontalSpacing(2 * kGrid);
    m_grid->setVerticalSpacing(kGrid);
    m_grid->setColumnStretch(1, 1);
    for (const ParameterSpec& spec : specs) {
        const auto it = values.find(spec.name);
        addRow(spec, it == values.end() ? spec.defaultValue : it->second);
    }
    showAdvanced(false);
}

void ParameterForm::addRow(const ParameterSpec& spec, const ParameterValue& value)
{
    Row row;
    const bool number = spec.type == ParameterType::Int || spec.type == ParameterType::Real;
    if (spec.type == ParameterType::Bool)
        row = makeCheck(spec);
    else if (spec.type == ParameterType::Choice || (number && !spec.choices.empty()))
        row = makeCombo(spec);
    else if (spec.type == ParameterType::Text)
        row = makeText(spec);
    else if (bounded(spec) && (spec.type == ParameterType::Real || spec.max - spec.min <= kWidestIntSlider))
        row = makeSlider(spec);
    else
        row = makeSpin(spec);
    row.spec = spec;
    QString tip = QString::fromStdString(spec.help);
    if (!spec.unit.empty())
        tip += tr("\nunit: %1").arg(QString::fromStdString(spec.unit));
    if (number && bounded(spec))
        tip += tr("\n%1 to %2").arg(spec.min).arg(spec.max);
    auto* label = new ElidedLabel(QString::fromStdString(spec.name), "dim");
    label->setSizePolicy(QSizePolicy::Fixed, QSizePolicy::Preferred);
    label->setFixedWidth(78);
    label->setToolTip(QStringLiteral("%1\n%2").arg(QString::fromStdString(spec.name), tip));
    row.label = label;
    row.holder->setToolTip(tip);
    row.editor->setAccessibleName(QString::fromStdString(spec.name));
    row.editor->setObjectName(QStringLiteral("param_") + QString::fromStdString(spec.name));
    const int line = static_cast<int>(m_rows.size());
    m_grid->addWidget(row.label, line, 0);
    m_grid->addWidget(row.holder, line, 1);
    row.show(value);
    m_rows.push_back(std::move(row));
}

ParameterForm::Row ParameterForm::makeSlider(const ParameterSpec& spec)
{
    Row row;
    row.holder = new QWidget;
    auto* layout = new QHBoxLayout(row.holder);
    layout->setContentsMargins(0, 2, 0, 2);
    auto* slider = new QSlider(Qt::Horizontal);
    if (spec.type == ParameterType::Int)
        slider->setRange(static_cast<int>(spec.min), static_cast<int>(spec.max));
    else
        slider->setRange(0, kSliderSteps);
    slider->setPageStep(spec.type == ParameterType::Int ? 1 : kSliderSteps / 10);
    auto* text = new QLineEdit;
    text->setFixedWidth(58);
    text->setAlignment(Qt::AlignRight);
    layout->addWidget(slider, 1);
    layout->addWidget(text);
    row.editor = slider;
    const QString name = QString::fromStdString(spec.name);
    row.show = [slider, text, spec](const ParameterValue& value) {
        const QSignalBlocker blocker(slider);
        slider->setValue(sliderPosition(spec, numeric(value)));
        text->setText(QString::number(numeric(value), 'g', 6));
    };
    connect(slider, &QSlider::valueChanged, this, [this, slider, text, spec, name](int position) {
        const double value = sliderValue(spec, position);
        text->setText(QString::number(value, 'g', 6));
        Q_EMIT changed(name, typed(spec, value), !slider->isSliderDown());
    });
    connect(slider, &QSlider::sliderReleased, this,
        [this, slider, spec, name] { Q_EMIT changed(name, typed(spec, sliderValue(spec, slider->value())), true); });
    connect(text, &QLineEdit::editingFinished, this, [this, slider, text, spec, name] {
        bool ok = false;
        const double value = text->text().toDouble(&ok);
        if (!ok || value < spec.min || value > spec.max) {
            text->setText(QString::number(sliderValue(spec, slider->value()), 'g', 6));
            return;
        }
        const QSignalBlocker blocker(slider);
        slider->setValue(sliderPosition(spec, value));
        Q_EMIT changed(name, typed(spec, value), true);
    });
    return row;
}

ParameterForm::Row ParameterForm::makeSpin(const ParameterSpec& spec)
{
    Row row;
    const QString name = QString::fromStdString(spec.name);
    if (spec.type == ParameterType::Int) {
        auto* spin = new QSpinBox;
        spin->setRange(bounded(spec) ? static_cast<int>(std::max(spec.min, -2147483648.0)) : -2147483647,
            bounded(spec) ? static_cast<int>(std::min(spec.max, 2147483647.0)) : 2147483647);
        spin->setKeyboardTracking(false);
        row.holder = row.editor = spin;
        row.show = [spin](const ParameterValue& value) {
            const QSignalBlocker blocker(spin);
            spin->setValue(static_cast<int>(numeric(value)));
        };
        connect(spin, &QSpinBox::valueChanged, this,
            [this, name](int value) { Q_EMIT changed(name, static_cast<std::int64_t>(value), true); });
        return row;
    }
    auto* spin = new QDoubleSpinBox;
    spin->setDecimals(6);
    spin->setRange(bounded(spec) ? spec.min : -1e12, bounded(spec) ? spec.max : 1e12);
    spin->setStepType(QAbstractSpinBox::AdaptiveDecimalStepType);
    spin->setKeyboardTracking(false);
    row.holder = row.editor = spin;
    row.show = [spin](const ParameterValue& value) {
        const QSignalBlocker blocker(spin);
        spin->setValue(numeric(value));
    };
    connect(spin, &QDoubleSpinBox::valueChanged, this, [this, name](double value) { Q_EMIT changed(name, value, true); });
    return row;
}

ParameterForm::Row ParameterForm::makeCombo(const ParameterSpec& spec)
{
    Row row;
    auto* combo = new ChoiceBox;
    combo->setSizeAdjustPolicy(QComboBox::AdjustToMinimumContentsLengthWithIcon);
    combo->setMinimumContentsLength(6);
    const QString name = QString::fromStdString(spec.name);
    for (const std::string& choice : spec.choices)
        combo->addItem(QString::fromStdString(choice));
    if (spec.type != ParameterType::Choice) { // a number, or one of the words
        combo->setEditable(true);
        combo->setInsertPolicy(QComboBox::NoInsert);
        if (spec.name == "group") {
            for (const char* common : {"-1", "16", "32", "64", "128", "256"})
                combo->addItem(QString::fromLatin1(common));
        }
    }
    row.holder = row.editor = combo;
    row.show = [combo](const ParameterValue& value) {
        const QSignalBlocker blocker(combo);
        const QString text = QString::fromStdString(recipe::formatValue(value));
        const int at = combo->findText(text);
        if (at >= 0)
            combo->setCurrentIndex(at);
        else if (combo->isEditable())
            combo->setEditText(text);
    };
    auto report = [this, combo, spec, name] {
        if (const auto value = recipe::parseValue(spec, combo->currentText().toStdString()))
            Q_EMIT changed(name, *value, true);
    };
    connect(combo, &QComboBox::textActivated, this, report);
    if (combo->isEditable())
        connect(combo->lineEdit(), &QLineEdit::editingFinished, this, report);
    return row;
}

ParameterForm::Row ParameterForm::makeCheck(const ParameterSpec& spec)
{
    Row row;
    auto* check = new QCheckBox;
    row.holder = row.editor = check;
    row.show = [check](const ParameterValue& value) {
        const QSignalBlocker blocker(check);
        const bool* on = std::get_if<bool>(&value);
        check->setChecked(on && *on);
    };
    connect(check, &QCheckBox::toggled, this,
        [this, name = QString::fromStdString(spec.name)](bool on) { Q_EMIT changed(name, on, true); });
    return row;
}

ParameterForm::Row ParameterForm::makeText(const ParameterSpec& spec)
{
    Row row;
    auto* text = new QLineEdit;
    row.holder = row.editor = text;
    row.show = [text](const ParameterValue& value) {
        const QSignalBlocker blocker(text);
        text->setText(QString::fromStdString(recipe::formatValue(value)));
    };
    connect(text, &QLineEdit::editingFinished, this, [this, text, spec] {
        if (const auto value = recipe::parseValue(spec, text->text().toStdString()))
            Q_EMIT changed(QString::fromStdString(spec.name), *value, true);
    });
    return row;
}

void ParameterForm::setValues(const recipe::Parameters& values)
{
    for (const Row& row : m_rows) {
        const auto it = values.find(row.spec.name);
        row.show(it == values.end() ? row.spec.defaultValue : it->second);
    }
}

QWidget* ParameterForm::editor(const std::string& name) const
{
    const auto it = std::find_if(m_rows.begin(), m_rows.end(), [&](const Row& row) { return row.spec.name == name; });
    return it == m_rows.end() ? nullptr : it->editor;
}

bool ParameterForm::hasAdvanced() const
{
    return std::any_of(m_rows.begin(), m_rows.end(), [](const Row& row) { return row.spec.advanced; });
}

void ParameterForm::showAdvanced(bool show)
{
    for (const Row& row : m_rows) {
        row.label->setVisible(show || !row.spec.advanced);
        row.holder->setVisible(show || !row.spec.advanced);
    }
}

} // namespace qs::views
