"""A Haystack retriever, which takes texts: the store's own model encodes them."""

from __future__ import annotations

from asyncio import to_thread
from collections.abc import Mapping
from inspect import signature
from typing import Any, Self

from haystack import Document, component, default_from_dict, default_to_dict
from haystack.document_stores.types import FilterPolicy, apply_filter_policy

from ...datatypes import SearchOptions, SearchParams
from ...errors import InvalidInputError, InvalidTypeError
from ...keywords import refuse_unknown
from ...retriever import Retriever
from .document_store import LFM2DocumentStore

__all__ = ["LFM2TextRetriever"]

_OPTIONS = tuple(
    name for name in signature(Retriever.search).parameters if name not in ("self", "query", "k", "where")
)


@component
class LFM2TextRetriever:
    """The best documents of an `LFM2DocumentStore` for a query, with their scores.

    Parameters
    ----------
    document_store
        Where to search.
    filters
        Of every search, as Haystack writes them.
    top_k
        How many documents to return.
    filter_policy
        Whether filters of a run replace these, or come in addition.
    search_options
        What else :meth:`Retriever.search <lfm2_retrieval.Retriever.search>` takes: ``{"mode": "hybrid"}``,
        ``group_by``, ``min_score`` …

    Raises
    ------
    InvalidInputError
        If an argument can't be used.
    """

    def __init__(
        self,
        document_store: LFM2DocumentStore,
        filters: dict[str, Any] | None = None,
        top_k: int = 10,
        filter_policy: FilterPolicy = FilterPolicy.REPLACE,
        search_options: dict[str, Any] | None = None,
    ) -> None:
        if not isinstance(document_store, LFM2DocumentStore):
            raise InvalidTypeError(
                f"document_store must be an LFM2DocumentStore, not a {type(document_store).__name__}"
            )
        check_options(search_options or {})
        SearchParams(top_k)
        self.document_store, self.filters, self.top_k = document_store, filters, top_k
        self.filter_policy, self.search_options = filter_policy, search_options

    def warm_up(self) -> None:
        """Open the index and load its model."""
        self.document_store.warm_up()

    async def warm_up_async(self) -> None:
        """See `warm_up`."""
        await to_thread(self.warm_up)

    def close(self) -> None:
        """Close the store."""
        self.document_store.close()

    async def close_async(self) -> None:
        """See `close`."""
        await to_thread(self.close)

    def to_dict(self) -> dict[str, Any]:
        """For a saved pipeline."""
        found: dict[str, Any] = default_to_dict(
            self,
            document_store=self.document_store,
            filters=self.filters,
            top_k=self.top_k,
            filter_policy=self.filter_policy.value,
            search_options=self.search_options,
        )
        return found

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """From a saved pipeline."""
        given = dict(data["init_parameters"])
        if isinstance(policy := given.get("filter_policy"), str):
            given["filter_policy"] = FilterPolicy.from_str(policy)
        return default_from_dict(cls, {**data, "init_parameters": given})

    @component.output_types(documents=list[Document])
    def run(
        self, query: str, filters: dict[str, Any] | None = None, top_k: int | None = None
    ) -> dict[str, Any]:
        """Search.

        Parameters
        ----------
        query
            One of white space finds nothing.
        filters, top_k
            Of this run. 0 documents are none.

        Raises
        ------
        FilterError
            If the filter isn't understood.
        DocumentStoreError
            If the index can't be searched; the message says why, and what to do.
        InvalidInputError
            If ``top_k`` is negative.
        """
        k, filters = self._asked(filters, top_k)
        found = self.document_store.search(query, k, filters, self.search_options) if k else []
        return {"documents": found}

    @component.output_types(documents=list[Document])
    async def run_async(
        self, query: str, filters: dict[str, Any] | None = None, top_k: int | None = None
    ) -> dict[str, Any]:
        """See `run`; the event loop goes on meanwhile."""
        k, filters = self._asked(filters, top_k)
        found = await self.document_store.search_async(query, k, filters, self.search_options) if k else []
        return {"documents": found}

    def _asked(self, filters: dict[str, Any] | None, top_k: int | None) -> tuple[int, dict[str, Any] | None]:
        k = self.top_k if top_k is None else top_k
        if k != 0:
            SearchParams(k)
        return k, apply_filter_policy(self.filter_policy, self.filters, filters)


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse what a search doesn't know.

    Raises
    ------
    InvalidInputError
        Saying what there is.
    """
    if "k" in options or "where" in options:
        raise InvalidInputError("search_options: how many is top_k, and a filter is filters")
    refuse_unknown("search_options: Retriever.search", options, _OPTIONS)
    SearchParams(**{name: options[name] for name in options if name in SearchOptions.__annotations__})
