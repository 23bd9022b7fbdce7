"""The documents of a retriever: reading and changing them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

from .datatypes import Document, TokenEmbeddings
from .encoder import Encoder, check_whole
from .errors import DuplicateIdError, InvalidInputError, InvalidTypeError
from .frames import collected, iter_records
from .indexes import CompressedIndex, Entry, Writer
from .indexes.filters import Where
from .indexes.rows import known_ids, unknown_ids
from .indexes.writer import OnConflict
from .ingest import batches, check_same_model, encode_texts, parsed, refuse_one, warn_of_cut
from .json_values import is_absent
from .records import Columns, Source, as_mapping, check_columns, document_of

__all__ = ["LivingDocuments"]


class LivingDocuments(ABC):
    """What a retriever does with its documents apart from finding them.

    What is read is of one commit: that of the opening, of the last `refresh`, or of the retriever's own last
    change.
    """

    store: CompressedIndex

    @property
    @abstractmethod
    def encoder(self) -> Encoder:
        """What encodes texts."""

    def add(
        self,
        documents: Iterable[Source],
        *,
        on_conflict: OnConflict = "error",
        text: str | None = None,
        id: str | None = None,
        metadata: Sequence[str] | None = None,
        batch_size: int = 256,
        timeout: float = 30.0,
    ) -> int:
        """Encode documents and add them, in one commit or in that of the transaction.

        Parameters
        ----------
        documents
            As for :meth:`Retriever.index`; an iterator is never held as a whole. A string's id is a number
            that no string had before.
        on_conflict
            If the index holds an id: ``"error"`` adds nothing, ``"skip"`` leaves the old document,
            ``"replace"`` puts the new one in its place (where the text is the same, without encoding it).
        text, id, metadata
            Which columns of rows are what, as for :meth:`Retriever.index`.
        batch_size
            How many documents are encoded at a time.
        timeout
            Seconds to wait for another writer. The first batch is encoded before the lock is taken.

        Returns
        -------
        int
            How many documents were added or replaced.

        Raises
        ------
        DuplicateIdError
            If an id comes twice, or, with ``"error"``, is in the index.
        InvalidInputError
            If a document can't be used.
        ModelMismatchError
            If the model is not the one that the index was made with; nothing is encoded then.
        IndexLockedError, IndexWriteError
            If another writer takes longer than ``timeout``; if the disk is full.

        Warns
        -----
        TruncationWarning
            If texts were longer than the model reads.
        """
        if on_conflict not in ("error", "replace", "skip"):
            raise InvalidInputError(f"on_conflict must be 'error', 'replace' or 'skip', not {on_conflict!r}")
        refuse_one(documents)
        refused = self.store if on_conflict == "error" and not self.store.in_transaction else None
        columns = check_columns(text, id, metadata)
        stream = batches(documents, batch_size, self.store.next_number(), refused, columns)
        plans = (
            [_Change(document.id, document.text, document.metadata) for document in batch] for batch in stream
        )
        return self._run(plans, on_conflict, timeout)

    def update(
        self,
        documents: Iterable[Source],
        *,
        text: str | None = None,
        id: str | None = None,
        metadata: Sequence[str] | None = None,
        batch_size: int = 256,
        timeout: float = 30.0,
    ) -> int:
        """Change documents, in one commit or in that of the transaction. They keep their place in the order.

        Parameters
        ----------
        documents
            ``Document``s, which replace text and metadata, or rows with ``id`` and what is to change:
            ``text``, ``metadata`` (replaced as a whole) or both; their other keys count as metadata. A text
            that is not given, or the same, isn't encoded: then only a row is written.
        text, id, metadata
            Which columns of rows are what, as for :meth:`Retriever.index`.
        batch_size, timeout
            As for :meth:`add`.

        Returns
        -------
        int
            How many documents were changed.

        Raises
        ------
        UnknownIdError
            If the index doesn't hold an id; then nothing is changed.
        InvalidInputError, DuplicateIdError, ModelMismatchError, IndexLockedError, IndexWriteError
            As for :meth:`add`.
        """
        refuse_one(documents)
        check_whole("batch_size", batch_size, 1)
        columns = check_columns(text, id, metadata)
        documents = collected(documents)
        seen: set[str] = set()
        stream = parsed(
            iter_records(documents),
            lambda position, source: _parse_change(source, position, columns, seen),
            None if isinstance(documents, Sequence) else batch_size,
        )

        def plans() -> Iterator[list[_Change]]:
            while batch := list(islice(stream, batch_size)):
                yield batch

        return self._run(plans(), None, timeout)

    def delete(
        self,
        ids: str | Sequence[str] | None = None,
        *,
        where: Where | None = None,
        missing_ok: bool = False,
        timeout: float = 30.0,
    ) -> int:
        """Delete documents by id or by filter, in one commit or in that of the transaction.

        Parameters
        ----------
        ids
            One, or several.
        where
            A filter as for :meth:`Retriever.search`. It looks at the newest commit.
        missing_ok
            Whether ids that the index doesn't hold are passed over.
        timeout
            Seconds to wait for another writer.

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
        IndexLockedError, IndexWriteError
            As for :meth:`add`.
        """
        return self.store.delete(ids, where=where, missing_ok=missing_ok, timeout=timeout)

    def transaction(self, *, timeout: float = 30.0) -> AbstractContextManager[None]:
        """``with retriever.transaction():`` makes one commit of all changes in the block.

        An exception drops them all. Searches and look-ups inside go on seeing what was committed before;
        changes see each other, so that an id can be deleted and added again. The block belongs to its thread
        and holds the writer lock. Memory doesn't grow with what is added.

        Raises
        ------
        TransactionError
            Inside another transaction.
        IndexLockedError
            If another writer takes longer than ``timeout`` seconds.
        """
        return self.store.transaction(timeout=timeout)

    def merge(self, *, retrain: bool | None = None, memory: str | int = "2GB", timeout: float = 30.0) -> bool:
        """Tidy up: few large segments, nothing dead on disk; see :meth:`CompressedIndex.merge`."""
        return self.store.merge(retrain=retrain, memory=memory, timeout=timeout)

    def refresh(self) -> bool:
        """Go on to the newest commit of any process; whether there was a newer one."""
        return self.store.refresh()

    def verify(self) -> None:
        """Read every byte and hold it to its checksum; see :meth:`CompressedIndex.verify`."""
        self.store.verify()

    def get(self, id: str) -> Document | None:
        """The document stored under an id, or None."""
        return self.get_many([id])[0]

    def get_many(self, ids: Sequence[str]) -> list[Document | None]:
        """The documents under some ids, in their order; None where there is none."""
        return [None if entry is None else _to_document(entry) for entry in self.store.get_many(ids)]

    def ids(self, where: Where | None = None) -> list[str]:
        """The ids of all documents, or of those that meet a filter, in order of insertion."""
        return self.store.ids(where)

    def count(self, where: Where | None = None) -> int:
        """How many documents there are, or how many meet a filter."""
        return self.store.count(where)

    def documents(self, where: Where | None = None) -> Iterator[Document]:
        """All documents, or those that meet a filter, in order of insertion; of one commit, read in pages."""
        return map(_to_document, self.store.documents(where))

    def __iter__(self) -> Iterator[Document]:
        return self.documents()

    def __len__(self) -> int:
        return len(self.store)

    def __contains__(self, id: object) -> bool:
        return id in self.store

    def _run(self, plans: Iterator[list[_Change]], on_conflict: OnConflict | None, timeout: float) -> int:
        """Carry out changes batch by batch; ``on_conflict`` None: all of them are updates."""
        first = next(plans, [])
        if not first:
            return 0
        run = _Run(lambda: self.encoder, on_conflict)
        guess = None
        if not self.store.in_transaction:
            # Without the lock, and so by what the snapshot says: what is wrong about it is put right later.
            known = {entry.id: entry for entry in self.store.get_many([one.id for one in first]) if entry}
            guess = run.prepare(first, known)

        def carry_out(writer: Writer) -> int:
            n = run.write(writer, first, guess)
            try:
                return n + sum(run.write(writer, batch) for batch in plans)
            except BaseException:
                writer.abandon()  # also of a transaction: no half of a call is ever committed
                raise

        n = self.store.change(carry_out, timeout)
        if run.n_cut:
            warn_of_cut(run.n_cut, n, self.encoder)
        return n


class _Change(NamedTuple):
    """What is to become of a document; None: as it is."""

    id: str
    text: str | None
    metadata: Mapping[str, Any] | None


class _Prepared(NamedTuple):
    """Changes that need vectors, with these, and those that don't."""

    encoded: list[_Change]
    embeddings: TokenEmbeddings | None
    others: list[_Change]


@dataclass
class _Run:
    """The carrying out of one call's changes."""

    encoder: Callable[[], Encoder]
    on_conflict: OnConflict | None
    n_cut: int = field(default=0, init=False)

    def prepare(
        self, changes: list[_Change], known: Mapping[str, Entry], before: _Prepared | None = None
    ) -> _Prepared:
        """Encode what has to be, given the documents that the index holds, unless it was done ``before``."""
        if (self.on_conflict == "error" and known) or (
            self.on_conflict is None and len(known) < len(changes)
        ):
            return _Prepared([], None, changes)  # will be refused
        if self.on_conflict == "skip":
            changes = [one for one in changes if one.id not in known]
        others = [one for one in changes if one.id in known and one.text in (None, known[one.id].text)]
        kept = {one.id for one in others}
        wanted = [one for one in changes if one.id not in kept]
        if before is not None and before.encoded == wanted:
            return before._replace(others=others)
        if not wanted:
            return _Prepared([], None, others)
        embeddings, n_cut = encode_texts(self.encoder(), [one.text or "" for one in wanted])
        self.n_cut += n_cut
        return _Prepared(wanted, embeddings, others)

    def write(self, writer: Writer, changes: list[_Change], guess: _Prepared | None = None) -> int:
        """Write a batch; how many documents were added or changed."""
        known = writer.find([one.id for one in changes])
        if self.on_conflict == "error" and known:
            raise known_ids(list(known))
        if self.on_conflict is None and len(known) < len(changes):
            unknown = [one.id for one in changes if one.id not in known]
            raise unknown_ids(unknown, "add() adds documents")
        encoded, embeddings, others = self.prepare(changes, known, guess)
        if embeddings is not None:
            check_same_model(writer, self.encoder())
            stored = [known.get(one.id) for one in encoded]
            writer.add(
                [one.id for one in encoded],
                embeddings,
                [one.text for one in encoded],
                [
                    (entry.metadata if entry else {}) if one.metadata is None else one.metadata
                    for one, entry in zip(encoded, stored, strict=True)
                ],
                on_conflict="replace",
            )
        changed = [one for one in others if one.metadata is not None]
        writer.update([one.id for one in changed], metadata=[one.metadata or {} for one in changed])
        return len(encoded) + len(others)


def _parse_change(source: Source, position: int, columns: Columns, seen: set[str]) -> _Change:
    row = None if isinstance(source, Document) else as_mapping(source)
    if row is None:
        if not isinstance(source, Document):
            raise InvalidTypeError(
                f"an update is a mapping with 'id' or a Document, not a {type(source).__name__} "
                f"(number {position} of those given)"
            )
        whole = document_of(source)
        change = _Change(whole.id, whole.text, whole.metadata)
    else:
        keys = {"id", "_id"} if columns.id is None else {columns.id}
        if all(is_absent(row.get(key)) for key in keys):
            raise InvalidInputError(
                f"an update needs the document's id; document {position} has {sorted(map(str, row))}"
                + (": id= names the column" if columns.id is None else "")
            )
        text = row.get(columns.text)
        whole = document_of({**row, columns.text: "" if is_absent(text) else text}, 0, position, columns)
        given = set(row) - keys - {columns.text}
        if columns.metadata is not None:
            given &= set(columns.metadata)
        change = _Change(whole.id, None if is_absent(text) else whole.text, whole.metadata if given else None)
    if change.id in seen:
        raise DuplicateIdError(f"the document id {change.id[:80]!r} comes twice; ids must be unique")
    seen.add(change.id)
    return change


def _to_document(entry: Entry) -> Document:
    """What an index stores, as a document; without a text, its text is empty."""
    return Document(entry.id, entry.text or "", entry.metadata)
