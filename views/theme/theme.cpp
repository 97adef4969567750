// SPDX-License-Identifier: GPL-3.0-or-later
#include "views/theme/theme.h"

#include <QApplication>
#include <QFontDatabase>
#include <QPalette>
#include <QProxyStyle>
#include <QStyle>
#include <QStyleFactory>

/// Resources of a static library are registered by a call from outside any namespace.
static void initResources()
{
    Q_INIT_RESOURCE(quantscope);
}

namespace qs::views {

namespace {

// @name@ is replaced by a token. Object names: see the widgets that set them.
const char* const kStyleSheet = R"(
QWidget { color: @text@; }
QMainWindow, QDialog { background: @background@; }
QDialogButtonBox { dialogbuttonbox-buttons-have-icons: 0; }
QToolTip { background: @panel@; color: @text@; border: 1px solid @line@; padding: 4px 6px; }
QLabel[role="dim"] { color: @dim@; }
QLabel[role="small"] { color: @dim@; font-size: 11px; }
QLabel[role="title"] { font-size: 17px; font-weight: 600; }
QLabel[role="headline"] { font-size: 20px; font-weight: 600; }
QLabel[role="cardtitle"] { font-weight: 600; }
QLabel[role="slot"] { color: @accent@; font-size: 11px; font-weight: 600; letter-spacing: 1px; }
QLabel[role="bad"] { color: @bad@; }
QLabel[role="good"] { color: @good@; }
QLabel[role="warning"] { color: @warning@; }
QFrame#card { background: @panel@; border: 1px solid @line@; border-radius: 8px; }
QFrame#stage { background: @raised@; border: 1px solid @line@; border-radius: 8px; }
QFrame#topbar { background: @panel@; border: none; border-bottom: 1px solid @line@; }
QFrame#rule { background: @line@; border: none; max-height: 1px; min-height: 1px; }
QWidget#sidebar { background: @panel@; }
QWidget#page, QScrollArea, QScrollArea > QWidget > QWidget#page { background: @background@; border: none; }
QScrollArea { border: none; }
QPushButton, QToolButton[role="button"] { background: @panel@; border: 1px solid @line@; border-radius: 6px; padding: 6px 12px; min-height: 18px; }
QPushButton:hover, QToolButton[role="button"]:hover { background: @raised@; }
QPushButton:focus, QToolButton[role="button"]:focus { border-color: @accent@; }
QPushButton:pressed, QToolButton[role="button"]:pressed { background: @line@; }
QPushButton:disabled, QToolButton[role="button"]:disabled { color: @dim@; background: @background@; }
QPushButton[role="primary"] { background: @accent@; border-color: @accent@; color: @onAccent@; font-weight: 600; }
QPushButton[role="primary"]:disabled { background: @line@; border-color: @line@; color: @dim@; }
QPushButton[role="primary"]:focus { border-color: @text@; }
QToolButton { background: transparent; border: none; border-radius: 4px; padding: 2px 5px; color: @dim@; }
QToolButton:hover { background: @raised@; color: @text@; }
QToolButton:focus { border: 1px solid @accent@; }
QToolButton:checked { background: @raised@; color: @accent@; }
QToolButton::menu-indicator { image: none; }
QToolButton[role="button"] { color: @text@; }
QToolButton[role="chip"] { background: @raised@; border: 1px solid @line@; border-radius: 9px; padding: 1px 9px; color: @accent@; font-size: 11px; }
QToolButton[role="chip"]:focus { border-color: @accent@; }
QLineEdit, QSpinBox, QDoubleSpinBox, QComboBox, QPlainTextEdit { background: @panel@; border: 1px solid @line@; border-radius: 6px; padding: 3px 8px; selection-background-color: @accent@; selection-color: @onAccent@; min-height: 20px; }
QLineEdit:focus, QSpinBox:focus, QDoubleSpinBox:focus, QComboBox:focus, QPlainTextEdit:focus { border-color: @accent@; }
QComboBox::drop-down { border: none; width: 20px; }
QComboBox QAbstractItemView { background: @panel@; border: 1px solid @line@; selection-background-color: @raised@; selection-color: @text@; }
QSpinBox::up-button, QSpinBox::down-button, QDoubleSpinBox::up-button, QDoubleSpinBox::down-button { width: 0; border: none; }
QSlider::groove:horizontal { height: 4px; border-radius: 2px; background: @line@; }
QSlider::sub-page:horizontal { height: 4px; border-radius: 2px; background: @accent@; }
QSlider::handle:horizontal { width: 14px; height: 14px; margin: -5px 0; border-radius: 7px; background: @accent@; }
QSlider::handle:horizontal:focus { border: 2px solid @text@; width: 10px; height: 10px; }
QProgressBar { background: @line@; border: none; border-radius: 2px; max-height: 4px; min-height: 4px; }
QProgressBar::chunk { background: @accent@; border-radius: 2px; }
QTabBar { background: transparent; }
QTabBar::tab { background: transparent; color: @dim@; padding: 7px 18px; border: none; border-bottom: 2px solid transparent; }
QTabBar::tab:selected { color: @text@; border-bottom: 2px solid @accent@; }
QTabBar::tab:hover { color: @text@; }
QTabBar::tab:focus { color: @accent@; }
QTabWidget::pane { border: none; }
QTreeView, QTableView, QListView { background: @panel@; border: 1px solid transparent; selection-background-color: @accent@; selection-color: @onAccent@; outline: none; alternate-background-color: @panel@; }
QTreeView:focus, QTableView:focus, QListView:focus { border: 1px solid @accent@; }
QTreeView::item, QTableView::item { padding: 0 6px; border: none; min-height: 24px; }
QListView::item { padding: 3px 4px; }
QTreeView::item:hover, QTableView::item:hover, QListView::item:hover { background: @raised@; }
QTreeView::item:selected, QTableView::item:selected, QListView::item:selected { background: @accent@; color: @onAccent@; }
QHeaderView { background: @panel@; border: none; }
QHeaderView::section { background: @panel@; color: @dim@; border: none; border-bottom: 1px solid @line@; padding: 5px 6px; font-size: 11px; }
QHeaderView::section:hover { color: @text@; }
QHeaderView::down-arrow, QHeaderView::up-arrow { image: none; width: 0; height: 0; }
QToolBar { background: @panel@; border: none; padding: 0; margin: 0; spacing: 0; }
QMainWindow::separator { background: @background@; width: 6px; height: 6px; }
QMainWindow::separator:hover { background: @accent@; }
QDockWidget { color: @text@; }
QWidget#docktitle { background: @background@; }
QWidget#docktitle QLabel { color: @dim@; font-size: 11px; font-weight: 600; letter-spacing: 1px; }
QSplitter::handle { background: @line@; }
QSplitter::handle:horizontal { width: 1px; }
QSplitter::handle:vertical { height: 1px; }
QStatusBar { background: @panel@; color: @dim@; border-top: 1px solid @line@; font-size: 12px; }
QStatusBar QLabel { color: @dim@; font-size: 12px; }
QStatusBar::item { border: none; }
QMenu { background: @panel@; border: 1px solid @line@; padding: 4px; }
QMenu::item { padding: 5px 22px 5px 12px; border-radius: 4px; }
QMenu::item:selected { background: @raised@; }
QMenu::item:disabled { color: @dim@; }
QMenu::separator { height: 1px; background: @line@; margin: 4px 6px; }
QMenuBar { background: @panel@; }
QMenuBar::item { padding: 4px 10px; background: transparent; }
QMenuBar::item:selected { background: @raised@; border-radius: 4px; }
QCheckBox::indicator { width: 14px; height: 14px; border: 1px solid @dim@; border-radius: 3px; background: @panel@; }
QCheckBox::indicator:checked { background: @accent@; border-color: @accent@; }
QCheckBox::indicator:focus { border-color: @accent@; }
QScrollBar:vertical { background: transparent; width: 10px; margin: 0; }
QScrollBar:horizontal { background: transparent; height: 10px; margin: 0; }
QScrollBar::handle { background: @line@; border-radius: 4px; margin: 2px; min-height: 24px; min-width: 24px; }
QScrollBar::handle:hover { background: @dim@; }
QScrollBar::add-line, QScrollBar::sub-line { width: 0; height: 0; }
QScrollBar::add-page, QScrollBar::sub-page { background: transparent; }
)";

QString styleSheet(const Tokens& t)
{
    QString sheet = QString::fromUtf8(kStyleSheet);
    const std::pair<const char*, QColor> names[] = {{"@background@", t.background}, {"@panel@", t.panel},
        {"@raised@", t.raised}, {"@line@", t.line}, {"@text@", t.text}, {"@dim@", t.dim}, {"@accent@", t.accent},
        {"@onAccent@", t.onAccent}, {"@good@", t.good}, {"@warning@", t.warning}, {"@bad@", t.bad}};
    for (const auto& [name, colour] : names)
        sheet.replace(QLatin1String(name), colour.name());
    return sheet;
}

/// Fusion. It would draw the names of a menu's sections, but under a style sheet only their lines are left: then a section at
/// the top must be nothing, as every separator there.
class Style : public QProxyStyle {
public:
    Style()
        : QProxyStyle(QStyleFactory::create(QStringLiteral("Fusion")))
    {
    }
    int styleHint(StyleHint hint, const QStyleOption* option, const QWidget* widget, QStyleHintReturn* data) const override
    {
        return hint == SH_Menu_SupportsSections ? 0 : QProxyStyle::styleHint(hint, option, widget, data);
    }
};

QPalette palette(const Tokens& t)
{
    QPalette p;
    p.setColor(QPalette::Window, t.background);
    p.setColor(QPalette::WindowText, t.text);
    p.setColor(QPalette::Base, t.panel);
    p.setColor(QPalette::AlternateBase, t.raised);
    p.setColor(QPalette::Text, t.text);
    p.setColor(QPalette::Button, t.panel);
    p.setColor(QPalette::ButtonText, t.text);
    p.setColor(QPalette::BrightText, t.bad);
    p.setColor(QPalette::Highlight, t.accent);
    p.setColor(QPalette::HighlightedText, t.onAccent);
    p.setColor(QPalette::ToolTipBase, t.panel);
    p.setColor(QPalette::ToolTipText, t.text);
    p.setColor(QPalette::PlaceholderText, t.dim);
    p.setColor(QPalette::Link, t.accent);
    p.setColor(QPalette::Mid, t.line);
    p.setColor(QPalette::Midlight, t.raised);
    p.setColor(QPalette::Light, t.raised);
    p.setColor(QPalette::Dark, t.line);
    p.setColor(QPalette::Shadow, t.line);
    for (const QPalette::ColorRole role : {QPalette::Text, QPalette::ButtonText, QPalette::WindowText})
        p.setColor(QPalette::Disabled, role, t.dim);
    return p;
}

} // namespace

Theme& Theme::instance()
{
    static Theme theme;
    return theme;
}

void Theme::apply(bool dark)
{
    m_dark = dark;
    if (!m_fontsLoaded) {
        initResources();
        QFontDatabase::addApplicationFont(QStringLiteral(":/fonts/Inter-Regular.otf"));
        QFontDatabase::addApplicationFont(QStringLiteral(":/fonts/Inter-SemiBold.otf"));
        QApplication::setStyle(new Style);
        m_fontsLoaded = true;
    }
    QApplication::setFont(font(kBodyPx));
    QApplication::setPalette(palette(tokens()));
    qApp->setStyleSheet(styleSheet(tokens()));
    Q_EMIT changed();
}

QFont Theme::font(int pixels, bool semibold) const
{
    QFont font(QStringLiteral("Inter"));
    font.setPixelSize(pixels);
    font.setWeight(semibold ? QFont::DemiBold : QFont::Normal);
    font.setHintingPreference(QFont::PreferNoHinting);
    return font;
}

QFont Theme::monospace(int pixels) const
{
    QFont font = QFontDatabase::systemFont(QFontDatabase::FixedFont);
    font.setPixelSize(pixels);
    return font;
}

} // namespace qs::views
