import json

from lfm2_retrieval import __version__
from lfm2_retrieval.indexes import ExactIndex


def test_info_tells_what_the_index_holds(run, made, checkpoint):
    facts = json.loads(run("info", made, "--json").stdout)
    with ExactIndex.open(made) as index:
        assert (facts["documents"], facts["tokens"], facts["dim"]) == (4, index.n_tokens, index.dim)
        assert facts["bytes"] == {**index.size_bytes(), "total": sum(index.size_bytes().values())}
    assert facts["tier"] == "balanced"
    assert facts["model"] == str(checkpoint())
    assert len(facts["model_fingerprint"]) == 32
    assert facts["created_by"] == f"lfm2-retrieval {__version__}"
    assert facts["bytes_per_token"] > 0


def test_info_for_people(run, made):
    lines = dict(line.split(None, 1) for line in run("info", made).stdout.splitlines())
    assert lines["documents"] == "4"
    assert lines["tier"] == "balanced"
    assert "bytes a token" in lines["size"]


def test_an_empty_index_without_a_model(run, tmp_path):
    ExactIndex.create(tmp_path / "empty", 8).close()
    result = run("info", tmp_path / "empty")
    assert result.exit_code == 0
    assert "not recorded" in result.stdout
    assert json.loads(run("info", tmp_path / "empty", "--json").stdout)["bytes_per_token"] is None
