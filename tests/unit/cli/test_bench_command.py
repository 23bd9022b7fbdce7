"""What a user measures of his own machine and index."""

import json

import pytest

from lfm2_retrieval import Retriever
from lfm2_retrieval.evaluation import throughput


@pytest.fixture(scope="module")
def index(checkpoint, tmp_path_factory):
    path = tmp_path_factory.mktemp("bench") / "index"
    texts = [f"{word} and {other}" for word in ("fox", "rain", "town") for other in ("bread", "wine")]
    Retriever.index(texts, path, model=checkpoint()).close()
    return path


def test_encoding_is_measured_in_each_dtype(run, checkpoint, monkeypatch):
    monkeypatch.setattr(throughput, "matmul_peak", lambda *_: 1e12)  # bfloat16 takes a minute on some
    tiny = checkpoint(layers=("conv",), hidden=8, heads=2, kv_heads=2, ffn=8, dim=8)
    options = ["--model", tiny, "--seconds", "0.001"]
    found = json.loads(run("bench", "encode", *options, "--json").stdout)
    (one,) = found["runs"]
    assert one["dtype"] == "torch.float32"
    assert {row["batch"] for row in one["rows"]} == {1, 8, 32}
    shown = run("bench", "encode", *options, "--dtype", "float32", "--dtype", "bfloat16").stdout
    assert "in float32" in shown
    assert "in bfloat16" in shown
    assert "query, 32 tokens" in shown


def test_searching_is_measured_and_nothing_stored(run, index, checkpoint, tmp_path):
    found = json.loads(run("bench", "search", index, "--json").stdout)
    assert found["search"]["recall"] == found["exact"]["recall"] == 1
    assert found["search"]["from_documents"]
    questions = tmp_path / "questions.txt"
    questions.write_text("a fox\n\nbread\n")
    arguments = ["bench", "search", index, "--queries", questions, "--model", checkpoint()]
    shown = run(*arguments).stdout
    assert "6 documents" in shown
    assert "2 queries, given" in shown
    assert json.loads(run("info", index, "--json").stdout)["recall"] is None


def test_wrong_uses_are_refused(run, index, tmp_path):
    assert run("bench", "search", index, "--model", "nano").exit_code == 2
    result = run("bench", "search", tmp_path / "none")
    assert (result.exit_code, "lfm2-retrieve index" in result.stderr) == (1, True)
