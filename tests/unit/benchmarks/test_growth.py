"""How an index grows, on tiny made-up data."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from eval.benchmarks.__main__ import command as main
from eval.benchmarks.growth import _row, fit, formula, sizes_between


def test_sizes_lie_at_even_distances():
    assert sizes_between(100, 10_000, 2) == [100, 320, 1000, 3200, 10_000]
    assert sizes_between(100, 5000, 1) == [100, 1000]
    assert sizes_between(40, 40, 3) == [40]


@pytest.mark.parametrize(("a", "b", "c"), [(1.5, 4.0, 0.5), (0.0, 30.0, 1.0), (2.0, 0.0, 1.0)])
def test_a_model_is_found_again(a, b, c):
    vectors = np.geomspace(1e3, 1e7, 9)
    model = fit([(x, a + b * (x / 1e6) ** c) for x in vectors.tolist()])
    assert model["error"] < 0.02
    for x in (3e4, 5e6):
        assert model["a"] + model["b"] * (x / 1e6) ** model["c"] == pytest.approx(
            a + b * (x / 1e6) ** c, rel=0.03
        )
    assert "ms" in formula(model)


def _measured(**points):
    def searches(found):
        return {
            label: {"plain": {"10": {"p50_cpu_ms": ms, "p50_ms": ms, "recall": recall}}}
            for label, (ms, recall) in found.items()
        }

    build = {"seconds": 1.0, "peak_bytes": 2, "idle_bytes": 1, "bytes_per_token_total": 40.0}
    return {
        "workload": {"documents": 10, "tokens": 100},
        "machine": {"load_at_start": [0, 0, 0]},
        "systems": [
            {"name": "brute", "searches": searches({"default": (9.0, 1.0)})},
            {"name": "lfm2 balanced", "searches": searches(points), "build": build, "search_peak_bytes": 3},
        ],
    }


def test_the_quickest_setting_that_is_good_enough_counts():
    row = _row(_measured(default=(3.0, 0.99), quick=(2.0, 0.96), poor=(1.0, 0.9)), "balanced")
    assert (row["setting"], row["p50_cpu_ms"], row["exact_p50_cpu_ms"]) == ("quick", 2.0, None)
    row = _row(_measured(default=(3.0, 0.94), poor=(1.0, 0.9)), "balanced")
    assert (row["setting"], row["recall"]) == ("default", 0.94)


def test_the_command_writes_every_size(tmp_path):
    arguments = ["--from", "30", "--to", "100", "--per-decade", "1", "--document-vectors", "8"]
    options = ["--queries", "2", "--rounds", "1", "--out", str(tmp_path)]
    result = CliRunner().invoke(main, ["growth", *arguments, *options])
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "growth.json").read_text())
    assert [row["documents"] for row in report["rows"]] == [30]
    assert report["rows"][0]["recall"] == 1
    assert "| 30 |" in result.stdout
    assert (tmp_path / "growth.md").read_text() == result.stdout


def test_a_plot_has_the_model(tmp_path):
    pytest.importorskip("matplotlib")
    from eval.benchmarks.plots import plot_sizes

    row = _row(_measured(default=(3.0, 0.99)), "balanced")
    rows = [{**row, "documents": 10**i, "vectors": 10 ** (i + 1)} for i in range(2, 6)]
    model = {"search": {"a": 1.0, "b": 2.0, "c": 0.5, "error": 0.0}}
    report = {"rows": rows, "tier": "balanced", "target_recall": 0.95, "model": model}
    plot_sizes({**report, "rows": [{**one, "exact_p50_cpu_ms": 4.0} for one in rows]}, tmp_path / "all.svg")
    plot_sizes(report, tmp_path / "some.svg")
    assert "model" in (tmp_path / "all.svg").read_text()
