"""Haystack's documents as ours, and back without a loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from haystack.dataclasses import ByteStream, Document, SparseEmbedding

from ... import datatypes
from ...errors import InvalidInputError
from ..places import with_place, without_place

__all__ = ["RESERVED", "from_haystack", "plain_metadata", "to_haystack"]

RESERVED = "_haystack"
"""The key under which the metadata of the index hold what a document has beside content and meta."""


def from_haystack(document: Document) -> datatypes.Document:
    """A document as it is stored; its score isn't.

    Raises
    ------
    InvalidInputError
        If its meta have the reserved key.
    """
    if RESERVED in document.meta:
        raise InvalidInputError(
            f"the meta of document {document.id!r} have the key {RESERVED!r}, which is kept for this store: "
            "rename it"
        )
    rest: dict[str, Any] = {}
    if document.content is None:
        rest["content"] = None
    if document.blob is not None:
        rest["blob"] = document.blob.to_dict()
    if document.embedding is not None:
        rest["embedding"] = document.embedding
    if document.sparse_embedding is not None:
        rest["sparse_embedding"] = document.sparse_embedding.to_dict()
    meta = without_place(document.meta)
    return datatypes.Document(document.id, document.content or "", {**meta, RESERVED: rest} if rest else meta)


def to_haystack(stored: datatypes.Document | datatypes.Hit) -> Document:
    """What is stored, as Haystack has it; a hit with its score, and under ``lfm2`` where it lies."""
    rest = stored.metadata.get(RESERVED) or {}
    blob, sparse = rest.get("blob"), rest.get("sparse_embedding")
    return Document(
        id=stored.id,
        content=None if "content" in rest else stored.text,
        meta=plain_metadata(with_place(stored)),
        score=stored.score if isinstance(stored, datatypes.Hit) else None,
        blob=None if blob is None else ByteStream.from_dict(blob),
        embedding=rest.get("embedding"),
        sparse_embedding=None if sparse is None else SparseEmbedding.from_dict(sparse),
    )


def plain_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Without what this store keeps there."""
    return {name: value for name, value in metadata.items() if name != RESERVED}
