"""Codes of a study: each decodes to something near, and the more bytes, the nearer."""

from __future__ import annotations

import numpy as np

from eval.benchmarks.codes import CODES, Collection, measure
from eval.benchmarks.synthetic import SyntheticCorpus
from lfm2_retrieval.datatypes import TokenEmbeddings


def test_all_codes() -> None:
    corpus = SyntheticCorpus(60, length=30)
    documents, queries = corpus.documents(), corpus.queries(8)
    token_ids = np.arange(len(documents.embeddings)) % 50
    documents = TokenEmbeddings(documents.embeddings, documents.offsets, token_ids)
    ids, asked = [f"d{i}" for i in range(60)], [f"q{i}" for i in range(8)]
    qrels = {query: {ids[number]: 1} for number, query in enumerate(asked)}
    rows = measure(Collection(ids, documents, asked, queries, qrels))
    assert [row["code"] for row in rows] == ["float16", *CODES]
    by_code = {row["code"]: row for row in rows}
    assert by_code["float16"]["recall@10"] == 1
    assert by_code["pq4 (compact)"]["bytes"] == 34
    assert by_code["pq4 (compact)"]["error"] < by_code["pq8"]["error"] < by_code["pq9"]["error"] < 1
    assert all(row["recall@10"] > 0.3 for row in rows)
