"""All shards of a collection as one index, to be read."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np

from ..datatypes import By, Hit, Hits, Mode, SearchParams, TokenEmbeddings
from ..errors import ClusterError, IndexClosedError, InvalidInputError, StoredIndexError, remedy
from ..indexes import (
    CommitGoneError,
    Entry,
    HeldDocument,
    Search,
    StoredDocument,
    Tier,
    Where,
    choose_all,
    find,
    parse_where,
    thresholds,
    warn_of,
)
from ..platform.threads import using
from .calls import Shards, check_states
from .lists import ShardedLists
from .manifest import Manifest
from .routing import by_shard, shard_of
from .shard import ShardState

__all__ = ["ShardedIndex", "ShardedSources"]

T = TypeVar("T")

_ATTEMPTS = 5
_LOOK_SECONDS = 1.0
_AT_ONCE = 64
_PAGE = 100


class ShardedIndex:
    """The shards of a collection, read at one commit of each: what `IndexReader` is of one index.

    Parameters
    ----------
    folder, manifest
        Of the collection.
    shards
        Its shards.
    allow_partial
        Whether shards may be missing.
    auto_refresh
        Whether to look for newer commits before a call, once a second at most.
    """

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        shards: Shards,
        *,
        allow_partial: bool = False,
        auto_refresh: bool = False,
    ) -> None:
        self.path = folder
        self.manifest = manifest
        self.shards = shards
        self.allow_partial = allow_partial
        self._auto_refresh = auto_refresh
        self._held = False
        self._closed = False
        self._known_fields: set[str] = set()
        self._lost: set[int] | None = set() if allow_partial else None
        self._states: dict[int, ShardState] = {}
        self.refresh()

    @property
    def n_shards(self) -> int:
        """How many shards the collection has."""
        return len(self.manifest.shards)

    def refresh(self) -> bool:
        """Go on to the newest commit of each shard; whether there was a newer one."""
        self._check_open()
        before = self.commits
        lost: set[int] | None = set() if self.allow_partial else None
        states = self.shards.ask("state", dict.fromkeys(range(self.n_shards), ()), lost)
        if not states:
            raise ClusterError(f"{self.path}: none of the {self.n_shards} shards answers")
        check_states(self.path, self.manifest, states)
        self._states, self._lost, self._looked = states, lost, time.monotonic()
        return self.commits != before

    @property
    def commits(self) -> tuple[int | None, ...]:
        """The number of the commit that is read of each shard; None of one that is missing."""
        states = [self._states.get(number) for number in range(self.n_shards)]
        return tuple(None if state is None else state.commit for state in states)

    @property
    def commit(self) -> int:
        """A number that rises with every commit of any shard: the sum of theirs."""
        return sum(state.commit for state in self._states.values())

    @property
    def missing_shards(self) -> tuple[str, ...]:
        """The paths of shards that don't answer, which only ``allow_partial`` allows."""
        return tuple(self.manifest.shards[number].path for number in sorted(self._lost or ()))

    def at_once(self, read: Callable[[Self], T]) -> T:
        """What some function reads in several calls, all of them of one commit of each shard."""
        self._check_open()
        if self._held:
            return read(self)
        if self._auto_refresh and time.monotonic() > self._looked + _LOOK_SECONDS:
            self.refresh()
        for _ in range(_ATTEMPTS):
            held = object.__new__(type(self))
            held.__dict__.update(self.__dict__)
            held._held = True
            held._lost = None if self._lost is None else set(self._lost)
            try:
                return read(held)
            except CommitGoneError:  # a shard was opened anew since, or keeps no commit that old
                self.refresh()
        raise StoredIndexError(f"{self.path}: shards change faster than they are read: try again")

    def ask(self, method: str, args: Mapping[int, tuple[Any, ...]]) -> dict[int, Any]:
        """Call a method of shards; the commit that is read comes before the arguments."""
        self._check_open()
        there = {number: some for number, some in args.items() if number in self._states}
        if self._lost is None and len(there) < len(args):
            raise ClusterError(f"{self.path}: shards are missing")
        known: dict[tuple[int, int], tuple[Any, ...]] = {}  # what is the same for many is one object
        called: dict[int, tuple[Any, ...]] = {}
        for number, some in there.items():
            commit = self._states[number].commit
            called[number] = known.setdefault((commit, id(some)), (commit, *some))
        return self.shards.ask(method, called, self._lost)

    def ask_all(self, method: str, *args: Any) -> dict[int, Any]:
        """Call a method of all shards."""
        return self.ask(method, dict.fromkeys(range(self.n_shards), args))

    def search(
        self,
        queries: TokenEmbeddings | Any | None,
        k: int | SearchParams = 10,
        *,
        where: Where | None = None,
        texts: Sequence[str] | None = None,
    ) -> list[list[Hit]]:
        """The best documents of each query, as `IndexReader.search` finds them in one index of all shards."""
        params = k if isinstance(k, SearchParams) else SearchParams(k)
        if queries is not None:
            queries = TokenEmbeddings.of(queries, self.manifest.dim)
        condition = None if where is None else parse_where(where)
        n_queries = len(texts or ()) if queries is None else len(queries)
        step = max(n_queries, 1) if params.mode is Mode.DENSE or texts is None else _AT_ONCE

        def read(held: ShardedIndex) -> list[list[Hit]]:
            named = [] if condition is None else list(condition.fields())
            held._check_fields([*named, *([params.group_by] if params.group_by else [])])
            found: list[list[Hit]] = []
            for first in range(0, n_queries, step):
                chosen = np.arange(first, min(first + step, n_queries))
                some = None if queries is None else queries.select(chosen)
                found += held._search(some, params, where, texts and texts[first : first + step])
            return found

        with using(params.threads):
            return self.at_once(read)

    def _search(
        self,
        queries: TokenEmbeddings | None,
        params: SearchParams,
        where: Where | None,
        texts: Sequence[str] | None,
    ) -> list[list[Hit]]:
        n_queries = len(texts or ()) if queries is None else len(queries)
        by_document = params.by is By.DOCUMENT and self.manifest.passages is not None
        limits = thresholds(params, queries, self.settings, self.path, n_queries)
        grouped = params.group_by is not None or by_document
        lists = ShardedLists(self, queries, texts, params, where, with_hits=not grouped)
        chosen = choose_all(
            Search(
                params,
                limits,
                self.count_passages(where) if grouped else 0,
                by_document,
                lambda depth: find(lists, lists.deep(depth)),
                lists.hits,
                lists.documents,
            )
        )
        lengths = [0] * n_queries if queries is None else queries.lengths.tolist()
        hits = lists.scored(chosen, lengths)
        answered = Hits()
        answered.missing_shards = self.missing_shards
        return [Hits.like(some, answered) for some in hits]

    def rerank(self, queries: TokenEmbeddings | Any, ids: Sequence[Sequence[str]]) -> list[list[Hit]]:
        """Documents found elsewhere, in the order of their MaxSim; see `IndexReader.rerank`."""
        vectors = TokenEmbeddings.of(queries, self.manifest.dim)
        if len(ids) != len(vectors):
            raise InvalidInputError(f"there are {len(vectors)} queries, but {len(ids)} lists of ids")

        def read(held: ShardedIndex) -> list[list[Hit]]:
            asked: dict[int, list[list[str]]] = {}
            for i, some in enumerate(ids):
                for number, mine in by_shard(list(some), map(held.home, some), held.n_shards).items():
                    asked.setdefault(number, [[] for _ in ids])[i] = mine
            answers = held.ask("named", {number: (vectors, lists) for number, lists in asked.items()})
            lists = ShardedLists(held, vectors, None, SearchParams(), None)
            return lists.ranked(answers, vectors.lengths.tolist())

        return self.at_once(read)

    def home(self, id: str) -> str:
        """The id that a document's or a passage's place goes by."""
        if self.manifest.passages is None or "#" not in id:
            return id
        document, _, number = id.rpartition("#")
        return document if number.isdigit() else id

    def embeddings(self, ids: Sequence[str]) -> TokenEmbeddings:
        """The vectors of some documents as stored, float32, in the order of ``ids``."""
        if not ids:
            return TokenEmbeddings(np.empty((0, self.manifest.dim), np.float32), np.zeros(1, np.int64))

        def read(held: ShardedIndex) -> TokenEmbeddings:
            places = by_shard(range(len(ids)), map(held.home, ids), held.n_shards)
            answers = held.ask(
                "embeddings", {number: ([ids[i] for i in some],) for number, some in places.items()}
            )
            together = TokenEmbeddings.concatenate(answers.values())
            order = np.argsort(np.concatenate([places[number] for number in answers]), kind="stable")
            return together.select(order)

        return self.at_once(read)

    def get_many(self, ids: Sequence[str]) -> list[Entry | None]:
        """The documents, or passages, under some ids, in their order; None where there is none."""
        return self._by_id("read", ids, self.home, "get_many")

    def get(self, id: str) -> Entry | None:
        """The document, or passage, under an id, or None."""
        return self.get_many([id])[0]

    def _by_id(self, method: str, ids: Sequence[str], home: Callable[[str], str], *args: Any) -> list[Any]:
        def read(held: ShardedIndex) -> list[Any]:
            places = by_shard(range(len(ids)), map(home, ids), held.n_shards)
            asked = {number: (*args, [ids[i] for i in some]) for number, some in places.items()}
            found: list[Any] = [None] * len(ids)
            for number, some in held.ask(method, asked).items():
                for i, one in zip(places[number], some, strict=True):
                    found[i] = one
            return found

        return self.at_once(read)

    def count_passages(self, where: Where | None = None) -> int:
        """How many documents or passages may be found, or how many of them meet a filter."""
        if where is None:
            return len(self)
        return sum(self.at_once(lambda held: held.ask_all("read", "count", where)).values())

    def _check_fields(self, names: Sequence[str]) -> None:
        """Warn of fields that no document of any shard has; once a field."""
        new = [name for name in dict.fromkeys(names) if name not in self._known_fields and name != "id"]
        if not new or not len(self):
            return
        self._known_fields.update(new)
        answers = self.ask_all("missing_fields", new).values()
        missing = [name for name in new if all(name in lacking for lacking, _ in answers)]
        warn_of(missing, list(dict.fromkeys(name for _, names in answers for name in names)))

    @property
    def sources(self) -> ShardedSources:
        """The documents as they were given."""
        return ShardedSources(self)

    def documents(self, where: Where | None = None) -> Iterator[StoredDocument]:
        """All documents, or those that meet a filter, in order of insertion."""
        return self.sources.documents(where)

    def __len__(self) -> int:
        return sum(state.n_found for state in self._states.values())

    @property
    def n_tokens(self) -> int:
        """How many vectors the documents have."""
        return sum(state.n_tokens for state in self._states.values())

    @property
    def last_number(self) -> int:
        """The highest number that a document of any shard has or had."""
        return max(state.last for state in self._states.values())

    @property
    def tier(self) -> Tier:
        """What the shards are compressed to."""
        return Tier(self.manifest.tier)

    @property
    def settings(self) -> dict[str, Any]:
        """What the shards have in common; ``uuid`` is the collection's."""
        states = list(self._states.values())
        first = states[0].settings
        common = {
            name: value
            for name, value in first.items()
            if all(state.settings.get(name) == value for state in states)
        }
        return {**common, "uuid": self.manifest.uuid}

    def verify(self) -> None:
        """Read every byte of every shard, and see that every document lies where it belongs.

        Raises
        ------
        DamagedIndexError, StoredIndexError
            Naming what is damaged, or lies in another shard than its id says.
        """
        answers = self.shards.ask(
            "tend", {number: ("verify", self.n_shards, number) for number in range(self.n_shards)}
        )
        for number, ids in answers.items():
            if ids:
                raise self.misrouted(ids[0], number)

    def misrouted(self, id: str, number: int) -> StoredIndexError:
        """The error for a document that lies in another shard than its id says."""
        path = self.path / self.manifest.shards[number].path
        right = shard_of(id, self.n_shards)
        delete = remedy(
            f"Retriever.open({str(path)!r}).delete({id[:80]!r})", f"lfm2-retrieve delete {path} {id[:80]}"
        )
        return StoredIndexError(
            f"the document {id[:80]!r} lies in shard {number}, and by its id it belongs in shard {right}: it "
            f"was added to the shard itself; {delete}, and add it to the collection"
        )

    def merge(self) -> None:
        """Tidy up each shard, see `Index.merge`; the codec stays."""
        self.shards.ask("tend", {number: ("merge", self.n_shards, number) for number in range(self.n_shards)})
        self.refresh()

    def close(self) -> None:
        """Close the shards. Closing again does nothing."""
        self._closed = True
        self.shards.close()

    def _check_open(self) -> None:
        if self._closed:
            raise IndexClosedError(f"the collection {self.path} is closed: open it again")


class ShardedSources:
    """Whole documents of all shards; what `Sources` is of one index.

    Parameters
    ----------
    index
        The shards.
    """

    def __init__(self, index: ShardedIndex) -> None:
        self._index = index

    def get(self, id: str) -> StoredDocument | None:
        """The document under an id, or None."""
        return self.get_many([id])[0]

    def get_many(self, ids: Sequence[str]) -> list[StoredDocument | None]:
        """The documents under some ids, in their order; None where there is none."""
        return self._index._by_id("stored", ids, lambda id: id)

    def held(self, id: str) -> HeldDocument | None:
        """A document of a collection of passages with its passages, or None."""
        number = shard_of(id, self._index.n_shards)
        held: HeldDocument | None = self._index.at_once(
            lambda index: index.ask("sources", {number: ("held", id)}).get(number)
        )
        return held

    def count(self, where: Where | None = None) -> int:
        """How many documents there are, or how many meet a filter."""
        return sum(self._index.at_once(lambda held: held.ask_all("sources", "count", where)).values())

    def ids(self, where: Where | None = None) -> list[str]:
        """The ids of all documents, or of those that meet a filter, in order of insertion."""
        return [document.id for document in self.documents(where)]

    def documents(self, where: Where | None = None) -> Iterator[StoredDocument]:
        """All documents, or those that meet a filter, in order of insertion, read some at a time."""
        held = self._index.at_once(lambda index: index)
        streams = [self._stream(held, number, where) for number in range(held.n_shards)]
        return (document for _, document in heapq.merge(*streams, key=lambda one: one[0]))

    @staticmethod
    def _stream(
        index: ShardedIndex, number: int, where: Where | None
    ) -> Iterator[tuple[int, StoredDocument]]:
        after = 0
        while page := index.ask("page", {number: (after, _PAGE, where)}).get(number, []):
            yield from ((key * index.n_shards + number, document) for key, document in page)
            after = page[-1][0]

    def page(
        self, limit: int, *, after: int = 0, where: Where | None = None
    ) -> tuple[list[StoredDocument], int | None]:
        """Some documents in order of insertion, see `Sources.page`."""

        def read(held: ShardedIndex) -> tuple[list[StoredDocument], int | None]:
            n = held.n_shards
            asked = {number: ((after - number) // n, limit + 1, where) for number in range(n)}
            streams = [
                [(key * n + number, document) for key, document in page]
                for number, page in held.ask("page", asked).items()
            ]
            found = list(heapq.merge(*streams, key=lambda one: one[0]))[: limit + 1]
            more = found[limit - 1][0] if len(found) > limit else None
            return [document for _, document in found[:limit]], more

        return self._index.at_once(read)
