// SPDX-License-Identifier: GPL-3.0-or-later
#include "app/gui/options.h"

#include <QCommandLineParser>
#include <QRegularExpression>

#include <cstdio>

namespace qs::app {

std::optional<Options> parseOptions(const QStringList& arguments, QString* error, bool* exit)
{
    QCommandLineParser parser;
    parser.setApplicationDescription(QStringLiteral("Workbench for compressing large language models."));
    parser.addPositionalArgument(QStringLiteral("MODEL"),
        QStringLiteral("Hugging Face folder, .safetensors, .gguf or session file"), QStringLiteral("[MODEL]"));
    const QCommandLineOption help = parser.addHelpOption();
    const QCommandLineOption version = parser.addVersionOption();
    const QCommandLineOption dump(
        QStringLiteral("dump"), QStringLiteral("Calibration dump (HDF5) to open with the model"), QStringLiteral("FILE"));
    const QCommandLineOption dark(QStringLiteral("dark"), QStringLiteral("Dark theme"));
    const QCommandLineOption light(QStringLiteral("light"), QStringLiteral("Light theme"));
    const QCommandLineOption screenshot(QStringLiteral("screenshot"),
        QStringLiteral("Write a PNG of the window when nothing runs any more, then quit"), QStringLiteral("FILE"));
    const QCommandLineOption view(QStringLiteral("view"),
        QStringLiteral("View to show: Channels, Distribution, Hessian, QSUR or Compare"), QStringLiteral("NAME"));
    const QCommandLineOption layer(
        QStringLiteral("layer"), QStringLiteral("Layer to select once the model is open"), QStringLiteral("NAME"));
    const QCommandLineOption calibrate(
        QStringLiteral("calibrate"), QStringLiteral("Run a quick calibration on a text after opening"), QStringLiteral("FILE"));
    const QCommandLineOption compare(QStringLiteral("compare-all"), QStringLiteral("Then compare the pipelines on all layers"));
    const QCommandLineOption evaluate(
        QStringLiteral("evaluate"), QStringLiteral("Then evaluate the pipelines on a text"), QStringLiteral("FILE"));
    const QCommandLineOption tokens(QStringLiteral("max-tokens"), QStringLiteral("Tokens of that text at most"),
        QStringLiteral("N"), QStringLiteral("8192"));
    const QCommandLineOption size(QStringLiteral("size"), QStringLiteral("Size of the window"), QStringLiteral("WxH"));
    parser.addOptions({dump, dark, light, screenshot, view, layer, calibrate, compare, evaluate, tokens, size});
    if (!parser.parse(arguments)) {
        *error = parser.errorText();
        return std::nullopt;
    }
    if (parser.isSet(help) || parser.isSet(version)) {
        const QString text = parser.isSet(help) ? parser.helpText()
                                                : QStringLiteral("quantscope %1\n").arg(QCoreApplication::applicationVersion());
        std::fputs(qPrintable(text), stdout);
        *exit = true;
        return Options{};
    }
    Options options;
    const QStringList positional = parser.positionalArguments();
    if (positional.size() > 1) {
        *error = QStringLiteral("one MODEL at most, not %1").arg(positional.size());
        return std::nullopt;
    }
    if (!positional.isEmpty())
        (positional.first().endsWith(QStringLiteral(".qsession")) ? options.sessionFile : options.model) = positional.first();
    for (const QCommandLineOption& each : {dump, layer, calibrate, compare, evaluate}) {
        if (positional.isEmpty() && parser.isSet(each)) {
            *error = QStringLiteral("--%1 needs a MODEL").arg(each.names().constFirst());
            return std::nullopt;
        }
    }
    if (parser.isSet(dump) && !options.sessionFile.isEmpty()) {
        *error = QStringLiteral("--dump goes with a model: a session names its own");
        return std::nullopt;
    }
    if (parser.isSet(tokens) && !parser.isSet(evaluate)) {
        *error = QStringLiteral("--max-tokens needs --evaluate FILE");
        return std::nullopt;
    }
    options.dump = parser.value(dump);
    if (parser.isSet(dark) || parser.isSet(light))
        options.dark = parser.isSet(dark);
    options.screenshot = parser.value(screenshot);
    options.view = parser.value(view);
    options.layer = parser.value(layer);
    options.calibrate = parser.value(calibrate);
    options.compareAll = parser.isSet(compare);
    options.evaluate = parser.value(evaluate);
    bool ok = false;
    options.maxTokens = parser.value(tokens).toInt(&ok);
    if (!ok || options.maxTokens < 1) {
        *error = QStringLiteral("--max-tokens %1 is not a positive number").arg(parser.value(tokens));
        return std::nullopt;
    }
    static const QRegularExpression sizePattern(QStringLiteral("^(\\d{3,5})x(\\d{3,5})$"));
    if (parser.isSet(size)) {
        const auto match = sizePattern.match(parser.value(size));
        if (!match.hasMatch()) {
            *error = QStringLiteral("--size %1 is not WIDTHxHEIGHT").arg(parser.value(size));
            return std::nullopt;
        }
        options.size = QSize(match.captured(1).toInt(), match.captured(2).toInt());
    }
    return options;
}

} // namespace qs::app
