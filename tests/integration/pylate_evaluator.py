"""A small set with all that evaluators differ on, and what PyLate's own evaluator says of it.

Run as a script in an environment with PyLate, it writes ``pylate_evaluator.json``.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

RECORDED = Path(__file__).with_suffix(".json")
DIM = 4  # so few that a query's vector often has nothing but negative similarities with a short document
DEPTHS = {
    "ndcg_at_k": [10, 100],
    "precision_recall_at_k": [10, 20, 100],
    "mrr_at_k": [10],
    "map_at_k": [100],
    "accuracy_at_k": [1],
}


def vectors(text: str) -> np.ndarray:
    """The vectors of a text, decided by it alone, exact in float16; few, so that negative matches count."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    rng = np.random.default_rng(seed)
    count = 4 if text.startswith("query") else rng.choice([1, 2, 3], p=[0.7, 0.25, 0.05])
    drawn = rng.standard_normal((count, DIM))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float16).astype(np.float32)


def make():
    """Documents, one of them empty; queries; grades, of one query all zero, of some for more than 100."""
    rng = np.random.default_rng(7)
    documents = {f"d{i}": f"document {i}" for i in range(400)} | {"d400": "", "d401": " "}
    queries = {f"q{i}": f"query {i}" for i in range(30)}
    qrels = {}
    for number, query in enumerate(queries):
        count = (1, 5, 150)[number % 3]
        judged = rng.choice(400, size=count, replace=False)
        grades = {f"d{i}": int(rng.integers(0, 4)) for i in judged}
        qrels[query] = dict.fromkeys(grades, 0) if number == 4 else grades
    return documents, queries, qrels


def main() -> None:
    import torch
    from pylate.evaluation import PyLateInformationRetrievalEvaluator
    from pylate.scores import colbert_scores

    class Fixed:
        similarity_fn_name = "MaxSim"

        def encode(self, texts, **_):
            return [torch.from_numpy(vectors(text)) for text in texts]

    documents, queries, qrels = make()
    relevant = {query: {id for id, grade in grades.items() if grade > 0} for query, grades in qrels.items()}
    evaluator = PyLateInformationRetrievalEvaluator(
        queries,
        {id: text for id, text in documents.items() if text},  # as its NanoBEIREvaluator loads them
        relevant,
        score_functions={"MaxSim": colbert_scores},
        **DEPTHS,
    )
    found = evaluator.compute_metrices(Fixed())["MaxSim"]
    scores = {f"{key[:-2]}@{k}": value for key, row in found.items() for k, value in row.items()}
    RECORDED.write_text(json.dumps({"pylate": "1.6.0", "scores": scores}, indent=1) + "\n")


if __name__ == "__main__":
    main()
