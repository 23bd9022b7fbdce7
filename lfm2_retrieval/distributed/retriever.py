"""A retriever over the shards of a collection."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, cast

from ..datatypes import Document
from ..encoder import Encoder, Precision
from ..errors import InvalidInputError, StoredIndexError
from ..frames import collected, iter_records
from ..indexes import Index, OnConflict, Where, WriterLock, check_ids, known_ids, parse_where, unknown_ids
from ..keywords import check_keywords
from ..platform.threads import by_own_threads, check_threads
from ..records import Draft, Source, as_mapping, check_columns
from ..retriever.batches import batches, refuse_one
from ..retriever.change_run import ChangeCounts, parse_update
from ..retriever.own_encoder import ModelChoice
from ..retriever.reading import ReadingRetriever
from .calls import LocalShards, Shards
from .index import ShardedIndex
from .manifest import Manifest, manifest_path
from .routing import by_shard

__all__ = ["ShardedRetriever"]

T = TypeVar("T")
_BATCH = 256
_LOCK = "lock"
"""Held by whoever adds documents: their numbers and places are given in the whole collection."""


class ShardedRetriever(ReadingRetriever):
    """Search in a collection of shards as in one index; made by :meth:`open`, shared by any threads.

    What is read is of one commit of each shard: those of the opening, of the last `refresh`, or of its own
    last change. A change is one commit in each shard that it concerns, and no more: what a kill interrupts
    may be done in some of them. The same call again, with ``on_conflict="replace"`` or ``missing_ok=True``,
    does the rest.

    Attributes
    ----------
    store
        The shards as one index.
    """

    def __init__(self, store: ShardedIndex, load: Callable[[], Encoder], threads: int | None = None) -> None:
        super().__init__(cast(Index, store), load, threads)
        self._shards = store

    @classmethod
    @check_keywords("ShardedRetriever.open")
    def open(
        cls,
        manifest: str | os.PathLike[str],
        *,
        address: str | None = None,
        replicas: int = 1,
        hedge_after: float | None = None,
        allow_partial: bool = False,
        model: str | Path | Encoder | None = None,
        trust_model: bool = False,
        device: str = "auto",
        dtype: Precision = "auto",
        auto_refresh: bool = False,
        threads: int | None = None,
    ) -> ShardedRetriever:
        """Open a collection.

        Parameters
        ----------
        manifest
            Its manifest, or the folder that holds it.
        address
            Of a Ray cluster whose nodes see that folder under the same path: each shard is searched by an
            actor there. ``"local"`` starts one on this machine, ``"auto"`` takes the one that runs here.
            None: the shards are searched in this process, without Ray.
        replicas
            How many actors each shard has, on different nodes where there are as many.
        hedge_after
            Seconds after which a search that one replica hasn't answered is asked of another, too; by
            default 1.
        allow_partial
            Whether a search goes on without shards that don't answer; ``Hits.missing_shards`` says which.
        model, trust_model, device, dtype, threads
            As for :meth:`Retriever.open`.
        auto_refresh
            Look for newer commits before a call, once a second at most.

        Raises
        ------
        IndexNotFoundError, NewerFormatError, DamagedIndexError
            If there is no manifest, or a shard is missing, newer or damaged.
        ShardMismatchError
            If shards don't belong together: other models, other codecs, an exchanged or an old folder.
        ClusterError, MissingExtraError
            If the address doesn't answer, its nodes lack this package, or Ray isn't installed here.
        """
        check_threads(threads)
        file = manifest_path(manifest)
        read, folder = Manifest.read(file), file.parent
        choice = ModelChoice(model, trust_model, device, dtype)
        holder: list[ShardedRetriever] = []
        shards: Shards
        if address is None:
            if replicas != 1:
                raise InvalidInputError("replicas= are actors of Ray: give address=, too")
            shards = LocalShards(folder, read, lambda: holder[0].encoder, allow_partial=allow_partial)
        else:
            from .actors import RayShards

            shards = RayShards(folder, read, choice, address, replicas=replicas, hedge_after=hedge_after)
        try:
            store = ShardedIndex(folder, read, shards, allow_partial=allow_partial, auto_refresh=auto_refresh)
        except BaseException:
            shards.close()
            raise
        opened = cls(store, lambda: choice.of(folder, read.encoder), threads)
        holder.append(opened)
        return opened

    @property
    def commits(self) -> tuple[int | None, ...]:
        """The number of the commit that is read of each shard."""
        return self._shards.commits

    @property
    def missing_shards(self) -> tuple[str, ...]:
        """The shards that don't answer, by their paths in the collection's folder."""
        return self._shards.missing_shards

    @by_own_threads
    def add(
        self,
        documents: Iterable[Source],
        *,
        on_conflict: OnConflict = "error",
        text: str | None = None,
        id: str | None = None,
        metadata: Sequence[str] | None = None,
        batch_size: int = _BATCH,
        timeout: float = 30.0,
    ) -> ChangeCounts:
        """Encode documents and add them to the shards that their ids say, in one commit of each.

        All of them are held in memory, and checked against all shards before anything is written. Of several
        calls at once, in whatever processes, each waits for the one before it.

        Parameters
        ----------
        documents, on_conflict, text, id, metadata, batch_size, timeout
            As for :meth:`Retriever.add`.

        Raises
        ------
        DuplicateIdError, InvalidInputError, ModelMismatchError, IndexLockedError, IndexWriteError
            As for :meth:`Retriever.add`. A note says which shards have their part by then.
        """
        if on_conflict not in ("error", "replace", "skip"):
            raise InvalidInputError(f"on_conflict must be 'error', 'replace' or 'skip', not {on_conflict!r}")
        refuse_one(documents)
        taken: set[str] = set()
        stream = batches(documents, batch_size, taken, None, check_columns(text, id, metadata))
        drafts = [draft for batch in stream for draft in batch]
        if not drafts:
            return ChangeCounts()
        with WriterLock(self._shards.path / _LOCK, timeout):
            return self._add(drafts, taken, on_conflict, timeout)

    def _add(
        self, drafts: Sequence[Draft], taken: Collection[str], on_conflict: OnConflict, timeout: float
    ) -> ChangeCounts:
        """Add documents, while nobody else gives numbers and places in this collection."""
        self._shards.refresh()
        if on_conflict == "error" and (known := self._known(sorted(taken))):
            raise known_ids(sorted(known))
        first = self._shards.last_number
        ids = self._numbered([draft.id for draft in drafts], first)
        numbers = {name: place for place, name in enumerate(ids, first + 1)}
        whole = [_document(draft, name) for draft, name in zip(drafts, ids, strict=True)]
        new = {name for name, draft in zip(ids, drafts, strict=True) if draft.id is None}
        calls = {}
        for number, mine in by_shard(whole, ids, self._shards.n_shards).items():
            names = [one.id for one in mine]
            own = {name: numbers[name] for name in names}
            calls[number] = mine, own, [name for name in names if name in new], on_conflict, timeout
        return self._sum(self._write("add", calls))

    @by_own_threads
    def update(
        self,
        documents: Iterable[Source],
        *,
        text: str | None = None,
        id: str | None = None,
        metadata: Sequence[str] | None = None,
        timeout: float = 30.0,
    ) -> ChangeCounts:
        """Change documents, in one commit of each shard that has some of them.

        Parameters
        ----------
        documents, text, id, metadata, timeout
            As for :meth:`Retriever.update`.

        Raises
        ------
        UnknownIdError
            If no shard holds an id; then nothing is changed.
        InvalidInputError, DuplicateIdError, ModelMismatchError, IndexLockedError, IndexWriteError
            As for :meth:`Retriever.add`.
        """
        columns = check_columns(text, id, metadata)
        refuse_one(documents)
        given = [_plain(one) for one in iter_records(collected(documents))]
        seen: set[str] = set()
        wanted = [parse_update(one, place, columns, seen) for place, one in enumerate(given)]
        ids = [one.id or "" for one in wanted]
        known = self._known(ids)
        if missing := [one for one in ids if one not in known]:
            raise unknown_ids(missing, "add() adds documents")
        calls = {
            number: (mine, columns, timeout)
            for number, mine in by_shard(given, ids, self._shards.n_shards).items()
        }
        return self._sum(self._write("update", calls))

    def delete(
        self,
        ids: str | Sequence[str] | None = None,
        *,
        where: Where | None = None,
        all: bool = False,
        missing_ok: bool = False,
        timeout: float = 30.0,
    ) -> int:
        """Delete documents by id, by filter or all, in one commit of each shard that has some of them.

        Parameters
        ----------
        ids, where, all, missing_ok, timeout
            As for :meth:`Retriever.delete`.

        Raises
        ------
        UnknownIdError
            If no shard holds an id, unless ``missing_ok``; then nothing is deleted.
        InvalidInputError, IndexLockedError, IndexWriteError
            As for :meth:`Retriever.delete`.
        """
        if (ids is not None) + (where is not None) + bool(all) != 1:
            raise InvalidInputError("delete takes either ids, where= or all=True")
        if ids is None:
            if where is not None:
                parse_where(where)
            numbers = range(self._shards.n_shards)
            return sum(self._write("delete", dict.fromkeys(numbers, (None, where, all, missing_ok, timeout))))
        wanted = [ids] if isinstance(ids, str) else check_ids(ids)
        known = self._known(wanted)
        if (missing := [one for one in wanted if one not in known]) and not missing_ok:
            raise unknown_ids(missing, "missing_ok=True passes over them")
        there = list(dict.fromkeys(one for one in wanted if one in known))
        calls = {
            number: (mine, None, False, missing_ok, timeout)
            for number, mine in by_shard(there, there, self._shards.n_shards).items()
        }
        return sum(self._write("delete", calls))

    def merge(self) -> None:
        """Tidy up every shard, see :meth:`Retriever.merge`; all keep their common codec."""
        self._shards.merge()

    def _known(self, ids: Sequence[str]) -> set[str]:
        """Those of some ids that the newest commits have."""
        asked = {number: (mine,) for number, mine in by_shard(ids, ids, self._shards.n_shards).items()}
        answers = self._shards.shards.ask("newest_ids", asked)
        return set().union(*answers.values())

    def _numbered(self, ids: Sequence[str | None], first: int) -> list[str]:
        """Ids, with numbers for those that are missing, as one index gives them."""
        taken = {one for one in ids if one is not None}
        while True:
            names = [str(number) for number, one in enumerate(ids, first) if one is None]
            used = self._known(names) | {name for name in names if name in taken}
            if not used:
                break
            first += max(map(int, used)) + 1 - first
        free = iter(names)
        return [next(free) if one is None else one for one in ids]

    def _write(self, method: str, calls: Mapping[int, tuple[Any, ...]]) -> list[Any]:
        """Call what changes some shards, one after the other, and go on to their new commits."""
        done: dict[int, Any] = {}
        try:
            for number, args in calls.items():
                done |= self._shards.shards.ask(method, {number: args})
        except BaseException as error:
            if done:
                paths = ", ".join(self._shards.manifest.shards[number].path for number in done)
                error.add_note(
                    f"the part of the call that concerns {paths} is committed; the same call again, with "
                    "on_conflict='replace' or missing_ok=True, does the rest"
                )
            raise
        finally:
            self._shards.refresh()
        return list(done.values())

    @staticmethod
    def _sum(counts: Sequence[ChangeCounts]) -> ChangeCounts:
        total = ChangeCounts()
        for one in counts:
            total = total.plus(one)
        return total

    def __reduce__(self) -> tuple[Any, ...]:
        raise StoredIndexError(
            "an open collection can't be copied or pickled: open it again, with ShardedRetriever.open"
        )

    def __copy__(self) -> ShardedRetriever:
        return self.__reduce__()  # type: ignore[return-value]


def _document(draft: Draft, id: str) -> Document:
    """A draft as a document with its id."""
    if draft.document is None:
        return Document(id, draft.text, draft.metadata)
    return replace(draft.document, id=id, text=draft.text, metadata=draft.metadata)


def _plain(source: Source) -> Any:
    """A row that any process can read."""
    row = None if isinstance(source, Document) else as_mapping(source)
    return source if row is None else dict(row)
