"""Pictures of an evaluation, each as PNG and SVG."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import MissingExtraError
from .tables import Content, bytes_per_token, languages, mean_of, systems

__all__ = ["draw"]

_COLOURS = {"exact": "#1f4e79", "compressed": "#d98324", "bm25": "#8a8a8a"}
_MARKERS = {"exact": "o", "compressed": "^"}
_LABELS = {"exact": "exact", "compressed": "compressed", "bm25": "BM25"}
_STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "svg.fonttype": "none",
    "svg.hashsalt": "lfm2-retrieval",
    "legend.frameon": False,
}


Row = tuple[str, str, float, float]
"""Language, system, what is on the x axis, nDCG@10."""


def draw(content: Content, folder: Path) -> dict[str, tuple[Path, Path]]:
    """Draw what there is to draw.

    Returns
    -------
    dict
        Name → PNG and SVG: ``bars``, ``heatmap-SYSTEM``, ``bytes``, ``latency``.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("pictures of results", "eval") from None
    makers: dict[str, Callable[[], Any]] = {
        "bars": lambda: _bars(content, Figure),
        "bytes": lambda: _bytes(content, Figure),
        "latency": lambda: _latency(content, Figure),
    }
    for name in systems(content):
        makers[f"heatmap-{name}"] = lambda system=name: _heatmap(content, system, Figure)  # type: ignore[misc]
    drawn: dict[str, tuple[Path, Path]] = {}
    folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(_STYLE):
        for name, make in makers.items():
            if (figure := make()) is None:
                continue
            files = folder / f"{name}.png", folder / f"{name}.svg"
            figure.savefig(files[0], dpi=200)
            figure.savefig(files[1], metadata={"Date": None})
            drawn[name] = files
    return drawn


def _bars(content: Content, new: Any) -> Any:
    """nDCG@10 by language, with intervals."""
    rows = [
        (
            language,
            {name: mean for name in systems(content) if (mean := mean_of(content, language, language, name))},
        )
        for language in languages(content)[0]
    ]
    rows = [row for row in rows if row[1]]
    if not rows:
        return None
    names = systems(content)
    figure = new(
        figsize=(max(3.2, 1.2 + 0.55 * len(rows) * max(1.0, 0.6 * len(names))), 2.9), layout="constrained"
    )
    axes = figure.subplots()
    width = 0.8 / len(names)
    for number, name in enumerate(names):
        have = [(place, means[name]) for place, (_, means) in enumerate(rows) if name in means]
        values = np.array([mean["measures"]["nDCG@10"] for _, mean in have])
        ends = np.array([mean["intervals"]["nDCG@10"] for _, mean in have]).reshape(-1, 2)
        places = np.array([place for place, _ in have]) + (number - (len(names) - 1) / 2) * width
        errors = np.abs(np.stack([values - ends[:, 0], ends[:, 1] - values]))
        axes.bar(places, values, 0.92 * width, color=_COLOURS[name], label=_LABELS[name])
        axes.errorbar(places, values, errors, fmt="none", ecolor="#222222", elinewidth=0.9, capsize=2)
    axes.set_xticks(range(len(rows)), [language for language, _ in rows])
    axes.set(ylabel="nDCG@10", ylim=(0, 1))
    axes.yaxis.grid(True, color="#e4e4e4", linewidth=0.7)
    axes.set_axisbelow(True)
    if len(names) > 1:
        figure.legend(loc="outside upper right", ncols=len(names), handlelength=1)
    return figure


def _heatmap(content: Content, system: str, new: Any) -> Any:
    """nDCG@10: the documents' language down, the queries' across."""
    documents, queries = languages(content)
    means = [[mean_of(content, d, q, system) for q in queries] for d in documents]
    if len(queries) < 2 or sum(mean is not None for row in means for mean in row) <= len(documents):
        return None
    values = np.array(
        [[np.nan if mean is None else mean["measures"]["nDCG@10"] for mean in row] for row in means]
    )
    size = 0.5
    figure = new(figsize=(1.9 + size * len(queries), 1.0 + size * len(documents)), layout="constrained")
    axes = figure.subplots()
    low = np.floor(10 * np.nanmin(values)) / 10
    high = np.ceil(10 * np.nanmax(values)) / 10
    image = axes.imshow(values, cmap="cividis", vmin=low, vmax=max(high, low + 0.1))
    middle = low + 0.55 * (max(high, low + 0.1) - low)
    for (row, column), value in np.ndenumerate(values):
        text = "–" if np.isnan(value) else f"{value:.2f}".removeprefix("0")
        colour = "#1a1a1a" if value > middle or np.isnan(value) else "white"
        weight = "bold" if documents[row] == queries[column] else "normal"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8.5, fontweight=weight)
    axes.set_xticks(range(len(queries)), queries)
    axes.set_yticks(range(len(documents)), documents)
    axes.xaxis.set_label_position("top")
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.set(xlabel="queries in", ylabel="documents in")
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, shrink=0.75, pad=0.02)
    bar.set_label("nDCG@10")
    bar.outline.set_visible(False)
    return figure


def _points(content: Content) -> list[tuple[str, str, Mapping[str, Any]]]:
    return [
        (language, system, mean)
        for language in languages(content)[0]
        for system in ("exact", "compressed")
        if (mean := mean_of(content, language, language, system)) is not None
    ]


def _bytes(content: Content, new: Any) -> Any:
    """nDCG@10 against bytes by token; only where there are two indexes."""
    points = _points(content)
    if not any(system == "compressed" for _, system, _ in points):
        return None
    found: list[Row] = []
    for language, system, mean in points:
        sizes, compressed = bytes_per_token(content, language)
        if compressed and system in sizes:  # one that stayed exact says nothing of compression
            found.append((language, system, sizes[system], mean["measures"]["nDCG@10"]))
    return _scatter(found, "bytes on disk per token vector", new)


def _latency(content: Content, new: Any) -> Any:
    """nDCG@10 against the median latency of a search with its encoding, the mean over the tasks."""
    found: list[Row] = []
    for language, system, mean in _points(content):
        times = [
            facts["latency"][system]["with_encoding_ms"]["p50"]
            for name, facts in content["corpora"].items()
            if name.rpartition(".")[2] == language and facts.get("latency", {}).get(system)
        ]
        if times:
            found.append((language, system, float(np.mean(times)), mean["measures"]["nDCG@10"]))
    return _scatter(found, "median latency with encoding, ms", new)


def _scatter(rows: list[Row], label: str, new: Any) -> Any:
    if len(rows) < 2:
        return None
    figure = new(figsize=(4.6, 3.2), layout="constrained")
    axes = figure.subplots()
    crowded = len({row[0] for row in rows}) > 4
    for system in ("exact", "compressed"):
        chosen = [row for row in rows if row[1] == system]
        if not chosen:
            continue
        axes.scatter(
            [row[2] for row in chosen],
            [row[3] for row in chosen],
            s=16 if crowded else 28,
            alpha=0.45 if crowded else 1.0,
            linewidths=0,
            color=_COLOURS[system],
            marker=_MARKERS[system],
            label=_LABELS[system],
            zorder=3,
        )
    if crowded:
        for language, _, x, y in (row for row in rows if row[1] == "exact"):
            axes.annotate(
                language, (x, y), xytext=(4, 3), textcoords="offset points", fontsize=7, color="#777777"
            )
        points = [_centre(rows, system) for system in _MARKERS if any(row[1] == system for row in rows)]
        for system, x, y in points:
            axes.scatter(
                x, y, s=90, color=_COLOURS[system], marker=_MARKERS[system], edgecolor="white", zorder=4
            )
        _join(axes, [(x, y) for _, x, y in points], "mean")
    else:
        for language in dict.fromkeys(row[0] for row in rows):
            _join(axes, [(row[2], row[3]) for row in rows if row[0] == language], language)
    axes.set(xlabel=label, ylabel="nDCG@10")
    axes.set_xlim(0, 1.12 * max(row[2] for row in rows))
    axes.set_ylim(*_range([row[3] for row in rows]))
    axes.grid(color="#e4e4e4", linewidth=0.7)
    axes.set_axisbelow(True)
    if len({row[1] for row in rows}) > 1:
        figure.legend(loc="outside upper right", ncols=2, handletextpad=0.2)
    return figure


def _range(values: list[float]) -> tuple[float, float]:
    """An axis' ends, at least a tenth apart: what chance makes should look small."""
    low, high = min(values), max(values)
    room = max(0.15 * (high - low), (0.1 - (high - low)) / 2)
    return low - room, high + room


def _centre(rows: list[Row], system: str) -> tuple[str, float, float]:
    """The mean over the languages."""
    chosen = np.array([(row[2], row[3]) for row in rows if row[1] == system])
    x, y = chosen.mean(axis=0)
    return system, float(x), float(y)


def _join(axes: Any, points: list[tuple[float, float]], label: str) -> None:
    """A thin line from point to point, and a label at the right end."""
    points = sorted(points)
    axes.plot(*zip(*points, strict=True), color="#b8b8b8", linewidth=0.9, zorder=2)
    axes.annotate(label, points[-1], xytext=(7, 0), textcoords="offset points", va="center", color="#333333")
