"""Reading by a retriever: searches in an index, with the model that made its vectors, and its documents."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, Unpack, overload

from ..datatypes import (
    By,
    Document,
    Fusion,
    Hit,
    Hits,
    Mode,
    SearchOptions,
    SearchParams,
    TokenEmbeddings,
)
from ..display.html import html_table
from ..documents import Passages
from ..encoder import Encoder
from ..errors import IndexClosedError, InvalidInputError, InvalidTypeError, ModelMismatchError
from ..indexes import Entry, Index, Where, check_ids, parse_where
from ..keywords import check_keywords, shown_as
from ..platform.threads import by_own_threads, check_threads, using
from ..records import Source
from .explain import explained
from .own_encoder import OwnEncoder, recorded_of
from .query_batches import QueryBatches
from .reranking import check_query, read_texts, rerank_texts
from .splitting import recorded_passages, restored
from .tools import as_tool

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["ReadingRetriever"]

T = TypeVar("T")


class ReadingRetriever:
    """An index and the model that made its vectors, to search in and to read from; any threads may share it.

    What is read is of one commit: that of the opening, of the last `refresh`, or of the retriever's own last
    change.

    Parameters
    ----------
    store
        The index.
    load
        Loads its model, when it is first needed.
    threads
        How many threads may work on a call that doesn't say; see :meth:`open`.

    Attributes
    ----------
    store
        The index with its documents.
    threads
        As given.
    """

    def __init__(self, store: Index, load: Callable[[], Encoder], threads: int | None = None) -> None:
        self.store = store
        self.threads = check_threads(threads)
        self._own = OwnEncoder(load)
        self._encode_queries: Callable[[Encoder, Sequence[str]], TokenEmbeddings] = Encoder.encode_queries

    def share_queries(self) -> None:
        """From now on encode together what several threads ask at once, as a server's do.

        A query that comes alone is as fast as before. Eight at once take about half of the processor time
        that one by one they do; their vectors may differ in the last bits.
        """
        self._encode_queries = QueryBatches().encode

    def warm_up(self) -> None:
        """Load now what the first search would wait for: the model, and the compiled loops.

        In a new process that is a second or so with a small model, after which the first search is as fast as
        the next. An index without documents has its model loaded and no more.

        Raises
        ------
        ModelMismatchError, UntrustedModelError, ModelNotFoundError, CheckpointError
            As of :attr:`encoder`.
        """
        encoder = self.encoder
        if len(self.store):
            with suppress(InvalidInputError):  # vectors that were made elsewhere can't be explained
                self.search(["?"], explain=True)
        self._encode_queries(encoder, ["?"])  # once more, as libraries were loaded since

    @property
    def encoder(self) -> Encoder:
        """The encoder, loaded at first use.

        Raises
        ------
        ModelMismatchError
            If it is not the one that the index was made with.
        UntrustedModelError
            If the index names another one than :meth:`open` loads without being asked.
        ModelNotFoundError, CheckpointError
            If it can't be loaded.
        """
        try:
            settings = self.store.settings
        except IndexClosedError:
            if self._own.loaded is None:
                raise
            return self._own.loaded
        return self._own.of(self.path, settings)

    @overload
    def search(  # type: ignore[overload-overlap]
        self,
        query: str,
        k: int = 10,
        *,
        where: Where | None = None,
        explain: bool = False,
        **options: Unpack[SearchOptions],
    ) -> Hits: ...

    @overload
    def search(
        self,
        query: Sequence[str],
        k: int = 10,
        *,
        where: Where | None = None,
        explain: bool = False,
        **options: Unpack[SearchOptions],
    ) -> list[Hits]: ...

    @check_keywords("Retriever.search")
    @by_own_threads
    def search(
        self,
        query: str | Sequence[str],
        k: int = 10,
        *,
        where: Where | None = None,
        explain: bool = False,
        mode: Mode | Literal["dense", "lexical", "hybrid"] = Mode.DENSE,
        fusion: Fusion | Literal["rrf", "weighted", "rerank"] = Fusion.RRF,
        weight: float = 0.5,
        rrf_k: int = 60,
        depth: int | None = None,
        group_by: str | None = None,
        group_size: int = 1,
        by: By | Literal["passage", "document"] = By.PASSAGE,
        min_score: float | Literal["auto"] | None = None,
        nprobe: int | None = None,
        candidates: int | None = None,
        rerank: int | None = None,
        exact: bool = False,
        threads: int | None = None,
    ) -> Hits | list[Hits]:
        """The best documents for a query, or for each of several.

        Parameters
        ----------
        query
            A string gives a list of hits; a list of strings, a list of such lists. A query of white space
            finds nothing.
        k
            How many hits at most.
        where
            Look only at documents whose metadata meets this filter, such as ``{"year": {"$gte": 2020}}`` or
            ``"lang = 'de' AND year >= 2020"``; see :mod:`lfm2_retrieval.indexes.filters.where`.
        explain
            Whether hits say which of their tokens answered which of the query's, see ``Hit.matches``. A
            document without text or vectors has no matches. Also in a search by words matches are of vectors.
        mode
            ``"dense"``, ``"lexical"``, which needs no model, or ``"hybrid"``.
        fusion, weight, rrf_k, depth
            Of a hybrid search; these and what follows as for :class:`SearchParams`.
        group_by, group_size
            How many hits may have the same value of a field.
        by
            In an index of passages: whether hits are passages, or ``"document"`` for the best passage of
            each document, with ``Hit.n_matching``: how many more of its passages are among the best 50 of the
            search (4 ``k``, if these are more).
        min_score
            Hits with a lower score are left out; ``"auto"``: as :meth:`tune` learnt.
        nprobe, candidates, rerank, exact, threads
            How hard to search, instead of as the index was tuned.

        Returns
        -------
        list
            :class:`Hits`, a list of :class:`Hit`; of a list of queries, a list of them.

        Raises
        ------
        InvalidInputError
            If an argument can't be used, a query is no string, the filter isn't understood, or words are to
            be searched that the index doesn't keep.
        InvalidTypeError
            If there is no such argument, as a TypeError that names near ones.
        """
        params = SearchParams(
            k,
            mode=mode,
            fusion=fusion,
            weight=weight,
            rrf_k=rrf_k,
            depth=depth,
            group_by=group_by,
            group_size=group_size,
            by=by,
            min_score=min_score,
            nprobe=nprobe,
            candidates=candidates,
            rerank=rerank,
            exact=exact,
            threads=threads,
        )
        if isinstance(query, (bytes, Mapping)) or not isinstance(query, Iterable):
            raise InvalidTypeError(f"a query must be a str or a list of them, not {type(query).__name__}")
        queries = [query] if isinstance(query, str) else list(query)
        for one in queries:
            if not isinstance(one, str):
                raise InvalidTypeError(f"a query must be a str, not {type(one).__name__}")
        asked = [i for i, one in enumerate(queries) if one.strip()]
        results = [Hits() for _ in queries]
        if where is not None and not asked:
            parse_where(where)  # a bad one is an error in any case
        if asked:
            texts = [queries[i] for i in asked]

            def ask(store: Index, encoder: Encoder) -> list[list[Hit]]:
                encoded = self._encode_queries(encoder, texts)
                found = store.search(encoded, params, where=where, texts=texts)
                return explained(store, encoder, encoded, found) if explain else found

            if params.mode is Mode.LEXICAL and not explain:  # without a model
                found = self.store.search(None, params, where=where, texts=texts)
            else:
                with using(params.threads):
                    found = self._ask(ask)
            for i, hits in zip(asked, found, strict=True):
                results[i] = Hits.like(hits, hits)
        return results[0] if isinstance(query, str) else results

    def _ask(self, ask: Callable[[Index, Encoder], T]) -> T:
        """What some function finds in one commit of the index, by the model that this was made with."""
        made_with: list[object] = []

        def read(store: Index) -> T:
            settings = store.settings
            made_with.append(settings.get("encoder"))
            return ask(store, self._own.of(self.path, settings))

        while True:
            try:
                return self.store.at_once(read)
            except ModelMismatchError:
                if self.store.settings.get("encoder") == made_with[-1]:
                    raise  # else the index was encoded anew, or replaced, while its model was loaded

    @overload
    async def asearch(  # type: ignore[overload-overlap]
        self,
        query: str,
        k: int = 10,
        *,
        where: Where | None = None,
        explain: bool = False,
        **options: Unpack[SearchOptions],
    ) -> Hits: ...

    @overload
    async def asearch(
        self,
        query: Sequence[str],
        k: int = 10,
        *,
        where: Where | None = None,
        explain: bool = False,
        **options: Unpack[SearchOptions],
    ) -> list[Hits]: ...

    @check_keywords("Retriever.asearch")
    @shown_as(search)
    async def asearch(self, query: str | Sequence[str], k: int = 10, **options: Any) -> Hits | list[Hits]:
        """:meth:`search` in a thread of its own, so that an event loop goes on meanwhile."""
        search: Callable[..., Hits | list[Hits]] = self.search
        return await asyncio.to_thread(search, query, k, **options)

    @check_keywords("Retriever.rerank")
    @by_own_threads
    def rerank(
        self,
        query: str,
        texts: Iterable[Source] | None = None,
        *,
        ids: Sequence[str] | None = None,
        k: int | None = None,
        explain: bool = False,
        text: str | None = None,
        id: str | None = None,
        metadata: Sequence[str] | None = None,
    ) -> Hits:
        """Put texts, or stored documents, in the order of their MaxSim with a query.

        Parameters
        ----------
        query
            One of white space finds nothing.
        texts
            As for :func:`lfm2_retrieval.rerank`, which needs no index.
        ids
            Instead of texts: documents in the index, or passages of them, scored on the vectors that it
            stores; a document by its best passage. Those without vectors are left out.
        k, explain, text, id, metadata
            As for :func:`lfm2_retrieval.rerank`.

        Raises
        ------
        InvalidInputError
            If not one of ``texts`` and ``ids`` is given, an id is not in the index, or an argument can't be
            used.
        """
        if (texts is None) == (ids is None):
            raise InvalidInputError("rerank takes either texts or ids=")
        check_query(query, k)
        if texts is not None:
            documents = read_texts(texts, text, id, metadata)
            return Hits(rerank_texts(self.encoder, query, documents, k, explain))
        wanted = check_ids([] if ids is None else ids)
        if not query.strip():
            return Hits()

        def ask(store: Index, encoder: Encoder) -> list[Hit]:
            encoded = encoder.encode_queries([query])
            parts, whole = _passages_of(store, wanted)
            ranked = store.rerank(encoded, [parts])[0]
            firsts = {hit.document_id if hit.document_id in whole else hit.id: hit for hit in ranked[::-1]}
            kept = [hit for hit in ranked if any(hit is one for one in firsts.values())]
            found = [[replace(hit, rank=rank) for rank, hit in enumerate(kept[:k], 1)]]
            return (explained(store, encoder, encoded, found) if explain else found)[0]

        return Hits(self._ask(ask))

    def as_tool(
        self,
        name: str = "search_documents",
        description: str | None = None,
        *,
        k: int = 5,
        mode: Mode | Literal["dense", "lexical", "hybrid"] = Mode.DENSE,
        by: By | Literal["passage", "document"] = By.PASSAGE,
    ) -> Callable[..., str]:
        """A search as a function that agents call, such as those of DSPy and smolagents.

        It takes ``query``, ``k`` and ``filter`` (SQL), and returns numbered passages with their ids, sources
        and places as text. Beside name, docstring and annotations it has ``name``, ``description`` and
        ``parameters``, a JSON schema.

        Parameters
        ----------
        name
            An identifier.
        description
            One line: what the documents are, and when to search in them.
        k, mode, by
            How many passages by default, and how to search.
        """
        return as_tool(self, name, description, k=k, mode=mode, by=by)

    def refresh(self) -> bool:
        """Go on to the newest commit of any process; whether there was a newer one."""
        return self.store.refresh()

    def verify(self) -> None:
        """Read every byte and hold it to its checksum; see :meth:`Index.verify`."""
        self.store.verify()

    def get(self, id: str) -> Document | None:
        """What is stored under an id: a document, or else a passage of one; or None."""
        return self.get_many([id])[0]

    def get_many(self, ids: Sequence[str]) -> list[Document | None]:
        """What is stored under some ids, in their order: documents, or else passages; None for nothing."""
        wanted = check_ids(ids)

        def read(store: Index) -> list[Document | None]:
            found: list[Document | None] = [
                None if stored is None else restored(stored) for stored in store.sources.get_many(wanted)
            ]
            left = [i for i, one in enumerate(found) if one is None]
            if left and self._has_passages(store):
                entries = store.get_many([wanted[i] for i in left])
                for i, entry in zip(left, entries, strict=True):
                    found[i] = None if entry is None else _to_document(entry)
            return found

        return self.store.at_once(read)

    def document(self, id: str) -> Document | None:
        """The whole document under an id, such as ``hit.document_id``; or None.

        One that was read from a file is a :class:`~lfm2_retrieval.documents.FileDocument`, with ``source``,
        ``format``, ``structure`` and ``facts``.
        """
        stored = self.store.sources.get(id)
        return None if stored is None else restored(stored)

    def ids(self, where: Where | None = None) -> list[str]:
        """The ids of all documents, or of those that meet a filter, in order of insertion."""
        return self.store.sources.ids(where)

    def count(self, where: Where | None = None) -> int:
        """How many documents there are, or how many meet a filter; of passages, see `n_passages`."""
        return self.store.sources.count(where)

    def documents(self, where: Where | None = None) -> Iterator[Document]:
        """All documents, or those that meet a filter, in order of insertion; of one commit, read in pages."""
        return map(restored, self.store.sources.documents(where))

    def stored_facts(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The id of each document, and what is kept of where it comes from; no text is read."""
        return self.store.sources.facts()

    @property
    def n_documents(self) -> int:
        """How many documents there are, as ``len`` says."""
        return self.store.sources.count()

    @property
    def n_passages(self) -> int:
        """How many passages are searched; where documents aren't split, each counts as one."""
        return len(self.store)

    @property
    def passages(self) -> Passages | None:
        """How documents are split; None where they aren't."""
        return recorded_passages(self.store.settings)

    @staticmethod
    def _has_passages(store: Index) -> bool:
        return store.settings.get("passages") is not None

    def __iter__(self) -> Iterator[Document]:
        return self.documents()

    def __len__(self) -> int:
        return self.store.sources.count()

    def __contains__(self, id: object) -> bool:
        return isinstance(id, str) and self.get(id) is not None

    @property
    def path(self) -> Path:
        """The index's folder."""
        return self.store.path

    def close(self) -> None:
        """Close the index; a temporary one is removed. Closing again does nothing."""
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _repr_html_(self) -> str:
        try:
            held, passages, tokens = len(self), self.n_passages, self.store.n_tokens
        except IndexClosedError:
            return html_table((), [("index", self.path), ("closed", "")])
        recorded = recorded_of(self.store)
        facts: dict[str, Any] = {"index": self.path, "documents": held}
        facts |= {} if self.passages is None else {"passages": passages}
        facts |= {"token vectors": tokens, "tier": self.store.tier}
        return html_table((), [*facts.items(), ("model", recorded.get("name", "not recorded"))])

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.store, self._own.load, self.threads)

    def __copy__(self) -> Self:
        copied = type(self)(*copy.deepcopy((self.store, self._own.load)), self.threads)
        self._own.shared_with(copied._own)
        return copied

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return copy.copy(self)

    def __repr__(self) -> str:
        try:
            held = f"{len(self)} documents"
        except IndexClosedError:
            held = "closed"
        return f"{type(self).__name__}({str(self.path)!r}, {held})"


def _passages_of(store: Index, ids: Sequence[str]) -> tuple[list[str], set[str]]:
    """Ids of passages, with all of those documents that are named as wholes; and these documents."""
    if store.settings.get("passages") is None:
        return list(ids), set()
    held = {id: found for id in dict.fromkeys(ids) if (found := store.sources.held(id)) is not None}
    parts = [[entry.id for entry in held[id].passages] if id in held else [id] for id in ids]
    return list(dict.fromkeys(chain.from_iterable(parts))), set(held)


def _to_document(entry: Entry) -> Document:
    """What an index stores, as a document; without a text, its text is empty."""
    return Document(entry.id, entry.text or "", entry.metadata)
