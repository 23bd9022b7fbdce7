"""What is measured under a name is what a search by that name gives."""

import json

import numpy as np
import pytest
from small_sets import WORDS

from lfm2_retrieval import Retriever
from lfm2_retrieval.cli.eval import command
from lfm2_retrieval.errors import InvalidInputError
from lfm2_retrieval.evaluation import Dataset, DatasetRef, Settings, read_run, run_suite, write_reports
from lfm2_retrieval.evaluation.by_words import Bm25s
from lfm2_retrieval.evaluation.results import read_results
from lfm2_retrieval.evaluation.systems import SYSTEMS, parse_systems

OPTIONS = {
    "exact": {},
    "balanced": {},
    "hybrid": {"mode": "hybrid"},
    "hybrid-weighted": {"mode": "hybrid", "fusion": "weighted"},
    "hybrid-rerank": {"mode": "hybrid", "fusion": "rerank"},
    "lexical": {"mode": "lexical"},
}
"""System → how a user asks for the same of an index that was made by default, or of tier exact."""


@pytest.fixture(scope="module")
def dataset():
    rng = np.random.default_rng(0)
    texts = {f"d{i}": " ".join(rng.choice(WORDS, 25)) for i in range(150)}
    asked = {f"q{i}": " ".join(texts[f"d{i}"].split()[:5]) for i in range(12)}
    return Dataset("many", "en", texts, asked, {query: {f"d{query[1:]}": 1} for query in asked})


@pytest.fixture(scope="module")
def measured(dataset, encoder, tmp_path_factory):
    out = tmp_path_factory.mktemp("measured")
    suite = {"name": "small", "title": "Small", "published": []}
    run_suite([DatasetRef("many", "en", lambda: dataset)], encoder, out, Settings(SYSTEMS), suite=suite)
    return out


@pytest.fixture(scope="module")
def retrievers(dataset, encoder):
    """By tier: the default, and the exact one."""
    documents = [{"id": id, "text": text} for id, text in dataset.documents.items()]
    with (
        Retriever.index(documents, model=encoder) as made,
        Retriever.index(documents, model=encoder, tier="exact") as exact,
    ):
        made.store.build(force=True)
        yield {"default": made, "exact": exact}


@pytest.mark.parametrize("system", OPTIONS)
def test_a_system_finds_what_a_user_finds(measured, retrievers, dataset, system):
    retriever = retrievers.get(system, retrievers["default"])
    run = read_run(measured / f"many.en-en.{system}.trec")
    assert list(run) == list(dataset.queries)
    for query, rows in run.items():
        hits = retriever.search(dataset.queries[query], k=100, **OPTIONS[system])
        assert [id for id, _ in rows] == [hit.id for hit in hits]
        np.testing.assert_allclose([score for _, score in rows], [hit.score for hit in hits], rtol=1e-4)


def test_tiers_are_compared_with_exact_and_others_are_not(measured):
    content = read_results(measured)
    assert [cell["system"] for cell in content["cells"]] == list(SYSTEMS)
    assert {cell["status"] for cell in content["cells"]} == {"done"}
    compared = {mean["system"] for mean in content["means"] if "against_exact" in mean}
    assert compared == {"accurate", "balanced", "compact"}
    facts = content["corpora"]["many.en"]
    assert set(facts["indexes"]) == {"exact", "accurate", "balanced", "compact", "hybrid"}
    assert set(facts["latency"]) == set(SYSTEMS) - {"lexical", "bm25s"}
    assert [facts["indexes"][name]["compressed"] for name in ("exact", "compact", "hybrid")] == [0, 1, 1]
    json.dumps(content, allow_nan=False)
    files = {path.name for path in write_reports(measured)}
    assert {"bars.png", "bytes.png", "latency.png"} <= files
    text = (measured / "report.md").read_text()
    for system in SYSTEMS.values():
        assert f"| en | {system.label} | 12 |" in text


def test_a_tier_may_be_measured_without_exact(dataset, encoder, tmp_path):
    suite = {"name": "small", "title": "Small", "published": []}
    refs = [DatasetRef("many", "en", lambda: dataset)]
    content = run_suite(refs, encoder, tmp_path, Settings(["balanced"]), suite=suite)
    (cell,) = content["cells"]
    assert (cell["system"], cell["status"], "against_exact" in cell) == ("balanced", "done", False)
    write_reports(tmp_path)
    assert "What compression costs" not in (tmp_path / "report.md").read_text()


def test_words_alone_encode_nothing(dataset, encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(type(encoder), "encode_documents", None)
    monkeypatch.setattr(type(encoder), "encode_queries", None)
    suite = {"name": "small", "title": "Small", "published": []}
    refs = [DatasetRef("many", "en", lambda: dataset)]
    content = run_suite(refs, encoder, tmp_path, Settings(["bm25s", "lexical"]), suite=suite)
    assert [(cell["system"], cell["status"]) for cell in content["cells"]] == [
        ("lexical", "done"),
        ("bm25s", "done"),
    ]
    write_reports(tmp_path)


def test_bm25s_is_as_it_comes():
    bm25s = pytest.importorskip("bm25s")
    texts = {"a": "foxes and dogs run", "b": "rain on the hills", "c": "", "d": "foxes in the rain, rain"}
    with Bm25s(texts) as baseline:
        found = baseline.search(["foxes rain", "the", "", "猫", "hills"], 3)
    theirs = bm25s.BM25()
    theirs.index(bm25s.tokenize(list(texts.values()), show_progress=False), show_progress=False)
    asked = bm25s.tokenize(["foxes rain"], show_progress=False)
    places, scores = theirs.retrieve(asked, k=3, show_progress=False)
    assert {list(texts)[i] for i in places[0]} == {id for id, _ in found[0]}
    np.testing.assert_allclose([score for _, score in found[0]], scores[0])
    assert [[id for id, _ in rows] for rows in found[1:]] == [[], [], [], ["b"]]
    with Bm25s({"a": "", "b": "the"}) as baseline:
        assert baseline.search(["fox", ""], 3) == [[], []]


def test_names_are_checked_and_ordered():
    assert parse_systems(["lexical", "exact", "lexical"]) == ("exact", "lexical")
    assert Settings(["hybrid", "exact"]).systems == ("exact", "hybrid")
    with pytest.raises(InvalidInputError, match="there is no system 'bm25'; there are exact, accurate"):
        parse_systems(["exact", "bm25"])
    with pytest.raises(InvalidInputError, match="name at least one system"):
        Settings([])


def test_help_names_all_systems():
    (option,) = (one for one in command.commands["demo"].params if one.name == "systems")
    assert all(name in option.help for name in SYSTEMS)
