"""A transaction on an index, of which every change is one: lock, rows, segments, tombstones, commit."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from ...errors import (
    ForkedProcessError,
    IndexClosedError,
    IndexWriteError,
    InvalidInputError,
    MissingExtraError,
    TransactionError,
)
from ...platform.forks import busy
from ..analysis.versions import ANALYSIS, SETTING
from ..catalogue.catalogue import IDS_PER_QUERY
from ..catalogue.connections import storing
from ..catalogue.derived import derive
from ..catalogue.fts import add_words
from ..catalogue.lock import WriterLock
from ..catalogue.rows import COLUMNS, Entry, Row, check_whole, checksum
from ..catalogue.schema import last_row, last_source, read_settings, upgrade, write_settings
from ..catalogue.sources import PASSAGE_COLUMNS, read_entries
from ..catalogue.tombstones import write_tombstones
from ..filters.fields import check_fields
from ..segments.fp16 import SegmentBuilder, SegmentInfo
from .snapshot import Snapshot, load
from .vacuum import delete_rows, vacuum

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path
    from types import TracebackType

    from ...datatypes import TokenEmbeddings
    from ..catalogue.catalogue import Catalogue

__all__ = ["Known", "Replacement", "Transaction", "rows_of"]

Replacement = Callable[[Mapping[str, Any]], Mapping[str, Any] | None]
"""The settings that an index has → those of a new content, or None to leave the old one be."""

SEGMENT_TOKENS = 1 << 20
"""A segment ends with the document that reaches so many vectors, so that compressing frees its disk soon."""
_FORGOTTEN_AT_ONCE = 1000
"""Dead rows that a writer deletes when it begins; the others are left to later ones, or to a merge."""


_ROWS_AT_ONCE = 1 << 14


class Known(NamedTuple):
    """A living document's row in the catalogue."""

    id: bytes
    row: int
    key: int
    n_tokens: int
    born: int


def rows_of(found: Iterable[tuple[Any, ...]]) -> NDArray[np.int64]:
    """int64 ``[n, 3]``: row, key and commit of birth of some documents, from the columns of that name.

    Raises
    ------
    DamagedIndexError
        If one isn't a whole number.
    """
    pieces, source = [np.empty((0, 3), np.int64)], iter(found)
    while some := list(islice(source, _ROWS_AT_ONCE)):
        check_whole(chain.from_iterable(some))
        pieces.append(np.array(some, np.int64))
    return np.concatenate(pieces)


class Transaction:
    """What is common to all that changes an index; used in a ``with`` statement.

    Entering takes the writer lock. Leaving commits what was done since the last `commit`, or, on an
    exception, drops it. For the parameters see `Writer <lfm2_retrieval.indexes.Writer>`.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        timeout: float = 30.0,
        replace: Replacement | None = None,
        *,
        known: Snapshot | None = None,
        on_commit: Callable[[], None] = lambda: None,
    ) -> None:
        self._catalogue = catalogue
        self._timeout = timeout
        self._renew = replace
        self._replace: Mapping[str, Any] | None = None
        self._snapshot = known
        self._on_commit = on_commit
        self._open = False
        self._process = os.getpid()
        self._builder: SegmentBuilder | None = None
        self._connection: sqlite3.Connection
        self._commit: int
        self._last_row: int
        self._last_source: int
        self._rows_before = 0  # what was replaced doesn't count for numbers of documents
        self._written: list[tuple[int, int, NDArray[np.int64]]] = []  # segment, first position, keys
        self._tombstones: dict[int, list[NDArray[np.int64]]] = {}
        self._numbers: dict[bytes, int] = {}  # that documents to come are to have, by id

    @property
    def path(self) -> Path:
        """The folder of the index."""
        return self._catalogue.folder

    def __enter__(self) -> Self:
        # Of a folder that was moved away, or holds something else by now, no file is made.
        self._catalogue.check_place()
        with ExitStack() as stack:
            stack.enter_context(WriterLock(self._catalogue.folder / "lock", self._timeout))
            self._connection = stack.enter_context(self._catalogue.writing())
            with busy, storing(self._catalogue.folder):
                catalogue = self._catalogue
                upgrade(self._connection)
                vacuum(self._connection, catalogue.folder, _FORGOTTEN_AT_ONCE, catalogue.check_place)
                before = read_settings(self._connection)
            if self._renew is not None:
                self._replace = self._renew(before)
            settings = self._replace or before
            # Once something is retired, there is no refusing what shall take its place.
            check_fields([*(before.get("fields") or ()), *(settings.get("fields") or ())])
            self._dim = int(settings["dim"])
            self._lexical = bool(settings.get("lexical"))
            self._has_passages = settings.get("passages") is not None
            self._old_words = self._replace is None and before.get(SETTING) != ANALYSIS
            self._stack = stack.pop_all()
        self._open, self._process = True, os.getpid()
        return self

    @property
    def settings(self) -> dict[str, Any]:
        """Those of the index as this transaction has it, and nobody else can change meanwhile."""
        self._check_open()
        with busy:
            return dict(self._replace or read_settings(self._connection))

    @property
    def replaces(self) -> bool:
        """Whether the next commit retires what the index held."""
        return self._replace is not None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            if self._process != os.getpid():
                return  # it is the parent's to end
            try:
                if kind is None:
                    self.commit()
            finally:
                self.abandon()

    def __reduce__(self) -> tuple[Any, ...]:
        raise TransactionError(
            "a transaction can't be copied or pickled: it belongs to the process that began it"
        )

    def commit(self) -> None:
        """Make what was done durable and visible, all of it at once. The writer can go on."""
        self._check_open()
        if self._replace is None and not self._connection.in_transaction:
            return
        try:
            with busy, storing(self._catalogue.folder):
                self._begin()
                if self._builder is not None:
                    self._name_segment(self._builder.finish())
                self._write_tombstones()
                self._end()
        except BaseException as error:
            self.abandon()
            if isinstance(error, IndexWriteError):
                self._catalogue.check_place()  # files whose folder was moved can't be written
            raise
        finally:
            self._on_commit()
        self._builder = None
        self._replace = None
        self._written = []

    @busy
    def abandon(self) -> None:
        """Drop what isn't committed; the writer is of no further use."""
        self._open = False
        self._snapshot = None
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        if self._builder is not None:
            self._builder.abandon()
            self._builder = None

    def _check_open(self) -> None:
        if self._process != os.getpid():
            raise ForkedProcessError(
                f"this transaction was begun by process {self._process}, from which this one was forked; "
                "only that one can go on with it: begin another here"
            )
        if not self._open:
            raise IndexClosedError(
                "this writer is closed, or failed; begin another: with index.writer() as w: …"
            )

    @contextmanager
    def _storing(self) -> Iterator[None]:
        try:
            with busy, storing(self._catalogue.folder):
                if self._replace is not None:
                    self._begin()
                yield
        except (InvalidInputError, MissingExtraError):  # before anything was written
            raise
        except BaseException as error:  # also Ctrl-C: files and rows may disagree now
            self.abandon()
            if isinstance(error, IndexWriteError):
                self._catalogue.check_place()
            raise

    def _begin(self) -> None:
        """Begin the transaction, if there is none; with ``replace``, retire what was there."""
        connection = self._connection
        if connection.in_transaction:
            return
        connection.execute("BEGIN IMMEDIATE")
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        cursor = connection.execute("INSERT INTO commits (time, crc32) VALUES (?, 0)", (now,))
        self._commit = cursor.lastrowid or 0
        connection.execute(
            "UPDATE commits SET crc32 = ? WHERE id = ?", (checksum(self._commit, now), self._commit)
        )
        self._last_row = last_row(connection)
        self._last_source = last_source(connection)
        if self._replace is not None:
            self._rows_before = self._last_source if self._has_passages else self._last_row
            for table in ("documents", "segments", "codecs", "sources"):
                self._retire(table, "died IS NULL")
            derived = derive(connection, read_settings(connection), self._replace)
            write_settings(connection, {**self._replace, **derived}, replace=True)

    def _end(self) -> None:
        """Commit, unless another index was put in the place of this one meanwhile.

        Raises
        ------
        IndexReplacedError, IndexNotFoundError
            If it was; then files may lie in the other one, whose next writer sweeps them. Or if it is by now:
            then the commit is in the folder that was moved away, where nobody may look for it.
        """
        self._catalogue.check_place()
        self._connection.execute("COMMIT")
        self._catalogue.check_place()

    def _retire(self, table: str, condition: str, values: Iterable[tuple[Any, ...]] = ((),)) -> None:
        """Let rows die with this commit."""
        self._connection.executemany(
            f"UPDATE {table} SET died = ?, crc32 = dead_checksum(crc32, ?) WHERE {condition}",
            ((self._commit, self._commit, *bound) for bound in values),
        )

    def _find_ids(self, ids: Sequence[bytes]) -> dict[bytes, Known]:
        """The living among these documents."""
        found: dict[bytes, Known] = {}
        for start in range(0, len(ids), IDS_PER_QUERY):
            some = ids[start : start + IDS_PER_QUERY]
            rows = self._select(f"died IS NULL AND id IN ({','.join('?' * len(some))})", some)
            found.update((row.id, row) for row in rows)
        return found

    def _select(self, condition: str, parameters: Sequence[Any]) -> list[Known]:
        found = [
            Known(*row)
            for row in self._connection.execute(
                f"SELECT id, row, key, n_tokens, born FROM documents WHERE {condition}", parameters
            )
        ]
        check_whole(chain.from_iterable((one.key, one.n_tokens, one.born) for one in found))
        return found

    def _stored(self, known: Known) -> tuple[Entry, Row]:
        """What the catalogue holds of a document, checked."""
        values = self._connection.execute(
            f"SELECT {COLUMNS} FROM documents WHERE row = ?", (known.row,)
        ).fetchone()
        id, text, metadata = values[-3:]
        [entry] = read_entries(self._connection, [values])
        return entry, Row(id, text, metadata)

    def _bury(self, known: Iterable[Known], *, places: bool) -> None:
        """Let rows of documents die, and, with ``places``, their vectors."""
        self._bury_rows(rows_of((one.row, one.key, one.born) for one in known), places=places)

    def _bury_rows(self, rows: NDArray[np.int64], *, places: bool) -> None:
        """The same of rows as `rows_of` gives them."""
        if not len(rows):
            return
        rows = rows[np.argsort(rows[:, 0])]  # as they lie in the file
        fresh = rows[:, 2] == self._commit
        delete_rows(self._connection, [(row,) for row in rows[fresh, 0].tolist()])
        self._retire("documents", "row = ?", ((row,) for row in rows[~fresh, 0].tolist()))
        if places:
            self._mark(rows[:, 1])

    def _mark(self, keys: NDArray[np.int64]) -> None:
        """Note where documents lie, in segments committed and in those being written."""
        if self._replace is None:
            self._snapshot = load(self._catalogue, self._snapshot)
            for part in self._snapshot.parts:
                if len(positions := np.flatnonzero(np.isin(part.keys, keys))):
                    self._tombstones.setdefault(part.segment.info.id, []).append(positions)
        for segment, first, written in self._written:
            if len(positions := np.flatnonzero(np.isin(written, keys))):
                self._tombstones.setdefault(segment, []).append(first + positions)

    def _write_tombstones(self) -> None:
        """Write the tombstones of this commit."""
        places = {segment: np.concatenate(some) for segment, some in self._tombstones.items()}
        write_tombstones(self._connection, self._commit, places)
        self._tombstones = {}

    def _number_rows(self, rows: Sequence[Row], known: Mapping[bytes, Known]) -> NDArray[np.int64]:
        """int64 ``[n, 2]``: row numbers, and keys: the number of a document's first row."""
        numbers = np.empty((len(rows), 2), np.int64)
        for place, row in enumerate(rows):
            self._last_row = max(self._last_row + 1, self._numbers.pop(row.id, 0))
            numbers[place] = self._last_row, known[row.id].key if row.id in known else self._last_row
        return numbers

    def _write(
        self,
        rows: Sequence[Row],
        known: Mapping[bytes, Known],
        vectors: NDArray[np.float16],
        embeddings: TokenEmbeddings,
    ) -> None:
        offsets, token_ids = embeddings.offsets, embeddings.token_ids
        numbers = self._number_rows(rows, known)
        first = 0
        while first < len(rows):
            if self._builder is None:
                self._catalogue.check_place()
                number = self._number_segment()
                self._builder = SegmentBuilder(self._catalogue.folder / "segments", number, self._dim)
            builder = self._builder
            # Up to the document that fills the segment.
            full = offsets[first] + SEGMENT_TOKENS - builder.n_tokens
            last = min(int(np.searchsorted(offsets[first + 1 :], full)) + first + 1, len(rows))
            tokens = slice(int(offsets[first]), int(offsets[last]))
            lengths, keys = np.diff(offsets[first : last + 1]), numbers[first:last, 1]
            self._written.append((builder.number, builder.n_documents, keys))
            builder.append(vectors[tokens], lengths, None if token_ids is None else token_ids[tokens], keys)
            self._insert(rows[first:last], lengths, numbers[first:last])
            if builder.n_tokens >= SEGMENT_TOKENS:
                self._name_segment(builder.finish())
                self._builder = None
            first = last

    def _insert(self, rows: Sequence[Row], lengths: NDArray[np.int64], numbers: NDArray[np.int64]) -> None:
        born = self._commit
        if self._lexical and self._old_words:
            settings = read_settings(self._connection)
            write_settings(self._connection, derive(self._connection, settings, settings))
            self._old_words = False
        self._connection.executemany(
            "INSERT INTO documents (row, key, n_tokens, born, crc32, id, text, metadata) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (*place, born, checksum(*place, born, row.id, row.text, row.metadata), *_columns(row))
                for row, place in zip(rows, np.column_stack([numbers, lengths]).tolist(), strict=True)
            ),
        )
        placed = list(zip(rows, numbers.tolist(), strict=True))
        self._connection.executemany(
            f"INSERT INTO passages ({PASSAGE_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (row.passage.values(place[0]) for row, place in placed if row.passage is not None),
        )
        if self._lexical:
            add_words(self._connection, ((*place, born, row.words) for row, place in placed))

    def _number_segment(self) -> int:
        """Reserve the number of a new segment; only one at a time can be without a name."""
        cursor = self._connection.execute(
            "INSERT INTO segments (name, codec, n_documents, n_tokens, files, born, crc32) "
            "VALUES ('', '', 0, 0, '', ?, 0)",
            (self._commit,),
        )
        return cursor.lastrowid or 0

    def _name_segment(self, info: SegmentInfo) -> None:
        """Fill in the row of a segment whose files are durable."""
        facts = info.columns()
        self._connection.execute(
            "UPDATE segments SET name = ?, codec = ?, codec_id = ?, n_documents = ?, n_tokens = ?, "
            "files = ?, crc32 = ? WHERE id = ?",
            (*facts, checksum(info.id, *facts, self._commit), info.id),
        )


def _columns(row: Row) -> tuple[bytes, bytes | None, str]:
    return row.id, row.text, row.metadata
