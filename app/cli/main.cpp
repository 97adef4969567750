// SPDX-License-Identifier: GPL-3.0-or-later
#include "commands.h"
#include "usage.h"

#include "core/base/version.h"
#include "core/exec/parallel.h"

#include <QCoreApplication>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fmt/format.h>
#include <functional>
#include <iostream>
#include <unistd.h>

namespace {

constexpr int kFailed = 1;
constexpr int kWrongUsage = 2;
constexpr int kCancelled = 130;

/// libgomp reads its wait policy when it is loaded, so an idle team only stays off the cores if the variable is there before
/// main.
void ensurePassiveOpenMp(char** argv)
{
    if (std::getenv("OMP_WAIT_POLICY") != nullptr)
        return;
    ::setenv("OMP_WAIT_POLICY", "passive", 1);
    ::execv("/proc/self/exe", argv);
}

nlohmann::json errorJson(const qs::Error& error)
{
    return {{"error",
        {{"code", qs::errcName(error.code)}, {"message", error.message}, {"where", error.where}, {"hint", error.hint}}}};
}

/// One line on stderr, and with --json the document on stdout.
void tell(const qs::Error& error, const std::string& line, bool json, const std::string& command)
{
    if (json)
        std::cout << errorJson(error).dump(2, ' ', false, nlohmann::json::error_handler_t::replace) << std::endl;
    fmt::print(stderr, "quantscope-cli{}{}: {}\n", command.empty() ? "" : " ", command, line);
}

/// What to do where the place that failed does not say it.
std::string hintFor(qs::Errc code, const std::string& command)
{
    switch (code) {
    case qs::Errc::InvalidArgument: return "see quantscope-cli " + command + " --help";
    case qs::Errc::NotFound: return "check the name or the path";
    case qs::Errc::Io: return "check the disk and the permissions";
    case qs::Errc::Format: return "the file is damaged or of another kind: write or fetch it again";
    case qs::Errc::Unsupported: return "not part of this version: README.md lists what is";
    case qs::Errc::Mismatch: return "give inputs that belong together";
    case qs::Errc::NotFinite: return "mend the input, or leave this layer out with --layers or a recipe";
    case qs::Errc::OutOfMemory: return "close other programs, or choose fewer layers or samples";
    case qs::Errc::Internal: return "this is a bug of Quantscope: report it";
    case qs::Errc::Cancelled: break;
    }
    return {};
}

int report(qs::Error error, const qs::cli::Context& context, const std::string& command)
{
    if (error.hint.empty())
        error.hint = hintFor(error.code, command);
    const std::string line = error.line();
    if (error.where.empty())
        error.where = command;
    tell(error, line, context.json(), command);
    if (error.code == qs::Errc::Cancelled)
        return kCancelled;
    return context.wrongUsage() ? kWrongUsage : kFailed;
}

int refuseUsage(const qs::Error& error, bool json, const std::string& command)
{
    tell(error, fmt::format("{} ({})", error.message, error.hint), json, command);
    return kWrongUsage;
}

} // namespace

int main(int argc, char** argv)
{
    ensurePassiveOpenMp(argv);
    const QCoreApplication application(argc, argv); // plugins are looked up beside the program

    CLI::App app{"Quantscope: see why a layer is hard to compress, try methods, compare, check, export.", "quantscope-cli"};
    app.set_version_flag("--version", std::string(qs::kProducer));
    app.require_subcommand(1);
    app.footer("Every command has its own --help. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 cancelled.");
    bool json = false;
    app.add_flag("--json", json, "Print one JSON document on stdout");
    std::uint64_t seed = 0;
    int threads = 0;

    using qs::cli::Outcome;
    std::function<qs::Expected<Outcome>(qs::cli::Context&)> run;
    std::string name;
    std::vector<std::string> commands;
    const auto command = [&](const char* id, const char* help, std::function<qs::Expected<Outcome>(qs::cli::Context&)> action) {
        CLI::App* sub = app.add_subcommand(id, help);
        commands.emplace_back(id);
        sub->add_flag("--json", json, "Print one JSON document on stdout");
        sub->add_option("--seed", seed, "Seed of everything random")->capture_default_str()->check(qs::cli::seedNumber());
        sub->add_option("--threads", threads, "Worker threads (default: all processors)")->check(qs::cli::wholeNumber(1));
        sub->callback([&run, &name, id, action = std::move(action)] {
            run = action;
            name = id;
        });
        return sub;
    };
    const auto count = qs::cli::wholeNumber(1);

    qs::cli::InspectOptions inspectOptions;
    auto* inspect = command("inspect", "Architecture, layers, tensors, tokenizer, disagreements between config and tensors",
        [&](auto& context) { return qs::cli::inspect(inspectOptions, context); });
    inspect->add_option("MODEL", inspectOptions.model, "Hugging Face folder, .safetensors file or index, or .gguf")->required();

    qs::cli::CaptureOptions captureOptions;
    auto* capture = command("capture", "Run a text through the model and write a calibration dump (act-dump/1, HDF5)",
        [&](auto& context) { return qs::cli::capture(captureOptions, context); });
    capture->add_option("MODEL", captureOptions.model, "Model to run")->required();
    capture->add_option("--text", captureOptions.text, "UTF-8 text file to calibrate on");
    capture->add_option("--out", captureOptions.out, "Dump to write")->required();
    capture->add_option("--samples", captureOptions.samples, "Windows (default: min(128, what the text holds))")->check(count);
    capture->add_option("--seq-len", captureOptions.seqLen, "Tokens per window (default: min(2048, context))")->check(count);
    capture
        ->add_option("--keep-tokens", captureOptions.keepTokens,
            "Raw token vectors to keep at most per layer input (of the layers of --layers)")
        ->check(count);
    capture->add_option(
        "--layers", captureOptions.layers, "Collect Gram matrices and raw tokens only for layers that match this pattern");
    capture->add_flag("--gram-float32", captureOptions.gramFloat32, "Store Gram matrices in float32 (half the size)");
    capture->add_option("--merge", captureOptions.merge, "Merge these two dumps of MODEL instead of running it")->expected(2);

    qs::cli::AnalyzeOptions analyzeOptions;
    auto* analyze = command("analyze", "Per layer: channel statistics, outliers, Hessian, sensitivity, QSUR",
        [&](auto& context) { return qs::cli::analyze(analyzeOptions, context); });
    analyze->add_option("MODEL", analyzeOptions.model, "Model")->required();
    analyze->add_option("--dump", analyzeOptions.dump, "Calibration dump")->required();
    analyze->add_option("--layers", analyzeOptions.layers, "Only layers whose name matches this PCRE2 pattern (unanchored)");
    analyze->add_option("--out", analyzeOptions.out,
        "Folder for layers.json and layers.csv and, per layer, NAME.json (with channel statistics, Hessian diagonal and "
        "eigenvalues) and NAME.channels.csv");
    analyze->add_flag("--vectors", analyzeOptions.vectors,
        "With --json: add channel_stats, hessian.diagonal and hessian.eigenvalues to every layer");

    command("methods", "Every method and stage: parameters, defaults, ranges, citation, fidelity, needs",
        [&](auto& context) { return qs::cli::methods(context); });

    qs::cli::CompareOptions compareOptions;
    auto* compare = command("compare", "Metrics of pipelines per layer, side by side",
        [&](auto& context) { return qs::cli::compare(compareOptions, context); });
    compare->add_option("MODEL", compareOptions.model, "Model")->required();
    compare->add_option("--dump", compareOptions.dump, "Calibration dump");
    compare
        ->add_option("--pipeline", compareOptions.pipelines,
            "Method name, name(key=value,...), canonical text, or a .json file; repeatable")
        ->required()
        ->allow_extra_args(false);
    compare->add_option("--layers", compareOptions.layers, "Only layers whose name matches this PCRE2 pattern (unanchored)");
    compare->add_option("--save-tensors", compareOptions.saveTensors, "Write What as float32 safetensors");

    qs::cli::EvalOptions evalOptions;
    auto* eval = command("eval", "Perplexity with standard error; with recipes or a reference also KL and agreement",
        [&](auto& context) { return qs::cli::eval(evalOptions, context); });
    eval->add_option("MODEL", evalOptions.model, "Model")->required();
    eval->add_option("--text", evalOptions.text, "UTF-8 text file to evaluate on")->required();
    eval->add_option("--seq-len", evalOptions.seqLen, "Tokens per window (default: min(2048, context))")->check(count);
    eval->add_option("--recipe", evalOptions.recipes, "Recipe file (docs/recipes.md) or text of one pipeline; repeatable")
        ->allow_extra_args(false);
    eval->add_option("--dump", evalOptions.dump, "Calibration dump, for methods that need one");
    eval->add_option("--max-tokens", evalOptions.maxTokens, "Use at most this many tokens of the text")->check(count);
    eval->add_option("--reference", evalOptions.reference, "Model to compare MODEL with (same vocabulary)");

    qs::cli::ExportOptions exportOptions;
    auto* exporter = command("export", "Write a checkpoint or recipe, read it back and verify it",
        [&](auto& context) { return qs::cli::exportModel(exportOptions, context); });
    exporter->add_option("MODEL", exportOptions.model, "Model")->required();
    exporter->add_option("--recipe", exportOptions.recipe, "Recipe file (docs/recipes.md) or text of one pipeline")->required();
    exporter->add_option("--dump", exportOptions.dump, "Calibration dump, for methods that need one");
    exporter->add_option("--format", exportOptions.format, "Format id")->required();
    exporter->add_option("--out", exportOptions.out, "Folder or file to write")->required();
    exporter->footer([]() -> std::string {
        qs::cli::Context context(false, 0);
        return qs::cli::exportFormats(context);
    });

    qs::cli::ValidateOptions validateOptions;
    auto* validate = command("validate", "Lint a checkpoint or recipe; say which runtimes will load it and why not",
        [&](auto& context) { return qs::cli::validate(validateOptions, context); });
    validate->add_option("PATH", validateOptions.path, "Checkpoint folder or file, or recipe")->required();

    const std::vector<std::string> arguments(argv + 1, argv + argc);
    const bool wantsJson = std::find(arguments.begin(), arguments.end(), "--json") != arguments.end();
    // An unset variable of a script must not mean "not given".
    for (CLI::App* sub : app.get_subcommands({}))
        for (CLI::Option* option : sub->get_options())
            if (option->get_expected_min() > 0)
                option->check(qs::cli::notEmpty());
    if (const std::string unknown = qs::cli::unknownCommand(arguments, commands); !unknown.empty())
        return refuseUsage({qs::Errc::InvalidArgument, fmt::format("no command '{}'", unknown), unknown,
                               fmt::format("{}", fmt::join(commands, ", "))},
            wantsJson, {});
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        if (error.get_exit_code() == 0)
            return app.exit(error); // --help and --version
        const auto parsed = app.get_subcommands();
        const std::string given = parsed.empty() ? std::string() : parsed.front()->get_name();
        return refuseUsage(qs::cli::usageError(error, given, commands), wantsJson, given);
    }
    if (threads > 0)
        qs::setThreadCount(threads);

    qs::cli::Context context(json, seed);
    qs::Expected<Outcome> outcome = qs::fail(qs::Errc::Internal, "no command ran");
    try {
        outcome = run(context);
    } catch (const std::bad_alloc&) {
        outcome = qs::fail(
            qs::Errc::OutOfMemory, "not enough memory", name, "close other programs, or choose fewer layers or samples");
    } catch (const std::exception& exception) {
        outcome = qs::fail(qs::Errc::Internal, exception.what(), name, "this is a bug of Quantscope");
    }
    context.clearProgress();
    if (!outcome)
        return report(outcome.error(), context, name);
    if (json)
        std::cout << outcome->json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) << "\n";
    else
        std::cout << outcome->text;
    std::cout.flush();
    if (!std::cout) {
        fmt::print(
            stderr, "quantscope-cli {}: standard output: cannot be written (check the disk or the reader of the pipe)\n", name);
        return kFailed;
    }
    return outcome->exitCode;
}
