"""An index brought to what folders hold, in one commit."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..documents.report import ReadingReport, storable
from ..documents.rows import ReadOptions
from ..documents.sync_plan import SyncPlan
from ..documents.sync_reading import SyncReading
from ..documents.workers import Limits
from ..errors import InvalidInputError, callers_level, remedy
from ..indexes import Spool, read_refusals, sync_lock, write_refusals
from .document_changes import replace_documents
from .document_run import DocumentCounts

if TYPE_CHECKING:
    from .retriever import Retriever

__all__ = ["SyncReport", "SyncRequest", "plan_only", "sync"]

_NAMED = 1000
_TRIES = 3
"""So often a sync is planned anew, as others changed what it was planned for; then under the writer lock."""
_STATES = ("new", "changed", "renamed", "gone")


class _OvertakenError(Exception):
    """Others changed what a sync was planned for."""


@dataclass(frozen=True)
class SyncRequest:
    """What is to be synced, and how; see :meth:`Retriever.sync`."""

    folders: Sequence[str]
    options: ReadOptions
    delete: bool = True
    allow_empty: bool = False
    limits: Limits | None = None
    batch_size: int = 256
    timeout: float = 30.0


@dataclass(frozen=True)
class SyncReport:
    """What a sync did, or would do.

    Parameters
    ----------
    new, changed, renamed, gone, unchanged
        How many files of the folders are so. Those that gave nothing, and so kept what the index had of them,
        are in none of these, but in ``reading``.
    names
        By state (``new``, ``changed`` …) the files, of each the first thousand; of renamed ones both names.
    documents
        What became of documents and passages.
    reading
        What was read and left out, and why.
    seconds
        How long it took.
    dry_run
        Whether nothing was changed.
    """

    new: int
    changed: int
    renamed: int
    gone: int
    unchanged: int
    names: Mapping[str, list[str]]
    documents: DocumentCounts
    reading: ReadingReport = field(repr=False)
    seconds: float = 0.0
    dry_run: bool = False

    @property
    def is_change(self) -> bool:
        """Whether there was anything to do."""
        return bool(self.new or self.changed or self.renamed or self.gone)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        counts = {name: getattr(self, name) for name in (*_STATES, "unchanged")}
        return {
            "files": counts,
            "names": dict(self.names),
            "changes": self.documents.to_dict(),
            "reading": self.reading.to_dict(),
            "seconds": round(self.seconds, 3),
            "dry_run": self.dry_run,
        }


def plan_only(request: SyncRequest, held: Iterable[tuple[str, Mapping[str, Any]]] = ()) -> SyncReport:
    """What a sync would do: files are looked at, and tables read, but nothing else."""
    began = time.monotonic()
    with closing(SyncPlan(request.folders, request.options, held, {}, allow_empty=True)) as plan:
        reading = SyncReading(plan, request.options, request.limits)
        return _report(plan, reading, request, DocumentCounts(), began, dry_run=True)


def sync(
    retriever: Retriever,
    request: SyncRequest,
    *,
    dry_run: bool = False,
    on_progress: Callable[[DocumentCounts], None] | None = None,
) -> SyncReport:
    """Sync an open index; see :meth:`Retriever.sync`."""
    began = time.monotonic()
    path = retriever.path
    if retriever.passages is None:
        option = remedy("Retriever.index(…, passages='auto')", "lfm2-retrieve sync, with a new PATH")
        raise InvalidInputError(
            f"{path} holds no passages, so that folders can't be synced with it: make another index "
            f"with {option}"
        )
    if dry_run:
        return _sync(retriever, request, began, _Work(), dry_run=True)
    work = _Work(on_progress)
    with sync_lock(path, request.timeout):
        for _ in range(_TRIES):
            with suppress(_OvertakenError):
                return _sync(retriever, request, began, work)
            work.begin_anew()
        with retriever.store.transaction(timeout=request.timeout):  # nobody else commits meanwhile
            return _sync(retriever, request, began, work)


class _Work:
    """What the tries of a sync encode, all together.

    Parameters
    ----------
    show
        Is told after each batch.
    """

    def __init__(self, show: Callable[[DocumentCounts], None] | None = None) -> None:
        self._show = show
        self._before = self._now = DocumentCounts()

    def follow(self, done: DocumentCounts) -> None:
        """After a batch."""
        self._now = done
        if self._show is not None:
            self._show(self.whole(done))

    def begin_anew(self) -> None:
        """After a try that came to nothing, of which the vectors are kept."""
        done, self._now = self._now, DocumentCounts()
        self._before = self._before.plus(DocumentCounts(encoded=done.encoded, tokens=done.tokens))

    def whole(self, done: DocumentCounts) -> DocumentCounts:
        """What the last try did, with what those before it encoded."""
        both = done.plus(self._before)
        return replace(both, kept=max(0, done.kept - self._before.encoded))


def _sync(
    retriever: Retriever,
    request: SyncRequest,
    began: float,
    work: _Work,
    *,
    dry_run: bool = False,
) -> SyncReport:
    """Plan a sync, and carry it out.

    Raises
    ------
    _OvertakenError
        If others changed what it was planned for; then nothing was changed, and what was encoded is kept.
    """
    path = retriever.path
    retriever.refresh()
    commit = retriever.store.commit
    refusals = read_refusals(path)
    plan = SyncPlan(
        request.folders,
        request.options,
        retriever.stored_facts(),
        refusals,
        allow_empty=request.allow_empty,
        deletes=request.delete,
    )

    def check() -> None:
        retriever.refresh()
        if retriever.store.commit != commit and not plan.still_holds(retriever.stored_facts()):
            raise _OvertakenError

    with closing(plan):
        reading = SyncReading(plan, request.options, request.limits)
        if dry_run:
            return _report(plan, reading, request, DocumentCounts(), began, dry_run=True)
        counts = work.whole(
            _carry_out(retriever, plan, reading, request, on_progress=work.follow, check=check)
        )
        left = {name: one for name, one in refusals.items() if not _is_beneath(name, plan.roots)}
        kept = left | reading.refused
        if kept != refusals:
            write_refusals(path, kept)
        return _report(plan, reading, request, counts, began)


def _carry_out(
    retriever: Retriever,
    plan: SyncPlan,
    reading: SyncReading,
    request: SyncRequest,
    *,
    on_progress: Callable[[DocumentCounts], None],
    check: Callable[[], None],
) -> DocumentCounts:
    """Change the index as the plan says, in one commit."""
    delete = list(reading.deletes(gone=request.delete))
    renamed = reading.renamed_facts()
    if not delete and not renamed and next(plan.changes(), None) is None:
        return DocumentCounts()
    with _spool(retriever) as spool, closing(reading.documents()) as documents:
        counts = replace_documents(
            retriever.store,
            lambda: retriever.encoder,
            documents,
            delete=delete,
            rename=reading.renames(),
            facts=lambda id: renamed.get(id, {}),
            cache=spool,
            on_progress=on_progress,
            batch_size=request.batch_size,
            timeout=request.timeout,
            check=check,
        )
        spool.remove()
    return counts


@contextmanager
def _spool(retriever: Retriever) -> Iterator[Spool]:
    """The vectors that syncs made and didn't commit yet; warns if they couldn't be kept."""
    settings = retriever.store.settings
    identity = {name: settings.get(name) for name in ("encoder", "passages", "dim")}
    spool = Spool(retriever.path, identity, int(settings["dim"]))
    try:
        yield spool
    finally:
        spool.close()
        if spool.failure is not None:
            warnings.warn(
                f"vectors could not be kept beside the index ({spool.failure.strerror or spool.failure}): a "
                "sync that is interrupted would encode again what it had",
                RuntimeWarning,
                stacklevel=callers_level(),
            )


def _is_beneath(path: str, roots: Iterable[str]) -> bool:
    return any(path.startswith(root.rstrip("/") + "/") for root in roots)


def _report(
    plan: SyncPlan,
    reading: SyncReading,
    request: SyncRequest,
    counts: DocumentCounts,
    began: float,
    *,
    dry_run: bool = False,
) -> SyncReport:
    names: dict[str, list[str]] = {state: [] for state in _STATES}
    numbers = dict.fromkeys(_STATES, 0)
    for state, name in _named(plan, request):
        numbers[state] += 1
        if numbers[state] <= _NAMED:
            names[state].append(storable(name))
    return SyncReport(
        **numbers,
        unchanged=plan.count("unchanged"),
        names={state: found for state, found in names.items() if found},
        documents=counts,
        reading=reading.report,
        seconds=time.monotonic() - began,
        dry_run=dry_run,
    )


def _named(plan: SyncPlan, request: SyncRequest) -> Iterator[tuple[str, str]]:
    """State and name of each file that isn't unchanged."""
    several = len(plan.roots) > 1

    def shown(path: str) -> str:
        root = next((one for one in plan.roots if _is_beneath(path, [one])), "")
        return path if several or not root else str(Path(path).relative_to(root))

    for change in plan.changes():
        before = f"{shown(change.before)} → " if change.before is not None else ""
        yield change.state, before + shown(change.source)
    if request.delete:
        yield from (("gone", shown(path)) for path in plan.gone())
        yield from (("gone", shown(path)) for path in plan.emptied())
