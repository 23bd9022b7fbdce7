"""``lfm2-retrieve export``: an index's documents as JSON Lines, its vectors as files or in a database."""

from __future__ import annotations

from pathlib import Path

import click

from ._extras import need

__all__ = ["command"]

_MODULES = {
    "qdrant": ("qdrant_client",),
    "qdrant-edge": ("qdrant_edge",),
    "lancedb": ("lancedb", "pyarrow"),
    "parquet": ("pyarrow",),
}


@click.command("export")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("-o", "--output", help="The file to write, or with --to what it says.  [default: stdout]")
@click.option(
    "--embeddings",
    type=click.Path(path_type=Path),
    help="Write the vectors, too: FILE.npy with FILE.offsets.npy, or FILE.parquet.",
)
@click.option(
    "--to",
    type=click.Choice([*_MODULES]),
    help="Write passages with vectors, texts and metadata: to a folder of Qdrant's or the address of its "
    "server, a folder of Qdrant Edge's or LanceDB's, or one Parquet file. Nothing may be there.",
)
@click.option("--name", default="documents", show_default=True, help="With --to: of the collection or table.")
def command(path: Path, output: str | None, embeddings: Path | None, to: str | None, name: str) -> None:
    """Write the documents of the index PATH as JSON Lines.

    Or with --to hand it over to a database, with its vectors.
    `index` reads the lines again, and `import` a Parquet file. A line has id, text (empty where none was
    given) and metadata. Files appear when they are complete.
    """
    if to is not None:
        _hand_over(path, to, output, embeddings, name)
        return
    if embeddings is not None and embeddings.suffix == ".parquet":
        need("writing Parquet", "eval", "pyarrow")
    from ..indexes import Index
    from ..indexes.export import export_documents, export_embeddings, json_line

    file = None if output in (None, "-") else Path(str(output))
    with Index.open(path) as index:

        def write(held: Index) -> None:
            if embeddings is not None:
                n_tokens = export_embeddings(held, embeddings)
                click.echo(f"{n_tokens:,} vectors in {embeddings}", err=True)
            if file is not None:
                count = export_documents(held, file)
                click.echo(f"{count:,} documents in {file}", err=True)

        index.at_once(write)
        if file is not None:
            return
        for entry in index.sources.documents():
            click.echo(json_line(entry), nl=False)


def _hand_over(path: Path, to: str, output: str | None, embeddings: Path | None, name: str) -> None:
    """Write to a database."""
    if output is None or embeddings is not None:
        raise click.UsageError(
            "--to takes --output, which says where, and writes vectors: leave --embeddings out"
        )
    need(f"writing to {to}", to, *_MODULES[to])
    from ..indexes import Index
    from ..integrations.transfer import export_index

    with Index.open(path) as index:
        count = export_index(index, to, output, name=name)
        click.echo(f"{count:,} rows in {output}", err=True)
