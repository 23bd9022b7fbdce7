"""What several frameworks' components need."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

from ..errors import InvalidInputError
from ..searchable import Searchable, Writable

__all__ = ["last_of_each", "writable"]


class _HasId(Protocol):
    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=_HasId)


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
