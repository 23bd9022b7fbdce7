"""The exact index: every search scores every document by MaxSim."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from ..datatypes import Hit, SearchParams, TokenEmbeddings
from ..errors import (
    IndexExistsError,
    IndexLockedError,
    InvalidInputError,
    InvalidTypeError,
    StoredIndexError,
    TransactionError,
)
from .catalogue import Catalogue, is_index, is_vacant
from .documents import StoredDocuments, TemporaryFolder
from .filters import Where, parse_where
from .lock import WriterLock
from .merge import Groups, merge, reclaim
from .policy import MERGED_IN_PASSING, Limits, all_to_merge, parse_memory, to_merge
from .schema import last_row
from .searching import Question
from .settings import CONTENT, make_settings
from .snapshot import Snapshot
from .verify import verify
from .writer import OnConflict, Writer

__all__ = ["ExactIndex"]

T = TypeVar("T")


class ExactIndex(StoredDocuments):
    """Documents and their token vectors (float16) in a folder, searched exactly. Use `create` or `open`.

    Any number of threads and processes may read while one writes. An open index reads one commit until
    `refresh`, or until it makes one itself; what it reads stays on disk until then.
    """

    _transaction: tuple[int, Writer] | None = None

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str] | None,
        dim: int = 128,
        *,
        if_exists: Literal["error", "overwrite"] = "error",
        settings: Mapping[str, Any] | None = None,
        timeout: float = 30.0,
        lexical: bool = True,
        fields: Sequence[str] = (),
    ) -> Self:
        """Make an empty index.

        Parameters
        ----------
        path
            A folder that is empty or doesn't exist; None for a temporary one, which `close` removes.
        dim
            The width of a vector.
        if_exists
            Where there is an index: ``"error"`` refuses, ``"overwrite"`` empties it in one commit. A folder
            that holds anything else is always refused.
        settings
            JSON values to keep with the index, such as the identity of the encoder.
        timeout
            Seconds to wait for another writer.
        lexical
            Whether the words of the texts are kept, to search by.
        fields
            Fields of the metadata, such as ``"lang"`` or ``"author.name"``, that get columns with an index:
            filters on them are faster, and mean the same.

        Raises
        ------
        IndexExistsError
            If something is there.
        InvalidInputError
            If ``dim`` is not positive, a setting is reserved or not JSON, or a field can't be named.
        """
        values = make_settings(dim, settings, lexical=lexical, fields=fields)
        return cls._create(path, values, if_exists, timeout)

    @classmethod
    def _create(
        cls, path: str | os.PathLike[str] | None, values: dict[str, Any], if_exists: str, timeout: float
    ) -> Self:
        if if_exists not in ("error", "overwrite"):
            raise InvalidInputError(f"if_exists must be 'error' or 'overwrite', not {if_exists!r}")
        temporary = None
        if path is None:
            temporary = TemporaryFolder()
            path = temporary.name
        folder = Path(path).absolute()
        if is_vacant(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with WriterLock(folder / "lock", timeout):
                if is_vacant(folder):
                    Catalogue.create(folder, values)
                    return cls(Catalogue(folder), temporary)
        if not is_index(folder):
            raise IndexExistsError(
                f"{folder} holds something that is not an index; it is left alone: choose another folder"
            )
        if if_exists == "error":
            raise IndexExistsError(
                f"{folder} already holds an index: if_exists='overwrite' replaces it; "
                "open() and add() add to it; or choose another folder"
            )
        catalogue = Catalogue(folder)
        try:
            with Writer(catalogue, timeout, replace=lambda _: values):
                pass
        except BaseException:
            catalogue.close()
            raise
        return cls(catalogue)

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, auto_refresh: bool = False) -> Self:
        """Open an index, also in a folder that can only be read. Checks sizes and headers, not every byte.

        Parameters
        ----------
        path
            Its folder.
        auto_refresh
            Look for a newer commit before each call, which takes some 50 µs.

        Raises
        ------
        IndexNotFoundError, IndexFormatError, NewerFormatError, DamagedIndexError
            If there is no index, something else, one of a newer version or a damaged one.
        """
        return cls(Catalogue(Path(path).absolute()), auto_refresh=auto_refresh)

    def writer(
        self,
        *,
        timeout: float = 30.0,
        replace: Mapping[str, Any] | None = None,
        unless: str | None = None,
    ) -> Writer:
        """Begin a transaction: ``with index.writer() as w: w.add(…)``.

        Parameters
        ----------
        timeout
            Seconds to wait for another writer.
        replace
            New settings, ``dim`` among them: the first commit retires everything the index held, which stays
            readable and safe until then. What isn't named is as the index has it.
        unless
            The `content_id` of what need not be replaced; if it is there, the writer adds to it.
        """
        renew = None
        if replace is not None:
            given = dict(replace)
            self._renewed(self.settings, given)  # refuses what can't be used

            def renew(before: Mapping[str, Any]) -> dict[str, Any] | None:
                kept = unless is not None and before.get(CONTENT) == unless
                return None if kept else self._renewed(before, given)

        view = self._seen()
        return Writer(view.catalogue, timeout, renew, known=view.snapshot, on_commit=self._committed)

    def _renewed(self, before: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """The settings after the content was replaced."""
        apart = ("dim", "lexical", "fields")
        others = {key: value for key, value in given.items() if key not in apart}
        derived = {name: given.get(name, before.get(name)) for name in ("lexical", "fields")}
        return make_settings(given.get("dim", before["dim"]), others) | derived

    @contextmanager
    def transaction(self, *, timeout: float = 30.0) -> Iterator[None]:
        """Make one commit of all changes of a ``with`` block; an exception drops them all.

        It belongs to the thread that began it, and holds the writer lock throughout. Reads and searches go
        on seeing what was committed before. Memory doesn't grow with what is added.

        Parameters
        ----------
        timeout
            Seconds to wait for another writer.

        Raises
        ------
        TransactionError
            Inside another transaction of the same index.
        IndexLockedError
            If another writer is at work for longer than ``timeout``.
        """
        self._refuse_in_transaction("another transaction")
        with self.writer(timeout=timeout) as writer:
            self._transaction = threading.get_ident(), writer
            try:
                yield
            finally:
                self._transaction = None
        self._tend(timeout)

    def add(
        self,
        ids: Sequence[str],
        embeddings: TokenEmbeddings,
        texts: Sequence[str | None] | None = None,
        metadata: Sequence[Mapping[str, Any]] | None = None,
        *,
        on_conflict: OnConflict = "error",
        timeout: float = 30.0,
    ) -> int:
        """Add documents in one commit, or in that of the transaction; see `Writer.add`."""
        return self.change(
            lambda writer: writer.add(ids, embeddings, texts, metadata, on_conflict=on_conflict), timeout
        )

    def update(
        self,
        ids: Sequence[str],
        embeddings: TokenEmbeddings | None = None,
        texts: Sequence[str | None] | None = None,
        metadata: Sequence[Mapping[str, Any]] | None = None,
        *,
        timeout: float = 30.0,
    ) -> int:
        """Change documents in one commit, or in that of the transaction; see `Writer.update`."""
        return self.change(lambda writer: writer.update(ids, embeddings, texts, metadata), timeout)

    def delete(
        self,
        ids: str | Sequence[str] | None = None,
        *,
        where: Where | None = None,
        all: bool = False,
        missing_ok: bool = False,
        timeout: float = 30.0,
    ) -> int:
        """Delete documents in one commit, or in that of the transaction; see `Writer.delete`."""
        return self.change(
            lambda writer: writer.delete(ids, where=where, all=all, missing_ok=missing_ok), timeout
        )

    def configure(
        self, *, lexical: bool | None = None, fields: Sequence[str] = (), timeout: float = 30.0
    ) -> None:
        """Change what is derived from the documents, in one commit; see `Writer.configure`."""

        self.change(lambda writer: writer.configure(lexical=lexical, fields=fields), timeout)

    def change(self, change: Callable[[Writer], T], timeout: float = 30.0) -> T:
        """Make some changes in one commit, or in that of the transaction; returns what they return."""
        if (writer := self._joined) is not None:
            return change(writer)
        with self.writer(timeout=timeout) as writer:
            done = change(writer)
        self._tend(timeout)
        return done

    @property
    def in_transaction(self) -> bool:
        """Whether this thread is inside `transaction`."""
        return self._joined is not None

    def next_number(self) -> int:
        """A number that no document was ever inserted under, for ids that count."""
        if (writer := self._joined) is not None:
            return writer.next_number()
        with self._catalogue.reading() as connection:
            return last_row(connection)

    @property
    def _joined(self) -> Writer | None:
        """The writer of this thread's transaction."""
        thread, writer = self._transaction or (None, None)
        return writer if thread == threading.get_ident() else None

    def _refuse_in_transaction(self, what: str) -> None:
        if self._joined is not None:
            raise TransactionError(f"{what} is not possible inside a transaction: end it first")

    def merge(self, *, memory: str | int = "2GB", timeout: float = 30.0) -> bool:
        """Tidy up: few large segments, nothing dead on disk.

        Neighbouring segments of one kind become as large as segments may be, and lose their dead documents.
        Vectors and codes are copied as they are, ids, keys and the order stay. Rows of dead documents are
        deleted and the catalogue gives their space back. What an open index, in any process, still reads
        stays until it goes on; searches and additions go on meanwhile. An interrupted merge loses nothing.

        Adding and deleting merge by themselves what is small, see `to_merge`; this does the rest.

        Parameters
        ----------
        memory
            Limits the size of compressed segments; see `CompressedIndex.build`.
        timeout
            Seconds to wait for another merge, and for another writer at each commit.

        Returns
        -------
        bool
            Whether any segment was rewritten.

        Raises
        ------
        TransactionError
            Inside a transaction.
        IndexLockedError, IndexWriteError
            If another takes longer than ``timeout``; if the disk is full. What was committed stays.
        """
        self._refuse_in_transaction("merge()")
        limits = Limits.of(parse_memory(memory), self.dim)

        def choose(snapshot: Snapshot) -> Groups:
            return all_to_merge(snapshot, limits)

        done = merge(self._catalogue, self._newest, choose, timeout, timeout)
        self._newest()
        reclaim(self._catalogue, timeout)
        return done

    def _tend(self, timeout: float) -> None:
        """After a commit, merge what is small. Whatever comes of it, the commit stands."""
        try:
            self._tidy(timeout)
        except IndexLockedError:
            pass  # the next commit will see to it
        except StoredIndexError as error:  # who got an error would do the change again
            warnings.warn(f"the change is committed, but {error}", RuntimeWarning, stacklevel=4)

    def _tidy(self, timeout: float) -> None:
        def choose(snapshot: Snapshot) -> Groups:
            return to_merge(snapshot, MERGED_IN_PASSING)

        if choose(self._newest()):
            merge(self._catalogue, self._newest, choose, timeout, wait=0)

    def search(
        self,
        queries: TokenEmbeddings | None,
        k: int | SearchParams = 10,
        *,
        where: Where | None = None,
        texts: Sequence[str] | None = None,
    ) -> list[list[Hit]]:
        """The best documents of each query.

        The score of a search by vectors is the sum, over the query's vectors, of the largest inner product
        with a vector of the document, computed in float64 on the stored vectors and rounded to float32. Equal
        scores are in order of insertion. Documents and queries without vectors find nothing.

        Parameters
        ----------
        queries
            As wide as the index; all of them share one pass over the vectors. None in a search by words.
        k
            How many hits a query gets at most, or the parameters that say so and more: whether to search by
            vectors, by words or by both, and how hits are chosen.
        where
            Look only at documents whose metadata meets this filter; see `filters`. It is applied before
            anything is scored, and which documents it leaves is remembered until the next commit.
        texts
            The queries themselves, for a search by words or by both.

        Raises
        ------
        InvalidInputError
            If the width differs, a vector holds NaN, infinity or a value beyond float16 (±65504), the filter
            isn't understood, or there are no words to search by.

        Warns
        -----
        UnknownFieldWarning
            If no document has a field that the filter or ``group_by`` names; once a field.
        """
        params = k if isinstance(k, SearchParams) else SearchParams(k)
        question = Question(queries, texts, params, None if where is None else parse_where(where))
        return self._read(lambda view: view.searcher.answer(view.snapshot, question, self._resolve))

    def rerank(self, queries: TokenEmbeddings, ids: Sequence[Sequence[str]]) -> list[list[Hit]]:
        """Documents found elsewhere, in the order of their MaxSim on the stored vectors.

        Parameters
        ----------
        queries
            As wide as the index.
        ids
            Some a query. Documents without vectors are left out.

        Raises
        ------
        InvalidInputError
            If an id is not in the index, the numbers differ, or the vectors can't be used.
        """
        if isinstance(ids, str) or any(isinstance(some, str) for some in ids):
            raise InvalidTypeError("ids must be a list of str for each query")
        lists = [list(some) for some in ids]  # read more than once
        return self._read(lambda view: view.searcher.rerank(view.snapshot, queries, lists))

    def verify(self) -> None:
        """Read every byte and hold it to its checksum.

        Raises
        ------
        DamagedIndexError
            Naming everything that is damaged.
        """
        self._read(lambda view: verify(view.catalogue, view.snapshot))

    def backup(self, destination: str | os.PathLike[str]) -> None:
        """Copy the newest commit to another folder, durably, while others go on writing; see `backup`.

        Raises
        ------
        IndexExistsError
            If something is there.
        DamagedIndexError
            If a file of this index is damaged; then there is no backup.
        IndexWriteError
            If the destination can't be written.
        """
        from .backup import backup

        self._read(lambda view: backup(view.catalogue, Path(destination)))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by its path, and so copied, too: the copy opens it anew and reads the newest commit."""
        self._refuse_in_transaction("copying or pickling an index")
        if self._temporary is not None:
            raise InvalidTypeError(
                "a temporary index can't be copied or pickled, as it goes with the object that made it: "
                "make it in a folder, with path="
            )
        self._snapshot()  # refuses where it is closed
        return _opened, (type(self), str(self.path), self._auto_refresh)

    def _resolve(self, params: SearchParams, snapshot: Snapshot) -> SearchParams:
        """The parameters, with what the caller left open."""
        return replace(params, exact=True)


def _opened(kind: type[ExactIndex], path: str, auto_refresh: bool) -> ExactIndex:
    return kind.open(path, auto_refresh=auto_refresh)
