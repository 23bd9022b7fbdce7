"""The command ``growth``: how searching, size and memory grow with an index, and the model that says so."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from lfm2_retrieval.cli._extras import say_without
from lfm2_retrieval.cli._output import print_json

__all__ = ["fit", "growth", "markdown", "measure_growth", "sizes_between"]

RECALL = 0.95
_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "nprobe 4, 200 candidates": {"nprobe": 4, "candidates": 200, "rerank": 40},
    "nprobe 8, 400 candidates": {"nprobe": 8, "candidates": 400, "rerank": 60},
    "nprobe 32, 1500 candidates": {"nprobe": 32, "candidates": 1500, "rerank": 200},
    "nprobe 64, 4000 candidates": {"nprobe": 64, "candidates": 4000, "rerank": 400},
}
_EXPONENTS = np.arange(0.05, 1.21, 0.01)
_SCANNED = 30_000
"""Uncompressed indexes of more documents are not measured: their time is known to be linear."""


@click.command("growth")
@click.option(
    "--from", "fewest", type=click.IntRange(min=10), default=100, show_default=True, help="Documents."
)
@click.option(
    "--to", "most", type=click.IntRange(min=10), default=100_000, show_default=True, help="Documents."
)
@click.option(
    "--per-decade", type=click.IntRange(min=1), default=2, show_default=True, help="How many sizes."
)
@click.option("--document-vectors", "length", type=click.IntRange(min=1), default=12, show_default=True)
@click.option(
    "--tier", default="balanced", show_default=True, type=click.Choice(["balanced", "compact", "accurate"])
)
@click.option("--queries", type=click.IntRange(min=1), default=20, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option(
    "--embeddings",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Real vectors instead of made-up ones, cut into documents of --document-vectors.",
)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="A folder for the report.")
@click.option("--json", "json_", is_flag=True, help="Print the report as a JSON object.")
def growth(out: Path | None, *, json_: bool, **options: Any) -> None:
    """Measure how time, bytes and memory grow, at recall .95, from a hundred documents on.

    On clustered vectors that are made up. Of several settings, the quickest that
    reaches the recall counts; times are processor time on one thread.
    """
    if out is not None:
        say_without("plot", "bench", "matplotlib")

    def keep(report: dict[str, Any]) -> None:
        if out is not None:
            from .plots import plot_sizes
            from .report import write_files

            draw = (lambda path: plot_sizes(report, path)) if len(report["rows"]) > 1 else None
            written[:] = write_files(report, markdown(report), draw, out, "growth", picture=".svg")

    written: list[Path] = []
    report = measure_growth(**options, on_progress=lambda step: click.echo(step, err=True), on_report=keep)
    if json_:
        print_json(report)
    else:
        click.echo(markdown(report), nl=False)
    for file in written:
        click.echo(f"wrote {file}", err=True)


def sizes_between(fewest: int, most: int, per_decade: int) -> list[int]:
    """Sizes at even distances on a logarithmic axis, of two digits: 100, 320, 1,000, ….

    The last is at most ``most``.
    """
    sizes = []
    for step in range(math.ceil(per_decade * math.log10(most / fewest)) + 1):
        size = fewest * 10 ** (step / per_decade)
        unit = 10 ** max(0, math.floor(math.log10(size)) - 1)
        sizes.append(round(size / unit) * unit)
    return sorted({size for size in sizes if size <= most})


def measure_growth(
    *,
    fewest: int,
    most: int,
    per_decade: int,
    length: int,
    tier: str,
    queries: int,
    rounds: int,
    embeddings: Path | None = None,
    on_progress: Callable[[str], None] = lambda _: None,
    on_report: Callable[[dict[str, Any]], None] = lambda _: None,
) -> dict[str, Any]:
    """Measure each size, smallest first.

    Parameters
    ----------
    fewest, most, per_decade
        Which sizes, in documents; see `sizes_between`.
    length
        Vectors of a document, in the median; ``embeddings`` are cut into pieces of so many.
    tier
        What indexes are compressed to.
    queries, rounds
        How many queries, each drawn from the documents, and how often each is asked.
    embeddings
        An .npz of real vectors.
    on_progress
        Told what begins.
    on_report
        Told the report after each size, so that nothing is lost where the next one fails.

    Returns
    -------
    dict
        ``rows``, one a size, and ``model``; see `fit`.
    """
    from .run import measure
    from .synthetic import statistics
    from .systems import lfm2
    from .workload import from_npz, synthetic

    rows: list[dict[str, Any]] = []
    report: dict[str, Any] = {}
    for size in sizes_between(fewest, most, per_decade):
        on_progress(f"{size:,} documents")
        made = (
            synthetic(size, queries, length=length)
            if embeddings is None
            else from_npz(embeddings, None, queries).in_pieces(length, size)
        )
        if len(made.documents) < size:
            on_progress(f"there are only {len(made.documents):,}")
            break
        systems = [lfm2(tier, _SETTINGS)] + ([lfm2("exact", {})] if size <= _SCANNED else [])
        found = measure(made, systems, {}, rounds=rounds, depths=(10,), on_progress=on_progress)
        if not report:
            report = {
                key: found[key] for key in ("format", "made", "library", "machine", "workload", "protocol")
            }
        rows.append(_row(found, tier) | {"statistics": statistics(made.documents, made.queries)})
        report |= {"tier": tier, "target_recall": RECALL, "rows": rows, "model": _models(rows)}
        report["machine"]["load_at_end"] = [round(load, 2) for load in os.getloadavg()]
        on_report(report)
    return report


def _row(report: Mapping[str, Any], tier: str) -> dict[str, Any]:
    """What counts of a size."""
    systems = {system["name"]: system for system in report["systems"]}
    ours, exact = systems[f"lfm2 {tier}"], systems.get("lfm2 exact")
    points = {label: found["plain"]["10"] for label, found in ours["searches"].items()}
    good = [label for label in points if points[label]["recall"] >= RECALL]
    chosen = (
        min(good, key=lambda label: points[label]["p50_cpu_ms"])
        if good
        else max(points, key=lambda label: points[label]["recall"])
    )
    brute = systems["brute"]["searches"]["default"]["plain"]["10"]
    scan = exact["searches"]["default"]["plain"]["10"] if exact else None
    return {
        "documents": report["workload"]["documents"],
        "vectors": report["workload"]["tokens"],
        "setting": chosen,
        "p50_cpu_ms": points[chosen]["p50_cpu_ms"],
        "p50_ms": points[chosen]["p50_ms"],
        "recall": points[chosen]["recall"],
        "default": {name: points["default"][name] for name in ("p50_cpu_ms", "p50_ms", "recall")},
        "exact_p50_cpu_ms": scan and scan["p50_cpu_ms"],
        "brute_p50_cpu_ms": brute["p50_cpu_ms"],
        "build_seconds": ours["build"]["seconds"],
        "build_peak_bytes": ours["build"]["peak_bytes"],
        "idle_bytes": ours["build"]["idle_bytes"],
        "search_peak_bytes": ours["search_peak_bytes"],
        "bytes_per_vector": ours["build"]["bytes_per_token_total"],
        "load_at_start": report["machine"]["load_at_start"],
    }


def _models(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What is fitted: the search of compressed sizes, the exact scan, and brute force, by vectors."""
    compressed = [row for row in rows if row["vectors"] >= _COMPRESSED]
    series = {
        "search": [(row["vectors"], row["p50_cpu_ms"]) for row in compressed],
        "exact": [(row["vectors"], row["exact_p50_cpu_ms"]) for row in rows if row["exact_p50_cpu_ms"]],
        "brute": [(row["vectors"], row["brute_p50_cpu_ms"]) for row in rows],
    }
    return {name: fit(points) for name, points in series.items() if len(points) > 3}


_COMPRESSED = 4096
"""Vectors from which on an index is compressed."""


def fit(points: Sequence[tuple[float, float]]) -> dict[str, float]:
    """Milliseconds as ``a + b · (vectors / 1,000,000) ** c``, by least squares of the relative errors.

    Parameters
    ----------
    points
        Vectors and milliseconds, at least three.

    Returns
    -------
    dict
        ``a``, ``b`` (both at least 0), ``c`` (.05 to 1.2), and ``error``: the root mean square of relative
        errors.
    """
    x, y = np.array(points, float).T
    best: dict[str, float] = {}
    for exponent in _EXPONENTS:
        columns = np.stack([np.ones_like(x), (x / 1e6) ** exponent], axis=1) / y[:, None]
        for chosen in ([0, 1], [0], [1]):
            solved = np.linalg.lstsq(columns[:, chosen], np.ones_like(y), rcond=None)[0]
            if solved.min() < 0:
                continue
            error = float(np.sqrt(np.mean((columns[:, chosen] @ solved - 1) ** 2)))
            if not best or error < best["error"] - 1e-12:
                a, b = (float(solved[chosen.index(i)]) if i in chosen else 0.0 for i in (0, 1))
                best = {"a": a, "b": b, "c": float(exponent), "error": error}
    return best


def markdown(report: Mapping[str, Any]) -> str:
    """The report as a table, with the model."""
    from .report import table

    columns = (
        "documents",
        "vectors",
        "setting",
        "CPU ms",
        "recall@10",
        "exact, CPU ms",
        "brute force, CPU ms",
    )
    more = ("bytes/vector", "build s", "MB, building", "MB, searching")
    rows = [
        [
            f"{row['documents']:,}",
            f"{row['vectors']:,}",
            row["setting"],
            f"{row['p50_cpu_ms']:,.2f}",
            f"{row['recall']:.3f}",
            f"{row['exact_p50_cpu_ms']:,.2f}" if row["exact_p50_cpu_ms"] else "",
            f"{row['brute_p50_cpu_ms']:,.2f}",
            f"{row['bytes_per_vector']:,.1f}",
            f"{row['build_seconds']:,.1f}",
            f"{row['build_peak_bytes'] / 1e6:,.0f}",
            f"{row['search_peak_bytes'] / 1e6:,.0f}",
        ]
        for row in report["rows"]
    ]
    lines = table([*columns, *more], rows)
    for name, model in report["model"].items():
        lines += ["", f"{name}: {formula(model)}"]
    return "\n".join(lines) + "\n"


def formula(model: Mapping[str, float]) -> str:
    """The model in words."""
    return (
        f"{model['a']:.2f} + {model['b']:.2f} · (million vectors) ^ {model['c']:.2f} ms, "
        f"{model['error']:.0%} off in the root mean square"
    )
