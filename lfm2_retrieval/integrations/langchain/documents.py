"""LangChain's documents as ours, and ours as LangChain's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import uuid4

from langchain_core.documents import Document as LangChainDocument

from ... import datatypes
from ...errors import InvalidInputError, InvalidTypeError
from ..places import with_place, without_place

__all__ = ["from_langchain", "from_texts", "to_langchain"]


def from_langchain(
    documents: Iterable[LangChainDocument], ids: Sequence[str | None] | None = None
) -> list[datatypes.Document]:
    """LangChain's documents as ours, all of their metadata kept; one without an id gets a UUID.

    Parameters
    ----------
    documents
        Of the same id, the last counts when they are stored: see `one_of_each`.
    ids
        In the place of the documents' own; None, here or for one of them: its own.

    Raises
    ------
    InvalidInputError
        If the lengths differ, or something is no document.
    """
    listed = list(documents)
    if ids is not None and len(ids) != len(listed):
        raise InvalidInputError(f"{len(ids)} ids were given for {len(listed)} documents: give one for each")
    found = []
    for position, document in enumerate(listed):
        if not isinstance(document, LangChainDocument):
            raise InvalidTypeError(
                f"document {position} is a {type(document).__name__}: give LangChain's Documents, or strings "
                "to add_texts"
            )
        id = None if ids is None else ids[position]
        id = document.id if id is None else id
        found.append(
            datatypes.Document(
                str(uuid4()) if id is None else id, document.page_content, without_place(document.metadata)
            )
        )
    return found


def from_texts(
    texts: Iterable[str],
    metadatas: Sequence[Mapping[str, Any]] | None = None,
    ids: Sequence[str | None] | None = None,
) -> list[datatypes.Document]:
    """Texts with metadata and ids as documents; see `from_langchain`.

    Raises
    ------
    InvalidInputError
        If the lengths differ.
    """
    listed = list(texts)
    columns: dict[str, Sequence[Any] | None] = {"texts": listed, "metadatas": metadatas, "ids": ids}
    lengths = {name: len(column) for name, column in columns.items() if column is not None}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{length} {name}" for name, length in lengths.items())
        raise InvalidInputError(f"texts, metadatas and ids must be of one length, not {counts}")
    return [
        datatypes.Document(
            str(uuid4()) if ids is None or (id := ids[position]) is None else id,
            text,
            {} if metadatas is None else without_place(metadatas[position]),
        )
        for position, text in enumerate(listed)
    ]


def to_langchain(document: datatypes.Document | datatypes.Hit) -> LangChainDocument:
    """What is stored, as LangChain has it; where a hit lies under ``lfm2``, see `place_values`."""
    return LangChainDocument(id=document.id, page_content=document.text or "", metadata=with_place(document))
