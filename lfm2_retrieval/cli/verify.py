"""``lfm2-retrieve verify``: hold every byte of an index to its checksum."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["command"]


@click.command("verify")
@click.argument("path", type=click.Path(path_type=Path))
def command(path: Path) -> None:
    """Hold every byte of the index PATH to its checksum.

    What is damaged is an error. `repair --dry-run` says what would be lost.
    """
    from ..indexes import Index

    with Index.open(path) as index:
        index.verify()
        documents, held = index.sources.count(), len(index)
        passages = "" if held == documents else f", {held:,} passages"
        click.echo(f"{documents:,} documents{passages}; every byte is as it was written.")
