"""A LlamaIndex vector store, which needs no embeddings: nodes are encoded by the index's own model."""

from __future__ import annotations

from asyncio import to_thread
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from llama_index.core import VectorStoreIndex
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.schema import BaseNode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)
from pydantic import ConfigDict, Field, PrivateAttr

from ...datatypes import Hit
from ...encoder import Encoder
from ...errors import InvalidInputError
from ...searchable import Searchable
from ..common import last_of_each, writable
from ..opening import Opening
from .filters import any_of, one_of, to_where
from .nodes import from_node, to_node

if TYPE_CHECKING:
    from types import TracebackType

    from .retriever import LFM2Retriever

__all__ = ["LFM2VectorStore"]

_MODES = {
    VectorStoreQueryMode.DEFAULT: "dense",
    VectorStoreQueryMode.SPARSE: "lexical",
    VectorStoreQueryMode.TEXT_SEARCH: "lexical",
    VectorStoreQueryMode.HYBRID: "hybrid",
    VectorStoreQueryMode.SEMANTIC_HYBRID: "hybrid",
}


class LFM2VectorStore(BasePydanticVectorStore):
    """LlamaIndex's nodes in an index, which is opened, or made, at first use; ``with`` closes it.

    Nodes come back as they were, with their relationships; embeddings that they have aren't stored. Metadata
    are kept as JSON values. Any threads may share it.

    Parameters
    ----------
    path
        The index's folder, whatever made it; None for a temporary one, gone after ``close``.
    model
        What a new index's nodes are encoded with, as for
        :meth:`Encoder.load <lfm2_retrieval.Encoder.load>`. For one that is there, where its model lies now.
    options
        Further ones of a new index, as for :meth:`Retriever.index <lfm2_retrieval.Retriever.index>`:
        ``tier``, ``fields``, ``lexical`` …
    trust_model
        See :meth:`Retriever.open <lfm2_retrieval.Retriever.open>`.
    retriever
        Instead of a path: what is open already; it isn't closed here.

    Raises
    ------
    InvalidInputError
        If both path and retriever are given.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    stores_text: bool = True
    is_embedding_query: bool = False
    path: str | Path | None = None
    model: str | Path | Encoder | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    trust_model: bool = False
    retriever: Searchable | None = Field(default=None, exclude=True)
    _opening: Opening = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        """Check what was given; nothing is opened."""
        reading = {"model": self.model, "trust_model": self.trust_model}
        self._opening = Opening(self.path, self.retriever, reading, self.options)

    @classmethod
    def class_name(cls) -> str:
        """As LlamaIndex names it."""
        return "LFM2VectorStore"

    @property
    def client(self) -> Searchable:
        """What stores and searches; opened, or made, where it isn't yet.

        Raises
        ------
        StoredIndexError, CheckpointError
            If it can't be.
        """
        return self._opening.retriever()

    def as_index(self, **options: Any) -> VectorStoreIndex:
        """A ``VectorStoreIndex`` over this store.

        LlamaIndex embeds what it inserts also where a store encodes by itself; the embeddings of this index
        are stand-ins that cost nothing and are thrown away.
        """
        return VectorStoreIndex.from_vector_store(self, embed_model=MockEmbedding(embed_dim=1), **options)

    def as_retriever(
        self, similarity_top_k: int = 10, filters: MetadataFilters | None = None, **options: Any
    ) -> LFM2Retriever:
        """See `LFM2Retriever`."""
        from .retriever import LFM2Retriever

        return LFM2Retriever(self, similarity_top_k, filters, **options)

    def add(self, nodes: Sequence[BaseNode], **_: Any) -> list[str]:
        """Add nodes in one commit, or put them in the place of those of the same ids; their ids.

        Raises
        ------
        InvalidInputError
            If one is no node, or its metadata can't be stored; then none is.
        """
        client = writable(self.client) if nodes else None
        split = getattr(client, "passages", None) is not None
        documents = [from_node(node, split=split) for node in nodes]
        if client is not None:
            client.add(last_of_each(documents), on_conflict="replace")
        return [document.id for document in documents]

    async def async_add(self, nodes: Sequence[BaseNode], **options: Any) -> list[str]:
        """See `add`; these run in a thread. Cancelled, it is done as a whole or not at all."""
        return await to_thread(self.add, nodes, **options)

    def delete(self, ref_doc_id: str, **_: Any) -> None:
        """Delete the nodes of a source document in one commit, and that document if it is a node."""
        sources = one_of("ref_doc_id", [ref_doc_id])
        itself = f"({any_of([ref_doc_id])}) AND (ref_doc_id IS NULL OR ref_doc_id = 'None')"
        writable(self.client).delete(where=f"{sources} OR ({itself})")

    async def adelete(self, ref_doc_id: str, **options: Any) -> None:
        """See `delete`."""
        await to_thread(self.delete, ref_doc_id, **options)

    def delete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **_: Any
    ) -> None:
        """Delete nodes by id, by filter, or those that are both; in one commit.

        Raises
        ------
        InvalidInputError
            Without either.
        """
        if node_ids is None and (filters is None or not filters.filters):
            raise InvalidInputError("delete_nodes takes node_ids or filters; clear() deletes all nodes")
        if filters is None or not filters.filters:
            writable(self.client).delete(list(node_ids or ()), missing_ok=True)
            return
        where = to_where(filters, self.client)
        if node_ids is not None:
            where = f"({where}) AND ({any_of(node_ids)})"
        writable(self.client).delete(where=where)

    async def adelete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **options: Any
    ) -> None:
        """See `delete_nodes`."""
        await to_thread(self.delete_nodes, node_ids, filters, **options)

    def clear(self) -> None:
        """Delete all nodes in one commit."""
        writable(self.client).delete(all=True)

    async def aclear(self) -> None:
        """See `clear`."""
        await to_thread(self.clear)

    def get_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None
    ) -> list[BaseNode]:
        """Nodes by id, by filter, those that are both, or all; ids that aren't there are passed over."""
        where = to_where(filters, self.client)
        if node_ids is None:
            return [to_node(one) for one in self.client.documents(where)]
        if where is not None:
            return [to_node(one) for one in self.client.documents(f"({where}) AND ({any_of(node_ids)})")]
        return [to_node(one) for one in self.client.get_many(node_ids) if one is not None]

    async def aget_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None
    ) -> list[BaseNode]:
        """See `get_nodes`."""
        return await to_thread(self.get_nodes, node_ids, filters)

    def query(self, query: VectorStoreQuery, **options: Any) -> VectorStoreQueryResult:
        """The best nodes for ``query_str``, by vectors, by words or by both, as its mode says.

        Parameters
        ----------
        query
            ``alpha`` is the weight of the vectors in a hybrid search; ``similarity_top_k=0`` finds nothing.
        options
            What else :meth:`Retriever.search <lfm2_retrieval.Retriever.search>` takes.

        Raises
        ------
        InvalidInputError
            If there is no ``query_str``, the mode isn't there, or a filter can't be used.
        """
        text, k, options = _search(query, options)
        return _result(self.client.search(text, k, where=self._where(query), **options) if k != 0 else [])

    async def aquery(self, query: VectorStoreQuery, **options: Any) -> VectorStoreQueryResult:
        """See `query`; the event loop goes on meanwhile."""
        text, k, options = _search(query, options)
        client = self._opening.opened
        if client is None or query.filters is not None:  # what reads from the disk
            client = await to_thread(self._opening.retriever)
            where = await to_thread(self._where, query)
        else:
            where = self._where(query)
        return _result(await client.asearch(text, k, where=where, **options) if k != 0 else [])

    def close(self) -> None:
        """Close the index, if it was opened here; a later use opens it again."""
        self._opening.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _where(self, query: VectorStoreQuery) -> str | None:
        return to_where(query.filters, self.client, documents=query.doc_ids, nodes=query.node_ids)


def _search(query: VectorStoreQuery, given: Mapping[str, Any]) -> tuple[str, int, dict[str, Any]]:
    """What to search for, how many nodes to find, and how."""
    if query.query_str is None:
        raise InvalidInputError(
            "a query needs query_str: the index encodes texts by itself, and can't use query_embedding"
        )
    mode = VectorStoreQueryMode(query.mode)
    if mode not in _MODES:
        raise InvalidInputError(
            f"there is no mode {mode.value!r}; there are {', '.join(one.value for one in _MODES)}, and for "
            "hits that differ the option group_by"
        )
    options: dict[str, Any] = {"mode": _MODES[mode]}
    k = query.similarity_top_k
    if options["mode"] == "hybrid":
        k = k if query.hybrid_top_k is None else query.hybrid_top_k
        if query.alpha is not None:
            options |= {"fusion": "weighted", "weight": query.alpha}
    return query.query_str, k, {**options, **given}


def _result(hits: Sequence[Hit]) -> VectorStoreQueryResult:
    return VectorStoreQueryResult(
        nodes=[to_node(hit) for hit in hits],
        similarities=[hit.score for hit in hits],
        ids=[hit.id for hit in hits],
    )
