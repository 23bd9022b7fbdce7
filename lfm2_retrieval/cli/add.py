"""``lfm2-retrieve add``: read files, encode them, add them to an index in one commit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..documents import Reading, ReadOptions
from ._input import (
    MOVED,
    batch_option,
    input_option,
    model_options,
    prefixes_beside,
    reading_options,
    tell,
    trust_option,
)
from ._output import print_json


@click.command(options_metavar="")
@click.argument("path", type=click.Path(path_type=Path))
@input_option()
@click.argument("more", nargs=-1, metavar="--input FILE... [OPTIONS]")
@click.option(
    "--on-conflict",
    type=click.Choice(["error", "replace", "skip"]),
    default="error",
    show_default=True,
    help="What to do with an id that the index holds.",
)
@reading_options()
@model_options(MOVED)
@trust_option()
@batch_option()
@click.option("--json", "json_", is_flag=True, help="Print a JSON object.")
def command(  # noqa: PLR0917  (click passes names)
    path: Path,
    inputs: tuple[str, ...],
    more: tuple[str, ...],
    on_conflict: Any,
    format: str | None,
    options: ReadOptions,
    model: str | None,
    trust_model: bool,
    device: str,
    dtype: Any,
    batch_size: int,
    json_: bool,
) -> None:
    """Add the documents of FILEs to the index PATH.

    All of them in one commit, or, after an error or Ctrl-C, none. For what takes hours, index with
    --if-exists append commits as it goes.

    Files are read as by `index`. The ids of a folder's files begin with its name, unless PATH holds files of
    this very folder under ids without it.
    """
    from ._opening import open_retriever

    with open_retriever(path, model=model, trust_model=trust_model, device=device, dtype=dtype) as retriever:
        reading = Reading((*inputs, *more), format, options)
        reading.prefixes = prefixes_beside(reading.folders, retriever.store.sources)
        documents = reading if retriever.passages is None else reading.documents()  # which know their places
        done = retriever.add(documents, on_conflict=on_conflict, batch_size=batch_size)
        held = len(retriever)
    tell(reading.report)
    counts = done.to_dict()
    if json_:
        facts = {"path": str(path), **counts, "documents_in_index": held}
        print_json({**reading.report.to_dict(), **facts})
    else:
        others = "".join(f", {name} {n:,}" for name, n in counts.items() if n and name != "added")
        click.echo(f"Added {counts['added']:,} documents{others}: {path} holds {held:,}")
