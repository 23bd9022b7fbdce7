"""Pictures of recall against latency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lfm2_retrieval.display.figures import (
    COLOURS,
    drawing,
    latency_axis,
    legend_below,
    log_ticks,
    plain_ticks,
    recall_axis,
)

from .summary import front

__all__ = ["depths", "plot_documents", "plot_growth", "plot_report", "plot_sizes"]

_MARKERS = "osD^vPX*"


def plot_report(report: Mapping[str, Any], path: Path) -> None:
    """A benchmark's searches: a panel for each kind of query and k, a colour for each system.

    Parameters
    ----------
    report
        Of `benchmarks.run.measure`, with searches.
    path
        Its suffix says how to draw: .png, .svg or .pdf.

    Raises
    ------
    MissingExtraError
        Without matplotlib.
    """
    panels = [[(kind, k) for k in measured] for kind, measured in depths(report).items()]
    with drawing((3.9 * len(panels[0]), 0.75 + 2.9 * len(panels)), path) as figure:
        grid = figure.subplots(len(panels), len(panels[0]), squeeze=False)
        for row, places in zip(grid, panels, strict=True):
            for axes, (kind, k) in zip(row, places, strict=True):
                _panel(axes, report, kind, k)
        legend_below(figure, grid[0][0], 6)
        facts = report["workload"]
        figure.suptitle(
            f"{facts['documents']:,} documents, {facts['tokens']:,} vectors ({facts['source']}), one thread",
            fontsize=8.5,
            color="0.25",
            x=0.01,
            ha="left",
        )


def plot_growth(reports: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Several sizes of one collection: latency (or, without searches, build time) against documents.

    Parameters
    ----------
    reports
        Of `benchmarks.run.measure`, smallest first, of the same systems.
    path
        Its suffix says how to draw: .png, .svg or .pdf.

    Raises
    ------
    MissingExtraError
        Without matplotlib.
    """
    panels = [(kind, k) for kind, measured in depths(reports[0]).items() for k in measured] or [("build", "")]
    with drawing((0.6 + 3.4 * len(panels), 3.5), path) as figure:
        grid = figure.subplots(1, len(panels), squeeze=False)[0]
        sizes = [report["workload"]["documents"] for report in reports]
        for axes, (kind, k) in zip(grid, panels, strict=True):
            for number, system in enumerate(reports[0]["systems"]):
                values = [_growth(report["systems"][number], kind, k) for report in reports]
                if None not in values:
                    axes.plot(sizes, values, **_look(number), ms=5, lw=1.3, label=system["name"])
            axes.set_xscale("log")
            axes.set_yscale("log")
            plain_ticks(axes.xaxis, sizes)
            plain_ticks(axes.yaxis)
            axes.set_xlabel("documents")
            axes.set_ylabel("build, s" if kind == "build" else "median time of a query, ms")
            axes.set_title("" if kind == "build" else f"{kind} queries, k = {k}", fontsize=9, loc="left")
            axes.grid()
        legend_below(figure, grid[0], 6)


def plot_sizes(report: Mapping[str, Any], path: Path) -> None:
    """Time, bytes and memory against documents, with the model of the time.

    Parameters
    ----------
    report
        Of `benchmarks.growth.measure_growth`.
    path
        Its suffix says how to draw: .png, .svg or .pdf.

    Raises
    ------
    MissingExtraError
        Without matplotlib.
    """
    rows = report["rows"]
    sizes = [row["documents"] for row in rows]
    shown = {
        "CPU time of a query, ms": {
            "brute force": ([row["brute_p50_cpu_ms"] for row in rows], "o"),
            "exact": ([row["exact_p50_cpu_ms"] for row in rows], "s"),
            f"{report['tier']}, recall ≥ {report['target_recall']:g}": (
                [row["p50_cpu_ms"] for row in rows],
                "D",
            ),
        },
        "bytes a vector": {report["tier"]: ([row["bytes_per_vector"] for row in rows], "D")},
        "resident memory, MB": {
            "building": ([row["build_peak_bytes"] / 1e6 for row in rows], "^"),
            "searching": ([row["search_peak_bytes"] / 1e6 for row in rows], "v"),
        },
    }
    with drawing((10.4, 3.4), path) as figure:
        for axes, (title, lines) in zip(figure.subplots(1, 3), shown.items(), strict=True):
            for number, (label, (values, marker)) in enumerate(lines.items()):
                known = [(x, y) for x, y in zip(sizes, values, strict=True) if y is not None]
                style = {"color": COLOURS[number], "marker": marker, "ms": 4, "lw": 1.2}
                axes.plot([x for x, _ in known], [y for _, y in known], **style, label=label)
            if "CPU" in title and (model := report["model"].get("search")):
                vectors = [row["vectors"] for row in rows]
                times = [model["a"] + model["b"] * (one / 1e6) ** model["c"] for one in vectors]
                axes.plot(sizes, times, color="0.4", ls=":", lw=1.2, label="model")
            axes.set_xscale("log")
            log_ticks(axes.xaxis, sizes)
            if "bytes" not in title:
                axes.set_yscale("log")
                drawn = [value for values, _ in lines.values() for value in values if value is not None]
                log_ticks(axes.yaxis, drawn)
            axes.set_xlabel("documents")
            axes.set_title(title, fontsize=9, loc="left")
            axes.legend(fontsize=7, frameon=False)
            axes.grid()


def plot_documents(report: Mapping[str, Any], path: Path) -> None:
    """Ways of reading documents: NDCG@10, bytes and speed against positions, or else the pooling factor.

    Parameters
    ----------
    report
        Of `benchmarks.long_documents.measure`.
    path
        Its suffix says how to draw: .png, .svg or .pdf.

    Raises
    ------
    MissingExtraError
        Without matplotlib.
    """
    by_length = len({row["document_length"] for row in report["rows"]}) > 1
    across, other = ("document_length", "pool_factor") if by_length else ("pool_factor", "document_length")
    lines: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for row in report["rows"]:
        lines.setdefault((row["long_documents"], row[other]), []).append(row)
    panels = (
        ("ndcg@10", "NDCG@10", "linear"),
        ("bytes_per_document", "bytes a document", "log"),
        ("documents_per_cpu_second", "documents/s of processor time", "log"),
    )
    with drawing((10.4, 3.4), path) as figure:
        for axes, (what, label, scale) in zip(figure.subplots(1, 3), panels, strict=True):
            for number, ((mode, second), rows) in enumerate(lines.items()):
                shown = f"{mode}, {'pooled by ' if by_length else ''}{second:,}"
                x = [row[across] for row in rows]
                axes.plot(x, [row[what] for row in rows], **_look(number), ms=5, lw=1.3, label=shown)
            axes.set_xscale("log" if by_length else "linear")
            axes.set_yscale(scale)
            plain_ticks(axes.xaxis, sorted({row[across] for row in report["rows"]}))
            axes.tick_params(axis="x", labelrotation=45 if by_length else 0)
            if scale == "log":
                plain_ticks(axes.yaxis)
            axes.set_xlabel("positions" if by_length else "pooled by")
            axes.set_ylabel(label)
            axes.grid()
        legend_below(figure, axes, 4)


def _growth(system: Mapping[str, Any], kind: str, k: str) -> float | None:
    """What of a system is drawn against size: its first search, or its build."""
    if kind == "build":
        return system["build"]["seconds"] if "build" in system else None
    first = next(iter(system["searches"].values()))
    return first[kind][k]["p50_ms"] if k in first[kind] else None


def _panel(axes: Any, report: Mapping[str, Any], kind: str, k: str) -> None:
    """One kind of query and k: each system's searches, and a line through the best of them."""
    times, recalls = [], []
    for number, system in enumerate(report["systems"]):
        points = [
            (one[kind][k]["p50_ms"], one[kind][k]["recall"], label)
            for label, one in system["searches"].items()
        ]
        look = _look(number)
        x, y = ([point[i] for point in points] for i in (0, 1))
        axes.plot(x, y, **{**look, "ls": ""}, ms=4, alpha=0.6, clip_on=False)
        best = front(points)
        axes.plot(*([point[i] for point in best] for i in (0, 1)), **look, ms=4, lw=1.2, label=system["name"])
        times += x
        recalls += y
    latency_axis(axes, times)
    recall_axis(axes, recalls, f"recall@{k}")
    vectors = report["workload"]["vectors_per_query"][kind]
    axes.set_title(f"{kind} queries of {vectors:g} vectors, k = {k}", fontsize=9, loc="left")


def _look(number: int) -> dict[str, str]:
    style = "-" if number < len(COLOURS) else "--"
    place = number % len(COLOURS)
    return {"color": COLOURS[place], "marker": _MARKERS[place], "ls": style}


def depths(report: Mapping[str, Any]) -> dict[str, list[str]]:
    """The kinds of queries that a report has, and the values of k measured with each."""
    searches: Mapping[str, Any] = next(iter(report["systems"][0].get("searches", {}).values()), {})
    return {kind: list(results) for kind, results in searches.items() if results}
