"""The benchmark on tiny made-up data; each run starts real workers."""

import json
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from eval.benchmarks.__main__ import command as main
from eval.benchmarks.plots import plot_growth, plot_report
from eval.benchmarks.report import markdown, markdown_growth, write
from eval.benchmarks.run import SHARES, _recall, _Way, measure
from eval.benchmarks.synthetic import SyntheticCorpus, draw_queries, expand, repeat
from eval.benchmarks.systems import BRUTE, PEERS, System, Worker, lfm2
from eval.benchmarks.worker.documents import DRAWN, Vectors, draw
from eval.benchmarks.worker.muvera import Muvera, encode, make_random
from eval.benchmarks.workload import from_npz, synthetic
from lfm2_retrieval import TokenEmbeddings
from lfm2_retrieval.errors import InvalidInputError, RetrievalError


@pytest.fixture(scope="module")
def report():
    return measure(synthetic(60, 5, dim=16).with_expanded(32), [lfm2("exact", {})], {}, rounds=2)


@pytest.fixture
def run():
    def invoke(*arguments):
        return CliRunner().invoke(main, [*map(str, arguments)])

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
    assert set(ours["searches"]["default"]) == {"plain", "expanded"}
    for kind, depths in ours["searches"]["default"].items():
        for k, facts in depths.items():
            assert facts["recall"] == 1, (kind, k)
    assert brute["searches"]["default"]["plain"]["10"]["ratio_to_brute"] == 1


def test_systems_take_turns_of_some_queries(monkeypatch):
    asked, search = [], _Way.search

    def noted(way, query, k, **more):
        asked.append((way.system.name, query))
        return search(way, query, k, **more)

    monkeypatch.setattr(_Way, "search", noted)
    measure(synthetic(20, 5, dim=8), [lfm2("exact", {})], {}, rounds=2, brute_rounds=1, turn=2)
    measured = asked[6:21]  # between the three of the warm-up and the oracle's
    order = ["brute", "lfm2 exact", "lfm2 exact", "brute", "brute", *["lfm2 exact"] * 4]
    queries = [[0, 1], [0, 1], [2, 3], [2, 3], [4], [4], [0, 1], [2, 3], [4]]  # brute in one round only
    assert measured == [(name, query) for name, some in zip(order, queries, strict=True) for query in some]


def test_the_report_has_what_was_promised(report):
    json.dumps(report)
    assert {"library", "machine", "workload", "protocol", "systems", "notes", "made", "format"} == set(report)
    assert report["workload"]["documents"] == 60
    ours = report["systems"][1]
    assert report["workload"]["vectors_per_query"] == {"plain": 12, "expanded": 32}
    assert list(ours["searches"]["default"]["plain"]) == ["10"]  # there are fewer than 100 documents
    assert set(ours["searches"]["default"]["plain"]["10"]) == {
        "p50_ms",
        "p95_ms",
        "p99_ms",
        "p50_ms_by_round",
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
    assert text.count("\n| brute |") == 2
    assert text.count("\n| lfm2 exact |") == 3
    assert "| expanded queries, k = 10 |" in text
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


def test_filtered_searches_find_what_is_left():
    system = lfm2("exact", {}, filtered=True)
    report = measure(synthetic(300, 3, dim=8), [system], {}, rounds=1, filtered=True)
    assert [row["share"] for row in report["filtered"]] == [None, *SHARES]
    assert all(row["recall"] == 1 and row["p50_ms"] > 0 for row in report["filtered"])
    assert "| 0.01% |" in markdown(report)


def test_numbers_drawn_are_spread_evenly():
    drawn = draw(np.arange(10_000, 20_000))
    for share in SHARES:
        assert abs((drawn < share * DRAWN).sum() - share * 10_000) <= 2


def test_recall_counts_ties_with_the_last():
    exact = [{"ids": [4, 2, 9, 5], "scores": [3.0, 2.0, 2.0, 1.0]}]
    assert _recall(exact, [[4, 9]], 2) == 1
    assert _recall(exact, [[4, 5]], 2) == 0.5
    assert _recall(exact, [[]], 2) == 0
    assert _recall([{"ids": [], "scores": []}], [[]], 2) == 1


def test_ndcg_with_judgements(vectors):
    pytest.importorskip("ir_measures")
    path, qrels = vectors
    found = measure(from_npz(path, None, 10, qrels=qrels), [], {}, rounds=1)
    assert found["systems"][0]["searches"]["default"]["plain"]["10"]["ndcg@10"] == 1


def test_npz_is_cut_and_queries_are_drawn(vectors, tmp_path):
    path, qrels = vectors
    assert len(from_npz(path, 12, 1).documents) == 12
    with pytest.raises(InvalidInputError, match="fewer than 31"):
        from_npz(path, 31, 1)
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


def test_npz_brings_expanded_queries_and_judgements(vectors, tmp_path):
    pytest.importorskip("ir_measures")
    with np.load(vectors[0]) as file:
        arrays = dict(file)
    arrays |= {"qrels_query_ids": ["three", "three"], "qrels_ids": ["d3", "d4"], "qrels_grades": [2, 0]}
    arrays |= {"expanded_embeddings": np.eye(16, dtype=np.float32)[:6], "expanded_offsets": [0, 4, 6]}
    np.savez(tmp_path / "all.npz", **arrays)
    read = from_npz(tmp_path / "all.npz", None, 10)
    assert read.qrels == {"three": {"d3": 2, "d4": 0}}
    assert read.with_expanded(32).expanded.lengths.tolist() == [4, 2]
    assert from_npz(tmp_path / "all.npz", None, 10, qrels=vectors[1]).qrels["seven"] == {"d7": 1}
    assert from_npz(tmp_path / "all.npz", None, 1).with_expanded(32).expanded.lengths.tolist() == [4]
    found = measure(read, [], {}, rounds=1)["systems"][0]["searches"]["default"]
    assert found["plain"]["10"]["ndcg@10"] == 1
    del arrays["qrels_grades"]
    np.savez(tmp_path / "some.npz", **arrays)
    with pytest.raises(InvalidInputError, match="lacks qrels_grades"):
        from_npz(tmp_path / "some.npz", None, 10)


def test_documents_are_repeated_slightly_disturbed(vectors):
    read = from_npz(vectors[0], 70, 5, repeated=True)
    assert (len(read.documents), read.qrels) == (70, None)
    assert read.facts["repeated"]
    first, copy = read.documents[2].astype(np.float32), read.documents[32].astype(np.float32)
    assert 0.98 < np.einsum("ij,ij->i", first, copy).min() < 0.9999
    assert not np.array_equal(copy, read.documents[62])
    assert len(repeat(read.documents, 70, np.random.default_rng(0))) == 70


def test_expanded_queries_keep_their_own_vectors():
    queries = TokenEmbeddings(np.eye(40, dtype=np.float32), np.array([0, 3, 3, 40]))
    filled = expand(queries, 8, np.random.default_rng(0))
    assert filled.lengths.tolist() == [8, 0, 8]
    assert np.array_equal(filled[0][:3], queries[0])
    assert np.array_equal(filled[2], queries[2][:8])
    assert np.allclose(np.linalg.norm(filled.embeddings, axis=1), 1)
    assert 0.6 < np.einsum("ij,ij->i", filled[0][3:6], queries[0]).min() < 0.95


def test_muvera_estimates_maxsim(tmp_path):
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((120, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    documents = TokenEmbeddings(vectors, np.arange(0, 121, 3))
    queries = draw_queries(documents, 5, 4, rng)
    planes, projections = make_random(16, 0, repetitions=60, bits=3, projected=16)
    encoded = np.stack([encode(one, planes, projections, False) for one in documents])
    assert encoded.shape == (40, 60 * 8 * 16)
    for query in queries:
        exact = [(query @ one.T).max(1).sum() for one in documents]
        rough = encoded @ encode(query, planes, projections, True) / 60
        assert np.corrcoef(exact, rough)[0, 1] > 0.8
        assert np.argmax(exact) in np.argsort(-rough)[:3]
    np.save(tmp_path / "v.npy", documents.embeddings)
    np.save(tmp_path / "o.npy", documents.offsets)
    stored = Vectors(str(tmp_path / "v.npy"), str(tmp_path / "o.npy"))
    system = Muvera()
    system.build(stored, str(tmp_path / "index"), repetitions=4)
    system.open(str(tmp_path / "index"), stored)
    ids, scores = system.search(queries[0], 3, rerank=40)
    exact = np.array([(queries[0] @ one.T).max(1).sum() for one in documents])
    assert ids == np.argsort(-exact)[:3].tolist()
    assert scores == pytest.approx(exact[ids], rel=2e-3)  # float16


def test_growth_is_told_together(report, run, tmp_path):
    text = markdown_growth([report, report])
    assert "| lfm2 exact | build s |" in text
    assert "| brute | default, plain, k = 10: p50 ms |" in text
    arguments = ["--docs", 80, "--docs", 40, "--queries", 2, "--rounds", 1, "--expand-to", 0]
    result = run("search", *arguments, "--tier", "exact", "--out", tmp_path, "--json")
    assert result.exit_code == 0, result.output
    runs = json.loads(result.stdout)["runs"]
    assert [one["workload"]["documents"] for one in runs] == [40, 80]
    names = {file.name for file in tmp_path.iterdir()}
    assert {"bench-search-40.json", "bench-search-80.md", "bench-search-growth.json"} <= names


def test_plots_of_reports(report, tmp_path):
    pytest.importorskip("matplotlib")
    plot_report(report, tmp_path / "report.svg")
    plot_growth([report, report], tmp_path / "growth.png")
    plot_growth([{**report, "systems": report["systems"][1:]}] * 2, tmp_path / "build.pdf")
    assert "recall@10" in (tmp_path / "report.svg").read_text()


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


def test_synthetic_documents_may_be_short():
    corpus = SyntheticCorpus(300, 8, length=12)
    assert 10 <= np.median(corpus.documents().lengths) <= 14
    with pytest.raises(InvalidInputError, match="vectors"):
        SyntheticCorpus(3, length=0)


def test_queries_are_taken_at_even_distances(tmp_path):
    one = np.eye(8, dtype=np.float32)
    path = tmp_path / "eight.npz"
    offsets, names = np.arange(9), [str(i) for i in range(8)]
    np.savez(
        path,
        **{"embeddings": one, "offsets": offsets, "ids": names, "query_ids": names},
        **{"query_embeddings": one, "query_offsets": offsets},
        **{"qrels_query_ids": names, "qrels_ids": names, "qrels_grades": np.ones(8, int)},
    )
    work = from_npz(path, None, 3)
    assert work.query_ids == ["0", "2", "5"]
    assert work.queries.embeddings.argmax(1).tolist() == [0, 2, 5]
    assert len(from_npz(path, None, 80).queries) == 8


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
        ["index", "--repeat"],
        ["search", "--expand-to", "-1"],
        ["index", "--synthetic", "--embeddings", __file__],
    ],
)
def test_wrong_use_is_code_2(run, arguments):
    result = run(*arguments)
    assert result.exit_code == 2, result.output
