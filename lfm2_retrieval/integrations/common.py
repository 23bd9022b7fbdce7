"""What several frameworks' components need."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol, TypeVar

from ..errors import InvalidInputError, InvalidTypeError
from ..searchable import Searchable, Writable

__all__ = ["check_query", "last_of_each", "writable"]


class _HasId(Protocol):
    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=_HasId)


def check_query(query: Any) -> str:
    """One query: components answer with one list of documents.

    Raises
    ------
    InvalidTypeError
        If it is no string.
    """
    if not isinstance(query, str):
        raise InvalidTypeError(
            f"a query must be a str here, not {type(query).__name__}: ask several one by one, or by "
            "Retriever.search, which takes a list"
        )
    return query


def last_of_each(documents: Iterable[T]) -> list[T]:
    """Of several documents with the same id the last one, as if they were stored one after the other."""
    return list({document.id: document for document in documents}.values())


def writable(retriever: Searchable) -> Writable:
    """What takes changes.

    Raises
    ------
    InvalidInputError
        If it takes none.
    """
    if not isinstance(retriever, Writable):
        raise InvalidInputError(
            f"a {type(retriever).__name__} can be searched, not changed: change the index where it lies"
        )
    return retriever
