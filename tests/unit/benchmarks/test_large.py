"""`large` and its made-up documents: the same in any portion, with true answers, and a run goes on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from eval.benchmarks import large as module
from eval.benchmarks.__main__ import command as main
from eval.benchmarks.large import Truth, sizes
from eval.benchmarks.synthetic_passages import SyntheticPassages
from lfm2_retrieval.errors import InvalidInputError


@pytest.fixture(scope="module")
def corpus() -> SyntheticPassages:
    return SyntheticPassages(260, dim=32)


def test_documents_are_the_same_in_any_portion(corpus: SyntheticPassages) -> None:
    whole = corpus.documents()
    assert len(whole) == 260
    assert whole.embeddings.dtype == np.float16
    assert whole.lengths.min() >= 100
    assert whole.lengths.max() <= 140
    assert np.allclose(np.linalg.norm(whole.embeddings.astype(np.float32), axis=1), 1, atol=1e-3)
    for start, stop in ((0, 3), (95, 205), (100, 200), (259, 260), (120, 120)):
        some = corpus.documents(start, stop)
        assert len(some) == stop - start
        rows = slice(int(whole.offsets[start]), int(whole.offsets[stop]))
        assert np.array_equal(some.embeddings, whole.embeddings[rows])


def test_queries_find_their_documents_and_neighbours_are_alike(corpus: SyntheticPassages) -> None:
    whole, queries = corpus.documents(), corpus.queries(8, among=50)
    vectors = whole.embeddings.astype(np.float32)
    for query in queries:
        best = np.maximum.reduceat(query @ vectors.T, whole.offsets[:-1], axis=1).sum(axis=0)
        assert int(best.argmax()) < 50
    next_to, far = (np.einsum("ij,ij->i", vectors[:-lag], vectors[lag:]).mean() for lag in (1, 30))
    assert next_to > far + 0.1


def test_what_makes_no_documents_is_refused() -> None:
    for wrong in ({"n_documents": 0}, {"n_documents": 5, "shortest": 9, "longest": 8}):
        with pytest.raises(InvalidInputError, match="needs documents"):
            SyntheticPassages(**wrong)


def test_answers_are_exact_however_documents_come(corpus: SyntheticPassages, tmp_path: Path) -> None:
    queries, whole = corpus.queries(3, vectors=4), corpus.documents()
    truth = Truth(queries, tmp_path / "truth.npz")
    for start, stop in ((0, 130), (130, 131), (131, 260)):
        truth.add(corpus.documents(start, stop))
        truth.save()
        truth = Truth(queries, tmp_path / "truth.npz")
    for query, ids, scores in zip(queries, truth.ids, truth.scores, strict=True):
        similar = query @ whole.embeddings.astype(np.float32).T
        totals = np.maximum.reduceat(similar, whole.offsets[:-1], axis=1).sum(axis=0)
        assert np.allclose(scores, np.sort(totals)[::-1][:100], atol=1e-5)
        assert np.allclose(totals[ids], scores, atol=1e-5)


def test_a_run_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BATCH", 60)
    folder, out = tmp_path / "made", tmp_path / "out"
    options = ["large", str(folder), "--docs", "200", "--queries", "3", "--rounds", "1"]
    result = CliRunner().invoke(main, [*options, "--until", "100"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    (folder / "truth.npz").unlink()  # as if the run had ended between two commits: it is made anew
    result = CliRunner().invoke(main, [*options, "--out", str(out)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    facts = json.loads((out / "large.json").read_text(encoding="utf-8"))
    assert facts["documents"] == facts["planned_documents"] == 200
    assert facts["recall@10"] >= 0.9
    assert facts["building"]["cpu_s"].keys() == {"making vectors", "adding", "compressing", "exact answers"}
    assert facts["bytes"] == sum(sizes(folder / "index").values())
    assert facts["k=100, threads=2"]["p50_cpu_ms"] > 0
