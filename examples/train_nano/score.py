"""nDCG@10 with exact MaxSim on the collections below ``eval/``, for the teacher or a student's checkpoint.

python examples/train_nano/score.py WORK [CHECKPOINT | teacher] [COLLECTION ...]
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import numpy as np
import sources
import torch
from student import DOCUMENT, QUERY, Student
from teacher import Teacher
from torch import Tensor

PUNCTUATION = set("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")


class Scored:
    """Texts to token vectors, whichever model it is."""

    def __init__(self, model: Student | Teacher) -> None:
        self.model = model

    @torch.no_grad()
    def __call__(self, texts: list[str], prefix: int) -> list[Tensor]:
        if isinstance(self.model, Teacher):
            encodings = self.model.tokenize(texts)
            states = self.model.states(encodings)
            vectors = [self.model.project(s) for s in states]
            names = [e.tokens for e in encodings]
        else:
            encodings = self.model.tokenizer.encode_batch(texts)
            limit = 512 if prefix == DOCUMENT else 128
            vectors, names = [], []
            for start in range(0, len(texts), 16):
                part = encodings[start : start + 16]
                flat, lengths = self.model.encode(part, [prefix] * len(part), limit)
                vectors += flat.split(lengths)
                names += [["<s>", "<d>", *e.tokens[1 : limit - 1]] for e in part]
        if prefix == QUERY:
            return list(vectors)
        keep = [[n.removeprefix("Ġ") not in PUNCTUATION and n != "Ġ" for n in row] for row in names]
        return [v[torch.tensor(k)] for v, k in zip(vectors, keep, strict=True)]


def load_collection(folder: Path) -> tuple[dict[str, str], dict[str, str], dict[str, dict[str, int]]]:
    def rows(name: str) -> list[dict[str, str]]:
        with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]

    corpus = {r["_id"]: f"{r.get('title', '')} {r['text']}".strip() for r in rows("corpus")}
    queries = {r["_id"]: r["text"] for r in rows("queries")}
    qrels: dict[str, dict[str, int]] = {}
    for line in (folder / "qrels/test.tsv").read_text().splitlines()[1:]:
        query, document, grade = line.split("\t")
        qrels.setdefault(query, {})[document] = int(grade)
    return corpus, queries, qrels


def ndcg(ranking: list[str], grades: dict[str, int], k: int = 10) -> float:
    gains = [grades.get(d, 0) / np.log2(i + 2) for i, d in enumerate(ranking[:k])]
    ideal = [g / np.log2(i + 2) for i, g in enumerate(sorted(grades.values(), reverse=True)[:k]) if g > 0]
    return float(sum(gains) / sum(ideal)) if ideal else 0.0


@torch.no_grad()
def evaluate(encode: Scored, name: str, queries_from: str | None = None) -> float:
    corpus, queries, qrels = load_collection(sources.DATA / "eval" / name)
    if queries_from:
        queries = load_collection(sources.DATA / "eval" / queries_from)[1]
    ids = [d for d in corpus if corpus[d]]
    order = sorted(ids, key=lambda d: len(corpus[d]))
    documents = encode([corpus[d] for d in order], DOCUMENT)
    judged = [q for q in qrels if q in queries]
    encoded = encode([queries[q] for q in judged], QUERY)
    scores = torch.empty(len(judged), len(order))
    flat_q, q_lengths = torch.cat(encoded), torch.tensor([len(q) for q in encoded])
    q_owner = torch.repeat_interleave(torch.arange(len(encoded)), q_lengths)
    for i, vectors in enumerate(documents):
        best = (flat_q @ vectors.T).max(1).values
        scores[:, i] = torch.zeros(len(encoded)).index_add_(0, q_owner, best)
    top = scores.topk(min(10, len(order)), dim=1).indices.tolist()
    return float(
        np.mean([ndcg([order[j] for j in row], qrels[q]) for q, row in zip(judged, top, strict=True)])
    )


if __name__ == "__main__":
    work, which = Path(sys.argv[1]), sys.argv[2]
    names = sys.argv[3:] or ["scifact-en", "cranfield-en", "xquad-en"]
    model: Student | Teacher
    if which == "teacher":
        model = Teacher()
        model.load(work / "teacher.pt")
    else:
        model = Student(work).eval()
        model.load_state_dict(torch.load(which, weights_only=True)["model"])
    for name in names:
        collection, _, queries_from = name.partition("@")
        print(f"{name} {evaluate(Scored(model), collection, queries_from or None):.4f}", flush=True)
