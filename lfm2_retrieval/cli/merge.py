"""``lfm2-retrieve merge``: tidy up an index."""

from __future__ import annotations

from pathlib import Path

import click

from ._output import format_bytes, print_json


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--memory",
    default="2GB",
    show_default=True,
    help="What compressing may use, the library itself not counted: 500MB, 8GB …",
)
@click.option(
    "--retrain",
    is_flag=True,
    default=None,
    help="Train another codec on everything and compress everything with it.  [default: if what was added "
    "is found less well]",
)
@click.option("--json", "json_", is_flag=True, help="Print a JSON object.")
def command(path: Path, memory: str, retrain: bool | None, json_: bool) -> None:
    """Merge the segments of the index PATH; drop what is deleted.

    Others may search and add meanwhile. What they still read stays on disk until they go on.
    """
    from ..indexes import Index

    with Index.open(path) as index:
        before = sum(index.size_bytes().values()), len(index.segments)
        index.merge(retrain=retrain, memory=memory)
        after = sum(index.size_bytes().values()), len(index.segments)
    if json_:
        print_json(
            {
                "path": str(path),
                "bytes_before": before[0],
                "bytes": after[0],
                "segments_before": before[1],
                "segments": after[1],
            }
        )
    else:
        click.echo(
            f"{path}: {before[1]:,} segments, {format_bytes(before[0])} → "
            f"{after[1]:,} segments, {format_bytes(after[0])}"
        )
