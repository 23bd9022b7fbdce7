"""Searching and reranking: the half of the facade that asks."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeVar, Unpack, overload

from .datatypes import Fusion, Hit, Hits, Mode, SearchOptions, SearchParams, TokenEmbeddings
from .encoder import DEFAULT_MODEL, Encoder, Precision
from .errors import InvalidInputError, InvalidTypeError, ModelMismatchError
from .explain import matches
from .frames import column_names, iter_records
from .indexes import CompressedIndex
from .indexes.filters import Where, parse_where
from .indexes.rows import check_ids
from .ingest import parsed, refuse_one
from .keywords import check_keywords
from .records import Source, check_columns, check_names, document_of
from .reranking import class_or_instance, rerank_texts

__all__ = ["Searching", "load_encoder"]

T = TypeVar("T")


class Searching(ABC):
    """What a retriever is asked."""

    store: CompressedIndex

    @property
    @abstractmethod
    def encoder(self) -> Encoder:
        """What encodes queries."""

    @abstractmethod
    def _encoder_for(self, settings: Mapping[str, Any]) -> Encoder:
        """What encodes queries for an index of these settings; ModelMismatchError if it made others."""

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
            ``"lang = 'de' AND year >= 2020"``; see :mod:`lfm2_retrieval.indexes.filters`.
        explain
            Whether hits say which of their tokens answered which of the query's, see ``Hit.matches``. A
            document without text or vectors has no matches. Also in a search by words matches are of vectors.
        mode
            ``"dense"``, ``"lexical"``, which needs no model, or ``"hybrid"``.
        fusion, weight, rrf_k, depth
            Of a hybrid search; these and what follows as for :class:`SearchParams`.
        group_by, group_size
            How many hits may have the same value of a field.
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

            def ask(store: CompressedIndex, encoder: Encoder) -> list[list[Hit]]:
                encoded = encoder.encode_queries(texts)
                found = store.search(encoded, params, where=where, texts=texts)
                return _explained(store, encoder, encoded, found) if explain else found

            if params.mode is Mode.LEXICAL and not explain:  # without a model
                found = self.store.search(None, params, where=where, texts=texts)
            else:
                found = self._ask(ask)
            for i, hits in zip(asked, found, strict=True):
                results[i] = Hits(hits)
        return results[0] if isinstance(query, str) else results

    def _ask(self, ask: Callable[[CompressedIndex, Encoder], T]) -> T:
        """What some function finds in one commit of the index, by the model that this was made with."""
        made_with: list[object] = []

        def read(store: CompressedIndex) -> T:
            settings = store.settings
            made_with.append(settings.get("encoder"))
            return ask(store, self._encoder_for(settings))

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
    async def asearch(
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
        min_score: float | Literal["auto"] | None = None,
        nprobe: int | None = None,
        candidates: int | None = None,
        rerank: int | None = None,
        exact: bool = False,
        threads: int | None = None,
    ) -> Hits | list[Hits]:
        """:meth:`search` in a thread of its own, so that an event loop goes on meanwhile."""
        search: Callable[..., Hits | list[Hits]] = self.search
        return await asyncio.to_thread(
            search,
            query,
            k,
            where=where,
            explain=explain,
            mode=mode,
            fusion=fusion,
            weight=weight,
            rrf_k=rrf_k,
            depth=depth,
            group_by=group_by,
            group_size=group_size,
            min_score=min_score,
            nprobe=nprobe,
            candidates=candidates,
            rerank=rerank,
            exact=exact,
            threads=threads,
        )

    @class_or_instance
    @check_keywords("Retriever.rerank")
    def rerank(
        self: Searching | type[Searching],
        query: str,
        texts: Iterable[Source] | None = None,
        *,
        ids: Sequence[str] | None = None,
        text: str | None = None,
        id: str | None = None,
        metadata: Sequence[str] | None = None,
        k: int | None = None,
        explain: bool = False,
        model: str | Path | Encoder | None = None,
        device: str = "auto",
        dtype: Precision = "auto",
    ) -> Hits:
        """Put texts, or stored documents, in the order of their MaxSim with a query.

        ``Retriever.rerank(query, texts, model=…)`` needs no index; give an :class:`Encoder` as the model to
        load it once. ``retriever.rerank(query, …)`` uses the retriever's own.

        Parameters
        ----------
        query
            One of white space finds nothing.
        texts
            Whatever :meth:`index` takes; a string's id is its number. Texts of white space are left out.
        ids
            Instead of texts: documents in the index, scored on the vectors that it stores. Those without
            vectors are left out.
        text, id, metadata
            Which columns of rows are what, as for :meth:`index`.
        k
            How many hits at most; None for all.
        explain
            See :meth:`search`.
        model, device, dtype
            Without an index: as for :meth:`index`.

        Raises
        ------
        InvalidInputError
            If not one of ``texts`` and ``ids`` is given, an id is not in the index, or an argument can't be
            used.
        """
        if (texts is None) == (ids is None):
            raise InvalidInputError("rerank takes either texts or ids=")
        if k is not None:
            SearchParams(k)  # refuses what is no number of hits
        if not isinstance(query, str):
            raise InvalidTypeError(f"a query must be a str, not {type(query).__name__}")
        if isinstance(self, Searching) and model is not None:
            raise InvalidInputError("this retriever has its model; model= is for Retriever.rerank")
        if texts is not None:
            refuse_one(texts, "texts")
            columns = check_columns(text, id, metadata)
            check_names(column_names(texts), columns)
            documents = list(
                parsed(iter_records(texts), lambda n, one: document_of(one, n, n, columns), None)
            )
            if isinstance(self, Searching):
                encoder = self.encoder
            else:
                encoder = load_encoder(DEFAULT_MODEL if model is None else model, device, dtype)
            return Hits(rerank_texts(encoder, query, documents, k, explain))
        if not isinstance(self, Searching):
            raise InvalidInputError("ids are of documents in an index: call rerank of an open retriever")
        wanted = check_ids([] if ids is None else ids)
        if not query.strip():
            return Hits()

        def ask(store: CompressedIndex, encoder: Encoder) -> list[Hit]:
            encoded = encoder.encode_queries([query])
            found = [hits[:k] for hits in store.rerank(encoded, [wanted])]
            return (_explained(store, encoder, encoded, found) if explain else found)[0]

        return Hits(self._ask(ask))


def _explained(
    store: CompressedIndex, encoder: Encoder, queries: TokenEmbeddings, found: list[list[Hit]]
) -> list[list[Hit]]:
    """The hits of each query with their matches, from the vectors stored; spans are of the stored texts.

    ``store`` is to be of the commit that the hits are of.
    """
    return [_matched(store, encoder, queries.select([number]), hits) for number, hits in enumerate(found)]


def _matched(store: CompressedIndex, encoder: Encoder, query: TokenEmbeddings, hits: list[Hit]) -> list[Hit]:
    if query.spans is None:
        return hits
    documents = store.embeddings([hit.id for hit in hits])
    return [
        hit
        if hit.text is None or not len(vectors)
        else replace(
            hit,
            matches=matches(query[0], query.spans, vectors, encoder.document_members(hit.text, vectors)),
        )
        for hit, vectors in zip(hits, documents, strict=True)
    ]


def load_encoder(
    model: str | Path | Encoder, device: str, dtype: Precision, revision: str | None = None
) -> Encoder:
    """The encoder given, or the one of a name or a path; see :meth:`Encoder.load`."""
    if isinstance(model, Encoder):
        return model
    return Encoder.load(model, device=device, dtype=dtype, revision=revision)
