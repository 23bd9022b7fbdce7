"""The command ``peers``: this library beside others on the same vectors, as curves."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from lfm2_retrieval.cli._extras import say_without
from lfm2_retrieval.cli._output import print_json

from .options import TIERS, interpreters
from .systems import OURS, PEERS, System, lfm2

__all__ = ["environments", "peers", "render"]

_IN = {"fast-plaid": "torch", "warp": "torch"}
"""Kind of system → its environment, of those that ``install-peers.sh`` makes; the rest are in ``others``."""
_DEFAULT = [name for name in PEERS if name != "muvera"]


def environments(folder: Path) -> dict[str, str]:
    """Kind of system → its interpreter, as far as ``install-peers.sh FOLDER`` made them."""
    kinds = {system.kind for system in PEERS.values()} - {"muvera"}
    places = {kind: folder / _IN.get(kind, "others") / "bin" / "python" for kind in kinds}
    return {kind: str(python.absolute()) for kind, python in places.items() if python.is_file()}


@click.command("peers")
@click.option(
    "--embeddings",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="An .npz as the command vectors writes it.",
)
@click.option("--docs", type=click.IntRange(min=1), default=5000, show_default=True, help="How many.")
@click.option("--queries", type=click.IntRange(min=1), default=40, show_default=True, help="How many.")
@click.option(
    "--expand-to",
    type=click.IntRange(min=0),
    default=32,
    show_default=True,
    help="Once more with queries of so many vectors; 0 for not.",
)
@click.option(
    "--environments",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where eval/benchmarks/install-peers.sh put the others.",
)
@click.option(
    "--peer-python",
    "pythons",
    metavar="NAME=PATH",
    callback=interpreters,
    multiple=True,
    help="The interpreter that has a system. Repeatable.",
)
@click.option(
    "--against",
    type=click.Choice([*PEERS]),
    multiple=True,
    default=_DEFAULT,
    show_default=True,
    help="Repeatable.",
)
@click.option(
    "--tier",
    "tiers",
    type=click.Choice(TIERS),
    multiple=True,
    default=TIERS,
    show_default=True,
    help="Of this library. Repeatable.",
)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="For each query.")
@click.option(
    "--turn",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="How many queries a system answers in a row.",
)
@click.option(
    "--build-limit",
    type=click.FloatRange(min=1),
    default=3600,
    show_default=True,
    help="Seconds; a system that builds for longer is left out.",
)
@click.option(
    "--indexes",
    type=click.Path(file_okay=False, path_type=Path),
    help="A folder for the indexes; the next run finds them there and only searches.",
)
@click.option("--build-only", is_flag=True, help="Stop after building.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="A folder for the report.")
@click.option("--json", "json_", is_flag=True, help="Print the report as a JSON object.")
def peers(out: Path | None, *, json_: bool, **options: Any) -> None:
    """Measure this library beside others: recall and latency over their settings, building, size, memory.

    Systems answer the same queries in turn, each in a process of its own on one thread. Those that aren't
    installed are left out, with the reason.
    """
    if out is not None:
        say_without("plot", "bench", "matplotlib")
    report = compare(**options)
    written = [] if out is None else render(report, out)
    if json_:
        print_json(report)
    else:
        from .report import markdown

        click.echo(markdown(report), nl=False)
    for file in written:
        click.echo(f"wrote {file}", err=True)


def compare(
    *,
    embeddings: Path,
    docs: int,
    queries: int,
    expand_to: int,
    folder: Path | None,
    pythons: dict[str, str],
    against: tuple[str, ...],
    tiers: tuple[str, ...],
    rounds: int,
    turn: int,
    build_limit: float,
    indexes: Path | None,
    build_only: bool,
) -> dict[str, Any]:
    """The report of `run.measure`, with its summary and with the machine's load at the end."""
    from .run import measure
    from .summary import summarise
    from .workload import from_npz

    workload = from_npz(embeddings, docs, queries)
    if expand_to:
        workload = workload.with_expanded(expand_to)
    systems: list[System] = [lfm2(tier, {} if tier == "exact" else OURS) for tier in dict.fromkeys(tiers)]
    report = measure(
        workload,
        systems + [PEERS[name] for name in dict.fromkeys(against)],
        {**(environments(folder) if folder else {}), **pythons},
        rounds=rounds,
        turn=turn,
        skip=True,
        build_limit=build_limit,
        indexes=indexes,
        search=not build_only,
        on_progress=lambda step: click.echo(step, err=True),
    )
    report["machine"]["load_at_end"] = [round(load, 2) for load in os.getloadavg()]
    return report if build_only else report | {"summary": summarise(report)}


def render(report: dict[str, Any], folder: Path) -> list[Path]:
    """Write ``peers.json``, ``peers.md`` and, where matplotlib is installed, ``peers.svg``."""
    from .plots import plot_report
    from .report import markdown, write_files

    return write_files(
        report,
        markdown(report),
        (lambda path: plot_report(report, path)) if "summary" in report else None,
        folder,
        "peers",
        picture=".svg",
    )
