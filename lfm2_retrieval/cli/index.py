"""``lfm2-retrieve index``: read files, encode them, put them into an index."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..documents import STDIN, Reading, ReadOptions
from ._input import (
    batch_option,
    input_option,
    passages_options,
    prefixes_beside,
    reading_options,
    tell,
    trust_option,
)
from ._output import format_bytes, print_json
from ._sharded import check_sharding, index_shards, sharding_options

if TYPE_CHECKING:
    from ..indexes import Estimate
    from ..retriever.ingest import Progress


@click.command(options_metavar="[OPTIONS]")
@click.argument("path", type=click.Path(path_type=Path))
@click.argument("more", nargs=-1, metavar="FILE|FOLDER...")
@input_option(required=False)
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
@passages_options()
@reading_options(found=True)
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
@sharding_options
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
    passages: Any,
    json_: bool,
    shards: int | None,
    address: str | None,
    workers: int | None,
    **settings: Any,
) -> None:
    """Index the documents of files and folders in the folder PATH.

    Reads Markdown, plain text, source code and notebooks, a document each; tables (CSV, TSV, JSON, JSON
    Lines, Parquet), a document a row; and with the extra documents PDF, Office files, books, web pages and
    mail; .gz of texts and tables. What is left out of a folder is told by name, and why. Lines and texts
    are limited to 32 MiB. Long documents are split into passages, so that nothing of them is cut.

    A file's id is its path in its folder, behind the folder's name if several folders are given, or text
    files beside one, or PATH holds another folder's files. Sync keeps an index and its folders in step.

    A column of CSV or TSV has a type if all its cells agree and come back the same (7, but not 007); of the
    standard input the first 1,000 rows decide.

    Files named by --input are checked as a whole before the model is loaded, and their documents are not
    split unless --passages is given. Ctrl-C leaves what was encoded until then, ready to be searched.
    """
    if not inputs and not more:
        raise click.UsageError("give at least one FILE or FOLDER to read; - is the standard input")
    check_sharding(shards, address, workers, if_exists)
    if shards is not None:
        _without_batches(settings)
        where: dict[str, Any] = {"shards": shards, "address": address, "workers": workers}
        how: dict[str, Any] = {"format": format, "options": options, "json_": json_, "passages": passages}
        index_shards((*inputs, *more), path, **where, **how, **settings)
        return
    if not inputs or passages not in (None, "none"):
        split = _split((*inputs, *more), format, options, passages, path, if_exists=if_exists)
        _index_documents(ctx, split, path, json_, strict=options.strict, if_exists=if_exists, **settings)
        return
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


def _without_batches(settings: dict[str, Any]) -> None:
    """Take out what is of no concern where a collection is new, and cut into parts."""
    for name in ("batch_size", "trust_model"):
        settings.pop(name, None)


def _split(
    paths: tuple[str, ...],
    format: str | None,
    options: ReadOptions,
    passages: Any,
    path: Path,
    *,
    if_exists: str,
) -> tuple[Reading, Any]:
    """What is read, and how it is split."""
    from ..indexes import Index, is_vacant

    reading = Reading(paths, format, replace(options, strict=False))
    if if_exists == "append" and not is_vacant(path):
        with Index.open(path) as held:
            reading.prefixes = prefixes_beside(reading.folders, held.sources)
    return reading, passages or "auto"


def _index_documents(
    ctx: click.Context, split: tuple[Reading, Any], path: Path, json_: bool, *, strict: bool, **settings: Any
) -> None:
    """Index documents as they are read, each split into passages, and tell what came of it."""
    from ..documents import DocumentReader
    from ..errors import InvalidInputError
    from ..retriever import Retriever
    from ..retriever.ingest import Progress
    from ..retriever.progress import progress_bar

    reading, passages = split
    last = Progress(0, 0, 0.0, 0)
    with DocumentReader(reading) as documents, progress_bar(None, quiet=json_) as show:

        def follow(done: Progress) -> None:
            nonlocal last
            last = done
            show(done)

        try:
            retriever = Retriever.index(documents, path, passages=passages, on_progress=follow, **settings)
        except KeyboardInterrupt:
            click.echo(f"Interrupted: {_held(path):,} documents are safely indexed in {path}", err=True)
            ctx.exit(130)
    with retriever:
        held, n_passages = len(retriever), retriever.n_passages
    report = reading.report
    if json_:
        facts = {
            "tokens": last.tokens,
            "seconds": last.seconds,
            "cut": last.cut,
            "passages_in_index": n_passages,
        }
        print_json({"path": str(path), **report.to_dict(), **facts, "documents_in_index": held})
    else:
        click.echo(
            f"Indexed {report.documents:,} documents of {report.files:,} files ({last.tokens:,} token "
            f"vectors) in {last.seconds:,.1f} s: {path} holds {held:,} documents, {n_passages:,} passages"
        )
        for table, column in report.text_columns.items():
            click.echo(f"Note: {table}: the text is column {column!r}", err=True)
    tell(report)
    if strict and report.missed:
        raise InvalidInputError("--strict: files were left out, see above; all else was indexed")


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
            return index.sources.count()
    except RetrievalError:
        return 0
