"""``lfm2-retrieve bench``: how fast this machine encodes, and how fast and how right an index is searched."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ._input import MOVED, model_options, trust_option
from ._output import print_json
from ._questions import encode_questions, questions_option

if TYPE_CHECKING:
    from ..indexes import Recall

_DTYPES = ("float32", "bfloat16", "float16", "int8")


@click.group()
def command() -> None:
    """Measure encoding, or searching an index, on this machine."""


@command.command("encode")
@click.option("--model", help="nano, a folder or a name on the hub.  [default: LiquidAI/LFM2-ColBERT-350M]")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 …")
@click.option(
    "--dtype",
    "dtypes",
    type=click.Choice(_DTYPES),
    multiple=True,
    default=("float32",),
    show_default=True,
    help="Of the model's forward pass. Repeatable.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="To spend on each figure at least.",
)
@click.option("--json", "json_", is_flag=True, help="Print a JSON object.")
def encode(*, model: str | None, device: str, dtypes: tuple[Any, ...], seconds: float, json_: bool) -> None:
    """Measure encoding: texts and tokens a second, by length and by batch.

    Texts are made up; a query has 32 tokens. Medians of at least three rounds.
    """
    from ..encoder import DEFAULT_MODEL, Encoder
    from ..evaluation.throughput import measure_throughput

    found = []
    for dtype in dict.fromkeys(dtypes):
        encoder = Encoder.load(model or DEFAULT_MODEL, device=device, dtype=dtype)
        found.append({"model": encoder.name, **measure_throughput(encoder, [], seconds=seconds)})
        if not json_:
            _print_speed(found[-1])
    if json_:
        print_json({"runs": found})


def _print_speed(found: dict[str, Any]) -> None:
    click.echo(f"{found['model']} in {found['dtype'].removeprefix('torch.')}, {found['threads']} threads")
    click.echo(f"  {'':24}{'batch':>6}{'texts/s':>12}{'tokens/s':>12}{'ms a text':>12}")
    for row in found["rows"]:
        click.echo(
            f"  {row['what']:24}{row['batch']:>6}{row['texts_per_second']:>12,.1f}"
            f"{row['tokens_per_second']:>12,.0f}{1000 / row['texts_per_second']:>12,.2f}"
        )


@command.command("search")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("-k", type=click.IntRange(min=1), default=10, show_default=True, help="Hits a query.")
@questions_option()
@click.option(
    "--sample", type=click.IntRange(min=1), default=100, show_default=True, help="Queries to use at most."
)
@model_options(MOVED)
@trust_option()
@click.option("--json", "json_", is_flag=True, help="Print a JSON object.")
def search(*, path: Path, k: int, file: Path | None, sample: int, json_: bool, **model: Any) -> None:
    """Measure searching the index PATH: median time and recall, beside scoring every document.

    Queries are asked one by one. Encoding them isn't counted; `bench encode` measures it. Nothing is stored:
    `tune` does that.
    """
    from ..datatypes import SearchParams
    from ..indexes import Index

    if model["model"] is not None and file is None:
        raise click.UsageError("--model goes with --queries")
    with Index.open(path) as index:
        queries = None if file is None else encode_questions(path, file, **model)
        ways = {"search": SearchParams(k), "exact": SearchParams(k, exact=True)}
        found = {
            name: index.measure_recall(queries, params, sample=sample, store=False)
            for name, params in ways.items()
        }
    if json_:
        print_json({name: one.to_json() for name, one in found.items()})
        return
    best = found["search"]
    click.echo(f"{best.n_documents:,} documents, {best.n_tokens:,} token vectors; {_asked(best)}")
    for name, one in found.items():
        click.echo(f"  {name:8}{one.milliseconds:>10,.2f} ms   recall@{k} {one.recall:.3f} ± {one.error:.3f}")


def _asked(found: Recall) -> str:
    made = "made from stored documents" if found.from_documents else "given"
    return f"{found.n_queries} queries, {made}"
