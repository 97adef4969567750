// SPDX-License-Identifier: Apache-2.0
#include "export_fixture.h"

#include "core/base/version.h"

#include <QTest>
#include <yaml-cpp/yaml.h>

using namespace qs;
using namespace qs::recipe;
using nlohmann::json;

/// Recipes for llm-compressor and our own. The YAML texts below were read by llm-compressor itself: docs/parity.md.
class TestRecipeExporters : public QObject {
    Q_OBJECT
private Q_SLOTS:
    void initTestCase()
    {
        QS_VERIFY_OK(m_families.load());
        QS_REQUIRE(model, test::goldenModel("llama_gqa"));
        m_model = model;
        m_yaml = m_families.exporters.find("llm-compressor");
        m_json = m_families.exporters.find("quantscope");
        QVERIFY(m_yaml && m_yaml->writesFolder() && m_json && !m_json->writesFolder());
    }

    void yamlText_data()
    {
        QTest::addColumn<QString>("pipeline");
        QTest::addColumn<QString>("body");
        QTest::newRow("gptq") << QStringLiteral("gptq(bits=4, group=16, damp=0.05)") << QStringLiteral(R"(
  quantization_modifiers:
    GPTQModifier:
      targets: ["Linear"]
      ignore: ["lm_head"]
      config_groups:
        group_0:
          targets: ["Linear"]
          weights:
            num_bits: 4
            type: "int"
            symmetric: true
            strategy: "group"
            group_size: 16
            scale_dtype: "torch.float16"
      dampening_frac: 0.05
      block_size: 128
      actorder: ~
)");
        QTest::newRow("gptq static") << QStringLiteral("gptq(bits=4, group=16, actorder=static)") << QStringLiteral(R"(
  quantization_modifiers:
    GPTQModifier:
      targets: ["Linear"]
      ignore: ["lm_head"]
      config_groups:
        group_0:
          targets: ["Linear"]
          weights:
            num_bits: 4
            type: "int"
            symmetric: true
            strategy: "group"
            group_size: 16
            scale_dtype: "torch.float16"
            actorder: "static"
      dampening_frac: 0.01
      block_size: 128
)");
        QTest::newRow("a small number") << QStringLiteral("gptq(bits=8, group=-1, damp=0.00001)") << QStringLiteral(R"(
  quantization_modifiers:
    GPTQModifier:
      targets: ["Linear"]
      ignore: ["lm_head"]
      config_groups:
        group_0:
          targets: ["Linear"]
          weights:
            num_bits: 8
            type: "int"
            symmetric: true
            strategy: "channel"
            scale_dtype: "torch.float16"
      dampening_frac: 1.0e-05
      block_size: 128
      actorder: ~
)");
        QTest::newRow("awq") << QStringLiteral("awq(bits=4, group=16, n_grid=10)") << QStringLiteral(R"(
  smoothing_modifiers:
    AWQModifier:
      duo_scaling: false
      n_grid: 10
  quantization_modifiers:
    QuantizationModifier:
      targets: ["Linear"]
      ignore: ["lm_head"]
      config_groups:
        group_0:
          targets: ["Linear"]
          weights:
            num_bits: 4
            type: "int"
            symmetric: true
            strategy: "group"
            group_size: 16
            scale_dtype: "torch.float16"
)");
        QTest::newRow("smoothquant") << QStringLiteral("smoothquant(alpha=0.8)") << QStringLiteral(R"(
  smoothing_modifiers:
    SmoothQuantModifier:
      smoothing_strength: 0.8
  quantization_modifiers:
    QuantizationModifier:
      targets: ["Linear"]
      ignore: ["lm_head"]
      config_groups:
        group_0:
          targets: ["Linear"]
          weights:
            num_bits: 8
            type: "int"
            symmetric: true
            strategy: "channel"
            scale_dtype: "torch.float16"
          input_activations:
            num_bits: 8
            type: "int"
            symmetric: true
            strategy: "token"
            dynamic: true
)");
        QTest::newRow("range search") << QStringLiteral(
            "rtn(bits=4, group=16, range=mse, mse_shrink=0.57, scale_dtype=float32)")
                                      << QStringLiteral(R"(
  quantization_modifiers:
    QuantizationModifier:
      targets: ["Linear"]
      ignore: ["lm_head"]
      config_groups:
        group_0:
          targets: ["Linear"]
          weights:
            num_bits: 4
            type: "int"
            symmetric: true
            strategy: "group"
            group_size: 16
            observer: "memoryless_mse"
            observer_kwargs:
              maxshrink: 0.575
              grid: 100.0
              patience: 100
              norm: 2.4
)");
        QTest::newRow("asymmetric channel") << QStringLiteral("rtn(bits=8, group=-1, grid=asym-0)") << QStringLiteral(R"(
  quantization_modifiers:
    QuantizationModifier:
      targets: ["Linear"]
      ignore: ["lm_head"]
      config_groups:
        group_0:
          targets: ["Linear"]
          weights:
            num_bits: 8
            type: "int"
            symmetric: false
            strategy: "channel"
            scale_dtype: "torch.float16"
)");
        QTest::newRow("per tensor") << QStringLiteral("rtn(bits=8, group=tensor)") << QStringLiteral(R"(
  quantization_modifiers:
    QuantizationModifier:
      targets: ["Linear"]
      ignore: ["lm_head"]
      config_groups:
        group_0:
          targets: ["Linear"]
          weights:
            num_bits: 8
            type: "int"
            symmetric: true
            strategy: "tensor"
            scale_dtype: "torch.float16"
)");
        QTest::newRow("wanda 2:4") << QStringLiteral("wanda(pattern=2:4)") << QStringLiteral(R"(
  pruning_modifiers:
    WandaPruningModifier:
      sparsity: 0.5
      mask_structure: "2:4"
      targets: ["Linear"]
      ignore: ["re:.*lm_head"]
)");
        QTest::newRow("sparsegpt") << QStringLiteral("sparsegpt(sparsity=0.6)") << QStringLiteral(R"(
  pruning_modifiers:
    SparseGPTModifier:
      sparsity: 0.6
      mask_structure: "0:0"
      dampening_frac: 0.01
      targets: ["Linear"]
      ignore: ["re:.*lm_head"]
)");
    }
    void yamlText()
    {
        QFETCH(QString, pipeline);
        QFETCH(QString, body);
        QS_REQUIRE(input, m_families.input(m_model, pipeline.toStdString()));
        const std::filesystem::path out = freshPath();
        QS_REQUIRE(report, m_yaml->write(input, out, {}));
        QVERIFY(report.verified);
        const std::string text = test::readFile(out / "recipe.yaml");
        QCOMPARE(QString::fromStdString(text),
            QStringLiteral("# written by %1\n\ncompression_stage:").arg(QString::fromLatin1(kProducer)) + body);
        QS_REQUIRE(checked, m_families.exporters.validate(out, m_families.stages, {}));
        QCOMPARE(checked.kind, std::string("llm-compressor recipe"));
        QVERIFY2(checked.findings.empty(), test::findingsText(checked.findings).c_str());
        QCOMPARE(checked.runtimes.front().loads, std::string("yes"));
    }

    void yamlOfAMixedRecipe()
    {
        QS_REQUIRE(
            input, m_families.input(m_model, "", {{"mlp", "gptq(bits=4, group=16)"}, {"self_attn", "rtn(bits=8, group=-1)"}}));
        const std::filesystem::path out = freshPath();
        QS_VERIFY_OK(m_yaml->write(input, out, {}));
        const YAML::Node stage = YAML::LoadFile((out / "recipe.yaml").string())["compression_stage"];
        QCOMPARE(stage.size(), std::size_t{2}); // a modifier may stand only once in a group
        std::map<std::string, std::vector<std::string>> targets;
        for (const auto& group : stage) {
            QVERIFY(group.first.as<std::string>().ends_with("_modifiers"));
            for (const auto& modifier : group.second)
                targets[modifier.first.as<std::string>()] = modifier.second["targets"].as<std::vector<std::string>>();
        }
        std::sort(targets["GPTQModifier"].begin(), targets["GPTQModifier"].end());
        QCOMPARE(targets["GPTQModifier"],
            (std::vector<std::string>{R"(re:.*\.mlp\.down_proj$)", R"(re:.*\.mlp\.gate_proj$)", R"(re:.*\.mlp\.up_proj$)"}));
        QCOMPARE(targets["QuantizationModifier"].size(), std::size_t{4});
    }

    /// A group as wide as a layer is one scale per row there: one pipeline, two schemes.
    void yamlOfOnePipelineWithTwoSchemes()
    {
        const std::filesystem::path file = freshPath().replace_extension(".gguf");
        test::writeFile(file, test::blockQuantizedGguf()); // 32 inputs, 64 for down_proj
        QS_REQUIRE(model, model::openModel(file));
        QS_REQUIRE(input, m_families.input(model, "rtn(bits=4, group=32)"));
        const std::filesystem::path out = freshPath();
        QS_VERIFY_OK(m_yaml->write(input, out, {}));
        const YAML::Node stage = YAML::LoadFile((out / "recipe.yaml").string())["compression_stage"];
        QCOMPARE(stage.size(), std::size_t{1}); // one modifier calibrates all layers
        const YAML::Node modifier = stage["quantization_modifiers"]["QuantizationModifier"];
        QCOMPARE(modifier["config_groups"].size(), std::size_t{2});
        std::map<std::string, std::size_t> targets;
        for (const auto& group : modifier["config_groups"])
            targets[group.second["weights"]["strategy"].as<std::string>()] = group.second["targets"].size();
        QCOMPARE(targets, (std::map<std::string, std::size_t>{{"channel", 6}, {"group", 1}}));
        // Other widths of one method as well.
        QS_REQUIRE(
            mixed, m_families.input(m_model, "", {{"mlp", "gptq(bits=4, group=16)"}, {"self_attn", "gptq(bits=8, group=-1)"}}));
        const std::filesystem::path second = freshPath();
        QS_VERIFY_OK(m_yaml->write(mixed, second, {}));
        const YAML::Node groups = YAML::LoadFile(
            (second / "recipe.yaml").string())["compression_stage"]["quantization_modifiers"]["GPTQModifier"]["config_groups"];
        QCOMPARE(groups["group_0"]["weights"]["num_bits"].as<int>() + groups["group_1"]["weights"]["num_bits"].as<int>(), 12);
        QCOMPARE(groups["group_0"]["targets"].size() + groups["group_1"]["targets"].size(), std::size_t{7});
    }

    void runSheet()
    {
        QS_REQUIRE(input, m_families.input(m_model, "gptq(bits=4, group=16)"));
        input.recipe.calibration = {{"tokens", "16384"}, {"seq_len", "256"}, {"dataset_id", "abc"}};
        const std::filesystem::path out = freshPath();
        QS_VERIFY_OK(m_yaml->write(input, out, {}));
        const std::string sheet = test::readFile(out / "RUN.md");
        QVERIFY(sheet.find("num_calibration_samples=64,") != std::string::npos);
        QVERIFY(sheet.find("max_seq_length=256,") != std::string::npos);
        QVERIFY(sheet.find("data set id abc") != std::string::npos);
    }

    void yamlLints()
    {
        const auto findings = [&](const std::string& text) {
            const auto input = m_families.input(m_model, text);
            return input ? m_yaml->lint(*input) : std::vector<Finding>{{"input", "error", "", input.error().line()}};
        };
        const auto mixed = [&](const std::vector<std::pair<std::string, std::string>>& rules) {
            const auto input = m_families.input(m_model, "", rules);
            return input ? m_yaml->lint(*input) : std::vector<Finding>{{"input", "error", "", input.error().line()}};
        };
        const std::string smooth = "smooth(alpha=0.5) | - | int(bits=4, group=16) | nearest() | - | -";
        QVERIFY(test::hasFinding(mixed({{"layers.0", smooth}, {"layers.1", "gptq(bits=4, group=16)"}}), "smoothing-everywhere",
            "warning", "7 layers that are quantized without it"));
        QVERIFY(test::hasFinding(
            mixed({{"layers.0", smooth}, {"layers.1", "smooth(alpha=0.8) | - | int(bits=4, group=16) | nearest() | - | -"}}),
            "smoothing-everywhere", "warning", "or with others"));
        QVERIFY(mixed({{"layers.0", smooth}}).empty()); // the rest is not quantized, so not smoothed either
        QVERIFY(mixed({{"*", smooth}}).empty());
        QVERIFY(findings("gptq(bits=4, group=16)").empty());
        QVERIFY(test::hasFinding(findings(""), "recipe-non-empty", "error", "no layer is compressed"));
        QVERIFY(test::hasFinding(findings("rtn(grid=asym-free, group=16)"), "grid-convention", "warning", "asym-free"));
        QVERIFY(test::hasFinding(findings("awq(bits=4, group=16)"), "clip-not-expressible", "warning", "clip"));
        QVERIFY(test::hasFinding(findings("gptq(group=16, actorder=group)"), "act-order-removed", "error", "0.14"));
        QVERIFY(test::hasFinding(
            findings("rtn(group=16, range=percentile)"), "range-not-expressible", "warning", "14 layers (this is the first)"));
        QVERIFY(test::hasFinding(
            findings("rtn(group=16, range=mse, mse_weighted=true)"), "range-not-expressible", "warning", "mse_weighted"));
        QVERIFY(findings("rtn(group=16, range=mse)").empty());
        QVERIFY(test::hasFinding(findings("rtn(bits=8, group=tensor)"), "runtime-strategy", "warning", "one per tensor"));
        QVERIFY(!test::hasFinding(
            findings("- | - | int(bits=8, group=tensor) | nearest() | - | act()"), "runtime-strategy", "warning", ""));
        QVERIFY(test::hasFinding(findings("rtn(bits=2, group=16)"), "runtime-width", "warning", "2-bit"));
        QVERIFY(test::hasFinding(findings("magnitude"), "stage-translates", "error", "only while it trains"));
        QS_REQUIRE(magnitude, m_families.input(m_model, "magnitude"));
        QS_VERIFY_ERROR(m_yaml->write(magnitude, freshPath(), {}), Errc::InvalidArgument, "export a checkpoint instead");
        QS_REQUIRE(empty, m_families.input(m_model, ""));
        QS_VERIFY_ERROR(m_yaml->write(empty, freshPath(), {}), Errc::InvalidArgument, "no layer is compressed");
    }

    /// llm-compressor computes scales in the model's own type, and searches ranges in it.
    void yamlOfASixteenBitModel()
    {
        QS_REQUIRE(model, test::tinyLlama(m_dir.filePath(QStringLiteral("tiny")).toStdString(), DType::BF16));
        const auto lint = [&](const std::string& text) {
            const auto input = m_families.input(model, text);
            return input ? m_yaml->lint(*input) : std::vector<Finding>{{"input", "error", "", input.error().line()}};
        };
        QVERIFY(test::hasFinding(
            lint("rtn(group=16)"), "scale-dtype-not-expressible", "warning", "scale_dtype=bfloat16 is what it will compute"));
        QVERIFY(lint("rtn(group=16, scale_dtype=bfloat16)").empty());
        QVERIFY(test::hasFinding(lint("rtn(group=16, range=mse)"), "range-precision", "warning", "bfloat16"));
        QS_REQUIRE(input, m_families.input(model, "rtn(group=16, scale_dtype=float32)"));
        const std::filesystem::path out = freshPath();
        QS_VERIFY_OK(m_yaml->write(input, out, {}));
        QVERIFY(test::readFile(out / "recipe.yaml").find("scale_dtype") == std::string::npos); // it would fail there
    }

    void recipeFilesEndInJson()
    {
        QS_REQUIRE(input, m_families.input(m_model, "rtn"));
        const std::filesystem::path out = m_dir.filePath(QStringLiteral("recipe")).toStdString();
        QS_VERIFY_ERROR(m_json->write(input, out, {}), Errc::InvalidArgument, "ends in .json");
        QVERIFY(!std::filesystem::exists(out));
    }

    void jsonRoundTrip()
    {
        QS_REQUIRE(input,
            m_families.input(m_model, "awq(bits=4, group=16)", {{"layers.1", "sparsegpt(pattern=2:4)"}, {"layers.0.mlp", ""}}));
        input.recipe.name = "a \"mixed\" one";
        input.recipe.calibration = {{"dump_id", "d"}, {"tokens", "5"}};
        const std::filesystem::path out = freshPath();
        QS_REQUIRE(report, m_json->write(input, out, {}));
        QVERIFY(report.verified && report.files.size() == 1);
        QS_REQUIRE(again, loadRecipe(out.string(), m_families.stages));
        QVERIFY(again == input.recipe);
        QS_REQUIRE(assignment, assign(again, m_model->spec(), m_families.stages));
        for (std::size_t i = 0; i < assignment.layers.size(); ++i) {
            QCOMPARE(static_cast<bool>(assignment.layers[i]), static_cast<bool>(input.assignment.layers[i]));
            if (assignment.layers[i])
                QVERIFY(*assignment.layers[i] == *input.assignment.layers[i]);
        }
        const json document = json::parse(test::readFile(out));
        QCOMPARE(document.at("model_id").get<std::string>(), m_model->id());
        QCOMPARE(document.at("producer").get<std::string>(), std::string(kProducer));
        QS_REQUIRE(checked, m_families.exporters.validate(out, m_families.stages, {}));
        QCOMPARE(checked.runtimes.front().loads, std::string("unknown")); // without a model nobody knows
        QVERIFY(checked.runtimes.front().why.find("against a model") != std::string::npos);
        QS_REQUIRE(second, m_json->write(input, out, {})); // a recipe is saved over itself
        QVERIFY(second.verified);
    }

private:
    std::filesystem::path freshPath() { return m_dir.filePath(QStringLiteral("out%1.json").arg(++m_count)).toStdString(); }

    QTemporaryDir m_dir;
    int m_count = 0;
    test::Families m_families;
    std::shared_ptr<const model::Model> m_model;
    const Exporter* m_yaml = nullptr;
    const Exporter* m_json = nullptr;
};

QTEST_GUILESS_MAIN(TestRecipeExporters)
#include "tst_recipe_exporters.moc"
