"""`bench documents` on a small judged collection."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from eval.benchmarks.__main__ import command as main
from eval.benchmarks.long_documents import grid, markdown, measure
from lfm2_retrieval import Encoder
from lfm2_retrieval.errors import InvalidInputError

ENDS = ["a quick fox", "bread and wine", "trains at seven", "quiet hills"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    home = tmp_path / "ends-en"
    (home / "qrels").mkdir(parents=True)
    rows = [{"_id": str(i), "text": f"{'rain falls ' * 100}{end}"} for i, end in enumerate(ENDS)]
    (home / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = [{"_id": f"q{i}", "text": end} for i, end in enumerate(ENDS)]
    (home / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    (home / "qrels/test.tsv").write_text(
        "query-id\tcorpus-id\tscore\n" + "".join(f"q{i}\t{i}\t1\n" for i in range(len(ENDS)))
    )
    return home


def test_every_way_has_a_row(folder: Path, checkpoint: Callable[..., Path]) -> None:
    encoder = Encoder.load(checkpoint())
    ways = grid([64, 1024], [64], [1, 2], [64])
    named = [(way.name, way.options.document_length, way.options.pool_factor) for way in ways[:6]]
    assert named == [
        ("truncate", 64, 1),
        ("truncate", 64, 2),
        ("passages", 64, 1),
        ("passages", 64, 2),
        ("window", 64, 1),
        ("window", 64, 2),
    ]
    so_far: list[int] = []
    report = measure(folder, encoder, ways, on_report=lambda report: so_far.append(len(report["rows"])))
    assert so_far == [1, 2, 3, 4, 5, 6, 7, 8]
    by_way = {(r["long_documents"], r["document_length"], r["pool_factor"]): r for r in report["rows"]}
    cut, window, whole = by_way["truncate", 64, 1], by_way["window", 64, 1], by_way["truncate", 1024, 1]
    split = by_way["passages", 64, 1]
    assert (cut["cut"], window["cut"], whole["cut"], split["cut"]) == (4, 0, 0, 0)
    assert split["vectors_per_document"] > window["vectors_per_document"]  # each passage has BOS and prefix
    assert split["ndcg@10"] > cut["ndcg@10"] - 1e-9
    assert cut["vectors_per_document"] == 64
    assert window["vectors_per_document"] == whole["vectors_per_document"] > 200
    assert whole["bytes_per_document"] == 2 * 16 * whole["vectors_per_document"]
    assert window["ndcg@10"] > cut["ndcg@10"] - 1e-9
    assert by_way["window", 64, 2]["bytes_per_document"] == pytest.approx(
        window["bytes_per_document"] / 2, rel=0.02
    )
    assert "| window | 64 | 2 |" in markdown(report)


def test_documents_and_queries_are_drawn(folder: Path, checkpoint: Callable[..., Path]) -> None:
    encoder = Encoder.load(checkpoint())
    ways = grid([64], [], [1])
    report = measure(folder, encoder, ways, n_documents=3, n_queries=2)
    assert (report["collection"]["documents"], report["collection"]["queries"]) == (3, 2)
    again = measure(folder, encoder, ways, n_documents=3, n_queries=2)
    assert report["rows"][0]["ndcg@10"] == again["rows"][0]["ndcg@10"]
    with pytest.raises(InvalidInputError, match="at most 4096"):
        measure(folder, encoder, grid([64, 9000], [], [1]))


def test_the_command_writes_its_report(folder: Path, checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    arguments = [str(folder), "--model", str(checkpoint()), "--out", str(tmp_path / "out")]
    more = ["--truncate", "64", "--window", "64", "--window", "128"]
    result = CliRunner().invoke(main, ["documents", *arguments, *more])
    assert result.exit_code == 0, result.stderr
    assert "| truncate | 64 | 1 |" in result.stdout
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {
        "lengths-ends-en.json",
        "lengths-ends-en.md",
    }
    result = CliRunner().invoke(main, ["documents", *arguments, "--truncate", "64", "--pool-factor", "3"])
    assert (tmp_path / "out/pooling-ends-en.json").is_file()
    assert np.isfinite(json.loads((tmp_path / "out/pooling-ends-en.json").read_text())["rows"][0]["ndcg@10"])
