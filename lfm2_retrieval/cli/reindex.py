"""``lfm2-retrieve reindex``: encode all documents of an index anew."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ._input import batch_option, model_options, trust_option
from ._output import format_bytes, print_json

if TYPE_CHECKING:
    from ..retriever.ingest import Progress


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@model_options("nano, a folder or a name on the hub.  [default: today's model of the index's name]")
@trust_option()
@batch_option()
@click.option(
    "--memory",
    default="2GB",
    show_default=True,
    help="What compressing may use, the library itself not counted: 500MB, 8GB …",
)
@click.option("--json", "json_", is_flag=True, help="Print a JSON object; no progress bar.")
def command(*, path: Path, json_: bool, **options: Any) -> None:
    """Encode all documents of the index PATH anew.

    After an update of its model, or for another one. Documents, ids, order, metadata and settings stay. The
    old index is searched until the new one is complete, and stays if this is interrupted; others can't add
    meanwhile. Until it is done it takes more disk, which is told before.
    """
    from ..retriever import Retriever
    from ..retriever.progress import progress_bar

    total = _tell_disk(path)
    last: Progress | None = None
    with progress_bar(total, quiet=json_) as show:

        def follow(done: Progress) -> None:
            nonlocal last
            last = done
            show(done)

        with Retriever.reindex(path, on_progress=follow, **options) as retriever:
            held, name = len(retriever), retriever.encoder.name
            fingerprint, tokens = retriever.encoder.fingerprint, retriever.store.n_tokens
    seconds = 0.0 if last is None else last.seconds
    if json_:
        facts = {"documents": held, "tokens": tokens, "seconds": seconds}
        print_json({"path": str(path), **facts, "model": name, "model_fingerprint": fingerprint})
    else:
        click.echo(
            f"Encoded {held:,} documents anew with {name} ({tokens:,} token vectors) in {seconds:,.1f} s: "
            f"{path}"
        )


def _tell_disk(path: Path) -> int:
    """Say what it will take on disk beside what is there; how many documents there are."""
    from ..indexes import Index

    with Index.open(path) as index:
        count = len(index)
        need, free = index.estimate(index.n_tokens, count).bytes_meanwhile, shutil.disk_usage(path).free
    click.echo(
        f"{'Warning: t' if need > free else 'T'}his takes up to {format_bytes(need)} more on disk until it "
        f"is done, and {format_bytes(free)} are free",
        err=True,
    )
    return count
