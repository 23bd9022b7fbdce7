"""`sizes` on a few documents: what it measures is there, and filters find what they should."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from eval.benchmarks.__main__ import command as main
from eval.benchmarks.sizes import FILTERS


def test_all_of_it_is_measured(tmp_path: Path) -> None:
    options = ["--docs", "1000", "--queries", "2", "--rounds", "1", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(main, ["sizes", str(tmp_path / "index"), *options], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    facts = json.loads((tmp_path / "out" / "sizes.json").read_text(encoding="utf-8"))
    assert facts["documents"] == 1000
    assert facts["filters"].keys() == FILTERS.keys()
    assert all(one["recall@10"] >= 0.9 for one in facts["filters"].values() if one["documents"] > 10)
    assert facts["filters"]["range, .5"]["documents"] in range(400, 600)
    assert facts["delete_0.2"]["left"] in range(700, 900)
    assert facts["modes"]["hybrid_ms"] > 0
