"""The training text, read where it lies: $LFM2_RETRIEVAL_DATA, by default ../shared/data.

Nothing below ``eval/`` is ever opened here (``papers.py`` reads titles there, to leave them out), and neither
are the queries of ``scifact-train``, which belong to a collection that ``nano`` is measured on.
"""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DATA = Path(os.environ.get("LFM2_RETRIEVAL_DATA", "../shared/data"))
PARALLEL = ("es", "fr", "ja", "ko", "zh")
MONOLINGUAL = {"de": "mdn-de-20k", "ko": "kowiki-30k", "zh": "zhwiki-30k"}

_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'(])|(?<=[。！？])")


def read_jsonl(name: str) -> Iterator[dict[str, Any]]:
    with gzip.open(DATA / name, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def wiki_articles() -> list[tuple[str, list[str]]]:
    """English Wikipedia: (title, passages in order)."""
    return _articles("corpora/enwiki-part/corpus.jsonl.gz")


def monolingual_articles(language: str) -> list[tuple[str, list[str]]]:
    return _articles(f"corpora/{MONOLINGUAL[language]}/corpus.jsonl.gz")


def _articles(name: str) -> list[tuple[str, list[str]]]:
    articles: dict[str, tuple[str, list[str]]] = {}
    for row in read_jsonl(name):
        article = re.split(r"[#-](?=\d+$)", row["_id"])[0]
        articles.setdefault(article, (row["title"], []))[1].append(row["text"])
    return list(articles.values())


def meetings() -> list[str]:
    """Passages of English meeting transcripts, without their transcription marks."""
    rows = read_jsonl("train/qmsum-passages-en-train.corpus.jsonl.gz")
    return [re.sub(r"\{\w+\}", "", row["text"]) for row in rows]


def parallel(language: str) -> list[tuple[str, str]]:
    """Aligned paragraphs of the Python documentation: (English, ``language``)."""
    rows = read_jsonl(f"train/pydocs-parallel-en-{language}.jsonl.gz")
    return [(row["en"], row[language]) for row in rows if len(row["en"]) > 20]


def questions(name: str) -> list[tuple[str, list[str]]]:
    """(question, its positive passages) of a question-passage set in ``train/``."""
    corpus = {
        row["_id"]: f"{row['title']}. {row['text']}" if row["title"] else row["text"]
        for row in read_jsonl(f"train/{name}.corpus.jsonl.gz")
    }
    queries = {row["_id"]: row["text"] for row in read_jsonl(f"train/{name}.queries.jsonl.gz")}
    positives: dict[str, list[str]] = {}
    with (DATA / "train" / f"{name}.qrels.tsv").open(encoding="utf-8") as lines:
        next(lines)
        for line in lines:
            query, document, grade = line.split("\t")
            if int(grade) > 0 and query in queries and document in corpus:
                positives.setdefault(query, []).append(corpus[document])
    return [(queries[query], texts) for query, texts in positives.items()]


def sentences(text: str) -> list[str]:
    return [part.strip() for part in _SENTENCE.split(text) if len(part.strip()) > 8]
