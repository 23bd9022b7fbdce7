"""``lfm2-retrieve add``: read files, encode them, add them to an index in one commit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..readers import read_documents
from ._input import MOVED, format_option, input_option, model_options
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
@format_option()
@model_options(MOVED)
@click.option("--batch-size", type=click.IntRange(min=1), default=256, show_default=True)
@click.option("--json", "json_", is_flag=True, help="Print a JSON object.")
def command(  # noqa: PLR0917  (click passes names)
    path: Path,
    inputs: tuple[str, ...],
    more: tuple[str, ...],
    on_conflict: Any,
    format: str | None,
    model: str | None,
    device: str,
    dtype: Any,
    batch_size: int,
    json_: bool,
) -> None:
    """Add the documents of FILEs to the index PATH.

    All of them in one commit, or, after an error or Ctrl-C, none. For what takes hours, index with
    --if-exists append commits as it goes.
    """
    from ..retriever import Retriever

    with Retriever.open(path, model=model, device=device, dtype=dtype) as retriever:
        added = retriever.add(
            read_documents((*inputs, *more), format), on_conflict=on_conflict, batch_size=batch_size
        )
        held = len(retriever)
    if json_:
        print_json({"path": str(path), "added": added, "documents_in_index": held})
    else:
        click.echo(f"Added {added:,} documents: {path} holds {held:,}")
