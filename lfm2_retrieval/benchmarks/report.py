"""A benchmark's report as Markdown and as a plot."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["markdown", "write"]

Report = Mapping[str, Any]


def write(report: Report, folder: Path, name: str) -> list[Path]:
    """Write ``NAME.json``, ``NAME.md`` and, of searches and where matplotlib is installed, ``NAME.png``.

    Returns
    -------
    list of Path
        What was written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{name}.json", folder / f"{name}.md"]
    files[0].write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    files[1].write_text(markdown(report), encoding="utf-8")
    if _depths(report) and _plot(report, folder / f"{name}.png"):
        files.append(folder / f"{name}.png")
    return files


def markdown(report: Report) -> str:
    """The report as tables."""
    workload, machine = report["workload"], report["machine"]
    lines = [
        f"{workload['documents']:,} documents, {workload['tokens']:,} vectors of {workload['dim']} "
        f"dimensions ({workload.get('model', workload['source'])}); {workload['queries']:,} queries of "
        f"{workload['vectors_per_query']} vectors on average. "
        f"lfm2-retrieval {report['library']}; {machine['cpu']}, one thread; {report['made']}.",
        "",
        *_table(
            ("system", "version", "build s", "peak MB", "bytes/token", "of which"),
            [_build_row(system) for system in report["systems"] if "build" in system],
        ),
    ]
    for k in _depths(report):
        rows = [
            _search_row(system, label, results[k])
            for system in report["systems"]
            for label, results in system["searches"].items()
        ]
        columns = (
            f"k = {k}",
            "search",
            "p50 ms",
            "p95 ms",
            "p99 ms",
            "to brute",
            "CPU ms",
            f"recall@{k}",
            "NDCG@10",
        )
        lines += ["", *_table(columns, rows)]
    lines += ["", *report["notes"]]
    return "\n".join(lines).rstrip() + "\n"


def _depths(report: Report) -> list[str]:
    """The values of k that were measured."""
    searches = report["systems"][0].get("searches", {})
    return list(next(iter(searches.values()), {}))


def _build_row(system: Mapping[str, Any]) -> list[str]:
    build = system["build"]
    parts = sorted(build["bytes_per_token"].items(), key=lambda part: -part[1])
    return [
        system["name"],
        system["version"],
        f"{build['seconds']:,.1f}",
        f"{build['peak_bytes'] / 1e6:,.0f}",
        f"{build['bytes_per_token_total']:,.1f}",
        ", ".join(f"{name} {size:,.1f}" for name, size in parts[:5] if size >= 0.05),
    ]


def _search_row(system: Mapping[str, Any], label: str, result: Mapping[str, Any]) -> list[str]:
    ratio = result["ratio_to_brute"]
    return [
        system["name"],
        label,
        *(f"{result[name]:,.2f}" for name in ("p50_ms", "p95_ms", "p99_ms")),
        f"1/{1 / ratio:,.1f}" if ratio < 1 else f"{ratio:,.1f}",
        f"{result['p50_cpu_ms']:,.2f}",
        f"{result['recall']:.3f}",
        f"{result['ndcg@10']:.4f}" if "ndcg@10" in result else "",
    ]


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [columns, ["---"] * len(columns), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def _plot(report: Report, path: Path) -> bool:
    """Recall against latency, a panel for each k; whether matplotlib is there to draw it."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    depths = _depths(report)
    figure = Figure(figsize=(5.5 * len(depths), 4.5), layout="constrained")
    for axes, k in zip(figure.subplots(1, len(depths), squeeze=False)[0], depths, strict=True):
        for system in report["systems"]:
            results = sorted((one[k] for one in system["searches"].values()), key=lambda one: one["p50_ms"])
            milliseconds, recall = ([one[what] for one in results] for what in ("p50_ms", "recall"))
            axes.plot(milliseconds, recall, "o-", label=system["name"])
        axes.set(xscale="log", xlabel="p50, ms", ylabel=f"recall@{k}")
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=150)
    return True
