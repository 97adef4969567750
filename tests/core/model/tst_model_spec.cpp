// SPDX-License-Identifier: Apache-2.0
#include "core/base/atomic_file.h"
#include "core/model/description.h"
#include "core/model/engine.h"
#include "core/model/rope.h"
#include "tests/core/model/golden_model.h"
#include "tests/support/test_files.h"

#include <QTemporaryDir>
#include <QTest>
#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>

using namespace qs;
using namespace qs::model;
using nlohmann::json;

namespace {

json smallConfig()
{
    return {{"architectures", {"LlamaForCausalLM"}}, {"model_type", "llama"}, {"hidden_size", 8}, {"intermediate_size", 12},
        {"num_hidden_layers", 2}, {"num_attention_heads", 4}, {"num_key_value_heads", 2}, {"vocab_size", 10},
        {"max_position_embeddings", 32}, {"rms_norm_eps", 1e-5}, {"rope_theta", 10000.0}, {"tie_word_embeddings", true}};
}

using Tensors = std::map<std::string, Shape>;

Tensors smallTensors(int blocks = 2)
{
    Tensors tensors{{"model.embed_tokens.weight", {10, 8}}, {"model.norm.weight", {8}}};
    for (int block = 0; block < blocks; ++block) {
        const std::string prefix = "model.layers." + std::to_string(block) + ".";
        for (const auto& [name, shape] :
            Tensors{{"input_layernorm", {8}}, {"post_attention_layernorm", {8}}, {"self_attn.q_proj", {8, 8}},
                {"self_attn.k_proj", {4, 8}}, {"self_attn.v_proj", {4, 8}}, {"self_attn.o_proj", {8, 8}},
                {"mlp.gate_proj", {12, 8}}, {"mlp.up_proj", {12, 8}}, {"mlp.down_proj", {8, 12}}})
            tensors[prefix + name + ".weight"] = shape;
    }
    return tensors;
}

void writeTensors(const std::filesystem::path& file, const Tensors& tensors, const std::string& nanIn = {})
{
    std::vector<io::TensorToWrite> list;
    for (const auto& [name, shape] : tensors) {
        std::vector<float> values(static_cast<std::size_t>(*elementCount(shape)), 0.125F);
        if (name == nanIn)
            values[5] = std::nanf("");
        list.push_back(
            {name, DType::F32, shape, [values](const auto& sink) { return sink(std::as_bytes(std::span(values))); }});
    }
    const auto written = io::writeSafetensors(file, std::move(list), {});
    QVERIFY2(written, written ? "" : written.error().line().c_str());
}

class Folder {
public:
    Folder& config(const json& value)
    {
        if (!writeTextFile(path() / "config.json", value.dump()))
            qFatal("cannot write");
        return *this;
    }
    Folder& tensors(const Tensors& value, const std::string& nanIn = {})
    {
        writeTensors(path() / "model.safetensors", value, nanIn);
        return *this;
    }
    std::filesystem::path path() const { return m_dir.path().toStdString(); }

private:
    QTemporaryDir m_dir;
};

bool hasProblem(const ModelSpec& spec, const std::string& severity, const std::string& part)
{
    for (const Problem& problem : spec.problems)
        if (problem.severity == severity && (problem.where + ": " + problem.message).find(part) != std::string::npos)
            return true;
    for (const Problem& problem : spec.problems)
        qWarning("%s: %s: %s", problem.severity.c_str(), problem.where.c_str(), problem.message.c_str());
    return false;
}

} // namespace

class TestModelSpec : public QObject {
    Q_OBJECT
private Q_SLOTS:
    void layersSitesAndGroups()
    {
        Folder folder;
        folder.config(smallConfig()).tensors(smallTensors());
        const auto model = openModel(folder.path());
        QVERIFY2(model, model ? "" : model.error().line().c_str());
        const ModelSpec& spec = (*model)->spec();
        QVERIFY(spec.problems.empty());
        QVERIFY(spec.whyNotRunnable().empty());
        QCOMPARE(spec.blocks, Index{2});
        QCOMPARE(spec.headDim, Index{2});
        QCOMPARE(spec.parameters, Index{10 * 8 + 8 + 2 * (16 + 64 + 32 + 32 + 64 + 3 * 96)});
        std::vector<std::string> names;
        for (const LayerSpec& layer : spec.layers)
            if (layer.block == 1)
                names.push_back(layer.module);
        QCOMPARE(names,
            (std::vector<std::string>{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
                "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"}));
        const auto layer = [&](const std::string& name) {
            return spec.layers[static_cast<std::size_t>(spec.find("model.layers.1." + name))];
        };
        const auto site = [&](const std::string& name) { return spec.sites[static_cast<std::size_t>(layer(name).site)]; };
        std::vector<LayerRole> roles;
        for (const LayerSpec& each : spec.layers)
            if (each.block == 1)
                roles.push_back(each.role);
        QVERIFY(roles
            == (std::vector<LayerRole>{LayerRole::Query, LayerRole::Key, LayerRole::Value, LayerRole::Output, LayerRole::Gate,
                LayerRole::Up, LayerRole::Down}));
        QCOMPARE(layer("self_attn.v_proj").inputId, std::string("model.layers.1.self_attn.q_proj"));
        QCOMPARE(layer("mlp.up_proj").inputId, std::string("model.layers.1.mlp.gate_proj"));
        QCOMPARE(layer("mlp.down_proj").in, Index{12});
        QCOMPARE(spec.fusionGroups.size(), std::size_t{4});
        QCOMPARE(spec.fusionGroups[2].name, std::string("model.layers.1.self_attn.qkv_proj"));
        QCOMPARE(spec.fusionGroups[static_cast<std::size_t>(layer("mlp.up_proj").fusionGroup)].name,
            std::string("model.layers.1.mlp.gate_up_proj"));
        QCOMPARE(layer("self_attn.o_proj").fusionGroup, -1);
        QVERIFY(site("self_attn.k_proj").kind == SiteKind::AttentionIn && site("self_attn.k_proj").diagonalFolds);
        QCOMPARE(site("self_attn.k_proj").producerNorm, std::string("model.layers.1.input_layernorm.weight"));
        QVERIFY(site("self_attn.o_proj").kind == SiteKind::ValueOut && !site("self_attn.o_proj").diagonalFolds);
        QCOMPARE(site("self_attn.o_proj").whyNot, std::string("v has 2 heads for 4 query heads: scales would have to be tied"));
        QCOMPARE(site("self_attn.o_proj").producerLayer, spec.find("model.layers.1.self_attn.v_proj"));
        QVERIFY(site("mlp.down_proj").kind == SiteKind::UpDown && site("mlp.down_proj").diagonalFolds);
        QCOMPARE(site("mlp.down_proj").producerLayer, spec.find("model.layers.1.mlp.up_proj"));
    }

    void readsEverySpelling_data()
    {
        QTest::addColumn<QString>("patch");
        QTest::addColumn<QString>("expected"); // scaling factor theta headDim window
        QTest::newRow("as saved by transformers 4") << R"({"rope_scaling":{"type":"linear","factor":2.0}})"
                                                    << "linear 2 10000 2 0";
        QTest::newRow("transformers 5")
            << R"({"rope_theta":null,"rope_parameters":{"rope_type":"llama3","rope_theta":5e5,"factor":8.0,"low_freq_factor":1,"high_freq_factor":4,"original_max_position_embeddings":16}})"
            << "llama3 8 500000 2 0";
        QTest::newRow("per layer type, all equal")
            << R"({"rope_parameters":{"full_attention":{"rope_type":"default","rope_theta":77.0}}})"
            << "none 1 77 2 0";
        QTest::newRow("head_dim") << R"({"head_dim":6})"
                                  << "none 1 10000 6 0";
        QTest::newRow("mistral") << R"({"model_type":"mistral","sliding_window":7})"
                                 << "none 1 10000 2 7";
        QTest::newRow("mistral, none") << R"({"model_type":"mistral","sliding_window":null})"
                                       << "none 1 10000 2 0";
        QTest::newRow("qwen2, not used") << R"({"model_type":"qwen2","sliding_window":7})"
                                         << "none 1 10000 2 0";
        QTest::newRow("synonyms")
            << R"({"num_hidden_layers":null,"n_layer":2,"hidden_size":null,"n_embd":8,"intermediate_size":null,"ffn_dim":12})"
            << "none 1 10000 2 0";
        QTest::newRow("type from the architecture") << R"({"model_type":null})"
                                                    << "none 1 10000 2 0";
    }
    void readsEverySpelling()
    {
        QFETCH(QString, patch);
        QFETCH(QString, expected);
        json config = smallConfig();
        config.update(json::parse(patch.toStdString()));
        const auto described = describeConfig(config.dump(), "config.json");
        QVERIFY2(described, described ? "" : described.error().line().c_str());
        const ModelSpec& spec = described->spec;
        QCOMPARE(spec.blocks, Index{2});
        QCOMPARE(QString("%1 %2 %3 %4 %5")
                     .arg(QString::fromStdString(spec.rope.scaling))
                     .arg(spec.rope.factor)
                     .arg(spec.rope.theta)
                     .arg(spec.headDim)
                     .arg(spec.slidingWindow),
            expected);
    }

    void qwen2Windows()
    {
        json config = smallConfig();
        config.update({{"model_type", "qwen2"}, {"use_sliding_window", true}, {"sliding_window", 6}, {"max_window_layers", 1}});
        const auto described = describeConfig(config.dump(), "c");
        QVERIFY(described);
        QCOMPARE(described->spec.windowOf(0), Index{0});
        QCOMPARE(described->spec.windowOf(1), Index{6});
        QVERIFY(described->biasQkv && !described->biasO);
    }

    void brokenConfigs_data()
    {
        QTest::addColumn<QString>("patch");
        QTest::addColumn<int>("code");
        QTest::addColumn<QString>("names");
        const int format = static_cast<int>(Errc::Format), unsupported = static_cast<int>(Errc::Unsupported);
        QTest::newRow("text for a number") << R"({"hidden_size":"8"})" << format << "hidden_size";
        QTest::newRow("negative") << R"({"num_hidden_layers":-1})" << format << "num_hidden_layers";
        QTest::newRow("huge") << R"({"vocab_size":18446744073709551615})" << format << "vocab_size";
        QTest::newRow("fraction") << R"({"num_attention_heads":2.5})" << format << "num_attention_heads";
        QTest::newRow("missing") << R"({"intermediate_size":null})" << format << "intermediate_size";
        QTest::newRow("does not divide") << R"({"num_attention_heads":3})" << format << "num_attention_heads";
        QTest::newRow("scaling without a factor") << R"({"rope_scaling":{"type":"linear"}})" << format << "factor";
        QTest::newRow("scaling is a list") << R"({"rope_scaling":[1]})" << format << "rope_scaling";
        QTest::newRow("other architecture")
            << R"({"model_type":"gpt2","architectures":["GPT2LMHeadModel"]})" << unsupported << "gpt2";
    }
    void brokenConfigs()
    {
        QFETCH(QString, patch);
        QFETCH(int, code);
        QFETCH(QString, names);
        json config = smallConfig();
        config.update(json::parse(patch.toStdString()));
        const auto described = describeConfig(config.dump(), "config.json");
        QVERIFY(!described);
        QCOMPARE(static_cast<int>(described.error().code), code);
        QVERIFY2(described.error().line().find(names.toStdString()) != std::string::npos, described.error().line().c_str());
    }
    void configIsNotJson()
    {
        for (const char* text : {"", "[]", "{\"a\":", "\xff\xfe"})
            QVERIFY(!describeConfig(text, "config.json"));
    }

    void disagreements_data()
    {
        QTest::addColumn<QString>("config");
        QTest::addColumn<QString>("change"); // of the tensors: "-name" removes, "name=a,b" sets a shape
        QTest::addColumn<QString>("severity");
        QTest::addColumn<QString>("message");
        const QString q0 = "model.layers.0.self_attn.q_proj.weight";
        QTest::newRow("missing tensor") << "{}"
                                        << "-" + q0 << "error" << q0 + ": is missing";
        QTest::newRow("wrong shape") << "{}" << q0 + "=8,16"
                                     << "error" << q0 + ": is 8 x 16, but config.json asks for 8 x 8";
        QTest::newRow("wrong vocabulary") << R"({"vocab_size":12})"
                                          << ""
                                          << "error"
                                          << "model.embed_tokens.weight: is 10 x 8, but config.json asks for 12 x 8";
        QTest::newRow("fewer blocks") << R"({"num_hidden_layers":3})"
                                      << ""
                                      << "error"
                                      << "says 3 blocks, the tensors hold 2";
        QTest::newRow("more blocks") << R"({"num_hidden_layers":1})"
                                     << ""
                                     << "error"
                                     << "says 1 blocks, the tensors hold 2";
        QTest::newRow("absurd number of blocks") << R"({"num_hidden_layers":2000000000})"
                                                 << ""
                                                 << "error"
                                                 << "says 2000000000 blocks";
        QTest::newRow("a gap in the blocks") << "{}"
                                             << "model.layers.900000.mlp.up_proj.weight=12,8"
                                             << "error"
                                             << "hold 3 (numbered up to 900000)";
        QTest::newRow("no head") << R"({"tie_word_embeddings":false})"
                                 << ""
                                 << "error"
                                 << "lm_head.weight: is missing";
        QTest::newRow("tied and stored") << "{}"
                                         << "lm_head.weight=10,8"
                                         << "info"
                                         << "lm_head.weight: is stored";
        QTest::newRow("extra tensor") << "{}"
                                      << "model.layers.0.self_attn.sinks=4"
                                      << "warning"
                                      << "does not explain this tensor";
        QTest::newRow("bias not in the config") << "{}"
                                                << "model.layers.0.self_attn.q_proj.bias=8"
                                                << "warning"
                                                << "gives this layer no bias";
        QTest::newRow("bias missing") << R"({"attention_bias":true})"
                                      << ""
                                      << "error"
                                      << "self_attn.o_proj.bias: is missing";
        QTest::newRow("activation") << R"({"hidden_act":"gelu"})"
                                    << ""
                                    << "error"
                                    << "activation \"gelu\" is not implemented";
        QTest::newRow("dynamic scaling") << R"({"rope_scaling":{"type":"dynamic","factor":2.0}})"
                                         << ""
                                         << "error"
                                         << "'dynamic' is not implemented";
        QTest::newRow("other quantization") << R"({"quantization_config":{"quant_method":"gptq"}})"
                                            << ""
                                            << "error"
                                            << "gptq";
        QTest::newRow("quantization without a method") << R"({"quantization_config":"4bit"})"
                                                       << ""
                                                       << "error"
                                                       << "\"4bit\"";
        QTest::newRow("kv heads") << R"({"num_key_value_heads":3})"
                                  << ""
                                  << "error"
                                  << "not a multiple of 3";
    }
    void disagreements()
    {
        QFETCH(QString, config);
        QFETCH(QString, change);
        QFETCH(QString, severity);
        QFETCH(QString, message);
        json value = smallConfig();
        value.update(json::parse(config.toStdString()));
        Tensors tensors = smallTensors();
        if (change.startsWith('-'))
            tensors.erase(change.mid(1).toStdString());
        else if (!change.isEmpty()) {
            Shape shape;
            for (const QString& extent : change.section('=', 1).split(','))
                shape.push_back(extent.toLongLong());
            tensors[change.section('=', 0, 0).toStdString()] = shape;
        }
        Folder folder;
        folder.config(value).tensors(tensors);
        const auto model = openModel(folder.path());
        QVERIFY2(model, model ? "" : model.error().line().c_str());
        QVERIFY(hasProblem((*model)->spec(), severity.toStdString(), message.toStdString()));
        QCOMPARE((*model)->spec().whyNotRunnable().empty(), severity != "error");
        const Engine engine(*model, cpuBackend());
        const auto run = engine.run(Windows{2, {{1, 2}}}, nullptr, nullptr, {});
        QCOMPARE(run.has_value(), severity != "error");
        if (!run)
            QCOMPARE(run.error().code, Errc::Unsupported);
    }

    void typesThatAreNoWeights_data()
    {
        QTest::addColumn<QString>("type");
        QTest::addColumn<QString>("message");
        QTest::newRow("integer") << "I32"
                                 << "has type I32: integers are weights only with a quantization_config";
        QTest::newRow("unknown") << "F99"
                                 << "has type 'F99', which is not decoded";
    }
    void typesThatAreNoWeights()
    {
        QFETCH(QString, type);
        QFETCH(QString, message);
        Folder folder;
        folder.config(smallConfig()).tensors(smallTensors());
        const std::filesystem::path file = folder.path() / "model.safetensors";
        std::string bytes = test::readFile(file);
        const std::size_t entry = bytes.find("\"model.embed_tokens.weight\"");
        const std::size_t at = bytes.find("F32", entry);
        QVERIFY(entry != std::string::npos && at != std::string::npos);
        bytes.replace(at, 3, type.toStdString());
        test::writeFile(file, bytes);
        const auto model = openModel(folder.path());
        QVERIFY2(model, model ? "" : model.error().line().c_str());
        QVERIFY(hasProblem((*model)->spec(), "error", "model.embed_tokens.weight: " + message.toStdString()));
        QVERIFY(!(*model)->spec().whyNotRunnable().empty());
    }

    void plainTensors()
    {
        Folder folder;
        folder.tensors({{"a.weight", {3, 4}}, {"b", {5, 6}}, {"c.weight", {7}}, {"d.e.weight", {2, 9}}, {".weight", {2, 2}},
            {"x.k_proj.weight", {1, 2}}, {"seek_proj.weight", {1, 2}}});
        for (const auto& path : {folder.path(), folder.path() / "model.safetensors"}) {
            const auto model = openModel(path);
            QVERIFY(model);
            const ModelSpec& spec = (*model)->spec();
            QVERIFY(spec.family == Family::Plain);
            QCOMPARE(spec.layers.size(), std::size_t{4});
            QVERIFY(spec.find("a") >= 0 && spec.find("d.e") >= 0);
            QCOMPARE(spec.layers[static_cast<std::size_t>(spec.find("d.e"))].in, Index{9});
            QCOMPARE(spec.parameters, Index{12 + 30 + 7 + 18 + 4 + 2 + 2});
            const auto role = [&](const char* name) { return spec.layers[static_cast<std::size_t>(spec.find(name))].role; };
            QVERIFY(
                role("x.k_proj") == LayerRole::Key && role("seek_proj") == LayerRole::Other && role("a") == LayerRole::Other);
            QVERIFY(!spec.whyNotRunnable().empty());
            const auto run = Engine(*model, cpuBackend()).run(Windows{1, {{0}}}, nullptr, nullptr, {});
            QVERIFY(!run && run.error().code == Errc::Unsupported);
        }
    }
    void fileBesideAConfigOfSomethingElse()
    {
        Folder folder;
        folder.config(smallConfig());
        writeTensors(folder.path() / "other.safetensors", {{"a.weight", {3, 4}}});
        const auto model = openModel(folder.path() / "other.safetensors");
        QVERIFY(model);
        QVERIFY((*model)->spec().family == Family::Plain);
        QVERIFY(hasProblem((*model)->spec(), "warning", "does not describe this file"));
        writeTensors(folder.path() / "whole.safetensors", smallTensors());
        const auto whole = openModel(folder.path() / "whole.safetensors");
        QVERIFY(whole);
        QVERIFY((*whole)->spec().whyNotRunnable().empty());
    }
    void dtypeThatTheTensorsContradict()
    {
        for (const char* key : {"dtype", "torch_dtype"}) {
            auto config = smallConfig();
            config[key] = "float16";
            Folder folder;
            folder.config(config).tensors(smallTensors());
            const auto model = openModel(folder.path());
            QVERIFY(model);
            QVERIFY(hasProblem((*model)->spec(), "warning", "says float16, but the layers are stored as float32"));
            config[key] = "float32";
            Folder same;
            same.config(config).tensors(smallTensors());
            const auto agreeing = openModel(same.path());
            QVERIFY(agreeing && (*agreeing)->spec().problems.empty());
        }
    }
    void configWithoutTensors()
    {
        Folder folder;
        folder.config(smallConfig());
        const auto model = openModel(folder.path());
        QVERIFY(!model);
        QCOMPARE(model.error().code, Errc::Format);
        QVERIFY(!openModel(folder.path() / "missing"));
    }

    void nanIsReportedWhenRead()
    {
        Folder folder;
        folder.config(smallConfig()).tensors(smallTensors(), "model.layers.1.mlp.up_proj.weight");
        const auto model = openModel(folder.path());
        QVERIFY(model);
        QVERIFY((*model)->spec().problems.empty()); // headers alone cannot tell
        const auto run = Engine(*model, cpuBackend()).run(Windows{2, {{1, 2}}}, nullptr, nullptr, {});
        QVERIFY(!run);
        QCOMPARE(run.error().code, Errc::NotFinite);
        QCOMPARE(run.error().where, std::string("model.layers.1.mlp.up_proj.weight"));
        QVERIFY2(run.error().message.find("1 values") != std::string::npos
                && run.error().message.find("(0, 5)") != std::string::npos,
            run.error().message.c_str());
    }

    void ggufPermutationIsUndone() // the same weights, written by two other programs
    {
        const auto hf = openModel(test::goldenModel("llama_gqa"));
        const auto gguf = openModel(test::goldenModel("llama_gguf/model.gguf"));
        QVERIFY2(hf && gguf, gguf ? "" : gguf.error().line().c_str());
        QCOMPARE((*hf)->spec().layers.size(), (*gguf)->spec().layers.size());
        QCOMPARE((*gguf)->spec().parameters, (*hf)->spec().parameters);
        QVERIFY((*gguf)->spec().tiedEmbeddings);
        for (std::size_t i = 0; i < (*hf)->spec().layers.size(); ++i) {
            const LayerSpec& layer = (*hf)->spec().layers[i];
            QCOMPARE((*gguf)->spec().layers[i].name, layer.name);
            const auto a = (*hf)->loadWeight(layer);
            const auto b = (*gguf)->loadWeight((*gguf)->spec().layers[i]);
            QVERIFY(a && b);
            QVERIFY2(std::ranges::equal(a->values(), b->values()), layer.name.c_str());
        }
        const io::TensorInfo* stored = (*gguf)->tensor("model.layers.1.self_attn.q_proj.weight");
        QVERIFY(stored);
        QCOMPARE(stored->name, std::string("blk.1.attn_q.weight"));
        QCOMPARE((*gguf)->hfName(*stored), std::string("model.layers.1.self_attn.q_proj.weight"));
        QVERIFY((*gguf)->digest("model.embed_tokens.weight"));
        const auto missing = (*gguf)->load("no.such.tensor");
        QVERIFY(!missing && missing.error().code == Errc::NotFound);
    }

    void ropeFrequenciesByHand()
    {
        RopeSpec rope;
        rope.theta = 100.0;
        rope.dims = 4;
        rope.scaling = "llama3";
        rope.factor = 2.0;
        rope.originalContext = 2.0 * M_PI * 2.5; // 2.5 and 0.25 turns for the frequencies 1 and 0.1
        const auto f = ropeFrequencies(rope); // low 1, high 4: blend (2.5 - 1) / 3 = 0.5
        QVERIFY(f);
        QCOMPARE((*f)[0], 0.5 * 0.5 + 0.5);
        QCOMPARE((*f)[1], 0.05);
    }
};

QTEST_GUILESS_MAIN(TestModelSpec)
#include "tst_model_spec.moc"
