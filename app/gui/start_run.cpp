// SPDX-License-Identifier: GPL-3.0-or-later
#include "app/gui/start_run.h"

#include <QApplication>
#include <QTimer>

#include <cstdio>
#include <utility>

namespace qs::app {

namespace {

constexpr int kTick = 50; ///< Milliseconds.
constexpr int kQuiet = 8; ///< Ticks without work before the window counts as idle.

} // namespace

StartRun::StartRun(MainWindow& window, Options options, QObject* parent)
    : QObject(parent)
    , m_window(window)
    , m_options(std::move(options))
    , m_clock(new QTimer(this))
{
    // After a session has selected its own.
    connect(&m_window.bench(), &session::Workbench::modelChanged, this, &StartRun::selectLayer, Qt::QueuedConnection);
    m_clock->setInterval(kTick);
    connect(m_clock, &QTimer::timeout, this, &StartRun::step);
    m_clock->start();
}

void StartRun::selectLayer()
{
    session::Workbench& bench = m_window.bench();
    if (m_selected || !bench.opened().ready())
        return;
    m_selected = true;
    if (m_options.layer.isEmpty())
        return;
    const std::string name = m_options.layer.toStdString();
    if (const model::LayerIndex layer = bench.model()->spec().find(name); layer >= 0)
        bench.selection().selectLayer(layer, this);
    else
        bench.messages().add(Error{Errc::NotFound, "the model has no such layer", "--layer " + name,
            "take a name as the list of layers shows it when the mouse rests on a row"});
}

void StartRun::step()
{
    m_quietTicks = m_window.idle() ? m_quietTicks + 1 : 0;
    if (m_quietTicks < kQuiet)
        return;
    m_quietTicks = 0;
    if (!std::exchange(m_started, true)) {
        session::Workbench& bench = m_window.bench();
        if (m_options.compareAll)
            bench.compareModel();
        if (!m_options.evaluate.isEmpty()) {
            model::EvalOptions options;
            options.maxTokens = m_options.maxTokens;
            bench.evaluate(m_options.evaluate.toStdString(), options);
        }
        return;
    }
    m_clock->stop();
    if (!m_options.screenshot.isEmpty())
        takePicture();
}

void StartRun::takePicture()
{
    bool failed = !m_window.grab().save(m_options.screenshot, "PNG");
    if (failed)
        std::fprintf(stderr, "quantscope: %s: could not be written (check the folder)\n", qPrintable(m_options.screenshot));
    for (const session::Message& message : m_window.bench().messages().messages()) {
        if (message.severity == session::Message::Severity::Error) {
            std::fprintf(stderr, "quantscope: %s\n", qPrintable(message.text));
            failed = true;
        }
    }
    QApplication::exit(failed ? 1 : 0);
}

} // namespace qs::app
