"""Our encoder in mteb, and ``--compat mteb`` against mteb's own scores; on a tiny local task."""

from __future__ import annotations

import pytest

pytest.importorskip("mteb")
pytest.importorskip("datasets")

import datasets
import mteb
import numpy as np
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData
from mteb.abstasks.task_metadata import TaskMetadata

from lfm2_retrieval.errors import InvalidInputError
from lfm2_retrieval.evaluation import Settings, load_suite, run_suite
from lfm2_retrieval.evaluation.compat import Compat
from lfm2_retrieval.integrations import mteb as ours
from lfm2_retrieval.integrations.mteb import LFM2Search

pytestmark = pytest.mark.peer
SCORES = {
    "nDCG@10": "ndcg_at_10",
    "nDCG@100": "ndcg_at_100",
    "R@10": "recall_at_10",
    "R@20": "recall_at_20",
    "R@100": "recall_at_100",
    "MRR@10": "mrr_at_10",
    "MAP": "map_at_1000",
    "Success@1": "hit_rate_at_1",
}
(REF,) = load_suite("demo").refs(languages=["de"])


class Demo(AbsTaskRetrieval):
    """The bundled German collection."""

    metadata = TaskMetadata(
        name="Demo",
        description="The demo collection.",
        dataset={"path": "none/none", "revision": "none"},
        type="Retrieval",
        category="t2t",
        modalities=["text"],
        eval_splits=["test"],
        eval_langs=["deu-Latn"],
        main_score="ndcg_at_10",
        reference=None,
        date=None,
        domains=None,
        task_subtypes=None,
        license=None,
        annotations_creators=None,
        dialect=None,
        sample_creation=None,
        bibtex_citation=None,
    )

    def load_data(self, *_, **__) -> None:
        dataset = REF.load()
        rows = [{"id": id, "title": "", "text": text} for id, text in dataset.documents.items()]
        asked = [{"id": id, "text": text} for id, text in dataset.queries.items()]
        split = RetrievalSplitData(
            corpus=datasets.Dataset.from_list(rows),
            queries=datasets.Dataset.from_list(asked),
            relevant_docs={query: dict(grades) for query, grades in dataset.qrels.items()},
            top_ranked=None,
        )
        self.dataset = {"default": {"test": split}}
        self.data_loaded = True


def test_a_compressed_index_in_commits(monkeypatch, tmp_path):
    monkeypatch.setattr(ours, "_COMMIT_TOKENS", 2000)
    (english,) = load_suite("demo").refs(languages=["en"])
    dataset = english.load()
    corpus = [{"id": id, "text": text} for id, text in list(dataset.documents.items())[:80]]
    rows = [{"id": id, "text": text} for id, text in list(dataset.queries.items())[:30]]
    model = LFM2Search("nano", tier="balanced", batch_size=16, path=tmp_path / "index")
    model.index(iter(corpus))
    index = model._index
    assert (len(index), index.tier) == (80, "balanced")
    assert index.commit > 3
    assert index.codec_facts is not None
    found = model.search(iter(rows), top_k=5)
    exact = LFM2Search(model.encoder)
    exact.index(corpus)
    wanted = exact.search(rows, top_k=5)
    assert found.keys() == wanted.keys() == {row["id"] for row in rows}
    assert np.mean([len(found[id].keys() & wanted[id]) / 5 for id in found]) > 0.9
    (first, best), *_ = wanted.items()
    ranked = exact.search(rows[:1], top_k=2, top_ranked={first: list(best)[::-1]})
    assert ranked == {first: dict(list(best.items())[:2])}
    assert exact.search(rows[:1], top_k=2, top_ranked={}) == {first: {}}
    model.index([{"id": "a", "text": ""}])  # the one before is forgotten
    assert model.search(rows[:1], top_k=5)[first].keys() == {"a"}
    for one in (model, exact):
        one.close()
    with pytest.raises(InvalidInputError, match="tier"):
        LFM2Search(exact.encoder, tier="small")


def test_mteb_evaluates_our_encoder_and_its_scores_are_ours(tmp_path):
    model = LFM2Search("nano")
    result = mteb.evaluate(model, [Demo()], cache=None, overwrite_strategy="always")
    scores = result.task_results[0].scores["test"][0]
    content = run_suite(
        [REF],
        model.encoder,
        tmp_path,
        Settings(compat=Compat.MTEB),
        suite={"name": "demo", "title": "Demo", "published": []},
    )
    for name, value in content["cells"][0]["measures"].items():
        assert value == pytest.approx(scores[SCORES[name]], abs=1e-5), name  # mteb rounds to five digits
    model.close()
