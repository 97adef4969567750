#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Builds the training, calibration and evaluation text of the sample model.

The text is the prose of English Debian documentation packages (Debian 12
"bookworm"), every one of them under the GPL, version 2 or later, or under
more permissive terms:

    debian-handbook 11.20220922      GPL-2+ or CC-BY-SA-3.0
    debian-policy 4.6.2.0            GPL-2+
    developers-reference 12.18       GPL-2+
    debian-reference-en 2.100        GPL-2+
    harden-doc 3.19+nmu1             GPL-2+
    aptitude-doc-en 0.8.13-5         GPL-2+
    apt-doc 2.6.2                    GPL-2+
    debian-kernel-handbook 1.0.21    GPL-2+
    debian-history 2.28              GPL-2+
    maint-guide 1.2.53               GPL-2+
    debmake-doc 1.17-7               Expat
    exim4-doc-html 4.96-1            GPL-2+

Install them (apt-get install ...), or unpack them with `dpkg -x` below some
folder and name that folder with --root as well; several --root are searched
in order.  Needs the Python standard library only (3.11 was used).

    python3 corpus.py --root / --out WORK

writes WORK/train.txt, WORK/calibration.txt, WORK/evaluation.txt and
WORK/corpus.json (what came from where).  calibration.txt and evaluation.txt
are whole chapters of debian-handbook that train.txt does not hold.
"""

import argparse
import glob
import gzip
import hashlib
import html.parser
import json
import os
import re
import sys
import unicodedata

HANDBOOK = "usr/share/doc/debian-handbook/html/en-US"
CALIBRATION_CHAPTERS = (6, 8)
EVALUATION_CHAPTERS = (9, 11)

TRAIN_SOURCES = (
    ("debian-policy", "usr/share/doc/debian-policy/policy.html/*.html"),
    ("debian-policy", "usr/share/doc/debian-policy/perl-policy.html/*.html"),
    ("developers-reference", "usr/share/doc/developers-reference/docs/*.html"),
    ("debian-reference-en", "usr/share/debian-reference/*.en.html"),
    ("harden-doc", "usr/share/doc/harden-doc/html/en-US/*.html"),
    ("aptitude-doc-en", "usr/share/doc/aptitude/html/en/*.html"),
    ("apt-doc", "usr/share/doc/apt-doc/guide.html/*.html"),
    ("apt-doc", "usr/share/doc/apt-doc/offline.html/*.html"),
    ("debian-kernel-handbook",
     "usr/share/doc/debian-kernel-handbook/kernel-handbook.html/*.html"),
    ("debian-history", "usr/share/doc/debian-history/docs/*.en.html"),
    ("maint-guide", "usr/share/doc/maint-guide/html/*.en.html"),
    ("debmake-doc", "usr/share/doc/debmake-doc/html/*.en.html"),
    ("exim4-doc-html", "usr/share/doc/exim4-doc-html/spec_html/*.html"),
)
SKIP_FILES = {"index.html", "index.en.html", "search.html", "genindex.html",
              "contents.html", "developers-reference.html", "rn01re01.html"}

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link",
        "meta", "param", "source", "track", "wbr"}
DROP_TAGS = {"script", "style", "head", "pre", "nav", "footer", "title", "textarea"}
DROP_CLASSES = {"toc", "docnav", "navheader", "navfooter", "related", "footer",
                "sphinxsidebar", "headerlink", "indexterm", "banner", "screen",
                "programlisting", "navigation", "index", "bottom", "copyright",
                "legalnotice", "toctree-wrapper", "highlight", "literallayout",
                "list-of-tables", "list-of-figures", "footnote", "navbar",
                "language_switcher_placeholder", "authorgroup", "revhistory"}
BLOCK = {"p", "div", "li", "dt", "dd", "h1", "h2", "h3", "h4", "h5", "h6", "td",
         "th", "tr", "table", "ul", "ol", "dl", "section", "body", "br",
         "blockquote", "figcaption", "caption", "article"}


class Prose(html.parser.HTMLParser):
    """Collects the text of a page as one string per block."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.stack = []          # (tag, dropped)
        self.blocks = []
        self.text = []

    def dropped(self):
        return bool(self.stack) and self.stack[-1][1]

    def flush(self):
        block = re.sub(r"\s+", " ", "".join(self.text)).strip()
        self.text = []
        if block:
            self.blocks.append(block)

    def handle_starttag(self, tag, attrs):
        if tag in BLOCK:
            self.flush()
        if tag in VOID:
            return
        attrs = dict(attrs)
        classes = set((attrs.get("class") or "").lower().split())
        drop = (self.dropped() or tag in DROP_TAGS or bool(classes & DROP_CLASSES)
                or attrs.get("id") in ("banner", "footer", "title"))
        if tag == "p" and self.stack and self.stack[-1][0] == "p":
            self.stack.pop()
        self.stack.append((tag, drop))

    def handle_startendtag(self, tag, attrs):
        if tag in BLOCK:
            self.flush()

    def handle_endtag(self, tag):
        if tag in BLOCK:
            self.flush()
        for i in range(len(self.stack) - 1, -1, -1):
            if self.stack[i][0] == tag:
                del self.stack[i:]
                break

    def handle_data(self, data):
        if not self.dropped():
            self.text.append(data)


def normalise(text):
    text = unicodedata.normalize("NFC", text)
    text = text.replace("\u00a0", " ").replace("\u200b", "").replace("\ufeff", "")
    text = text.replace("\u2019", "'").replace("\u2018", "'")
    text = text.replace("\u201c", '"').replace("\u201d", '"')
    text = re.sub(r"\s*\u00b6$", "", text)
    return re.sub(r"[ \t]+", " ", text).strip()


def is_prose(block):
    if len(block) < 50 or len(block) > 6000:
        return False
    letters = sum(c.isascii() and (c.isalpha() or c == " ") for c in block)
    if letters < 0.80 * len(block):
        return False
    return len(block.split()) >= 8 and block.isprintable()


def read(path):
    opener = gzip.open if path.endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8", errors="replace") as f:
        return f.read()


def blocks_of(page):
    parser = Prose()
    parser.feed(page)
    parser.close()
    parser.flush()
    return [b for b in map(normalise, parser.blocks) if is_prose(b)]


def find(roots, pattern):
    for root in roots:
        found = []
        for path in glob.glob(os.path.join(root, pattern)):
            if os.path.isfile(path):
                found.append(path)
        if found:
            return sorted(found)
    sys.exit("nothing matches " + pattern + " below " + ", ".join(roots))


def handbook(roots):
    """{chapter: [blocks]}, in reading order; chapter 0 is everything unnumbered."""
    pages = []
    for path in find(roots, HANDBOOK + "/*.html"):
        if os.path.basename(path) == "index.html":
            continue
        page = read(path)
        title = re.search(r"<title[^>]*>(.*?)</title>", page, re.S)
        title = re.sub(r"\s+", " ", title.group(1)).strip() if title else ""
        number = re.match(r"(?:Chapter )?(\d+)\.(?:(\d+)\.)?", title.replace("\u00a0", " "))
        key = (int(number.group(1)), int(number.group(2) or 0)) if number else (0, 0)
        pages.append((key, os.path.basename(path), page))
    chapters = {}
    for key, _, page in sorted(pages, key=lambda p: (p[0], p[1])):
        chapters.setdefault(key[0], []).extend(blocks_of(page))
    return chapters


def shingles(block, n=10):
    words = re.findall(r"[a-z0-9]+", block.lower())
    return {hash_words(words[i:i + n]) for i in range(len(words) - n + 1)}


def hash_words(words):
    return hashlib.blake2b(" ".join(words).encode(), digest_size=8).digest()


def unique(blocks, seen):
    kept = []
    for block in blocks:
        digest = hashlib.sha256(block.encode()).digest()
        if digest not in seen:
            seen.add(digest)
            kept.append(block)
    return kept


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", action="append", required=True,
                        help="folder that holds usr/share/doc; repeatable")
    parser.add_argument("--out", required=True, help="folder to write to")
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)

    chapters = handbook(args.root)
    seen = set()
    evaluation = unique([b for c in EVALUATION_CHAPTERS for b in chapters[c]], seen)
    held = set()
    for block in evaluation:
        held |= shingles(block)
    calibration = [b for c in CALIBRATION_CHAPTERS for b in unique(chapters[c], seen)
                   if not shingles(b) & held]
    for block in calibration:
        held |= shingles(block)

    report = {"debian-handbook chapters (characters)":
              {c: sum(map(len, b)) for c, b in sorted(chapters.items())},
              "train (characters)": {}, "dropped for overlap": 0}
    train = []

    def take(name, blocks):
        kept = [b for b in unique(blocks, seen)]
        clean = [b for b in kept if not shingles(b) & held]
        report["dropped for overlap"] += len(kept) - len(clean)
        if clean:
            train.append("\n\n".join(clean))
            report["train (characters)"][name] = (
                report["train (characters)"].get(name, 0) + len(train[-1]))

    for chapter, blocks in sorted(chapters.items()):
        if chapter not in EVALUATION_CHAPTERS + CALIBRATION_CHAPTERS:
            take("debian-handbook", blocks)
    for name, pattern in TRAIN_SOURCES:
        for path in find(args.root, pattern):
            if os.path.basename(path) not in SKIP_FILES:
                take(name, blocks_of(read(path)))

    # One document per source page; the separator becomes <|endoftext|>.
    outputs = {"train.txt": "\n\x00\n".join(train) + "\n",
               "calibration.txt": "\n\n".join(calibration) + "\n",
               "evaluation.txt": "\n\n".join(evaluation) + "\n"}
    for name, text in outputs.items():
        data = text.encode()
        with open(os.path.join(args.out, name), "wb") as f:
            f.write(data)
        report[name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    with open(os.path.join(args.out, "corpus.json"), "w", encoding="utf-8") as f:
        json.dump(report, f, indent=1)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
