"""Changes of the documents in an index of passages, each call in one commit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import chain
from typing import Any, TypeVar

from ..datatypes import Document
from ..encoder import Encoder, batched
from ..errors import InvalidInputError, remedy
from ..indexes import HeldDocument, Index, OnConflict, Waiting, Writer, known_ids, unknown_ids
from ..records import Source
from .batches import batches as by_batch
from .change_run import ChangeCounts, Wanted
from .document_run import DocumentCounts, DocumentRun, VectorCache
from .splitting import Splitter, Whole, recorded_passages, restored, whole_of

__all__ = ["add_wholes", "replace_documents", "update_wholes"]

LoadEncoder = Callable[[], Encoder]
B = TypeVar("B")
C = TypeVar("C", ChangeCounts, DocumentCounts)
Facts = Callable[[str], Mapping[str, Any]]

_AT_ONCE = 256
"""So many documents are drawn at a time from those that wait."""


def add_wholes(
    store: Index,
    encoder: LoadEncoder,
    batches: Iterator[list[Whole]],
    *,
    on_conflict: OnConflict,
    ids: set[str],
    timeout: float,
) -> ChangeCounts:
    """Add documents; see :meth:`Retriever.add`."""
    run = _run(store, encoder, ids)
    first = next(batches, [])
    if not first:
        return ChangeCounts()
    if not store.in_transaction:
        held = _held(store, first)
        if not (held and on_conflict == "error"):
            run.guess([whole for whole in first if on_conflict != "skip" or whole.id not in held], held)

    def write(writer: Writer, batch: list[Whole]) -> ChangeCounts:
        known = set()
        if on_conflict != "replace":
            known = set(writer.has_documents([whole.id for whole in batch if whole.id is not None]))
        if known and on_conflict == "error":
            raise known_ids(sorted(known))
        counts = run.write(writer, [whole for whole in batch if whole.id not in known])
        return ChangeCounts(counts.added, counts.changed, counts.unchanged, len(known))

    return _in_one_commit(store, chain([first], batches), write, ChangeCounts(), timeout)


def update_wholes(
    store: Index, encoder: LoadEncoder, batches: Iterator[list[Wanted]], *, ids: set[str], timeout: float
) -> ChangeCounts:
    """Change documents; see :meth:`Retriever.update`."""
    run = _run(store, encoder, ids)
    first = next(batches, [])
    if not first:
        return ChangeCounts()
    if not store.in_transaction:
        before = {one.id: held for one in first if one.id and (held := store.sources.held(one.id))}
        if len(before) == len(first):
            run.guess([_changed(one, before[one.id or ""]) for one in first], before)

    def write(writer: Writer, batch: list[Wanted]) -> ChangeCounts:
        named = [one.id or "" for one in batch]
        held = writer.find_documents(named)
        if unknown := [id for id in named if id not in held]:
            raise unknown_ids(unknown, "add() adds documents")
        counts = run.write(writer, [_changed(one, held[one.id or ""]) for one in batch])
        return ChangeCounts(0, counts.changed, counts.unchanged, 0)

    return _in_one_commit(store, chain([first], batches), write, ChangeCounts(), timeout)


def replace_documents(
    store: Index,
    encoder: LoadEncoder,
    put: Iterable[Source],
    *,
    delete: Iterable[str],
    rename: Mapping[str, str],
    facts: Facts,
    cache: VectorCache | None,
    on_progress: Callable[[DocumentCounts], None] | None,
    batch_size: int,
    timeout: float,
    check: Callable[[], None] = lambda: None,
) -> DocumentCounts:
    """Delete, rename and put documents in one commit; see :meth:`Retriever.replace_documents`.

    With a cache, all that it keeps is encoded without the lock, and documents wait in a file meanwhile.
    ``check`` is called under the lock before anything is changed, and may raise.
    """
    if recorded_passages(store.settings) is None:
        again = remedy("Retriever.index(…, passages=Passages())", "lfm2-retrieve index")
        raise InvalidInputError(
            f"{store.path} holds no passages of documents, so that whole ones can't be replaced: make it "
            f"anew with {again}"
        )
    ids: set[str] = set()
    run = _run(store, encoder, ids, cache)
    drafts = by_batch(put, batch_size, ids)
    batches: Iterator[list[Whole]] = (
        [whole_of(draft, None if draft.id is None else facts(draft.id)) for draft in batch]
        for batch in drafts
    )
    gone = list(dict.fromkeys(delete))
    names = {new: old for old, new in rename.items()}

    def begin(writer: Writer) -> DocumentCounts:
        check()
        deleted = writer.delete(gone) if gone else 0
        renamed = writer.rename_documents(
            rename, lambda held, id: replace(held, id=id, facts={**held.facts, **facts(id)})
        )
        return DocumentCounts(deleted=deleted, renamed=renamed)

    def commit(drawn: Iterator[list[Whole]], show: Callable[[DocumentCounts], None] | None) -> DocumentCounts:
        return _in_one_commit(
            store, drawn, run.write, DocumentCounts(), timeout, begin=begin, on_progress=show
        )

    first = next(batches, [])
    batches = chain([first] if first else [], batches)
    if not first or store.in_transaction:
        return commit(batches, on_progress)
    if cache is None:
        run.guess(first, _held(store, first, names))
        return commit(batches, on_progress)
    with closing(Waiting(store.path)) as waiting:
        ahead = _encode_ahead(run, store, batches, waiting, names=names, on_progress=on_progress)
        drawn = chain(_drawn(waiting), batches)  # the latter, where the cache is full
        counts = commit(drawn, None)
    counts = replace(
        counts,
        encoded=counts.encoded + ahead.encoded,
        tokens=counts.tokens + ahead.tokens,
        kept=max(0, counts.kept - ahead.encoded),
    )
    if on_progress is not None:
        on_progress(counts)
    return counts


def _encode_ahead(
    run: DocumentRun,
    store: Index,
    batches: Iterator[list[Whole]],
    waiting: Waiting,
    *,
    names: Mapping[str, str],
    on_progress: Callable[[DocumentCounts], None] | None,
) -> DocumentCounts:
    """Encode documents as long as their vectors are kept; what they would come to. They wait then."""
    ahead = DocumentCounts()
    for batch in batches:
        for whole in batch:
            waiting.put(whole.to_json())
        counts, keeps = run.encode_into_cache(batch, _held(store, batch, names))
        ahead = ahead.plus(counts)
        if on_progress is not None:
            on_progress(ahead)
        if not keeps:
            break
    return ahead


def _drawn(waiting: Waiting) -> Iterator[list[Whole]]:
    """The documents that wait, by the batch."""
    yield from batched(map(Whole.from_json, waiting), _AT_ONCE, lambda whole: len(whole.document.text))


def _run(store: Index, encoder: LoadEncoder, ids: set[str], cache: VectorCache | None = None) -> DocumentRun:
    passages = recorded_passages(store.settings)
    if passages is None:
        raise InvalidInputError(f"{store.path} holds no passages by now: open it again")
    return DocumentRun(encoder, lambda loaded: Splitter(loaded, passages), ids, cache)


def _held(
    store: Index, batch: Sequence[Whole], names: Mapping[str, str] | None = None
) -> dict[str, HeldDocument]:
    """What the index holds of documents, as its snapshot says; ``names``: their ids there, where others."""
    names = names or {}
    ids = [whole.id for whole in batch if whole.id is not None]
    found = ((id, store.sources.held(names.get(id, id))) for id in ids)
    return {id: held for id, held in found if held is not None}


def _changed(one: Wanted, held: HeldDocument) -> Whole:
    """A document after a change; what is known of its text goes with another text."""
    stored = held.document
    text, metadata = one.change.apply(stored.text, stored.metadata)
    if text == stored.text:
        return Whole(stored.id, replace(restored(stored), metadata=metadata), stored.facts, stored.structure)
    return Whole(stored.id, Document(stored.id, text or "", metadata), stored.facts, {})


def _in_one_commit(
    store: Index,
    batches: Iterator[list[B]],
    write: Callable[[Writer, list[B]], C],
    nothing: C,
    timeout: float,
    *,
    begin: Callable[[Writer], C] | None = None,
    on_progress: Callable[[C], None] | None = None,
) -> C:
    """Carry out a call batch by batch; what all of it came to."""

    def change(writer: Writer) -> C:
        counts = nothing
        try:
            if begin is not None:
                counts = begin(writer)
            for batch in batches:
                counts = counts.plus(write(writer, batch))
                if on_progress is not None:
                    on_progress(counts)
        except BaseException:
            writer.abandon()  # also of a transaction: no half of a call is ever committed
            raise
        return counts

    return store.change(change, timeout)
