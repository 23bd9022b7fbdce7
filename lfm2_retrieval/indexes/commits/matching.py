"""Which documents of an index meet a condition."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DamagedIndexError
from ...platform.forks import Lock
from ..catalogue.rows import ALIVE
from ..catalogue.sources import document_id_of
from ..filters.columns import NotInMemoryError
from ..filters.comparisons import OneOf
from ..filters.conditions import FALSE, TRUE, All, Bounds, Condition, Sql, joined
from ..filters.document import Row
from ..filters.fields import usable_columns
from ..filters.unknown import check_known, missing_fields
from .columns import FieldValues
from .snapshot import Snapshot

if TYPE_CHECKING:
    import sqlite3

    from ..catalogue.catalogue import Catalogue

__all__ = ["Filter", "matching"]

_REMEMBERED = 16
_MOST_IN_SQL = 8
"""Comparisons that are put into SQL."""
_FEW = 64
"""Of one document in so many, SQL tells sooner than all values of a field are read."""


def matching(
    connection: sqlite3.Connection,
    condition: Condition,
    wanted: str,
    alive: Sql,
    declared: Sequence[str] = (),
    *,
    passages: bool = False,
) -> Iterator[tuple[Any, ...]]:
    """The documents that meet a condition, in no order.

    Each is read for itself, and its metadata are parsed once at most.

    Parameters
    ----------
    connection
        To the catalogue.
    condition
        The condition.
    wanted
        The columns to give, separated by commas.
    alive
        Which rows are asked about.
    declared
        The fields that have columns.
    passages
        Whether the rows are passages: then the id that a condition means is that of the document.

    Raises
    ------
    DamagedIndexError
        If a document's metadata aren't JSON.
    InvalidInputError
        If a document takes too much work, see `comparisons`.
    """
    columns = usable_columns(connection, declared)
    sure, possible, exact = _bounds(condition, columns)
    if exact:
        yield from _select(connection, wanted, joined("AND", [alive, sure]))
        lists = [Sql(f"({columns[field]}_type = 'array')") for field in dict.fromkeys(condition.fields())]
        doubtful = joined("OR", lists)
        if doubtful == FALSE:
            return
        possible = joined("AND", [doubtful, possible, Sql(f"NOT {sure.text}", sure.parameters)])
    for metadata, id, *values in _select(
        connection, f"metadata, id, {wanted}", joined("AND", [alive, possible])
    ):
        if condition.holds(Row(_parsed(metadata, id), document_id_of(id) if passages else id)):
            yield tuple(values)


def _bounds(condition: Condition, columns: Mapping[str, str]) -> Bounds:
    """The bounds of a condition, or, where it makes many comparisons, of some that must all hold.

    For each mention of a column SQLite may compute it anew and keep a copy of the metadata, so few are made.
    """
    if _size(condition) <= _MOST_IN_SQL and (bounds := condition.bounds(columns)).exact:
        return bounds
    left, found = _MOST_IN_SQL, []
    for part in condition.parts if isinstance(condition, All) else (condition,):
        if (left := left - _size(part)) < 0:
            break
        possible = part.bounds(columns).possible
        found.append(part.sought() if possible == TRUE and isinstance(part, OneOf) else possible)
    return Bounds(FALSE, joined("AND", found), exact=False)


def _size(condition: Condition) -> int:
    return sum(1 for _ in condition.fields())


def _select(connection: sqlite3.Connection, columns: str, test: Sql) -> Iterator[tuple[Any, ...]]:
    return iter(connection.execute(f"SELECT {columns} FROM documents WHERE {test.text}", test.parameters))


def _parsed(metadata: str, id: bytes) -> dict[str, Any]:
    try:
        found, _ = _decode(metadata)
        if isinstance(found, dict):
            return found
    except (TypeError, ValueError, RecursionError):
        pass
    raise DamagedIndexError(
        f"index.db: the metadata of document {id!r:.80} are damaged; restore a backup or add it anew"
    )


_decode = json.JSONDecoder().raw_decode


class Filter:
    """Which documents of a snapshot meet a condition; the last answers are kept. Any thread may use it."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._guard = Lock()
        self._known: OrderedDict[tuple[int, Condition], Snapshot] = OrderedDict()
        self._values = FieldValues()
        self._asked: set[str] = set()

    def clear(self) -> None:
        """Forget all answers, and so let go of the snapshots that they hold."""
        with self._guard:
            self._known.clear()

    def select(self, snapshot: Snapshot, condition: Condition, wanted: str) -> list[tuple[Any, ...]]:
        """Some columns of the documents that meet a condition, in order of insertion.

        Warns
        -----
        UnknownFieldWarning
            If no document has a field that the condition names; once a field.
        """
        alive = Sql(ALIVE, (snapshot.commit, snapshot.commit))
        with self._catalogue.reading_at(snapshot.commit) as connection:
            columns = f"key, {wanted}"
            passages = snapshot.has_passages
            met = matching(connection, condition, columns, alive, snapshot.fields, passages=passages)
            found = sorted(met)
            check_known(connection, condition.fields(), alive, self._catalogue.checked_fields)
        return [tuple(values) for _, *values in found]

    def check_field(self, snapshot: Snapshot, field: str) -> None:
        """Warn if no document has a field; once."""
        if field not in self._catalogue.checked_fields:
            alive = Sql(ALIVE, (snapshot.commit, snapshot.commit))
            with self._catalogue.reading_at(snapshot.commit) as connection:
                check_known(connection, [field], alive, self._catalogue.checked_fields)

    def missing_fields(self, snapshot: Snapshot, fields: Sequence[str]) -> tuple[list[str], list[str]]:
        """Those of some fields that no document has, and fields that documents have."""
        alive = Sql(ALIVE, (snapshot.commit, snapshot.commit))
        with self._catalogue.reading_at(snapshot.commit) as connection:
            return missing_fields(connection, fields, alive)

    def apply(self, snapshot: Snapshot, condition: Condition) -> Snapshot:
        """The snapshot with those documents alone."""
        with self._guard:
            if (known := self._known.get((snapshot.commit, condition))) is not None:
                self._known.move_to_end((snapshot.commit, condition))
                return known
        filtered = snapshot.narrowed(self._chosen(snapshot, condition))
        with self._guard:
            for stale in [known for known in self._known if known[0] != snapshot.commit]:
                del self._known[stale]
            self._known[snapshot.commit, condition] = filtered
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return filtered

    def _chosen(self, snapshot: Snapshot, condition: Condition) -> NDArray[np.bool_]:
        """Which of ``snapshot.places`` meet a condition.

        The values of declared fields come into memory when a second filter asks for them, or a first one that
        many documents meet: a process that asks once doesn't wait for them.
        """
        living, fields = snapshot.places.keys, list(dict.fromkeys(condition.fields()))
        alive = Sql(ALIVE, (snapshot.commit, snapshot.commit))
        with self._catalogue.reading_at(snapshot.commit) as connection:
            check_known(connection, fields, alive, self._catalogue.checked_fields)
            passages = snapshot.has_passages
            asked = matching(connection, condition, "key", alive, snapshot.fields, passages=passages)
            found: list[tuple[Any, ...]] = []
            if not self._asked.issuperset(fields):
                self._asked.update(fields)
                found = list(islice(asked, len(living) // _FEW))
                if len(found) < len(living) // _FEW:
                    return _among(living, found)
            if (columns := self._values.of(connection, snapshot, fields)) is not None:
                with suppress(NotInMemoryError):
                    return condition.mask(columns)
            return _among(living, [*found, *asked])


def _among(living: NDArray[np.int64], found: Sequence[tuple[Any, ...]]) -> NDArray[np.bool_]:
    """Which of some keys, rising, are among those found."""
    keys = np.sort(np.array(found, np.int64).reshape(-1))
    places = np.searchsorted(living, keys)
    chosen = np.zeros(len(living) + 1, bool)
    chosen[places[living[np.minimum(places, len(living) - 1)] == keys] if len(living) else places] = True
    return chosen[:-1]
