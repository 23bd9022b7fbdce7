"""``lfm2-retrieve get``: show documents of an index."""

from __future__ import annotations

from pathlib import Path

import click

from ._input import TextCommand
from ._output import document_json, format_document, print_json


@click.command(cls=TextCommand)
@click.argument("path", type=click.Path(path_type=Path))
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@click.option("--json", "json_", is_flag=True, help="Print a JSON object a document, one a line.")
def command(path: Path, ids: tuple[str, ...], json_: bool) -> None:
    """Show the documents IDs of the index PATH. Fails if the index lacks one, after showing the others.

    An ID may be that of a passage, such as guide.md#12. IDs that begin with a dash go behind --.
    """
    from ..errors import UnknownIdError
    from ._opening import open_index

    with open_index(path) as index:
        found = index.at_once(
            lambda held: [
                document or passage
                for document, passage in zip(held.sources.get_many(ids), held.get_many(ids), strict=True)
            ]
        )
    for entry in found:
        if entry is not None:
            if json_:
                print_json(document_json(entry))
            else:
                click.echo(format_document(entry))
    if missing := [id for id, entry in zip(ids, found, strict=True) if entry is None]:
        raise UnknownIdError(f"not in the index: {', '.join(missing)}")
