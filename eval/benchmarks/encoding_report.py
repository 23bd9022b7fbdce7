"""A report of encoding as Markdown and as a plot."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lfm2_retrieval.display.figures import COLOURS, drawing
from lfm2_retrieval.display.markup import code
from lfm2_retrieval.display.markup import markdown as escaped
from lfm2_retrieval.errors import MissingExtraError

__all__ = ["markdown_encoding", "write_encoding"]

Report = Mapping[str, Any]
_TITLES = {
    "mix": "documents of mixed length",
    "full": "documents of 512 tokens",
    "query": "one query of 32 tokens",
}


def write_encoding(report: Report, folder: Path, name: str = "bench-encode") -> list[Path]:
    """Write ``NAME.json``, ``NAME.md`` and, where matplotlib is installed, ``NAME.png``.

    Returns
    -------
    list of Path
        What was written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{name}.json", folder / f"{name}.md"]
    files[0].write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    files[1].write_text(markdown_encoding(report), encoding="utf-8")
    try:
        _plot(report, folder / f"{name}.png")
    except MissingExtraError:
        return files
    return [*files, folder / f"{name}.png"]


def markdown_encoding(report: Report) -> str:
    """The report as tables, one for each workload."""
    machine, protocol = report["machine"], report["protocol"]
    threads = protocol["threads"]
    lines = [
        f"{escaped(str(report['model']))}, lfm2-retrieval {report['library']}; "
        f"{escaped(machine['cpu'])} ({escaped(machine['capability'])}), "
        f"{threads} thread{'s' if threads > 1 else ''}, torch {machine['torch']}; {report['made']}. Medians "
        f"of {protocol['rounds']} rounds in turns; others in batches of {protocol['batch_size_of_others']}.",
        "",
        code(report["command"]),
    ]
    for workload, size in report["workloads"].items():
        labels = [_label(one) for one in report["systems"]]
        title = f"{size['texts']} {_TITLES[workload]}" if workload != "query" else _TITLES[workload]
        columns = [title, "ms" if workload == "query" else "documents/s", "tokens/s", "of peak", "least cos"]
        columns += ["mean cos", *(f"× {label}" for label in labels)]
        lines += ["", _row(columns), _row(["---"] * len(columns))]
        for system in report["systems"]:
            if workload in system["results"]:
                lines.append(_row(_cells(system, workload, labels)))
    lines += ["", "Matrix products alone, at the model's shapes and 1,024 rows:", ""]
    lines += [_row(["dtype", "GFLOP/s", "load s", "kernels"]), _row(["---"] * 4)]
    for dtype, ours in report["ours"].items():
        kernels = ", ".join(sorted({f"{one['kernel']} ({one['dtype']})" for one in ours["kernels"]}))
        lines.append(_row([dtype, f"{ours['peak_gflops']:,.0f}", f"{ours['load_seconds']:.1f}", kernels]))
    return "\n".join(lines) + "\n"


def _cells(system: Mapping[str, Any], workload: str, labels: list[str]) -> list[str]:
    result = system["results"][workload]
    speed = (
        f"{1e3 * result['seconds']:,.1f}" if workload == "query" else f"{result['documents_per_second']:,.2f}"
    )
    share = result.get("share_of_peak")
    return [
        _label(system),
        speed,
        f"{result['tokens_per_second']:,.0f}",
        "" if share is None else f"{share:.0%}",
        *(f"{result[name]:.5f}" if name in result else "" for name in ("least_cosine", "mean_cosine")),
        *(f"{result['times'][label]:.2f}" if label in result["times"] else "" for label in labels),
    ]


def _plot(report: Report, path: Path) -> None:
    """Tokens per second of each system, a panel for each workload."""
    workloads = list(report["workloads"])
    names = list(dict.fromkeys(system["name"] for system in report["systems"]))
    with drawing((3.1 * len(workloads), 0.6 + 0.28 * len(report["systems"])), path) as figure:
        panels = figure.subplots(1, len(workloads), sharey=True, squeeze=False)[0]
        for axes, workload in zip(panels, workloads, strict=True):
            shown = [one for one in reversed(report["systems"]) if workload in one["results"]]
            speeds = [one["results"][workload]["tokens_per_second"] for one in shown]
            colours = [COLOURS[names.index(one["name"]) % len(COLOURS)] for one in shown]
            bars = axes.barh([_label(one) for one in shown], speeds, color=colours, height=0.7)
            axes.bar_label(bars, fmt="{:,.0f}", padding=2, fontsize=8, color="0.3")
            axes.margins(x=0.18)
            axes.set_xlabel("tokens/s")
            axes.set_title(_TITLES[workload], fontsize=8.5, loc="left", color="0.25")


def _label(system: Mapping[str, Any]) -> str:
    return f"{system['name']} {system['dtype']}"


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(map(escaped, cells))} |"
