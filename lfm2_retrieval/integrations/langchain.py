"""A LangChain retriever; needs the extra ``langchain``.

from lfm2_retrieval.integrations.langchain import LFM2Retriever

retriever = LFM2Retriever.open("my-index", k=5)
documents = retriever.invoke("who proposed it?")
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..datatypes import Hit
from ..errors import InvalidInputError, MissingExtraError
from ..retriever import Retriever

try:
    from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
    from langchain_core.documents import Document
    from langchain_core.retrievers import BaseRetriever
    from pydantic import Field
except ModuleNotFoundError as error:
    raise MissingExtraError("the LangChain retriever", "langchain") from error

__all__ = ["LFM2Retriever"]


class LFM2Retriever(BaseRetriever):
    """LangChain documents from a :class:`~lfm2_retrieval.Retriever`, best first.

    To the metadata that was indexed each document adds ``score``, ``score_kind`` and ``rank``, which
    replace values of these names. Closing is left to the owner: ``lfm2_retriever.retriever.close()``.

    Parameters
    ----------
    retriever
        What searches.
    k
        How many documents to return; ``invoke(query, k=…)`` overrides it for one call.
    search_kwargs
        What else :meth:`Retriever.search <lfm2_retrieval.Retriever.search>` takes: ``where``, ``mode``,
        ``group_by`` … For one call, ``invoke(query, mode="hybrid", where={"lang": "de"})`` overrides some.
    """

    retriever: Retriever
    k: int = Field(default=10, ge=1, strict=True)
    search_kwargs: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def from_texts(
        cls,
        texts: Iterable[str],
        metadatas: Sequence[Mapping[str, Any]] | None = None,
        ids: Sequence[str] | None = None,
        *,
        k: int = 10,
        search_kwargs: Mapping[str, Any] | None = None,
        path: str | Path | None = None,
        **options: Any,
    ) -> LFM2Retriever:
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
        return cls(
            retriever=Retriever.index(rows, path, **options), k=k, search_kwargs=dict(search_kwargs or {})
        )

    @classmethod
    def from_documents(
        cls,
        documents: Iterable[Document],
        *,
        k: int = 10,
        search_kwargs: Mapping[str, Any] | None = None,
        path: str | Path | None = None,
        **options: Any,
    ) -> LFM2Retriever:
        """Index LangChain documents; those without an id are numbered. See :meth:`from_texts`."""
        rows = [
            {"text": document.page_content, "metadata": document.metadata}
            | ({} if document.id is None else {"id": document.id})
            for document in documents
        ]
        return cls(
            retriever=Retriever.index(rows, path, **options), k=k, search_kwargs=dict(search_kwargs or {})
        )

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        k: int = 10,
        search_kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> LFM2Retriever:
        """Open an index; ``options`` as for :meth:`Retriever.open <lfm2_retrieval.Retriever.open>`."""
        return cls(retriever=Retriever.open(path, **options), k=k, search_kwargs=dict(search_kwargs or {}))

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **options: Any
    ) -> list[Document]:
        return _documents(self.retriever.search(query, **self._options(options)))

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **options: Any
    ) -> list[Document]:
        return _documents(await self.retriever.asearch(query, **self._options(options)))

    def _options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Those of this retriever, and over them those of one call."""
        k = given.get("k")
        return {**self.search_kwargs, **given, "k": self.k if k is None else k}


def _documents(hits: Iterable[Hit]) -> list[Document]:
    return [
        Document(
            id=hit.id,
            page_content=hit.text or "",
            metadata={
                **hit.metadata,
                "score": hit.score,
                "score_kind": hit.score_kind.value,
                "rank": hit.rank,
            },
        )
        for hit in hits
    ]
