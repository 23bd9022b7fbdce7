"""Text in many languages: paragraphs in parallel, articles, and questions with their passages.

    python examples/train_nano/languages.py WORK

writes WORK/parallel.jsonl.gz, a paragraph a line, ``{"page", "texts": {language: text}}``, of the
documentation of Python and React below ``$LFM2_RETRIEVAL_DATA/train``, of LibreOffice's help, and of two
repositories of Markdown: those of them that are there. One page in eight, and one question in eight, is
held out for ``develop.py``.
"""

from __future__ import annotations

import gzip
import html
import json
import os
import re
import subprocess
import sys
import zlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import sources

HELP = Path(os.environ.get("LIBREOFFICE_HELP", "../libreoffice-help"))
"""Where Debian's ``libreoffice-help-*`` are unpacked."""
GUIDES = {
    "guide": ("OPEN_SOURCE_GUIDE", "_articles", "", ".md"),
    "course": ("HUGGINGFACE_COURSE", "chapters", "en", ".mdx"),
}
"""Clones: the variable that names one, its languages' folder, that of English, and its files' ending."""
REACT = ("ar", "de", "es", "fr", "ja", "ko", "pt", "ru", "tr", "vi", "zh")
ARTICLES = {
    "de": "mdn-de-20k",
    "ko": "kowiki-30k",
    "vi": "viwiki-20k",
    "zh": "zhwiki-30k",
}
QUESTIONS = {"en": "qmsum-passages-en-train", "fr": "piaf11-fr", "ja": "jaquad-ja-train"}
ALIKE = {"zh-CN": "zh", "zh-hans": "zh", "zh-TW": "zh-hant", "pt-BR": "pt", "pcm": "", "gj": "gu"}
SHORTEST, LONGEST = 25, 1_200
"""Characters of an English paragraph."""

_PARAGRAPH = re.compile(r'<(p|h\d) id="((?:par|hd)_id\w+)"[^>]*>(.*?)</\1>', re.DOTALL)
_BLOCKS = re.compile(r"\n\s*\n")
_FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)(\{[^}]*\})?")


class Paragraph(NamedTuple):
    page: str
    texts: dict[str, str]


def held_out(name: str) -> bool:
    """Whether what is named is for development alone."""
    return zlib.crc32(name.encode()) % 8 == 0


def tidy(text: str) -> str:
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", "", text))).strip()


def react() -> Iterator[tuple[str, str, str, str]]:
    """(page, paragraph, language, text): a paragraph's name is the same in all languages."""
    for language in REACT:
        for row in sources.read_jsonl(f"train/multilingual-react-en-{language}.jsonl.gz"):
            page = f"react/{row['page']}"
            yield page, row["en"], "en", row["en"]
            yield page, row["en"], language, row[language]


def python() -> Iterator[tuple[str, str, str, str]]:
    for language in sources.PARALLEL:
        for english, other in sources.parallel(language):
            page = f"python/{english[:40]}"
            yield page, english, "en", english
            yield page, english, language, other


def office() -> Iterator[tuple[str, str, str, str]]:
    """LibreOffice's help, whose paragraphs have names."""
    folders = sorted((HELP / "usr/share/libreoffice/help").glob("*/text"))
    for folder in sorted(folders, key=lambda f: f.parent.name != "en-US"):
        language = folder.parent.name.replace("en-US", "en")
        language = ALIKE.get(language, language)
        for path in sorted(folder.rglob("*.html")):
            page = f"office/{path.relative_to(folder)}"
            for _, name, text in _PARAGRAPH.findall(path.read_text(encoding="utf-8")):
                yield page, name, language, tidy(text)


def blocks(text: str) -> list[tuple[str, str]]:
    """Kind and text of the blocks of a page of Markdown that are prose."""
    text = _FENCE.sub("", text.split("\n---\n", 1)[-1] if text.startswith("---") else text)
    found = []
    for block in map(str.strip, _BLOCKS.split(text)):
        if block and block[0] not in "<{|!":
            kind = re.match(r"#*|", block)
            plain = tidy(_LINK.sub(r"\1", re.sub(r"^[>\s]*[-*#\d.]*\s+", "", block)))
            found.append((kind[0] if kind else "", re.sub(r"[*_`]{1,3}", "", plain)))
    return found


def markdown(source: str) -> Iterator[tuple[str, str, str, str]]:
    """A repository's pages whose headings agree with the English ones; there, sections that do in length."""
    variable, root, english, ending = GUIDES[source]
    clone = os.environ.get(variable, f"../{source}")
    if not Path(clone).exists():
        return

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", clone, *words], capture_output=True, check=True, text=True).stdout

    pages: dict[str, dict[str, str]] = {}
    for path in git("ls-tree", "-r", "--name-only", "HEAD", f"{root}/").splitlines():
        inside = path.removeprefix(f"{root}/")
        language, _, page = inside.partition("/") if english or "/" in inside else ("", "", inside)
        if path.endswith(ending):
            pages.setdefault(page, {})["en" if language == english else ALIKE.get(language, language)] = path
    for page, paths in pages.items():
        if "en" not in paths:
            continue
        theirs = sections(blocks(git("show", f"HEAD:{paths.pop('en')}")))
        for language, path in paths.items():
            ours = sections(blocks(git("show", f"HEAD:{path}"))) if language else []
            if [section[0] for section in ours] != [section[0] for section in theirs]:
                continue
            for number, (one, other) in enumerate(zip(theirs, ours, strict=True)):
                if len(one[1]) == len(other[1]):
                    for place, (a, b) in enumerate(zip(one[1], other[1], strict=True)):
                        yield f"{source}/{page}", f"{number}/{place}", "en", a
                        yield f"{source}/{page}", f"{number}/{place}", language, b


def sections(found: list[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    """Blocks below each heading, with it, and how deep it is."""
    parts: list[tuple[str, list[str]]] = [("", [])]
    for kind, text in found:
        if kind:
            parts.append((kind, []))
        parts[-1][1].append(text)
    return parts


def gather(rows: Iterable[tuple[str, str, str, str]]) -> Iterator[Paragraph]:
    """Paragraphs that at least two languages have, each English one once."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for page, name, language, text in rows:
        if language:
            found.setdefault((page, name), {})[language] = text
    seen: set[str] = set()
    for (page, _), texts in found.items():
        english = texts.get("en", "")
        if not SHORTEST <= len(english) <= LONGEST or english in seen:
            continue
        seen.add(english)
        kept = {
            language: text
            for language, text in texts.items()
            if language == "en" or (text != english and 0.2 < len(text) / len(english) < 3)
        }
        if len(kept) > 1:
            yield Paragraph(page, kept)


def write(work: Path) -> None:
    with gzip.open(work / "parallel.jsonl.gz", "wt", encoding="utf-8", compresslevel=4) as out:
        for rows in (react(), python(), office(), markdown("guide"), markdown("course")):
            for paragraph in gather(rows):
                out.write(json.dumps(paragraph._asdict(), ensure_ascii=False) + "\n")


def paragraphs(work: Path) -> list[Paragraph]:
    with gzip.open(work / "parallel.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [Paragraph(**json.loads(line)) for line in lines]


@cache
def articles(language: str) -> list[str]:
    """Passages with their titles that are not held out."""
    name = "enwiki-part" if language == "en" else ARTICLES[language]
    return [
        f"{row['title']}. {row['text']}"
        for row in sources.read_jsonl(f"corpora/{name}/corpus.jsonl.gz")
        if not held_out(row["title"])
    ]


@cache
def questions(language: str, *, development: bool = False) -> list[tuple[str, str]]:
    """(question, passage) pairs: a passage's questions are all held out, or none."""
    pairs = ((asked, texts[0]) for asked, texts in sources.questions(QUESTIONS[language]))
    return [pair for pair in pairs if held_out(pair[1]) == development]


if __name__ == "__main__":
    write(Path(sys.argv[1]))
