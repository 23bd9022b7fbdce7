"""``lfm2-retrieve sync``: bring an index to what folders hold, once or as long as it runs."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..documents import ReadOptions
from ..printable import printable
from ._input import MOVED, batch_option, passages_options, reading_options, tell, trust_option
from ._output import print_json

if TYPE_CHECKING:
    from ..documents import Passages
    from ..retriever import Retriever
    from ..retriever.document_run import DocumentCounts
    from ..retriever.syncing import SyncReport, SyncRequest


@click.command(options_metavar="[OPTIONS]")
@click.argument("path", type=click.Path(path_type=Path))
@click.argument("folders", metavar="FOLDER...", nargs=-1, required=True, type=click.Path())
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option(
    "--watch", is_flag=True, help="Go on: follow the folders, and sync after each change, until Ctrl-C."
)
@click.option("--no-delete", is_flag=True, help="Keep the documents of files that are gone.")
@click.option(
    "--allow-empty",
    is_flag=True,
    help="Delete also where a folder has none, or not half, of what PATH has of it, or a disk in it isn't "
    "mounted.",
)
@click.option("--model", help=f"{MOVED} For a new index: nano, a folder or a name on the hub.")
@trust_option()
@click.option(
    "--tier",
    type=click.Choice(["compact", "balanced", "accurate", "exact"]),
    help="Of a new index: what it is compressed to once it is large.  [default: balanced]",
)
@passages_options()
@reading_options(found=True)
@batch_option()
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 …")
@click.option(
    "--dtype",
    type=click.Choice(["auto", "float32", "float16", "bfloat16", "int8"]),
    default="auto",
    show_default=True,
    help="Of the model's forward pass.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    help="Seconds to wait for another sync, or another writer.",
)
@click.option("--json", "json_", is_flag=True, help="Print a JSON object a sync; no progress bar.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    path: Path,
    folders: tuple[str, ...],
    dry_run: bool,
    watch: bool,
    no_delete: bool,
    allow_empty: bool,
    format: str | None,
    options: ReadOptions,
    batch_size: int,
    timeout: float,
    json_: bool,
    **making: Any,
) -> None:
    """Bring the index PATH to what the FOLDERs hold now.

    Files that are new or changed are indexed, documents of those that are gone, or left out by now, are
    deleted, and those renamed are renamed without being encoded: all in one commit. What a file holds
    decides, not its date, and of a changed file only the passages that changed are encoded. Documents that
    lie in none of the FOLDERs stay. Makes the index if there is none.

    A file that can't be read any more keeps what PATH has of it. A sync that was killed goes on where it was
    when it is run again.
    """
    from ..documents.sync_plan import check_folders
    from ..errors import InvalidInputError
    from ..indexes import is_vacant
    from ..retriever.syncing import SyncRequest, plan_only, sync
    from ..retriever.watching import check_watching

    if watch and dry_run:
        raise click.UsageError("--watch and --dry-run exclude each other")
    if making["passages"] == "none":
        raise click.UsageError("sync splits documents into passages: --passages auto, or a number")
    if watch:
        check_watching()
    if format is not None:
        raise click.UsageError("sync finds out formats by itself; --include '*.csv' chooses files")
    strict, roots = options.strict, check_folders(folders)
    request = SyncRequest(
        folders,
        _without_strict(options),
        delete=not no_delete,
        allow_empty=allow_empty,
        batch_size=batch_size,
        timeout=timeout,
    )
    if dry_run and is_vacant(path):
        _show(plan_only(request), path, None, quiet=json_)
        return
    with _opened(path, **making) as retriever:
        if watch:
            if _watch(retriever, request, roots, path, json_):
                ctx.exit(130)
            return
        try:
            with _bar(json_ or dry_run) as follow:
                done = sync(retriever, request, dry_run=dry_run, on_progress=follow)
        except KeyboardInterrupt:
            click.echo(
                "Interrupted: nothing was changed; run it again, and it goes on where it was", err=True
            )
            ctx.exit(130)
        _show(done, path, retriever, quiet=json_)
    if strict and done.reading.missed:
        raise InvalidInputError("--strict: files were left out, see above; all else was indexed")


def _without_strict(options: ReadOptions) -> ReadOptions:
    from dataclasses import replace

    return replace(options, strict=False)


def _opened(
    path: Path, *, model: str | None, trust_model: bool, tier: Any, passages: Any, **loading: Any
) -> Retriever:
    """The index, made if it isn't there."""
    from ..documents import Passages
    from ..indexes import is_vacant
    from ..retriever import Retriever

    if not is_vacant(path) and tier is None and passages is None:
        return Retriever.open(path, model=model, trust_model=trust_model, **loading)
    chosen: Passages = Passages() if passages in (None, "auto") else passages
    return Retriever.index(
        [],
        path,
        model=model,
        trust_model=trust_model,
        tier=tier,
        passages=chosen,
        if_exists="append",
        **loading,
    )


@contextmanager
def _bar(quiet: bool) -> Iterator[Any]:
    """Counts passages on a terminal."""
    from ..retriever.ingest import Progress
    from ..retriever.progress import progress_bar

    with progress_bar(None, quiet=quiet) as show:

        def follow(done: DocumentCounts) -> None:
            documents = done.added + done.changed + done.unchanged
            show(Progress(documents, done.tokens, 0.0, 0))

        yield follow


def _show(done: SyncReport, path: Path, retriever: Retriever | None, *, quiet: bool) -> None:
    """The report of a sync."""
    held = {} if retriever is None else {"documents": len(retriever), "passages": retriever.n_passages}
    if quiet:
        print_json({"path": str(path), **done.to_dict(), "index": held})
        return
    if done.dry_run:
        for state, names in done.names.items():
            for name in names:
                click.echo(f"{state:<8} {printable(name)}")
    counts = ", ".join(
        f"{getattr(done, name):,} {name}"
        for name in ("new", "changed", "renamed", "gone")
        if getattr(done, name)
    )
    unchanged = f"{done.unchanged:,} unchanged"
    files = f"{counts}, {unchanged}" if counts else f"nothing to do, {unchanged}"
    if done.dry_run:
        click.echo(f"Would be done in {path}: {files}")
    else:
        changes = done.documents
        click.echo(f"Synced in {done.seconds:,.1f} s: {files}")
        if changes.encoded or changes.kept:
            kept = f"; {changes.kept:,} kept their vectors" if changes.kept else ""
            click.echo(
                f"Encoded {_counted(changes.encoded, 'passage')} "
                f"({_counted(changes.tokens, 'token vector')}){kept}"
            )
        click.echo(f"{path} holds {held['documents']:,} documents, {held['passages']:,} passages")
    for table, column in done.reading.text_columns.items():
        click.echo(f"Note: {table}: the text is column {column!r}", err=True)
    tell(done.reading)


def _counted(count: int, name: str) -> str:
    return f"{count:,} {name}{'' if count == 1 else 's'}"


def _watch(retriever: Retriever, request: SyncRequest, roots: list[str], path: Path, json_: bool) -> bool:
    """Sync after each change, until Ctrl-C, which is told, or SIGTERM."""
    from ..errors import RetrievalError
    from ..retriever.syncing import sync
    from ..retriever.watching import changes_in

    terminated = False

    def terminate(*_: object) -> None:
        nonlocal terminated
        terminated = True
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, terminate)
    last_error = ""
    try:
        click.echo(f"Following {', '.join(roots)}; Ctrl-C ends it", err=True)
        for number, _ in enumerate(changes_in(roots, Path(os.path.realpath(path)))):
            try:
                done = sync(retriever, request)
            except (RetrievalError, OSError) as error:
                if str(error) != last_error:
                    click.echo(f"Error: {error}; still following", err=True)
                last_error = str(error)
                continue
            last_error = ""
            if done.is_change or not number:
                _show(done, path, retriever, quiet=json_)
    except KeyboardInterrupt:
        return not terminated
    finally:
        signal.signal(signal.SIGTERM, before)
    return False
