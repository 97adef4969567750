// SPDX-License-Identifier: Apache-2.0
#include "core/io/tokenizer_bpe.h"
#include "core/io/tokenizer_text.h"
#include "tests/core/io/tokenizer_support.h"

#include <QTest>
#include <algorithm>
#include <fmt/format.h>
#include <random>
#include <set>
#include <thread>

using namespace tokenizer_support;
using Ids = std::vector<std::int32_t>;

namespace {

json readJson(const std::filesystem::path& path)
{
    const auto text = qs::readTextFile(path);
    return text ? json::parse(*text) : json();
}

std::string fromHex(const std::string& hex)
{
    return QByteArray::fromHex(QByteArray::fromStdString(hex)).toStdString();
}

std::string show(const Ids& ids)
{
    return fmt::format("{}", fmt::join(ids, " "));
}

std::string randomText(std::mt19937_64& random)
{
    std::string text;
    const auto n = random() % 40;
    for (std::uint64_t i = 0; i < n; ++i) {
        std::uint32_t c = 0;
        switch (random() % 5) {
        case 0: c = static_cast<std::uint32_t>(random() % 0x80); break;
        case 1: c = static_cast<std::uint32_t>(' ' + random() % 95); break;
        case 2: c = static_cast<std::uint32_t>(random() % 0x800); break;
        case 3: c = static_cast<std::uint32_t>(random() % 0xD800); break;
        default: c = static_cast<std::uint32_t>(0xE000 + random() % (0x110000 - 0xE000));
        }
        qs::io::tok::appendUtf8(text, c);
    }
    return text;
}

} // namespace

class TestTokenizer : public QObject {
    Q_OBJECT

private Q_SLOTS:
    void byteAlphabet()
    {
        using namespace qs::io;
        std::string spelled;
        tok::appendByteAlphabet(spelled, std::string_view(" \n!~\x7F\xA0\xAD\xFF", 8));
        QCOMPARE(spelled, std::string("\u0120\u010A!~\u0121\u0142\u0143\u00FF"));
        for (std::uint32_t b = 0; b < 256; ++b)
            QCOMPARE(tok::codePointToByte(tok::byteToCodePoint()[b]), static_cast<int>(b));
        QCOMPARE(tok::codePointToByte(' '), -1);
        QCOMPARE(tok::codePointToByte(0x144), -1);
        QCOMPARE(tok::escapedUtf8("a\xC3\xA9\xE2\x82"), std::string("a\xC3\xA9\\xE2\\x82"));
    }

    void handComputed() // merges by rank: ab first (leftmost), then aba
    {
        const auto tokenizer = open(tinyTokenizer().dump());
        QVERIFY2(tokenizer, tokenizer ? "" : tokenizer.error().line().c_str());
        const Tokenizer& t = **tokenizer;
        QCOMPARE(t.encode("ababa"), (Ids{2, 3}));
        QCOMPARE(t.encode("aab"), (Ids{0, 2}));
        QCOMPARE(t.encode("a<s>b"), (Ids{0, 4, 1}));
        QCOMPARE(t.encode("axb"), (Ids{2})); // no token for x, no unknown token: dropped first, as the reference does
        QCOMPARE(t.decode(Ids{2, 4, 3, 99, -1}), std::string("ab<s>aba"));
        QCOMPARE(t.vocabularySize(), qs::Index{5});
        QCOMPARE(t.description(),
            std::string("byte-level BPE, 5 tokens; 241 of the 243 bytes of UTF-8 have no token and are dropped, "
                        "as the reference does"));
        QVERIFY(!t.bos());
        QVERIFY(!t.addsBos());
    }

    void goldens_data()
    {
        QTest::addColumn<QString>("name");
        const json cases = readJson(golden("tokenizers/cases.json"));
        for (const auto& [name, ids] : cases.at("ids").items())
            QTest::newRow(name.c_str()) << QString::fromStdString(name);
    }
    void goldens()
    {
        QFETCH(QString, name);
        const auto tokenizer = qs::io::openTokenizerJson(golden("tokenizers/" + name.toStdString() + ".json"));
        QVERIFY2(tokenizer, tokenizer ? "" : tokenizer.error().line().c_str());
        compareWithGolden(**tokenizer, name.toStdString());
    }

    void gguf_data()
    {
        QTest::addColumn<QString>("name");
        QTest::addColumn<QString>("pre");
        QTest::newRow("gpt-2") << "gpt2"
                               << "gpt-2";
        QTest::newRow("smollm") << "smollm"
                                << "smollm";
        QTest::newRow("llama-bpe") << "llama3"
                                   << "llama-bpe";
        QTest::newRow("qwen2") << "qwen2"
                               << "qwen2";
        QTest::newRow("default") << "default"
                                 << "default";
    }
    /// The same ids from metadata, and again from the files written from it.
    void gguf()
    {
        QFETCH(QString, name);
        QFETCH(QString, pre);
        MetadataOnly gguf = asGguf(readJson(golden("tokenizers/" + name.toStdString() + ".json")), pre.toStdString());
        gguf.values["tokenizer.chat_template"] = std::string("{% for m in messages %}{{ m }}{% endfor %}");
        gguf.values["general.architecture"] = std::string("llama");
        gguf.values["llama.context_length"] = std::uint64_t{2048};
        const auto direct = qs::io::openTokenizerGguf(gguf);
        QVERIFY2(direct, direct ? "" : direct.error().line().c_str());
        // GGUF cannot say that an added token is to be looked for in normalised text, as two of qwen2's are.
        const std::vector<std::string> without
            = name == "qwen2" ? std::vector<std::string>{"caf", "n\u0303"} : std::vector<std::string>{};
        compareWithGolden(**direct, name.toStdString(), without);

        const QTemporaryDir folder;
        const auto target = std::filesystem::path(folder.path().toStdString()) / "export";
        const auto written = qs::io::writeTokenizerFiles(gguf, target);
        QVERIFY2(written, written ? "" : written.error().line().c_str());
        const auto again = qs::io::openTokenizerJson(target);
        QVERIFY2(again, again ? "" : again.error().line().c_str());
        QCOMPARE((*again)->id(), (*direct)->id());
        QCOMPARE((*again)->bos(), (*direct)->bos());
        compareWithGolden(**again, name.toStdString(), without);
        const json config = readJson(target / "tokenizer_config.json");
        QCOMPARE(config["model_max_length"].get<int>(), 2048);
        QCOMPARE(config["chat_template"].get<std::string>(), std::get<std::string>(gguf.values["tokenizer.chat_template"]));
        QVERIFY(config["eos_token"].is_null());
    }

    void ggufAddsBosAndEosAsTold()
    {
        MetadataOnly gguf = asGguf(tinyTokenizer(), "gpt-2");
        gguf.values["tokenizer.ggml.eos_token_id"] = std::uint64_t{3};
        QCOMPARE((*qs::io::openTokenizerGguf(gguf))->encode("ab"), (Ids{2}));
        gguf.values["tokenizer.ggml.add_bos_token"] = true;
        gguf.values["tokenizer.ggml.add_eos_token"] = true;
        const auto both = *qs::io::openTokenizerGguf(gguf);
        QCOMPARE(both->encode("ab"), (Ids{4, 2, 3}));
        QCOMPARE(both->encode(""), (Ids{4, 3}));
        QVERIFY(both->addsBos());
        gguf.values["tokenizer.ggml.pre"] = std::string("llama-bpe"); // adds BOS unless told otherwise
        gguf.values.erase("tokenizer.ggml.add_bos_token");
        QVERIFY((*qs::io::openTokenizerGguf(gguf))->addsBos());
        gguf.values["tokenizer.ggml.add_bos_token"] = false;
        QVERIFY(!(*qs::io::openTokenizerGguf(gguf))->addsBos());
    }

    void bosIsNamedBesideTheFile()
    {
        const QTemporaryDir folder;
        const std::filesystem::path path = folder.path().toStdString();
        json tokenizer = tinyTokenizer();
        tokenizer["post_processor"]
            = json::parse(R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},
            {"Sequence":{"id":"A","type_id":0}}],"pair":[],"special_tokens":{"<s>":{"id":"<s>","ids":[4],"tokens":["<s>"]}}})");
        QVERIFY(qs::writeTextFile(path / "tokenizer.json", tokenizer.dump()));
        QCOMPARE((*qs::io::openTokenizerJson(path))->bos(), std::optional<std::int32_t>(4));
        QVERIFY((*qs::io::openTokenizerJson(path))->addsBos());
        QVERIFY(qs::writeTextFile(path / "tokenizer_config.json", R"({"bos_token":{"content":"a","lstrip":false}})"));
        QCOMPARE((*qs::io::openTokenizerJson(path))->bos(), std::optional<std::int32_t>(0));
        QVERIFY(!(*qs::io::openTokenizerJson(path))->addsBos()); // <s> is added, but is not the BOS token
        QVERIFY(qs::writeTextFile(path / "tokenizer_config.json", R"({"bos_token":"<none>"})"));
        const auto missing = qs::io::openTokenizerJson(path);
        QVERIFY(!missing);
        QCOMPARE(missing.error().code, Errc::Mismatch);
        QVERIFY(missing.error().line().find("tokenizer_config.json: bos_token") != std::string::npos);
    }

    void decodeUndoesEncode_data()
    {
        QTest::addColumn<QString>("name");
        for (const char* name : {"gpt2", "smollm", "llama3", "falcon", "default"})
            QTest::newRow(name) << name;
    }
    void decodeUndoesEncode()
    {
        QFETCH(QString, name);
        const auto tokenizer = *qs::io::openTokenizerJson(golden("tokenizers/" + name.toStdString() + ".json"));
        const std::size_t prefix = tokenizer->encode("").size();
        std::mt19937_64 random(11);
        for (int i = 0; i < 500; ++i) {
            const std::string text = randomText(random);
            Ids ids = tokenizer->encode(text);
            ids.erase(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(prefix));
            QCOMPARE(tokenizer->decode(ids), text);
        }
    }

    /// The heap gives what the definition gives: join the best pair, leftmost first, until none is left.
    void mergingEqualsItsDefinition()
    {
        const std::vector<std::string> tokens{"a", "b", "c", "ab", "bc", "abc", "ca", "aa", "aaaa", "bca"};
        const std::vector<std::array<int, 3>> merges{
            {1, 2, 4}, {0, 0, 7}, {0, 1, 3}, {7, 7, 8}, {3, 2, 5}, {2, 0, 6}, {4, 0, 9}, {0, 4, 5}};
        qs::io::tok::BpeModel model(tokens, std::vector<bool>(tokens.size(), true), {});
        std::map<std::pair<int, int>, std::pair<int, int>> table;
        for (std::size_t rank = 0; rank < merges.size(); ++rank) {
            const auto [l, r, j] = merges[rank];
            model.addMerge(l, r, j, static_cast<int>(rank));
            table[{l, r}] = {static_cast<int>(rank), j};
        }
        std::mt19937_64 random(5);
        qs::io::tok::BpeModel::Scratch scratch;
        for (int n = 0; n < 300; ++n) {
            std::string word;
            Ids expected;
            for (std::uint64_t i = random() % 60; i > 0; --i) {
                expected.push_back(static_cast<std::int32_t>(random() % 3));
                word.push_back(static_cast<char>('a' + expected.back()));
            }
            for (;;) {
                std::size_t best = expected.size();
                for (std::size_t i = 0; i + 1 < expected.size(); ++i)
                    if (const auto it = table.find({expected[i], expected[i + 1]}); it != table.end()
                        && (best == expected.size() || it->second.first < table[{expected[best], expected[best + 1]}].first))
                        best = i;
                if (best == expected.size())
                    break;
                expected[best] = table[{expected[best], expected[best + 1]}].second;
                expected.erase(expected.begin() + static_cast<std::ptrdiff_t>(best) + 1);
            }
            Ids ids;
            model.encode(word, scratch, ids);
            QCOMPARE(show(ids), show(expected));
        }
    }

    void manyThreadsGiveTheSame()
    {
        const auto tokenizer = *qs::io::openTokenizerJson(golden("tokenizers/prefix_added.json"));
        std::string text;
        const json cases = readJson(golden("tokenizers/cases.json"));
        for (const json& t : cases.at("texts"))
            text += t.get<std::string>();
        const Ids expected = tokenizer->encode(text);
        std::array<Ids, 4> results;
        {
            std::vector<std::jthread> threads;
            for (Ids& result : results)
                threads.emplace_back([&] { result = tokenizer->encode(text); });
        }
        for (const Ids& result : results)
            QCOMPARE(result, expected);
    }

    void idDependsOnEveryRule()
    {
        const json base = tinyTokenizer();
        std::set<std::string> seen{(*open(base.dump()))->id()};
        QCOMPARE((*open(base.dump()))->id(), *seen.begin());
        for (const char* patch :
            {R"([{"op":"replace","path":"/model/merges/1","value":"b a"},{"op":"remove","path":"/model/vocab/aba"},{"op":"add","path":"/model/vocab/ba","value":3}])",
                R"([{"op":"add","path":"/model/ignore_merges","value":true}])",
                R"([{"op":"add","path":"/added_tokens/0/rstrip","value":true}])",
                R"([{"op":"add","path":"/pre_tokenizer/use_regex","value":false}])",
                R"([{"op":"add","path":"/model/unk_token","value":"a"}])"}) {
            const auto changed = open(base.patch(json::parse(patch)).dump());
            QVERIFY2(changed, changed ? "" : changed.error().line().c_str());
            QVERIFY2(seen.insert((*changed)->id()).second, patch);
        }
    }

    void sampleModel()
    {
        const auto cases = golden("sample/tokenizer_cases.json");
        const auto file = std::filesystem::path(QS_SAMPLE_DIR) / "tokenizer.json";
        if (!std::filesystem::exists(cases) || !std::filesystem::exists(file))
            QSKIP("the sample model or its tokenizer goldens are not in this tree");
        const auto tokenizer = qs::io::openTokenizerJson(file);
        QVERIFY2(tokenizer, tokenizer ? "" : tokenizer.error().line().c_str());
        compareWithCases(**tokenizer, cases);
    }

    void smolLm2()
    {
        const auto cases = golden("smollm2/tokenizer_cases.json");
        const QByteArray file = qgetenv("QS_SMOLLM2");
        if (file.isEmpty() || !std::filesystem::exists(cases))
            QSKIP("set QS_SMOLLM2 to SmolLM2-135M-Instruct.Q4_1.gguf to run this");
        const auto checkpoint = qs::io::openCheckpoint(file.toStdString());
        QVERIFY2(checkpoint, checkpoint ? "" : checkpoint.error().line().c_str());
        const auto tokenizer = qs::io::openTokenizerGguf(**checkpoint);
        QVERIFY2(tokenizer, tokenizer ? "" : tokenizer.error().line().c_str());
        QCOMPARE((*tokenizer)->vocabularySize(), qs::Index{49152});
        QCOMPARE((*tokenizer)->bos(), std::optional<std::int32_t>(1));
        QVERIFY(!(*tokenizer)->addsBos());
        compareWithCases(**tokenizer, cases);
    }

private:
    /// Texts that hold one of `without` are left out.
    static void compareWithGolden(
        const Tokenizer& tokenizer, const std::string& name, const std::vector<std::string>& without = {})
    {
        const json cases = readJson(golden("tokenizers/cases.json"));
        std::vector<std::string> inputs = cases.at("texts").get<std::vector<std::string>>();
        for (const json& hex : cases.at("bytes"))
            inputs.push_back(fromHex(hex));
        const json& ids = cases.at("ids").at(name);
        QCOMPARE(ids.size(), inputs.size());
        for (std::size_t i = 0; i < inputs.size(); ++i) {
            if (std::any_of(without.begin(), without.end(),
                    [&](const std::string& w) { return inputs[i].find(w) != std::string::npos; }))
                continue;
            const std::string expected = show(ids[i].get<Ids>());
            const std::string actual = show(tokenizer.encode(inputs[i]));
            QVERIFY2(actual == expected,
                fmt::format("{}: {} instead of {}", json(qs::io::tok::lossyUtf8(inputs[i])).dump(), actual, expected).c_str());
        }
    }

    static void compareWithCases(const Tokenizer& tokenizer, const std::filesystem::path& file)
    {
        const json cases = readJson(file);
        QVERIFY(cases.size() > 10);
        for (const json& c : cases) {
            const std::string expected = show(c.at("ids").get<Ids>());
            const std::string actual = show(tokenizer.encode(c.at("text").get<std::string>()));
            QVERIFY2(actual == expected, fmt::format("{}: {} instead of {}", c.at("text").dump(), actual, expected).c_str());
        }
    }
};

QTEST_GUILESS_MAIN(TestTokenizer)
#include "tst_tokenizer.moc"
