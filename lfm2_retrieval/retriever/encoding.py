"""Texts as vectors, with nothing for those that are blank."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import replace

import numpy as np

from ..datatypes import TokenEmbeddings
from ..encoder import Encoder, TruncationWarning
from ..errors import (
    callers_level,
    remedy,
)
from ..records import Draft

__all__ = ["encode_texts", "read_all", "warn_of_cut"]


def read_all() -> str:
    """The option that reads all of a long document."""
    return remedy("long_documents='window'", "index --long-documents window")


def warn_of_cut(n_cut: int, n_documents: int, encoder: Encoder) -> None:
    """Say that texts were cut."""
    warnings.warn(
        f"{n_cut} of {n_documents} documents were longer than the {encoder.document_length} tokens that are "
        f"read and were cut; {read_all()} reads all of a document",
        TruncationWarning,
        stacklevel=callers_level(),
    )


Encoded = tuple[list[Draft], TokenEmbeddings, int]
"""A batch, its vectors and how many of its texts were cut."""


def encoded_batches(encoder: Encoder, batches: Iterator[list[Draft]]) -> Generator[Encoded, None, None]:
    """Each batch with its vectors, none for a document without text."""
    waiting: deque[list[Draft]] = deque()

    def texts() -> Iterator[list[str]]:
        for batch in batches:
            waiting.append(batch)
            yield [draft.text for draft in batch if draft.text.strip()]

    with closing(encoder.iter_batches(texts(), output="float16")) as results:
        for embeddings, cut in results:
            batch = waiting.popleft()
            yield batch, _with_blanks(embeddings, [draft.text for draft in batch]), cut


def encode_texts(encoder: Encoder, texts: list[str]) -> tuple[TokenEmbeddings, int]:
    """The texts' vectors, none for one of white space, and how many texts were cut."""
    cuts: list[int] = []
    encoded = encoder.encode_documents(
        [text for text in texts if text.strip()], output="float16", on_cut=cuts.append
    )
    return _with_blanks(encoded, texts), sum(cuts)


def _with_blanks(encoded: TokenEmbeddings, texts: list[str]) -> TokenEmbeddings:
    """The vectors of those texts that aren't blank, with nothing for the others between them."""
    lengths = np.zeros(len(texts), dtype=np.int64)
    lengths[np.array([bool(text.strip()) for text in texts], dtype=bool)] = encoded.lengths
    return replace(encoded, offsets=np.concatenate(([0], np.cumsum(lengths))))
