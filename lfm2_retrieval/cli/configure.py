"""``lfm2-retrieve configure``: what an index keeps beside its vectors so as to find documents."""

from __future__ import annotations

from pathlib import Path

import click

from ..printable import printable
from ._output import print_json


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--lexical/--no-lexical", default=None, help="Keep words, to search by; or drop them.")
@click.option(
    "--field",
    "fields",
    multiple=True,
    metavar="FIELD",
    help="Make a column with an index of this field of the metadata. Repeatable.",
)
@click.option("--json", "json_", is_flag=True, help="Print a JSON object.")
def command(*, path: Path, lexical: bool | None, fields: tuple[str, ...], json_: bool) -> None:
    """Set what the index PATH keeps to search and filter by.

    In one commit; prints what that is now.
    """
    from ..indexes import Index

    with Index.open(path) as index:
        if lexical is not None or fields:
            index.configure(lexical=lexical, fields=fields)
        words, declared = bool(index.settings.get("lexical")), list(index.settings.get("fields") or ())
    if json_:
        print_json({"lexical": words, "fields": declared})
        return
    click.echo(f"words    {'kept' if words else 'not kept'}")
    click.echo(f"fields   {', '.join(map(printable, declared)) or 'none declared'}")
