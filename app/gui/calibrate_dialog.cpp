// SPDX-License-Identifier: GPL-3.0-or-later
#include "app/gui/calibrate_dialog.h"

#include "core/model/capture.h"
#include "core/session/format_number.h"
#include "views/widgets/card.h"

#include <QDialogButtonBox>
#include <QDir>
#include <QFileDialog>
#include <QFileInfo>
#include <QFormLayout>
#include <QHBoxLayout>
#include <QLineEdit>
#include <QPushButton>
#include <QSettings>
#include <QSpinBox>
#include <QVBoxLayout>

#include <algorithm>
#include <filesystem>

namespace qs::app {

namespace {

constexpr int kEvaluatedTokens = 8192;
constexpr QLatin1String kCalibrationKey("calibrationText");
constexpr QLatin1String kEvaluationKey("evaluationText");

QString besideModel(const session::Workbench& bench, const char* name)
{
    const std::filesystem::path& model = bench.state().model;
    const std::filesystem::path folder = std::filesystem::is_directory(model) ? model : model.parent_path();
    const std::filesystem::path file = folder / name;
    return std::filesystem::exists(file) ? QString::fromStdString(file.string()) : QString();
}

/// What lies beside the model, or else the text that was used last: a re-opened export is checked on what was predicted on.
QString suggestedText(const session::Workbench& bench, const char* name, QLatin1String key)
{
    const QString beside = besideModel(bench, name);
    const QString last = QSettings().value(key).toString();
    return !beside.isEmpty() ? beside : QFileInfo(last).isFile() ? last : QString();
}

QWidget* withBrowse(QLineEdit* edit, const std::function<QString()>& ask)
{
    auto* row = new QWidget;
    auto* layout = new QHBoxLayout(row);
    layout->setContentsMargins(0, 0, 0, 0);
    auto* browse = new QPushButton(QObject::tr("Browse…"));
    browse->setAutoDefault(false); // Enter is for the dialog
    layout->addWidget(edit, 1);
    layout->addWidget(browse);
    QObject::connect(browse, &QPushButton::clicked, edit, [edit, ask] {
        const QString file = ask();
        if (!file.isEmpty())
            edit->setText(file);
    });
    edit->setMinimumWidth(380);
    return row;
}

QSpinBox* makeSpin(int lo, int hi, int value, const QString& tip)
{
    auto* spin = new QSpinBox;
    spin->setRange(lo, hi);
    spin->setValue(value);
    spin->setToolTip(tip);
    return spin;
}

int contextOf(const session::Workbench& bench)
{
    const auto model = bench.model();
    const Index context = model ? model->spec().context : 0;
    return context > 0 ? static_cast<int>(std::min<Index>(context, 1 << 20)) : 2048;
}

} // namespace

CalibrateDialog::CalibrateDialog(session::Workbench& bench, QWidget* parent)
    : QDialog(parent)
    , m_bench(bench)
    , m_text(new QLineEdit(suggestedText(bench, "calibration.txt", kCalibrationKey)))
    , m_samples(makeSpin(1, 1 << 16, session::Workbench::kQuickSamples,
          tr("Windows of the text; each tenth is held out to measure errors on")))
    , m_length(makeSpin(
          8, contextOf(bench), std::min(int{session::Workbench::kQuickLength}, contextOf(bench)), tr("Tokens per window")))
    , m_keep(makeSpin(0, 1 << 14, session::Workbench::kKeptTokens,
          tr("Raw token vectors to keep per layer input, for the heatmap and input quantization")))
    , m_target(new QLineEdit)
    , m_note(views::makeLabel({}, "dim"))
{
    setWindowTitle(tr("Calibrate"));
    auto* layout = new QVBoxLayout(this);
    auto* what
        = views::makeLabel(tr("Runs a text through the model and keeps statistics of what every layer receives."), "dim");
    layout->addWidget(what);
    auto* form = new QFormLayout;
    form->addRow(tr("Text"), withBrowse(m_text, [this] {
        return QFileDialog::getOpenFileName(
            this, tr("Calibration text"), m_text->text(), tr("Text (*.txt *.md *.raw);;All files (*)"));
    }));
    form->addRow(tr("Windows"), m_samples);
    form->addRow(tr("Tokens per window"), m_length);
    form->addRow(tr("Raw tokens kept"), m_keep);
    suggestTarget();
    form->addRow(tr("Dump"), withBrowse(m_target, [this] {
        return QFileDialog::getSaveFileName(this, tr("Dump"), m_target->text(), tr("Dump (*.h5)"));
    }));
    layout->addLayout(form);
    m_note->setWordWrap(true);
    layout->addWidget(m_note);
    auto* buttons = new QDialogButtonBox(QDialogButtonBox::Cancel);
    m_start = buttons->addButton(tr("Calibrate"), QDialogButtonBox::AcceptRole);
    m_start->setProperty("role", QByteArray("primary"));
    m_start->setDefault(true);
    layout->addWidget(buttons);
    connect(buttons, &QDialogButtonBox::rejected, this, &QDialog::reject);
    connect(m_start, &QPushButton::clicked, this, &CalibrateDialog::start);
    connect(m_text, &QLineEdit::textChanged, this, &CalibrateDialog::check);
    connect(m_samples, &QSpinBox::valueChanged, this, &CalibrateDialog::check);
    connect(m_length, &QSpinBox::valueChanged, this, &CalibrateDialog::check);
    connect(m_text, &QLineEdit::textChanged, this, &CalibrateDialog::suggestTarget);
    connect(m_keep, &QSpinBox::valueChanged, this, &CalibrateDialog::check);
    for (QSpinBox* spin : {m_samples, m_length})
        connect(spin, &QSpinBox::valueChanged, this, &CalibrateDialog::suggestTarget);
    check();
}

void CalibrateDialog::suggestTarget()
{
    // The name says what is in the file; what the user typed or chose stays.
    if (m_target->text() != m_suggested)
        return;
    m_suggested = QString::fromStdString(
        m_bench.newDumpPath(m_text->text().toStdString(), m_samples->value(), m_length->value()).string());
    m_target->setText(m_suggested);
}

void CalibrateDialog::check()
{
    const QFileInfo info(m_text->text());
    const bool ok = info.isFile() && info.isReadable();
    m_start->setEnabled(ok);
    const Index tokens = static_cast<Index>(m_samples->value()) * m_length->value();
    QString note = tr("%1 tokens.").arg(session::integerText(tokens));
    const auto model = m_bench.model();
    Index widest = 0;
    if (model) {
        for (const model::LayerSpec& layer : model->spec().layers)
            widest = std::max(widest, layer.in);
    }
    if (widest > 0)
        note += tr(" The widest layer has %1 input channels: %2 tokens for each.")
                    .arg(session::integerText(widest),
                        session::numberText(static_cast<double>(tokens) / static_cast<double>(widest)));
    if (model)
        note
            += tr(" The dump takes up to %1.").arg(session::bytesText(model::largestDumpBytes(model->spec(), m_keep->value())));
    if (!ok)
        note = m_text->text().isEmpty() ? tr("Choose a text that resembles what the model will be used for.")
                                        : tr("%1 is not a readable file").arg(m_text->text());
    m_note->setText(note);
}

void CalibrateDialog::start()
{
    model::CaptureOptions options;
    options.samples = m_samples->value();
    options.seqLen = m_length->value();
    options.keepTokens = m_keep->value();
    QDir().mkpath(QFileInfo(m_target->text()).absolutePath());
    QSettings().setValue(kCalibrationKey, QFileInfo(m_text->text()).absoluteFilePath());
    m_bench.calibrate(m_text->text().toStdString(), m_target->text().toStdString(), options);
    accept();
}

EvaluateDialog::EvaluateDialog(session::Workbench& bench, QWidget* parent)
    : QDialog(parent)
    , m_bench(bench)
    , m_text(new QLineEdit(suggestedText(bench, "evaluation.txt", kEvaluationKey)))
    , m_length(makeSpin(
          8, contextOf(bench), std::min(2048, contextOf(bench)), tr("Windows do not overlap; each predicts one token less")))
    , m_tokens(makeSpin(64, 1 << 30, kEvaluatedTokens, tr("Tokens of the text used at most")))
{
    setWindowTitle(tr("Evaluate end to end"));
    auto* layout = new QVBoxLayout(this);
    layout->addWidget(views::makeLabel(tr("Perplexity of the float model, of every compared pipeline on all layers and of the "
                                          "assigned recipe, with KL to the float model."),
        "dim"));
    auto* form = new QFormLayout;
    form->addRow(tr("Text"), withBrowse(m_text, [this] {
        return QFileDialog::getOpenFileName(this, tr("Text"), m_text->text(), tr("Text (*.txt *.md *.raw);;All files (*)"));
    }));
    form->addRow(tr("Tokens per window"), m_length);
    form->addRow(tr("Tokens at most"), m_tokens);
    layout->addLayout(form);
    auto* buttons = new QDialogButtonBox(QDialogButtonBox::Cancel);
    m_start = buttons->addButton(tr("Evaluate"), QDialogButtonBox::AcceptRole);
    m_start->setProperty("role", QByteArray("primary"));
    m_start->setDefault(true);
    auto check = [this] { m_start->setEnabled(QFileInfo(m_text->text()).isFile()); };
    connect(m_text, &QLineEdit::textChanged, this, check);
    check();
    layout->addWidget(buttons);
    connect(buttons, &QDialogButtonBox::rejected, this, &QDialog::reject);
    connect(m_start, &QPushButton::clicked, this, [this] {
        model::EvalOptions options;
        options.seqLen = m_length->value();
        options.maxTokens = m_tokens->value();
        QSettings().setValue(kEvaluationKey, QFileInfo(m_text->text()).absoluteFilePath());
        m_bench.evaluate(m_text->text().toStdString(), options);
        accept();
    });
}

} // namespace qs::app
