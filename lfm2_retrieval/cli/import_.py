"""``lfm2-retrieve import``: an index of vectors that something else made."""

from __future__ import annotations

from pathlib import Path

import click

from ._extras import need

__all__ = ["command"]


@click.command("import")
@click.argument("path", type=click.Path(path_type=Path))
@click.argument("source", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--ids",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A file with an id a line, or a JSON object with id, text and metadata.  [default: those of SOURCE; "
    "else numbers]",
)
@click.option("--vectors", default="vectors", show_default=True, help="The column of a Parquet file.")
@click.option(
    "--tier",
    type=click.Choice(["compact", "balanced", "accurate", "exact"]),
    default="balanced",
    show_default=True,
    help="What the index is compressed to once it is large.",
)
@click.option(
    "--model", help="What made the vectors, and shall encode queries: nano, a folder or a name on the hub."
)
def command(  # noqa: PLR0917  (one an option)
    path: Path, source: Path, ids: Path | None, vectors: str, tier: str, model: str | None
) -> None:
    """Make the index PATH of the vectors in SOURCE.

    SOURCE is a Parquet file with the columns id and vectors, and perhaps text, metadata and more; a .npz of
    an array a document; FILE.npy beside FILE.offsets.npy, as export writes them; or a folder of PyLate,
    fast-plaid or ColBERT.
    """
    if source.suffix == ".parquet":
        need("reading Parquet", "parquet", "pyarrow")
    from ..encoder import Encoder
    from ..integrations.transfer import import_index

    encoder = None if model is None else Encoder.load(model).identity
    with import_index(source, path, ids=ids, vectors=vectors, tier=tier, encoder=encoder) as index:
        click.echo(f"{len(index):,} documents, {index.n_tokens:,} vectors of {index.dim} in {path}", err=True)
        if not index.settings.get("encoder"):
            click.echo("Which model made them isn't known: searches need --model.", err=True)
