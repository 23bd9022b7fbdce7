"""Pictures of recall against latency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import MissingExtraError

if TYPE_CHECKING:
    from ..indexes import Tuning

__all__ = ["plot_report", "plot_tuning", "require_matplotlib"]

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8c6d31")
"""Okabe and Ito's, which colour-blind people can tell apart, and one more."""
_MARKERS = "osD^vPX*"
_STYLE: Any = {
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

    with rc_context(_STYLE):
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
                *_points(front), "o-", color=_COLOURS[0], ms=4.5, lw=1.3, label="best trade-offs", zorder=3
            )
        chosen = f"chosen: nprobe {best.nprobe}, candidates {best.candidates}, rerank {best.rerank}"
        axes.plot(
            [best.milliseconds],
            [best.recall],
            "o",
            ms=10,
            mfc="none",
            mec=_COLOURS[1],
            mew=1.8,
            ls="none",
            label=chosen if tuning.tried else "every search is exact",
            zorder=4,
        )
        axes.errorbar(
            [best.milliseconds], [best.recall], [best.error], color=_COLOURS[1], lw=1.1, capsize=2.5, zorder=2
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
        figure.savefig(path, metadata=_metadata(path))


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
    raise NotImplementedError


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


def _metadata(path: Path) -> dict[str, Any]:
    """No date, so that the same figures give the same file."""
    return {"Date": None} if path.suffix.lower() == ".svg" else {}
