"""Putting texts in the order of their MaxSim with a query."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ..datatypes import Document, Hit, Hits, SearchParams
from ..encoder import DEFAULT_MODEL, Encoder, Precision
from ..errors import InvalidTypeError
from ..frames import column_names, iter_records
from ..keywords import check_keywords
from ..records import Source, check_columns, check_names, document_of
from .batches import parsed, refuse_one
from .explain import matches
from .own_encoder import load_encoder

__all__ = ["check_query", "read_texts", "rerank", "rerank_texts"]


@check_keywords("rerank")
def rerank(
    query: str,
    texts: Iterable[Source],
    *,
    model: str | Path | Encoder | None = None,
    k: int | None = None,
    explain: bool = False,
    text: str | None = None,
    id: str | None = None,
    metadata: Sequence[str] | None = None,
    device: str = "auto",
    dtype: Precision = "auto",
) -> Hits:
    """Put texts in the order of their MaxSim with a query; no index is needed.

    Parameters
    ----------
    query
        One of white space finds nothing.
    texts
        Whatever :meth:`Retriever.index` takes; a string's id is its number. Texts of white space are left
        out.
    model
        An :class:`Encoder`, which is loaded once, or what :meth:`Encoder.load` takes; by default
        LFM2-ColBERT-350M.
    k
        How many hits at most; None for all.
    explain
        Whether hits say which of their tokens answered which of the query's.
    text, id, metadata
        Which columns of rows are what, as for :meth:`Retriever.index`.
    device, dtype
        See :meth:`Encoder.load`.

    Raises
    ------
    InvalidInputError
        If an argument can't be used.
    ModelNotFoundError, CheckpointError
        If the model can't be loaded.
    """
    check_query(query, k)
    documents = read_texts(texts, text, id, metadata)
    encoder = load_encoder(DEFAULT_MODEL if model is None else model, device, dtype)
    return Hits(rerank_texts(encoder, query, documents, k, explain))


def check_query(query: object, k: int | None) -> None:
    """Refuse what is no query, or no number of hits.

    Raises
    ------
    InvalidInputError, InvalidTypeError
        Saying which.
    """
    if k is not None:
        SearchParams(k)
    if not isinstance(query, str):
        raise InvalidTypeError(f"a query must be a str, not {type(query).__name__}")


def read_texts(
    texts: Iterable[Source], text: str | None, id: str | None, metadata: Sequence[str] | None
) -> list[Document]:
    """What is to be ranked, as documents; see `rerank`."""
    refuse_one(texts, "texts")
    columns = check_columns(text, id, metadata)
    check_names(column_names(texts), columns)
    return list(parsed(iter_records(texts), lambda n, one: document_of(one, n, n, columns), None))


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
