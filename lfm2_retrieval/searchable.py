"""What components ask of whatever searches for them: a Retriever, or what does the same elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol, Unpack, overload, runtime_checkable

from .datatypes import Document, Hits, SearchOptions

__all__ = ["Searchable", "Writable"]

Where = str | Mapping[str, Any]


@runtime_checkable
class Searchable(Protocol):
    """What integrations take: it searches, reranks and gives its documents. Any threads may share it.

    Methods mean what :class:`~lfm2_retrieval.Retriever` says of those of the same name. What can also be
    changed is `Writable`.
    """

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

    def rerank(
        self,
        query: str,
        texts: Iterable[Any] | None = None,
        *,
        ids: Sequence[str] | None = None,
        k: int | None = None,
    ) -> Hits:
        """Texts, or stored documents, in the order of their MaxSim with a query."""
        ...

    def get_many(self, ids: Sequence[str]) -> list[Document | None]:
        """The documents under some ids, in their order; None where there is none."""
        ...

    def documents(self, where: Where | None = None) -> Iterator[Document]:
        """All documents, or those that meet a filter, in order of insertion."""
        ...

    def count(self, where: Where | None = None) -> int:
        """How many documents there are, or how many meet a filter."""
        ...

    def close(self) -> None:
        """Let go of what it holds."""
        ...


@runtime_checkable
class Writable(Searchable, Protocol):
    """What also takes changes; each call is made whole or not at all."""

    def add(
        self,
        documents: Iterable[Any],
        *,
        on_conflict: Literal["error", "skip", "replace"] = "error",
    ) -> int:
        """Encode documents and add them."""
        ...

    def delete(
        self,
        ids: str | Sequence[str] | None = None,
        *,
        where: Where | None = None,
        all: bool = False,
        missing_ok: bool = False,
    ) -> int:
        """Delete documents by id, by filter or all; how many."""
        ...

    def update(self, documents: Iterable[Any]) -> int:
        """Change documents: text, or metadata, or both."""
        ...
