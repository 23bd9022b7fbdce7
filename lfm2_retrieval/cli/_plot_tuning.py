"""The picture of a tuning: recall against latency."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..display.figures import COLOURS, drawing, latency_axis, recall_axis

if TYPE_CHECKING:
    from ..indexes import Tuning

__all__ = ["plot_tuning"]


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
    from ..indexes import in_words

    with drawing((5.2, 3.6), path) as figure:
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
        latency_axis(axes, [one.milliseconds for one in (*tuning.tried, best)])
        recalls = [*(one.recall for one in tuning.tried), best.recall, tuning.target_recall]
        recall_axis(axes, recalls, f"recall@{best.k}")
        axes.legend(loc="lower right", fontsize=8, handlelength=1.4)
        source = "made from stored documents" if best.from_documents else "given"
        axes.set_title(
            f"{best.n_documents:,} documents, {best.n_tokens:,} vectors\n{best.n_queries} queries {source}",
            fontsize=8.5,
            loc="left",
            color="0.25",
        )


def _points(results: Sequence[Any]) -> tuple[list[float], list[float]]:
    return [one.milliseconds for one in results], [one.recall for one in results]
