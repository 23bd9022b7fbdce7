import json

from lfm2_retrieval.cli import models

PUBLISHED = {"LiquidAI/LFM2-ColBERT-350M", "LiquidAI/LFM2.5-ColBERT-350M"}


def test_models_are_listed_with_where_they_are(run):
    entries = {entry["name"]: entry for entry in json.loads(run("models", "--json").stdout)}
    assert entries.keys() == {"nano"} | PUBLISHED
    assert entries["nano"]["found"] in ("bundled", "missing")
    assert all(entries[name]["found"] in ("cached", "needs download") for name in PUBLISHED)
    printed = run("models").stdout
    assert all(name in printed for name in entries)


def test_settings_come_from_the_checkpoint(run, monkeypatch, checkpoint):
    monkeypatch.setattr(models, "_find", lambda name: ("cached", checkpoint()))
    settings = json.loads(run("models", "--json").stdout)[0]["settings"]
    assert settings["hidden_size"] == 32
    assert settings["out_features"] == 16
    assert settings["query_length"] == 32
    assert "query_prefix '[Q] '" in run("models").stdout


def test_a_damaged_checkpoint_has_no_settings(run, monkeypatch, tmp_path):
    (tmp_path / "config.json").write_text("{")
    monkeypatch.setattr(models, "_find", lambda name: ("cached", tmp_path))
    assert json.loads(run("models", "--json").stdout)[0]["settings"] == {}


def test_kernels_are_explained(run, checkpoint):
    folder = str(checkpoint())
    entries = json.loads(run("models", "--explain", "--model", folder, "--json").stdout)
    assert [entry["dtype"] for entry in entries] == ["float32", "bfloat16", "int8"]
    assert {tuple(one["shape"]) for one in entries[0]["linears"]} == {(96, 32), (32, 32), (64, 32), (32, 64)}
    assert all(
        one["kernel"].split("+")[-1] in ("plain", "onednn", "narrow")
        for entry in entries
        for one in entry["linears"]
    )
    printed = run("models", "--explain", "--model", folder, "--dtype", "int8").stdout
    assert "96 × 32" in printed
    assert run("models", "--dtype", "int8").exit_code == 2
