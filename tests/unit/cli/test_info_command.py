import json

import numpy as np

from lfm2_retrieval import TokenEmbeddings, __version__
from lfm2_retrieval.indexes import Index


def test_info_tells_what_the_index_holds(run, made, checkpoint):
    facts = json.loads(run("info", made, "--json").stdout)
    with Index.open(made) as index:
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
    Index.create(tmp_path / "empty", 8, tier="exact").close()
    result = run("info", tmp_path / "empty")
    assert result.exit_code == 0
    assert "not recorded" in result.stdout
    assert json.loads(run("info", tmp_path / "empty", "--json").stdout)["bytes_per_token"] is None


def test_a_compressed_index_tells_its_errors(run, tmp_path):
    vectors = np.random.default_rng(0).standard_normal((5000, 8))
    with Index.create(tmp_path / "index", 8) as index:
        index.add([str(i) for i in range(100)], TokenEmbeddings(vectors, np.arange(0, 5001, 50)))
        index.build(force=True)
    facts = json.loads(run("info", tmp_path / "index", "--json").stdout)
    assert facts["codec"]["n_centroids"] == 128
    assert 0 < facts["errors"]["mean_square_error"] < facts["errors"]["mean_square_to_centroid"]
    assert facts["outgrown"] is False
    shown = run("info", tmp_path / "index").stdout
    assert "128 centroids, 2 bytes of code; mean squared error" in shown
    assert "on what it encoded" in shown
