"""Which token of a document answered which token of a query."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .datatypes import Match
from .errors import InvalidInputError

__all__ = ["matches"]


def matches(
    query: NDArray[Any],
    query_spans: NDArray[np.integer],
    document: NDArray[Any],
    document_spans: NDArray[np.integer],
) -> tuple[Match, ...]:
    """The best document vector for each query vector; of equal ones the first.

    Parameters
    ----------
    query, document
        ``[n_tokens, dim]`` each, at least one token.
    query_spans, document_spans
        ``[n_tokens, 2]``: the characters behind each vector.

    Raises
    ------
    InvalidInputError
        If a document has another number of vectors than spans: its text isn't what was encoded.
    """
    if len(document) != len(document_spans):
        raise InvalidInputError(
            f"the document has {len(document)} vectors, and its text {len(document_spans)} tokens: another "
            "text or another model made them, so there is nothing to explain it by"
        )
    similarities = query.astype(np.float64) @ document.astype(np.float64).T
    best = similarities.argmax(axis=1)
    return tuple(
        Match(_pair(query_spans[i]), _pair(document_spans[j]), float(similarities[i, j]))
        for i, j in enumerate(best.tolist())
    )


def _pair(span: NDArray[np.integer]) -> tuple[int, int]:
    return int(span[0]), int(span[1])
