"""The benchmark on tiny made-up data; each run starts real workers."""

import json
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from lfm2_retrieval import TokenEmbeddings
from lfm2_retrieval.benchmarks.report import markdown, write
from lfm2_retrieval.benchmarks.run import _recall, measure
from lfm2_retrieval.benchmarks.synthetic import SyntheticCorpus, draw_queries
from lfm2_retrieval.benchmarks.systems import BRUTE, PEERS, System, Worker, lfm2
from lfm2_retrieval.benchmarks.worker import Vectors
from lfm2_retrieval.benchmarks.workload import from_npz, synthetic
from lfm2_retrieval.cli import main
from lfm2_retrieval.errors import InvalidInputError, RetrievalError


@pytest.fixture(scope="module")
def report():
    return measure(synthetic(60, 5, dim=16), [lfm2("exact", {})], {}, rounds=2)


@pytest.fixture
def run():
    def invoke(*arguments):
        return CliRunner().invoke(main, ["bench", *map(str, arguments)])

    return invoke


@pytest.fixture
def vectors(tmp_path):
    """An .npz with queries that are documents, and judgements that say so."""
    corpus = SyntheticCorpus(30, 16).documents()
    asked = corpus.select([3, 7])
    path = tmp_path / "vectors.npz"
    np.savez(
        path,
        embeddings=corpus.embeddings,
        offsets=corpus.offsets,
        query_embeddings=asked.embeddings,
        query_offsets=asked.offsets,
        ids=[f"d{i}" for i in range(30)],
        query_ids=["three", "seven"],
    )
    qrels = tmp_path / "qrels.tsv"
    qrels.write_text("query-id\tcorpus-id\tscore\nthree\td3\t1\nseven\td7\t1\n")
    return path, qrels


def test_exact_is_exact(report):
    brute, ours = report["systems"]
    assert (brute["name"], ours["name"]) == ("brute", "lfm2 exact")
    for k, facts in ours["searches"]["default"].items():
        assert facts["recall"] == 1, k
    assert brute["searches"]["default"]["10"]["ratio_to_brute"] == 1


def test_the_report_has_what_was_promised(report):
    json.dumps(report)
    assert {"library", "machine", "workload", "protocol", "systems", "notes", "made", "format"} == set(report)
    assert report["workload"]["documents"] == 60
    ours = report["systems"][1]
    assert list(ours["searches"]["default"]) == ["10"]  # there are fewer than 100 documents
    assert set(ours["searches"]["default"]["10"]) == {
        "p50_ms",
        "p95_ms",
        "p99_ms",
        "ratio_to_brute",
        "p50_cpu_ms",
        "cpu_ratio_to_brute",
        "cpu_per_second",
        "recall",
    }
    built = ours["build"]
    assert built["seconds"] > 0
    assert built["peak_bytes"] >= built["idle_bytes"] > 1e6
    assert built["bytes"]["vectors"] == pytest.approx(2 * 16 * report["workload"]["tokens"], rel=0.05)
    assert built["bytes_per_token_total"] == pytest.approx(
        sum(built["bytes"].values()) / report["workload"]["tokens"]
    )
    assert ours["search_peak_bytes"] > 1e6


def test_markdown_has_a_row_for_everything(report):
    text = markdown(report)
    assert text.count("\n| brute |") == 1
    assert text.count("\n| lfm2 exact |") == 2
    assert "1.000" in text


def test_a_plot_needs_matplotlib(report, tmp_path):
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        expected = ["run.json", "run.md"]
    else:
        expected = ["run.json", "run.md", "run.png"]
    assert [file.name for file in write(report, tmp_path / "new", "run")] == expected
    assert json.loads((tmp_path / "new/run.json").read_text()) == json.loads(json.dumps(report))


def test_recall_counts_ties_with_the_last():
    exact = [{"ids": [4, 2, 9, 5], "scores": [3.0, 2.0, 2.0, 1.0]}]
    assert _recall(exact, [[4, 9]], 2) == 1
    assert _recall(exact, [[4, 5]], 2) == 0.5
    assert _recall(exact, [[]], 2) == 0


def test_ndcg_with_judgements(vectors):
    pytest.importorskip("ir_measures")
    path, qrels = vectors
    found = measure(from_npz(path, None, 10, qrels=qrels), [], {}, rounds=1)
    assert found["systems"][0]["searches"]["default"]["10"]["ndcg@10"] == 1


def test_npz_is_cut_and_queries_are_drawn(vectors, tmp_path):
    path, qrels = vectors
    assert len(from_npz(path, 12, 1).documents) == 12
    with np.load(path) as file:
        np.savez(tmp_path / "bare.npz", embeddings=file["embeddings"], offsets=file["offsets"])
    drawn = from_npz(tmp_path / "bare.npz", None, 4, vectors=5)
    assert drawn.queries.lengths.tolist() == [5] * 4
    assert drawn.facts["drawn_queries"]
    with pytest.raises(InvalidInputError, match="need ids, query_ids"):
        from_npz(tmp_path / "bare.npz", None, 4, qrels=qrels)
    np.savez(tmp_path / "wrong.npz", embeddings=np.zeros((2, 2)))
    with pytest.raises(InvalidInputError, match="lacks offsets"):
        from_npz(tmp_path / "wrong.npz", None, 4)
    with pytest.raises(InvalidInputError, match="can't be read"):
        from_npz(qrels, None, 4)


def test_synthetic_vectors_are_the_same_in_any_portion():
    corpus = SyntheticCorpus(250, 8, seed=3)
    whole, again = corpus.documents(), SyntheticCorpus(250, 8, seed=3).documents(130, 210)
    assert len(whole) == 250
    assert np.array_equal(whole.select(np.arange(130, 210)).embeddings, again.embeddings)
    assert not np.array_equal(
        SyntheticCorpus(250, 8, seed=4).documents(0, 1).embeddings[0], whole.embeddings[0]
    )
    assert np.allclose(np.linalg.norm(whole.embeddings.astype(np.float32), axis=1), 1, atol=2e-3)
    first, second = (SyntheticCorpus(250, 8, seed=3).queries(7) for _ in range(2))
    assert np.array_equal(first.embeddings, second.embeddings)
    assert first.lengths.tolist() == [12] * 7


def test_synthetic_clusters_follow_zipf():
    corpus = SyntheticCorpus(200, 32)
    vectors = corpus.documents().embeddings.astype(np.float32)
    sizes = np.sort(np.bincount((vectors @ corpus._centres.T).argmax(axis=1), minlength=8192))[::-1]
    assert sizes[0] > 20 * max(1, sizes[500])


def test_queries_are_drawn_from_documents_with_vectors():
    documents = TokenEmbeddings(np.eye(3, dtype=np.float32), np.array([0, 0, 3, 3]))
    drawn = draw_queries(documents, 5, 4, np.random.default_rng(0))
    assert drawn.embeddings.shape == (20, 3)
    assert np.allclose(np.linalg.norm(drawn.embeddings, axis=1), 1)


def test_a_worker_reads_any_part(tmp_path):
    documents = SyntheticCorpus(20, 8).documents()
    np.save(tmp_path / "v.npy", documents.embeddings)
    np.save(tmp_path / "o.npy", documents.offsets)
    read = Vectors(str(tmp_path / "v.npy"), str(tmp_path / "o.npy"))
    assert np.array_equal(read.read(5, 9), documents.select(range(5, 9)).embeddings.astype(np.float32))
    assert sum(len(vectors) for _, vectors, _ in read.batches()) == len(documents.embeddings)


def test_a_worker_runs_in_any_interpreter_without_this_library():
    with Worker(BRUTE, sys.executable) as worker:
        assert worker.about["version"] == np.__version__
        assert worker.ask("memory")["peak"] > 1e6
        with pytest.raises(RetrievalError, match="brute: TypeError"):
            worker.ask("build", nonsense=1)


def test_a_missing_system_names_the_remedy():
    with pytest.raises(
        RetrievalError, match=r"fast-plaid: ModuleNotFoundError.*--peer-python fast-plaid=PATH"
    ):
        measure(synthetic(10, 1, dim=8), [PEERS["fast-plaid"]], {}, rounds=1)
    with pytest.raises(RetrievalError, match="x: KeyError"), Worker(System("x", "nonsense")):
        pass


def test_bench_search_writes_a_report(run, tmp_path):
    result = run("search", "--docs", 40, "--queries", 3, "--rounds", 1, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "| lfm2 balanced | default |" in result.stdout
    assert (tmp_path / "out/bench-search.json").is_file()
    assert (tmp_path / "out/bench-search.md").read_text() == result.stdout


def test_bench_index_for_machines(run, vectors):
    result = run("index", "--embeddings", vectors[0], "--docs", 8, "--json")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["workload"]["documents"] == 8
    assert "searches" not in facts["systems"][1]


def test_bench_encodes_texts(run, tmp_path, checkpoint):
    texts = tmp_path / "texts.jsonl"
    texts.write_text(
        "".join(json.dumps({"_id": str(i), "text": f"fox number {i}"}) + "\n" for i in range(12))
    )
    result = run("index", "--input", texts, "--model", checkpoint(), "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["workload"]["documents"] == 12


@pytest.mark.parametrize("name", ["index", "search"])
def test_help(run, name):
    output = run(name, "--help").output
    for option in ("--docs", "--synthetic", "--embeddings", "--input", "--model", "--tier", "--against"):
        assert option in output
    assert ("--rounds" in output) == (name == "search")


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["search", "--docs", "0"],
        ["search", "--tier", "tiny"],
        ["search", "--against", "nothing"],
        ["search", "--peer-python", "fast-plaid=/does/not/exist"],
        ["search", "--peer-python", "fast-plaid"],
        ["search", "--search", "nprobe"],
        ["search", "--search", "nprobe=many"],
        ["search", "--model", "nano"],
        ["index", "--qrels", __file__],
        ["index", "--synthetic", "--embeddings", __file__],
    ],
)
def test_wrong_use_is_code_2(run, arguments):
    result = run(*arguments)
    assert result.exit_code == 2, result.output
