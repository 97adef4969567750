// SPDX-License-Identifier: GPL-3.0-or-later
#include "app/gui/main_window.h"
#include "app/gui/options.h"
#include "app/gui/start_run.h"
#include "core/base/version.h"
#include "views/theme/theme.h"

#include <QApplication>
#include <QIcon>
#include <QSettings>

#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string_view>
#include <unistd.h>

int main(int argc, char** argv)
{
    // libgomp reads its settings when it is loaded, before main: waiting threads must sleep, or they would take the cores from
    // the window.
    if (!std::getenv("OMP_WAIT_POLICY")) {
        setenv("OMP_WAIT_POLICY", "passive", 1);
        execv("/proc/self/exe", argv); // returns only where that is not possible: then the program runs as it is
    }
    QCoreApplication::setOrganizationName(QStringLiteral("quantscope"));
    QCoreApplication::setApplicationName(QStringLiteral("quantscope"));
    QCoreApplication::setApplicationVersion(QString::fromLatin1(qs::kVersion));

    if (argc == 2 && std::string_view(argv[1]) == "--check-display") { // for quickstart: ends badly where no window can open
        const QApplication probe(argc, argv);
        return 0;
    }
    QString error;
    bool exit = false;
    std::optional<qs::app::Options> options;
    {
        const QCoreApplication words(argc, argv); // --help needs no display
        options = qs::app::parseOptions(QCoreApplication::arguments(), &error, &exit);
    }
    if (!options) {
        std::fprintf(stderr, "quantscope: %s (see quantscope --help)\n", qPrintable(error));
        return 2;
    }
    if (exit)
        return 0;

    const bool display = std::getenv("DISPLAY") || std::getenv("WAYLAND_DISPLAY");
    if (!options->screenshot.isEmpty() && !display && !std::getenv("QT_QPA_PLATFORM"))
        setenv("QT_QPA_PLATFORM", "offscreen", 1);
    if (!display && !std::getenv("QT_QPA_PLATFORM")) {
        std::fprintf(stderr, "quantscope: there is no display to open the window on (quantscope-cli needs none)\n");
        return 1;
    }
    const QApplication app(argc, argv);
    const QSettings settings;
    qs::views::Theme::instance().apply(
        options->dark.value_or(options->screenshot.isEmpty() && settings.value(QStringLiteral("dark")).toBool()));
    QApplication::setWindowIcon(QIcon(QStringLiteral(":/icons/quantscope.svg")));
    qs::app::MainWindow window;
    if (options->dark)
        window.keepTheme();
    if (options->screenshot.isEmpty())
        window.place(options->size);
    else // a picture shows the default layout, whatever the screen
        window.resize(options->size.value_or(qs::app::MainWindow::kWantedSize));
    if (!options->view.isEmpty() && !window.showView(options->view)) {
        std::fprintf(stderr, "quantscope: --view %s: no such view (%s)\n", qPrintable(options->view),
            qPrintable(window.viewNames().join(QStringLiteral(", "))));
        return 2;
    }
    window.show();
    if (!options->sessionFile.isEmpty())
        window.openPath(options->sessionFile);
    else if (!options->model.isEmpty())
        window.openPath(options->model, options->dump);
    if (!options->calibrate.isEmpty()) {
        auto& bench = window.bench();
        QObject::connect(&bench, &qs::session::Workbench::rankingChanged, &window,
            [&bench, text = options->calibrate.toStdString(), done = false]() mutable {
                if (!done && bench.ranking().ready()) {
                    done = true;
                    bench.quickCalibrate(text);
                }
            });
    }
    const qs::app::StartRun start(window, *options);
    return QApplication::exec();
}
