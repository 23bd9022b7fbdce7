"""Pictures of an evaluation, each as PNG and SVG."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..display.figures import COLOURS, drawing, require_matplotlib
from .systems import SYSTEMS
from .tables import NAMES, Content, bytes_per_token, languages, mean_of, stayed_exact, systems

__all__ = ["draw"]

_COLOURS = dict(zip(SYSTEMS, (*COLOURS[:7], "0.55", "0.75"), strict=True))
_MARKERS = dict(zip(SYSTEMS, "ovds^<>", strict=False))
"""Of those that search vectors."""

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
    require_matplotlib("eval")
    makers: dict[str, Callable[[Sequence[Path]], bool]] = {
        "bars": lambda files: _bars(content, files),
        "bytes": lambda files: _bytes(content, files),
        "latency": lambda files: _latency(content, files),
    }
    for name in systems(content):
        makers[f"heatmap-{name}"] = lambda files, system=name: _heatmap(content, system, files)  # type: ignore[misc]
    folder.mkdir(parents=True, exist_ok=True)
    places = {name: (folder / f"{name}.png", folder / f"{name}.svg") for name in makers}
    return {name: places[name] for name, make in makers.items() if make(places[name])}


def _bars(content: Content, files: Sequence[Path]) -> bool:
    """nDCG@10 by language, with intervals."""
    names = systems(content)
    rows = [
        (language, means)
        for language in languages(content)[0]
        if (means := {name: mean for name in names if (mean := _mean(content, language, name))})
    ]
    if not rows:
        return False
    size = (max(3.2, 1.2 + 0.55 * len(rows) * max(1.0, 0.6 * len(names))), 2.9)
    width = 0.8 / len(names)
    with drawing(size, *files, extra="eval") as figure:
        axes = figure.subplots()
        for name in names:
            have = [
                (place + (list(means).index(name) - (len(means) - 1) / 2) * width, means[name])
                for place, (_, means) in enumerate(rows)
                if name in means
            ]
            if not have:
                continue
            places = [place for place, _ in have]
            values = np.array([mean["measures"]["nDCG@10"] for _, mean in have])
            ends = np.array([mean["intervals"]["nDCG@10"] for _, mean in have])
            errors = np.abs(np.stack([values - ends[:, 0], ends[:, 1] - values]))
            axes.bar(places, values, 0.92 * width, color=_COLOURS[name], label=NAMES[name])
            axes.errorbar(places, values, errors, fmt="none", ecolor="0.15", elinewidth=0.9, capsize=2)
        whole = {language: all(mean["complete"] for mean in means.values()) for language, means in rows}
        axes.set_xticks(range(len(rows)), [one if whole[one] else f"{one} *" for one in whole])
        axes.set(ylabel="nDCG@10", ylim=(0, 1))
        axes.yaxis.grid(visible=True)
        if len(names) > 1:
            figure.legend(loc="outside upper right", ncols=len(names), handlelength=1)
    return True


def _mean(content: Content, language: str, system: str) -> Mapping[str, Any] | None:
    """The mean of a language asked in itself; None of an index that should be compressed and stayed exact."""
    if stayed_exact(content, language, system):
        return None
    return mean_of(content, language, language, system)


def _heatmap(content: Content, system: str, files: Sequence[Path]) -> bool:
    """nDCG@10: the documents' language down, the queries' across."""
    documents, queries = languages(content)
    means = [[mean_of(content, d, q, system) for q in queries] for d in documents]
    if len(queries) < 2 or sum(mean is not None for row in means for mean in row) <= len(documents):
        return False
    values = np.array(
        [[np.nan if mean is None else mean["measures"]["nDCG@10"] for mean in row] for row in means]
    )
    low = np.floor(10 * np.nanmin(values)) / 10
    high = max(np.ceil(10 * np.nanmax(values)) / 10, low + 0.1)
    with drawing((1.9 + 0.5 * len(queries), 1.0 + 0.5 * len(documents)), *files, extra="eval") as figure:
        axes = figure.subplots()
        image = axes.imshow(values, cmap="cividis", vmin=low, vmax=high)
        for (row, column), value in np.ndenumerate(values):
            text = "–" if np.isnan(value) else f"{value:.2f}".removeprefix("0")
            text += "" if (mean := means[row][column]) is None or mean["complete"] else "*"
            light = np.isnan(value) or value > low + 0.55 * (high - low)
            axes.text(
                *(column, row, text),
                ha="center",
                va="center",
                color="#1a1a1a" if light else "white",
                fontsize=8.5,
                fontweight="bold" if documents[row] == queries[column] else "normal",
            )
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
    return True


def _points(content: Content) -> list[tuple[str, str, Mapping[str, Any]]]:
    return [
        (language, system, mean)
        for language in languages(content)[0]
        for system in _MARKERS
        if (mean := _mean(content, language, system)) is not None
    ]


def _bytes(content: Content, files: Sequence[Path]) -> bool:
    """nDCG@10 against bytes by token, of languages whose index was compressed."""
    points = [point for point in _points(content) if point[1] == "exact" or SYSTEMS[point[1]].is_tier]
    both = {language for language, system, _ in points if system != "exact"}
    found: list[Row] = []
    for language, system, mean in points:
        sizes = bytes_per_token(content, language)
        if language in both and system in sizes:
            found.append((language, system, sizes[system], mean["measures"]["nDCG@10"]))
    return _scatter(found, "bytes on disk per token vector", files)


def _latency(content: Content, files: Sequence[Path]) -> bool:
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
    return _scatter(found, "median latency with encoding, ms", files)


def _scatter(rows: list[Row], label: str, files: Sequence[Path]) -> bool:
    """A point for each language and system, those of one language joined."""
    if len(rows) < 2:
        return False
    with drawing((4.6, 3.2), *files, extra="eval") as figure:
        axes = figure.subplots()
        for system, marker in _MARKERS.items():
            chosen = [row[2:] for row in rows if row[1] == system]
            if chosen:
                look = {"color": _COLOURS[system], "marker": marker, "label": NAMES[system]}
                axes.scatter(*zip(*chosen, strict=True), s=24, linewidths=0, zorder=3, **look)
        for language in dict.fromkeys(row[0] for row in rows):
            points = sorted(row[2:] for row in rows if row[0] == language)
            axes.plot(*zip(*points, strict=True), color="0.72", linewidth=0.9, zorder=2)
        axes.set(xlabel=label, ylabel="nDCG@10")
        axes.set_xlim(0, 1.12 * max(row[2] for row in rows))
        axes.set_ylim(*_range([row[3] for row in rows]))
        axes.grid()
        if len({row[1] for row in rows}) > 1:
            figure.legend(loc="outside upper right", ncols=2, handletextpad=0.2)
        _name_points(figure, axes, rows)
    return True


def _range(values: list[float]) -> tuple[float, float]:
    """An axis' ends, at least a tenth apart: what chance makes should look small."""
    low, high = min(values), max(values)
    room = max(0.15 * (high - low), (0.1 - (high - low)) / 2)
    return low - room, high + room


_SIDES = [(x, y) for y in (0, 7, -7, 14, -14, 21, -21) for x in (6, -16)]
"""Where a label may stand beside its point, in points of a 72th of an inch; the first that is free."""


def _name_points(figure: Any, axes: Any, rows: list[Row]) -> None:
    """Each language's name beside its rightmost point, where it covers neither a name nor a point."""
    figure.draw_without_rendering()  # the layout moves the axes
    scale = figure.dpi / 72
    taken = [tuple(axes.transData.transform(row[2:]) / scale) for row in rows]

    def is_free(x: float, y: float) -> bool:
        return all(not (-4 < tx - x < 14 and abs(ty - y) < 7) for tx, ty in taken)

    for language in dict.fromkeys(row[0] for row in rows):
        point = max(row[2:] for row in rows if row[0] == language)
        x, y = axes.transData.transform(point) / scale
        dx, dy = next((side for side in _SIDES if is_free(x + side[0], y + side[1])), _SIDES[0])
        taken += [(x + dx, y + dy), (x + dx + 9, y + dy)]
        axes.annotate(
            *(language, point),
            xytext=(dx, dy),
            textcoords="offset points",
            va="center",
            color="0.25",
            fontsize=8,
        )
