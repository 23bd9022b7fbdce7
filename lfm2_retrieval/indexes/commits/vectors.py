"""Vectors as they are stored first: float16."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInputError

if TYPE_CHECKING:
    from ...datatypes import TokenEmbeddings

__all__ = ["to_half"]


def to_half(ids: Sequence[str], embeddings: TokenEmbeddings, dim: int) -> NDArray[np.float16]:
    """The vectors as float16, refused if that isn't possible."""
    if embeddings.dim != dim:
        raise InvalidInputError(f"the vectors are {embeddings.dim} wide, the index takes {dim}")
    with np.errstate(over="ignore"):
        half = np.ascontiguousarray(embeddings.embeddings, np.float16)
    bad = np.flatnonzero(~np.isfinite(half).all(axis=1))
    if len(bad):
        document = int(np.searchsorted(embeddings.offsets, bad[0], "right")) - 1
        row = embeddings.embeddings[bad[0]]
        what = "a value beyond float16 (±65504)" if np.isfinite(row).all() else "NaN or infinity"
        raise InvalidInputError(
            f"document {ids[document]!r}: its vector {bad[0] - embeddings.offsets[document]} holds {what}"
        )
    return half
