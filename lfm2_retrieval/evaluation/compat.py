"""Whose evaluator to reproduce: which texts count, and what stands beside documents, where they differ."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import numpy as np

from ..datatypes import TokenEmbeddings
from ..encoder import Encoder

__all__ = ["Compat", "is_searched", "padded", "with_zeros"]


class Compat(StrEnum):
    """Whose evaluator to reproduce, where they differ; see ``eval/README.md``."""

    PYLATE = "pylate"
    SENTENCE_TRANSFORMERS = "sentence-transformers"
    MTEB = "mteb"


def is_searched(text: str, compat: Compat | None) -> bool:
    """Whether a text is encoded at all; one that isn't finds nothing and is never found.

    By itself the library leaves out texts of white space, PyLate and sentence-transformers empty ones,
    mteb none.
    """
    if compat is Compat.MTEB:
        return True
    return bool(text) if compat else bool(text.strip())


_PYLATE_CHUNK = 50_000
"""Documents that PyLate's evaluator pads to one length."""


def padded(encoder: Encoder, texts: Sequence[str]) -> list[bool]:
    """Which documents PyLate's evaluator scores with a vector of zeros beside their own.

    It pads a chunk of the corpus to its longest document and masks nothing, so that the best match of a
    query's vector in any other is at least 0.
    """
    lengths = [len(encoder.document_spans(text)) for text in texts]
    found: list[bool] = []
    for start in range(0, len(lengths), _PYLATE_CHUNK):
        chunk = lengths[start : start + _PYLATE_CHUNK]
        found += [length < max(chunk) for length in chunk]
    return found


def with_zeros(vectors: TokenEmbeddings, padded: Sequence[bool]) -> TokenEmbeddings:
    """A vector of zeros after those of some texts."""
    ends = vectors.offsets[1:][np.array(padded, dtype=bool)]
    rows = np.insert(vectors.embeddings, ends, 0, axis=0)
    return TokenEmbeddings(rows, vectors.offsets + np.concatenate(([0], np.cumsum(padded))))
