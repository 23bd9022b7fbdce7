"""A LangChain vector store, which needs no ``Embeddings``: documents are encoded by the index's own model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from langchain_core.documents import Document
from langchain_core.vectorstores import VectorStore

from ...datatypes import Hit
from ...errors import InvalidInputError, InvalidTypeError
from ...keywords import refuse_unknown
from ...retriever import Retriever
from ...searchable import Searchable
from ..common import check_query, last_of_each, writable
from .documents import from_langchain, from_texts, to_langchain

if TYPE_CHECKING:
    from types import TracebackType

    from langchain_core.embeddings import Embeddings

__all__ = ["LFM2VectorStore"]


class LFM2VectorStore(VectorStore):
    """LangChain documents in an index of this library; ``with`` closes it.

    Searches take what :meth:`Retriever.search <lfm2_retrieval.Retriever.search>` does: ``where``, which may
    be called ``filter``, ``mode``, ``group_by`` … Scores are larger for better documents. Metadata are kept
    as JSON values: dates as ISO strings, other libraries' numbers as numbers.

    Parameters
    ----------
    retriever
        What stores and searches; `open` opens one, `from_texts` and `from_documents` make one.
    """

    def __init__(self, retriever: Searchable) -> None:
        if not isinstance(retriever, Searchable):
            raise InvalidTypeError(
                f"a vector store takes a Retriever, not a {type(retriever).__name__}: "
                "LFM2VectorStore.open(path) opens an index"
            )
        self.retriever = retriever

    @classmethod
    def open(cls, path: str | Path, **options: Any) -> Self:
        """Open an index; ``options`` as for :meth:`Retriever.open <lfm2_retrieval.Retriever.open>`."""
        return cls(Retriever.open(path, **options))

    @classmethod
    def from_texts(
        cls,
        texts: Iterable[str],
        embedding: Embeddings | None = None,
        metadatas: Sequence[Mapping[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        path: str | Path | None = None,
        **options: Any,
    ) -> Self:
        """Index texts; none make an empty store.

        Parameters
        ----------
        texts, metadatas, ids
            Of one length. Texts without ids get UUIDs; of the same id, the last counts.
        embedding
            Must be None: ``model=`` names what encodes.
        path, options
            As for :meth:`Retriever.index <lfm2_retrieval.Retriever.index>`: ``model``, ``if_exists``,
            ``fields`` …

        Raises
        ------
        InvalidInputError
            If lengths differ, or metadata can't be stored; and whatever ``Retriever.index`` raises.
        """
        _refuse_embedding(embedding)
        return cls(Retriever.index(last_of_each(from_texts(texts, metadatas, ids)), path, **options))

    @classmethod
    def from_documents(
        cls,
        documents: Iterable[Document],
        embedding: Embeddings | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        path: str | Path | None = None,
        **options: Any,
    ) -> Self:
        """Index LangChain documents; see `from_texts`."""
        _refuse_embedding(embedding)
        return cls(Retriever.index(last_of_each(from_langchain(documents, ids)), path, **options))

    @property
    def embeddings(self) -> None:
        """None: a document has a vector for each of its tokens, made by the index's own model."""
        return

    def add_documents(
        self,
        documents: Iterable[Document],
        *,
        ids: Sequence[str | None] | None = None,
        batch_size: int | None = None,
        **options: Any,
    ) -> list[str]:
        """Add documents in one commit, or put them in the place of those of the same ids.

        Parameters
        ----------
        documents
            Those without an id get a UUID.
        ids
            In the place of their own.
        batch_size
            Given by LangChain's indexing; how many are encoded at a time is decided here.

        Returns
        -------
        list
            The ids, in the order of the documents.

        Raises
        ------
        InvalidInputError
            If metadata can't be stored, or ids are not one a document; then nothing is.
        IndexLockedError, IndexWriteError
            If another writer takes too long; if the disk is full.
        """
        refuse_unknown("LFM2VectorStore.add_documents", options, ("documents", "ids", "batch_size"))
        return self._add(from_langchain(documents, ids))

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: Sequence[Mapping[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        batch_size: int | None = None,
        **options: Any,
    ) -> list[str]:
        """Add texts; see `add_documents`."""
        refuse_unknown("LFM2VectorStore.add_texts", options, ("texts", "metadatas", "ids", "batch_size"))
        return self._add(from_texts(texts, metadatas, ids))

    def delete(
        self,
        ids: Sequence[str] | None = None,
        *,
        where: str | Mapping[str, Any] | None = None,
        filter: str | Mapping[str, Any] | None = None,
        all: bool = False,
        **options: Any,
    ) -> bool:
        """Delete documents in one commit: by id, by filter or all; True.

        Parameters
        ----------
        ids
            Those that aren't there are passed over.
        where, filter
            Two names of one filter.
        all
            Delete all documents. LangChain's ``delete()`` means that; here it must be said.

        Raises
        ------
        InvalidInputError
            If not one of them is given.
        """
        refuse_unknown("LFM2VectorStore.delete", options, ("ids", "where", "all"))
        where = _where({"where": where, "filter": filter}).get("where")
        if ids is None and where is None and not all:
            raise InvalidInputError(
                "delete() takes ids, where= or all=True, which deletes all documents of the index"
            )
        given = None if ids is None else [ids] if isinstance(ids, str) else list(ids)
        writable(self.retriever).delete(given, where=where, all=all, missing_ok=True)
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """The documents of some ids, in their order; those that aren't there are left out."""
        found = self.retriever.get_many([ids] if isinstance(ids, str) else list(ids))
        return [to_langchain(document) for document in found if document is not None]

    def similarity_search(self, query: str, k: int = 4, **options: Any) -> list[Document]:
        """The best documents; ``filter`` and other options of a search as keywords."""
        return [to_langchain(hit) for hit in self.retriever.search(check_query(query), k, **_where(options))]

    async def asimilarity_search(self, query: str, k: int = 4, **options: Any) -> list[Document]:
        """See `similarity_search`."""
        return [
            to_langchain(hit)
            for hit in await self.retriever.asearch(check_query(query), k, **_where(options))
        ]

    def similarity_search_with_score(
        self, query: str, k: int = 4, **options: Any
    ) -> list[tuple[Document, float]]:
        """The best documents with their scores, the larger the better."""
        return [
            (to_langchain(hit), hit.score)
            for hit in self.retriever.search(check_query(query), k, **_where(options))
        ]

    async def asimilarity_search_with_score(
        self, query: str, k: int = 4, **options: Any
    ) -> list[tuple[Document, float]]:
        """See `similarity_search_with_score`."""
        hits = await self.retriever.asearch(check_query(query), k, **_where(options))
        return [(to_langchain(hit), hit.score) for hit in hits]

    def max_marginal_relevance_search(self, *_: Any, **__: Any) -> list[Document]:
        """Not there: one vector a document would be needed.

        Raises
        ------
        NotImplementedError
            Always.
        """
        raise NotImplementedError(
            "there is no search by marginal relevance; for hits that differ, give search_kwargs="
            "{'group_by': FIELD}, such as the source, of which each value then comes once"
        )

    async def amax_marginal_relevance_search(self, *_: Any, **__: Any) -> list[Document]:
        """See `max_marginal_relevance_search`."""
        return self.max_marginal_relevance_search()

    def similarity_search_by_vector(self, *_: Any, **__: Any) -> list[Document]:
        """Not there: a query has a vector for each of its tokens.

        Raises
        ------
        NotImplementedError
            Always.
        """
        raise NotImplementedError(
            "a query has many vectors here: search with its text, or retriever.store.search takes them"
        )

    def close(self) -> None:
        """Close the index. Closing again does nothing."""
        self.retriever.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _add(self, documents: Sequence[Any]) -> list[str]:
        if documents:
            writable(self.retriever).add(last_of_each(documents), on_conflict="replace")
        return [document.id for document in documents]

    def _similarity_search_with_relevance_scores(
        self, query: str, k: int = 4, **options: Any
    ) -> list[tuple[Document, float]]:
        return _relevant(self.retriever.search(check_query(query), k, **_where(options)))

    async def _asimilarity_search_with_relevance_scores(
        self, query: str, k: int = 4, **options: Any
    ) -> list[tuple[Document, float]]:
        return _relevant(await self.retriever.asearch(check_query(query), k, **_where(options)))


def _relevant(hits: Iterable[Hit]) -> list[tuple[Document, float]]:
    """Documents with their scores from 0 to 1."""
    found = []
    for hit in hits:
        if hit.normalized_score is None:
            raise InvalidInputError(
                f"scores of the kind {hit.score_kind.value} don't lie between 0 and 1: leave out mode= or "
                "score_threshold, or take similarity_search_with_score"
            )
        found.append((to_langchain(hit), min(max(hit.normalized_score, 0.0), 1.0)))
    return found


def _where(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a search with the filter under our name for it."""
    found = {name: value for name, value in options.items() if name != "filter"}
    filter = options.get("filter")
    if filter is not None:
        if found.get("where") is not None:
            raise InvalidInputError("filter and where are two names of one thing: give one of them")
        found["where"] = filter
    return found


def _refuse_embedding(embedding: object) -> None:
    if embedding is not None:
        raise InvalidTypeError(
            "LFM2VectorStore encodes by itself, a vector a token, and can't use Embeddings, which make one a "
            "text: leave embedding out; model= names the model"
        )
