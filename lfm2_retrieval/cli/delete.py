"""``lfm2-retrieve delete``: delete documents from an index."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ._input import TextCommand
from ._output import print_json, where_option

if TYPE_CHECKING:
    from ..indexes import Where


@click.command(cls=TextCommand)
@click.argument("path", type=click.Path(path_type=Path))
@click.argument("ids", metavar="[ID]...", nargs=-1)
@where_option("All documents")
@click.option("--all", "all_", is_flag=True, help="All documents.")
@click.option("--missing-ok", is_flag=True, help="Pass over ids that the index doesn't hold.")
@click.option("--json", "json_", is_flag=True, help="Print a JSON object.")
def command(
    *, path: Path, ids: tuple[str, ...], where: Where | None, all_: bool, missing_ok: bool, json_: bool
) -> None:
    """Delete documents from the index PATH, by ID, by filter or all.

    All in one commit.

    An ID of - reads ids from the standard input, one a line; IDs that begin with a dash go behind --.
    """
    from ..documents import STDIN
    from ._opening import open_to_delete

    if bool(ids) + (where is not None) + all_ != 1:
        raise click.UsageError("give either IDs, --where or --all")
    named = [name for id in ids for name in ([id] if id != STDIN else _read_ids())]
    with open_to_delete(path) as index:
        deleted = index.delete(named if ids else None, where=where, all=all_, missing_ok=missing_ok)
        held = len(index)
    if json_:
        print_json({"path": str(path), "deleted": deleted, "documents_in_index": held})
    else:
        click.echo(f"Deleted {deleted:,} documents: {path} holds {held:,}")


def _read_ids() -> list[str]:
    from ..documents import STDIN, read_lines

    lines = (line.rstrip("\r\n") for _, line in read_lines(STDIN))
    return [line for line in lines if line]
