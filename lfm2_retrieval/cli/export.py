"""``lfm2-retrieve export``: an index's documents as JSON Lines, its vectors as ``.npy`` or Parquet."""

from __future__ import annotations

from pathlib import Path

import click

from ._extras import need

__all__ = ["command"]


@click.command("export")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The file to write.  [default: stdout]")
@click.option(
    "--embeddings",
    type=click.Path(path_type=Path),
    help="Write the vectors, too: FILE.npy with FILE.offsets.npy, or FILE.parquet.",
)
def command(path: Path, output: Path | None, embeddings: Path | None) -> None:
    """Write the documents of the index PATH as JSON Lines.

    `index` reads them again. A line has id, text (empty where none was given) and metadata. Files
    appear when they are complete.
    """
    if embeddings is not None and embeddings.suffix == ".parquet":
        need("writing Parquet", "eval", "pyarrow")
    from ..indexes import Index
    from ..indexes.export import export_documents, export_embeddings, json_line

    with Index.open(path) as index:
        to_file = output is not None and str(output) != "-"

        def write(held: Index) -> None:
            if embeddings is not None:
                n_tokens = export_embeddings(held, embeddings)
                click.echo(f"{n_tokens:,} vectors in {embeddings}", err=True)
            if to_file and output is not None:
                count = export_documents(held, output)
                click.echo(f"{count:,} documents in {output}", err=True)

        index.at_once(write)
        if to_file:
            return
        for entry in index.sources.documents():
            click.echo(json_line(entry), nl=False)
