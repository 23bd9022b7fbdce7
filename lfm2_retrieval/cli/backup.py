"""``lfm2-retrieve backup``: copy an index while others write to it."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["command"]


@click.command("backup")
@click.argument("path", type=click.Path(path_type=Path))
@click.argument("destination", type=click.Path(path_type=Path))
def command(path: Path, destination: Path) -> None:
    """Copy the index PATH while others write to it.

    DESTINATION is a folder that is new or empty. The copy is one commit, whatever is written meanwhile,
    and every file is held to its checksum. An interrupted backup leaves DESTINATION.partial, which
    isn't an index and which the next one replaces.
    """
    from ..indexes import Index

    with Index.open(path) as index:
        index.backup(destination)
    with Index.open(destination) as copy:
        click.echo(f"{len(copy):,} documents in {destination}", err=True)
