"""``lfm2-retrieve index --shards``: a collection in shards, made by this process or on a Ray cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ._input import tell
from ._output import print_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..documents import ReadOptions
    from ..retriever.ingest import Progress

__all__ = ["check_sharding", "index_shards", "sharding_options"]


def sharding_options(function: Callable[..., None]) -> Callable[..., None]:
    """The options that say how many shards, and where they are made."""
    for option in (
        click.option(
            "--workers",
            type=click.IntRange(min=1),
            help="With --ray: how many workers encode.  [default: as many as there is room for]",
        ),
        click.option(
            "--ray",
            "address",
            is_flag=False,
            flag_value="",
            metavar="[ADDRESS]",
            help="With --shards: encode by workers of the Ray cluster at HOST:PORT; without an address of "
            "the one that runs on this machine, or one that is started. Say --ray=ADDRESS, or --ray last.",
        ),
        click.option(
            "--shards",
            type=click.IntRange(min=1),
            help="Make a new collection of so many shards; files may be URLs of Parquet and JSON Lines. An "
            "interrupted one goes on when the command is repeated.",
        ),
    ):
        function = option(function)
    return function


def check_sharding(shards: int | None, address: str | None, workers: int | None, if_exists: str) -> None:
    """Refuse options that don't go together.

    Raises
    ------
    click.UsageError
        Saying which.
    """
    if shards is None and (address is not None or workers is not None):
        raise click.UsageError("--ray and --workers make shards: say how many, with --shards")
    if workers is not None and address is None:
        raise click.UsageError("--workers are of a Ray cluster: add --ray")
    if shards is not None and if_exists != "error":
        raise click.UsageError("--shards makes a new collection: leave --if-exists out")


def index_shards(
    paths: tuple[str, ...],
    path: Path,
    *,
    shards: int,
    address: str | None,
    workers: int | None,
    format: str | None,
    options: ReadOptions,
    json_: bool,
    **settings: Any,
) -> None:
    """Read, encode and put documents into shards, and tell what came of it."""
    from contextlib import nullcontext
    from dataclasses import replace

    from ..distributed import build
    from ..documents import DocumentReader, Reading
    from ..errors import InvalidInputError
    from ..retriever.ingest import Progress
    from ..retriever.progress import progress_bar

    remote = any("://" in one for one in paths)
    reading = None if remote else Reading(paths, format, replace(options, strict=False))
    last = Progress(0, 0, 0.0, 0)
    settings = {name: value for name, value in settings.items() if value is not None}
    with (
        nullcontext(list(paths)) if reading is None else DocumentReader(reading) as source,
        progress_bar(None, quiet=json_) as show,
    ):

        def follow(done: Progress) -> None:
            nonlocal last
            last = done
            show(done)

        manifest = build(
            source,
            path,
            shards=shards,
            address=address or None,
            workers=0 if address is None else workers,
            on_progress=follow,
            **settings,
        )
    held, n = sum(entry.documents for entry in manifest.shards), len(manifest.shards)
    facts = {"tokens": last.tokens, "seconds": last.seconds, "cut": last.cut, "shards": n}
    if json_:
        report = {} if reading is None else reading.report.to_dict()
        print_json({"path": str(path), **report, **facts, "documents_in_index": held})
    else:
        click.echo(
            f"Indexed {last.documents:,} documents ({last.tokens:,} token vectors) in {last.seconds:,.1f} s, "
            f"{last.documents_per_second:,.0f} documents/s: {path} holds {held:,} in {n:,} shards"
        )
    if reading is not None:
        tell(reading.report)
        if options.strict and reading.report.missed:
            raise InvalidInputError("--strict: files were left out, see above; all else was indexed")
