"""A LangChain retriever."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any, Self

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableConfig, ensure_config
from pydantic import ConfigDict, Field, model_validator

from ...datatypes import Hit, SearchOptions, SearchParams
from ...errors import InvalidInputError
from ...keywords import ELSEWHERE, refuse_unknown
from ...retriever import Retriever
from ...searchable import Searchable
from ..common import check_query
from ..places import with_place, without_place

__all__ = ["LFM2Retriever"]

_SEARCH = tuple(name for name in signature(Retriever.search).parameters if name not in ("self", "query"))
_CONFIGURABLE = (*_SEARCH, "search_kwargs")


class LFM2Retriever(BaseRetriever):
    """LangChain documents from a :class:`~lfm2_retrieval.Retriever`, best first.

    To the metadata that was indexed each document adds ``score``, ``score_kind`` and ``rank``, which
    replace values of these names; where documents are split into passages, also ``lfm2``, which says where
    the passage lies: see :func:`~lfm2_retrieval.integrations.places.place_values`. Closing is left to the
    owner: ``lfm2_retriever.retriever.close()``.

    Parameters
    ----------
    retriever
        What searches: a Retriever, or another `Searchable <lfm2_retrieval.searchable.Searchable>`.
    k
        How many documents to return; ``invoke(query, k=…)``, or ``with_config(configurable={"k": …})``,
        overrides it for one call.
    search_kwargs
        What else :meth:`Retriever.search <lfm2_retrieval.Retriever.search>` takes: ``where``, ``mode``,
        ``group_by`` … For one call, ``invoke(query, mode="hybrid", where={"lang": "de"})`` overrides some.
        ``search_kwargs={"k": 3}`` is ``k=3``. Names that a search doesn't know are errors.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    retriever: Searchable
    k: int = Field(default=10, ge=1, strict=True)
    search_kwargs: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def from_texts(
        cls,
        texts: Iterable[str],
        metadatas: Sequence[Mapping[str, Any]] | None = None,
        ids: Sequence[str] | None = None,
        *,
        k: int | None = None,
        search_kwargs: Mapping[str, Any] | None = None,
        path: str | Path | None = None,
        **options: Any,
    ) -> Self:
        """Index texts.

        Parameters
        ----------
        texts, metadatas, ids
            Of one length. Texts without ids are numbered.
        k, search_kwargs
            See the class.
        path, options
            As for :meth:`Retriever.index <lfm2_retrieval.Retriever.index>`: ``model``, ``if_exists`` …

        Raises
        ------
        InvalidInputError
            If the lengths differ, and whatever ``Retriever.index`` raises.
        """
        columns = {
            name: list(column)
            for name, column in (("text", texts), ("metadata", metadatas), ("id", ids))
            if column is not None
        }
        if len({len(column) for column in columns.values()}) > 1:
            counts = ", ".join(f"{len(column)} of {name}" for name, column in columns.items())
            raise InvalidInputError(f"texts, metadatas and ids must be of one length, not {counts}")
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        chosen = _chosen(k, search_kwargs)
        return cls(retriever=Retriever.index(rows, path, **options), **chosen)

    @classmethod
    def from_documents(
        cls,
        documents: Iterable[Document],
        *,
        k: int | None = None,
        search_kwargs: Mapping[str, Any] | None = None,
        path: str | Path | None = None,
        **options: Any,
    ) -> Self:
        """Index LangChain documents; those without an id are numbered. See :meth:`from_texts`."""
        rows = [
            {"text": document.page_content, "metadata": without_place(document.metadata)}
            | ({} if document.id is None else {"id": document.id})
            for document in documents
        ]
        chosen = _chosen(k, search_kwargs)
        return cls(retriever=Retriever.index(rows, path, **options), **chosen)

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        k: int | None = None,
        search_kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Self:
        """Open an index; ``options`` as for :meth:`Retriever.open <lfm2_retrieval.Retriever.open>`."""
        chosen = _chosen(k, search_kwargs)
        return cls(retriever=Retriever.open(path, **options), **chosen)

    def invoke(self, input: str, config: RunnableConfig | None = None, **kwargs: Any) -> list[Document]:
        """The documents for a query; options of the search as keywords or in ``config["configurable"]``."""
        return super().invoke(input, config, **{**_configured(config), **kwargs})

    async def ainvoke(
        self, input: str, config: RunnableConfig | None = None, **kwargs: Any
    ) -> list[Document]:
        """:meth:`invoke`, in a thread of its own."""
        return await super().ainvoke(input, config, **{**_configured(config), **kwargs})

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **options: Any
    ) -> list[Document]:
        return _documents(self.retriever.search(check_query(query), **self._options(options)))

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **options: Any
    ) -> list[Document]:
        return _documents(await self.retriever.asearch(check_query(query), **self._options(options)))

    def _options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Those of this retriever, and over them those of one call."""
        given = {**given, **(given.get("search_kwargs") or {})}
        options = {**self.search_kwargs, **{name: given[name] for name in given if name != "search_kwargs"}}
        k = options.get("k")
        refuse_unknown("LFM2Retriever.invoke", options, _SEARCH)
        return {**options, "k": self.k if k is None else k}

    @model_validator(mode="before")
    @classmethod
    def _one_k(cls, given: Any) -> Any:
        """Take ``k`` out of ``search_kwargs``, where other retrievers have it."""
        if not isinstance(given, dict) or not isinstance(given.get("search_kwargs"), Mapping):
            return given
        return {**given, **_chosen(given.get("k"), given["search_kwargs"])}


def _chosen(k: int | None, search_kwargs: Mapping[str, Any] | None) -> dict[str, Any]:
    """The fields that were given; checked before there is an index."""
    options = dict(search_kwargs or {})
    refuse_unknown("search_kwargs: Retriever.search", options, _SEARCH)
    inner = options.pop("k", None)
    if None not in (k, inner) and k != inner:
        raise InvalidInputError(f"k={k!r} and search_kwargs={{'k': {inner!r}}}: give one of them")
    SearchParams(**{name: options[name] for name in options if name in SearchOptions.__annotations__})
    k = inner if k is None else k
    return {"search_kwargs": options} | ({} if k is None else {"k": k})


def _configured(config: RunnableConfig | None) -> dict[str, Any]:
    """The options of a search in a configuration, which other parts of a chain share."""
    given = ensure_config(config).get("configurable") or {}
    refuse_unknown("configurable: Retriever.search", set(given) & set(ELSEWHERE), _SEARCH)
    return {name: given[name] for name in given if name in _CONFIGURABLE}


def _documents(hits: Iterable[Hit]) -> list[Document]:
    return [
        Document(
            id=hit.id,
            page_content=hit.text or "",
            metadata={
                **with_place(hit),
                "score": hit.score,
                "score_kind": hit.score_kind.value,
                "rank": hit.rank,
            },
        )
        for hit in hits
    ]
