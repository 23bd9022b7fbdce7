"""Measuring encoders: what is asked, what is reported."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from eval.benchmarks import encoding, encoding_systems
from eval.benchmarks.__main__ import command as main
from eval.benchmarks.encoding import measure_encoding
from eval.benchmarks.encoding_report import markdown_encoding
from eval.benchmarks.shapes import SHAPES, write_random
from lfm2_retrieval.encoder import Encoder
from lfm2_retrieval.errors import InvalidInputError, MissingExtraError

Make = Callable[..., Path]


def test_a_report_has_every_system_and_workload(checkpoint: Make) -> None:
    report = measure_encoding(
        checkpoint(), ["float32", "int8"], ["sentence-transformers"], documents=6, batch_size=3, rounds=2
    )
    assert [f"{one['name']} {one['dtype']}" for one in report["systems"]] == [
        "lfm2-retrieval float32",
        "lfm2-retrieval int8",
        "sentence-transformers float32",
    ]
    for system in report["systems"]:
        assert system["results"].keys() == {"mix", "full", "query"}
        for name, result in system["results"].items():
            assert len(result["rounds"]) == (10 if name == "query" else 2)
            assert len(result["times"]) == 2
            if name != "query" or system["name"] == "lfm2-retrieval":  # their expansion differs: trap 1
                assert result["least_cosine"] > (0.9 if system["dtype"] == "int8" else 0.9999)
    assert report["ours"]["int8"]["kernels"]
    assert report["systems"][0]["results"]["mix"]["share_of_peak"] > 0
    printed = markdown_encoding(report)
    assert "6 documents of mixed length" in printed
    assert "× sentence-transformers float32" in printed


def test_texts_have_the_lengths_they_should(checkpoint: Make) -> None:
    encoder = Encoder.load(checkpoint())
    texts = encoding._texts(encoder, 40, 2, seed=0)
    counts = sorted(len(encoder.document_spans(text)) for text in texts["mix"])
    assert 140 < counts[20] < 165
    assert counts[-1] > 400
    assert all(len(encoder.document_spans(text)) >= 500 for text in texts["full"])
    assert texts == encoding._texts(encoder, 40, 2, seed=0)


def test_a_peer_that_is_missing_or_fails_is_named(checkpoint: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*args: object) -> None:
        raise ImportError("no pylate")

    monkeypatch.setitem(encoding_systems.PEERS, "pylate", missing)
    with pytest.raises(MissingExtraError, match=r"lfm2-retrieval\[pylate\]"):
        measure_encoding(checkpoint(), ["float32"], ["pylate"], documents=2, rounds=1)
    monkeypatch.setitem(encoding_systems.PEERS, "pylate", lambda *args: 1 / 0)
    with pytest.raises(InvalidInputError, match="pylate can't load"):
        measure_encoding(checkpoint(), ["float32"], ["pylate"], documents=2, rounds=1)


def test_the_command_writes_its_report(checkpoint: Make, tmp_path: Path) -> None:
    options = [
        "--model",
        str(checkpoint()),
        "--dtype",
        "float32",
        "--documents",
        "3",
        "--rounds",
        "1",
        "--json",
    ]
    done = CliRunner().invoke(main, ["encode", *options, "--workload", "query", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "bench-encode.json").read_text())
    assert json.loads(done.stdout) == report
    assert report["workloads"].keys() == {"query"}
    assert (tmp_path / "bench-encode.md").exists()
    assert (tmp_path / "bench-encode.png").stat().st_size > 5000


def test_a_random_checkpoint_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = SHAPES["350m"] | {
        "hidden_size": 32,
        "intermediate_size": 96,
        "block_multiple_of": 16,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 24_000,
    }
    monkeypatch.setattr("eval.benchmarks.shapes.SHAPES", {"tiny": tiny})
    encoder = Encoder.load(write_random(tmp_path / "model", "tiny"))
    assert encoder.dim == 128
    assert encoder.encode_queries(["fox"])[0].shape == (32, 128)
    assert len(encoder.config.layer_types) == 16
