"""``lfm2-retrieve index``: read files, encode them, put them into an index."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..documents import STDIN, Reading, ReadOptions
from ._input import batch_option, input_option, prefixes_beside, reading_options, tell, trust_option
from ._output import format_bytes, print_json

if TYPE_CHECKING:
    from ..indexes import Estimate
    from ..retriever.ingest import Progress


@click.command(options_metavar="")
@click.argument("path", type=click.Path(path_type=Path))
@input_option()
@click.argument("more", nargs=-1, metavar="--input FILE... [OPTIONS]")
@click.option("--model", help="nano, a folder or a name on the hub.  [default: LiquidAI/LFM2-ColBERT-350M]")
@trust_option()
@click.option(
    "--tier",
    type=click.Choice(["compact", "balanced", "accurate", "exact"]),
    help="What the index is compressed to once it is large.  [default: balanced]",
)
@click.option(
    "--if-exists",
    type=click.Choice(["error", "append", "overwrite"]),
    default="error",
    show_default=True,
    help="What to do when PATH holds an index.",
)
@click.option(
    "--field",
    "fields",
    multiple=True,
    metavar="FIELD",
    help="A field of the metadata to make a column with an index of, for fast filters. Repeatable.",
)
@click.option(
    "--lexical/--no-lexical",
    default=None,
    help="Whether to keep words, to search by.  [default: as PATH does; else yes]",
)
@reading_options()
@batch_option()
@click.option(
    "--memory",
    default="2GB",
    show_default=True,
    help="What compressing may use, the library itself not counted: 500MB, 8GB …",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 …")
@click.option(
    "--dtype",
    type=click.Choice(["auto", "float32", "float16", "bfloat16", "int8"]),
    default="auto",
    show_default=True,
    help="Of the model's forward pass.",
)
@click.option(
    "--long-documents",
    type=click.Choice(["truncate", "window", "full"]),
    help="What happens to documents of more than --document-length tokens: cut; read in overlapping windows "
    "of so many; or cut at all that the model reads.  [default: truncate, or as the index was made]",
)
@click.option(
    "--document-length",
    type=click.IntRange(min=1),
    help="The most tokens of a document or window, up to 32768.  [default: what the model was trained with]",
)
@click.option(
    "--pool-factor",
    type=click.IntRange(1, 4),
    help="Cluster a document's vectors to 1 in so many.  [default: 1, or as the index was made]",
)
@click.option("--json", "json_", is_flag=True, help="Print a JSON object; no progress bar.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    path: Path,
    inputs: tuple[str, ...],
    more: tuple[str, ...],
    if_exists: Any,
    format: str | None,
    options: ReadOptions,
    json_: bool,
    **settings: Any,
) -> None:
    """Index the documents of FILEs in the folder PATH.

    Reads JSON Lines in BEIR layout (_id, text, title; other keys are metadata), CSV and TSV with a header of
    these names, and folders: each file that is plain text (.txt, .md, source code …) is a document, and
    tables with a text column give theirs; .gz of any of them. What is left out of a folder is told, links
    that lead out of it among that. Lines and texts are limited to 32 MiB.

    A file's id is its path in its folder, behind the folder's name if several folders are given, or text
    files beside one, or PATH holds another folder's files.

    A column of CSV or TSV has a type if all its cells agree and come back the same (7, but not 007); of the
    standard input the first 1,000 rows decide.

    Files are checked as a whole before the model is loaded. Ctrl-C leaves what was encoded until then, ready
    to be searched.
    """
    reading = Reading((*inputs, *more), format, options)
    total = _check(reading, path if if_exists == "append" else None)
    if total is not None:
        tell(reading.report)

    try:
        done, held, limit = _index(reading, path, total, quiet=json_, if_exists=if_exists, **settings)
    except KeyboardInterrupt:
        click.echo(f"Interrupted: {_held(path):,} documents are safely indexed in {path}", err=True)
        ctx.exit(130)
    if total is None:
        tell(reading.report)
    if json_:
        facts = {"documents": done.documents, "tokens": done.tokens, "seconds": done.seconds, "cut": done.cut}
        print_json({"path": str(path), **reading.report.to_dict(), **facts, "documents_in_index": held})
        return
    click.echo(
        f"Indexed {done.documents:,} documents ({done.tokens:,} token vectors) in {done.seconds:,.1f} s, "
        f"{done.documents_per_second:,.0f} documents/s: {path} holds {held:,}"
    )
    if done.cut:
        click.echo(
            f"Warning: {done.cut:,} documents were longer than the {limit} tokens that are read and were "
            "cut; --long-documents window reads all of a document",
            err=True,
        )


def _index(
    reading: Reading, path: Path, total: int | None, *, quiet: bool, **settings: Any
) -> tuple[Progress, int, int]:
    """Index, and show how far it is: the last progress, documents in the index, tokens read of each."""
    from ..retriever import Retriever
    from ..retriever.ingest import Progress
    from ..retriever.progress import progress_bar

    last = Progress(0, 0, 0.0, 0)
    with progress_bar(total, quiet=quiet) as show:

        def follow(done: Progress) -> None:
            nonlocal last
            if last.estimate is None and done.estimate is not None and not quiet:
                _foretell(done.estimate)
            last = done
            show(done)

        retriever = Retriever.index(reading, path, n_documents=total, on_progress=follow, **settings)
    with retriever:
        return last, len(retriever), retriever.encoder.document_length


def _foretell(estimate: Estimate) -> None:
    """Say what the index will take, if it is going to be compressed."""
    if estimate.seconds:
        click.echo(
            f"About {format_bytes(estimate.bytes)} on disk without the texts, less than "
            f"{format_bytes(estimate.bytes_meanwhile)} on the way; compressing takes about "
            f"{max(estimate.seconds, 1):,.0f} s",
            err=True,
        )


def _check(reading: Reading, existing: Path | None) -> int | None:
    """Read all files once, so that a bad line or a double id shows before any work; how many documents.

    None if some can be read only once (the standard input, pipes).
    """
    from ..errors import DuplicateIdError
    from ..indexes import Index, is_vacant

    if existing is not None and is_vacant(existing):
        existing = None
    files = [file for file in reading.paths if file != STDIN and not _is_stream(Path(file))]
    seen: set[str] = set()
    with nullcontext() if existing is None else Index.open(existing) as held:
        if held is not None:
            reading.prefixes = prefixes_beside(reading.folders, held)
        numbers = Counter[str]()
        for file, row in reading.rows(files):
            numbers[file] += 1
            if row["id"] in seen or (held is not None and row["id"] in held):
                where = "comes twice" if row["id"] in seen else f"is already in the index {existing}"
                raise DuplicateIdError(
                    f"{file}: document {numbers[file]}: the id {row['id'][:80]!r} {where}; ids must be unique"
                )
            seen.add(row["id"])
    return len(seen) if len(files) == len(reading.paths) else None


def _is_stream(path: Path) -> bool:
    return path.exists() and not (path.is_file() or path.is_dir())


def _held(path: Path) -> int:
    from ..errors import RetrievalError
    from ..indexes import Index

    try:
        with Index.open(path) as index:
            return len(index)
    except RetrievalError:
        return 0
