"""Measure building, searching and encoding, beside other systems: ``python -m eval.benchmarks --help``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from lfm2_retrieval.cli._extras import need, say_without
from lfm2_retrieval.cli._group import SETTINGS, Group
from lfm2_retrieval.cli._output import print_json

from .encode import encode

_TIERS = ("exact", "compact", "balanced", "accurate")
_PEERS = ("brute", "fast-plaid", "warp", "tachiom", "lancedb", "muvera")


def _pairs(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Each ``NAME=VALUE,…`` → its pairs, the values whole numbers, fractions, true or false."""
    try:
        return {
            value: {name: json.loads(text) for name, text in (pair.split("=") for pair in value.split(","))}
            for value in values
        }
    except ValueError as error:
        raise click.BadParameter("NAME=VALUE,… is expected, with JSON values") from error


def _interpreters(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """Each ``NAME=PATH``: name → path."""
    pairs = dict(value.partition("=")[::2] for value in values)
    for name, path in pairs.items():
        if name not in _PEERS or not Path(path).is_file():
            raise click.BadParameter(
                f"{name}={path}: one of {', '.join(_PEERS)} = an interpreter is expected"
            )
    return pairs


def _shared(function: Callable[..., None]) -> Callable[..., None]:
    """The options that both commands have."""
    options = (
        click.option(
            "--docs",
            "counts",
            type=click.IntRange(min=1),
            multiple=True,
            help="How many documents, from the first. Repeat it to measure growth.  [default: 5000 synthetic "
            "ones, or all of the file]",
        ),
        click.option(
            "--synthetic",
            is_flag=True,
            help="Make up clustered vectors; what happens without --embeddings and --input.",
        ),
        click.option(
            "--document-vectors",
            "length",
            type=click.IntRange(min=1),
            default=115,
            show_default=True,
            help="Of a made-up document, in the median; 12 imitates documents whose vectors are pooled.",
        ),
        click.option(
            "--embeddings",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="An .npz of embeddings, offsets and perhaps queries, ids and judgements; eval/README.md "
            "tells how.",
        ),
        click.option(
            "--repeat",
            is_flag=True,
            help="For --embeddings with fewer documents than --docs: repeat them, slightly disturbed. For "
            "growth; recall means little then.",
        ),
        click.option(
            "--input",
            "input_",
            type=click.Path(exists=True, path_type=Path),
            help="A folder in BEIR layout or a file of documents, to encode.",
        ),
        click.option(
            "--model",
            help="For --input: nano, a folder or a name on the hub.  [default: LiquidAI/LFM2-ColBERT-350M]",
        ),
        click.option(
            "--qrels",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="For --embeddings: a table of judgements, for NDCG@10, in the place of the file's.",
        ),
        click.option(
            "--tier",
            "tiers",
            type=click.Choice(_TIERS),
            multiple=True,
            default=("balanced",),
            show_default=True,
            help="Of this library. Repeatable.",
        ),
        click.option(
            "--against",
            type=click.Choice(_PEERS),
            multiple=True,
            help="Other systems; brute is always there. Repeatable.",
        ),
        click.option(
            "--peer-python",
            "pythons",
            metavar="NAME=PATH",
            callback=_interpreters,
            multiple=True,
            help="The interpreter that has a system. Repeatable.",
        ),
        click.option(
            "--seed",
            type=click.IntRange(min=0),
            default=0,
            show_default=True,
            help="Of synthetic documents and drawn queries.",
        ),
        click.option(
            "--out",
            type=click.Path(file_okay=False, path_type=Path),
            help="A folder for the report: JSON, Markdown and, from a search, a plot.",
        ),
        click.option("--json", "json_", is_flag=True, help="Print the report as a JSON object."),
    )
    for option in reversed(options):
        function = option(function)
    return function


@click.group(cls=Group, context_settings=SETTINGS)
def command() -> None:
    """Measure building, searching and encoding, beside other systems.

    Indexes run in a process of their own, on one thread; encoders in this one.
    """


@command.command("index")
@_shared
def index(**options: Any) -> None:
    """Measure building: seconds, peak memory and bytes per token vector on disk."""
    _bench("index", queries=1, vectors=12, expand_to=0, searches={}, **options)


@command.command("search")
@_shared
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
    callback=_pairs,
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


@command.command("documents")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--model", help="nano, a folder or a name on the hub.  [default: LiquidAI/LFM2-ColBERT-350M]")
@click.option(
    "--truncate",
    type=click.IntRange(1, 32_768),
    multiple=True,
    metavar="LENGTH",
    help="Cut documents at so many positions. Repeatable.  [default: 512, 1024 … 32768]",
)
@click.option(
    "--window",
    type=click.IntRange(1, 32_768),
    multiple=True,
    metavar="LENGTH",
    help="Read documents in windows of so many. Repeatable.  [default: 512, 2048 and 8192]",
)
@click.option(
    "--pool-factor",
    "factors",
    type=click.IntRange(1, 4),
    multiple=True,
    default=(1,),
    show_default=True,
    help="How many vectors become one. Repeatable.",
)
@click.option("--docs", type=click.IntRange(min=1), help="How many, drawn.  [default: all]")
@click.option("--queries", type=click.IntRange(min=1), help="How many, drawn.  [default: all]")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of what is drawn.")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="A folder for JSON, Markdown and a plot."
)
@click.option("--json", "json_", is_flag=True, help="Print the report as a JSON object.")
def documents(
    folder: Path,
    *,
    model: str | None,
    truncate: tuple[int, ...],
    window: tuple[int, ...],
    factors: tuple[int, ...],
    docs: int | None,
    queries: int | None,
    seed: int,
    out: Path | None,
    json_: bool,
) -> None:
    """Measure ways of reading the documents of FOLDER (BEIR layout): cut or in windows, and pooled.

    NDCG@10 by exact search, bytes and documents per second, for every way with every pooling factor.
    """
    need("measuring the quality of a search", "eval", "ir_measures")
    if out is not None:
        say_without("plot", "bench", "matplotlib")
    from lfm2_retrieval.encoder import DEFAULT_MODEL, Encoder

    from . import long_documents

    if not truncate and not window:
        truncate, window = tuple(512 << i for i in range(7)), (512, 2048, 8192)
    written: list[Path] = []

    def keep(report: dict[str, Any]) -> None:
        if out is not None:
            written[:] = long_documents.write(report, out)

    report = long_documents.measure(
        folder,
        Encoder.load(model or DEFAULT_MODEL),
        long_documents.grid(truncate, window, factors),
        n_documents=docs,
        n_queries=queries,
        seed=seed,
        on_progress=lambda step: click.echo(step, err=True),
        on_report=keep,
    )
    if json_:
        print_json(report)
    else:
        click.echo(long_documents.markdown(report), nl=False)
    for file in written:
        click.echo(f"wrote {file}", err=True)


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
    **data: Any,
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
            _workload(docs=count, **data),
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


def _workload(
    *,
    docs: int | None,
    synthetic: bool,
    length: int,
    embeddings: Path | None,
    repeat: bool,
    input_: Path | None,
    model: str | None,
    qrels: Path | None,
    queries: int,
    vectors: int,
    expand_to: int,
    seed: int,
) -> Any:
    from lfm2_retrieval.encoder import DEFAULT_MODEL

    from . import workload

    if sum((synthetic, embeddings is not None, input_ is not None)) > 1:
        raise click.UsageError("--synthetic, --embeddings and --input exclude each other")
    if (model is not None and input_ is None) or ((qrels is not None or repeat) and embeddings is None):
        raise click.UsageError("--model goes with --input, --qrels and --repeat with --embeddings")
    if embeddings is not None:
        made = workload.from_npz(
            embeddings, docs, queries, vectors=vectors, seed=seed, qrels=qrels, repeated=repeat
        )
    elif input_ is not None:
        made = workload.from_texts(input_, model or DEFAULT_MODEL, docs, queries, vectors=vectors, seed=seed)
    else:
        made = workload.synthetic(docs or 5000, queries, vectors, seed=seed, length=length)
    return made.with_expanded(expand_to, seed) if expand_to else made


command.add_command(encode)

if __name__ == "__main__":
    command(prog_name="python -m eval.benchmarks")
