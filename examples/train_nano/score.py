"""nDCG@10 with exact MaxSim on the collections below ``eval/``, beside BM25.

    python examples/train_nano/score.py CHECKPOINT_FOLDER [COLLECTION | CORPUS@QUERIES ...]

``xquad-de@xquad-en`` asks English questions of the German corpus.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import bm25s
import numpy as np
import sources

from lfm2_retrieval import Retriever

COLLECTIONS = ("scifact-en", "cranfield-en", "xquad-en")
Qrels = dict[str, dict[str, int]]


def load_collection(folder: Path) -> tuple[dict[str, str], dict[str, str], Qrels]:
    def rows(name: str) -> list[dict[str, str]]:
        with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]

    corpus = {r["_id"]: f"{r.get('title', '')} {r['text']}".strip() for r in rows("corpus")}
    queries = {r["_id"]: r["text"] for r in rows("queries")}
    qrels: Qrels = {}
    for line in (folder / "qrels/test.tsv").read_text().splitlines()[1:]:
        query, document, grade = line.split("\t")
        qrels.setdefault(query, {})[document] = int(grade)
    return corpus, queries, qrels


def ndcg(ranking: list[str], grades: dict[str, int], k: int = 10) -> float:
    """Linear gains, as trec_eval has them."""
    gains = [grades.get(document, 0) / np.log2(i + 2) for i, document in enumerate(ranking[:k])]
    ideal = [g / np.log2(i + 2) for i, g in enumerate(sorted(grades.values(), reverse=True)[:k]) if g > 0]
    return float(sum(gains) / sum(ideal)) if ideal else 0.0


def score(model: str, name: str) -> tuple[float, float]:
    """nDCG@10 of the model and of BM25."""
    collection, _, asked = name.partition("@")
    corpus, queries, qrels = load_collection(sources.DATA / "eval" / collection)
    if asked:
        queries = load_collection(sources.DATA / "eval" / asked)[1]
    judged = [query for query in qrels if query in queries]
    texts = [queries[query] for query in judged]
    with Retriever.index([{"id": i, "text": text} for i, text in corpus.items()], model=model) as retriever:
        found = [[hit.id for hit in hits] for hits in retriever.search(texts, k=10)]
    ids = list(corpus)
    lexical = bm25s.BM25(k1=0.9, b=0.4)
    lexical.index(
        bm25s.tokenize(list(corpus.values()), stopwords="en", show_progress=False), show_progress=False
    )
    tokens = bm25s.tokenize(texts, stopwords="en", show_progress=False)
    places, _ = lexical.retrieve(tokens, k=10, show_progress=False)
    baseline = [[ids[i] for i in row] for row in places]
    return tuple(
        float(np.mean([ndcg(row, qrels[query]) for query, row in zip(judged, run, strict=True)]))
        for run in (found, baseline)
    )


if __name__ == "__main__":
    for name in sys.argv[2:] or COLLECTIONS:
        ours, theirs = score(sys.argv[1], name)
        print(f"{name}: {ours:.4f}, BM25 {theirs:.4f}", flush=True)
