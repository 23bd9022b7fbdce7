"""Options that several commands share, and what they stand for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from .systems import PEERS

__all__ = ["TIERS", "data", "interpreters", "pairs", "systems_and_output", "workload_of"]

TIERS = ("exact", "compact", "balanced", "accurate")


def pairs(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Each ``NAME=VALUE,…`` → its pairs, the values whole numbers, fractions, true or false."""
    try:
        return {
            value: {name: json.loads(text) for name, text in (pair.split("=") for pair in value.split(","))}
            for value in values
        }
    except ValueError as error:
        raise click.BadParameter("NAME=VALUE,… is expected, with JSON values") from error


def interpreters(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """Each ``NAME=PATH``: name → path."""
    given = dict(value.partition("=")[::2] for value in values)
    kinds = sorted({"brute", *(system.kind for system in PEERS.values())})
    for name, path in given.items():
        if name not in kinds or not Path(path).is_file():
            raise click.BadParameter(f"{name}={path}: one of {', '.join(kinds)} = an interpreter is expected")
    return given


def data(function: Callable[..., None]) -> Callable[..., None]:
    """What is searched: the options that `workload_of` takes."""
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
            "--seed",
            type=click.IntRange(min=0),
            default=0,
            show_default=True,
            help="Of synthetic documents and drawn queries.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def systems_and_output(function: Callable[..., None]) -> Callable[..., None]:
    """What is measured, and where the report goes."""
    options = (
        click.option(
            "--tier",
            "tiers",
            type=click.Choice(TIERS),
            multiple=True,
            default=("balanced",),
            show_default=True,
            help="Of this library. Repeatable.",
        ),
        click.option(
            "--against",
            type=click.Choice(["brute", *PEERS]),
            multiple=True,
            help="Other systems; brute force is always there. Repeatable.",
        ),
        click.option(
            "--peer-python",
            "pythons",
            metavar="NAME=PATH",
            callback=interpreters,
            multiple=True,
            help="The interpreter that has a system. Repeatable.",
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


def workload_of(
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
    """The workload that options name; see `data`."""
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
