import json
from xml.etree import ElementTree

import numpy as np
import pytest

from lfm2_retrieval import Index, Retriever, TokenEmbeddings

WORDS = ["fox", "rain", "town", "bread", "wine", "moon", "tide", "river", "stone", "fire", "wood", "glass"]


@pytest.fixture(scope="session")
def compressed(checkpoint, tmp_path_factory):
    """A compressed index with a model, made once."""
    import faiss

    faiss.omp_set_num_threads(1)
    path = tmp_path_factory.mktemp("tune") / "index"
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, 40)) for _ in range(160)]
    with Retriever.index(texts, path, model=checkpoint()) as retriever:
        assert retriever.store.build(force=True)
    return path


@pytest.fixture
def questions(tmp_path):
    path = tmp_path / "questions.txt"
    path.write_text("a fox in the rain\n\nbread and wine\nthe moon over the river\n")
    return path


def test_tuning_shows_what_it_tried_and_stores_the_choice(run, compressed):
    result = run("tune", compressed, "--target-recall", "0.6", "-k", "5", "--sample", "8")
    assert result.exit_code == 0, result.output
    assert result.stdout.split()[:5] == ["nprobe", "candidates", "rerank", "recall", "ms"]
    assert result.stdout.count("chosen") == 1
    assert "front" in result.stdout
    assert "made from stored documents" in result.stdout
    with Index.open(compressed) as index:
        tuned = index.settings["tuned"]
    assert f"nprobe {tuned['nprobe']}, candidates {tuned['candidates']}" in result.stdout.splitlines()[-1]
    facts = json.loads(run("info", compressed, "--json").stdout)
    assert facts["tuned"] == tuned
    assert facts["recall"]["recall"] >= 0.6
    printed = run("info", compressed).stdout
    assert "\nrecall " in printed
    assert f"\ntuned            nprobe {tuned['nprobe']}," in printed


def test_tuning_with_queries_for_machines(run, compressed, questions):
    result = run("tune", compressed, "--queries", questions, "--json", "-k", "3")
    facts = json.loads(result.stdout)
    assert result.stderr == ""
    assert (facts["best"]["n_queries"], facts["best"]["from_documents"]) == (3, False)
    assert (facts["target_recall"], facts["tunable"]) == (0.98, True)
    assert [one["best"] for one in facts["tried"]].count(True) == 1
    assert any(one["front"] for one in facts["tried"])
    again = run("tune", compressed, "--queries", "-", "-k", "3", input="fox\nrain\n")
    assert "Measured with 2 queries." in again.stdout


def test_queries_as_json_lines(run, compressed, tmp_path):
    path = tmp_path / "queries.jsonl"
    path.write_text("".join(json.dumps({"_id": word, "text": word}) + "\n" for word in WORDS[:4]))
    assert json.loads(run("tune", compressed, "--queries", path, "--json").stdout)["best"]["n_queries"] == 4


def test_a_target_that_is_not_reached(run, compressed, monkeypatch):
    monkeypatch.setattr("lfm2_retrieval.indexes.tuning.recall.share_found", lambda found, exact: 0.25)
    result = run("tune", compressed, "--sample", "3")
    assert result.exit_code == 0
    assert "The target 0.98 was not reached. The best, stored as the default:" in result.stdout
    assert "finds 0.250" in result.stdout
    assert not json.loads(run("tune", compressed, "--sample", "3", "--json").stdout)["reached"]


def test_an_exact_index_has_nothing_to_tune(run, made):
    result = run("tune", made, "-k", "100")
    assert result.exit_code == 0
    assert result.stdout.startswith("Nothing to tune: no part of this index is compressed")
    facts = json.loads(run("tune", made, "--json").stdout)
    assert (facts["tunable"], facts["tried"], facts["best"]["recall"]) == (False, [], 1)


def test_k_beyond_the_collection(run, compressed):
    result = run("tune", compressed, "-k", "500", "--sample", "3")
    assert result.exit_code == 0
    assert "the index holds only 160 documents" in result.stdout


@pytest.mark.parametrize(
    "options",
    [
        ["--target-recall", "0"],
        ["--target-recall", "1.1"],
        ["--target-recall", "most"],
        ["-k", "0"],
        ["--sample", "0"],
        ["--queries", "/does/not/exist"],
        ["--plot", "recall.gif"],
        ["--plot", "recall"],
        ["--model", "nano"],
    ],
)
def test_wrong_use_is_code_2(run, compressed, options):
    result = run("tune", compressed, *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Error: " in result.stderr


def test_what_cannot_be_tuned(run, tmp_path, compressed):
    Index.create(tmp_path / "empty", 8).close()
    (tmp_path / "blank.txt").write_text(" \n\n")
    for arguments, message in (
        ([tmp_path / "nothing"], "no index at"),
        ([tmp_path / "empty"], "the index is empty"),
        ([compressed, "--target-recall", "nan"], "target_recall must be above 0"),
        ([compressed, "--queries", tmp_path / "blank.txt"], "there is no query in it"),
    ):
        result = run("tune", *arguments)
        assert (result.exit_code, result.stdout) == (1, ""), result.output
        assert message in result.stderr
        assert result.stderr.count("\n") == 1


def test_an_index_without_a_model_needs_one_for_queries(run, tmp_path, questions):
    with Index.create(tmp_path / "index", 8) as index:
        index.add(["a"], TokenEmbeddings(np.ones((2, 8), np.float32), np.array([0, 2])))
    result = run("tune", tmp_path / "index", "--queries", questions)
    assert result.exit_code == 1
    assert "does not say which model" in result.stderr


def test_a_plot_without_matplotlib_names_the_extra(run, compressed, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    result = run("tune", compressed, "--plot", tmp_path / "plot.png")
    assert result.exit_code == 1
    assert "pip install 'lfm2-retrieval[bench]'" in result.stderr
    assert not (tmp_path / "plot.png").exists()


@pytest.mark.peer
def test_plots(run, compressed, made, tmp_path):
    pytest.importorskip("matplotlib")
    for suffix in ("png", "svg", "PDF"):
        result = run("tune", compressed, "--sample", "4", "--plot", tmp_path / f"plot.{suffix}")
        assert result.exit_code == 0, result.output
        assert (tmp_path / f"plot.{suffix}").stat().st_size > 5000
    assert "recall@10" in "".join(ElementTree.parse(tmp_path / "plot.svg").getroot().itertext())
    assert run("tune", made, "--plot", tmp_path / "exact.png").exit_code == 0
