// SPDX-License-Identifier: GPL-3.0-or-later
#include "app/gui/open_dialog.h"

#include "app/gui/main_window.h"
#include "views/theme/tokens.h"
#include "views/widgets/card.h"

#include <QDialogButtonBox>
#include <QDir>
#include <QFileDialog>
#include <QFileInfo>
#include <QFormLayout>
#include <QHBoxLayout>
#include <QLabel>
#include <QLineEdit>
#include <QListWidget>
#include <QPushButton>
#include <QVBoxLayout>

namespace qs::app {

namespace {

/// What people see before they open it; the content is checked when it is opened.
struct Kind {
    QString text;
    bool usable = false;
    bool model = false;
};

Kind kindOf(const QString& path)
{
    const QFileInfo info(path);
    if (path.isEmpty())
        return {
            QObject::tr("A Hugging Face folder, a .safetensors or .gguf file, a dump (.h5), a recipe (.json) or a session.")};
    if (!info.exists())
        return {QObject::tr("There is no such file or folder.")};
    if (!info.isReadable())
        return {QObject::tr("This may not be read: check its permissions.")};
    if (info.isDir()) {
        const QDir folder(path);
        const bool weights
            = !folder.entryList({QStringLiteral("*.safetensors"), QStringLiteral("*.gguf")}, QDir::Files).isEmpty();
        if (folder.exists(QStringLiteral("config.json")))
            return {QObject::tr("A Hugging Face folder."), true, true};
        return weights
            ? Kind{QObject::tr("A folder with weights and no config.json: its tensors open as plain matrices."), true, true}
            : Kind{QObject::tr("This folder holds no config.json and no weights.")};
    }
    const QString suffix = info.suffix().toLower();
    if (suffix == QLatin1String("gguf"))
        return {QObject::tr("A GGUF model."), true, true};
    if (suffix == QLatin1String("safetensors"))
        return {QObject::tr("A safetensors model; config.json is read from the same folder."), true, true};
    if (suffix == QLatin1String("h5") || suffix == QLatin1String("hdf5"))
        return {QObject::tr("A dump, for the model that is open."), true};
    if (suffix == QLatin1String("qsession"))
        return {QObject::tr("A session."), true};
    if (suffix == QLatin1String("json"))
        return {QObject::tr("A recipe, a pipeline, or the index of a sharded model."), true};
    return {QObject::tr("Neither a model, a dump, a recipe nor a session.")};
}

} // namespace

OpenDialog::OpenDialog(const session::Workbench& bench, const QStringList& recent, QWidget* parent)
    : QDialog(parent)
    , m_path(new QLineEdit)
    , m_dump(new QLineEdit)
    , m_recent(new QListWidget)
    , m_note(views::makeLabel({}, "dim"))
{
    setWindowTitle(tr("Open"));
    resize(680, 380);
    auto* layout = new QVBoxLayout(this);
    layout->setSpacing(views::kCardGap);
    auto* form = new QFormLayout;
    auto browse = [](QLineEdit* edit, const QString& text, const std::function<QString()>& ask) {
        auto* button = new QPushButton(text);
        button->setAutoDefault(false);
        connect(button, &QPushButton::clicked, edit, [edit, ask] {
            const QString chosenPath = ask();
            if (!chosenPath.isEmpty())
                edit->setText(chosenPath);
        });
        return button;
    };
    const QString start = QString::fromStdString(bench.state().model.string());
    auto* row = new QHBoxLayout;
    row->addWidget(m_path, 1);
    row->addWidget(browse(m_path, tr("F&older…"), [this, start] {
        return QFileDialog::getExistingDirectory(
            this, tr("Open a Hugging Face folder"), m_path->text().isEmpty() ? start : m_path->text());
    }));
    row->addWidget(browse(m_path, tr("&File…"), [this, start] {
        return QFileDialog::getOpenFileName(this, tr("Open a model, dump, recipe or session"),
            m_path->text().isEmpty() ? start : m_path->text(),
            tr("Models, dumps, recipes, sessions (*.safetensors *.gguf *.json *.h5 *.hdf5 *.qsession);;All files (*)"));
    }));
    auto* dumpRow = new QHBoxLayout;
    dumpRow->addWidget(m_dump, 1);
    dumpRow->addWidget(browse(m_dump, tr("Dump…"), [this] {
        return QFileDialog::getOpenFileName(
            this, tr("Dump of this model"), QFileInfo(m_path->text()).path(), tr("Dumps (*.h5 *.hdf5)"));
    }));
    m_path->setAccessibleName(tr("Path"));
    m_path->setAcceptDrops(true);
    m_dump->setAccessibleName(tr("Dump"));
    m_dump->setPlaceholderText(tr("none: calibrate later"));
    form->addRow(tr("Path"), row);
    form->addRow(tr("With dump"), dumpRow);
    layout->addLayout(form);
    m_note->setWordWrap(true);
    layout->addWidget(m_note);
    layout->addWidget(views::makeLabel(tr("RECENT"), "slot"));
    m_recent->setAccessibleName(tr("Recent"));
    m_recent->addItems(recent);
    if (const QString sample = MainWindow::samplePath(); !sample.isEmpty() && !recent.contains(sample))
        m_recent->addItem(sample);
    layout->addWidget(m_recent, 1);
    auto* buttons = new QDialogButtonBox(QDialogButtonBox::Cancel);
    m_open = buttons->addButton(tr("Open"), QDialogButtonBox::AcceptRole);
    m_open->setProperty("role", QByteArray("primary"));
    m_open->setDefault(true);
    layout->addWidget(buttons);
    connect(buttons, &QDialogButtonBox::rejected, this, &QDialog::reject);
    connect(m_open, &QPushButton::clicked, this, &OpenDialog::take);
    connect(m_path, &QLineEdit::textChanged, this, &OpenDialog::check);
    connect(m_dump, &QLineEdit::textChanged, this, &OpenDialog::check);
    connect(m_recent, &QListWidget::currentTextChanged, m_path, &QLineEdit::setText);
    connect(m_recent, &QListWidget::itemActivated, this, [this](const QListWidgetItem* item) {
        m_path->setText(item->text());
        take();
    });
    check();
    m_path->setFocus();
}

QString OpenDialog::note() const
{
    return m_note->text();
}

void OpenDialog::check()
{
    const Kind kind = kindOf(m_path->text());
    const bool dumpFound = m_dump->text().isEmpty() || QFileInfo(m_dump->text()).isFile();
    m_dump->setEnabled(kind.model);
    m_note->setText(kind.model && !dumpFound ? tr("%1 There is no such dump.").arg(kind.text) : kind.text);
    views::setRole(m_note, kind.usable || m_path->text().isEmpty() ? "dim" : "bad");
    m_open->setEnabled(kind.usable && (!kind.model || dumpFound));
}

void OpenDialog::take()
{
    if (!m_open->isEnabled())
        return;
    const QString path = m_path->text();
    const QString dump = m_dump->isEnabled() ? m_dump->text() : QString();
    accept();
    Q_EMIT chosen(path, dump);
}

} // namespace qs::app
