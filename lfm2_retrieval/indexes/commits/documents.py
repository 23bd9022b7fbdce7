"""Writing whole documents, of which passages are encoded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...errors import InvalidInputError, remedy
from ..catalogue.rows import COLUMNS, Entry, Row, encode_ids, name_some, unknown_ids
from ..catalogue.sources import (
    SOURCE_COLUMNS,
    GivenPassage,
    PassageRow,
    SourceRow,
    StoredDocument,
    decode_source,
    document_id_of,
    living_source,
    passage_id,
    read_entries,
)
from ..stored_text import decode_text, encode_text
from .transaction import Known, Transaction
from .vacuum import delete_sources
from .vectors import to_half

if TYPE_CHECKING:
    from ...datatypes import TokenEmbeddings

__all__ = ["PASSAGES_APART", "DocumentWriter", "HeldDocument", "OpenDocument"]

PASSAGES_APART = 1 << 20
"""Passages of a document with a number of its own have numbers from so many times that on."""


class HeldDocument(NamedTuple):
    """A document that the index holds, and its passages in the order of their numbers."""

    document: StoredDocument
    passages: list[Entry]


class OpenDocument:
    """A document that was put into a commit, whose passages are written.

    Parameters
    ----------
    row, id, text
        Its row in ``sources``; the document.
    metadata
        As it is stored.
    """

    def __init__(self, row: int, id: str, text: str, metadata: str) -> None:
        self.row, self.id = row, id
        self._text = text
        self._metadata = metadata
        self._ascii = text.isascii()
        self._last = 0, 0

    def rows(self, passages: Sequence[GivenPassage]) -> list[Row]:
        """The rows of some of its passages."""
        return [
            Row(encode_text(passage_id(self.id, passage.number)), None, self._metadata, self._row(passage))
            for passage in passages
        ]

    def _row(self, passage: GivenPassage) -> PassageRow:
        start = self._byte(passage.start)
        stop = start + len(encode_text(self._text[passage.start : passage.end]))
        return PassageRow.of(passage, self.row, self._text, (start, stop))

    def _byte(self, position: int) -> int:
        """Where a character begins in the text as it is stored; fast for rising positions."""
        if self._ascii:
            return position
        character, byte = self._last if position >= self._last[0] else (0, 0)
        byte += len(encode_text(self._text[character:position]))
        self._last = position, byte
        return byte


class DocumentWriter(Transaction):
    """What a transaction does with whole documents, in an index of passages."""

    def find_documents(self, ids: Sequence[str]) -> dict[str, HeldDocument]:
        """Those of some documents that the index holds, by id, with their passages."""
        self._check_open()
        found: dict[str, HeldDocument] = {}
        with self._storing():
            for id in dict.fromkeys(encode_ids(ids)):
                values = living_source(self._connection, id)
                if values is not None:
                    document = decode_source(values)
                    found[document.id] = HeldDocument(document, self._entries_of(document.row))
        return found

    def has_documents(self, ids: Sequence[str]) -> list[str]:
        """Those of some ids under which the index holds documents."""
        self._check_open()
        with self._storing():
            return [id for id in ids if self._source_row(encode_text(id)) is not None]

    def put_document(
        self, document: StoredDocument, kept: Mapping[str, GivenPassage] | None = None
    ) -> OpenDocument:
        """Put a document in the place of the one under its id, if there is one.

        Parameters
        ----------
        document
            The document. Its new passages follow, by `add_passages`.
        kept
            Passages that stay as they were encoded, with their vectors, by the ids that they have in the
            index. The others die.
        """
        self._check_documents()
        given = SourceRow.of(document)
        if not given.id:
            raise InvalidInputError("a document's id must not be empty")
        with self._storing():
            self._begin()
            old = self._source_row(given.id)
            before = [] if old is None else [old[0]]
            known = {decode_text(one.id): one for one in self._passages_of(before)}
            kept = kept or {}
            stays = [known[id] for id in kept]
            self._bury([one for id, one in known.items() if id not in kept], places=True)
            self._bury(stays, places=False)
            self._bury_sources(before)
            opened = self._insert_source(given, None if old is None else old[1], document)
            self._insert_kept(opened, list(kept.values()), stays)
        return opened

    def add_passages(
        self, document: OpenDocument, passages: Sequence[GivenPassage], embeddings: TokenEmbeddings
    ) -> None:
        """Add encoded passages to a document that was put into this commit.

        Parameters
        ----------
        document
            From `put_document`.
        passages
            Under numbers that none of the document has.
        embeddings
            One text a passage.
        """
        self._check_documents()
        if len(passages) != len(embeddings):
            raise InvalidInputError(f"{len(passages)} passages, but {len(embeddings)} token embeddings")
        ids = [passage_id(document.id, passage.number) for passage in passages]
        vectors = to_half(ids, embeddings, self._dim)
        with self._storing():
            self._write(document.rows(passages), {}, vectors, embeddings)

    def rename_documents(
        self, names: Mapping[str, str], renamed: Callable[[StoredDocument, str], StoredDocument]
    ) -> int:
        """Give documents other ids; their passages keep numbers and vectors.

        Parameters
        ----------
        names
            The new id of each; they may exchange them.
        renamed
            What a document becomes under its new id, with the same text.

        Returns
        -------
        int
            How many were renamed.

        Raises
        ------
        UnknownIdError, InvalidInputError
            If the index doesn't hold one, or holds another one under a new id; then nothing is changed.
        """
        self._check_documents()
        moved = {old: new for old, new in names.items() if old != new}
        if unknown := set(moved) - set(self.has_documents(list(moved))):
            raise unknown_ids(sorted(unknown), "so they can't be renamed")
        taken = set(self.has_documents(list(moved.values()))) - set(moved)
        if taken or len(set(moved.values())) < len(moved) or "" in moved.values():
            raise InvalidInputError(
                f"documents can't be renamed to ids that others have, or get: {name_some(sorted(taken))}"
            )
        # Those whose new id is still in use wait under one that nobody has.
        waiting = {old: f"\0{number}" for number, old in enumerate(moved) if moved[old] in moved}
        for old, between in waiting.items():
            self._rename(old, between, lambda held, id: replace(held, id=id))
        for old, new in moved.items():
            self._rename(waiting.get(old, old), new, renamed)
        return len(moved)

    def _rename(self, old: str, new: str, renamed: Callable[[StoredDocument, str], StoredDocument]) -> None:
        held = self.find_documents([old])[old]
        with self._storing():
            self._begin()
            known = {one.row: one for one in self._passages_of([held.document.row])}
            self._bury(known.values(), places=False)
            self._bury_sources([held.document.row])
            document = renamed(held.document, new)
            opened = self._insert_source(SourceRow.of(document), held.document.key, document)
            passages = [entry.passage for entry in held.passages if entry.passage is not None]
            self._insert_kept(opened, passages, [known[passage.row] for passage in passages])

    def drop_document(self, document: OpenDocument) -> None:
        """Drop a document that was put into this commit, of which not all passages came."""
        self._check_documents()
        with self._storing():
            self._bury(self._passages_of([document.row]), places=True)
            self._bury_sources([document.row])

    def _check_documents(self) -> None:
        self._check_open()
        if not self._has_passages:
            raise InvalidInputError(f"{self.path} holds no passages of documents: make it with passages=")

    def refuse_passages(self, what: str) -> None:
        """Refuse to change single passages.

        Raises
        ------
        InvalidInputError
            If the index holds passages.
        """
        if self._has_passages:
            raise InvalidInputError(
                f"{self.path} holds passages of documents, which can't be {what} one by one: change the "
                f"documents, with {remedy('put_document', 'lfm2-retrieve add')}"
            )

    def _delete_documents(self, ids: Sequence[str], *, missing_ok: bool) -> int:
        """Delete documents with all their passages; how many there were."""
        wanted = list(dict.fromkeys(encode_ids(ids)))
        found = {id: row for id in wanted if (row := self._source_row(id)) is not None}
        if missing := [id for id in wanted if id not in found]:
            self._refuse_numbers(missing)
            if not missing_ok:
                raise unknown_ids([decode_text(id) for id in missing], "missing_ok=True passes over them")
        return self._delete_sources([row for row, _ in found.values()])

    def _refuse_numbers(self, ids: Iterable[bytes]) -> None:
        """Refuse ids of passages where those of documents are expected."""
        named = [
            id for id in ids if self._source_row(document_id_of(id)) is not None and self._find_ids([id])
        ]
        if named:
            one, document = decode_text(named[0]), decode_text(document_id_of(named[0]))
            raise InvalidInputError(
                f"{one!r:.80} is a passage of the document {document!r:.80}: delete the document, or update "
                "it without that part of its text"
            )

    def _delete_sources(self, rows: Sequence[int]) -> int:
        if rows:
            self._begin()
            self._bury(self._passages_of(rows), places=True)
            self._bury_sources(rows)
        return len(rows)

    def _source_row(self, id: bytes) -> tuple[int, int] | None:
        """Row and key of the living document under an id."""
        found = self._connection.execute(
            "SELECT row, key FROM sources WHERE id = ? AND died IS NULL", (id,)
        ).fetchone()
        return None if found is None else (int(found[0]), int(found[1]))

    def _passages_of(self, sources: Sequence[int]) -> list[Known]:
        return [
            known
            for source in sources
            for known in self._select("row IN (SELECT row FROM passages WHERE source = ?)", (source,))
        ]

    def _entries_of(self, source: int) -> list[Entry]:
        rows = self._connection.execute(
            f"SELECT {COLUMNS} FROM documents WHERE row IN (SELECT row FROM passages WHERE source = ?) "
            "ORDER BY row",
            (source,),
        ).fetchall()
        entries = read_entries(self._connection, rows)
        return sorted(entries, key=lambda entry: 0 if entry.passage is None else entry.passage.number)

    def _insert_source(self, given: SourceRow, key: int | None, document: StoredDocument) -> OpenDocument:
        wanted = self._numbers.pop(given.id, 0)
        row = self._last_source = max(self._last_source + 1, wanted)
        self._last_row = max(self._last_row, wanted * PASSAGES_APART)
        columns, values = SOURCE_COLUMNS.replace(" died,", ""), given.values(row, key or row, self._commit)
        marks = ", ".join("?" * len(values))
        self._connection.execute(f"INSERT INTO sources ({columns}) VALUES ({marks})", values)
        return OpenDocument(row, document.id, document.text or "", given.metadata)

    def _bury_sources(self, rows: Sequence[int]) -> None:
        """Let rows of whole documents die, once those of their passages did."""
        for row in rows:
            (born,) = self._connection.execute("SELECT born FROM sources WHERE row = ?", (row,)).fetchone()
            if born == self._commit:
                delete_sources(self._connection, [(row,)])
            else:
                self._retire("sources", "row = ?", [(row,)])

    def _insert_kept(
        self, document: OpenDocument, passages: Sequence[GivenPassage], known: Sequence[Known]
    ) -> None:
        """New rows of passages whose vectors stay where they are."""
        rows = document.rows(passages)
        lengths = np.array([one.n_tokens for one in known], np.int64)
        numbers = self._number_rows(rows, {row.id: one for row, one in zip(rows, known, strict=True)})
        self._insert(rows, lengths, numbers)
