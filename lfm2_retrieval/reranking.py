"""MaxSim of texts that are in no index."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MethodType
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

import numpy as np

from .datatypes import Document, Hit
from .encoder import Encoder
from .explain import matches

__all__ = ["class_or_instance", "rerank_texts"]

P = ParamSpec("P")
R = TypeVar("R")


class class_or_instance(Generic[P, R]):  # noqa: N801  (used like classmethod)
    """A method whose first argument is the instance, or, called on the class, the class."""

    def __init__(self, function: Callable[Concatenate[Any, P], R]) -> None:
        self.__wrapped__ = function
        self.__doc__ = function.__doc__

    def __get__(self, instance: object, owner: type) -> Callable[P, R]:
        return MethodType(self.__wrapped__, owner if instance is None else instance)


def rerank_texts(
    encoder: Encoder, query: str, documents: Sequence[Document], k: int | None = None, explain: bool = False
) -> list[Hit]:
    """Documents in the order of their MaxSim with a query; equal ones in the order given.

    Parameters
    ----------
    encoder
        What encodes both.
    query
        One of white space finds nothing.
    documents
        Those of white space are left out.
    k
        How many hits at most; None for all.
    explain
        Whether hits say which of their tokens answered which of the query's.
    """
    full = [document for document in documents if document.text.strip()]
    if not query.strip() or not full:
        return []
    asked = encoder.encode_queries([query])
    encoded = encoder.encode_documents([document.text for document in full])
    vectors = asked[0].astype(np.float64)
    scores = np.array([(vectors @ one.T).max(axis=1).sum() for one in encoded], np.float32)
    best = np.argsort(-scores, kind="stable")[:k]
    return [
        Hit(
            full[i].id,
            float(scores[i]),
            rank,
            text=full[i].text,
            metadata=full[i].metadata,
            matches=matches(
                asked[0], asked.spans, encoded[i], encoder.document_members(full[i].text, encoded[i])
            )
            if explain and asked.spans is not None
            else (),
            normalized_score=float(scores[i]) / len(vectors),
        )
        for rank, i in enumerate(best.tolist(), 1)
    ]
