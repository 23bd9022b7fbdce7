"""Pictures of recall against latency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import MissingExtraError

if TYPE_CHECKING:
    from ..indexes import Tuning

__all__ = [
    "COLOURS",
    "STYLE",
    "depths",
    "metadata",
    "plot_documents",
    "plot_growth",
    "plot_report",
    "plot_tuning",
    "require_matplotlib",
]

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8c6d31")
"""Okabe and Ito's, which colour-blind people can tell apart, and one more."""
_MARKERS = "osD^vPX*"
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "lfm2-retrieval",
    "figure.dpi": 100,
    "savefig.dpi": 200,
}


def require_matplotlib() -> None:
    """Refuse to begin what can't be drawn.

    Raises
    ------
    MissingExtraError
        Without matplotlib.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("drawing a plot", "bench") from error


def plot_tuning(tuning: Tuning, path: Path) -> None:
    """What tuning tried: its finalists, their front, the target and the choice.

    Parameters
    ----------
    tuning
        With something tried, or an empty picture comes of it.
    path
        Its suffix says how to draw: .png, .svg or .pdf.

    Raises
    ------
    MissingExtraError
        Without matplotlib.
    """
    require_matplotlib()
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from ..indexes.recall import in_words

    with rc_context(STYLE):
        figure = Figure(figsize=(5.2, 3.6), layout="constrained")
        axes = figure.subplots()
        best, front = tuning.best, tuning.front
        finalists = [one for one in tuning.finalists if one not in front]
        rough = [one for one in tuning.tried if one not in tuning.finalists]
        axes.axhline(tuning.target_recall, color="0.55", lw=0.8, ls=(0, (4, 3)), zorder=1)
        axes.annotate(
            f"target {tuning.target_recall:g}",
            (1, tuning.target_recall),
            (-2, 3),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            color="0.4",
            fontsize=8,
        )
        if rough:
            label = f"tried with {rough[0].n_queries} queries"
            axes.plot(*_points(rough), ".", color="0.82", ms=4, label=label, zorder=2)
        if finalists:
            label = f"tried with all {best.n_queries}"
            axes.plot(*_points(finalists), "o", color="0.6", ms=4, label=label, zorder=2.5)
        if front:
            axes.plot(
                *_points(front), "o-", color=COLOURS[0], ms=4.5, lw=1.3, label="best trade-offs", zorder=3
            )
        chosen = f"chosen: {in_words(best.nprobe, best.candidates, best.rerank)}"
        axes.plot(
            [best.milliseconds],
            [best.recall],
            "o",
            ms=10,
            mfc="none",
            mec=COLOURS[1],
            mew=1.8,
            ls="none",
            label=chosen if tuning.tried else "every search is exact",
            zorder=4,
        )
        axes.errorbar(
            [best.milliseconds], [best.recall], [best.error], color=COLOURS[1], lw=1.1, capsize=2.5, zorder=2
        )
        _latency_axis(axes, [one.milliseconds for one in (*tuning.tried, best)])
        recalls = [*(one.recall for one in tuning.tried), best.recall, tuning.target_recall]
        _recall_axis(axes, recalls, f"recall@{best.k}")
        axes.legend(loc="lower right", fontsize=8, handlelength=1.4)
        source = "made from stored documents" if best.from_documents else "given"
        axes.set_title(
            f"{best.n_documents:,} documents, {best.n_tokens:,} vectors\n{best.n_queries} queries {source}",
            fontsize=8.5,
            loc="left",
            color="0.25",
        )
        figure.savefig(path, metadata=metadata(path))


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
    require_matplotlib()
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    panels = [[(kind, k) for k in measured] for kind, measured in depths(report).items()]
    with rc_context(STYLE):
        size = (3.9 * len(panels[0]), 0.75 + 2.9 * len(panels))
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(len(panels), len(panels[0]), squeeze=False)
        for row, places in zip(grid, panels, strict=True):
            for axes, (kind, k) in zip(row, places, strict=True):
                _panel(axes, report, kind, k)
        handles, labels = grid[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(6, len(labels)), fontsize=8)
        facts = report["workload"]
        figure.suptitle(
            f"{facts['documents']:,} documents, {facts['tokens']:,} vectors ({facts['source']}), one thread",
            fontsize=8.5,
            color="0.25",
            x=0.01,
            ha="left",
        )
        figure.savefig(path, metadata=metadata(path))


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
    require_matplotlib()
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    panels = [(kind, k) for kind, measured in depths(reports[0]).items() for k in measured] or [("build", "")]
    with rc_context(STYLE):
        figure = Figure(figsize=(0.6 + 3.4 * len(panels), 3.5), layout="constrained")
        grid = figure.subplots(1, len(panels), squeeze=False)[0]
        sizes = [report["workload"]["documents"] for report in reports]
        for axes, (kind, k) in zip(grid, panels, strict=True):
            for number, system in enumerate(reports[0]["systems"]):
                values = [_growth(report["systems"][number], kind, k) for report in reports]
                if None not in values:
                    axes.plot(sizes, values, **_look(number), ms=5, lw=1.3, label=system["name"])
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.xaxis.set_major_locator(FixedLocator(sizes))
            axes.xaxis.set_minor_locator(NullLocator())
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
            axes.set_xlabel("documents")
            axes.set_ylabel("build, s" if kind == "build" else "median time of a query, ms")
            axes.set_title("" if kind == "build" else f"{kind} queries, k = {k}", fontsize=9, loc="left")
            axes.grid(color="0.92", lw=0.7)
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(6, len(labels)), fontsize=8)
        figure.savefig(path, metadata=metadata(path))


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
    require_matplotlib()
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

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
    with rc_context(STYLE):
        figure = Figure(figsize=(10.4, 3.4), layout="constrained")
        for axes, (what, label, scale) in zip(figure.subplots(1, 3), panels, strict=True):
            for number, ((mode, second), rows) in enumerate(lines.items()):
                shown = f"{mode}, {'pooled by ' if by_length else ''}{second:,}"
                x = [row[across] for row in rows]
                axes.plot(x, [row[what] for row in rows], **_look(number), ms=5, lw=1.3, label=shown)
            axes.set_xscale("log" if by_length else "linear")
            axes.set_yscale(scale)
            axes.xaxis.set_major_locator(FixedLocator(sorted({row[across] for row in report["rows"]})))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
            axes.tick_params(axis="x", labelrotation=45 if by_length else 0)
            if scale == "log":
                axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
            axes.set_xlabel("positions" if by_length else "pooled by")
            axes.set_ylabel(label)
            axes.grid(color="0.92", lw=0.7)
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8)
        figure.savefig(path, metadata=metadata(path))


def _growth(system: Mapping[str, Any], kind: str, k: str) -> float | None:
    """What of a system is drawn against size: its first search, or its build."""
    if kind == "build":
        return system["build"]["seconds"] if "build" in system else None
    first = next(iter(system["searches"].values()))
    return first[kind][k]["p50_ms"] if k in first[kind] else None


def _panel(axes: Any, report: Mapping[str, Any], kind: str, k: str) -> None:
    """One kind of query and k: each system's searches, in order of time."""
    times, recalls = [], []
    for number, system in enumerate(report["systems"]):
        points = sorted(
            (one[kind][k]["p50_ms"], one[kind][k]["recall"]) for one in system["searches"].values()
        )
        x, y = ([point[i] for point in points] for i in (0, 1))
        axes.plot(x, y, **_look(number), ms=5, lw=1.2, label=system["name"], clip_on=False)
        times += x
        recalls += y
    _latency_axis(axes, times)
    _recall_axis(axes, recalls, f"recall@{k}")
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


def _points(results: Sequence[Any]) -> tuple[list[float], list[float]]:
    return [one.milliseconds for one in results], [one.recall for one in results]


def _latency_axis(axes: Any, times: Sequence[float], label: str = "median time of a query, ms") -> None:
    """Logarithmic where times differ much, with plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    low, high = min(times), max(times)
    axes.set_xlabel(label)
    if high < 2 * low:
        axes.set_xlim(0, high * 1.15)
        axes.grid(color="0.92", lw=0.7)
        return
    axes.set_xscale("log")
    axes.set_xlim(low / (high / low) ** 0.06, high * (high / low) ** 0.06)
    subs = (1, 2, 5) if high < 200 * low else (1,)
    axes.xaxis.set_major_locator(LogLocator(subs=subs))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator() if len(subs) > 1 else LogLocator(subs=(2, 5)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(color="0.92", lw=0.7)


def _recall_axis(axes: Any, recalls: Sequence[float], label: str) -> None:
    """From below the lowest to just above 1."""
    low, high = min(recalls), max(recalls)
    room = max(0.006, 0.07 * (1 - low))
    axes.set_ylim(low - room, min(1.0, high) + room)
    axes.set_ylabel(label)


def metadata(path: Path) -> dict[str, Any]:
    """No date, so that the same figures give the same file."""
    return {"Date": None} if path.suffix.lower() == ".svg" else {}
