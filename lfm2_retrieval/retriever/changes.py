"""Changes of a retriever's documents, carried out batch by batch in one commit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from ..encoder import Encoder, check_whole
from ..errors import InvalidInputError
from ..frames import collected, iter_records
from ..indexes import Index, OnConflict, Writer
from ..records import Columns, Source
from ..titles import Replacement
from .batches import batches, parsed, refuse_one
from .change_run import ChangeCounts, Run, Wanted, parse_update
from .document_changes import add_wholes, update_wholes
from .encoding import warn_of_cut
from .splitting import recorded_passages, whole_of

__all__ = ["add", "update"]

LoadEncoder = Callable[[], Encoder]


def add(
    store: Index,
    encoder: LoadEncoder,
    documents: Iterable[Source],
    *,
    on_conflict: OnConflict,
    columns: Columns,
    batch_size: int,
    timeout: float,
) -> ChangeCounts:
    """Add documents; see :meth:`Retriever.add`."""
    if on_conflict not in ("error", "replace", "skip"):
        raise InvalidInputError(f"on_conflict must be 'error', 'replace' or 'skip', not {on_conflict!r}")
    refuse_one(documents)
    refused = store if on_conflict == "error" and not store.in_transaction else None
    ids: set[str] = set()
    stream = batches(documents, batch_size, ids, refused, columns)
    if recorded_passages(store.settings) is not None:
        wholes = ([whole_of(draft) for draft in batch] for batch in stream)
        return add_wholes(store, encoder, wholes, on_conflict=on_conflict, ids=ids, timeout=timeout)
    plans = ([Wanted(one.id, Replacement(one.text, one.metadata)) for one in batch] for batch in stream)
    return _carry_out(store, encoder, plans, on_conflict=on_conflict, timeout=timeout, ids=ids)


def update(
    store: Index,
    encoder: LoadEncoder,
    documents: Iterable[Source],
    *,
    columns: Columns,
    batch_size: int,
    timeout: float,
) -> ChangeCounts:
    """Change documents; see :meth:`Retriever.update`."""
    refuse_one(documents)
    check_whole("batch_size", batch_size, 1)
    documents = collected(documents)
    seen: set[str] = set()
    stream = parsed(
        iter_records(documents),
        lambda position, source: parse_update(source, position, columns, seen),
        None if isinstance(documents, Sequence) else batch_size,
    )

    def plans() -> Iterator[list[Wanted]]:
        while batch := list(islice(stream, batch_size)):
            yield batch

    if recorded_passages(store.settings) is not None:
        return update_wholes(store, encoder, plans(), ids=seen, timeout=timeout)
    return _carry_out(store, encoder, plans(), on_conflict=None, timeout=timeout, ids=seen)


def _carry_out(
    store: Index,
    encoder: LoadEncoder,
    plans: Iterator[list[Wanted]],
    *,
    on_conflict: OnConflict | None,
    timeout: float,
    ids: set[str],
) -> ChangeCounts:
    """Carry out changes batch by batch; ``on_conflict`` None: all of them are updates."""
    first = next(plans, [])
    if not first:
        return ChangeCounts()
    run = Run(encoder, on_conflict, ids)
    guess = None
    if not store.in_transaction:
        # Without the lock, and so by what the snapshot says: what is wrong about it is put right later.
        named = [one.id for one in first if one.id is not None]
        guess = run.prepare(first, {entry.id: entry for entry in store.get_many(named) if entry})

    def change(writer: Writer) -> ChangeCounts:
        counts = run.write(writer, first, guess)
        try:
            for batch in plans:
                counts = counts.plus(run.write(writer, batch))
        except BaseException:
            writer.abandon()  # also of a transaction: no half of a call is ever committed
            raise
        return counts

    counts = store.change(change, timeout)
    if run.n_cut:
        warn_of_cut(run.n_cut, counts, encoder())
    return counts
