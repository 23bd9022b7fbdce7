"""The documents of a retriever: reading and changing them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import islice

from .change_run import ChangeCounts, Run, Wanted, parse_update
from .datatypes import Document
from .encoder import Encoder, check_whole
from .errors import InvalidInputError
from .frames import collected, iter_records
from .indexes import CompressedIndex, Entry, Writer
from .indexes.filters import Where
from .indexes.writer import OnConflict
from .ingest import batches, parsed, refuse_one, warn_of_cut
from .records import Source, check_columns
from .titles import Replacement

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
    ) -> ChangeCounts:
        """Encode documents and add them, in one commit or in that of the transaction.

        Parameters
        ----------
        documents
            As for :meth:`Retriever.index`; an iterator is never held as a whole. A string's id is a number
            that no string had before.
        on_conflict
            If the index holds an id: ``"error"`` adds nothing, ``"skip"`` leaves the old document,
            ``"replace"`` puts the new one in its place: where the text is the same, without encoding it;
            where all is the same, nothing is written.
        text, id, metadata
            Which columns of rows are what, as for :meth:`Retriever.index`.
        batch_size
            How many documents are encoded at a time.
        timeout
            Seconds to wait for another writer. The first batch is encoded before the lock is taken.

        Returns
        -------
        ChangeCounts
            How many of the documents the index now holds as they were given, as a number; with ``added``,
            ``changed``, ``unchanged`` and ``skipped``.

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
        ids: set[str] = set()
        stream = batches(documents, batch_size, ids, refused, columns)
        plans = ([Wanted(one.id, Replacement(one.text, one.metadata)) for one in batch] for batch in stream)
        return self._run(plans, on_conflict, timeout, ids)

    def update(
        self,
        documents: Iterable[Source],
        *,
        text: str | None = None,
        id: str | None = None,
        metadata: Sequence[str] | None = None,
        batch_size: int = 256,
        timeout: float = 30.0,
    ) -> ChangeCounts:
        """Change documents, in one commit or in that of the transaction. They keep their place in the order.

        Parameters
        ----------
        documents
            ``Document``s, which replace text and metadata, or rows with ``id`` and what is to change:
            ``text``, ``title``, ``metadata`` (replaced as a whole); their other keys count as metadata. A
            title that stands in front of the text does so afterwards, whichever of the two changes, and
            stays where metadata are given without one; the stored text, title and all, may be given as the
            text, too. A text that comes out the same isn't encoded: then only a row is written, and none
            where the metadata are the same, too.
        text, id, metadata
            Which columns of rows are what, as for :meth:`Retriever.index`.
        batch_size, timeout
            As for :meth:`add`.

        Returns
        -------
        ChangeCounts
            How many documents were given, as a number; with ``changed`` and ``unchanged``.

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
            lambda position, source: parse_update(source, position, columns, seen),
            None if isinstance(documents, Sequence) else batch_size,
        )

        def plans() -> Iterator[list[Wanted]]:
            while batch := list(islice(stream, batch_size)):
                yield batch

        return self._run(plans(), None, timeout, seen)

    def delete(
        self,
        ids: str | Sequence[str] | None = None,
        *,
        where: Where | None = None,
        all: bool = False,
        missing_ok: bool = False,
        timeout: float = 30.0,
    ) -> int:
        """Delete documents by id, by filter or all, in one commit or in that of the transaction.

        Parameters
        ----------
        ids
            One, or several.
        where
            A filter as for :meth:`Retriever.search`. It looks at the newest commit. One that says nothing,
            such as ``{}``, is refused.
        all
            Delete all documents.
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
            If not one of ``ids``, ``where`` and ``all`` is given, the filter isn't understood, or says
            nothing.
        IndexLockedError, IndexWriteError
            As for :meth:`add`.
        """
        return self.store.delete(ids, where=where, all=all, missing_ok=missing_ok, timeout=timeout)

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

    def _run(
        self, plans: Iterator[list[Wanted]], on_conflict: OnConflict | None, timeout: float, ids: set[str]
    ) -> ChangeCounts:
        """Carry out changes batch by batch; ``on_conflict`` None: all of them are updates."""
        first = next(plans, [])
        if not first:
            return ChangeCounts()
        run = Run(lambda: self.encoder, on_conflict, ids)
        guess = None
        if not self.store.in_transaction:
            # Without the lock, and so by what the snapshot says: what is wrong about it is put right later.
            named = [one.id for one in first if one.id is not None]
            guess = run.prepare(first, {entry.id: entry for entry in self.store.get_many(named) if entry})

        def carry_out(writer: Writer) -> ChangeCounts:
            counts = run.write(writer, first, guess)
            try:
                for batch in plans:
                    counts = counts.plus(run.write(writer, batch))
            except BaseException:
                writer.abandon()  # also of a transaction: no half of a call is ever committed
                raise
            return counts

        counts = self.store.change(carry_out, timeout)
        if run.n_cut:
            warn_of_cut(run.n_cut, counts, self.encoder)
        return counts


def _to_document(entry: Entry) -> Document:
    """What an index stores, as a document; without a text, its text is empty."""
    return Document(entry.id, entry.text or "", entry.metadata)
