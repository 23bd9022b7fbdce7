"""Measure building, searching and encoding, beside other systems: ``python -m eval.benchmarks --help``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lfm2_retrieval.cli._extras import say_without
from lfm2_retrieval.cli._group import SETTINGS, Group
from lfm2_retrieval.cli._output import print_json

from .codes import codes
from .encode import encode
from .growth import growth
from .integrations import integrations
from .large import large
from .options import data, pairs, systems_and_output, workload_of
from .peers import peers
from .pinning import threads
from .reading import documents
from .serving import serving
from .sharding import shards
from .sharding_scale import shards_at_scale
from .sizes import sizes
from .soak import soak
from .syncing import sync
from .vectors import vectors


@click.group(cls=Group, context_settings=SETTINGS)
def command() -> None:
    """Measure building, searching and encoding, beside other systems.

    Indexes run in a process of their own, on one thread; encoders in this one.
    """


@command.command("index")
@data
@systems_and_output
def index(**options: Any) -> None:
    """Measure building: seconds, peak memory and bytes per token vector on disk."""
    _bench("index", queries=1, vectors=12, expand_to=0, searches={}, **options)


@command.command("search")
@data
@systems_and_output
@click.option("--queries", type=click.IntRange(min=1), default=100, show_default=True, help="How many.")
@click.option(
    "--query-vectors",
    "vectors",
    type=click.IntRange(min=1),
    default=12,
    show_default=True,
    help="Of each query that is drawn from the documents because none are given.",
)
@click.option(
    "--expand-to",
    type=click.IntRange(min=0),
    default=32,
    show_default=True,
    help="Measure once more with queries of so many vectors, as encoders with query expansion make them; 0 "
    "for not. Taken from the file if it has them, else imitated.",
)
@click.option(
    "--search",
    "searches",
    metavar="NAME=VALUE,...",
    callback=pairs,
    multiple=True,
    help="Parameters of a search to measure beside the default, for each compressed tier. Repeatable.",
)
@click.option(
    "--filtered",
    is_flag=True,
    help="Measure this library under filters too, which leave .01 % to all of the documents.",
)
@click.option(
    "--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="How often to ask each query."
)
@click.option(
    "--brute-rounds",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="In how many of the rounds brute force takes part; it empties the others' caches.",
)
@click.option(
    "--turn",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    help="How many queries a system answers in a row. With 1 each meets caches full of what others read.",
)
def search(**options: Any) -> None:
    """Measure searching too: latency and recall for k = 10 and 100, NDCG@10 where there are judgements.

    Systems take turns of a few queries; a query counts with the median of its rounds. Recall is the share of
    the exact top k, by MaxSim in float32, which the system called brute computes.
    """
    _bench("search", **options)


@command.command("scanning")
@click.option("--docs", type=click.IntRange(min=50), default=1400, show_default=True)
@click.option("--query-vectors", type=click.IntRange(min=1), default=16, show_default=True)
@click.option("--rounds", type=click.IntRange(min=2), default=30, show_default=True)
def scanning(docs: int, query_vectors: int, rounds: int) -> None:
    """Measure searches of uncompressed vectors, by steps of int8 and by float32 alone, in turns.

    On clustered vectors, in a temporary folder, by one thread and as installed; both must find the same.
    """
    from .scanning import measure

    print_json(measure(docs, query_vectors, rounds))


@command.command("living")
@click.option("--docs", type=click.IntRange(min=10_000), default=100_000, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="A folder for living.json.")
def living(docs: int, out: Path | None) -> None:
    """Measure what changing an index costs: add, update, delete, open, merge.

    On clustered vectors, 12 a document, in a temporary folder.
    """
    from .living import measure, write

    facts = measure(docs, lambda what: click.echo(what, err=True))
    if out is not None:
        write(facts, out)
    print_json(facts)


def _bench(
    what: str,
    *,
    counts: tuple[int, ...],
    tiers: tuple[str, ...],
    against: tuple[str, ...],
    pythons: dict[str, str],
    searches: dict[str, dict[str, Any]],
    out: Path | None,
    json_: bool,
    rounds: int = 1,
    brute_rounds: int = 1,
    turn: int = 1,
    filtered: bool = False,
    **given: Any,
) -> None:
    if out is not None and (what == "search" or len(set(counts)) > 1):
        say_without("plot", "bench", "matplotlib")
    from .report import markdown, markdown_growth, write, write_growth
    from .run import measure
    from .systems import PEERS, lfm2

    systems = [
        lfm2(tier, {} if tier == "exact" else searches, filtered=filtered) for tier in dict.fromkeys(tiers)
    ]
    systems += [PEERS[name] for name in dict.fromkeys(against) if name in PEERS]
    reports, written = [], []
    sizes: list[int | None] = [*sorted(set(counts))] or [None]
    for count in sizes:
        report = measure(
            workload_of(docs=count, **given),
            systems,
            pythons,
            rounds=rounds,
            brute_rounds=brute_rounds,
            turn=turn,
            search=what == "search",
            filtered=filtered,
            on_progress=lambda step: click.echo(step, err=True),
        )
        reports.append(report)
        name = f"bench-{what}" + (f"-{count}" if len(set(counts)) > 1 else "")
        written += [] if out is None else write(report, out, name)
        if not json_:
            click.echo(markdown(report), nl=False)
    if len(reports) > 1:
        written += [] if out is None else write_growth(reports, out, f"bench-{what}-growth")
        if not json_:
            click.echo("\n" + markdown_growth(reports), nl=False)
    if json_:
        print_json(reports[0] if len(reports) == 1 else {"format": 2, "runs": reports})
    for file in written:
        click.echo(f"wrote {file}", err=True)


for one in (
    *(codes, documents, encode, growth, integrations, large, peers),
    *(serving, shards, shards_at_scale, sizes, soak, sync, threads, vectors),
):
    command.add_command(one)

if __name__ == "__main__":
    command(prog_name="python -m eval.benchmarks")
