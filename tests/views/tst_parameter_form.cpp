// SPDX-License-Identifier: GPL-3.0-or-later
#include "views/panels/parameter_form.h"
#include "views/theme/theme.h"
#include "views/widgets/state_view.h"

#include <QComboBox>
#include <QLabel>
#include <QLineEdit>
#include <QPushButton>
#include <QSignalSpy>
#include <QSlider>
#include <QTest>

using namespace qs;
using namespace qs::views;
using recipe::ParameterSpec;
using recipe::ParameterType;
using recipe::ParameterValue;

namespace {

std::vector<ParameterSpec> specs()
{
    ParameterSpec bits{"bits", ParameterType::Int, std::int64_t{4}, 2, 8, {}, "bits", "Code width"};
    ParameterSpec damp{"damp", ParameterType::Real, 0.01, 1e-4, 1, {}, {}, "Damping", true};
    ParameterSpec group{"group", ParameterType::Int, std::string("auto"), -1, 65536, {"auto"}, "columns", "Group"};
    ParameterSpec grid{"grid", ParameterType::Choice, std::string("a"), 0, 0, {"a", "b"}, {}, "Grid"};
    ParameterSpec seed{"seed", ParameterType::Int, std::int64_t{0}, 0, 0, {}, {}, "Seed", false, true};
    return {bits, damp, group, grid, seed};
}

} // namespace

class TestParameterForm : public QObject {
    Q_OBJECT
    std::vector<std::pair<QString, ParameterValue>> m_changes;

private Q_SLOTS:
    void initTestCase() { Theme::instance().apply(false); }
    void init() { m_changes.clear(); }

    void slidersAndCombosReportTypedValues()
    {
        ParameterForm form(specs(), {{"bits", std::int64_t{3}}});
        connect(&form, &ParameterForm::changed, this,
            [this](const QString& name, const ParameterValue& value, bool) { m_changes.emplace_back(name, value); });
        auto* bits = qobject_cast<QSlider*>(form.editor("bits"));
        QVERIFY(bits);
        QCOMPARE(bits->value(), 3);
        QCOMPARE(bits->minimum(), 2);
        QCOMPARE(bits->maximum(), 8);
        form.show();
        bits->setFocus();
        QTest::keyClick(bits, Qt::Key_Right);
        QCOMPARE(m_changes.size(), std::size_t{1});
        QCOMPARE(std::get<std::int64_t>(m_changes[0].second), std::int64_t{4});

        auto* grid = qobject_cast<QComboBox*>(form.editor("grid"));
        QVERIFY(grid);
        grid->setFocus();
        QTest::keyClick(grid, Qt::Key_Down);
        QCOMPARE(m_changes.size(), std::size_t{2});
        QCOMPARE(std::get<std::string>(m_changes[1].second), std::string("b"));

        auto* damp = qobject_cast<QSlider*>(form.editor("damp"));
        QVERIFY(damp);
        damp->setValue(damp->maximum());
        QCOMPARE(std::get<double>(m_changes.back().second), 1.0);
        damp->setValue(damp->minimum());
        QCOMPARE(std::get<double>(m_changes.back().second), 1e-4);
    }

    void settingValuesIsSilent()
    {
        ParameterForm form(specs(), {});
        int changes = 0;
        connect(&form, &ParameterForm::changed, this, [&] { ++changes; });
        form.setValues({{"bits", std::int64_t{8}}, {"damp", 0.1}, {"grid", std::string("b")}});
        QCOMPARE(changes, 0);
        QCOMPARE(qobject_cast<QSlider*>(form.editor("bits"))->value(), 8);
        QCOMPARE(qobject_cast<QComboBox*>(form.editor("grid"))->currentText(), QStringLiteral("b"));
    }

    void advancedIsFoldedAway()
    {
        ParameterForm form(specs(), {});
        form.show();
        QVERIFY(form.hasAdvanced());
        QVERIFY(!form.editor("seed")->isVisible());
        form.showAdvanced(true);
        QVERIFY(form.editor("seed")->isVisible());
    }

    void statesSayWhatAndOfferHelp()
    {
        auto* content = new QLabel(QStringLiteral("content"));
        StateView state(content);
        state.resize(300, 200);
        state.show();
        QCOMPARE(state.message(), QString());
        state.showError(Error{Errc::Mismatch, "dump of another model", "a.h5", "calibrate again"}, QStringLiteral("Try again"));
        QCOMPARE(state.message(), QStringLiteral("Failed: a.h5: dump of another model (calibrate again)"));
        QSignalSpy help(&state, &StateView::helpClicked);
        QTest::mouseClick(state.findChild<QPushButton*>(), Qt::LeftButton);
        QCOMPARE(help.size(), 1);
        session::Loadable<int> loadable;
        loadable.set(tl::unexpected(Error{Errc::Cancelled, "cancelled", {}, {}}));
        QVERIFY(!state.follow(loadable, QStringLiteral("loading"), QStringLiteral("empty"), QStringLiteral("why")));
        QVERIFY(state.message().startsWith(QStringLiteral("Cancelled")));
        loadable.set(5);
        QVERIFY(state.follow(loadable, QStringLiteral("loading"), QStringLiteral("empty"), QStringLiteral("why")));
        QCOMPARE(state.currentWidget(), content);
    }
};

QTEST_MAIN(TestParameterForm)
#include "tst_parameter_form.moc"
