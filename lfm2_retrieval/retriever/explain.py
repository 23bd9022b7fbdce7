"""Which token of a document answered which token of a query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..datatypes import Hit, Match, TokenEmbeddings
from ..encoder import Encoder
from ..errors import InvalidInputError
from ..hits import Hits, encode_front
from ..indexes import Index

__all__ = ["explained", "matches"]


def explained(
    index: Index, encoder: Encoder, queries: TokenEmbeddings, found: list[list[Hit]]
) -> list[list[Hit]]:
    """The hits of each query with their matches, from the vectors stored; spans are of the stored texts.

    ``index`` is to be of the commit that the hits are of.
    """
    return [
        Hits.like(_matched(index, encoder, queries.select([number]), hits), hits)
        for number, hits in enumerate(found)
    ]


def _matched(index: Index, encoder: Encoder, query: TokenEmbeddings, hits: list[Hit]) -> list[Hit]:
    if query.spans is None:
        return hits
    documents = index.embeddings([hit.id for hit in hits])
    return [
        hit
        if hit.text is None or not len(vectors)
        else replace(hit, matches=matches(query[0], query.spans, vectors, _members(encoder, hit, vectors)))
        for hit, vectors in zip(hits, documents, strict=True)
    ]


def _members(encoder: Encoder, hit: Hit, vectors: NDArray[Any]) -> list[NDArray[np.int32]]:
    """The characters of the text behind each vector; of headings in front of it, none."""
    front = encode_front(hit.in_front)
    members = encoder.document_members(front + (hit.text or ""), vectors)
    return [np.maximum(spans - np.int32(len(front)), 0) for spans in members]


def matches(
    query: NDArray[Any],
    query_spans: NDArray[np.integer],
    document: NDArray[Any],
    document_members: Sequence[NDArray[np.integer]],
) -> tuple[Match, ...]:
    """The best document vector for each query vector; of equal ones the first.

    Parameters
    ----------
    query, document
        ``[n_tokens, dim]`` each, at least one token.
    query_spans
        ``[n_tokens, 2]``: the characters behind each vector.
    document_members
        For each vector ``[n_members, 2]``: the characters behind the tokens that were pooled into it, or
        behind its one token; first what stands for them.

    Raises
    ------
    InvalidInputError
        If a document has another number of vectors than spans: its text isn't what was encoded.
    """
    if len(document) != len(document_members):
        raise InvalidInputError(
            f"the document has {len(document)} vectors, and its text makes {len(document_members)}: another "
            "text or another model made them, so there is nothing to explain it by"
        )
    similarities = query.astype(np.float64) @ document.astype(np.float64).T
    best = similarities.argmax(axis=1)
    return tuple(
        Match(
            _pair(query_spans[i]),
            _pair(document_members[j][0]),
            float(similarities[i, j]),
            tuple(sorted(map(_pair, document_members[j]))) if len(document_members[j]) > 1 else (),
        )
        for i, j in enumerate(best.tolist())
    )


def _pair(span: NDArray[np.integer]) -> tuple[int, int]:
    return int(span[0]), int(span[1])
