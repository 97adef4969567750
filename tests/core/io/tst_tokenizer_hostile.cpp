// SPDX-License-Identifier: Apache-2.0
#include "tests/core/io/tokenizer_support.h"

#include <QTest>
#include <random>

using namespace tokenizer_support;

/// Files that break a rule: one Error that names file and field, never a crash.
class TestTokenizerHostile : public QObject {
    Q_OBJECT

private Q_SLOTS:
    void refusedRegularExpressions_data()
    {
        QTest::addColumn<QString>("pattern");
        QTest::addColumn<QString>("reason");
        QTest::newRow("unbalanced") << "(a"
                                    << "regular expression '(a'";
        QTest::newRow("nested set") << "[a[b]]"
                                    << "a set inside a set";
        QTest::newRow("intersection") << "[a-z&&b]"
                                      << "an intersection";
        QTest::newRow("verb") << "(*ACCEPT)"
                              << "a verb";
        QTest::newRow("option m") << "(?m:a.b)"
                                  << "option m or s";
        QTest::newRow("late option") << "a(?i)b"
                                     << "does not stand first";
        QTest::newRow("open set") << "[ab"
                                  << "a set without its end";
        QTest::newRow("backslash") << "ab\\"
                                   << "ends in a backslash";
        QTest::newRow("short \\u") << "\\u00"
                                   << "four hexadecimal digits";
        QTest::newRow("literal mode") << "\\Qa\\E"
                                      << "\\Q is not handled";
        QTest::newRow("property") << "\\p{Nonsense}"
                                  << "regular expression";
        QTest::newRow("catastrophic") << "(a|a|aa)+$"
                                      << "limit exceeded";
        QTest::newRow("too long") << QString(70000, 'a') << "bytes, more than";
    }
    void refusedRegularExpressions()
    {
        QFETCH(QString, pattern);
        QFETCH(QString, reason);
        json tokenizer = tinyTokenizer();
        tokenizer["pre_tokenizer"] = {{"type", "Sequence"},
            {"pretokenizers", {{{"type", "Split"}, {"pattern", {{"Regex", pattern.toStdString()}}}}, {{"type", "ByteLevel"}}}}};
        const auto result = open(tokenizer.dump());
        QVERIFY(!result);
        QVERIFY2(
            result.error().line().find("tokenizer.json: pre_tokenizer[0]") != std::string::npos, result.error().line().c_str());
        QVERIFY2(result.error().line().find(reason.toStdString()) != std::string::npos, result.error().line().c_str());
    }

    void hostileFiles_data()
    {
        QTest::addColumn<QString>("patch");
        QTest::addColumn<QString>("place");
        QTest::addColumn<QString>("reason");
        const auto row = [](const char* name, const char* patch, const char* place, const char* reason) {
            QTest::newRow(name) << patch << place << reason;
        };
        row("no model", R"([{"op":"remove","path":"/model"}])", "model", "is not an object");
        row("other model", R"([{"op":"replace","path":"/model/type","value":"Unigram"}])", "model", "'Unigram' is not handled");
        row("no vocabulary", R"([{"op":"remove","path":"/model/vocab"}])", "model.vocab", "is not an object");
        row("empty vocabulary", R"([{"op":"replace","path":"/model/vocab","value":{}}])", "model.vocab", "is empty");
        row("negative id", R"([{"op":"add","path":"/model/vocab/c","value":-1}])", "model.vocab", "out of range");
        row("huge id", R"([{"op":"add","path":"/model/vocab/c","value":18446744073709551615}])", "model.vocab", "out of range");
        row("far id", R"([{"op":"add","path":"/model/vocab/c","value":8000000}])", "model.vocab", "out of range");
        row("fraction", R"([{"op":"add","path":"/model/vocab/c","value":4.5}])", "model.vocab", "not an integer");
        row("same id twice", R"([{"op":"add","path":"/model/vocab/c","value":1}])", "model.vocab",
            "id 1 is given to both 'b' and 'c'");
        row("unknown merge", R"([{"op":"add","path":"/model/merges/2","value":"a c"}])", "merges[2]", "needs the token 'c'");
        row("unknown result", R"([{"op":"add","path":"/model/merges/2","value":"b b"}])", "merges[2]", "needs the token 'bb'");
        row("merge of three", R"([{"op":"add","path":"/model/merges/2","value":"a b a"}])", "model.merges[2]", "is neither");
        row("merge of numbers", R"([{"op":"add","path":"/model/merges/2","value":[1,2]}])", "model.merges[2]", "is neither");
        row("merges no list", R"([{"op":"replace","path":"/model/merges","value":7}])", "model.merges", "is not a list");
        row("dropout", R"([{"op":"add","path":"/model/dropout","value":0.1}])", "model.dropout", "random");
        row("affix", R"([{"op":"add","path":"/model/end_of_word_suffix","value":"</w>"}])", "model.end_of_word_suffix",
            "not handled");
        row("unknown token", R"([{"op":"add","path":"/model/unk_token","value":"<unk>"}])", "model.unk_token",
            "not in the vocabulary");
        row("flag", R"([{"op":"add","path":"/model/fuse_unk","value":1}])", "model.fuse_unk", "true or false");
        row("added id", R"([{"op":"replace","path":"/added_tokens/0/id","value":9}])", "added_tokens[0].id", "gets the id 4");
        row("added id taken", R"([{"op":"replace","path":"/added_tokens/0/id","value":2}])", "added_tokens[0].id",
            "gets the id 4");
        row("added id huge", R"([{"op":"replace","path":"/added_tokens/0/id","value":5000000000}])", "added_tokens[0].id",
            "31 bits");
        row("added empty", R"([{"op":"replace","path":"/added_tokens/0/content","value":""}])", "added_tokens[0].content",
            "is empty");
        const json longToken
            = json::array({{{"op", "replace"}, {"path", "/added_tokens/0/content"}, {"value", std::string(1025, 'x')}}});
        row("added long", longToken.dump().c_str(), "added_tokens", "has 1025 bytes, more than 1024");
        row("added no object", R"([{"op":"add","path":"/added_tokens/0","value":3}])", "added_tokens[0]", "is not an object");
        row("normalizer", R"([{"op":"replace","path":"/normalizer","value":{"type":"Prepend","prepend":"_"}}])", "normalizer",
            "'Prepend'");
        row("pre-tokenizer", R"([{"op":"replace","path":"/pre_tokenizer","value":{"type":"Metaspace"}}])", "pre_tokenizer",
            "'Metaspace'");
        row("no bytes", R"([{"op":"replace","path":"/pre_tokenizer","value":null}])", "pre_tokenizer", "0 ByteLevel steps");
        row("behaviour",
            R"([{"op":"replace","path":"/pre_tokenizer","value":{"type":"Split","pattern":{"String":"a"},"behavior":"x"}}])",
            "pre_tokenizer.behavior", "'x' is not handled");
        row("no pattern", R"([{"op":"replace","path":"/pre_tokenizer","value":{"type":"Split","pattern":{}}}])",
            "pre_tokenizer.pattern", "neither Regex nor String");
        row("decoder", R"([{"op":"replace","path":"/decoder","value":{"type":"WordPiece"}}])", "decoder", "'WordPiece'");
        row("post-processor", R"([{"op":"replace","path":"/post_processor","value":{"type":"X"}}])", "post_processor", "'X'");
        row("template id",
            R"([{"op":"replace","path":"/post_processor","value":{"type":"BertProcessing","cls":["<s>",4],"sep":["x",77]}}])",
            "post_processor", "the id 77");
        row("template", R"([{"op":"replace","path":"/post_processor","value":{"type":"TemplateProcessing","single":[]}}])",
            "post_processor.single", "sequence A once");
    }
    void hostileFiles()
    {
        QFETCH(QString, patch);
        QFETCH(QString, place);
        QFETCH(QString, reason);
        const auto result = open(tinyTokenizer().patch(json::parse(patch.toStdString())).dump());
        QVERIFY(!result);
        const std::string line = result.error().line();
        QVERIFY2(line.find("tokenizer.json: " + place.toStdString()) != std::string::npos, line.c_str());
        QVERIFY2(line.find(reason.toStdString()) != std::string::npos, line.c_str());
    }

    void brokenJson_data()
    {
        QTest::addColumn<QString>("text");
        QTest::newRow("empty") << "";
        QTest::newRow("cut") << QString::fromStdString(tinyTokenizer().dump()).left(100);
        QTest::newRow("list") << "[1,2]";
        QTest::newRow("deep") << QString(100000, '[');
        QTest::newRow("deep object") << QString("{\"a\":").repeated(50000);
        QTest::newRow("key twice") << R"({"model":{"vocab":{"a":0,"a":1},"merges":[]}})";
    }
    void brokenJson()
    {
        QFETCH(QString, text);
        const auto result = open(text.toStdString());
        QVERIFY(!result);
        QCOMPARE(result.error().code, Errc::Format);
        QVERIFY2(result.error().where.find("tokenizer.json") != std::string::npos, result.error().line().c_str());
        const auto absent = qs::io::openTokenizerJson("/nonexistent/tokenizer.json");
        QVERIFY(!absent);
        QCOMPARE(absent.error().code, Errc::NotFound);
    }

    /// Cutting or changing any byte gives a tokenizer or an Error, never a crash.
    void mutatedFilesDoNotCrash()
    {
        const std::string text = *qs::readTextFile(golden("tokenizers/whitespace_unk.json"));
        std::mt19937_64 random(3);
        int refused = 0;
        for (int i = 0; i < 300; ++i) {
            std::string changed = text;
            for (std::uint64_t k = random() % 3; k < 3; ++k)
                changed[random() % changed.size()] = static_cast<char>(random() % 256);
            if (i % 5 == 0)
                changed.resize(random() % changed.size());
            const auto result = open(changed);
            if (result)
                static_cast<void>((*result)->encode("Some text, <s> 123"));
            else
                ++refused;
        }
        QVERIFY(refused > 100);
    }

    void hostileMetadata_data()
    {
        QTest::addColumn<QString>("key");
        QTest::addColumn<int>("change");
        QTest::addColumn<QString>("reason");
        int change = 0;
        QTest::newRow("no model") << "tokenizer.ggml.model" << change++ << "is missing";
        QTest::newRow("model type") << "tokenizer.ggml.model" << change++ << "is not a string";
        QTest::newRow("other model") << "tokenizer.ggml.model" << change++ << "'llama' is not handled";
        QTest::newRow("other pre") << "tokenizer.ggml.pre" << change++ << "pre-tokenizer 'tekken' is not known";
        QTest::newRow("no tokens") << "tokenizer.ggml.tokens" << change++ << "is missing";
        QTest::newRow("token twice") << "tokenizer.ggml.tokens" << change++ << "'a' occurs twice, the second time with id 1";
        QTest::newRow("not UTF-8") << "tokenizer.ggml.tokens" << change++ << "token 1 is not UTF-8";
        QTest::newRow("types") << "tokenizer.ggml.token_type" << change++ << "has 2 entries for 5 tokens";
        QTest::newRow("merge") << "tokenizer.ggml.merges[0]" << change++ << "'ab' is not two tokens";
        QTest::newRow("unknown merge") << "merges[0]" << change++ << "needs the token 'x'";
        QTest::newRow("bos") << "tokenizer.ggml.bos_token_id" << change++ << "is not the id of one of 5 tokens";
        QTest::newRow("add bos") << "tokenizer.ggml.add_bos_token" << change++ << "there is no tokenizer.ggml.bos_token_id";
        QTest::newRow("add bos type") << "tokenizer.ggml.add_bos_token" << change++ << "is not a boolean";
    }
    void hostileMetadata()
    {
        QFETCH(QString, key);
        QFETCH(int, change);
        QFETCH(QString, reason);
        MetadataOnly gguf = asGguf(tinyTokenizer(), "gpt-2");
        auto& v = gguf.values;
        using Strings = std::vector<std::string>;
        switch (change) {
        case 0: v.erase("tokenizer.ggml.model"); break;
        case 1: v["tokenizer.ggml.model"] = true; break;
        case 2: v["tokenizer.ggml.model"] = std::string("llama"); break;
        case 3: v["tokenizer.ggml.pre"] = std::string("tekken"); break;
        case 4: v.erase("tokenizer.ggml.tokens"); break;
        case 5: std::get<Strings>(v["tokenizer.ggml.tokens"])[1] = "a"; break;
        case 6: std::get<Strings>(v["tokenizer.ggml.tokens"])[1] = "\xFF"; break;
        case 7: v["tokenizer.ggml.token_type"] = std::vector<std::int64_t>{1, 1}; break;
        case 8: std::get<Strings>(v["tokenizer.ggml.merges"])[0] = "ab"; break;
        case 9: std::get<Strings>(v["tokenizer.ggml.merges"])[0] = "x a"; break;
        case 10: v["tokenizer.ggml.bos_token_id"] = std::uint64_t{5}; break;
        case 11:
            v.erase("tokenizer.ggml.bos_token_id");
            v["tokenizer.ggml.add_bos_token"] = true;
            break;
        default: v["tokenizer.ggml.add_bos_token"] = std::uint64_t{1};
        }
        const auto result = qs::io::openTokenizerGguf(gguf);
        QVERIFY(!result);
        const std::string line = result.error().line();
        QVERIFY2(line.find("model.gguf: " + key.toStdString()) != std::string::npos, line.c_str());
        QVERIFY2(line.find(reason.toStdString()) != std::string::npos, line.c_str());
    }
};

QTEST_GUILESS_MAIN(TestTokenizerHostile)
#include "tst_tokenizer_hostile.moc"
