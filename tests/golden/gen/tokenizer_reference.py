# SPDX-License-Identifier: Apache-2.0
"""Reference ids for core/io/tokenizer: tiny byte-level BPE tokenizers trained and run by Hugging Face `tokenizers` 0.23.3 (Python 3.11).

    python tokenizer_reference.py ../tokenizers

Writes NAME.json (a tokenizer.json) per configuration and cases.json:
    {"texts": [text], "bytes": [hex of ill-formed UTF-8], "ids": {NAME: [[id] per text, then per bytes entry]}}
Random texts use only code points that Unicode 14 assigns, since libraries follow later versions at their own pace. Seed 7.
"""
import json
import random
import sys
import unicodedata
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CORPUS = [
    "The river runs through the valley, and the valley widens towards the sea.",
    "Nobody knew what the weather would bring; they'd packed for rain, wind and sunshine.",
    "In 1887 the bridge was 125 metres long. By 2024 it carried 31,400 people a day.",
    "for (int i = 0; i < 100; ++i) { total += values[i] * weights[i]; }",
    "def mean(values):\n    return sum(values) / len(values)\n",
    "Größe und Gewicht müssen übereinstimmen. Où est la bibliothèque ? ¿Dónde está el río?",
    "Погода сегодня хорошая. 天気がいいですね。 今天天气很好。 اليوم الطقس جميل.",
    "I can't, you won't, we've seen it, she's here, they're there, I'm fine, he'll go.",
]
TEXTS = [
    "", " ", "a", "\n", "Hello world", "Hello, world! It's 2024.", " leading", "trailing ", "  two  spaces   three    ",
    "tabs\tand\nnew\r\nlines\n\n\n", "a\n \n b", "x \u00a0 y\u2003z\u3000w\u0085v\u180eu", "can't CAN'T we\u2019ve I'M he'LL '\u017f",
    "1 12 123 1234 12345 1234567 3.14159 1,000,000 \u00b2\u00b3\u00bd \u2167 \u0664\u0665\u0666", "foo_bar fooBar FOO-bar foo.bar() a->b !=== <<>> $9.99 ^^``|~+",
    "for (int i = 0; i < 100; ++i) { total += values[i]; }", "Größe müssen Größe", "e\u0301 \u00e9 n\u0303 \u1e9b\u0323 \uac00 \u1100\u1161",
    "天気がいい。今天 天气", "اليوم الطقس جميل", "नमस्ते दुनिया", "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea \u2764\ufe0f",
    "\ufffd \uffff \U0010ffff \u0000 \u007f", "<s>hi</s>", "<s> <s><s>  </s>x", "a <mask> b<mask>c  <mask>  d", "word words sword word",
    "word.word_word word\u200dword", "café cafe\u0301 caféx", "<|fim|>x <|fim|> y", "a--b-c --d- e", "----", "-", "the the the the the the",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", " " * 40 + "x" + " " * 17,
    "http://example.org/a?b=c&d=%20", "deadBEEF 0x1F g{1} {,2}", "\u0130\u0131 \u1e9e\u00df \u01c5", "A\u030a\u212b\u0041",
]
BYTES = ["ff", "61c328", "e282", "e28261", "f09f98", "f09f9861", "c080", "eda080", "f4908080", "61f09f62", "80bf80", "e0809f62", "fc8080808080"]


def random_texts(count):
    rng = random.Random(7)
    pool = [chr(c) for c in range(1, 0x20000) if unicodedata.category(chr(c)) not in ("Cn", "Cs", "Co")]
    ascii_pool = "abcdefghijklmnopqrstuvwxyz ABCDEFG 0123456789 .,'-\n\t()"
    return ["".join(rng.choice(ascii_pool if rng.random() < 0.6 else pool) for _ in range(rng.randint(1, 24))) for _ in range(count)]


def train(pre, merges, alphabet=True, **model):
    tokenizer = Tokenizer(models.BPE(**model))
    tokenizer.pre_tokenizer = pre
    specials = [model["unk_token"]] if "unk_token" in model else []
    letters = sorted(pre_tokenizers.ByteLevel.alphabet()) if alphabet else []
    trainer = trainers.BpeTrainer(vocab_size=len(specials) + (256 if alphabet else 60) + merges, special_tokens=specials,
                                  initial_alphabet=letters, show_progress=False)
    tokenizer.train_from_iterator(CORPUS * 4, trainer)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def split(pattern, behaviour="isolated", invert=False):
    return pre_tokenizers.Split(Regex(pattern), behaviour, invert)


def byte_level(prefix=False, regex=True):
    return pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=regex)


def sequence(*steps):
    return pre_tokenizers.Sequence(list(steps))


def template(tokenizer, first, last=None):
    names = [n for n in (first, last) if n]
    single = " ".join([first, "$A"] + ([last] if last else []))
    return processors.TemplateProcessing(single=single, pair=f"{single} $B:1", special_tokens=[(n, tokenizer.token_to_id(n)) for n in names])


def build():
    out = {}
    t = train(byte_level(), 120)
    t.post_processor = processors.ByteLevel(trim_offsets=True)
    out["gpt2"] = t

    t = train(byte_level(prefix=True), 80)
    t.add_special_tokens([AddedToken("<s>"), AddedToken("</s>", rstrip=True), AddedToken("<mask>", lstrip=True)])
    t.add_tokens([AddedToken("word", single_word=True), AddedToken("caf\u00e9", normalized=False), AddedToken("<|fim|>", lstrip=True, rstrip=True),
                  AddedToken("<|fim|>x"), AddedToken("  "), AddedToken("-b")])
    t.post_processor = template(t, "<s>", "</s>")
    out["prefix_added"] = t

    t = train(sequence(pre_tokenizers.Digits(individual_digits=True), byte_level()), 120)
    t.add_special_tokens(["<s>"])
    out["smollm"] = t

    t = train(sequence(split(LLAMA3), byte_level(regex=False)), 120, ignore_merges=True)
    t.add_special_tokens(["<s>"])
    t.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template(t, "<s>")])
    out["llama3"] = t

    t = train(sequence(split(QWEN2), byte_level(regex=False)), 100)
    t.normalizer = normalizers.NFC()
    t.add_tokens([AddedToken("caf\u00e9x"), AddedToken("n\u0303", normalized=True), AddedToken("<s>", special=True)])
    out["qwen2"] = t

    t = train(sequence(pre_tokenizers.Punctuation("contiguous"), byte_level(), pre_tokenizers.Digits(False), split("[0-9][0-9][0-9]")), 60)
    out["falcon"] = t

    t = train(sequence(split(r"[\p{P}\$\+<=>\^~\|]+"), split(GPT2), split(r"\p{N}+"), split("[0-9][0-9][0-9]"), byte_level(regex=False)), 60)
    out["default"] = t

    t = train(sequence(pre_tokenizers.Split(" ", "merged_with_next"), pre_tokenizers.Split("-", "merged_with_previous"),
                       split(r"\p{N}{1,3}+", "contiguous"), split(r"[^\S\n]+", "merged_with_next", True), split(r"\bwor|\h{4}|\W$|x{,2}y", "isolated"),
                       split(r"[[:punct:]]\w", "merged_with_previous", True), split("\u00e9", "removed"), byte_level(regex=False)), 60)
    out["splits"] = t

    t = train(sequence(pre_tokenizers.Whitespace(), byte_level(regex=False)), 60, alphabet=False, unk_token="<unk>", fuse_unk=True)
    t.add_special_tokens(["<s>", "</s>"])
    t.post_processor = processors.RobertaProcessing(("</s>", t.token_to_id("</s>")), ("<s>", t.token_to_id("<s>")))
    out["whitespace_unk"] = t

    t = train(sequence(pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation(), byte_level(regex=False)), 40, alphabet=False, unk_token="<unk>")
    out["words_unk"] = t
    return out


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    texts = TEXTS + random_texts(24)
    inputs = texts + [bytes.fromhex(b).decode("utf-8", errors="replace") for b in BYTES]
    ids = {}
    for name, tokenizer in build().items():
        document = json.loads(tokenizer.to_str())
        if name in ("gpt2", "smollm"):  # the spelling of files before 2024
            document["model"]["merges"] = [" ".join(m) for m in document["model"]["merges"]]
        text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
        (folder / f"{name}.json").write_text(text + "\n")
        reference = Tokenizer.from_str(text)
        ids[name] = [reference.encode(t).ids for t in inputs]
    cases = {"source": "tokenizers 0.23.3, tests/golden/gen/tokenizer_reference.py", "texts": texts, "bytes": BYTES, "ids": ids}
    (folder / "cases.json").write_text(json.dumps(cases, separators=(",", ":")) + "\n")


main()
