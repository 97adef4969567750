// SPDX-License-Identifier: GPL-3.0-or-later
#include "app/gui/screenshot.h"

#include <QApplication>
#include <QTimer>

#include <cstdio>

namespace qs::app {

namespace {

constexpr int kTick = 50; ///< Milliseconds.
constexpr int kQuiet = 8; ///< Ticks without work before the window counts as idle.

} // namespace

ScreenshotRun::ScreenshotRun(MainWindow& window, Options options, QObject* parent)
    : QObject(parent)
    , m_window(window)
    , m_options(std::move(options))
{
    auto* timer = new QTimer(this);
    timer->setInterval(kTick);
    connect(timer, &QTimer::timeout, this, &ScreenshotRun::step);
    timer->start();
}

void ScreenshotRun::step()
{
    m_quietTicks = m_window.idle() ? m_quietTicks + 1 : 0;
    if (m_quietTicks < kQuiet)
        return;
    m_quietTicks = 0;
    session::Workbench& bench = m_window.bench();
    switch (m_stage++) {
    case 0:
        if (const auto model = bench.model(); model && !m_options.layer.isEmpty()) {
            const model::LayerIndex layer = model->spec().find(m_options.layer.toStdString());
            if (layer >= 0)
                bench.selection().selectLayer(layer, this);
        }
        return;
    case 1:
        if (m_options.compareAll)
            bench.compareModel();
        if (!m_options.evaluate.isEmpty()) {
            model::EvalOptions options;
            options.maxTokens = m_options.maxTokens;
            bench.evaluate(m_options.evaluate.toStdString(), options);
        }
        return;
    default: break;
    }
    bool failed = !m_window.grab().save(m_options.screenshot, "PNG");
    if (failed)
        std::fprintf(stderr, "quantscope: %s: could not be written (check the folder)\n", qPrintable(m_options.screenshot));
    for (const session::Message& message : bench.messages().messages()) {
        if (message.severity == session::Message::Severity::Error) {
            std::fprintf(stderr, "quantscope: %s\n", qPrintable(message.text));
            failed = true;
        }
    }
    QApplication::exit(failed ? 1 : 0);
}

} // namespace qs::app
