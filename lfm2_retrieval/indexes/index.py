"""The index: documents and their token vectors in a folder, written to by one at a time and read by many."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Literal, Self, TypeVar

from ..datatypes import SearchParams, TokenEmbeddings
from ..errors import (
    InvalidInputError,
    InvalidTypeError,
    StoredIndexError,
)
from .catalogue.catalogue import Catalogue
from .catalogue.schema import last_row, last_source
from .catalogue.settings import CONTENT, make_settings
from .commits.writer import OnConflict, Writer
from .compaction.policy import BuildProgress, Estimate, estimate_size
from .filters.where import Where
from .making import TemporaryFolder, make
from .quantization.codec import Tier
from .reader import IndexReader
from .transactions import Transactions
from .tuning.measuring import Measurement
from .tuning.recall import Recall
from .tuning.tune import Tuning
from .upkeep import RunUpkeep, Upkeep

__all__ = ["Index"]

T = TypeVar("T")


class Index(IndexReader):
    """Documents and their token vectors in a folder, compressed to a tier. Use `create` or `open`.

    What is added is stored as float16 and searched exactly. Past 2¹⁸ vectors a codec is trained from them and
    they are compressed, unless the tier is ``"exact"``; later additions are, too, once they are many.

    Any number of threads and processes may read while one writes. An open index reads one commit until
    `refresh`, or until it makes one itself; what it reads stays on disk until then.
    """

    def __init__(
        self, catalogue: Catalogue, auto_refresh: bool = False, temporary: TemporaryFolder | None = None
    ) -> None:
        super().__init__(catalogue, auto_refresh)
        self._temporary = temporary
        self._upkeep = Upkeep(self._views)
        self._transactions = Transactions(self._views, self._upkeep)

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str] | None,
        dim: int = 128,
        *,
        tier: Tier | str = Tier.BALANCED,
        if_exists: Literal["error", "overwrite"] = "error",
        settings: Mapping[str, Any] | None = None,
        lexical: bool = True,
        fields: Sequence[str] = (),
        passages: Mapping[str, Any] | None = None,
        seed: int = 0,
        timeout: float = 30.0,
    ) -> Self:
        """Make an empty index.

        Parameters
        ----------
        path
            A folder that is empty or doesn't exist; None for a temporary one, which `close` removes.
        dim
            The width of a vector.
        tier
            What to compress to: ``"compact"``, ``"balanced"``, ``"accurate"``, or ``"exact"`` for never.
        if_exists
            Where there is an index: ``"error"`` refuses, ``"overwrite"`` empties it in one commit. A folder
            that holds anything else is always refused.
        settings
            JSON values to keep with the index, such as the identity of the encoder.
        lexical
            Whether the words of the texts are kept, to search by.
        fields
            Fields of the metadata, such as ``"lang"`` or ``"author.name"``, that get columns with an index:
            filters on them are faster, and mean the same.
        passages
            How documents are split (``tokens``, ``overlap``, ``headings``), if the index is to hold passages
            of documents: see `Writer.put_document`.
        seed, timeout
            Of everything drawn at random; seconds to wait for another writer.

        Raises
        ------
        IndexExistsError
            If something is there.
        InvalidInputError
            If an argument can't be used: a setting is reserved or not JSON, a field can't be named.
        """
        values = make_settings(
            dim, settings, tier=tier, seed=seed, lexical=lexical, fields=fields, passages=passages
        )
        catalogue, temporary = make(path, values, if_exists, timeout)
        return cls(catalogue, temporary=temporary)

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
        return self._transactions.begin(timeout, replace, unless)

    def transaction(self, *, timeout: float = 30.0) -> AbstractContextManager[None]:
        """Make one commit of all changes of a ``with`` block; an exception drops them all.

        It belongs to the thread that began it, and holds the writer lock throughout. Reads and searches go
        on seeing what was committed before. Memory doesn't grow with what is added.

        Raises
        ------
        TransactionError, IndexLockedError
            Inside another transaction; if another writer works for longer than ``timeout`` seconds.
        """
        return self._transactions.of_this_thread(timeout)

    def add(
        self,
        ids: Sequence[str],
        embeddings: TokenEmbeddings | Any,
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
        embeddings: TokenEmbeddings | Any | None = None,
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
        return self._transactions.change(change, timeout)

    @property
    def in_transaction(self) -> bool:
        """Whether this thread is inside `transaction`."""
        return self._transactions.joined is not None

    def next_number(self) -> int:
        """A number that no document was ever inserted under, for ids that count."""
        if (writer := self._transactions.joined) is not None:
            return writer.next_number()
        with self._views.catalogue.reading() as connection:
            passages = self._snapshot().has_passages
            return last_source(connection) if passages else last_row(connection)

    def build(
        self,
        *,
        force: bool = False,
        retrain: bool = False,
        expected_tokens: int = 0,
        memory: str | int = "2GB",
        progress: BuildProgress | None = None,
        timeout: float = 30.0,
    ) -> bool:
        """Compress what was added since the last time, if it is much.

        Searches go on meanwhile and see the documents throughout; others may add. What is done is committed
        by and by: an interrupted build goes on where it was. An index of fewer than 4,096 vectors or 64
        documents stays exact, forced or not.

        Parameters
        ----------
        force
            Also if it is little.
        retrain
            Train another codec, on everything, and encode everything with it, from float16 or int8 vectors.
        expected_tokens
            How many vectors the index is going to have, if more are to be added.
        memory
            What training and encoding may use, beside the library: ``"2GB"``, ``"500MB"``, a number of bytes;
            64 MiB at least. With less than it wants, sample and segments are smaller.
        progress
            Called now and then with a phase, ``"train"`` or ``"encode"``, what is done and what there is to
            do (steps; vectors).
        timeout
            Seconds to wait for another writer, each time something is committed.

        Returns
        -------
        bool
            Whether anything was compressed. Without ``force`` also False if another build is going on.

        Raises
        ------
        InvalidInputError
            If ``memory`` isn't an amount, or ``retrain`` is asked of a compact index, which keeps no vectors.
        IndexLockedError, IndexWriteError
            If another writer, or with ``force`` another build, takes too long; if the disk is full.
        """
        self._transactions.refuse("build()")
        return self._upkeep.compress(
            force=force,
            retrain=retrain,
            expected_tokens=expected_tokens,
            memory=memory,
            progress=progress,
            timeout=timeout,
        )

    def run_upkeep(self, *, replaces: bool, memory: str | int = "2GB") -> RunUpkeep:
        """What compresses while one run adds many documents, in many commits; see `RunUpkeep`."""
        return RunUpkeep(self._upkeep, self._views, replaces=replaces, memory=memory)

    def merge(self, *, retrain: bool | None = None, memory: str | int = "2GB", timeout: float = 30.0) -> bool:
        """Tidy up: few large segments, nothing dead on disk, and what is due compressed.

        Neighbouring segments of one kind become as large as segments may be, and lose their dead documents.
        Vectors and codes are copied as they are, ids, keys and the order stay. Rows of dead documents are
        deleted and the catalogue gives their space back. What an open index, in any process, still reads
        stays until it goes on; searches and additions go on meanwhile. An interrupted merge loses nothing.

        Adding and deleting merge by themselves what is small; this does the rest. Another codec is trained if
        the index has 16 times the vectors that the codec was made for, which makes searches slow; or if
        some of what was compressed lost half as much again as what the codec was trained on, and a
        measurement (50 queries made from such documents) finds less than the recall that the index was tuned
        for, or than .95.

        Parameters
        ----------
        retrain
            True trains another codec in any case, False in none. A compact index keeps no vectors to encode
            anew.
        memory, timeout
            As for `build`.

        Returns whether any segment was rewritten.

        Raises
        ------
        TransactionError, InvalidInputError, IndexLockedError, IndexWriteError
            Inside a transaction; if ``retrain`` is asked of a compact index; if another takes longer than
            ``timeout``; if the disk is full. What was committed stays.
        """
        self._transactions.refuse("merge()")
        done = self._upkeep.compress(retrain=retrain is True, memory=memory, timeout=timeout)
        if retrain is None:
            done |= self._upkeep.renew_codec(memory=memory, timeout=timeout)
        return self._upkeep.merge(memory=memory, timeout=timeout) or done

    def estimate(self, n_tokens: int, n_documents: int) -> Estimate:
        """What an index of this tier takes with so many vectors of so many documents; rough, and cheap."""
        return estimate_size(n_tokens, n_documents, self.dim, self.tier)

    def measure_recall(
        self,
        queries: TokenEmbeddings | None = None,
        k: int | SearchParams = 10,
        *,
        sample: int = 100,
        store: bool = True,
    ) -> Recall:
        """Compare searches with exact ones.

        Parameters
        ----------
        queries
            What people will ask; without them, pieces of stored documents, which are easier: see
            `draw_queries <lfm2_retrieval.indexes.tuning.recall.draw_queries>`.
        k, sample
            How many hits to compare, or how to search; and how many queries at most.
        store
            Whether to keep the result in the settings, under ``recall``.

        Raises
        ------
        InvalidInputError
            If there is no query, or the index is empty.
        """
        params = k if isinstance(k, SearchParams) else SearchParams(k)
        content, result = self.at_once(
            lambda held: (held.content_id, held._measurement(queries, sample).recall(params))
        )
        if store:
            self._store({"recall": result.to_json()}, content)
        return result

    def tune(
        self,
        target_recall: float = 0.98,
        k: int = 10,
        *,
        queries: TokenEmbeddings | None = None,
        sample: int = 100,
        on_progress: Callable[[str], None] = lambda _: None,
    ) -> Tuning:
        """Find the fastest way to search that reaches a recall on this machine, and make it the default.

        Where none reaches it, the one with the highest recall is made the default; the result says so. Where
        nothing is compressed there is nothing to tune: every search is exact, and only that is stored.

        Parameters
        ----------
        target_recall
            Above 0, at most 1.
        k, queries, sample
            As for `measure_recall`. A ``k`` beyond the collection asks for all of it.
        on_progress
            Told what goes on.

        Raises
        ------
        InvalidInputError
            If the target isn't above 0 and at most 1, there is no query, or the index is empty.
        """
        if not 0 < target_recall <= 1:
            raise InvalidInputError(f"target_recall must be above 0 and at most 1, not {target_recall!r}")

        content, (tuning, settings) = self.at_once(
            lambda held: (
                held.content_id,
                held._measurement(queries, sample).tune(k, target_recall, on_progress),
            )
        )
        self._store(settings, content)
        return tuning

    def close(self) -> None:
        """Close the index; remove it if it is temporary. Closing again does nothing."""
        super().close()
        if self._temporary is not None:
            self._temporary.cleanup()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by its path, and so copied, too: the copy opens it anew and reads the newest commit."""
        self._transactions.refuse("copying or pickling an index")
        if self._temporary is not None:
            raise InvalidTypeError(
                "a temporary index can't be copied or pickled, as it goes with the object that made it: "
                "make it in a folder, with path="
            )
        self._snapshot()  # refuses where it is closed
        return partial(type(self).open, auto_refresh=self._views.auto_refresh), (str(self.path),)

    def _measurement(self, queries: TokenEmbeddings | None, sample: int) -> Measurement:
        view = self._views.seen()
        return Measurement(view.searcher, view.snapshot, queries, sample)

    def _store(self, settings: Mapping[str, Any], content: str | None) -> None:
        """Keep what was measured of this content."""
        self._transactions.refuse("storing a measurement")
        with self.writer() as writer:
            if writer.settings.get(CONTENT) != content:
                raise StoredIndexError(
                    f"{self.path} was overwritten while it was measured, so nothing was stored: measure again"
                )
            writer.set(settings)
