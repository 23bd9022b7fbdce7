"""Adding documents: the only code that changes an index."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from ..errors import DamagedIndexError, DuplicateIdError, IndexClosedError, InvalidInputError
from .arrays import fsync_folder, sweep
from .catalogue import IDS_PER_QUERY, read_settings, storing, write_settings
from .lock import WriterLock
from .rows import Row, decode_text, encode_rows, name_some
from .segment import SegmentBuilder, SegmentInfo

if TYPE_CHECKING:
    import sqlite3
    from types import TracebackType

    from ..datatypes import TokenEmbeddings
    from .catalogue import Catalogue

__all__ = ["Writer"]

SEGMENT_TOKENS = 1 << 20
"""A segment ends with the document that reaches so many vectors, so that compressing frees its disk soon."""


class Writer:
    """Adds documents in one transaction; made by `ExactIndex.writer` and used in a ``with`` statement.

    Entering takes the index's writer lock. Leaving commits what was added since the last `commit`, or, on an
    exception, drops it. Everything goes straight to disk, and the documents of two commits never to one
    segment. One thread at a time may use it.

    Parameters
    ----------
    catalogue
        The index's catalogue.
    timeout
        Seconds to wait for another writer.
    replace
        Settings for a new content: the first commit retires all that the index held.

    Raises
    ------
    IndexLockedError
        On entering, if another writer is at work for longer than ``timeout``.
    """

    def __init__(
        self, catalogue: Catalogue, timeout: float = 30.0, replace: Mapping[str, Any] | None = None
    ) -> None:
        self._catalogue = catalogue
        self._timeout = timeout
        self._replace = replace
        self._open = False
        self._builder: SegmentBuilder | None = None
        self._connection: sqlite3.Connection
        self._commit: int

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(WriterLock(self._catalogue.folder / "lock", self._timeout))
            self._connection = stack.enter_context(self._catalogue.writing())
            self._clean()
            settings = self._replace or read_settings(self._connection)
            self._dim = int(settings["dim"])
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
                self._abandon()

    def add(
        self,
        ids: Sequence[str],
        embeddings: TokenEmbeddings,
        texts: Sequence[str | None] | None = None,
        metadata: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        """Add documents; readers see them after the commit. Everything is checked before anything is written.

        Parameters
        ----------
        ids
            Not empty, each new to the index.
        embeddings
            One text an id, in the same order. Vectors are stored as float16 and otherwise as given, so scores
            are cosines only if the vectors are normalised. A text without tokens is stored and never found.
        texts, metadata
            One an id: any string, any JSON object.

        Raises
        ------
        InvalidInputError
            If the numbers or widths differ, a vector holds NaN, infinity or a value beyond float16 (±65504),
            an id is empty or some metadata isn't JSON.
        DuplicateIdError
            If an id comes twice or is in the index.
        IndexClosedError
            Outside of its ``with`` statement, or after an error in writing.
        """
        self._check_open()
        rows = encode_rows(ids, len(embeddings), texts, metadata)
        vectors = _to_half(ids, embeddings, self._dim)
        if not rows:
            return
        try:
            with storing(self._catalogue.folder):
                self._begin()
                self._refuse_known(rows)
                self._write(rows, vectors, embeddings)
        except DuplicateIdError:
            raise
        except BaseException:  # also Ctrl-C: files and rows may disagree now
            self._abandon()
            raise

    def commit(self) -> None:
        """Make what was added durable and visible, all of it at once. The writer can go on adding."""
        self._check_open()
        if self._replace is None and not self._connection.in_transaction:
            return
        try:
            with storing(self._catalogue.folder):
                self._begin()
                if self._builder is not None:
                    self._name_segment(self._builder.finish())
                self._connection.execute("COMMIT")
        except BaseException:
            self._abandon()
            raise
        self._builder = None
        self._replace = None

    def set(self, settings: Mapping[str, Any]) -> None:
        """Change settings (JSON values), in the commit of what was added."""
        self._check_open()
        with storing(self._catalogue.folder):
            self._begin()
            write_settings(self._connection, {**read_settings(self._connection), **settings})

    def _check_open(self) -> None:
        if not self._open:
            raise IndexClosedError(
                "this writer is closed, or failed; begin another: with index.writer() as w: …"
            )

    def _begin(self) -> None:
        """Begin the transaction, if there is none; with ``replace``, retire what was there."""
        connection = self._connection
        if connection.in_transaction:
            return
        connection.execute("BEGIN IMMEDIATE")
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._commit = connection.execute("INSERT INTO commits (time) VALUES (?)", (now,)).lastrowid or 0
        if self._replace is not None:
            for table in ("documents", "segments", "codecs"):
                connection.execute(f"UPDATE {table} SET died = ? WHERE died IS NULL", (self._commit,))
            write_settings(connection, {"uuid": read_settings(connection)["uuid"], **self._replace})

    def _refuse_known(self, rows: Sequence[Row]) -> None:
        known: list[str] = []
        for start in range(0, len(rows), IDS_PER_QUERY):
            ids = [row.id for row in rows[start : start + IDS_PER_QUERY]]
            found = self._connection.execute(
                f"SELECT id FROM documents WHERE died IS NULL AND id IN ({','.join('?' * len(ids))})", ids
            )
            known += [decode_text(id) for (id,) in found]
        if known:
            raise DuplicateIdError(f"already in the index: {name_some(known)}")

    def _write(self, rows: Sequence[Row], vectors: NDArray[np.float16], embeddings: TokenEmbeddings) -> None:
        offsets, token_ids = embeddings.offsets, embeddings.token_ids
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
            lengths = np.diff(offsets[first : last + 1])
            position = builder.n_documents
            builder.append(vectors[tokens], lengths, None if token_ids is None else token_ids[tokens])
            self._insert(rows[first:last], lengths, builder.number, position)
            if builder.n_tokens >= SEGMENT_TOKENS:
                self._name_segment(builder.finish())
                self._builder = None
            first = last

    def _insert(self, rows: Sequence[Row], lengths: NDArray[np.int64], segment: int, position: int) -> None:
        self._connection.executemany(
            "INSERT INTO documents (segment, position, n_tokens, crc32, born, id, metadata, text) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (segment, at, n_tokens, row.crc32, self._commit, row.id, row.metadata, row.text)
                for at, (row, n_tokens) in enumerate(zip(rows, lengths.tolist(), strict=True), position)
            ),
        )

    def _number_segment(self) -> int:
        """Reserve the number of a new segment; only one at a time can be without a name."""
        cursor = self._connection.execute(
            "INSERT INTO segments (name, codec, n_documents, n_tokens, files, born) "
            "VALUES ('', '', 0, 0, '', ?)",
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
            "UPDATE segments SET name = ?, codec = ?, codec_id = ?, n_documents = ?, n_tokens = ?, files = ? "
            "WHERE id = ?",
            (*facts, info.id),
        )

    def _clean(self) -> None:
        """Forget what earlier commits retired, and sweep files that no row names."""
        connection = self._connection
        if connection.execute("SELECT 1 FROM segments WHERE died IS NOT NULL").fetchone():
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(
                "DELETE FROM documents WHERE died IS NOT NULL AND segment IN "
                "(SELECT id FROM segments WHERE died IS NOT NULL)"
            )
            connection.execute("DELETE FROM segments WHERE died IS NOT NULL")
            connection.execute("DELETE FROM codecs WHERE died IS NOT NULL")
            connection.execute("COMMIT")
            connection.execute("PRAGMA incremental_vacuum").fetchall()
        for table in ("segments", "codecs"):
            names = [name for (name,) in connection.execute(f"SELECT name FROM {table}")]
            folder = self._catalogue.folder / table
            if folder.is_symlink():
                raise DamagedIndexError(f"{folder} is a link; put the folder itself there")
            if not folder.is_dir():
                folder.mkdir()
                fsync_folder(folder.parent)
            sweep(folder, names)

    def _abandon(self) -> None:
        """Drop what isn't committed; the writer is of no further use."""
        self._open = False
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        if self._builder is not None:
            self._builder.abandon()
            self._builder = None


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
