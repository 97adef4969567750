// SPDX-License-Identifier: Apache-2.0
#include "core/model/evaluation.h"
#include "export_fixture.h"

#include <QTest>
#include <cmath>

using namespace qs;
using namespace qs::recipe;
using nlohmann::json;

namespace {

/// Everything that a checkpoint of ours can hold. `exact`: the export computes the same bits as the simulation; with a
/// transform the same up to float32 rounding of other products.
struct Case {
    const char* name;
    const char* pipeline;
    bool exact;
};
constexpr Case kCases[] = {
    {"w4a16 symmetric", "rtn(bits=4, group=16)", true},
    {"w4a16 asymmetric", "rtn(bits=4, group=16, grid=asym-0)", true},
    {"w8a16 symmetric", "rtn(bits=8, group=16)", true},
    {"w8a16 asymmetric", "rtn(bits=8, group=16, grid=asym-free)", true},
    {"w8a16 channel", "rtn(bits=8, group=-1)", true},
    {"w8a16 tensor", "rtn(bits=8, group=tensor)", true},
    {"w4a16 tensor asymmetric", "gptq(bits=4, group=tensor, grid=asym-0)", true},
    {"w4a16 channel asymmetric", "rtn(bits=4, group=-1, grid=asym-0)", true},
    {"zero in no code's middle", "rtn(bits=4, group=16, grid=sym-shifted)", true},
    {"restricted", "rtn(bits=4, group=16, grid=sym-restricted)", true},
    {"neg-anchored, float32 scales", "rtn(bits=4, group=16, grid=sym-neg-anchored, scale_dtype=float32)", true},
    {"bfloat16 scales", "rtn(bits=2, group=16, scale_dtype=bfloat16)", true},
    {"words that are not full", "rtn(bits=3, group=-1, grid=asym-0)", true},
    {"five bits", "rtn(bits=5, group=16, grid=asym-0)", true},
    {"gptq", "gptq(bits=4, group=16)", true},
    {"gptq act-order", "gptq(bits=4, group=16, actorder=group)", true},
    {"gptq act-order channel", "gptq(bits=4, group=-1, actorder=group)", true},
    {"gptq static", "gptq(bits=4, group=16, actorder=static, grid=asym-0)", true},
    {"magnitude", "magnitude(sparsity=0.5)", true},
    {"wanda 2:4", "wanda(pattern=2:4)", true},
    {"sparsegpt", "sparsegpt(sparsity=0.5)", true},
    {"pruned and quantized", "- | wanda(pattern=2:4) | int(bits=4, group=16) | nearest() | - | -", true},
    {"awq", "awq(bits=4, group=16)", false},
    {"smoothed and quantized", "smooth() | - | int(bits=8, group=-1) | nearest() | - | -", false},
    {"smoothed only", "smooth() | - | - | - | - | -", false},
    {"smoothed and pruned", "smooth() | magnitude() | - | nearest() | - | -", false},
};

} // namespace

class TestCompressedTensors : public QObject {
    Q_OBJECT
private Q_SLOTS:
    void initTestCase()
    {
        QS_VERIFY_OK(m_families.load());
        m_exporter = m_families.exporters.find("compressed-tensors");
        QVERIFY(m_exporter && m_exporter->writesFolder());
        for (const char* name : {"llama_gqa", "llama_bias"}) {
            QS_REQUIRE(model, test::goldenModel(name));
            m_models[name] = model;
        }
        QS_REQUIRE(tiny, test::tinyLlama(path("tiny"), DType::BF16)); // as many key heads as query heads: v folds into o
        m_models["tiny"] = tiny;
        test::writeFile(path("model.gguf"), test::blockQuantizedGguf());
        QS_REQUIRE(gguf, model::openModel(path("model.gguf")));
        QVERIFY(gguf->spec().whyNotRunnable().empty());
        m_models["gguf"] = gguf;
    }

    void cases_data()
    {
        QTest::addColumn<QString>("model");
        QTest::addColumn<QString>("pipeline");
        QTest::addColumn<bool>("exact");
        for (const auto& [name, model] : m_models)
            for (const Case& each : kCases)
                QTest::addRow("%s, %s", name.c_str(), each.name)
                    << QString::fromStdString(name) << QString::fromLatin1(each.pipeline) << each.exact;
    }
    /// T37 and the second rule of trust, together, because they need the same export.
    void cases()
    {
        QFETCH(QString, model);
        QFETCH(QString, pipeline);
        QFETCH(bool, exact);
        const auto& source = m_models.at(model.toStdString());
        QS_REQUIRE(input, m_families.input(source, pipeline.toStdString()));
        const std::filesystem::path out = freshPath();
        QS_REQUIRE(report, m_exporter->write(input, out, {}));
        QVERIFY2(report.verified && !report.hasErrors(), test::findingsText(report.findings).c_str());
        QVERIFY2(
            !test::hasFinding(report.findings, "bytes-accounted", "warning", ""), test::findingsText(report.findings).c_str());

        // The simulation, and the size that it promises before anything is written.
        const RecipeReplacements replacements(input.runner, input.assignment);
        QS_REQUIRE(simulated, test::hiddenStates(asStored(source), &replacements));
        const RecipeSize promised = replacements.size();
        QCOMPARE(report.size.bytesFile, promised.bytesFile);
        QCOMPARE(report.size.bitsLayers, promised.bitsLayers);
        QCOMPARE(report.size.bitsFile, promised.bitsFile);

        // The bytes that lie on disk, counted without the product's reader.
        std::uint64_t all = 0;
        std::uint64_t ofLayers = 0;
        for (const auto& [name, tensor] : test::rawTensors(out / "model.safetensors")) {
            all += tensor.bytes.size();
            const bool layer = name.find("_proj.weight") != std::string::npos && !name.ends_with("weight_shape");
            ofLayers += layer ? tensor.bytes.size() : 0;
        }
        QCOMPARE(report.size.bytesFile, static_cast<double>(all));
        QCOMPARE(report.layerBytes, ofLayers);
        QCOMPARE(report.layerBytes * 8.0, replacements.bits().total());
        QCOMPARE(report.checkpointBytes, std::filesystem::file_size(out / "model.safetensors"));

        QS_REQUIRE(again, model::openModel(out));
        QVERIFY(again->spec().problems.empty());
        QCOMPARE(checkpointSize(*again).bytesFile, report.size.bytesFile);
        double storedAgain = 0; // as the window and the runner count the layers of a model
        for (const model::LayerSpec& layer : again->spec().layers)
            storedAgain += again->spec().inBlocks(layer) ? storedBits(*again, layer).total() : 0.0;
        QCOMPARE(storedAgain, replacements.bits().total());
        QS_REQUIRE(stored, test::hiddenStates(again));
        QCOMPARE(stored.size(), simulated.size());
        double worst = 0, largest = 0;
        for (std::size_t i = 0; i < stored.values().size(); ++i) {
            const double difference
                = std::abs(static_cast<double>(stored.values()[i]) - static_cast<double>(simulated.values()[i]));
            worst = difference <= worst ? worst : difference;
            largest = std::max(largest, std::abs(static_cast<double>(simulated.values()[i])));
        }
        if (exact)
            QVERIFY2(
                test::firstDifference(stored.values(), simulated.values()) == -1, qPrintable(QString::number(worst / largest)));
        else
            QVERIFY2(worst <= 2e-6 * largest, qPrintable(QString::number(worst / largest)));
        QVERIFY(largest > 0);
    }

    void tensorsAreTheReferences_data() // tests/golden/gen/export_reference.py
    {
        QTest::addColumn<QString>("pipeline");
        const json golden = test::goldenJson("export/packed_layers.json");
        QVERIFY(golden.size() >= 4);
        for (const auto& [text, tensors] : golden.items())
            QTest::newRow(text.c_str()) << QString::fromStdString(text);
    }
    void tensorsAreTheReferences()
    {
        QFETCH(QString, pipeline);
        const json golden = test::goldenJson("export/packed_layers.json").at(pipeline.toStdString());
        QS_REQUIRE(input, m_families.input(m_models.at("llama_gqa"), pipeline.toStdString()));
        const std::filesystem::path out = freshPath();
        QS_VERIFY_OK(m_exporter->write(input, out, {}));
        const auto tensors = test::rawTensors(out / "model.safetensors");
        for (const auto& [name, wanted] : golden.items()) {
            QVERIFY2(tensors.contains(name), name.c_str());
            const test::RawTensor& tensor = tensors.at(name);
            QCOMPARE(tensor.dtype, wanted.at("dtype").get<std::string>());
            QVERIFY2(tensor.shape == wanted.at("shape").get<std::vector<std::int64_t>>(), name.c_str());
            QVERIFY2(tensor.bytes == test::fromHex(wanted.at("hex").get<std::string>()), name.c_str());
        }
        // Nothing else belongs to these layers: symmetric schemes have no zero points.
        for (const auto& [name, tensor] : tensors)
            for (const auto& [known, wanted] : golden.items())
                if (name.rfind(known.substr(0, known.rfind('.') + 1), 0) == 0)
                    QVERIFY2(golden.contains(name), name.c_str());
    }

    void configOfAUniformExport()
    {
        QS_REQUIRE(input, m_families.input(m_models.at("llama_gqa"), "rtn(bits=4, group=16)"));
        const std::filesystem::path out = freshPath();
        QS_REQUIRE(report, m_exporter->write(input, out, {}));
        const json config = json::parse(test::readFile(out / "config.json"));
        const json expected = json::parse(R"({"quant_method": "compressed-tensors", "format": "pack-quantized",
            "quantization_status": "compressed", "ignore": ["lm_head"], "kv_cache_scheme": null, "sparsity_config": {},
            "transform_config": {}, "global_compression_ratio": null, "config_groups": {"group_0": {"targets": ["Linear"],
            "format": "pack-quantized", "input_activations": null, "output_activations": null, "weights": {"num_bits": 4,
            "type": "int", "symmetric": true, "strategy": "group", "group_size": 16, "dynamic": false, "actorder": null,
            "block_structure": null, "observer": "memoryless_minmax", "observer_kwargs": {}, "scale_dtype": "torch.float16",
            "zp_dtype": null}}}})");
        QCOMPARE(config.at("quantization_config").dump(2), expected.dump(2));
        json rest = config;
        rest.erase("quantization_config");
        json source = json::parse(test::readFile(std::filesystem::path(QS_GOLDEN_DIR) / "model/llama_gqa/config.json"));
        QCOMPARE(rest.at("torch_dtype"), json("float32"));
        rest.erase("torch_dtype");
        source.erase("dtype");
        QCOMPARE(rest.dump(2), source.dump(2));
        const json provenance = json::parse(test::readFile(out / "quantscope.json"));
        QCOMPARE(provenance.at("model_id").get<std::string>(), m_models.at("llama_gqa")->id());
        QVERIFY(test::hasFinding(report.findings, "dequantized-equals-simulated", "info", "bit for bit"));
        for (const auto& file : report.files)
            QVERIFY2(std::filesystem::exists(out / file), file.c_str());
        QCOMPARE(test::filesIn(out), report.files.size());
    }

    void mixedRecipe()
    {
        QS_REQUIRE(input,
            m_families.input(m_models.at("llama_gqa"), "",
                {{"mlp", "rtn(bits=4, group=16)"}, {"layers.1.*self_attn.(q|k|v)", "rtn(bits=8, group=-1, grid=asym-0)"}}));
        const std::filesystem::path out = freshPath();
        QS_REQUIRE(report, m_exporter->write(input, out, {}));
        QVERIFY(report.verified);
        const json config = json::parse(test::readFile(out / "config.json")).at("quantization_config");
        QCOMPARE(config.at("config_groups").size(), std::size_t{2});
        std::vector<std::string> ignore = config.at("ignore").get<std::vector<std::string>>();
        std::sort(ignore.begin(), ignore.end());
        QCOMPARE(ignore,
            (std::vector<std::string>{"lm_head", "model.layers.0.self_attn.k_proj", "model.layers.0.self_attn.o_proj",
                "model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.v_proj", "model.layers.1.self_attn.o_proj"}));
        for (const auto& [name, group] : config.at("config_groups").items()) {
            auto targets = group.at("targets").get<std::vector<std::string>>();
            std::sort(targets.begin(), targets.end());
            if (group.at("weights").at("num_bits") == 4)
                QCOMPARE(targets,
                    (std::vector<std::string>{
                        R"(re:.*\.mlp\.down_proj$)", R"(re:.*\.mlp\.gate_proj$)", R"(re:.*\.mlp\.up_proj$)"}));
            else
                QCOMPARE(targets,
                    (std::vector<std::string>{"model.layers.1.self_attn.k_proj", "model.layers.1.self_attn.q_proj",
                        "model.layers.1.self_attn.v_proj"}));
        }
        QVERIFY2(test::hasFinding(report.findings, "tokenizer", "warning", "there is no tokenizer"),
            test::findingsText(report.findings).c_str()); // the source has none
        test::addTokenizer(out);
        QS_REQUIRE(checked, m_families.exporters.validate(out, m_families.stages, {}));
        QVERIFY2(checked.findings.empty(), test::findingsText(checked.findings).c_str());
        const RecipeReplacements replacements(input.runner, input.assignment);
        QS_REQUIRE(simulated, test::hiddenStates(m_models.at("llama_gqa"), &replacements));
        QS_REQUIRE(again, model::openModel(out));
        QS_REQUIRE(stored, test::hiddenStates(again));
        QCOMPARE(test::firstDifference(stored.values(), simulated.values()), -1L);
        QCOMPARE(replacements.size().bytesFile, report.size.bytesFile);
    }

    /// A layer without a pipeline whose rows take the transform of the site behind it: stored anew, and simulated so.
    void rowFactorsOfAFloatLayer()
    {
        for (const char* name : {"tiny", "llama_bias"}) {
            const auto& source = m_models.at(name);
            QS_REQUIRE(input, m_families.input(source, "", {{"down_proj", "awq(bits=4, group=16)"}}));
            const std::filesystem::path out = freshPath();
            QS_REQUIRE(report, m_exporter->write(input, out, {}));
            const auto tensors = test::rawTensors(out / "model.safetensors");
            QCOMPARE(tensors.at("model.layers.0.mlp.up_proj.weight").dtype, std::string("BF16"));
            if (std::string(name) == "llama_bias")
                QCOMPARE(tensors.at("model.layers.0.mlp.up_proj.bias").dtype, std::string("F32"));
            const RecipeReplacements replacements(input.runner, input.assignment);
            QS_REQUIRE(simulated, test::hiddenStates(source, &replacements));
            QCOMPARE(replacements.size().bytesFile, report.size.bytesFile);
            QS_REQUIRE(again, model::openModel(out));
            QS_REQUIRE(stored, test::hiddenStates(again));
            double worst = 0, largest = 0;
            for (std::size_t i = 0; i < stored.values().size(); ++i) {
                worst = std::max(worst, static_cast<double>(std::abs(stored.values()[i] - simulated.values()[i])));
                largest = std::max(largest, static_cast<double>(std::abs(simulated.values()[i])));
            }
            QVERIFY2(worst <= 2e-6 * largest, qPrintable(QString::number(worst / largest)));
        }
    }

    /// A norm keeps its own type, because the transform is one that it can take without rounding.
    void normsKeepTheirType()
    {
        const auto& source = m_models.at("tiny");
        QS_REQUIRE(input, m_families.input(source, "smooth() | - | int(bits=8, group=-1) | nearest() | - | -"));
        const std::filesystem::path out = freshPath();
        QS_VERIFY_OK(m_exporter->write(input, out, {}));
        const auto before = test::rawTensors(path("tiny") / std::filesystem::path("model.safetensors"));
        const auto after = test::rawTensors(out / "model.safetensors");
        const std::string name = "model.layers.0.input_layernorm.weight";
        QCOMPARE(after.at(name).dtype, std::string("BF16"));
        QVERIFY(after.at(name).bytes != before.at(name).bytes);
        const auto q = source->spec().find("model.layers.0.self_attn.q_proj");
        QS_REQUIRE(layer, input.runner->compress(q, input.assignment, {}));
        const std::vector<double> d = layer.inputTransform->diagonal();
        for (std::size_t j = 0; j < d.size(); ++j) {
            std::uint16_t was = 0, is = 0;
            std::memcpy(&was, before.at(name).bytes.data() + 2 * j, 2);
            std::memcpy(&is, after.at(name).bytes.data() + 2 * j, 2);
            QCOMPARE(static_cast<float>(static_cast<double>(bfloat16ToFloat(was)) * d[j]), bfloat16ToFloat(is));
        }
    }

    /// What `eval` says of a pruned model is what it says of the export: every bit of it.
    void prunedSampleKeepsItsPerplexity_data()
    {
        QTest::addColumn<QString>("pipeline");
        for (const char* text : {"magnitude", "wanda", "sparsegpt", "sparsegpt(pattern=2:4)"})
            QTest::newRow(text) << QString::fromLatin1(text);
    }
    void prunedSampleKeepsItsPerplexity()
    {
        QFETCH(QString, pipeline);
        const std::filesystem::path folder = QS_SAMPLE_DIR;
        if (!std::filesystem::exists(folder / "config.json"))
            QSKIP("the sample model is not in this tree");
        QS_REQUIRE(source, model::openModel(folder));
        QS_REQUIRE(input, m_families.input(source, pipeline.toStdString()));
        const std::filesystem::path out = freshPath();
        QS_VERIFY_OK(m_exporter->write(input, out, {}));
        QS_REQUIRE(again, model::openModel(out));
        const RecipeReplacements replacements(input.runner, input.assignment);
        const std::string text = test::readFile(folder / "evaluation.txt");
        QVERIFY(!text.empty());
        QS_REQUIRE(report,
            model::evaluate(source, text, {{"simulated", &replacements, asStored(source)}, {"stored", nullptr, again}},
                {128, 512}, cpuBackend(), {}));
        QCOMPARE(report.candidates[1].nll, report.candidates[0].nll);
        QCOMPARE(report.candidates[1].perplexity, report.candidates[0].perplexity);
        QCOMPARE(report.candidates[1].klMean, report.candidates[0].klMean);
        QVERIFY(report.candidates[0].perplexity != report.reference.perplexity);
    }

    void blockQuantizedSourceIsRoundedOnce()
    {
        const auto& source = m_models.at("gguf");
        const auto stored = asStored(source);
        QVERIFY(stored != source);
        QVERIFY(asStored(m_models.at("tiny")) == m_models.at("tiny"));
        for (const auto& tensor : source->checkpoint().tensors()) {
            const std::string name = source->hfName(tensor);
            QS_REQUIRE(exact, source->load(name));
            QS_REQUIRE(rounded, stored->load(name));
            for (std::size_t i = 0; i < exact.values().size(); ++i) {
                const float value = exact.values()[i];
                QCOMPARE(rounded.values()[i], dtypeInfo(tensor.dtype).floating ? value : halfToFloat(floatToHalf(value)));
            }
        }
        // Nothing compressed: a plain float16 checkpoint of the same model.
        QS_REQUIRE(input, m_families.input(source, ""));
        const std::filesystem::path out = freshPath();
        QS_REQUIRE(report, m_exporter->write(input, out, {}));
        QVERIFY(test::hasFinding(report.findings, "nothing-quantized", "warning", "dense"));
        QVERIFY(test::hasFinding(report.findings, "plain-rounding", "info", "float16"));
        QVERIFY(test::hasFinding(report.findings, "tokenizer", "warning", "no tokenizer is written"));
        const json config = json::parse(test::readFile(out / "config.json"));
        QVERIFY(!config.contains("quantization_config"));
        QCOMPARE(config.at("torch_dtype"), json("float16"));
        const json generation = json::parse(test::readFile(out / "generation_config.json"));
        QCOMPARE(generation, json({{"bos_token_id", 1}, {"eos_token_id", 2}, {"pad_token_id", 3}}));
        QCOMPARE(config.at("eos_token_id"), json(2));
        QS_REQUIRE(again, model::openModel(out));
        QS_REQUIRE(simulated, test::hiddenStates(stored));
        QS_REQUIRE(read, test::hiddenStates(again));
        QCOMPARE(test::firstDifference(read.values(), simulated.values()), -1L);
    }

    void lints()
    {
        const auto& source = m_models.at("llama_gqa");
        const auto findings = [&](const std::string& text) {
            const auto input = m_families.input(source, text);
            return input ? m_exporter->lint(*input) : std::vector<Finding>{{"input", "error", "", input.error().line()}};
        };
        QVERIFY(
            test::hasFinding(findings("rtn(grid=asym-realzero, group=16)"), "grid-expressible", "error", "real zero points"));
        QVERIFY(test::hasFinding(findings("smoothquant"), "activation-grid", "error", "quantizes activations"));
        QVERIFY(test::hasFinding(findings("rtn(bits=3, group=16)"), "dense-stream-width", "warning", "3-bit"));
        QVERIFY(test::hasFinding(findings("rtn(bits=2, group=16)"), "runtime-width", "warning", "2-bit codes: vLLM"));
        QVERIFY(!test::hasFinding(findings("rtn(bits=2, group=16)"), "dense-stream-width", "warning", ""));
        QVERIFY(test::hasFinding(findings("gptq(group=16, actorder=group)"), "act-order-removed", "warning", "0.19"));
        QVERIFY(test::hasFinding(findings("wanda"), "sparsity-dense", "info", "densely"));
        QVERIFY(findings("rtn(bits=4, group=16)").empty());
        // Fusion groups, taken apart behind the back of assign().
        QS_REQUIRE(input, m_families.input(source, "rtn(bits=4, group=16)"));
        input.assignment.layers[static_cast<std::size_t>(source->spec().find("model.layers.0.self_attn.k_proj"))] = nullptr;
        QVERIFY(test::hasFinding(m_exporter->lint(input), "fusion-uniform", "error", "qkv"));
        const std::filesystem::path out = freshPath();
        QS_VERIFY_ERROR(m_exporter->write(input, out, {}), Errc::InvalidArgument, "different schemes");
        QVERIFY(!std::filesystem::exists(out));
        // Scales of another type than the model's.
        QS_REQUIRE(half, m_families.input(m_models.at("tiny"), "rtn(bits=4, group=16)"));
        QVERIFY(test::hasFinding(m_exporter->lint(half), "scale-type", "warning",
            "model.layers.0.self_attn.q_proj: the scales of 7 layers (this is the first) are stored as float16"));
        QVERIFY(test::hasFinding(m_exporter->lint(half), "scale-type", "warning", "scale_dtype=bfloat16"));
        // What is written says it again.
        const std::filesystem::path stored = freshPath();
        QS_VERIFY_OK(m_exporter->write(half, stored, {}));
        QS_REQUIRE(checked, m_families.exporters.validate(stored, m_families.stages, {}));
        QVERIFY2(test::hasFinding(checked.findings, "scale-type", "warning", "the scales of 7 layers"),
            test::findingsText(checked.findings).c_str());
        QS_REQUIRE(matching, m_families.input(m_models.at("tiny"), "rtn(bits=4, group=16, scale_dtype=bfloat16)"));
        QVERIFY(m_exporter->lint(matching).empty());
        // A model without a config is no checkpoint.
        QS_REQUIRE(plain, test::plainModel(path("plain.safetensors"), {{"layer", test::randomMatrix(3, 8, 32)}}));
        QS_REQUIRE(matrices, m_families.input(plain, "rtn(bits=4, group=16)"));
        QVERIFY(test::hasFinding(m_exporter->lint(matrices), "architecture", "error", "not a model with a config"));
    }

    void runtimesBeforeWriting_data()
    {
        QTest::addColumn<QString>("model");
        QTest::addColumn<QString>("pipeline");
        QTest::addColumn<QString>("vllm");
        QTest::addColumn<QString>("transformers");
        QTest::addColumn<QString>("why"); // of vLLM
        const char* const m = "llama_gqa";
        QTest::newRow("four bits") << m << "rtn(bits=4, group=-1)"
                                   << "yes"
                                   << "yes"
                                   << "weight-only integers";
        QTest::newRow("three bits") << m << "rtn(bits=3, group=-1)"
                                    << "no"
                                    << "yes"
                                    << "3-bit symmetric weights";
        QTest::newRow("asymmetric") << m << "rtn(bits=3, group=-1, grid=asym-0)"
                                    << "no"
                                    << "yes"
                                    << "3-bit asymmetric weights";
        QTest::newRow("odd group") << m << "rtn(bits=4, group=16)"
                                   << "no"
                                   << "yes"
                                   << "group size 16";
        QTest::newRow("order by group") << m << "gptq(group=16, actorder=group)"
                                        << "no"
                                        << "no"
                                        << "group size 16";
        QTest::newRow("inputs quantized") << m << "smoothquant"
                                          << "unwritten"
                                          << "unwritten"
                                          << "quantizes activations";
        QTest::newRow("pruned only") << m << "wanda"
                                     << "yes"
                                     << "yes"
                                     << "reads safetensors";
        QTest::newRow("scales of another type") << "tiny"
                                                << "rtn(bits=4, group=-1)"
                                                << "yes"
                                                << "yes"
                                                << "scale_dtype=bfloat16";
    }
    void runtimesBeforeWriting()
    {
        QFETCH(QString, model);
        QFETCH(QString, pipeline);
        QFETCH(QString, vllm);
        QFETCH(QString, transformers);
        QFETCH(QString, why);
        QS_REQUIRE(input, m_families.input(m_models.at(model.toStdString()), pipeline.toStdString()));
        std::map<std::string, recipe::RuntimeVerdict> said;
        for (const auto& verdict : m_exporter->runtimes(input))
            said[verdict.runtime] = verdict;
        QCOMPARE(QString::fromStdString(said["vLLM"].loads), vllm);
        QCOMPARE(QString::fromStdString(said["transformers"].loads), transformers);
        QVERIFY2(QString::fromStdString(said["vLLM"].why).contains(why), said["vLLM"].why.c_str());
    }

    /// The input is wrong, and nothing is computed before that is said.
    void modelThatItsConfigContradicts()
    {
        const std::filesystem::path folder = freshPath();
        std::filesystem::copy(std::filesystem::path(QS_GOLDEN_DIR) / "model" / "llama_gqa", folder);
        json config = json::parse(test::readFile(folder / "config.json"));
        config["num_hidden_layers"] = 3;
        test::writeFile(folder / "config.json", config.dump());
        QS_REQUIRE(source, model::openModel(folder));
        QS_REQUIRE(input, m_families.input(source, "gptq(bits=4, group=16)"));
        QVERIFY(
            test::hasFinding(m_exporter->lint(input), "config-tensors-agree", "error", "says 3 blocks, the tensors hold 2"));
        JobContext job;
        bool computed = false;
        job.onProgress = [&](double, std::string_view) { computed = true; };
        const std::filesystem::path out = freshPath();
        const auto refused = m_exporter->write(input, out, job);
        QVERIFY(!refused && refused.error().code == Errc::InvalidArgument);
        QVERIFY2(refused.error().hint.find("correct config.json") != std::string::npos, refused.error().line().c_str());
        QVERIFY(!computed && !std::filesystem::exists(out));
    }

    /// Frequencies from a table: a config.json would describe another model.
    void rotationThatNoConfigStates()
    {
        QS_REQUIRE(source, test::goldenModel("llama_gguf"));
        QS_REQUIRE(input, m_families.input(source, "rtn(bits=4, group=16)"));
        const std::filesystem::path out = freshPath();
        QS_VERIFY_ERROR(m_exporter->write(input, out, {}), Errc::Unsupported, "rope_freqs.weight");
        QVERIFY(!std::filesystem::exists(out));
    }

    /// A transform that nothing can take: o_proj where several query heads share a key head.
    void transformThatDoesNotFold()
    {
        recipe::StageRegistry stages;
        test::fill(stages); // its `scale` does not ask whether it may
        const auto& source = m_models.at("llama_gqa");
        ExportInput input;
        QS_REQUIRE(pipeline, parsePipeline("scale | - | - | - | - | -", stages));
        input.recipe.rules = {{"o_proj", pipeline}};
        QS_REQUIRE(assignment, assign(input.recipe, source->spec(), stages));
        input.assignment = assignment;
        input.runner = std::make_shared<Runner>(source, Calibration{test::dumpFor(*source)}, stages, cpuBackend());
        const std::filesystem::path out = freshPath();
        QS_VERIFY_ERROR(m_exporter->write(input, out, {}), Errc::Unsupported, "cannot be folded");
        QVERIFY(!std::filesystem::exists(out));
    }

private:
    std::string path(const char* name) const { return m_dir.filePath(QString::fromLatin1(name)).toStdString(); }
    std::filesystem::path freshPath() { return m_dir.filePath(QStringLiteral("out%1").arg(++m_count)).toStdString(); }

    QTemporaryDir m_dir;
    int m_count = 0;
    test::Families m_families;
    const Exporter* m_exporter = nullptr;
    std::map<std::string, std::shared_ptr<const model::Model>> m_models;
};

QTEST_GUILESS_MAIN(TestCompressedTensors)
#include "tst_compressed_tensors.moc"
