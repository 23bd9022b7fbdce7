"""``lfm2-retrieve reshard``: another number of shards, without encoding."""

from __future__ import annotations

from pathlib import Path

import click

from ._output import print_json


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--shards", type=click.IntRange(min=1), required=True, help="How many.")
@click.option(
    "--memory",
    default="2GB",
    show_default=True,
    help="What training and compressing may use, the library itself not counted: 500MB, 8GB …",
)
@click.option("--json", "json_", is_flag=True, help="Print a JSON object; no progress bar.")
def command(source: Path, path: Path, shards: int, memory: str, json_: bool) -> None:
    """Copy a collection or index into another number of shards.

    Documents and vectors are copied, and nothing is encoded; SOURCE stays as it is. Repeated after it was
    interrupted, it goes on.
    """
    from ..distributed import reshard
    from ..retriever.progress import progress_bar

    with progress_bar(None, quiet=json_) as show:
        manifest = reshard(source, path, shards=shards, memory=memory, on_progress=show)
    held = sum(entry.documents for entry in manifest.shards)
    if json_:
        print_json({"path": str(path), "shards": shards, "documents_in_index": held})
    else:
        click.echo(f"{path} holds the {held:,} documents of {source} in {shards:,} shards")
