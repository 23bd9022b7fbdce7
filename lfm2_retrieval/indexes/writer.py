"""Adding, changing and deleting documents: the only code that changes an index."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from ..errors import IndexClosedError, InvalidInputError, InvalidTypeError
from .catalogue import IDS_PER_QUERY
from .cleaning import clean, forget
from .connections import storing
from .derived import derive
from .fields import check_fields
from .filters import Where, parse_where
from .graves import dig
from .lock import WriterLock
from .rows import (
    COLUMNS,
    Entry,
    Row,
    checksum,
    decode_row,
    decode_text,
    encode_rows,
    encode_text,
    known_ids,
    unknown_ids,
)
from .schema import last_row, read_settings, write_settings
from .segment import SegmentBuilder, SegmentInfo
from .snapshot import Snapshot, load
from .word_tables import add_words

if TYPE_CHECKING:
    import sqlite3
    from types import TracebackType

    from ..datatypes import TokenEmbeddings
    from .catalogue import Catalogue

__all__ = ["OnConflict", "Writer"]

OnConflict = Literal["error", "replace", "skip"]
"""What `Writer.add` does with an id that the index holds."""

SEGMENT_TOKENS = 1 << 20
"""A segment ends with the document that reaches so many vectors, so that compressing frees its disk soon."""
_FORGOTTEN_AT_ONCE = 1000
"""Dead rows that a writer deletes when it begins; the others are left to later ones, or to a merge."""


class _Known(NamedTuple):
    """A living document's row in the catalogue."""

    id: bytes
    row: int
    key: int
    n_tokens: int
    born: int


class Writer:
    """Changes an index in one transaction; made by `ExactIndex.writer` and used in a ``with`` statement.

    Entering takes the index's writer lock. Leaving commits what was done since the last `commit`, or, on an
    exception, drops it. Everything goes straight to disk, and the documents of two commits never to one
    segment. One thread at a time may use it. A call that is refused changes nothing, and the transaction
    goes on; after an error in writing the writer is of no further use.

    Parameters
    ----------
    catalogue
        The index's catalogue.
    timeout
        Seconds to wait for another writer.
    replace
        Settings for a new content: the first commit retires all that the index held.
    known
        A snapshot that is open, whose segments needn't be opened again.
    on_commit
        Called when there may be a new commit.

    Raises
    ------
    IndexLockedError
        On entering, if another writer is at work for longer than ``timeout``.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        timeout: float = 30.0,
        replace: Mapping[str, Any] | None = None,
        *,
        known: Snapshot | None = None,
        on_commit: Callable[[], None] = lambda: None,
    ) -> None:
        self._catalogue = catalogue
        self._timeout = timeout
        self._replace = replace
        self._snapshot = known
        self._on_commit = on_commit
        self._open = False
        self._builder: SegmentBuilder | None = None
        self._connection: sqlite3.Connection
        self._commit: int
        self._last_row: int
        self._written: list[tuple[int, int, NDArray[np.int64]]] = []  # segment, first position, keys
        self._graves: dict[int, list[NDArray[np.int64]]] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(WriterLock(self._catalogue.folder / "lock", self._timeout))
            self._connection = stack.enter_context(self._catalogue.writing())
            with storing(self._catalogue.folder):
                clean(self._connection, self._catalogue.folder, _FORGOTTEN_AT_ONCE)
            settings = self._replace or read_settings(self._connection)
            self._dim = int(settings["dim"])
            self._lexical = bool(settings.get("lexical"))
            self._stack = stack.pop_all()
        self._open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            try:
                if kind is None:
                    self.commit()
            finally:
                self.abandon()

    def add(
        self,
        ids: Sequence[str],
        embeddings: TokenEmbeddings,
        texts: Sequence[str | None] | None = None,
        metadata: Sequence[Mapping[str, Any]] | None = None,
        *,
        on_conflict: OnConflict = "error",
    ) -> int:
        """Add documents; readers see them after the commit. Everything is checked before anything is written.

        Parameters
        ----------
        ids
            Not empty, no two alike.
        embeddings
            One text an id, in the same order. Vectors are stored as float16 and otherwise as given, so scores
            are cosines only if the vectors are normalised. A text without tokens is stored and never found.
        texts, metadata
            One an id: any string, any JSON object.
        on_conflict
            If the index holds an id: ``"error"`` refuses the call, ``"replace"`` puts the new document in the
            old one's place, ``"skip"`` leaves the old one and adds the others.

        Returns
        -------
        int
            How many documents were added or replaced.

        Raises
        ------
        InvalidInputError
            If the numbers or widths differ, a vector holds NaN, infinity or a value beyond float16 (±65504),
            an id is empty or some metadata isn't JSON.
        DuplicateIdError
            If an id comes twice, or, with ``"error"``, is in the index.
        IndexClosedError
            Outside of its ``with`` statement, or after an error in writing.
        """
        self._check_open()
        if on_conflict not in ("error", "replace", "skip"):
            raise InvalidInputError(f"on_conflict must be 'error', 'replace' or 'skip', not {on_conflict!r}")
        rows = encode_rows(ids, len(embeddings), texts, metadata)
        vectors = _to_half(ids, embeddings, self._dim)
        with self._storing():
            known = self._find_ids([row.id for row in rows])
            if known and on_conflict == "error":
                raise known_ids([decode_text(id) for id in known])
            if known and on_conflict == "skip":
                new = [number for number, row in enumerate(rows) if row.id not in known]
                rows, embeddings, known = [rows[number] for number in new], embeddings.select(new), {}
                vectors = _to_half(ids, embeddings, self._dim)
            if rows:
                self._begin()
                self._bury(known.values(), places=True)
                self._write(rows, known, vectors, embeddings)
        return len(rows)

    def update(
        self,
        ids: Sequence[str],
        embeddings: TokenEmbeddings | None = None,
        texts: Sequence[str | None] | None = None,
        metadata: Sequence[Mapping[str, Any]] | None = None,
    ) -> int:
        """Change documents; what isn't given (None) stays as it is.

        Without ``embeddings`` the vectors stay where they are, so new metadata costs a row. With them, they
        go to a new segment. The documents keep their places in the order.

        Parameters
        ----------
        ids
            Of documents in the index, no two alike.
        embeddings, texts, metadata
            As for `add`; metadata replace what was there as a whole.

        Returns
        -------
        int
            How many documents were changed.

        Raises
        ------
        UnknownIdError
            If the index doesn't hold an id; then nothing is changed.
        InvalidInputError, DuplicateIdError, IndexClosedError
            As for `add`.
        """
        self._check_open()
        given = encode_rows(ids, len(ids) if embeddings is None else len(embeddings), texts, metadata)
        vectors = None if embeddings is None else _to_half(ids, embeddings, self._dim)
        with self._storing():
            known = self._find_ids([row.id for row in given])
            if unknown := [id for id, row in zip(ids, given, strict=True) if row.id not in known]:
                raise unknown_ids(unknown, "add() adds documents")
            if not given:
                return 0
            rows = given
            if texts is None or metadata is None:
                stored = {row.id: self._stored(row)[1] for row in known.values()}
                rows = [
                    Row(
                        row.id,
                        stored[row.id].text if texts is None else row.text,
                        stored[row.id].metadata if metadata is None else row.metadata,
                    )
                    for row in given
                ]
            self._begin()
            self._bury(known.values(), places=embeddings is not None)
            if embeddings is not None and vectors is not None:
                self._write(rows, known, vectors, embeddings)
            else:
                lengths = np.array([known[row.id].n_tokens for row in rows], np.int64)
                self._insert(rows, lengths, self._number_rows(rows, known))
        return len(rows)

    def delete(
        self,
        ids: str | Sequence[str] | None = None,
        *,
        where: Where | None = None,
        missing_ok: bool = False,
    ) -> int:
        """Delete documents, by id or by filter, those added in this transaction included.

        Parameters
        ----------
        ids
            One, or several.
        where
            A filter, see `filters`: all documents that meet it.
        missing_ok
            Whether ids that the index doesn't hold are passed over.

        Returns
        -------
        int
            How many were deleted.

        Raises
        ------
        UnknownIdError
            If the index doesn't hold an id, unless ``missing_ok``; then nothing is deleted.
        InvalidInputError
            If neither or both of ``ids`` and ``where`` are given, or the filter isn't understood.
        """
        self._check_open()
        if (ids is None) == (where is None):
            raise InvalidInputError("delete takes either ids or where=")
        with self._storing():
            if where is not None:
                condition = parse_where(where, read_settings(self._connection).get("fields") or ())
                found = self._select(f"died IS NULL AND {condition.sql}", condition.parameters)
            else:
                wanted = [ids] if isinstance(ids, str) else list(ids or [])
                if wrong := [id for id in wanted if not isinstance(id, str)]:
                    raise InvalidTypeError(f"a document's id must be a str, not {wrong[0]!r}")
                known = self._find_ids([encode_text(id) for id in dict.fromkeys(wanted)])
                unknown = [id for id in wanted if encode_text(id) not in known]
                if unknown and not missing_ok:
                    raise unknown_ids(unknown, "missing_ok=True passes over them")
                found = list(known.values())
            if found:
                self._begin()
                self._bury(found, places=True)
        return len(found)

    def find(self, ids: Sequence[str]) -> dict[str, Entry]:
        """Those of some documents that the index holds, by id, as this transaction has them."""
        self._check_open()
        with self._storing():
            known = self._find_ids([encode_text(id) for id in dict.fromkeys(ids)])
            entries = [self._stored(row)[0] for row in known.values()]
            return {entry.id: entry for entry in entries}

    def next_number(self) -> int:
        """A number that no row and no document has or had."""
        self._check_open()
        return self._last_row if self._connection.in_transaction else last_row(self._connection)

    def commit(self) -> None:
        """Make what was done durable and visible, all of it at once. The writer can go on."""
        self._check_open()
        if self._replace is None and not self._connection.in_transaction:
            return
        try:
            with storing(self._catalogue.folder):
                self._begin()
                if self._builder is not None:
                    self._name_segment(self._builder.finish())
                self._dig()
                self._connection.execute("COMMIT")
        except BaseException:
            self.abandon()
            raise
        finally:
            self._on_commit()
        self._builder = None
        self._replace = None
        self._written = []

    def set(self, settings: Mapping[str, Any]) -> None:
        """Change settings (JSON values), in the commit of what was done."""
        self._check_open()
        with self._storing():
            self._begin()
            write_settings(self._connection, settings)

    def configure(self, *, lexical: bool | None = None, fields: Sequence[str] = ()) -> None:
        """Change what is derived from the documents, in the commit of what was done.

        Parameters
        ----------
        lexical
            Whether words are kept, to search by. None: as it is.
        fields
            Fields of the metadata to declare, beside those that are: see `fields`.

        Raises
        ------
        InvalidInputError
            If a field can't be named, or they are too many.
        """
        self._check_open()
        with self._storing():
            before = self._replace or read_settings(self._connection)
            wanted: dict[str, Any] = {
                "lexical": bool(before.get("lexical")) if lexical is None else lexical,
                "fields": check_fields([*(before.get("fields") or ()), *check_fields(fields)]),
            }
            if wanted != {name: before.get(name) for name in wanted}:
                self._begin()
                write_settings(
                    self._connection, derive(self._connection, read_settings(self._connection), wanted)
                )
                self._lexical = wanted["lexical"]

    def _check_open(self) -> None:
        if not self._open:
            raise IndexClosedError(
                "this writer is closed, or failed; begin another: with index.writer() as w: …"
            )

    @contextmanager
    def _storing(self) -> Iterator[None]:
        try:
            with storing(self._catalogue.folder):
                if self._replace is not None:
                    self._begin()
                yield
        except InvalidInputError:  # before anything was written
            raise
        except BaseException:  # also Ctrl-C: files and rows may disagree now
            self.abandon()
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
        if self._replace is not None:
            for table in ("documents", "segments", "codecs"):
                self._retire(table, "died IS NULL")
            derived = derive(connection, read_settings(connection), self._replace)
            write_settings(connection, {**self._replace, **derived}, replace=True)

    def _retire(self, table: str, condition: str, values: Iterable[tuple[Any, ...]] = ((),)) -> None:
        """Let rows die with this commit."""
        self._connection.executemany(
            f"UPDATE {table} SET died = ?, crc32 = bury(crc32, ?) WHERE {condition}",
            ((self._commit, self._commit, *bound) for bound in values),
        )

    def _find_ids(self, ids: Sequence[bytes]) -> dict[bytes, _Known]:
        """The living among these documents."""
        found: dict[bytes, _Known] = {}
        for start in range(0, len(ids), IDS_PER_QUERY):
            some = ids[start : start + IDS_PER_QUERY]
            rows = self._select(f"died IS NULL AND id IN ({','.join('?' * len(some))})", some)
            found.update((row.id, row) for row in rows)
        return found

    def _select(self, condition: str, parameters: Sequence[Any]) -> list[_Known]:
        return [
            _Known(*row)
            for row in self._connection.execute(
                f"SELECT id, row, key, n_tokens, born FROM documents WHERE {condition}", parameters
            )
        ]

    def _stored(self, known: _Known) -> tuple[Entry, Row]:
        """What the catalogue holds of a document, checked."""
        values = self._connection.execute(
            f"SELECT {COLUMNS} FROM documents WHERE row = ?", (known.row,)
        ).fetchone()
        id, text, metadata = values[-3:]
        return decode_row(values), Row(id, text, metadata)

    def _bury(self, known: Iterable[_Known], *, places: bool) -> None:
        """Let rows of documents die, and, with ``places``, their vectors."""
        buried = list(known)
        if not buried:
            return
        forget(self._connection, [(one.row,) for one in buried if one.born == self._commit])
        self._retire("documents", "row = ?", [(one.row,) for one in buried if one.born != self._commit])
        if places:
            self._mark(np.array([one.key for one in buried], np.int64))

    def _mark(self, keys: NDArray[np.int64]) -> None:
        """Note where documents lie, in segments committed and in those being written."""
        if self._replace is None:
            self._snapshot = load(self._catalogue, self._snapshot)
            for part in self._snapshot.parts:
                if len(positions := np.flatnonzero(np.isin(part.keys, keys))):
                    self._graves.setdefault(part.segment.info.id, []).append(positions)
        for segment, first, written in self._written:
            if len(positions := np.flatnonzero(np.isin(written, keys))):
                self._graves.setdefault(segment, []).append(first + positions)

    def _dig(self) -> None:
        """Write the tombstones of this commit."""
        places = {segment: np.concatenate(some) for segment, some in self._graves.items()}
        dig(self._connection, self._commit, places)
        self._graves = {}

    def _number_rows(self, rows: Sequence[Row], known: Mapping[bytes, _Known]) -> NDArray[np.int64]:
        """int64 ``[n, 2]``: row numbers, and keys: the number of a document's first row."""
        first = self._last_row + 1
        self._last_row += len(rows)
        return np.array(
            [
                (number, known[row.id].key if row.id in known else number)
                for number, row in enumerate(rows, first)
            ],
            np.int64,
        )

    def _write(
        self,
        rows: Sequence[Row],
        known: Mapping[bytes, _Known],
        vectors: NDArray[np.float16],
        embeddings: TokenEmbeddings,
    ) -> None:
        offsets, token_ids = embeddings.offsets, embeddings.token_ids
        numbers = self._number_rows(rows, known)
        first = 0
        while first < len(rows):
            if self._builder is None:
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
        self._connection.executemany(
            "INSERT INTO documents (row, key, n_tokens, born, crc32, id, text, metadata) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (*place, born, checksum(*place, born, row.id, row.text, row.metadata), *_columns(row))
                for row, place in zip(rows, np.column_stack([numbers, lengths]).tolist(), strict=True)
            ),
        )
        if self._lexical:
            pairs = zip(rows, numbers.tolist(), strict=True)
            add_words(self._connection, ((*place, born, row.text) for row, place in pairs))

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
        facts = (
            info.name,
            info.codec,
            info.codec_id,
            info.n_documents,
            info.n_tokens,
            json.dumps(info.files),
        )
        self._connection.execute(
            "UPDATE segments SET name = ?, codec = ?, codec_id = ?, n_documents = ?, n_tokens = ?, "
            "files = ?, crc32 = ? WHERE id = ?",
            (*facts, checksum(info.id, *facts, self._commit), info.id),
        )

    def abandon(self) -> None:
        """Drop what isn't committed; the writer is of no further use."""
        self._open = False
        self._snapshot = None
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        if self._builder is not None:
            self._builder.abandon()
            self._builder = None


def _columns(row: Row) -> tuple[bytes, bytes | None, str]:
    return row.id, row.text, row.metadata


def _to_half(ids: Sequence[str], embeddings: TokenEmbeddings, dim: int) -> NDArray[np.float16]:
    """The vectors as float16, refused if that isn't possible."""
    if embeddings.dim != dim:
        raise InvalidInputError(f"the vectors are {embeddings.dim} wide, the index takes {dim}")
    with np.errstate(over="ignore"):
        half = np.ascontiguousarray(embeddings.embeddings, np.float16)
    bad = np.flatnonzero(~np.isfinite(half).all(axis=1))
    if len(bad):
        document = int(np.searchsorted(embeddings.offsets, bad[0], "right")) - 1
        row = embeddings.embeddings[bad[0]]
        what = "a value beyond float16 (±65504)" if np.isfinite(row).all() else "NaN or infinity"
        raise InvalidInputError(
            f"document {ids[document]!r}: its vector {bad[0] - embeddings.offsets[document]} holds {what}"
        )
    return half
