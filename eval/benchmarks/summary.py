"""What a comparison's curves say: who is fastest at a recall, and where another system is ahead."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

__all__ = ["LEVELS", "front", "summarise"]

LEVELS = (0.9, 0.95, 0.99)
_OURS = "lfm2 "
Report = Mapping[str, Any]
Point = tuple[float, float, str]
"""Milliseconds, recall, and what was asked."""


def front(points: Sequence[Point]) -> list[Point]:
    """The points than which no other is both quicker and at least as good, quickest first."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda one: (one[0], -one[1])):
        if not kept or point[1] > kept[-1][1]:
            kept.append(point)
    return kept


def summarise(report: Report) -> dict[str, Any]:
    """Curves as figures.

    Parameters
    ----------
    report
        Of `run.measure`, with searches.

    Returns
    -------
    dict
        ``levels`` of recall; ``rows``: for each system, kind of query and k the quickest setting that reaches
        each level, as ``ms``, ``to_brute``, ``setting``, or null; and ``ahead``: a sentence for each respect
        in which another system is better than every tier of this library.
    """
    rows = [row for kind, k in _depths(report) for row in _rows(report, kind, k)]
    return {"levels": list(LEVELS), "rows": rows, "ahead": [*_ahead(report)]}


def _depths(report: Report) -> list[tuple[str, str]]:
    first = next(iter(report["systems"][0]["searches"].values()))
    return [(kind, k) for kind, measured in first.items() for k in measured]


def _points(system: Report, kind: str, k: str) -> list[Point]:
    return [
        (results[kind][k]["p50_ms"], results[kind][k]["recall"], label)
        for label, results in system["searches"].items()
    ]


def _rows(report: Report, kind: str, k: str) -> Iterator[dict[str, Any]]:
    brute = _points(report["systems"][0], kind, k)[0][0]
    for system in report["systems"]:
        points = _points(system, kind, k)
        reached: dict[str, Any] = {}
        for level in LEVELS:
            good = min((point for point in points if point[1] >= level), default=None)
            reached[str(level)] = good and {"ms": good[0], "to_brute": good[0] / brute, "setting": good[2]}
        grades = [results[kind][k].get("ndcg@10") for results in system["searches"].values()]
        yield {
            "system": system["name"],
            "queries": kind,
            "k": int(k),
            "best_recall": max(recall for _, recall, _ in points),
            "best_ndcg@10": max((grade for grade in grades if grade is not None), default=None),
            "reached": reached,
        }


def _ahead(report: Report) -> Iterator[str]:
    ours = [system for system in report["systems"] if system["name"].startswith(_OURS)]
    others = [system for system in report["systems"][1:] if system not in ours]
    if not ours:
        return
    for kind, k in _depths(report):
        points = [point for system in ours for point in _points(system, kind, k)]
        grade = max(_grades(ours, kind, k), default=None)
        for other in others:
            yield from _quicker(other, points, kind, k)
            best = max(_grades([other], kind, k), default=None)
            if grade is not None and best is not None and round(best, 4) > round(grade, 4):
                yield f"{other['name']}, {kind} queries: nDCG@10 {best:.4f}, our best is {grade:.4f}."
    respects: tuple[tuple[str, Callable[[Report], float], str], ...] = (
        ("builds in {} s of processor time", lambda system: float(system["build"]["cpu_seconds"]), ",.1f"),
        ("needs {} MB to build", lambda system: system["build"]["peak_bytes"] / 1e6, ",.0f"),
        ("needs {} MB to search", lambda system: system["search_peak_bytes"] / 1e6, ",.0f"),
        ("stores {} bytes a vector", lambda system: float(system["build"]["bytes_per_token_total"]), ",.1f"),
    )
    compressed = [system for system in ours if system["name"] != f"{_OURS}exact"] or ours
    for said, value, form in respects:
        least = min(compressed, key=value)
        for other in others:
            if "build" in other and value(other) < value(least):
                text = said.format(format(value(other), form))
                yield f"{other['name']} {text}, {least['name']} {format(value(least), form)}."


def _quicker(other: Report, ours: Sequence[Point], kind: str, k: str) -> Iterator[str]:
    """The setting of another system by which it is furthest ahead of all that this library's tiers reach."""
    best: tuple[float, Point, Point | None] | None = None
    for point in front(_points(other, kind, k)):
        equal = min((one for one in ours if one[1] >= point[1]), default=None)
        lead = float("inf") if equal is None else equal[0] / point[0]
        if lead > 1 and (best is None or lead > best[0]):
            best = lead, point, equal
    if best is not None:
        _, point, equal = best
        answer = (
            "no tier reaches that" if equal is None else f"our quickest that good takes {equal[0]:,.2f} ms"
        )
        yield (
            f"{other['name']} ({point[2]}), {kind} queries, k = {k}: {point[0]:,.2f} ms at recall "
            f"{point[1]:.3f}; {answer}."
        )


def _grades(systems: Sequence[Report], kind: str, k: str) -> list[float]:
    found = (one[kind][k].get("ndcg@10") for system in systems for one in system["searches"].values())
    return [grade for grade in found if grade is not None]
