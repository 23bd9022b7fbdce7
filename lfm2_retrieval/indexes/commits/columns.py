"""The values of declared fields of a snapshot's documents, kept in memory from one commit to the next."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...platform.forks import Lock
from ..catalogue.rows import ALIVE
from ..filters.columns import Column, Columns, NotInMemoryError, column_of
from ..filters.fields import usable_columns

if TYPE_CHECKING:
    import sqlite3

    from .snapshot import Snapshot

__all__ = ["FieldValues"]

_KEPT = 16
"""So many fields' values are kept."""
_ROWS_AT_ONCE = 1 << 12


class _Loaded(NamedTuple):
    """A field's values at a commit: of the living documents, in the order of their keys."""

    commit: int
    last_row: int
    keys: NDArray[np.int64]
    column: Column


class FieldValues:
    """Values of declared fields by name. Any thread may use it.

    Rows never change, so that after a commit only new ones are read.
    """

    def __init__(self) -> None:
        self._guard = Lock()
        self._known: OrderedDict[str, _Loaded] = OrderedDict()
        self._too_large: set[str] = set()

    def holds(self, fields: Iterable[str]) -> bool:
        """Whether something is known of all of some fields."""
        return all(field in self._known for field in fields)

    def of(self, connection: sqlite3.Connection, snapshot: Snapshot, fields: Iterable[str]) -> Columns | None:
        """The values of some fields, of the documents of ``snapshot.places`` in their order.

        Parameters
        ----------
        connection
            That reads at the snapshot's commit.
        snapshot, fields
            Whose, and which.

        Returns
        -------
        Columns or None
            None where a field isn't declared, or its values aren't to be had: then only the rows tell.
        """
        wanted = list(dict.fromkeys(fields))
        usable = usable_columns(connection, snapshot.fields)
        if not all(field in usable and field not in self._too_large for field in wanted):
            return None
        found = {}
        for field in wanted:
            try:
                column = self._current(connection, snapshot, field, usable[field])
            except NotInMemoryError:
                self._too_large.add(field)
                return None
            if column is None:
                return None
            found[field] = column
        return Columns(len(snapshot.places.keys), found)

    def _current(
        self, connection: sqlite3.Connection, snapshot: Snapshot, field: str, column: str
    ) -> Column | None:
        with self._guard:
            known = self._known.get(field)
        if known is not None and known.commit > snapshot.commit:
            return None  # asked of a snapshot that somebody has held for long
        if known is None or known.commit < snapshot.commit:
            known = _read(connection, snapshot, column, known)
            if known is None:
                return None
        with self._guard:
            newest = self._known.get(field)
            if newest is None or newest.commit <= known.commit:
                self._known[field] = known
                self._known.move_to_end(field)
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return known.column


def _read(
    connection: sqlite3.Connection, snapshot: Snapshot, column: str, known: _Loaded | None
) -> _Loaded | None:
    """A field's values at a commit, from those of an earlier one and the rows since.

    None where rows and segments don't agree which documents are alive.
    """
    living = snapshot.places.keys
    last_row = known.last_row if known else 0
    # Where nothing is known yet, the field's own index is read from end to end, which has all of it.
    by = "NOT INDEXED" if known else f"INDEXED BY by_{column}"
    rows = connection.execute(
        f"SELECT row, key, {column}_type, "
        f"CASE {column}_type WHEN 'text' THEN CAST({column} AS BLOB) ELSE {column} END "
        f"FROM documents {by} WHERE row > ? AND {ALIVE}",
        (last_row, snapshot.commit, snapshot.commit),
    )
    places = [np.zeros((0, 2), np.int64)]

    def pieces() -> Iterator[list[tuple[Any, ...]]]:
        while some := rows.fetchmany(_ROWS_AT_ONCE):
            places.append(np.array([row[:2] for row in some], np.int64))
            yield some

    read = column_of(pieces())
    numbers = np.concatenate(places)
    order = np.lexsort((numbers[:, 0], numbers[:, 1]))
    keys = numbers[order, 1]
    latest = order[np.append(keys[1:] != keys[:-1], True)[: len(keys)]]
    keys = numbers[latest, 1]
    if known is not None:
        read, keys, latest = _joined(known, read, keys, latest)
    at = np.searchsorted(keys, living)
    if len(keys) < len(living) or not np.array_equal(keys[np.minimum(at, len(keys) - 1)], living):
        return None
    last_row = max(last_row, int(numbers[:, 0].max(initial=0)))
    return _Loaded(snapshot.commit, last_row, living, read.take(latest[at]))


def _joined(
    known: _Loaded, read: Column, keys: NDArray[np.int64], latest: NDArray[np.int64]
) -> tuple[Column, NDArray[np.int64], NDArray[np.int64]]:
    """All values that are known, and of each document, by its key, which of them is the latest."""
    old = np.flatnonzero(~np.isin(known.keys, keys, assume_unique=True))
    every = np.concatenate([known.keys[old], keys])
    which = np.concatenate([old, len(known.keys) + latest])
    order = np.argsort(every, kind="stable")
    return known.column.followed_by(read), every[order], which[order]
