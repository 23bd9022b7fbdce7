"""``lfm2-retrieve list``: the documents of an index, one after another."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ._output import document_json, format_document, print_json, where_option

if TYPE_CHECKING:
    from ..indexes import Where

_SHOWN = 80


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@where_option("Only documents")
@click.option("--limit", type=click.IntRange(min=0), help="How many at most.")
@click.option(
    "--json", "json_", is_flag=True, help="Print a JSON object a document, one a line, with its text."
)
def command(path: Path, where: Where | None, limit: int | None, json_: bool) -> None:
    """List the documents of the index PATH in order of insertion.

    Ids, metadata and how the texts begin.

    With --json, texts are whole, and index and add read the output again.
    """
    from ._opening import open_index

    with open_index(path) as index:
        for entry in islice(index.sources.documents(where), limit):
            if json_:
                print_json(document_json(entry))
            else:
                click.echo(format_document(entry, _SHOWN))
