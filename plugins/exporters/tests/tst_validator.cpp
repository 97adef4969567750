// SPDX-License-Identifier: Apache-2.0
#include "export_fixture.h"

#include <QTest>
#include <limits>

using namespace qs;
using namespace qs::recipe;
using nlohmann::json;
namespace fs = std::filesystem;

namespace {

constexpr const char* kLayer = "model.layers.0.self_attn.q_proj";

/// An export taken apart: what a test breaks, and writes again.
struct Checkpoint {
    json config;
    std::map<std::string, test::RawTensor> tensors;
    std::string raw; ///< The file as it is, instead of `tensors`, when not empty.

    json& quantization() { return config["quantization_config"]; }
    json& group() { return quantization()["config_groups"]["group_0"]; }
    test::RawTensor& part(const std::string& suffix) { return tensors[kLayer + suffix]; }
};

using Change = void (*)(Checkpoint&);

struct Bad {
    const char* name;
    Change change;
    const char* id; ///< The finding that is expected, of severity error unless `severity` says otherwise.
    const char* text;
    const char* severity = "error";
};

const Bad kBad[] = {
    {"truncated",
        [](Checkpoint& c) {
            c.raw = test::safetensorsOf(c.tensors);
            c.raw.resize(c.raw.size() - 5);
        },
        "opens", ""},
    {"cut in the header", [](Checkpoint& c) { c.raw = test::safetensorsOf(c.tensors).substr(0, 100); }, "opens", ""},
    {"empty file", [](Checkpoint& c) { c.raw = " "; }, "opens", ""},
    {"header of 2^60 bytes", [](Checkpoint& c) { c.raw = test::rawBytes(std::vector<std::uint64_t>{std::uint64_t{1} << 60}); },
        "opens", ""},
    {"trailing bytes", [](Checkpoint& c) { c.raw = test::safetensorsOf(c.tensors) + "more"; }, "opens", ""},
    {"no scale", [](Checkpoint& c) { c.tensors.erase(std::string(kLayer) + ".weight_scale"); }, "opens",
        "weight_scale' is missing"},
    {"no shape", [](Checkpoint& c) { c.tensors.erase(std::string(kLayer) + ".weight_shape"); }, "opens",
        "weight_shape' is missing"},
    {"no codes", [](Checkpoint& c) { c.tensors.erase(std::string(kLayer) + ".weight_packed"); }, "config-tensors-agree",
        "q_proj"},
    {"other weight_shape",
        [](Checkpoint& c) {
            c.part(".weight_shape").bytes = test::rawBytes(std::vector<std::int64_t>{32, 64});
        },
        "opens", "32 x 64 codes"},
    {"negative weight_shape",
        [](Checkpoint& c) {
            c.part(".weight_shape").bytes = test::rawBytes(std::vector<std::int64_t>{-32, 32});
        },
        "opens", "no shape of a weight"},
    {"scale of another shape",
        [](Checkpoint& c) {
            c.part(".weight_scale").shape = {64, 1};
        },
        "opens", "need 32 x 2"},
    {"scale of integers", [](Checkpoint& c) { c.part(".weight_scale").dtype = "I16"; }, "opens", "scales of type I16"},
    {"NaN scale", [](Checkpoint& c) { c.part(".weight_scale").bytes.replace(0, 2, "\xff\x7f"); }, "finite", "NaN or Inf"},
    {"NaN scale by name", [](Checkpoint& c) { c.part(".weight_scale").bytes.replace(0, 2, "\xff\x7f"); }, "scale-range",
        "q_proj.weight_scale: is nan at (0, 0)"},
    {"negative scale", [](Checkpoint& c) { c.part(".weight_scale").bytes.replace(6, 2, std::string("\x00\xbc", 2)); },
        "scale-range", "is -1 at (1, 1)"},
    {"scale of 0", [](Checkpoint& c) { c.part(".weight_scale").bytes.replace(2, 2, std::string(2, '\0')); }, "scale-range",
        "is 0 at (0, 1)"},
    {"scale beyond the model's type",
        [](Checkpoint& c) {
            c.config["torch_dtype"] = "float16";
            c.part(".weight_scale") = {"F32", {32, 2}, test::rawBytes(std::vector<float>(64, 70000.0F))};
        },
        "scale-range", "which float16"},
    {"scales of another type",
        [](Checkpoint& c) {
            c.config.erase("torch_dtype");
            c.config["dtype"] = "bfloat16";
        },
        "scale-type", "the scales of 14 layers (this is the first) are float16, but config.json says bfloat16", "warning"},
    {"layer of two groups",
        [](Checkpoint& c) {
            c.quantization()["config_groups"]["group_1"] = c.group();
            c.quantization()["config_groups"]["group_1"]["targets"] = {"re:.*q_proj$"};
        },
        "targets-disjoint", "2 layers (this is the first) are named by group_0 and group_1", "warning"},
    {"two formats", [](Checkpoint& c) { c.quantization()["format"] = "float-quantized"; }, "format-agrees",
        "is 'float-quantized', but", "warning"},
    {"zeros of a symmetric scheme",
        [](Checkpoint& c) {
            c.part(".weight_zero_point") = {"I32", {4, 2}, std::string(32, '\0')};
        },
        "opens", "no zero points"},
    {"asymmetric without zeros", [](Checkpoint& c) { c.group()["weights"]["symmetric"] = false; }, "opens",
        "weight_zero_point' is missing"},
    {"g_idx out of range",
        [](Checkpoint& c) {
            std::vector<std::int32_t> index(32, 0);
            index[31] = 2;
            c.part(".weight_g_idx") = {"I32", {32}, test::rawBytes(index)};
        },
        "decodes", "column 31 is in group 2"},
    {"g_idx below zero",
        [](Checkpoint& c) {
            std::vector<std::int32_t> index(32, 0);
            index[3] = -7;
            c.part(".weight_g_idx") = {"I32", {32}, test::rawBytes(index)};
        },
        "decodes", "column 3 is in group -7"},
    {"g_idx of another length",
        [](Checkpoint& c) {
            c.part(".weight_g_idx") = {"I32", {31}, std::string(124, '\0')};
        },
        "opens", "weight_g_idx"},
    {"packed and plain",
        [](Checkpoint& c) {
            c.part(".weight") = {"F32", {32, 32}, std::string(4096, '\0')};
        },
        "opens", "both a packed and a plain"},
    {"constant layer",
        [](Checkpoint& c) {
            for (char& byte : c.part(".weight_packed").bytes)
                byte = '\x88';
        },
        "degenerate", "every weight is 0", "warning"},
    {"other bits", [](Checkpoint& c) { c.group()["weights"]["num_bits"] = 8; }, "opens", "codes of 8 bits"},
    {"nine bits", [](Checkpoint& c) { c.group()["weights"]["num_bits"] = 9; }, "num-bits", "2 to 8"},
    {"bits beyond every integer",
        [](Checkpoint& c) { c.group()["weights"]["num_bits"] = std::numeric_limits<std::uint64_t>::max(); }, "num-bits",
        "2 to 8"},
    {"bits a string", [](Checkpoint& c) { c.group()["weights"]["num_bits"] = "4"; }, "num-bits", "2 to 8"},
    {"huge group", [](Checkpoint& c) { c.group()["weights"]["group_size"] = std::numeric_limits<std::uint64_t>::max(); },
        "strategy-group", "do not agree"},
    {"group that does not divide", [](Checkpoint& c) { c.group()["weights"]["group_size"] = 24; }, "opens", "24"},
    {"group without size", [](Checkpoint& c) { c.group()["weights"]["group_size"] = nullptr; }, "strategy-group",
        "do not agree"},
    {"strategy a number", [](Checkpoint& c) { c.group()["weights"]["strategy"] = 3; }, "field-type", "must be a string"},
    {"symmetric a string", [](Checkpoint& c) { c.group()["weights"]["symmetric"] = "yes"; }, "field-type", "true or false"},
    {"unknown key of the weights", [](Checkpoint& c) { c.group()["weights"]["colour"] = 1; }, "unknown-key", "colour"},
    {"unknown key of the scheme", [](Checkpoint& c) { c.group()["colour"] = 1; }, "unknown-key", "colour"},
    {"act-order", [](Checkpoint& c) { c.group()["weights"]["actorder"] = "group"; }, "act-order-removed", "0.19", "warning"},
    {"weights a list", [](Checkpoint& c) { c.group()["weights"] = json::array(); }, "scheme", "is missing"},
    {"scheme a number", [](Checkpoint& c) { c.quantization()["config_groups"]["group_1"] = 7; }, "scheme", "must be an object"},
    {"targets a string", [](Checkpoint& c) { c.group()["targets"] = "Linear"; }, "targets", "must be a list"},
    {"target a number", [](Checkpoint& c) { c.group()["targets"].push_back(5); }, "targets", "not a string"},
    {"pattern that does not compile", [](Checkpoint& c) { c.group()["targets"].push_back("re:(("); }, "targets",
        "not a pattern"},
    {"target that matches nothing", [](Checkpoint& c) { c.group()["targets"].push_back("model.layers.9.mlp"); },
        "target-matches", "matches no layer"},
    {"ignore that matches nothing", [](Checkpoint& c) { c.quantization()["ignore"].push_back("nobody"); }, "ignore-matches",
        "matches no layer", "warning"},
    {"packed layer ignored", [](Checkpoint& c) { c.quantization()["ignore"].push_back(kLayer); }, "config-tensors-agree",
        "no group of the config covers it"},
    {"no groups", [](Checkpoint& c) { c.quantization()["config_groups"] = json::object(); }, "config-groups",
        "missing or empty"},
    {"status", [](Checkpoint& c) { c.quantization()["quantization_status"] = "frozen"; }, "status", "frozen", "warning"},
    {"status a list", [](Checkpoint& c) { c.quantization()["quantization_status"] = json::array(); }, "field-type",
        "must be a string"},
    {"method a number", [](Checkpoint& c) { c.quantization()["quant_method"] = 1; }, "field-type", "must be a string"},
    {"sparsity with targets",
        [](Checkpoint& c) {
            c.quantization()["sparsity_config"] = {{"targets", {"Linear"}}};
        },
        "sparsity-targets", "vLLM refuses", "warning"},
    {"config not an object", [](Checkpoint& c) { c.config = json::array({1}); }, "config", "not a JSON object"},
    {"config of another model", [](Checkpoint& c) { c.config["hidden_size"] = 64; }, "config-tensors-agree", ""},
    {"a norm is missing", [](Checkpoint& c) { c.tensors.erase("model.norm.weight"); }, "config-tensors-agree", "norm"},
};

} // namespace

/// Foreign and broken checkpoints and recipes: each gives its own clear finding, and nothing throws or crashes.
class TestValidator : public QObject {
    Q_OBJECT
private Q_SLOTS:
    void initTestCase()
    {
        QS_VERIFY_OK(m_families.load());
        QS_REQUIRE(model, test::goldenModel("llama_gqa"));
        QS_REQUIRE(input, m_families.input(model, "rtn(bits=4, group=16)"));
        const fs::path out = m_dir.filePath(QStringLiteral("good")).toStdString();
        QS_VERIFY_OK(m_families.exporters.find("compressed-tensors")->write(input, out, {}));
        test::addTokenizer(out);
        m_good.config = json::parse(test::readFile(out / "config.json"));
        m_good.tensors = test::rawTensors(out / "model.safetensors");
    }

    void tokenizerThatIsMissingOrBroken()
    {
        const fs::path folder = write(m_good);
        test::writeFile(folder / "tokenizer.json", R"({"model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}})");
        QS_REQUIRE(broken, m_families.exporters.validate(folder, m_families.stages, {}));
        QVERIFY2(test::hasFinding(broken.findings, "tokenizer", "warning", "cannot be read here"),
            test::findingsText(broken.findings).c_str());
        fs::remove(folder / "tokenizer.json");
        QS_REQUIRE(missing, m_families.exporters.validate(folder, m_families.stages, {}));
        QVERIFY2(
            missing.findings.size() == 1 && test::hasFinding(missing.findings, "tokenizer", "warning", "there is no tokenizer"),
            test::findingsText(missing.findings).c_str());
        QCOMPARE(verdict(missing, "transformers"), std::string("yes")); // the weights load
    }

    void goodCheckpoint()
    {
        for (const bool again : {false, true}) { // as exported, and as this test writes it
            const fs::path folder = again ? write(m_good) : fs::path(m_dir.filePath(QStringLiteral("good")).toStdString());
            QS_REQUIRE(report, m_families.exporters.validate(folder, m_families.stages, {}));
            QCOMPARE(report.kind, std::string("compressed-tensors checkpoint"));
            QVERIFY2(report.findings.empty(), test::findingsText(report.findings).c_str());
            QCOMPARE(verdict(report, "transformers"), std::string("yes"));
            QCOMPARE(verdict(report, "vLLM"), std::string("no")); // groups of 16 have no kernel there
            QCOMPARE(verdict(report, "llama.cpp"), std::string("no"));
        }
        QS_REQUIRE(byConfig, m_families.exporters.validate(write(m_good) / "config.json", m_families.stages, {}));
        QVERIFY(byConfig.findings.empty());
    }

    void badCheckpoints_data()
    {
        QTest::addColumn<int>("index");
        for (std::size_t i = 0; i < std::size(kBad); ++i)
            QTest::newRow(kBad[i].name) << static_cast<int>(i);
    }
    void badCheckpoints()
    {
        QFETCH(int, index);
        const Bad& bad = kBad[index];
        Checkpoint checkpoint = m_good;
        bad.change(checkpoint);
        QS_REQUIRE(report, m_families.exporters.validate(write(checkpoint), m_families.stages, {}));
        QVERIFY2(
            test::hasFinding(report.findings, bad.id, bad.severity, bad.text), test::findingsText(report.findings).c_str());
        for (const Finding& finding : report.findings) {
            QVERIFY2(finding.message.find('\n') == std::string::npos, finding.message.c_str());
            QVERIFY(!finding.message.empty() && finding.message.size() < 400);
        }
        if (std::string(bad.severity) == "error")
            for (const auto& runtime : report.runtimes)
                QVERIFY2(runtime.loads == "no", runtime.runtime.c_str());
        if (std::string(bad.id) == "targets-disjoint" || std::string(bad.id) == "format-agrees")
            QCOMPARE(verdict(report, "transformers"), std::string("unknown"));
        if (std::string(bad.id) == "act-order-removed")
            QCOMPARE(verdict(report, "transformers"), std::string("no"));
    }

    /// Nothing says what to build of tensors alone; a method that is not checked is not promised; reasons fit the kind of file.
    void runtimesOfOtherKinds()
    {
        const auto validate = [&](const fs::path& path) { return m_families.exporters.validate(path, m_families.stages, {}); };
        const auto why = [](const ValidationReport& report, const std::string& runtime) {
            for (const auto& each : report.runtimes)
                if (each.runtime == runtime)
                    return each.why;
            return std::string();
        };
        const fs::path plain = freshPath("matrices.safetensors");
        test::writeFile(plain, test::safetensorsOf({{"a.weight", {"F32", {8, 4}, std::string(128, '\1')}}}));
        QS_REQUIRE(matrices, validate(plain));
        QCOMPARE(matrices.kind, std::string("tensors without config.json"));
        QCOMPARE(matrices.runtimes.size(), 4U);
        for (const auto& runtime : matrices.runtimes) {
            QCOMPARE(runtime.loads, std::string("no"));
            QVERIFY2(runtime.why.find("no config.json") != std::string::npos, runtime.why.c_str());
        }
        const fs::path file = freshPath("model.gguf");
        test::writeFile(file, test::blockQuantizedGguf());
        QS_REQUIRE(gguf, validate(file));
        QCOMPARE(verdict(gguf, "llama.cpp"), std::string("yes"));
        QCOMPARE(verdict(gguf, "vLLM"), std::string("unknown"));
        QS_REQUIRE(dense, validate(fs::path(QS_GOLDEN_DIR) / "model" / "llama_gqa"));
        QCOMPARE(verdict(dense, "vLLM"), std::string("yes"));
        QCOMPARE(verdict(dense, "llama.cpp"), std::string("no"));
        QCOMPARE(why(dense, "llama.cpp"), std::string("does not read safetensors; convert it with convert_hf_to_gguf first"));
        Checkpoint other = m_good;
        other.quantization() = {{"quant_method", "gptq"}, {"bits", 4}};
        other.tensors.erase(std::string(kLayer) + ".weight_packed"); // of which nothing is said
        QS_REQUIRE(foreign, validate(write(other)));
        QVERIFY2(foreign.findings.size() == 1 && test::hasFinding(foreign.findings, "quant-method", "warning", "'gptq'"),
            test::findingsText(foreign.findings).c_str());
        for (const auto& runtime : foreign.runtimes) {
            QCOMPARE(runtime.loads, std::string("unknown"));
            QCOMPARE(runtime.why, std::string("quantization method 'gptq' is not checked by this version"));
        }
        other.raw = test::safetensorsOf(other.tensors) + "more"; // a broken file is broken by any method
        QS_REQUIRE(brokenFile, validate(write(other)));
        QVERIFY(test::hasFinding(brokenFile.findings, "opens", "error", ""));
        QCOMPARE(verdict(brokenFile, "vLLM"), std::string("no"));
        Checkpoint floats = m_good;
        floats.group()["format"] = "float-quantized";
        QS_REQUIRE(foreignFormat, validate(write(floats)));
        QVERIFY2(foreignFormat.findings.size() == 1
                && test::hasFinding(foreignFormat.findings, "format", "warning", "'float-quantized' is not checked"),
            test::findingsText(foreignFormat.findings).c_str());
        QCOMPARE(verdict(foreignFormat, "vLLM"), std::string("unknown"));
        // What the warning of the export says stands in the verdict as well.
        Checkpoint rounded = m_good;
        rounded.config["torch_dtype"] = "bfloat16";
        rounded.group()["weights"]["group_size"] = nullptr;
        rounded.group()["weights"]["strategy"] = "channel";
        for (auto& [name, tensor] : rounded.tensors)
            if (name.ends_with(".weight_scale"))
                tensor = {
                    "F16", {tensor.shape.at(0), 1}, tensor.bytes.substr(0, 2 * static_cast<std::size_t>(tensor.shape.at(0)))};
        QS_REQUIRE(bfloat, validate(write(rounded)));
        QCOMPARE(verdict(bfloat, "vLLM"), std::string("yes"));
        QVERIFY2(why(bfloat, "vLLM").find("rounds the scales of 14 layers from float16 to bfloat16") != std::string::npos,
            why(bfloat, "vLLM").c_str());
        // A header without a format, and a GGUF file without an architecture.
        const fs::path bare = freshPath("bare.safetensors");
        test::writeFile(bare,
            test::safetensorsBytes(
                R"({"a.weight":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}})", std::string(16, '\1')));
        QS_REQUIRE(noFormat, validate(bare));
        QVERIFY2(test::hasFinding(noFormat.findings, "metadata-format", "warning", "bare.safetensors: its __metadata__"),
            test::findingsText(noFormat.findings).c_str());
        test::GgufWriter writer;
        writer.addTensor({"a.weight", {2, 2}, 0U, std::string(16, '\1')});
        const fs::path unnamed = freshPath("unnamed.gguf");
        test::writeFile(unnamed, writer.bytes());
        QS_REQUIRE(noArchitecture, validate(unnamed));
        for (const auto& runtime : noArchitecture.runtimes)
            QVERIFY2(runtime.why.find("no general.architecture") != std::string::npos, runtime.why.c_str());
    }

    void badRecipes_data()
    {
        QTest::addColumn<QString>("yaml");
        QTest::addColumn<QString>("id");
        QTest::addColumn<QString>("severity");
        const auto row = [](const char* name, const char* yaml, const char* id, const char* severity = "error") {
            QTest::newRow(name) << QString::fromLatin1(yaml) << QString::fromLatin1(id) << QString::fromLatin1(severity);
        };
        row("empty", "", "recipe-non-empty");
        row("not YAML", "a: [1, 2", "yaml");
        row("a list", "- 1\n- 2\n", "yaml");
        row("a deep one", "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", "yaml");
        row("stage without its ending", "quant:\n  a_modifiers:\n    GPTQModifier: {targets: [Linear]}\n", "recipe-non-empty");
        row("group without its ending", "q_stage:\n  quant:\n    GPTQModifier: {targets: [Linear]}\n", "key-ignored",
            "warning");
        row("a key that is a list", "? [a, b]\n: 1\n", "key-ignored", "warning");
        row("a modifier that is a list", "q_stage:\n  a_modifiers:\n    ? [x]\n    : {targets: [Linear]}\n", "modifier-known",
            "warning");
        row("null arguments", "q_stage:\n  a_modifiers:\n    GPTQModifier:\n", "modifier-arguments");
        row("arguments that are a list", "q_stage:\n  a_modifiers:\n    GPTQModifier: [1]\n", "modifier-arguments");
        row("unknown argument", "q_stage:\n  a_modifiers:\n    GPTQModifier: {bits: 4}\n", "modifier-arguments");
        row("an argument that is a list", "q_stage:\n  a_modifiers:\n    GPTQModifier:\n      ? [1]\n      : 2\n",
            "modifier-arguments");
        row("unknown modifier", "q_stage:\n  a_modifiers:\n    MagicModifier: {}\n", "modifier-known", "warning");
        row("2:4 without quotes", "q_stage:\n  a_modifiers:\n    WandaPruningModifier: {sparsity: 0.5, mask_structure: 2:4}\n",
            "mask-quoted");
        row("scheme and groups",
            "q_stage:\n  a_modifiers:\n    GPTQModifier: {scheme: W4A16, config_groups: {group_0: {targets: [Linear]}}}\n",
            "scheme-xor");
        row("pruning that never happens",
            "q_stage:\n  a_modifiers:\n    MagnitudePruningModifier: {targets: [Linear], init_sparsity: 0.0, final_sparsity: "
            "0.5}\n",
            "modifier-trains", "warning");
        row("AWQ alone", "q_stage:\n  a_modifiers:\n    AWQModifier: {n_grid: 20}\n", "awq-followed");
    }
    void badRecipes()
    {
        QFETCH(QString, yaml);
        QFETCH(QString, id);
        QFETCH(QString, severity);
        const fs::path file = freshPath("recipe.yaml");
        test::writeFile(file, yaml.toStdString());
        QS_REQUIRE(report, m_families.exporters.validate(file, m_families.stages, {}));
        QCOMPARE(report.kind, std::string("llm-compressor recipe"));
        QVERIFY2(test::hasFinding(report.findings, id.toStdString(), severity.toStdString(), ""),
            test::findingsText(report.findings).c_str());
        for (const Finding& finding : report.findings)
            QVERIFY2(finding.message.find('\n') == std::string::npos, finding.message.c_str());
        if (severity == QStringLiteral("error"))
            QCOMPARE(report.runtimes.front().loads, std::string("no"));
    }

    void badOwnRecipes_data()
    {
        QTest::addColumn<QString>("text");
        const auto row = [](const char* name, const char* text) { QTest::newRow(name) << QString::fromLatin1(text); };
        const auto ruled = [](const char* name, const char* pattern, const char* pipeline) {
            const json document = {{"schema", 1}, {"kind", "quantscope-recipe"}, {"name", ""},
                {"rules", json::array({{{"pattern", pattern}, {"pipeline", pipeline}}})}};
            QTest::newRow(name) << QString::fromStdString(document.dump());
        };
        row("not JSON", "{");
        row("a number", "5");
        row("another kind", "{\"schema\": 1, \"kind\": \"soup\", \"rules\": []}");
        row("rules a string", "{\"schema\": 1, \"kind\": \"quantscope-recipe\", \"name\": \"\", \"rules\": \"all\"}");
        ruled("unknown stage", "*", "- | - | magic() | - | - | -");
        ruled("pattern that does not compile", "((", "rtn");
    }
    void badOwnRecipes()
    {
        QFETCH(QString, text);
        const fs::path file = freshPath("own.json");
        test::writeFile(file, text.toStdString());
        QS_REQUIRE(report, m_families.exporters.validate(file, m_families.stages, {}));
        QCOMPARE(report.kind, std::string("quantscope recipe"));
        QVERIFY(test::hasFinding(report.findings, "recipe", "error", ""));
        QCOMPARE(report.runtimes.front().loads, std::string("no"));
    }

    void pathsThatAreNothing()
    {
        const auto validate = [&](const fs::path& path) { return m_families.exporters.validate(path, m_families.stages, {}); };
        QS_VERIFY_ERROR(validate(freshPath("missing")), Errc::NotFound, "does not exist");
        const fs::path text = freshPath("notes.txt");
        test::writeFile(text, "hello");
        QS_VERIFY_ERROR(validate(text), Errc::Unsupported, "neither a checkpoint nor a recipe");
        const fs::path empty = freshPath("empty");
        fs::create_directory(empty);
        const auto report = validate(empty);
        QVERIFY(!report || test::hasFinding(report->findings, "opens", "error", ""));
        JobContext job;
        std::stop_source source;
        job.stop = source.get_token();
        source.request_stop();
        QS_VERIFY_ERROR(m_families.exporters.validate(write(m_good), m_families.stages, job), Errc::Cancelled, "cancelled");
    }

private:
    fs::path freshPath(const char* name)
    {
        const fs::path folder = m_dir.filePath(QStringLiteral("case%1").arg(++m_count)).toStdString();
        fs::create_directory(folder);
        return folder / name;
    }
    fs::path write(const Checkpoint& checkpoint)
    {
        const fs::path folder = freshPath("").parent_path();
        test::writeFile(folder / "config.json", checkpoint.config.dump());
        test::writeFile(
            folder / "model.safetensors", checkpoint.raw.empty() ? test::safetensorsOf(checkpoint.tensors) : checkpoint.raw);
        test::addTokenizer(folder);
        return folder;
    }
    static std::string verdict(const ValidationReport& report, const std::string& runtime)
    {
        for (const auto& each : report.runtimes)
            if (each.runtime == runtime)
                return each.loads;
        return {};
    }

    QTemporaryDir m_dir;
    int m_count = 0;
    test::Families m_families;
    Checkpoint m_good;
};

QTEST_GUILESS_MAIN(TestValidator)
#include "tst_validator.moc"
