"""How all pictures look, and how they are written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import MissingExtraError

__all__ = [
    "COLOURS",
    "drawing",
    "latency_axis",
    "legend_below",
    "log_ticks",
    "plain_ticks",
    "recall_axis",
    "require_matplotlib",
]

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8c6d31")
"""Okabe and Ito's, which colour-blind people can tell apart, and one more."""
_STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "0.92",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "text.parse_math": False,  # names may hold dollars
    "svg.hashsalt": "lfm2-retrieval",
    "savefig.dpi": 200,
}


def require_matplotlib(extra: str) -> None:
    """Refuse to begin what can't be drawn.

    Raises
    ------
    MissingExtraError
        Without matplotlib, which the extra brings.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("drawing a picture", extra) from error


@contextmanager
def drawing(size: tuple[float, float], *paths: Path, extra: str = "bench") -> Iterator[Any]:
    """A figure of so many inches, written when all is drawn; the same content gives the same files.

    Parameters
    ----------
    paths
        Their suffixes say how: .png, .svg or .pdf.
    extra
        The extra with matplotlib, for the error.

    Raises
    ------
    MissingExtraError
        Without matplotlib.
    """
    require_matplotlib(extra)
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        yield figure
        for path in paths:
            figure.savefig(path, metadata=_UNDATED.get(path.suffix.lower(), {}))


_UNDATED: dict[str, dict[str, Any]] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}


def legend_below(figure: Any, axes: Any, columns: int) -> None:
    """One legend for all panels, of what one of them shows."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(columns, len(labels)), fontsize=8)


def plain_ticks(axis: Any, places: Sequence[float] | None = None) -> None:
    """Numbers as people write them, ``80,000`` and not ``8 × 10⁴``; at these places alone, if given."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

    if places is not None:
        axis.set_major_locator(FixedLocator(places))
        axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(NullFormatter())  # of a short logarithmic axis it would write powers of ten


def log_ticks(axis: Any, values: Sequence[float]) -> None:
    """Plain numbers on a logarithmic axis: at the powers of ten, and at 2 and 5 where there are few."""
    from matplotlib.ticker import LogLocator

    subs = (1, 2, 5) if max(values) < 50 * min(values) else (1,)
    axis.set_major_locator(LogLocator(subs=subs))
    plain_ticks(axis)


def latency_axis(axes: Any, times: Sequence[float], label: str = "median time of a query, ms") -> None:
    """Logarithmic where times differ much, with plain numbers."""
    from matplotlib.ticker import LogLocator, NullLocator

    low, high = min(times), max(times)
    axes.set_xlabel(label)
    if high < 2 * low:
        axes.set_xlim(0, high * 1.15)
        axes.grid()
        return
    axes.set_xscale("log")
    axes.set_xlim(low / (high / low) ** 0.06, high * (high / low) ** 0.06)
    subs = (1, 2, 5) if high < 200 * low else (1,)
    axes.xaxis.set_major_locator(LogLocator(subs=subs))
    plain_ticks(axes.xaxis)
    axes.xaxis.set_minor_locator(NullLocator() if len(subs) > 1 else LogLocator(subs=(2, 5)))
    axes.grid()


def recall_axis(axes: Any, recalls: Sequence[float], label: str) -> None:
    """From below the lowest to just above 1."""
    low, high = min(recalls), max(recalls)
    room = max(0.006, 0.07 * (1 - low))
    axes.set_ylim(low - room, min(1.0, high) + room)
    axes.set_ylabel(label)
