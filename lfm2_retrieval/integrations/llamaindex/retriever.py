"""A LlamaIndex retriever."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import Any, Self

from llama_index.core.callbacks import CallbackManager
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle
from llama_index.core.vector_stores.types import MetadataFilters, VectorStoreQuery, VectorStoreQueryResult

from ...datatypes import SearchOptions, SearchParams
from ...keywords import refuse_unknown
from ...retriever import Retriever
from ...searchable import Searchable
from .vectorstore import LFM2VectorStore

__all__ = ["LFM2Retriever"]

_OPTIONS = tuple(
    name for name in signature(Retriever.search).parameters if name not in ("self", "query", "k", "where")
)


class LFM2Retriever(BaseRetriever):
    """The best nodes of an index for a query, with their scores.

    Parameters
    ----------
    source
        An `LFM2VectorStore`, or a Retriever; `open` opens an index.
    similarity_top_k
        How many nodes to return.
    filters
        Of every query.
    callback_manager, object_map, verbose
        As LlamaIndex's retrievers have them.
    options
        What else :meth:`Retriever.search <lfm2_retrieval.Retriever.search>` takes: ``mode="hybrid"``,
        ``group_by``, ``min_score`` …

    Raises
    ------
    InvalidInputError
        If an option can't be used.
    """

    def __init__(
        self,
        source: LFM2VectorStore | Searchable,
        similarity_top_k: int = 10,
        filters: MetadataFilters | None = None,
        *,
        callback_manager: CallbackManager | None = None,
        object_map: dict[str, Any] | None = None,
        verbose: bool = False,
        **options: Any,
    ) -> None:
        refuse_unknown("LFM2Retriever", options, _OPTIONS)
        known = {name: options[name] for name in options if name in SearchOptions.__annotations__}
        SearchParams(similarity_top_k, **known)
        self.vector_store = (
            source if isinstance(source, LFM2VectorStore) else LFM2VectorStore(retriever=source)
        )
        self.similarity_top_k, self.filters, self.options = similarity_top_k, filters, options
        super().__init__(callback_manager, object_map, verbose=verbose)

    @classmethod
    def open(cls, path: str | Path, similarity_top_k: int = 10, **options: Any) -> Self:
        """Over the index at a path, which is opened at first use; see the class."""
        return cls(LFM2VectorStore(path=path), similarity_top_k, **options)

    def close(self) -> None:
        """Close the store."""
        self.vector_store.close()

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return _scored(self.vector_store.query(self._query(query_bundle), **self.options))

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return _scored(await self.vector_store.aquery(self._query(query_bundle), **self.options))

    def _query(self, query_bundle: QueryBundle) -> VectorStoreQuery:
        return VectorStoreQuery(
            query_str=query_bundle.query_str,
            similarity_top_k=self.similarity_top_k,
            filters=self.filters,
        )


def _scored(found: VectorStoreQueryResult) -> list[NodeWithScore]:
    nodes: Sequence[Any] = found.nodes or ()
    return [
        NodeWithScore(node=node, score=score)
        for node, score in zip(nodes, found.similarities or (), strict=True)
    ]
